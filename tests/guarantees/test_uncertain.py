"""Sends of which nobody knows whether they left: each is settled, by the strongest evidence there is.

The judge is the providers' own ledger: how many messages of an id took effect.
"""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.testing import ActivityEnvironment

from activities.resolve import CALLBACK_WITHIN, MOST_LOOKS, Next, Resolve, next_step
from channels.http import open_client
from channels.protocol import Absent, CannotTell
from channels.twilio import Twilio, TwilioSettings, TwilioSms
from dispatch.progress import RESOLVED, Report, move
from dispatch.reconciler import UNRESOLVED, settle_uncertain_sends
from domain.messages import Channel, MessageClass, Status
from domain.uncertain import Resolution
from store import callbacks, messages, uncertain
from store.uncertain import Doubt
from tests.channels.provider import a_provider, answer_json
from tests.world import Person, World
from worker import delivering
from workflows.upkeep import RESOLVE_SENDS

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

PROVIDERS = {"email": "sendgrid", "sms": "twilio", "push": "fcm", "call": "call_centre"}


def address(person: Person, channel: str) -> str:
    return {"email": person.email, "push": person.token}.get(channel, person.phone)


async def fails(world: World, person: Person, channel: str, kind: str, **more: Any) -> None:
    """Let the provider's next calls about a person go wrong."""
    fault = {"provider": PROVIDERS[channel], "address": address(person, channel), "kind": kind, **more}
    (await world.providers.put("/_sandbox/faults", json=fault)).raise_for_status()


async def begins(person: Person, channel: str, *, urgent: bool = False) -> None:
    """Send the person one letter."""
    await person.does("letter_begun", application_id="A-1", by=channel, urgent=urgent)


async def in_doubt(
    world: World, channel: str, kind: str = "status_500_after_accept", *, urgent: bool = False, **traits: Any
) -> Person:
    """Somebody a message may have left to, and of whom no callback ever comes."""
    person = await world.person(**traits)
    if "phone" in traits:
        person.phone = traits["phone"]
    await world.behaves(address(person, channel), delivery="never")
    await fails(world, person, channel, kind)
    await begins(person, channel, urgent=urgent)
    await world.until(lambda: person.status_of(channel), "unknown")
    return person


async def row_of(person: Person) -> asyncpg.Record:
    (row,) = await person.messages()
    return row


async def told(person: Person) -> tuple[str, str | None]:
    """What our own books say became of the person's message, and by what that was settled."""
    row = await row_of(person)
    return row["status"], row["resolution"]


async def facts(person: Person) -> list[str]:
    return [each.get("answer", each["fact"]) for each in (await row_of(person))["evidence"] or []]


async def pass_on_the_wall(world: World, people: Iterable[Person], duration: timedelta) -> None:
    """Make it that much longer ago that something was last tried for these people."""
    await world.pool.execute(
        """
        update messages m set look_after = look_after - $2::interval, unknown_at = unknown_at - $2::interval,
                              sending_at = sending_at - $2::interval
        from identities i where i.customer_id = m.customer_id and i.value = any($1)
        """,
        [person.user_id for person in people],
        duration,
    )


async def look(world: World) -> None:
    """Have what is due looked into, as the reconciler does."""
    if await settle_uncertain_sends(world.pool, world.temporal):
        await asyncio.wait_for(world.temporal.get_workflow_handle(RESOLVE_SENDS).result(), 60)


async def settle(world: World, *people: Person) -> None:
    """Let time pass until nothing is in doubt any more."""
    for _ in range(15):
        await pass_on_the_wall(world, people, 5 * MINUTE)
        await look(world)
        rows = [row for person in people for row in await person.messages()]
        if all(row["status"] not in ("sending", "unknown") or row["resolved_at"] for row in rows):
            return
    raise AssertionError([await told(person) for person in people])


async def effects(world: World, person: Person) -> int:
    """How many of the person's messages took effect, by their providers' own ledger."""
    return sum((await world.effects(person)).values())


# Whatever goes wrong, with whatever channel.

SETTLED = {
    # channel, urgent, taken: status, by what, effects
    ("sms", False, True): ("accepted", "found", 1),
    ("sms", False, False): ("failed", "not_taken", 0),
    ("sms", True, True): ("accepted", "found", 1),
    ("sms", True, False): ("accepted", "sent_again", 1),
    ("call", False, True): ("accepted", "found", 1),
    ("call", False, False): ("failed", "not_taken", 0),
    ("call", True, True): ("accepted", "found", 1),
    ("call", True, False): ("accepted", "sent_again", 1),
    ("push", False, True): ("accepted", "found", 1),
    ("push", False, False): ("accepted", "found", 1),
    ("push", True, True): ("accepted", "found", 1),
    ("push", True, False): ("accepted", "found", 1),
    ("email", False, True): ("unknown", "assumed_sent", 1),
    ("email", False, False): ("unknown", "assumed_sent", 0),
    ("email", True, True): ("accepted", "sent_again", 2),
    ("email", True, False): ("accepted", "sent_again", 1),
}


@pytest.mark.parametrize(
    ("taken", "not_taken"),
    [
        ("timeout_after_accept", "timeout"),
        ("reset_after_accept", "connection_reset"),
        ("status_500_after_accept", "status_500"),
        ("status_503_after_accept", "status_503"),
    ],
)
async def test_every_channel_settles_what_nobody_heard_the_end_of(world: World, taken: str, not_taken: str) -> None:
    people = await asyncio.gather(
        *(
            in_doubt(world, channel, taken if was_taken else not_taken, urgent=urgent)
            for channel, urgent, was_taken in SETTLED
        )
    )
    await settle(world, *people)
    became = [(*await told(person), await effects(world, person)) for person in people]
    assert dict(zip(SETTLED, became, strict=True)) == SETTLED
    for (_, urgent, _), person in zip(SETTLED, people, strict=True):
        row = await row_of(person)
        assert (row["sent_again_at"] is not None) == (row["resolution"] == "sent_again")
        assert row["sent_again_at"] is None or urgent
        assert row["resolved_at"] is not None


# The callback is the strongest evidence.


async def test_a_callback_that_is_faster_than_the_answer_settles_it(world: World) -> None:
    person = await world.person()
    await fails(world, person, "sms", "status_500_after_accept")
    before = RESOLVED.labels("sms", "callback")._value.get()
    await begins(person, "sms")
    await world.until(lambda: person.status_of("sms"), "delivered")
    await world.until(lambda: told(person), ("delivered", "callback"))
    assert "uncertain" in await facts(person)
    assert (await row_of(person))["resolved_at"] is not None
    assert await effects(world, person) == 1
    assert RESOLVED.labels("sms", "callback")._value.get() == before + 1


async def test_a_callback_that_comes_before_anybody_asks_settles_it(world: World) -> None:
    person = await in_doubt(world, "email")
    await reports(world, person, Status.DELIVERED)
    await settle(world, person)
    assert await told(person) == ("delivered", "callback")
    assert await facts(person) == ["uncertain", "callback"]
    assert await effects(world, person) == 1


async def test_a_callback_that_comes_while_the_provider_is_asked_settles_it(world: World) -> None:
    person = await in_doubt(world, "sms", "status_500", urgent=True)
    await fails(world, person, "sms", "slow", operation="lookup", seconds=2)
    await pass_on_the_wall(world, [person], HOUR)
    await pass_on_the_wall(world, [person], HOUR)
    asking = asyncio.create_task(look(world))
    await world.until(lambda: faults_left(world, person), 0)
    await reports(world, person, Status.SENT)
    await asking
    assert await told(person) == ("sent", "callback")
    assert await facts(person) == ["uncertain", "callback"]
    assert await effects(world, person) == 0, "it was not sent again"


@pytest.mark.parametrize(("channel", "kind"), [("email", "status_500_after_accept"), ("sms", "connection_reset")])
async def test_a_callback_beats_what_was_assumed_or_found_out_by_asking(world: World, channel: str, kind: str) -> None:
    person = await in_doubt(world, channel, kind)
    await settle(world, person)
    assert (await told(person))[1] == {"email": "assumed_sent", "sms": "not_taken"}[channel]
    await reports(world, person, Status.DELIVERED)
    assert await told(person) == ("delivered", "callback")
    row = await row_of(person)
    assert (row["reason"], row["failed_at"]) == (None, None)
    assert row["delivered_at"] is not None


async def reports(world: World, person: Person, status: Status, provider_id: str | None = None) -> None:
    """The provider calls back."""
    row = await row_of(person)
    async with world.pool.acquire() as connection, connection.transaction():
        about = await callbacks.subject(connection, row["id"], tuple(Channel))
        assert about is not None
        report = Report("tests", uuid4().hex, datetime.now(UTC), provider_id=provider_id)
        await move(connection, about.message, status, report)


async def faults_left(world: World, person: Person) -> int:
    left = (await world.providers.get("/_sandbox/faults")).json()
    return sum(each["address"] in (person.email, person.phone, person.token) for each in left)


# Asking.


async def test_a_provider_that_cannot_be_asked_now_is_asked_later(world: World) -> None:
    person = await in_doubt(world, "call")
    await fails(world, person, "call", "status_503", operation="lookup")
    await fails(world, person, "call", "status_429", operation="lookup", retry_after=60)
    await fails(world, person, "call", "connection_reset", operation="lookup")
    await settle(world, person)
    assert await told(person) == ("accepted", "found")
    assert await facts(person) == ["uncertain", "cannot_tell", "cannot_tell", "cannot_tell", "found"]
    assert await effects(world, person) == 1


@pytest.mark.parametrize(("urgent", "became", "count"), [(False, "assumed_sent", 1), (True, "sent_again", 2)])
async def test_a_provider_that_never_tells_leaves_it_to_the_message_class(
    world: World, urgent: bool, became: str, count: int
) -> None:
    person = await in_doubt(world, "sms", urgent=urgent)
    await fails(world, person, "sms", "status_503", operation="lookup", times=50)
    await settle(world, person)
    assert (await told(person))[1] == became
    assert await effects(world, person) == count
    assert (await facts(person)).count("cannot_tell") == 5
    await world.providers.delete("/_sandbox/faults")


async def test_that_a_provider_does_not_have_it_is_believed_late_and_the_second_time(world: World) -> None:
    person = await in_doubt(world, "sms", "connection_reset")
    await pass_on_the_wall(world, [person], 11 * SECOND)
    await look(world)
    assert await told(person) == ("unknown", None)
    await look(world)
    assert await facts(person) == ["uncertain", "absent"], "the second look has its time"
    await pass_on_the_wall(world, [person], 21 * SECOND)
    await look(world)
    assert await told(person) == ("failed", "not_taken")
    assert await facts(person) == ["uncertain", "absent", "absent"]


async def two_that_look_the_same(world: World) -> tuple[Person, Person]:
    """Two people who share a phone and get the same text, as one without a link is; the second was taken."""
    number = f"+1415{uuid4().int % 10_000_000:07d}"
    first = await in_doubt(world, "sms", "connection_reset", phone=number)
    second = await in_doubt(world, "sms", "status_500_after_accept", phone=number)
    await world.pool.execute(
        "update messages set content = (select content from messages where id = $2) where id = $1",
        (await row_of(first))["id"],
        (await row_of(second))["id"],
    )
    return first, second


async def test_two_messages_that_look_the_same_are_not_mistaken_for_each_other(world: World) -> None:
    first, second = await two_that_look_the_same(world)
    await pass_on_the_wall(world, [first, second], 5 * MINUTE)
    await look(world)
    for person in (first, second):
        assert await told(person) == ("unknown", None), "one of the two was taken, and nobody can tell which"
        assert [each.get("code") for each in (await row_of(person))["evidence"][1:]] == ["ambiguous"]
    await reports(world, second, Status.DELIVERED, provider_id=await id_at_provider(world, second))
    await settle(world, first)
    assert await told(first) == ("failed", "not_taken")


async def test_two_messages_that_look_the_same_and_were_both_taken_are_both_found(world: World) -> None:
    people = await two_that_look_the_same(world)
    text = (await row_of(people[1]))["content"]["text"]
    environment = world.stack.environment
    account = environment["TWILIO_ACCOUNT_SID"]
    taken = await world.providers.post(
        f"/2010-04-01/Accounts/{account}/Messages.json",
        data={"To": people[0].phone, "From": environment["TWILIO_SMS_FROM"], "Body": text},
        auth=(account, environment["TWILIO_AUTH_TOKEN"]),
    )
    taken.raise_for_status()
    await settle(world, *people)
    assert [await told(person) for person in people] == [("accepted", "found")] * 2
    assert len({(await row_of(person))["provider_id"] for person in people}) == 2


async def id_at_provider(world: World, person: Person) -> str:
    ledger = await world.providers.get("/_sandbox/ledger", params={"message_id": str((await row_of(person))["id"])})
    (entry,) = ledger.json()["entries"]
    return str(entry["provider_id"])


async def test_a_push_asked_for_by_replacing_is_one_push(world: World) -> None:
    person = await in_doubt(world, "push", "reset_after_accept")
    await settle(world, person)
    assert await facts(person) == ["uncertain", "asked_by_replacing", "answered"]
    ledger = await world.providers.get("/_sandbox/ledger", params={"message_id": str((await row_of(person))["id"])})
    (entry,) = ledger.json()["entries"]
    assert len(entry["details"]["replacements"]) == 1


async def test_a_device_that_turns_out_to_be_dead_is_not_tried_again(world: World) -> None:
    person = await in_doubt(world, "push", "connection_reset")
    await world.behaves(person.token, delivery="unregistered")
    await settle(world, person)
    row = await row_of(person)
    assert (row["status"], row["reason"]) == ("failed", "UNREGISTERED")
    dead = "select dead_at is not null from devices where token = $1"
    assert await world.pool.fetchval(dead, person.token) is True


async def test_a_cascade_goes_on_where_a_message_was_never_taken(world: World) -> None:
    person = await world.person()
    await fails(world, person, "sms", "connection_reset")
    await person.does("ladder_begun", application_id="A-1", by="sms")
    await world.until(lambda: person.status_of("sms"), "unknown")
    await settle(world, person)
    assert await person.status_of("inbox") is None
    await world.dispatch(person)
    await world.until(lambda: person.status_of("inbox"), "delivered")
    assert await person.status_of("sms") == "failed"


async def test_a_number_that_turns_out_to_be_dead_is_not_tried_again_and_the_cascade_goes_on(world: World) -> None:
    person = await world.person()
    await world.behaves(person.phone, delivery="never")
    await fails(world, person, "sms", "status_500_after_accept")
    await person.does("ladder_begun", application_id="A-1", by="sms")
    await world.until(lambda: person.status_of("sms"), "unknown")
    row = await row_of(person)
    sent = {
        "sid": "SM-dead",
        "body": row["content"]["text"],
        "direction": "outbound-api",
        "status": "undelivered",
        "error_code": 30005,
        "date_created": format_datetime(datetime.now(UTC)),
    }
    await pass_on_the_wall(world, [person], HOUR)
    async with a_provider() as provider, open_client() as client, world.pool.acquire() as connection:
        provider.will(answer_json(200, {"messages": [sent], "next_page_uri": None}))
        twilio = TwilioSms(Twilio(TwilioSettings(base_url=provider.url), client, "https://j.example"))
        resolve = Resolve(world.pool, world.catalog, {Channel.SMS: twilio}, world.settings.deployment())
        doubt = await uncertain.take(connection, MINUTE)
        assert doubt is not None
        assert doubt.message == row["id"]
        assert await resolve.look_into(doubt) is Resolution.FOUND
    assert [(each["status"], each["reason"]) for each in await person.messages()] == [("failed", "30005")]
    why = "select reason || ' ' || source from suppressions where channel = 'sms' and recipient = $1"
    assert await world.pool.fetchval(why, person.phone) == "dead twilio:30005"
    await world.dispatch(person)
    await world.until(lambda: person.status_of("inbox"), "delivered")


# Once more, and never a third time.


@given(
    message_class=st.sampled_from(MessageClass),
    sent_again=st.booleans(),
    looks=st.integers(1, 20),
    waited=st.timedeltas(timedelta(0), HOUR),
    finding=st.sampled_from([Absent(), CannotTell("http_503"), CannotTell("no_lookup", later=False)]),
    replaces=st.booleans(),
)
def test_only_a_transactional_message_is_sent_again_and_only_once(
    message_class: MessageClass,
    sent_again: bool,
    looks: int,
    waited: timedelta,
    finding: Absent | CannotTell,
    replaces: bool,
) -> None:
    doubt = Doubt(
        message=uuid4(),
        enrolment=1,
        channel=Channel.SMS,
        message_class=message_class,
        recipient=None,
        content=None,
        locale=None,
        attempt=1,
        looks=looks,
        since=datetime.now(UTC),
        waited=waited,
        sent_again=sent_again,
        decided_after=0,
        journey_at=datetime.now(UTC),
        expires_at=None,
    )
    step = next_step(doubt, finding, replaces=replaces)
    if message_class is MessageClass.MARKETING or sent_again:
        assert step is not Next.SEND_AGAIN
    if looks > 2 * MOST_LOOKS and waited > CALLBACK_WITHIN:
        assert step in (Next.FAIL, Next.ASSUME), "it comes to an end"
    if step is Next.FAIL:
        assert isinstance(finding, Absent)


async def test_the_answer_to_an_old_call_counts_if_it_was_taken_and_not_if_it_was_refused(world: World) -> None:
    person = await in_doubt(world, "email", urgent=True)
    message = (await row_of(person))["id"]
    await world.pool.execute(
        "update messages set status = 'sending', attempt = 2, sent_again_at = now() where id = $1", message
    )
    async with world.pool.acquire() as connection:
        await messages.settle(connection, message, 1, Status.FAILED, reason="http_400")
        assert await told(person) == ("sending", None)
        await messages.settle(connection, message, 1, Status.ACCEPTED, provider_id="old")
        assert await told(person) == ("accepted", "sent_again")
        await messages.settle(connection, message, 2, Status.UNKNOWN, reason="ReadTimeout")
        await messages.settle(connection, message, 2, Status.FAILED, reason="http_400")
    assert await told(person) == ("accepted", "sent_again")


async def test_what_is_uncertain_twice_is_never_sent_a_third_time(world: World) -> None:
    person = await world.person()
    await world.behaves(person.email, delivery="never")
    await fails(world, person, "email", "status_503_after_accept", times=5)
    await begins(person, "email", urgent=True)
    await world.until(lambda: person.status_of("email"), "unknown")
    await settle(world, person)
    await settle(world, person)
    assert await told(person) == ("unknown", "assumed_sent")
    assert await effects(world, person) == 2
    assert (await row_of(person))["sent_again_at"] is not None
    assert (await facts(person)).count("sent_again") == 1
    await world.providers.delete("/_sandbox/faults")


async def test_a_second_send_that_certainly_did_not_leave_is_not_the_one_allowed(world: World) -> None:
    person = await in_doubt(world, "email", "connection_reset", urgent=True)
    await fails(world, person, "email", "status_429", times=2)
    await settle(world, person)
    assert await told(person) == ("accepted", "sent_again")
    assert (await facts(person)).count("not_processed") == 2
    assert await effects(world, person) == 1


async def test_a_second_send_that_is_refused_ends_it_and_the_address(world: World) -> None:
    person = await in_doubt(world, "sms", "connection_reset", urgent=True)
    stop = {"from": person.phone, "to": world.stack.environment["TWILIO_SMS_FROM"], "text": "STOP"}
    (await world.providers.post("/_sandbox/inbound", json=stop)).raise_for_status()
    await world.pool.execute("delete from suppressions where recipient = $1", person.phone)
    await settle(world, person)
    row = await row_of(person)
    assert (row["status"], row["reason"]) == ("failed", "21610")
    why = "select reason from suppressions where channel = 'sms' and recipient = $1"
    assert await world.pool.fetchval(why, person.phone) == "opted_out"
    assert await effects(world, person) == 0


async def goal(world: World, person: Person) -> None:
    await person.does("story_ended", dispatched=False)


async def restart(world: World, person: Person) -> None:
    await person.does("letter_begun_anew", dispatched=False)


async def stop(world: World, person: Person) -> None:
    async with world.pool.acquire() as connection:
        await messages.suppress(connection, "email", person.email, "complained", "tests")


async def expiry(world: World, person: Person) -> None:
    row = await row_of(person)
    await world.pool.execute(
        "update messages set expires_at = $2, journey_at = $3 where id = $1",
        row["id"],
        datetime.now(UTC) - SECOND,
        datetime.now(UTC) - MINUTE,
    )


async def another_address(world: World, person: Person) -> None:
    call = {"userId": person.user_id, "traits": {"email": f"new-{person.email}"}}
    await world.tell(call, "identify", datetime.now(UTC))


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [
        (goal, "overtaken:goal"),
        (restart, "overtaken:restart"),
        (stop, "suppressed:complained"),
        (expiry, "expired"),
        (another_address, "address_changed"),
    ],
)
async def test_what_must_not_be_sent_any_more_is_not_sent_again(world: World, meanwhile: Any, code: str) -> None:
    person = await in_doubt(world, "email", urgent=True)
    await meanwhile(world, person)
    await settle(world, person)
    row = await row_of(person)
    assert (row["status"], row["resolution"], row["sent_again_at"]) == ("unknown", "assumed_sent", None)
    assert [each["code"] for each in row["evidence"] if each["fact"] == "not_handed_over_again"] == [code]
    assert await effects(world, person) == 1


async def erases(world: World, person: Person) -> None:
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as operator:
        (await operator.delete(f"/v1/customers/{person.user_id}")).raise_for_status()


async def test_an_erased_customer_is_neither_asked_for_nor_written_to(world: World) -> None:
    person = await in_doubt(world, "sms", "connection_reset", urgent=True)
    message = (await row_of(person))["id"]
    await erases(world, person)
    for _ in range(3):
        await world.pool.execute(
            "update messages set look_after = now(), sending_at = now() - interval '1 hour' where id = $1", message
        )
        await look(world)
    assert await became_of(world, message) == ("unknown", "assumed_sent", 0)


async def test_a_customer_who_is_erased_while_the_provider_is_asked_is_not_written_to(world: World) -> None:
    person = await in_doubt(world, "email", "connection_reset", urgent=True)
    message = (await row_of(person))["id"]
    await pass_on_the_wall(world, [person], HOUR)
    async with two_workers(world) as (one, _):
        async with world.pool.acquire() as connection:
            doubt = await uncertain.take(connection, MINUTE)
        assert doubt is not None
        assert doubt.recipient == person.email
        await erases(world, person)
        assert await one.look_into(doubt) is Resolution.ASSUMED_SENT
    assert await became_of(world, message) == ("unknown", "assumed_sent", 0)


async def became_of(world: World, message: UUID) -> tuple[str, str, int]:
    """What became of a message whose person is known no more, and how often it took effect."""
    row = await world.pool.fetchrow("select status, resolution from messages where id = $1", message)
    assert row is not None
    ledger = await world.providers.get("/_sandbox/ledger", params={"message_id": str(message)})
    return row["status"], row["resolution"], len(ledger.json()["entries"])


# Whoever died over it, and whoever comes at the same time.


async def test_a_row_whose_worker_died_over_it_is_settled_the_same_way(world: World) -> None:
    person = await in_doubt(world, "sms", "reset_after_accept")
    await world.pool.execute(
        """
        update messages set status = 'sending', reason = null, unknown_at = null, look_after = null, evidence = null
        where id = $1
        """,
        (await row_of(person))["id"],
    )
    await look(world)
    assert await told(person) == ("sending", None), "its worker may still be at it"
    await settle(world, person)
    assert await told(person) == ("accepted", "found")
    assert (await facts(person))[0] == "uncertain"
    assert await effects(world, person) == 1


async def test_a_worker_that_died_over_the_second_send_is_not_followed_by_a_third(world: World) -> None:
    person = await in_doubt(world, "email", urgent=True)
    await world.pool.execute(
        "update messages set status = 'sending', attempt = 2, sent_again_at = now() where id = $1",
        (await row_of(person))["id"],
    )
    await settle(world, person)
    assert await told(person) == ("unknown", "assumed_sent")
    assert await effects(world, person) == 1


@asynccontextmanager
async def two_workers(world: World) -> AsyncIterator[tuple[Resolve, Resolve]]:
    async with delivering(world.pool, world.catalog, world.settings, world.settings.deployment()) as deliver:
        one, other = (Resolve(world.pool, world.catalog, deliver.channels, deliver.deployment) for _ in range(2))
        yield one, other


async def test_two_workers_at_once_ask_and_send_once(world: World) -> None:
    people = await asyncio.gather(*(in_doubt(world, "email", urgent=True) for _ in range(12)))
    await pass_on_the_wall(world, people, 5 * MINUTE)
    async with two_workers(world) as (one, other):
        rounds = await asyncio.gather(*(ActivityEnvironment().run(each.resolve_sends) for each in (one, other)))
    assert sum(each.settled.get(Resolution.SENT_AGAIN, 0) for each in rounds) == len(people)
    for person in people:
        assert await effects(world, person) == 2
        assert (await row_of(person))["lookups"] == 1


async def test_who_comes_back_after_somebody_else_took_over_changes_nothing(world: World) -> None:
    person = await in_doubt(world, "email", urgent=True)
    await pass_on_the_wall(world, [person], HOUR)
    async with two_workers(world) as (slow, _):
        async with world.pool.acquire() as connection:
            doubt = await uncertain.take(connection, MINUTE)
        assert doubt is not None
        await settle(world, person)
        assert await slow.look_into(doubt) is None
    assert await effects(world, person) == 2


# What an operator sees.


async def test_nothing_runs_where_nothing_is_in_doubt(world: World) -> None:
    person = await in_doubt(world, "sms")
    await settle(world, person)
    # What other tests have left has its time.
    await world.pool.execute("update messages set look_after = now() + interval '1 hour' where status = 'unknown'")
    newest = await world.temporal.get_workflow_handle(RESOLVE_SENDS).describe()
    await settle_uncertain_sends(world.pool, world.temporal)
    assert (await world.temporal.get_workflow_handle(RESOLVE_SENDS).describe()).run_id == newest.run_id


async def test_how_much_is_in_doubt_is_measured(world: World) -> None:
    await in_doubt(world, "sms")
    await settle_uncertain_sends(world.pool, world.temporal)
    counted = await world.pool.fetchval(
        "select count(*) from messages where status = 'unknown' and resolved_at is null"
    )
    assert UNRESOLVED._value.get() == counted >= 1


async def test_the_decision_and_its_evidence_are_told_and_nothing_personal(world: World) -> None:
    person = await in_doubt(world, "sms")
    await settle(world, person)
    (stay,) = await person.enrolments()
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as operator:
        answer = (await operator.get(f"/v1/enrolments/{stay['id']}")).json()
    (message,) = answer["messages"]
    assert message["resolution"] == "found"
    assert message["resolved_at"] is not None
    asked = message["evidence"][-1 if message["evidence"][-1]["fact"] == "asked" else 1]
    assert (asked["provider"], asked["answer"], asked["provider_id"]) == (
        "twilio",
        "found",
        await id_at_provider(world, person),
    )
    run = world.temporal.get_workflow_handle(RESOLVE_SENDS)
    history = await run.fetch_history()
    details = (await run.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)).current_details
    assert re.search(r"looked into:\*\* [1-9].*\*\*[1-9]\d*\*\* found at their providers", details, re.DOTALL), details
    kept = history.to_json() + str(message["evidence"]) + details
    assert [secret for secret in (person.phone, person.email, person.user_id, "car loan") if secret in kept] == []


async def test_what_is_handed_over_again_leaves_within_two_seconds_of_its_claim_or_not_at_all(world: World) -> None:
    person = await in_doubt(world, "push")
    await pass_on_the_wall(world, [person], MINUTE)
    # Channels of its own, which have no token yet.
    async with delivering(world.pool, world.catalog, world.settings, world.settings.deployment()) as ready:
        resolve = Resolve(world.pool, world.catalog, ready.channels, ready.deployment)
        async with world.pool.acquire() as connection:
            doubt = await uncertain.take(connection, MINUTE)
        assert doubt is not None
        assert doubt.recipient == person.token
        google = world.stack.pids["sandbox"]
        os.kill(google, signal.SIGSTOP)
        try:
            looking = asyncio.create_task(resolve.look_into(doubt))
            await world.until(lambda: person.status_of("push"), "sending")
            # Longer than a claim holds, shorter than is waited for a token.
            await asyncio.sleep(2.3)
        finally:
            os.kill(google, signal.SIGCONT)
        assert await looking is None
    row = await row_of(person)
    assert row["status"] == "unknown"
    assert [each["code"] for each in row["evidence"] if each["fact"] == "not_processed"] == ["claimed too long ago"]
    ledger = await world.providers.get("/_sandbox/ledger", params={"message_id": str(row["id"])})
    (effect,) = ledger.json()["entries"]
    assert effect["details"].get("replacements", []) == []
