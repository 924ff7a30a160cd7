"""Conversations carried out: the tool hears of them whatever happens, and answers leave once or not at all."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from channels.http import open_client
from channels.operators import Operators, OperatorsSettings, open_operators
from channels.registry import ChannelsNotConfigured
from dispatch.conversations import hurry, run_conversations
from domain.conversations import Errand, Notice
from domain.messages import Channel
from policy.configuration import Policy
from store import conversations, messages, silences
from tests.channels.provider import a_provider, answer_json
from tests.workflows.chat import Chat, activities
from tests.world import Person, World
from workflows.drafts import sms


async def wrote(world: World, text: str = "Do you buy old cars?") -> tuple[Person, Chat, int]:
    person = await world.person()
    chat = Chat(world, person)
    number = await chat.writes(text)
    assert number is not None
    return person, chat, number


async def answers(world: World, number: int, text: str = "We do. Which one is it?") -> int:
    """An operator answers; the line's number."""
    async with world.pool.acquire() as connection, connection.transaction():
        opened = await conversations.find(connection, number)
        assert opened is not None
        return (await conversations.answer(connection, opened, "operator:desk", text, uuid4())).line


async def done(world: World, number: int) -> bool:
    async with world.pool.acquire() as connection:
        return not [each for errand in Errand for each in await conversations.errands(connection, number, errand)]


async def carried_out(world: World, number: int) -> None:
    async def look() -> bool:
        # As the reconciler does: a run that was just about to end has not seen what came last.
        await hurry(world.temporal, number, *Errand)
        return await done(world, number)

    await world.until(look, True)


async def desk(world: World, number: int) -> dict[str, Any] | None:
    told = (await world.providers.get("/_sandbox/desk")).json()
    return next((each for each in told if each["id"] == number), None)


async def at_provider(world: World, person: Person) -> list[str]:
    """What Twilio has carried to the person."""
    ledger = await world.providers.get("/_sandbox/ledger", params={"address": person.phone})
    return [each["text"] for each in ledger.json()["entries"] if each["direction"] == "outbound"]


async def strikes(world: World, kind: str, times: int = 1, provider: str = "operators") -> None:
    fault = {"provider": provider, "kind": kind, "times": times, "seconds": 0}
    (await world.providers.put("/_sandbox/faults", json=fault)).raise_for_status()


async def test_the_tool_hears_of_a_conversation_and_the_answer_reaches_the_phone(world: World) -> None:
    person, chat, number = await wrote(world)
    await carried_out(world, number)
    told = await desk(world, number)
    assert told is not None
    assert [line["text"] for line in told["lines"]] == ["Do you buy old cars?"]
    await answers(world, number)
    await carried_out(world, number)
    assert await at_provider(world, person) == ["We do. Which one is it?"]
    (ours,) = [line for line in (await chat.conversation(number)).lines if line.by == "operator:desk"]
    assert ours.status in ("accepted", "sent", "delivered")


@pytest.mark.parametrize("kind", ["status_503", "connection_reset", "status_503_after_accept"])
async def test_the_tool_is_told_again_until_it_takes_it(world: World, kind: str) -> None:
    _, _, number = await wrote(world)
    await strikes(world, kind)
    await carried_out(world, number)
    assert await desk(world, number) is not None
    row = await world.pool.fetchrow("select attempts, answer from operator_notices where conversation_id = $1", number)
    assert tuple(row or ()) == (2, "taken")


async def test_a_tool_that_is_away_keeps_no_answer_from_leaving(world: World) -> None:
    person, _, number = await wrote(world)
    await strikes(world, "status_503", times=3)
    await run_conversations(world.pool, world.temporal)
    await world.until(lambda: attempts(world, number), 1, at_least=True)
    await answers(world, number)
    await run_conversations(world.pool, world.temporal)
    await world.until(lambda: at_provider(world, person), ["We do. Which one is it?"])
    (await world.providers.delete("/_sandbox/faults")).raise_for_status()


async def attempts(world: World, number: int) -> int:
    count: int = await world.pool.fetchval("select attempts from operator_notices where conversation_id = $1", number)
    return count


async def test_whatever_is_tried_again_an_answer_leaves_once(world: World) -> None:
    person, _, number = await wrote(world)
    line = await answers(world, number)
    for _ in range(3):
        await ActivityEnvironment().run(activities(world).send_answer, line)
    await world.pool.execute("update conversation_lines set done_at = null where id = $1", line)
    await ActivityEnvironment().run(activities(world).send_answer, line)
    assert await at_provider(world, person) == ["We do. Which one is it?"]


async def test_a_stop_between_the_answer_and_its_sending_stops_it_and_the_tool_is_told(world: World) -> None:
    person, chat, number = await wrote(world)
    line = await answers(world, number)
    async with world.pool.acquire() as connection:
        await messages.suppress(connection, Channel.WHATSAPP, person.phone, "opted_out", "twilio:stop")
    await carried_out(world, number)
    assert await at_provider(world, person) == []
    assert (await chat.conversation(number)).lines[-1].reason == "suppressed:opted_out"
    assert ("answer_not_sent", False) in await chat.notices(number)
    assert await world.pool.fetchval("select done_at is not null from conversation_lines where id = $1", line)


async def test_an_answer_that_comes_too_late_for_the_window_does_not_leave(world: World) -> None:
    person, chat, number = await wrote(world)
    await answers(world, number)
    await world.pool.execute(
        "update conversation_lines set at = at - interval '25 hours' where conversation_id = $1 and author is null",
        number,
    )
    await carried_out(world, number)
    assert await at_provider(world, person) == []
    assert "window_closed" in [line.reason for line in (await chat.conversation(number)).lines]


async def test_no_journey_writes_while_a_dialogue_is_open_and_what_waited_goes_after_it(world: World) -> None:
    person, _, number = await wrote(world)
    await person.does("question_begun", application_id="A-1")
    always = Policy(quiet_hours=dict.fromkeys(Channel, (0, 24)), caps=())
    draft = sms("abandoned_application/full")
    held = await world.asks_to_deliver(person, draft, policy=always, at=datetime.now(UTC), journey="Question")
    assert held.reason == "dialogue"
    async with world.pool.acquire() as connection, connection.transaction():
        opened = await conversations.find(connection, number)
        assert opened is not None
        await conversations.close(connection, opened, "operator:desk")
        assert await silences.dialogue(connection, opened.customer) is None
    gone = await world.asks_to_deliver(
        person, sms("abandoned_application/partly_filled"), policy=always, at=datetime.now(UTC), journey="Question"
    )
    assert gone.gone


async def test_what_is_told_of_the_erased_is_nothing(world: World) -> None:
    _, _, number = await wrote(world)
    await world.pool.execute("delete from conversation_lines where conversation_id = $1", number)
    await world.pool.execute(
        "update customers set erased_at = now() where id = (select customer_id from conversations where id = $1)",
        number,
    )
    await carried_out(world, number)
    assert await desk(world, number) is None


async def test_the_tool_verifies_who_speaks(world: World) -> None:
    answer = await world.providers.post("/operators/webhooks", json={"type": "conversation.opened", "data": {}})
    assert answer.status_code == 401


async def test_a_tool_that_does_not_answer_is_no_error_of_the_journeys(world: World) -> None:
    async with a_provider() as provider, open_client() as client:
        provider.will(answer_json(500, {}))
        secret = OperatorsSettings().secret
        assert secret
        operators = Operators(provider.url, secret, client)
        _, _, number = await wrote(world)
        async with world.pool.acquire() as connection:
            (notice,) = await conversations.errands(connection, number, Errand.TELL)
        with pytest.raises(ApplicationError, match="http_500"):
            await ActivityEnvironment().run(activities(world, operators).tell_operators, notice)
        await ActivityEnvironment().run(activities(world, operators).not_told, notice)
    row = await world.pool.fetchrow("select answer, done_at is not null from operator_notices where place = $1", notice)
    assert tuple(row or ()) == ("given up", True)


async def test_the_desk_forgets_what_it_is_told_to(world: World) -> None:
    _, _, number = await wrote(world)
    await carried_out(world, number)
    async with open_operators() as operators:
        assert operators is not None
        assert await operators.erase(str(number)) == "told to erase it"
        await operators.tell(str(uuid4()), Notice.ERASED, datetime.now(UTC), {"conversation": {"id": number}})
    assert await desk(world, number) is None


async def test_half_a_configuration_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATORS_SECRET", "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
    monkeypatch.delenv("OPERATORS_URL", raising=False)
    with pytest.raises(ChannelsNotConfigured, match="OPERATORS_URL is missing"):
        async with open_operators():
            await asyncio.sleep(0)
