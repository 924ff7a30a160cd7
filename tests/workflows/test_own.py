"""What an installation runs for itself, walked to its end."""

import asyncio
from uuid import uuid4

import httpx

from dispatch.conversations import hurry
from dispatch.reconciler import ask_providers_to_erase, review_templates, settle_uncertain_sends
from domain.conversations import Errand
from domain.messages import Channel
from store import conversations
from store.texts import Name
from tests.guarantees.test_texts import published
from tests.workflows.chat import Chat
from tests.world import World
from workflows.upkeep import RESOLVE_SENDS, REVIEW_TEMPLATES


async def test_providers_are_asked_until_nothing_is_left_to_erase(world: World, recorded: list[str]) -> None:
    person = await world.person()
    await person.does("question_begun", application_id="A-1")
    await world.until(person.count, 1)
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as operator:
        (await operator.delete(f"/v1/customers/{person.user_id}")).raise_for_status()
    await ask_providers_to_erase(world.pool, world.temporal)
    number = await world.pool.fetchval("select max(customer_id) from erasures")
    recorded.append(f"erasure-{number}")
    await asyncio.wait_for(world.temporal.get_workflow_handle(recorded[0]).result(), 20)
    assert await world.pool.fetchval("select completed_at is not null from erasures where customer_id = $1", number)


async def test_the_tool_is_told_and_an_operators_answer_sent(world: World, recorded: list[str]) -> None:
    person = await world.person()
    number = await Chat(world, person).writes("Do you buy old cars?")
    assert number is not None
    async with world.pool.acquire() as connection, connection.transaction():
        opened = await conversations.find(connection, number)
        assert opened is not None
        await conversations.answer(connection, opened, "operator:desk", "We do.", uuid4())
    await hurry(world.temporal, number, *Errand)
    for errand in Errand:
        recorded.append(f"conversation-{number}-{errand}")
        await asyncio.wait_for(world.temporal.get_workflow_handle(recorded[-1]).result(), 20)
    assert await person.status_of("whatsapp") in ("accepted", "sent", "delivered")


async def test_uncertain_sends_are_looked_into(world: World, recorded: list[str]) -> None:
    person = await world.person()
    await world.behaves(person.phone, delivery="never")
    fault = {"provider": "twilio", "address": person.phone, "kind": "reset_after_accept"}
    (await world.providers.put("/_sandbox/faults", json=fault)).raise_for_status()
    await person.does("question_begun", application_id="A-1")
    await world.until(lambda: person.status_of("sms"), "unknown")
    await world.pool.execute("update messages set look_after = now() where status = 'unknown'")
    assert await settle_uncertain_sends(world.pool, world.temporal)
    recorded.append(RESOLVE_SENDS)
    await asyncio.wait_for(world.temporal.get_workflow_handle(RESOLVE_SENDS).result(), 30)
    assert await person.status_of("sms") in ("accepted", "sent")


async def test_templates_are_submitted_and_asked_about_until_none_is_due(world: World, recorded: list[str]) -> None:
    await published(world, Name("campaigns/own", Channel.WHATSAPP, "en"), "---\ncategory: utility\n---\nHello.")
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as operator:
        submit = {"template": "campaigns/own"}
        (await operator.post("/v1/whatsapp/templates/submit", json=submit)).raise_for_status()
    status = "select status from whatsapp_templates where template = 'campaigns/own'"
    for expected in ("submitted", "approved"):
        await world.pool.execute("update whatsapp_templates set look_after = now() where template = 'campaigns/own'")
        assert await review_templates(world.pool, world.temporal)
        await asyncio.wait_for(world.temporal.get_workflow_handle(REVIEW_TEMPLATES).result(), 30)
        assert await world.pool.fetchval(status) == expected
    recorded.append(REVIEW_TEMPLATES)
    assert not await review_templates(world.pool, world.temporal)
