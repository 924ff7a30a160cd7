"""Every message keeps what it costs, and a cascade that looks at prices sends one message and no other."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest
from temporalio.testing import ActivityEnvironment

from domain.messages import Channel, DeliverRequest, Delivery, Draft
from domain.tariffs import Tariffs
from policy.configuration import Policy
from store import messages, texts
from store.texts import Name
from tests.guarantees.test_texts import published
from tests.world import Person, World

ALWAYS = Policy(quiet_hours=dict.fromkeys(Channel, (0, 24)))
RUB = {"currency": "RUB", "whatsapp": 12, "sms": {"segment": 3, "ucs2": [72, 72]}, "email": 0.2}
TEXT = "abandoned_application/partly_filled"
LONG = "Заявка ждёт вас. " * 17


def by(world: World, tariffs: Mapping[str, object]) -> World:
    """The product of somebody with these tariffs."""
    deployment = world.deliver.deployment.model_copy(
        update={"tariffs": Tariffs.model_validate(tariffs), "policy": ALWAYS}
    )
    return replace(world, deliver=replace(world.deliver, deployment=deployment))


async def asks_for_one_of(world: World, person: Person, *drafts: Draft) -> Delivery:
    """Ask for the cheapest of some messages, as a run of the person's would."""
    stay = (await person.enrolments())[-1]
    newest = await world.pool.fetchval("select max(id) from events where customer_id = $1", stay["customer_id"])
    first, *others = [DeliverRequest(enrolment=stay["id"], draft=draft, decided_after=newest) for draft in drafts]
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, started_time=datetime.now(UTC))
    request = first.model_copy(update={"alternatives": tuple(others)})
    delivery: Delivery = await environment.run(world.deliver.deliver, request)
    return delivery


async def somebody(world: World) -> Person:
    person = await world.person()
    await person.begins(filled=10)
    return person


async def written_to(person: Person) -> list[tuple[str, Decimal | None, str | None]]:
    return [(row["channel"], row["cost"], row["currency"]) for row in await person.messages()]


def draft(channel: Channel, template: str = TEXT) -> Draft:
    return Draft(channel=channel, template=template)


@pytest.mark.parametrize(
    ("words", "cheapest", "cost"),
    [("Заявка ждёт вас.", Channel.SMS, Decimal(3)), (LONG, Channel.WHATSAPP, Decimal(12))],
)
async def test_how_long_the_text_is_decides_between_sms_and_whatsapp(
    world: World, words: str, cheapest: Channel, cost: Decimal
) -> None:
    name = f"campaigns/t{uuid4().hex[:8]}"
    await published(world, Name(name, Channel.SMS, "en"), words)
    await published(world, Name(name, Channel.WHATSAPP, "en"), f"---\ncategory: session\n---\n{words}")
    person = await somebody(world)
    order = {"from": person.phone, "to": "+14155238886", "text": "Hi", "channel": "whatsapp"}
    (await world.providers.post("/_sandbox/inbound", json=order)).raise_for_status()
    delivery = await asks_for_one_of(by(world, RUB), person, draft(Channel.WHATSAPP, name), draft(Channel.SMS, name))
    assert delivery.gone
    assert await written_to(person) == [(cheapest, cost, "RUB")]


async def test_asked_again_it_sends_no_other_even_if_prices_have_changed(world: World) -> None:
    person = await somebody(world)
    drafts = draft(Channel.SMS), draft(Channel.EMAIL)
    first = await asks_for_one_of(by(world, RUB), person, *drafts)
    again = await asks_for_one_of(by(world, {**RUB, "email": 100}), person, *drafts)
    assert first.message == again.message
    assert await written_to(person) == [("email", Decimal("0.2"), "RUB")]


async def test_what_has_no_known_price_comes_last_and_of_equal_ones_the_first_written(world: World) -> None:
    unknown, equal = await somebody(world), await somebody(world)
    await asks_for_one_of(by(world, RUB), unknown, draft(Channel.CALL), draft(Channel.SMS))
    assert [row["channel"] for row in await unknown.messages()] == ["sms"]
    free = {"push": 0, "email": 0}
    await asks_for_one_of(by(world, free), equal, draft(Channel.PUSH), draft(Channel.EMAIL))
    assert [row["channel"] for row in await equal.messages()] == ["push"]


async def test_a_message_keeps_its_estimate_and_beside_it_what_the_provider_took(world: World) -> None:
    person = await somebody(world)
    delivery = await asks_for_one_of(by(world, RUB), person, draft(Channel.SMS))
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as operator:

        async def told(**filters: str) -> dict[str, object]:
            answer = await operator.get("/v1/reports/costs", params=filters)
            found: dict[str, object] = answer.raise_for_status().json()
            return found

        await world.pool.execute("update messages set journey = $2 where id = $1", delivery.message, person.user_id)
        report = await told(journey=person.user_id)
        row = {"journey": person.user_id, "channel": "sms", "messages": 1, "without_estimate": 0}
        assert report == {
            "rows": [{**row, "estimated": {"RUB": "3"}, "priced": {}}],
            "estimated": {"RUB": "3"},
            "priced": {},
        }
        await prices(world, delivery.message, Decimal("0.0079"))
        report = await told(journey=person.user_id)
        assert (report["estimated"], report["priced"]) == ({"RUB": "3"}, {"USD": "0.0079"})
        assert (await told(since="2099-01-01T00:00:00Z"))["rows"] == []


async def prices(world: World, message: UUID, price: Decimal) -> None:
    async with world.pool.acquire() as connection:
        await messages.priced(connection, message, price, "USD")


async def test_what_never_left_costs_nothing(world: World) -> None:
    person = await somebody(world)
    async with world.pool.acquire() as connection:
        assert not await texts.versions(connection, Name("campaigns/nothing", Channel.SMS, "en"))
    await asks_for_one_of(by(world, RUB), person, draft(Channel.SMS, "campaigns/nothing"))
    assert await written_to(person) == [("sms", None, None)]
