"""The contact policy at work: `deliver` asks it under the customer's lock, and keeps what it says."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from api.intake import accept
from api.segment import read_call
from domain.messages import Channel, Delivery, Draft, MessageClass, Status, Verdict
from policy.configuration import BlockRule, Cap, Policy
from store import customers, silences
from tests.world import Person, World, where_it_is
from workflows.drafts import email, sms

TEXT = "abandoned_application/almost_empty"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ALWAYS = dict.fromkeys(Channel, (0, 24))
ONE_A_DAY = Policy(quiet_hours=ALWAYS, caps=(Cap(channel=Channel.SMS, at_most=1, within=DAY),))


async def at_work(world: World, person: Person, *journeys: str) -> None:
    """Let a person be in journeys that say nothing by themselves for a while."""
    for begun in journeys:
        await person.does(begun, application_id="A-1", filled=2, total=40, bank="North")


def verdicts(deliveries: Sequence[Delivery]) -> list[tuple[Verdict, str | None]]:
    return [(each.verdict, each.reason) for each in deliveries]


# Caps.


async def test_a_cap_holds_however_many_ask_at_once(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await at_work(world, person, "credit_application_started", "urgent_begun")
    policy = Policy(quiet_hours=ALWAYS, caps=(Cap(channel=Channel.SMS, at_most=3, within=DAY),))
    asked = await asyncio.gather(
        *(
            world.asks_to_deliver(
                person,
                sms(TEXT, again=True),
                policy=policy,
                at=now + number * MINUTE / 10,
                journey=("AbandonedApplication", "Urgent")[number % 2],
                occurrence=number,
            )
            for number in range(12)
        )
    )
    assert sum(each.gone for each in asked) == 3
    assert {each.reason for each in asked if not each.gone} == {"cap:sms 3 in 1 day"}
    assert (await world.effects(person))["sms"] == 3


async def test_what_the_provider_refused_takes_up_no_slot(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await at_work(world, person, "credit_application_started")
    await world.pool.execute("update customers set phone = '+15005550001' where phone = $1", person.phone)
    first = await world.asks_to_deliver(person, sms(TEXT), policy=ONE_A_DAY, at=now)
    assert first.verdict is Verdict.FAILED
    await world.pool.execute("update customers set phone = $1 where phone = '+15005550001'", person.phone)
    second = await world.asks_to_deliver(person, sms(TEXT, again=True), policy=ONE_A_DAY, at=now, occurrence=2)
    assert second.gone


async def test_a_message_held_back_is_kept_with_its_reason_and_goes_when_it_may(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await at_work(world, person, "credit_application_started")
    ask = {"policy": ONE_A_DAY, "occurrence": 2}
    await world.asks_to_deliver(person, sms(TEXT, again=True), policy=ONE_A_DAY, at=now)
    for later in (HOUR, 2 * HOUR):
        held = await world.asks_to_deliver(person, sms(TEXT, again=True), at=now + later, **ask)  # type: ignore[arg-type]
        assert (held.verdict, held.not_before) == (Verdict.NOT_YET, now + DAY)
    row = (await world.messages_of(person, "sms"))[-1]
    assert (row["status"], row["reason"], row["not_before"]) == ("waiting", "cap:sms 1 in 1 day", now + DAY)
    assert row["policy_version"] == ONE_A_DAY.version
    assert await world.decisions(held.message) == [("delay", "cap:sms 1 in 1 day", 2)]
    gone = await world.asks_to_deliver(person, sms(TEXT, again=True), at=now + DAY, **ask)  # type: ignore[arg-type]
    assert gone.gone
    assert (await world.messages_of(person, "sms"))[-1]["reason"] is None


async def race(world: World, person: Person, now: datetime, *, lesser: str) -> None:
    """An SMS has taken the day's slot; a lesser journey and an urgent one both want the next."""
    await at_work(world, person, "credit_application_started", "urgent_begun", "modest_begun")
    await world.asks_to_deliver(person, sms(TEXT), policy=ONE_A_DAY, at=now, journey="AbandonedApplication")
    for journey in (lesser, "Urgent"):
        await world.asks_to_deliver(
            person, sms(TEXT, again=True), policy=ONE_A_DAY, at=now + HOUR, journey=journey, occurrence=2
        )


async def asks(world: World, person: Person, journey: str, at: datetime) -> Delivery:
    return await world.asks_to_deliver(
        person, sms(TEXT, again=True), policy=ONE_A_DAY, at=at, journey=journey, occurrence=2
    )


async def test_two_want_the_same_slot_and_the_higher_priority_gets_it(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await race(world, person, now, lesser="AbandonedApplication")
    lesser = await asks(world, person, "AbandonedApplication", now + DAY)
    assert (lesser.verdict, lesser.reason) == (
        Verdict.NOT_YET,
        "cap:sms 1 in 1 day:gives way to a higher priority",
    )
    assert (await asks(world, person, "Urgent", now + DAY)).gone
    lesser = await asks(world, person, "AbandonedApplication", now + DAY + 5 * MINUTE)
    assert (lesser.reason, lesser.not_before) == ("cap:sms 1 in 1 day", now + 2 * DAY)


async def test_a_journey_declared_so_gives_way_for_good(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await at_work(world, person, "credit_application_started", "modest_begun")
    await world.asks_to_deliver(person, sms(TEXT), policy=ONE_A_DAY, at=now, journey="AbandonedApplication")
    given_way = await asks(world, person, "Modest", now + HOUR)
    assert (given_way.verdict, given_way.reason) == (Verdict.SKIPPED, "cap:sms 1 in 1 day")


@pytest.mark.parametrize(
    ("why", "late"),
    [
        ("outcome = 'stopped'", timedelta(0)),
        ("restart_event_id = (select max(id) from events)", timedelta(0)),
        ("", 20 * MINUTE),
    ],
    ids=["its stay is over", "its steps began again", "it never comes"],
)
async def test_a_slot_is_not_kept_for_whom_does_not_come(world: World, why: str, late: timedelta) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await race(world, person, now, lesser="AbandonedApplication")
    await person.does("page_seen")
    if why:
        await world.pool.execute(
            f"""
            update enrolments set {why} where journey = 'Urgent'
              and customer_id = (select customer_id from identities where value = $1)
            """,
            person.user_id,
        )
    assert (await asks(world, person, "AbandonedApplication", now + DAY + late)).gone


# Blocks, dialogues, holdouts.


async def test_after_a_refusal_nothing_is_sent_for_a_while_and_then_it_is(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await at_work(world, person, "credit_application_started")
    policy = Policy(quiet_hours=ALWAYS, blocks={"refused": BlockRule(on="card_refused", lasts=7 * DAY)})
    call = read_call({"messageId": uuid4().hex, "userId": person.user_id, "event": "card_refused"}, now, type="track")
    async with world.pool.acquire() as connection:
        await accept(connection, replace(world.terms, policy=policy), "tests", [call], now)
    reminder = Draft(channel=Channel.EMAIL, template=TEXT, message_class=MessageClass.TRANSACTIONAL)
    for draft in (sms(TEXT), reminder):
        dropped = await world.asks_to_deliver(person, draft, policy=policy, at=now + 6 * DAY)
        assert (dropped.verdict, dropped.reason) == (Verdict.SKIPPED, "blocked:refused")
    assert (await world.asks_to_deliver(person, sms(TEXT), policy=policy, at=now + 7 * DAY)).gone
    assert await world.effects(person) == {"email": 0, "sms": 1}


async def test_while_a_person_talks_with_them_no_journey_writes(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await at_work(world, person, "credit_application_started")
    customer = (await person.enrolments())[-1]["customer_id"]
    policy = Policy(quiet_hours=ALWAYS)
    async with world.pool.acquire() as connection, connection.transaction():
        await customers.lock(connection, [customer])
        await silences.open_dialogue(connection, customer, "operator:crm", now)
    held = await world.asks_to_deliver(person, email(TEXT), policy=policy, at=now + HOUR)
    assert (held.verdict, held.reason, held.not_before) == (Verdict.NOT_YET, "dialogue", now + 2 * HOUR)
    async with world.pool.acquire() as connection, connection.transaction():
        await customers.lock(connection, [customer])
        assert await silences.close_dialogue(connection, customer, now + HOUR)
    assert (await world.asks_to_deliver(person, email(TEXT), policy=policy, at=now + 2 * HOUR)).gone


async def test_who_is_held_out_lives_the_journey_and_hears_nothing(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await at_work(world, person, "credit_application_started")
    held_out = Policy(quiet_hours=ALWAYS, holdout=1)
    assert (
        verdicts(
            [await world.asks_to_deliver(person, draft, policy=held_out, at=now) for draft in (email(TEXT), sms(TEXT))]
        )
        == [(Verdict.SKIPPED, "holdout:global")] * 2
    )
    assert await person.outcome_kept() is None


async def test_a_customer_found_to_be_two_keeps_the_silences_of_both(world: World) -> None:
    person, anonymous, now = await world.person(), uuid4().hex, datetime.now(UTC)
    await world.tell({"anonymousId": anonymous, "event": "page_seen"}, "track", now)
    stranger = await world.pool.fetchval("select customer_id from identities where value = $1", anonymous)
    customer = await world.pool.fetchval("select customer_id from identities where value = $1", person.user_id)
    async with world.pool.acquire() as connection, connection.transaction():
        await customers.lock(connection, [stranger, customer])
        await silences.block(connection, stranger, "complaint", "operator:crm", now, now + DAY)
        for each in (stranger, customer):
            await silences.open_dialogue(connection, each, "operator:crm", now)
    await world.tell({"anonymousId": anonymous, "userId": person.user_id, "event": "page_seen"}, "track", now)
    async with world.pool.acquire() as connection:
        assert [row["name"] for row in await silences.blocks(connection, customer)] == ["complaint"]
        assert await silences.dialogue(connection, customer) is not None


# Rate limits.


async def test_a_rate_limit_becomes_the_next_attempts_time(world: World) -> None:
    person = await world.person(timezone=where_it_is(10))
    await world.limits_rate("sendgrid", person.email, retry_after=90)
    await person.does("visit_begun", application_id="A-1")
    await person.passes(2 * DAY)
    await world.until(lambda: person.status_of("email"), "waiting")
    (wait,) = (await person.standing())["waiting"]
    assert (wait["for"], wait["policy"]) == (f"email {TEXT}: provider:http_429", True)
    (row,) = await person.messages()
    left = timedelta(seconds=90)
    assert datetime.fromisoformat(wait["until"]) == row["journey_at"] + left == row["not_before"]
    await person.passes(left)
    assert await person.outcome() == "finished"
    assert await person.got() == [f"email {TEXT.split('/')[-1]}"]
    assert (await world.effects(person))["email"] == 1
    assert await world.decisions(row["id"]) == [("delay", "provider:http_429", 1)]
    assert await person.status_of("email") == Status.DELIVERED


async def test_paused_while_it_waits_for_the_provider_it_stays_silent(world: World) -> None:
    person = await world.person(timezone=where_it_is(10))
    await world.limits_rate("sendgrid", person.email, retry_after=90)
    await person.does("visit_begun", application_id="A-1")
    await person.passes(2 * DAY)
    await world.until(lambda: person.status_of("email"), "waiting")
    await (await person.run()).execute_update("pause")
    await person.passes(HOUR)
    assert await person.got() == []
    await (await person.run()).execute_update("resume")
    assert await person.outcome() == "finished"
    assert (await world.effects(person))["email"] == 1
