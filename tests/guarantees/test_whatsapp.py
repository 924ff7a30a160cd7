"""WhatsApp as a customer sees it: free text while they talk with us, else an approved template."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from temporalio.testing import ActivityEnvironment

from activities.templates import ReviewTemplates
from activities.whatsapp import CannotSend, To, say
from channels.http import open_client
from channels.twilio import Twilio, TwilioSettings, TwilioWhatsApp
from dispatch.reconciler import review_templates
from domain.clock import Clock
from domain.messages import Channel, Delivery, Draft, Status, Verdict, WhatsAppContent
from policy.configuration import Policy
from store import customers, whatsapp
from store.texts import Name
from tests.guarantees.test_texts import published
from tests.world import Person, World
from workflows.upkeep import REVIEW_TEMPLATES

ALWAYS = Policy(quiet_hours=dict.fromkeys(Channel, (0, 24)))
SENDER, OTHER = "+14155238886", "+14155238887"

HELLO = """---
category: marketing
button: yes | Yes, please
button: no | No
---
Dear {{ customer.first_name | default: "customer" }}, we kept your form.
Go on here: {{ site }}/credit/{{ event.application_id }}.
"""


@dataclass
class Desk:
    """A WhatsApp text of a test's own, with its reviewers."""

    world: World
    name: Name

    @property
    def draft(self) -> Draft:
        return Draft(channel=Channel.WHATSAPP, template=self.name.template)

    async def writes(self, source: str) -> None:
        """Publish a version of the text."""
        await published(self.world, self.name, source)

    async def submits(self) -> list[dict[str, Any]]:
        """An operator has the text reviewed, and the worker does what is due."""
        headers = {"Authorization": f"Bearer {self.world.stack.operator_key}"}
        async with httpx.AsyncClient(base_url=self.world.stack.api_url, headers=headers) as operator:
            answer = await operator.post("/v1/whatsapp/templates/submit", json={"template": self.name.template})
        told: list[dict[str, Any]] = answer.raise_for_status().json()
        await self.catches_up()
        return told

    async def catches_up(self) -> None:
        """Have the worker ask what the reviewers say, as when time has passed."""
        await self.world.pool.execute(
            "update whatsapp_templates set look_after = now() where template = $1", self.name.template
        )
        assert await review_templates(self.world.pool, self.world.temporal)
        await self.world.temporal.get_workflow_handle(REVIEW_TEMPLATES).result()

    async def says(self, status: str) -> None:
        """A reviewer decides about the newest version, and we hear of it."""
        newest = (await self.versions())[0]
        answer = await self.world.providers.post(
            f"/_sandbox/whatsapp/templates/{newest['content_sid']}/review", json={"status": status}
        )
        answer.raise_for_status()
        await self.catches_up()

    async def versions(self) -> list[Any]:
        async with self.world.pool.acquire() as connection:
            return [row for row in await whatsapp.templates(connection) if row["template"] == self.name.template]

    async def goes_to(self, person: Person, by: World | None = None, **more: Any) -> Delivery:
        """Ask for the message, as a run of the person's would."""
        now = datetime.now(UTC)
        world = by or self.world
        return await world.asks_to_deliver(person, self.draft, policy=ALWAYS, at=now, **more)


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    """A text nobody has reviewed yet, and reviewers who wait for somebody to decide."""
    await reviews(world, by_itself=False)
    yield Desk(world, Name(f"campaigns/t{uuid4().hex[:8]}", Channel.WHATSAPP, "en"))
    await reviews(world, by_itself=True)


async def reviews(world: World, *, by_itself: bool) -> None:
    (await world.providers.put("/_sandbox/whatsapp/reviews", json={"by_itself": by_itself})).raise_for_status()


async def somebody(world: World) -> Person:
    person = await world.person()
    await person.begins(filled=10)
    return person


async def writes(person: Person, text: str = "Hi", to: str = SENDER) -> None:
    """The person writes to us by WhatsApp; the product hears of it."""
    order = {"from": person.phone, "to": to, "text": text, "channel": "whatsapp"}
    (await person.world.providers.post("/_sandbox/inbound", json=order)).raise_for_status()


async def known_as(person: Person) -> tuple[int, Clock]:
    """Our number of the person, and their clock."""
    customer = (await person.enrolments())[-1]["customer_id"]
    async with person.world.pool.acquire() as connection:
        return customer, await customers.clock_of(connection, customer)


async def newest(person: Person) -> Any:
    return (await person.world.messages_of(person, "whatsapp"))[-1]


async def arrived(person: Person) -> list[dict[str, Any]]:
    """What is on the person's phone, by the provider's ledger."""
    ledger = await person.world.providers.get("/_sandbox/ledger", params={"address": person.phone})
    return [each for each in ledger.json()["entries"] if each["direction"] == "outbound"]


async def test_a_template_is_submitted_with_numbered_variables_and_goes_out_once_it_is_approved(desk: Desk) -> None:
    await desk.writes(HELLO)
    person = await somebody(desk.world)
    delivery = await desk.goes_to(person)
    assert (delivery.verdict, delivery.reason) == (Verdict.SKIPPED, "whatsapp_template:never submitted")

    (told,) = [each for each in await desk.submits() if each["locale"] == "en"]
    assert told == {"template": desk.name.template, "locale": "en", "status": "requested", "problems": []}
    (version,) = await desk.versions()
    assert version["status"] == "submitted"
    assert version["form"]["body"] == "Dear {{1}}, we kept your form.\nGo on here: {{2}}."
    delivery = await desk.goes_to(person)
    assert delivery.reason == "whatsapp_template:never approved, the newest is submitted"
    assert await arrived(person) == []

    await desk.says("approved")
    assert (await desk.goes_to(person)).verdict is Verdict.GONE
    (entry,) = await arrived(person)
    row = await newest(person)
    assert entry["details"]["content_sid"] == version["content_sid"]
    assert entry["text"].startswith("Dear Ada, we kept your form.\nGo on here: http")
    assert entry["text"] == row["content"]["text"]
    assert row["links"] == ["https://cars.example/credit/A-1"]
    assert [button["id"] for button in entry["details"]["buttons"]] == ["yes", "no"]
    assert entry["status"] != "failed"


async def test_inside_the_window_free_text_goes_out_and_after_it_the_template(desk: Desk) -> None:
    await desk.writes("---\ncategory: marketing\n---\nWe kept your form, {{ customer.first_name }}, go on any time.")
    await desk.submits()
    await desk.says("approved")
    person, other, late = [await somebody(desk.world) for _ in range(3)]
    for each in (person, late):
        await writes(each)
    await desk.world.pool.execute(
        "update whatsapp_conversations set wrote_at = now() - interval '24 hours' where address = $1", late.phone
    )
    for each in (person, other, late):
        assert (await desk.goes_to(each)).gone
    told = [(await newest(each))["content"]["template"] for each in (person, other, late)]
    assert told[0] is None
    assert told[1] == told[2]
    assert told[1] is not None
    assert [entry["details"]["content_sid"] for entry in await arrived(person)] == [None]


async def test_a_window_that_is_over_in_journey_time_is_over(desk: Desk) -> None:
    await desk.writes("---\ncategory: marketing\n---\nWe kept your form, go on any time.")
    person = await somebody(desk.world)
    await writes(person)
    at = datetime.now(UTC) + timedelta(hours=25)
    delivery = await desk.world.asks_to_deliver(person, desk.draft, policy=ALWAYS, at=at)
    assert delivery.reason == "whatsapp_template:never submitted"


async def test_an_edited_template_waits_for_its_approval_and_the_one_before_goes_out(desk: Desk) -> None:
    await desk.writes("---\ncategory: marketing\n---\nThe first words.")
    await desk.submits()
    await desk.says("approved")
    await desk.writes("---\ncategory: utility\n---\nThe second words.")
    await desk.submits()
    assert [each["status"] for each in await desk.versions()] == ["submitted", "approved"]

    async def reads() -> str:
        person = await somebody(desk.world)
        assert (await desk.goes_to(person)).gone
        (entry,) = await arrived(person)
        return str(entry["text"])

    assert await reads() == "The first words."
    await desk.says("rejected")
    assert await reads() == "The first words."
    await desk.submits()  # What was rejected may be submitted again.
    await desk.says("approved")
    assert await reads() == "The second words."
    await desk.says("paused")
    assert await reads() == "The first words."


async def test_a_template_that_customers_complain_of_is_known_from_the_first_message_that_fails(desk: Desk) -> None:
    await desk.writes("---\ncategory: marketing\n---\nBuy more.")
    await desk.submits()
    await desk.says("approved")
    (version,) = await desk.versions()
    (
        await desk.world.providers.post(
            f"/_sandbox/whatsapp/templates/{version['content_sid']}/review", json={"status": "paused"}
        )
    ).raise_for_status()
    person = await somebody(desk.world)
    await desk.goes_to(person)
    await desk.world.until(lambda: person.status_of("whatsapp"), "failed")
    assert (await newest(person))["reason"] == "63041"
    (version,) = await desk.versions()
    assert (version["status"], version["reason"]) == ("paused", "twilio:63041")
    other = await somebody(desk.world)
    assert (await desk.goes_to(other)).reason == "whatsapp_template:never approved, the newest is paused"


async def test_what_twilio_says_of_our_account_says_nothing_of_a_template(desk: Desk) -> None:
    await desk.writes(HELLO)
    await desk.submits()
    await desk.says("approved")
    wrong = TwilioSettings().model_copy(update={"auth_token": SecretStr("of-last-year")})
    async with open_client() as client:
        provider = TwilioWhatsApp(Twilio(wrong, client, desk.world.settings.base))
        await desk.world.pool.execute(
            "update whatsapp_templates set look_after = now() where template = $1", desk.name.template
        )
        review = ReviewTemplates(desk.world.pool, provider).review_templates
        assert await ActivityEnvironment().run(review) >= 1
    assert [version["status"] for version in await desk.versions()] == ["approved"]


async def test_the_button_pressed_comes_back_as_the_choice_of_its_message(desk: Desk) -> None:
    await desk.writes(HELLO)
    await desk.submits()
    await desk.says("approved")
    person = await somebody(desk.world)
    await desk.goes_to(person)
    (entry,) = await arrived(person)
    pressed = await desk.world.providers.post(f"/_sandbox/messages/{entry['id']}/button", json={"payload": "no"})
    assert pressed.status_code == 202
    row = await newest(person)
    assert row["status"] == "replied"
    # Inside the window that has opened, the buttons of the text stay buttons, and nobody pays for a template.
    other = Desk(desk.world, Name(f"campaigns/t{uuid4().hex[:8]}", Channel.WHATSAPP, "en"))
    await other.writes(HELLO.replace("we kept", "we still have"))
    await other.submits()
    await other.goes_to(person)
    content = (await newest(person))["content"]
    assert content["template"]["category"] == "session"
    assert [button["id"] for button in (await arrived(person))[-1]["details"]["buttons"]] == ["yes", "no"]


async def test_without_any_resource_the_choices_of_a_conversation_are_numbers(desk: Desk) -> None:
    await desk.writes("---\ncategory: session\nbutton: a | Sedan\nbutton: b | Coupe\n---\nWhich one?")
    person = await somebody(desk.world)
    assert (await desk.goes_to(person)).reason == "whatsapp_template:never submitted"
    await writes(person)
    assert (await desk.goes_to(person)).gone
    (entry,) = await arrived(person)
    assert entry["text"] == "Which one?\n1 — Sedan\n2 — Coupe"


async def test_buttons_under_a_picture_are_lines_until_the_text_is_approved(desk: Desk) -> None:
    head = "category: marketing\nmedia: {{ site }}/cars/7.jpg\nbutton: next | Next\nbutton: no | Enough\n"
    await desk.writes(f"---\n{head}---\nIt is red.")
    await desk.submits()
    person = await somebody(desk.world)
    await writes(person)
    assert (await desk.goes_to(person)).gone
    await desk.world.until(lambda: person.status_of("whatsapp"), "delivered")
    await desk.says("approved")
    assert (await desk.goes_to(person, occurrence=2)).gone
    lines, buttons = await arrived(person)
    assert (lines["text"], lines["details"]["buttons"]) == ("It is red.\n1 — Next\n2 — Enough", [])
    assert [button["id"] for button in buttons["details"]["buttons"]] == ["next", "no"]
    assert lines["details"]["media"] == buttons["details"]["media"] == ["https://cars.example/cars/7.jpg"]


async def test_a_picture_goes_along_inside_the_window_and_with_a_template(desk: Desk) -> None:
    await desk.writes("---\ncategory: marketing\nmedia: {{ site }}/cars/7.jpg\n---\nYour car is here.")
    await desk.submits()
    await desk.says("approved")
    person, other = await somebody(desk.world), await somebody(desk.world)
    await writes(person)
    for each in (person, other):
        assert (await desk.goes_to(each)).gone
        (entry,) = await arrived(each)
        assert entry["details"]["media"] == ["https://cars.example/cars/7.jpg"]


async def test_a_text_with_values_too_long_for_whatsapp_fails_with_the_limit(desk: Desk) -> None:
    await desk.writes("---\ncategory: session\n---\n{{ customer.first_name }}, hello.")
    person = await desk.world.person(first_name="A" * 1000)
    await person.begins(filled=10)
    await writes(person)
    delivery = await desk.goes_to(person)
    assert delivery.verdict is Verdict.SKIPPED
    assert delivery.reason is not None
    assert "1008 characters, at most 1000" in delivery.reason


@pytest.fixture
async def two_senders(world: World) -> AsyncIterator[World]:
    """The product with two numbers to send from, none of them blocked before or after."""
    settings = TwilioSettings().model_copy(update={"whatsapp_from": f"{SENDER},{OTHER}"})
    async with open_client() as client:
        port = TwilioWhatsApp(Twilio(settings, client, world.settings.base))
        yield replace(
            world, deliver=replace(world.deliver, channels={**world.deliver.channels, Channel.WHATSAPP: port})
        )
    for sender in (SENDER, OTHER):
        await world.providers.delete(f"/_sandbox/whatsapp/senders/{sender}")
    await world.pool.execute("delete from sender_blocks")


async def is_blocked(world: World, sender: str, code: int, *, at_once: bool = True) -> None:
    order = {"error_code": code, "at_once": at_once}
    (await world.providers.put(f"/_sandbox/whatsapp/senders/{sender}", json=order)).raise_for_status()


async def senders_of(person: Person) -> list[str]:
    return [entry["sender"] for entry in await arrived(person)]


async def test_a_conversation_keeps_its_sender(desk: Desk, two_senders: World) -> None:
    await desk.writes("---\ncategory: session\n---\nHello.")
    for sender in (SENDER, OTHER):
        person = await somebody(desk.world)
        await writes(person, to=sender)
        for occurrence in (1, 2):
            assert (await desk.goes_to(person, two_senders, occurrence=occurrence)).gone
        assert await senders_of(person) == [sender, sender]


@pytest.mark.parametrize("code", [63018, 63112, 63007])
async def test_what_a_blocked_sender_refuses_goes_out_from_another_at_once(
    desk: Desk, two_senders: World, code: int
) -> None:
    await desk.writes("---\ncategory: marketing\n---\nHello.")
    await desk.submits()
    await desk.says("approved")
    person = await somebody(desk.world)
    await writes(person, to=SENDER)
    await is_blocked(desk.world, SENDER, code)
    assert (await desk.goes_to(person, two_senders)).gone
    assert await senders_of(person) == [OTHER]
    (block,) = await desk.world.pool.fetch("select sender, code from sender_blocks where until > now()")
    assert (block["sender"], block["code"]) == (SENDER, str(code))
    row = await newest(person)
    assert ("delay", f"provider:{code}", 1) in await desk.world.decisions(row["id"])


async def test_a_sender_that_fails_afterwards_is_not_used_for_the_next_message(desk: Desk, two_senders: World) -> None:
    await desk.writes("---\ncategory: session\n---\nHello.")
    person = await somebody(desk.world)
    await writes(person, to=SENDER)
    await writes(person, to=OTHER)
    await is_blocked(desk.world, OTHER, 63112, at_once=False)
    await desk.goes_to(person, two_senders)
    await desk.world.until(lambda: person.status_of("whatsapp"), "failed")
    assert (await desk.goes_to(person, two_senders, occurrence=2)).gone
    assert await senders_of(person) == [OTHER, SENDER]


async def test_what_whatsapp_says_of_one_message_blocks_no_sender(desk: Desk, two_senders: World) -> None:
    await desk.writes("---\ncategory: session\n---\nHello.")
    person = await somebody(desk.world)
    await writes(person)
    await is_blocked(desk.world, SENDER, 63013)
    delivery = await desk.goes_to(person, two_senders)
    assert (delivery.verdict, delivery.reason) == (Verdict.FAILED, "63013")
    assert await desk.world.pool.fetch("select sender from sender_blocks") == []


async def test_a_sender_that_is_blocked_again_and_again_rests_ever_longer(two_senders: World) -> None:
    async def rests(after: str) -> float:
        """Block it, so long after the end of the block before; the minutes for which it is left alone."""
        async with two_senders.pool.acquire() as connection:
            await connection.execute(
                "update sender_blocks set since = now() - (until - since) - $1::text::interval, "
                "until = now() - $1::text::interval",
                after,
            )
            await whatsapp.block_sender(connection, SENDER, "63018", timedelta(minutes=1))
            rest: timedelta = await connection.fetchval("select until - since from sender_blocks")
        return rest / timedelta(minutes=1)

    assert [await rests("1 second") for _ in range(4)] == [1, 2, 4, 8]
    assert await rests("9 minutes") == 1
    assert [await rests("1 second") for _ in range(12)][-2:] == [1440, 1440]


@pytest.mark.parametrize(("left", "rest"), [("30 seconds", 1), ("0 seconds", 2)])
async def test_what_is_reported_late_of_messages_that_left_before_a_block_does_not_prolong_it(
    desk: Desk, left: str, rest: int
) -> None:
    await desk.writes("---\ncategory: session\n---\nHello.")
    person = await somebody(desk.world)
    await writes(person)
    assert (await desk.goes_to(person)).gone
    message = (await newest(person))["id"]
    minute = timedelta(minutes=1)
    async with desk.world.pool.acquire() as connection:
        await whatsapp.block_sender(connection, SENDER, "63018", minute)
        await connection.execute(
            "update sender_blocks set since = now() - interval '61 s', until = now() - interval '1 s'"
        )
        await connection.execute(
            "update messages set sending_at = now() - $2::text::interval where id = $1", message, left
        )
        await whatsapp.block_sender(connection, SENDER, "63018", minute, message)
        assert await connection.fetchval("delete from sender_blocks returning until - since") == rest * minute


async def test_while_the_only_sender_rests_for_its_rate_limit_messages_wait_and_then_go(desk: Desk) -> None:
    await desk.writes("---\ncategory: marketing\n---\nHello.")
    await desk.submits()
    await desk.says("approved")
    person = await somebody(desk.world)
    async with desk.world.pool.acquire() as connection:
        await whatsapp.block_sender(connection, SENDER, "63018", timedelta(minutes=1))
    delivery = await desk.goes_to(person)
    until = await desk.world.pool.fetchval("delete from sender_blocks returning until")
    assert (delivery.verdict, (delivery.reason or "")[:29]) == (Verdict.NOT_YET, "whatsapp_senders:all blocked,")
    _, clock = await known_as(person)
    assert delivery.not_before == clock.journey_time(until)
    assert (await desk.goes_to(person)).gone


async def test_a_message_that_is_worth_nothing_after_its_senders_rest_does_not_wait_for_it(desk: Desk) -> None:
    await desk.writes("---\ncategory: session\n---\nHello.")
    person = await somebody(desk.world)
    await writes(person)
    async with desk.world.pool.acquire() as connection:
        await whatsapp.block_sender(connection, SENDER, "63018", timedelta(minutes=1))
    delivery = await desk.goes_to(person, useful_for=timedelta(seconds=30))
    await desk.world.pool.execute("delete from sender_blocks")
    assert delivery.verdict is Verdict.SKIPPED


async def test_an_operators_answer_waits_for_the_number_the_customer_talks_with(two_senders: World) -> None:
    person = await somebody(two_senders)
    await writes(person)
    senders = (SENDER, OTHER)
    customer, clock = await known_as(person)
    to = To(customer=customer, recipient=person.phone, now=clock.journey_time(datetime.now(UTC)), clock=clock)
    async with two_senders.pool.acquire() as connection:
        await whatsapp.block_sender(connection, SENDER, "63018", timedelta(minutes=1))
        with pytest.raises(CannotSend, match="whatsapp_senders:all blocked") as caught:
            await say(connection, senders, to, WhatsAppContent(text="Tomorrow at eleven?"))
        assert caught.value.until is not None
        await connection.execute("delete from sender_blocks")
        assert (await say(connection, senders, to, WhatsAppContent(text="Tomorrow at eleven?"))).sender == SENDER


async def test_with_every_sender_blocked_the_message_comes_back_at_once_and_the_next_channel_is_free(
    desk: Desk, two_senders: World
) -> None:
    await desk.writes("---\ncategory: utility\n---\nHello.")
    await desk.submits()
    await desk.says("approved")
    person = await somebody(desk.world)
    for sender in (SENDER, OTHER):
        await is_blocked(desk.world, sender, 63112)
    delivery = await desk.goes_to(person, two_senders)
    assert delivery.verdict is Verdict.SKIPPED
    assert delivery.reason is not None
    assert delivery.reason.startswith("whatsapp_senders:all blocked, the first until ")
    assert await arrived(person) == []
    # When the period is over it is tried again.
    await desk.world.pool.execute("update sender_blocks set until = now()")
    await desk.world.providers.delete(f"/_sandbox/whatsapp/senders/{SENDER}")
    assert (await desk.goes_to(person, two_senders)).gone
    assert await senders_of(person) == [SENDER]


async def test_a_message_that_failed_for_its_sender_is_kept_with_the_code_and_frees_the_cascade(
    desk: Desk, two_senders: World
) -> None:
    await desk.writes("---\ncategory: session\n---\nHello.")
    person = await somebody(desk.world)
    await writes(person)
    await is_blocked(desk.world, SENDER, 63018, at_once=False)
    assert (await desk.goes_to(person, two_senders)).status in (Status.ACCEPTED, Status.FAILED)
    await desk.world.until(lambda: person.status_of("whatsapp"), "failed")
    assert (await newest(person))["reason"] == "63018"


async def test_of_somebody_erased_no_conversation_is_kept(desk: Desk) -> None:
    person = await somebody(desk.world)
    await writes(person)
    headers = {"Authorization": f"Bearer {desk.world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=desk.world.stack.api_url, headers=headers) as operator:
        (await operator.delete(f"/v1/customers/{person.user_id}")).raise_for_status()
    count = "select count(*) from whatsapp_conversations where address = $1"
    assert await desk.world.pool.fetchval(count, person.phone) == 0
    await writes(person)
    assert await desk.world.pool.fetchval(count, person.phone) == 0
