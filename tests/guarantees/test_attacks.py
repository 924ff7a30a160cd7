"""Attacks on what must always hold: each once got through."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from api.intake import accept
from api.segment import read_call
from dispatch.reconciler import reconcile
from dispatch.runs import perform
from domain.calls import Call
from domain.messages import Channel, Status, message_id
from store import callbacks, events, messages
from store.database import Connection
from tests.world import Person, World

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def submitted(person: Person, application: str = "A-1") -> Call:
    raw = {
        "messageId": uuid4().hex,
        "userId": person.user_id,
        "event": "credit_application_submitted",
        "properties": {"application_id": application},
    }
    return read_call(raw, datetime.now(UTC), type="track")


async def accepts(world: World, connection: Any, call: Call) -> None:
    await accept(connection, world.terms, "tests", [call], datetime.now(UTC))


async def waits_for_a_lock(connection: Connection) -> bool:
    waiting: bool = await connection.fetchval(
        "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
    )
    return waiting


async def reset(world: World, person: Person) -> None:
    """Reset the person's run to its beginning, as an operator does in the Temporal UI."""
    run = await person.run()
    execution = WorkflowExecution(workflow_id=run.id, run_id=(await run.describe()).run_id)
    await world.temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=world.temporal.namespace,
            workflow_execution=execution,
            reason="operator",
            workflow_task_finish_event_id=4,
            request_id=uuid4().hex,
        )
    )


# Nothing after the goal.


async def test_a_claim_that_waits_while_the_goal_is_accepted_sees_the_goal(world: World) -> None:
    person = await world.person()
    await person.begins(filled=40)
    async with world.pool.acquire() as goal, world.pool.acquire() as observer, goal.transaction():
        await accepts(world, goal, submitted(person))
        passing = asyncio.create_task(person.passes(40 * MINUTE))
        await world.until(lambda: waits_for_a_lock(observer), True)
        # The goal is committed, and only now the claim gets on.
    await world.until(lambda: overtaken(person), True)
    await world.dispatch(person)
    await passing
    assert await person.outcome() == "goal"
    # One, or both that were asked for at once, if the goal's signal comes later than the second answer.
    assert {(row["status"], row["reason"]) for row in await person.messages()} == {("skipped", "overtaken:goal")}


async def overtaken(person: Person) -> bool:
    history = await (await person.run()).fetch_history()
    return any(event.HasField("activity_task_completed_event_attributes") for event in history.events)


async def test_a_goal_reached_under_another_identity_counts_when_both_turn_out_to_be_one(world: World) -> None:
    anonymous, person, now = uuid4().hex, await world.person(), datetime.now(UTC)
    started = {"application_id": "A-1", "filled": 40, "total": 40}
    await world.tell(
        {"anonymousId": anonymous, "event": "credit_application_started", "properties": started}, "track", now
    )
    # The backend's own event overtakes the browser's identify.
    await person.does("credit_application_submitted", application_id="A-1")
    await world.tell({"userId": person.user_id, "anonymousId": anonymous, "traits": {}}, "identify", datetime.now(UTC))
    assert await person.outcome() == "goal"
    # Nothing was even asked for, if the run heard of its end first.
    assert {(row["status"], row["reason"]) for row in await person.messages()} <= {("skipped", "overtaken:goal")}


# A reset in the Temporal UI.


async def test_a_reset_run_goes_on_and_its_stay_with_it(world: World) -> None:
    person = await world.person()
    await person.begins(filled=40)
    await person.passes(31 * MINUTE)
    await reset(world, person)
    await reconcile(world.pool, world.temporal)
    assert [stay["outcome"] for stay in await person.enrolments()] == [None]
    await person.passes(31 * MINUTE)
    await person.passes(2 * timedelta(hours=1))
    # What had gone did not go again.
    await world.until(lambda: person.count(), 3)
    assert sorted(await person.got()) == ["call full", "email full", "inbox full"]
    assert await world.effects(person) == {"email": 1, "call": 1}
    await person.does("credit_application_submitted", application_id="A-1")
    assert await person.outcome() == "goal"


async def test_a_run_that_is_reset_after_its_end_ends_again_and_sends_nothing(world: World) -> None:
    person = await world.person()
    await person.does("lean_begun", application_id="A-1")
    await person.passes(3 * DAY)
    assert await person.outcome() == "finished"
    before = await person.messages()
    await reset(world, person)
    await person.passes(3 * DAY)
    assert await person.outcome() == "finished"
    assert await person.messages() == before


# Nothing blocks anybody.


@pytest.mark.parametrize("application", ["x" * 12_000, {"no": "key"}, True])
async def test_what_is_no_key_starts_nothing_and_the_next_event_goes_on(world: World, application: object) -> None:
    person = await world.person()
    await person.does("credit_application_started", application_id=application, filled=1, total=40)
    await person.begins("A-2")
    assert [stay["key"] for stay in await person.enrolments()] == ["A-2"]
    assert "no property application_id that can be a key" in (await person.notes())[0]


async def test_an_event_from_before_all_time_does_not_block_a_fast_customer(world: World) -> None:
    person = await world.person()
    await world.lives_faster(person, 86_400)
    old = {
        "userId": person.user_id,
        "event": "credit_application_started",
        "timestamp": "1970-01-01T00:00:00Z",
        "properties": {"application_id": "A-1", "filled": 1, "total": 2},
    }
    await world.tell(old, "track", datetime.now(UTC))
    assert len(await person.enrolments()) == 1


async def test_a_customer_with_many_waiting_events_does_not_hide_the_others_from_the_sweep(world: World) -> None:
    noisy, quiet = await world.person(), await world.person()
    await world.pool.execute(
        """
        insert into events (customer_id, source, message_id, type, name, "timestamp", received_at)
        select customer_id, 'tests', gen_random_uuid()::text, 'track', 'noise', now(), now()
        from identities, generate_series(1, 1500) where value = $1
        """,
        noisy.user_id,
    )
    await world.keep_unannounced(quiet, "noise", {})
    async with world.pool.acquire() as connection:
        waiting = await events.waiting_customers(connection)
    await world.dispatch(quiet)
    await world.pool.execute("update events set dispatched_at = now() where name = 'noise'")
    number = await world.pool.fetchval("select customer_id from identities where value = $1", quiet.user_id)
    assert number in waiting


# Order.


async def test_progress_that_comes_late_does_not_undo_newer_progress(world: World) -> None:
    person = await world.person()
    await person.begins(filled=2)
    before = datetime.now(UTC) - MINUTE
    await person.fills(40)
    late = {
        "userId": person.user_id,
        "event": "credit_application_progressed",
        "timestamp": before.isoformat(),
        "properties": {"application_id": "A-1", "filled": 3, "total": 40},
    }
    await world.tell(late, "track", await person.present())
    await person.passes(40 * MINUTE)
    assert sorted(await person.got()) == ["email full", "inbox full"]


async def test_a_merge_in_the_middle_of_dispatch_does_not_double_an_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    anonymous, person, now = uuid4().hex, await world.person(), datetime.now(UTC)
    begun = {"anonymousId": anonymous, "event": "visit_begun", "properties": {"application_id": "A-1"}}
    await world.tell(begun, "track", now)
    identified = {"userId": person.user_id, "anonymousId": anonymous, "traits": {}}
    merging: list[asyncio.Task[Any]] = []

    async def perform_and_be_disturbed(*arguments: Any) -> Any:
        done = await perform(*arguments)
        if not merging:
            merging.append(asyncio.create_task(world.tell(identified, "identify", now, dispatched=False)))
            async with world.pool.acquire() as observer:
                await world.until(lambda: waits_for_a_lock(observer), True)
        return done

    monkeypatch.setattr("dispatch.dispatcher.perform", perform_and_be_disturbed)
    visited = {"anonymousId": anonymous, "event": "visited", "properties": {"rooms": 1}}
    await world.tell(visited, "track", datetime.now(UTC))
    await merging[0]
    await world.dispatch(person)
    history = await (await person.run()).fetch_history()
    signals = [each for each in history.events if each.HasField("workflow_execution_signaled_event_attributes")]
    assert len(signals) == 1


async def test_an_answer_belongs_to_the_open_question_not_to_the_newest_message(world: World) -> None:
    person = await world.person()
    await person.does("question_begun", application_id="A-1")
    await world.until(person.count, 1)
    (question,) = await person.messages()
    await person.does("useful_begun", application_id="A-2")
    await world.until(person.count, 2)
    async with world.pool.acquire() as connection:
        assert await callbacks.answered(connection, Channel.SMS, person.phone, None) == question["id"]


async def test_nobody_answers_a_question_that_may_never_have_left(world: World) -> None:
    person = await world.person()
    await person.does("useful_begun", application_id="A-2")
    await world.until(person.count, 1)
    (told,) = await person.messages()
    fault = {"provider": "twilio", "address": person.phone, "kind": "status_500"}
    (await world.providers.put("/_sandbox/faults", json=fault)).raise_for_status()
    await person.does("question_begun", application_id="A-1")
    await world.until(lambda: person.status_of("sms"), Status.UNKNOWN)
    async with world.pool.acquire() as connection:
        assert await callbacks.answered(connection, Channel.SMS, person.phone, None) == told["id"]


# Privacy.


async def test_whoever_shares_a_device_with_an_erased_customer_is_heard(world: World) -> None:
    device, first, second = uuid4().hex, uuid4().hex, uuid4().hex
    base = world.stack.api_url
    operator = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=base, auth=(world.stack.write_key, "")) as backend:
        call = {"messageId": uuid4().hex, "userId": first, "anonymousId": device, "event": "car_viewed"}
        assert (await backend.post("/v1/track", json=call)).status_code == 200
        async with httpx.AsyncClient(base_url=base, headers=operator) as client:
            assert (await client.delete(f"/v1/customers/{first}")).status_code == 204
        assert (await backend.post("/v1/track", json={**call, "messageId": uuid4().hex})).status_code == 410
        other = {**call, "messageId": uuid4().hex, "userId": second}
        assert (await backend.post("/v1/track", json=other)).status_code == 200


async def test_an_unexpected_error_takes_no_words_into_temporal(world: World) -> None:
    person = await world.person()
    await person.begins(filled=40)
    (stay,) = await person.enrolments()
    # As after a release that reads kept texts differently.
    await world.pool.execute(
        """
        insert into messages (id, customer_id, enrolment_id, step, occurrence, channel, template, message_class,
                              status, content, journey_at)
        values ($1, $2, $3, 'x', 1, 'email', 'abandoned_application/full', 'marketing', 'waiting', $4, now())
        """,
        message_id(stay["id"], "abandoned_application/full:email", 1),
        stay["customer_id"],
        stay["id"],
        {"channel": "email", "subject": "Dear Markername"},
    )
    passing = asyncio.create_task(person.passes(31 * MINUTE))
    await world.until(lambda: failing(person), True)
    description = str((await (await person.run()).describe()).raw_description)
    assert "ValidationError" in description
    assert "Markername" not in description
    passing.cancel()
    await (await person.run()).terminate()


async def failing(person: Person) -> bool:
    described = await (await person.run()).describe()
    return any(each.HasField("last_failure") for each in described.raw_description.pending_activities)


# What nobody comes back to.


async def test_rows_nobody_comes_back_to_are_settled(world: World) -> None:
    person = await world.person()
    await person.begins(filled=40)
    await person.passes(31 * MINUTE)
    await person.does("credit_application_submitted", application_id="A-1")
    assert await person.outcome() == "goal"
    (email,) = [row for row in await person.messages() if row["channel"] == "email"]
    change = "update messages set status = $2, sending_at = now() - interval '2 minutes' where id = $1"
    for abandoned, settled in (("sending", "unknown"), ("waiting", "skipped")):
        await world.pool.execute(change, email["id"], abandoned)
        async with world.pool.acquire() as connection:
            await messages.settle_abandoned(connection)
        assert await person.status_of("email") == settled


# Operators.


async def test_a_command_the_run_does_not_answer_is_said_to_be_unconfirmed(world: World) -> None:
    person = await world.person()
    await person.does("buggy_begun", application_id="A-1")
    await world.until(person.attempts, 2, at_least=True)
    (stay,) = await person.enrolments()
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers, timeout=30) as operator:
        answer = await operator.post(f"/v1/enrolments/{stay['id']}/pause")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_confirmed")
    await person.does("story_ended")
    assert await person.outcome() == "goal"
