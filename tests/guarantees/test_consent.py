"""Consent at work: what a customer wishes, by whichever way, holds for the very next message; the newest wish holds."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.messages import Channel, Delivery, MessageClass, Verdict
from policy.configuration import Policy
from store import consents, contact, customers
from store.consents import ALL, Wish
from store.contact import Question
from store.database import Connection
from tests.guarantees.test_attacks import waits_for_a_lock
from tests.world import Person, World
from workflows.drafts import Drafting, call, email, sms

TEXT = "abandoned_application/almost_empty"
POLICY = Policy(quiet_hours=dict.fromkeys(Channel, (0, 24)))
MINUTE = timedelta(minutes=1)


@dataclass
class Reader:
    """A customer in a journey, who gets messages one by one."""

    world: World
    person: Person
    sent: int = 0

    async def is_sent(self, by: Drafting, *, transactional: bool = False, policy: Policy = POLICY) -> Delivery:
        """One more message is to be sent to them."""
        self.sent += 1
        draft = by(TEXT, again=True, transactional=transactional)
        at = datetime.now(UTC) + self.sent * MINUTE
        return await self.world.asks_to_deliver(self.person, draft, policy=policy, at=at, occurrence=self.sent)

    async def entry(self, message: UUID) -> dict[str, Any]:
        """A message as their provider has it."""
        found = await self.world.providers.get("/_sandbox/ledger", params={"message_id": str(message)})
        (entry,) = found.json()["entries"]
        return dict(entry)

    async def does(self, message: UUID, gesture: str, **body: str) -> httpx.Response:
        """They do something with a message that arrived."""
        path = f"/_sandbox/messages/{(await self.entry(message))['id']}/{gesture}"
        return (await self.world.providers.post(path, json=body or None)).raise_for_status()

    async def ledger(self) -> list[tuple[str, str, bool, str]]:
        """What is kept of their wishes, in order."""
        rows = await self.world.pool.fetch(
            """
            select channel, topic, given, source from consents
            where customer_id = (select customer_id from identities where value = $1) or address in ($2, $3) order by id
            """,
            self.person.user_id,
            self.person.email,
            self.person.phone,
        )
        return [tuple(row.values()) for row in rows]


async def a_reader(world: World, **traits: Any) -> Reader:
    person = await world.person(**traits)
    await person.begins()
    return Reader(world, person)


async def test_one_click_in_a_mail_program_ends_marketing_by_email_and_nothing_else(world: World) -> None:
    reader = await a_reader(world)
    letter = await reader.is_sent(email)
    headers = (await reader.entry(letter.message))["details"]["headers"]
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    address = headers["List-Unsubscribe"].removeprefix("<").removesuffix(">")
    assert address == world.deliver.links.unsubscribe(letter.message)
    async with httpx.AsyncClient() as scanner:
        assert (await scanner.get(address)).status_code == 200
    assert (await reader.is_sent(email)).gone
    answer = (await reader.does(letter.message, "unsubscribe")).json()
    assert (answer["status"], answer["location"]) == (200, None)
    assert await reader.ledger() == [("email", "*", False, "one_click")]
    dropped = await reader.is_sent(email)
    assert (dropped.verdict, dropped.reason) == (Verdict.SKIPPED, "no_consent:email/offers withdrawn, one_click")
    assert (await reader.is_sent(sms)).gone
    assert (await reader.is_sent(email, transactional=True)).gone
    assert (await world.effects(reader.person))["email"] == 3


async def test_a_letter_leads_to_the_page_of_preferences_and_a_transactional_one_does_not(world: World) -> None:
    reader = await a_reader(world)
    letter, bill = await reader.is_sent(email), await reader.is_sent(email, transactional=True)
    preferences = world.deliver.links.preferences(letter.message)
    entry = await reader.entry(letter.message)
    assert preferences in entry["html"]
    assert preferences in entry["text"]
    entry = await reader.entry(bill.message)
    assert "/p/" not in entry["html"]
    assert "List-Unsubscribe" not in entry["details"]["headers"]


async def test_stop_ends_everything_by_sms_and_start_undoes_it(world: World) -> None:
    reader = await a_reader(world)
    first = await reader.is_sent(sms)
    await reader.does(first.message, "reply", text="STOP")
    await world.until(reader.ledger, [("sms", "*", False, "twilio:stop")])
    for transactional in (False, True):
        dropped = await reader.is_sent(sms, transactional=transactional)
        assert (dropped.verdict, dropped.reason) == (Verdict.SKIPPED, "suppressed:opted_out")
    assert (await reader.is_sent(email)).gone
    await reader.does(first.message, "reply", text="START")
    await world.until(lambda: count(reader), 2)
    assert (await reader.ledger())[-1] == ("sms", "*", True, "twilio:start")
    for transactional in (False, True):
        assert (await reader.is_sent(sms, transactional=transactional)).gone
    assert (await world.effects(reader.person))["sms"] == 3


async def count(reader: Reader) -> int:
    return len(await reader.ledger())


async def test_a_stop_only_twilio_knew_of_is_learnt_by_its_refusal(world: World) -> None:
    reader = await a_reader(world)
    # To this number Twilio says that they opted out (magic numbers of its test credentials).
    await world.pool.execute("update customers set phone = '+15005550004' where phone = $1", reader.person.phone)
    reader.person.phone = "+15005550004"
    refused = await reader.is_sent(sms)
    assert (refused.verdict, refused.reason) == (Verdict.FAILED, "21610")
    assert (await reader.ledger())[-1] == ("sms", "*", False, "twilio:21610")
    again = await reader.is_sent(sms, transactional=True)
    assert (again.verdict, again.reason) == (Verdict.SKIPPED, "suppressed:opted_out")


async def test_a_complaint_ends_all_letters_to_whoever_reads_there(world: World) -> None:
    reader = await a_reader(world)
    other = await a_reader(world, email=reader.person.email.upper())
    letter = await reader.is_sent(email)
    await reader.does(letter.message, "spam")
    await world.until(reader.ledger, [("email", "*", False, "sendgrid:spamreport")])
    for each in (reader, other):
        dropped = await each.is_sent(email, transactional=True)
        assert dropped.reason == "suppressed:complained"


async def test_two_who_share_a_mailbox_are_both_unsubscribed_by_either_letter(world: World) -> None:
    first = await a_reader(world)
    second = await a_reader(world, email=first.person.email)
    letter = await first.is_sent(email)
    assert (await second.is_sent(email)).gone
    await first.does(letter.message, "unsubscribe")
    dropped = await second.is_sent(email)
    assert dropped.reason == "no_consent:email/offers withdrawn, one_click"
    assert (await second.is_sent(sms)).gone


async def test_where_consent_is_required_there_is_none_until_it_is_given(world: World) -> None:
    reader = await a_reader(world)
    required = POLICY.model_copy(update={"consent": {Channel.CALL: "required"}})
    never = await reader.is_sent(call, policy=required)
    assert never.reason == "no_consent:call/offers never given"
    assert (await reader.is_sent(email, policy=required)).gone
    async with httpx.AsyncClient(base_url=world.settings.base) as backend:
        answer = await backend.post(
            f"/v1/customers/{reader.person.user_id}/consents",
            json={"channel": "call", "topic": "offers", "given": True, "source": "registration_form"},
            headers={"Authorization": f"Bearer {world.stack.write_key}"},
        )
        assert answer.status_code == 201, answer.text
    assert (await reader.is_sent(call, policy=required)).gone


# The order of a wish and a claim.


@pytest.mark.parametrize("whose", ["their own", "of who shares the mailbox"])
async def test_a_claim_that_waits_for_a_wish_sees_it(world: World, whose: str) -> None:
    first = await a_reader(world)
    second = await a_reader(world, email=first.person.email)
    letter = await first.is_sent(email)
    reader = first if whose == "their own" else second
    async with world.pool.acquire() as wishing, world.pool.acquire() as observer, wishing.transaction():
        found = await consents.locked_reader(wishing, letter.message)
        assert found is not None
        asked = asyncio.create_task(reader.is_sent(email))
        await world.until(lambda: waits_for_a_lock(observer), True)
        wish = Wish("email", ALL, given=False, source="one_click")
        await consents.record(wishing, wish, customer=found.customer, address=found.address)
    assert (await asked).reason == "no_consent:email/offers withdrawn, one_click"


async def test_a_stop_from_a_phone_two_share_waits_for_a_claim_of_either(world: World) -> None:
    first = await a_reader(world)
    second = await a_reader(world, phone=first.person.phone)
    message = await first.is_sent(sms)
    async with world.pool.acquire() as claiming, world.pool.acquire() as observer, claiming.transaction():
        await claiming.execute(
            "select 1 from customers c join identities i on i.customer_id = c.id where i.value = $1 for update of c",
            second.person.user_id,
        )
        replying = asyncio.create_task(first.does(message.message, "reply", text="STOP"))
        await world.until(lambda: waits_for_a_lock(observer), True)
        assert await first.ledger() == []
    await replying
    await world.until(first.ledger, [("sms", "*", False, "twilio:stop")])
    assert (await second.is_sent(sms)).reason == "suppressed:opted_out"


# Any sequence of wishes.

TOPICS = ("offers", "news")
CHANNELS = (Channel.EMAIL, Channel.SMS, Channel.PUSH)
EMAILS, PHONES = ("one@wishes.example", "two@wishes.example"), ("+14155559990", "+14155559991")


@dataclass(frozen=True)
class Wished:
    """Somebody wishes something, or did days ago; `who` counts the customers, `at` the addresses of a channel."""

    who: int | None
    at: int | None
    channel: str
    topic: str
    given: bool
    ago: int


@dataclass(frozen=True)
class Erased:
    """Whose traces are hidden."""

    who: int


wishes = st.builds(
    Wished,
    who=st.sampled_from([None, 0, 0, 1, 2]),
    at=st.sampled_from([None, None, 0, 1]),
    channel=st.sampled_from([*CHANNELS, ALL, ALL, ALL]),
    topic=st.sampled_from([*TOPICS, ALL, ALL]),
    given=st.booleans(),
    ago=st.integers(0, 9),
).filter(lambda wish: wish.who is not None or wish.at is not None)

Step = Wished | Erased | Literal["merge"]


def address(channel: str, number: int | None) -> str | None:
    """An address by which a wish about a channel may come, in the case somebody happens to write it in."""
    if number is None:
        return None
    return PHONES[number] if channel == Channel.SMS else EMAILS[number].upper()


def expected(steps: Sequence[Step], who: int, channel: Channel, reached_at: str | None, topic: str) -> bool | None:
    """What holds, by looking through everything that was ever wished."""
    merged = "merge" in steps
    for step in reversed(steps):
        if not isinstance(step, Wished):
            continue
        own = step.who is not None and (0 if merged and step.who == 1 else step.who) == who
        said_at = address(step.channel, step.at)
        there = said_at is not None and reached_at is not None and said_at.lower() == reached_at.lower()
        if (own or there) and step.channel in (channel, ALL) and step.topic in (topic, ALL):
            return step.given
    return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(wishes | wishes | wishes | st.builds(Erased, st.integers(0, 2)), min_size=5, max_size=16),
    merged_at=st.none() | st.integers(0, 16),
)
async def test_the_newest_wish_holds_whatever_was_wished(
    world: World, steps: list[Step], merged_at: int | None
) -> None:
    if merged_at is not None:
        steps = [*steps[:merged_at], "merge", *steps[merged_at:]]
    async with world.pool.acquire() as connection:
        everything = connection.transaction()
        await everything.start()
        try:
            people = await three_people(connection)
            await live(connection, people, steps)
            for who in (0, 2):
                await compare(connection, people[who], who, steps)
        finally:
            await everything.rollback()


async def three_people(connection: Connection) -> list[int]:
    """The first two have the same mailbox, the last two the same phone."""
    reached = [(EMAILS[0], PHONES[0]), (EMAILS[0].upper(), PHONES[1]), (EMAILS[1], PHONES[1])]
    numbers = []
    for mailbox, phone in reached:
        number = await customers.create(connection, ("user", uuid4().hex))
        await connection.execute("update customers set email = $2, phone = $3 where id = $1", number, mailbox, phone)
        numbers.append(number)
    return numbers


async def live(connection: Connection, people: list[int], steps: Sequence[Step]) -> None:
    now_known_as = {0: 0, 1: 1, 2: 2}
    for step in steps:
        match step:
            case Wished(who, at, channel, topic, given, ago):
                customer = None if who is None else people[now_known_as[who]]
                said = datetime.now(UTC) - timedelta(days=ago)
                wish = Wish(channel, topic, given=given, source="test", proof={"form": "7"}, at=said)
                await consents.record(connection, wish, customer=customer, address=address(channel, at))
            case Erased(who):
                person = await contact.person(connection, people[who])
                addresses = [each.lower() for each in (person.email, person.phone) if each]
                await consents.hide(connection, people[who], addresses)
            case "merge":
                await customers.merge(connection, people[1], people[0])
                now_known_as[1] = 0


async def compare(connection: Connection, customer: int, who: int, steps: Sequence[Step]) -> None:
    """Hold the page, the API and the policy to what a look through everything says."""
    person = await contact.person(connection, customer)
    told = await consents.newest(connection, person, CHANNELS, TOPICS)
    for channel in CHANNELS:
        for topic in TOPICS:
            wanted = expected(steps, who, channel, person.address(channel), topic)
            entry = told.get((channel, topic))
            assert (entry.given if entry else None) is wanted
            question = Question(
                message=None,
                now=datetime.now(UTC),
                channel=channel,
                message_class=MessageClass.MARKETING,
                expires_at=None,
                journey="AbandonedApplication",
                topic=topic,
                priority=3,
                gives_way=False,
            )
            decided_on = (await contact.facts(connection, POLICY, person, question, None)).consent
            assert (decided_on.given if decided_on else None) is wanted
