"""Erasure carried to the providers, and nobody written to where the erased were reached."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.testing import ActivityEnvironment

from activities.erase import Erase
from channels.http import open_client
from channels.sendgrid import SendGrid, SendGridSettings
from channels.twilio import Twilio, TwilioSettings, TwilioSms
from dispatch.reconciler import ask_providers_to_erase
from domain.messages import Channel, Draft
from policy.configuration import Policy
from store import erasure
from tests.channels.provider import a_provider, answer_json
from tests.world import Person, World
from workflows.drafts import call, email, inbox, push, sms
from workflows.erasures import ASKED_FOR

ALWAYS = Policy(quiet_hours=dict.fromkeys(Channel, (0, 24)), caps=())
EMPTY, PARTLY = "abandoned_application/almost_empty", "abandoned_application/partly_filled"
EVERYTHING = (email(EMPTY), sms(EMPTY), push(PARTLY), call(EMPTY), inbox(EMPTY))


@pytest.fixture
async def operator(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Whoever speaks to the API with the operator's key."""
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers, timeout=20) as client:
        yield client


async def reached(world: World, *drafts: Draft, delivery: str | None = None) -> tuple[Person, int]:
    """Somebody who was sent something, and our number of them."""
    person = await world.person()
    if delivery:
        for address in (person.email, person.phone):
            await world.behaves(address, delivery=delivery)
    await person.begins()
    for draft in drafts:
        answer = await world.asks_to_deliver(person, draft, policy=ALWAYS, at=datetime.now(UTC))
        assert answer.gone, answer
    return person, (await person.enrolments())[0]["customer_id"]


async def erased(operator: httpx.AsyncClient, person: Person) -> None:
    assert (await operator.delete(f"/v1/customers/{person.user_id}")).status_code == 204


async def listed(operator: httpx.AsyncClient, customer: int) -> dict[str, Any]:
    """What the list of erasures says of somebody."""
    entries = (await operator.get("/v1/customers/erasures", params={"limit": 500})).json()["entries"]
    return next(entry for entry in entries if entry["customer_id"] == customer)


async def at_providers(world: World, message_ids: list[str]) -> list[dict[str, Any]]:
    """What the providers still hold of messages."""
    found = []
    for message in message_ids:
        ledger = await world.providers.get("/_sandbox/ledger", params={"message_id": message})
        found += ledger.json()["entries"]
    return found


async def left_in(world: World, *markers: str) -> list[str]:
    """Every table and column of the product's database that holds a marker."""
    columns = await world.pool.fetch(
        "select table_name, column_name from information_schema.columns where table_schema = 'public'"
    )
    wanted = [marker.lower() for marker in markers]
    return [
        f"{table}.{column}"
        for table, column in columns
        if await world.pool.fetchval(
            f"""
            select exists (select from "{table}" t, unnest($1::text[]) marker
                           where strpos(lower(t."{column}"::text), marker) > 0)
            """,
            wanted,
        )
    ]


async def test_every_provider_is_asked_and_says_what_it_did(world: World, operator: httpx.AsyncClient) -> None:
    person, customer = await reached(world, *EVERYTHING)
    ids = [str(row["id"]) for row in await person.messages()]
    wrote = {"from": person.phone, "to": "+15550100", "text": f"I am {person.user_id}"}
    (await world.providers.post("/_sandbox/inbound", json=wrote)).raise_for_status()
    await world.until(
        lambda: world.pool.fetchval("select count(*) from callbacks where body::text like $1", f"%{person.user_id}%"), 1
    )
    held = await at_providers(world, ids)
    assert len(held) == 4
    assert all(entry["text"] for entry in held)

    await erased(operator, person)
    assert (await listed(operator, customer))["completed_at"] is None
    await ask_providers_to_erase(world.pool, world.temporal)
    await asyncio.wait_for(world.temporal.get_workflow_handle(f"erasure-{customer}").result(), 20)

    for entry in await at_providers(world, ids):
        assert (entry["text"] == "") == (entry["channel"] in ("email", "sms")), entry
    told = await listed(operator, customer)
    assert told["completed_at"] is not None
    assert told["requested_by"] == "operator:operator"
    answers = {(each["provider"], each["kind"]): each for each in told["providers"]}
    assert answers["call_centre", "everything"]["answer"] == answers["fcm", "everything"]["answer"]
    assert answers["fcm", "everything"]["answer"].startswith("cannot")
    # What we sent, and what they wrote.
    assert (answers["twilio", "message"]["answer"], answers["twilio", "message"]["number"]) == ("deleted", 2)
    assert answers["sendgrid", "address"]["answer"].startswith("job ")
    assert all(each["done"] for each in told["providers"])
    assert await left_in(world, person.user_id, person.email, person.phone, person.token) == []
    page = (await world.providers.get(f"/people/{person.phone}")).text
    assert "erased at the provider" in page
    assert person.user_id not in page


async def test_what_is_on_its_way_is_erased_when_it_has_arrived(world: World, operator: httpx.AsyncClient) -> None:
    person, customer = await reached(world)
    await world.slow("twilio", person.phone, seconds=2)
    sending = asyncio.create_task(world.asks_to_deliver(person, sms(EMPTY), policy=ALWAYS, at=datetime.now(UTC)))
    await world.until(lambda: person.status_of("sms"), "sending")
    (message,) = [str(row["id"]) for row in await person.messages()]
    await erased(operator, person)
    # It would be with the provider after the provider was asked.
    assert await is_due(world, customer) is False
    assert (await sending).gone
    assert await is_due(world, customer) is True
    await ask_providers_to_erase(world.pool, world.temporal)
    await asyncio.wait_for(world.temporal.get_workflow_handle(f"erasure-{customer}").result(), 20)
    (entry,) = await at_providers(world, [message])
    assert entry["text"] == ""
    assert await left_in(world, person.user_id, person.email, person.phone, person.token) == []


async def is_due(world: World, customer: int) -> bool:
    async with world.pool.acquire() as connection:
        return customer in await erasure.due(connection)


async def test_a_provider_that_is_away_is_asked_again(world: World, operator: httpx.AsyncClient) -> None:
    person, customer = await reached(world, email(EMPTY))
    await erased(operator, person)
    fault = {"provider": "sendgrid", "address": person.email.lower(), "kind": "status_503", "times": 2}
    (await world.providers.put("/_sandbox/faults", json=fault)).raise_for_status()
    await ask_providers_to_erase(world.pool, world.temporal)

    async def told() -> tuple[str, bool, int]:
        (each,) = (await listed(operator, customer))["providers"]
        return each["answer"], each["done"], each["attempts"]

    await world.until(told, ("not yet: http_503", False, 1))
    run = world.temporal.get_workflow_handle(f"erasure-{customer}")
    await world.skipper.fast_forward(run, timedelta(minutes=1, seconds=1))
    await world.until(told, ("not yet: http_503", False, 2))
    await world.skipper.fast_forward(run, timedelta(minutes=2, seconds=1))
    await asyncio.wait_for(run.result(), 20)
    answer, done, attempts = await told()
    assert (answer.startswith("job "), done, attempts) == (True, True, 3)


async def test_what_no_provider_does_in_a_month_is_given_up_visibly(world: World, operator: httpx.AsyncClient) -> None:
    # Twilio deletes nothing it has not done with.
    person, customer = await reached(world, sms(EMPTY), delivery="never")
    await erased(operator, person)
    await ask_providers_to_erase(world.pool, world.temporal)
    run = world.temporal.get_workflow_handle(f"erasure-{customer}")
    await world.skipper.fast_forward(run, ASKED_FOR + timedelta(days=2))
    await asyncio.wait_for(run.result(), 20)
    told = await listed(operator, customer)
    (each,) = told["providers"]
    assert (each["answer"], each["done"]) == ("given up: not yet: 20009", True)
    assert each["attempts"] > 10
    assert told["completed_at"] is not None


async def test_a_refusal_is_kept_and_final(world: World, operator: httpx.AsyncClient) -> None:
    person, customer = await reached(world, email(EMPTY), sms(EMPTY))
    await erased(operator, person)
    async with a_provider() as provider, open_client() as client:
        settings = {"base_url": provider.url}
        asking = Erase(
            world.pool,
            {
                "sendgrid": SendGrid(SendGridSettings(**settings), client),  # type: ignore[arg-type]
                "twilio": TwilioSms(Twilio(TwilioSettings(**settings), client, "https://j.example")),  # type: ignore[arg-type]
            },
        )
        environment = ActivityEnvironment()
        first, second = await environment.run(asking.erasures_to_ask_for, customer)
        quoted = {"errors": [{"field": "email_addresses", "message": f"{person.email} is none"}]}
        provider.will(answer_json(400, quoted))
        await environment.run(asking.erase_at_provider, first)
        # Never again, though it is asked to.
        await environment.run(asking.erase_at_provider, first)
        assert len(provider.asked) == 1
        provider.will(answer_json(404, {"code": 20404, "message": f"no message to {person.phone}"}))
        await environment.run(asking.erase_at_provider, second)
        assert await environment.run(asking.erasures_to_ask_for, customer) == []
    told = await listed(operator, customer)
    assert [each["answer"] for each in told["providers"]] == ["refused: http_400:email_addresses", "gone before"]
    assert told["completed_at"] is not None
    assert await left_in(world, person.email, person.phone) == []


async def test_a_number_they_only_talked_from_is_forgotten_with_them(world: World, operator: httpx.AsyncClient) -> None:
    person = await world.person()
    wrote = {"from": person.phone, "to": "+14155238886", "text": f"I am {person.user_id}", "channel": "whatsapp"}
    (await world.providers.post("/_sandbox/inbound", json=wrote)).raise_for_status()
    talks = "select count(*) from whatsapp_conversations w join conversations v using (address) where address = $1"
    await world.until(lambda: world.pool.fetchval(talks, person.phone), 1)
    traits = {"phone": f"+1415{uuid4().int % 10_000_000:07d}"}
    await world.tell({"userId": person.user_id, "traits": traits}, "identify", datetime.now(UTC))
    await erased(operator, person)
    assert await left_in(world, person.user_id, person.phone) == []


async def test_erasing_again_asks_nobody_again(world: World, operator: httpx.AsyncClient) -> None:
    person, customer = await reached(world, email(EMPTY))
    for _ in range(2):
        await erased(operator, person)
    assert len((await listed(operator, customer))["providers"]) == 1


async def test_nobody_is_written_to_where_the_erased_were_reached_until_they_allow_it(
    world: World, operator: httpx.AsyncClient
) -> None:
    person, _ = await reached(world, email(EMPTY))
    await erased(operator, person)
    again = await world.person(email=person.email.upper(), phone=person.phone)
    await world.tell(
        {"userId": again.user_id, "context": {"device": {"token": person.token}}}, "identify", datetime.now(UTC)
    )
    await again.begins()

    async def said(draft: Draft) -> str | None:
        answer = await world.asks_to_deliver(again, draft, policy=ALWAYS, at=datetime.now(UTC))
        return None if answer.gone else answer.reason

    drafts = [email(EMPTY), sms(EMPTY), call(EMPTY), push(PARTLY), email(PARTLY, transactional=True)]
    assert [await said(draft) for draft in drafts] == ["suppressed:erased"] * 5
    consent = {"channel": "*", "topic": "*", "given": True, "source": "registration_form"}
    answer = await operator.post(f"/v1/customers/{again.user_id}/consents", json=consent)
    assert answer.status_code == 201
    assert [await said(draft) for draft in drafts] == [None] * 5
