"""What every journey can do, and what it must not."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from temporalio.client import WorkflowUpdateFailedError

from tests.world import Person, World, where_it_is

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def tell(person: Person, command: str) -> Any:
    return await (await person.run()).execute_update(command)


async def refused(person: Person, command: str) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as error:
        await tell(person, command)
    return str(error.value.cause)


# Leaving.


async def test_a_goal_in_the_middle_of_a_send_ends_even_steps_that_swallow_every_error(world: World) -> None:
    person = await world.person()
    await world.slow("sendgrid", person.email, seconds=3)
    await person.does("story_begun", application_id="A-1")
    await world.until(lambda: person.status_of("email"), "sending")
    await person.does("story_ended")
    assert await person.outcome() == "goal"
    assert [row["channel"] for row in await person.messages()] == ["email"]
    await world.until(lambda: person.status_of("email"), "delivered")
    assert [row["channel"] for row in await person.messages()] == ["email"]


async def test_an_exit_ends_it_without_success(world: World) -> None:
    person = await world.person()
    await person.does("story_begun", application_id="A-1")
    await person.does("story_left")
    assert await person.outcome() == "exit"


async def test_a_cancelled_run_records_its_end(world: World) -> None:
    person = await world.person()
    await person.begins(filled=2)
    await (await person.run()).cancel()
    await world.until(person.outcome_kept, "cancelled")
    await person.does("credit_application_submitted", application_id="A-1")
    assert await person.outcome_kept() == "cancelled"


async def test_a_restart_that_the_run_has_not_heard_of_stops_a_message_decided_before(world: World) -> None:
    person = await world.person()
    await person.begins(filled=2)
    await person.passes(timedelta(minutes=25))
    call = {"application_id": "A-1", "filled": 40, "total": 40}
    await person.does("credit_application_progressed", dispatched=False, **call)
    await person.passes(HOUR)
    assert await person.got() == []
    await world.dispatch(person)
    await person.passes(timedelta(minutes=31))
    assert sorted(await person.got()) == ["email full", "inbox full"]


# Operators.


async def test_while_paused_nothing_starts_and_what_became_due_goes_out_at_resume(world: World) -> None:
    person = await world.person()
    await person.begins(filled=10)
    assert "paused" in await tell(person, "pause")
    assert await refused(person, "pause") == "Refused: it is paused already"
    await person.passes(2 * HOUR)
    assert await person.got() == []
    assert (await person.standing())["paused"] is True
    await tell(person, "resume")
    await world.until(lambda: person.count(), 3)
    assert await refused(person, "resume") == "Refused: it is not paused"


async def test_a_goal_ends_a_paused_run(world: World) -> None:
    person = await world.person()
    await person.begins()
    await tell(person, "pause")
    await person.passes(HOUR)
    await person.does("credit_application_submitted", application_id="A-1")
    assert await person.outcome() == "goal"
    assert await person.got() == []


async def test_skip_wait_ends_the_current_wait_as_if_it_were_over(world: World) -> None:
    person = await world.person()
    await person.begins(filled=10)
    await world.until(lambda: person.waits(), True)
    assert await tell(person, "skip_wait") == "no longer waits for 30 minutes of quiet"
    await world.until(lambda: person.count(), 3)


async def test_stop_works_while_paused_and_only_once(world: World) -> None:
    person = await world.person()
    await person.begins()
    await tell(person, "pause")
    await tell(person, "stop")
    assert await person.outcome() == "stopped"
    assert await person.outcome_kept() == "stopped"


async def test_what_is_done_straight_in_temporal_is_in_the_audit_log_once_and_what_came_over_http_not_twice(
    world: World,
) -> None:
    person = await world.person()
    await person.begins()
    stay = (await person.enrolments())[0]["id"]
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as operator:
        await tell(person, "pause")
        (await operator.post(f"/v1/enrolments/{stay}/resume")).raise_for_status()
        await tell(person, "stop")
        assert await person.outcome() == "stopped"
        entries = (await operator.get("/v1/audit", params={"action": "command_enrolment"})).json()["entries"]
    mine = [each for each in reversed(entries) if each["subject"].get("number") == stay]
    assert [(each["subject"]["command"], each["actor"]) for each in mine] == [
        ("pause", "temporal"),
        ("resume", "operator"),
        ("stop", "temporal"),
    ]


async def test_the_wait_of_the_contact_policy_cannot_be_skipped(world: World) -> None:
    person = await world.person(timezone=where_it_is(23))
    await person.does("question_begun", application_id="A-1")
    await world.until(lambda: person.waits(), True)
    assert await refused(person, "skip_wait") == (
        "Refused: the wait is the contact policy's: sms abandoned_application/almost_empty: quiet_hours"
    )


# Waiting and asking.


async def test_a_cascade_takes_the_next_channel_when_the_one_before_was_not_read(world: World) -> None:
    person = await world.person()
    await person.does("cascade_begun", application_id="A-1")
    await person.passes(timedelta(minutes=1))
    assert await person.got() == ["push partly_filled"]
    await person.passes(4 * HOUR)
    assert await person.got() == ["push partly_filled", "email partly_filled"]
    await world.report(person, "email", "read")
    assert await person.outcome() == "finished"
    assert (await person.got())[2:] == ["inbox partly_filled"]


async def test_a_cascade_that_looks_at_prices_takes_the_cheapest_that_is_left(world: World) -> None:
    person = await world.person()
    await person.does("thrift_begun", application_id="A-1")
    await person.passes(timedelta(minutes=1))
    assert await person.got() == ["email almost_empty"]
    await person.passes(4 * HOUR)
    assert await person.got() == ["email almost_empty", "sms almost_empty"]
    await person.passes(4 * HOUR)
    assert await person.outcome() == "finished"
    assert (await person.got())[2:] == ["call almost_empty", "inbox almost_empty"]


async def test_a_channel_that_cannot_be_used_costs_nothing_and_holds_up_nobody(world: World) -> None:
    person = await world.person(email=None)
    await person.does("thrift_begun", application_id="A-1")
    await person.passes(timedelta(minutes=1))
    assert await person.got() == ["sms almost_empty"]
    await world.report(person, "sms", "read")
    assert await person.outcome() == "finished"
    assert await person.got() == ["sms almost_empty", "inbox partly_filled"]


async def test_a_cascade_goes_on_at_once_when_the_provider_refuses(world: World) -> None:
    person = await world.person(email=None)
    await world.behaves(person.token, delivery="unregistered")
    await person.does("cascade_begun", application_id="A-1")
    assert await person.outcome() == "finished"
    await world.until(lambda: person.status_of("sms"), "delivered")
    assert {(row["channel"], row["status"], row["reason"]) for row in await person.messages()} == {
        ("push", "failed", "UNREGISTERED"),
        ("email", "skipped", "no_address"),
        ("sms", "delivered", None),
        ("inbox", "delivered", None),
    }
    assert await world.pool.fetchval("select dead_at is not null from devices where token = $1", person.token)


async def test_an_answer_ends_the_wait_for_it(world: World) -> None:
    person = await world.person()
    await person.does("question_begun", application_id="A-1")
    await person.passes(DAY)
    await world.report(person, "sms", "replied", choice="yes")
    assert await person.outcome() == "finished"
    assert (await person.got())[1:] == ["inbox partly_filled"]


async def test_without_an_answer_the_wait_ends_in_its_time(world: World) -> None:
    person = await world.person()
    await person.does("question_begun", application_id="A-1")
    await person.passes(3 * DAY + HOUR)
    assert await person.outcome() == "finished"
    assert (await person.got())[1:] == ["inbox almost_empty"]


@pytest.mark.parametrize(("rooms", "got"), [(3, ["inbox almost_empty"]), (1, [])])
async def test_an_event_that_came_during_a_wait_is_seen_by_the_next(world: World, rooms: int, got: list[str]) -> None:
    person = await world.person()
    await person.does("visit_begun", application_id="A-1")
    await person.does("visited", rooms=rooms, guest="Ada")
    await person.passes(DAY + HOUR)
    assert await person.outcome() == "finished"
    assert await person.got() == got


async def test_without_the_event_the_wait_for_it_ends_in_its_time(world: World) -> None:
    person = await world.person()
    await person.does("visit_begun", application_id="A-1")
    await person.passes(2 * DAY + HOUR)
    assert await person.outcome() == "finished"
    assert await person.got() == ["email almost_empty"]


async def test_a_journey_is_entered_again_only_after_its_interval(world: World) -> None:
    person = await world.person()
    await person.does("monthly_begun", application_id="A-1")
    assert await person.outcome() == "finished"
    await person.does("monthly_begun", application_id="A-1")
    assert len(await person.enrolments()) == 1
    assert "may enter again 30 days later" in (await person.notes())[-1]


async def test_what_would_come_too_late_is_dropped_with_that_reason(world: World) -> None:
    person = await world.person(timezone=where_it_is(23))
    await person.does("useful_begun", application_id="A-1")
    assert await person.outcome() == "finished"
    (message,) = await person.messages()
    assert (message["status"], message["reason"]) == ("skipped", "quiet_hours:expires before")


async def test_a_text_that_cannot_be_written_fails_that_message_and_names_the_variable(world: World) -> None:
    person = await world.person()
    await person.does("lean_begun")  # Without the application its texts speak of.
    await person.passes(2 * DAY)
    assert await person.outcome() == "finished"
    (message,) = await person.messages()
    assert message["status"] == "skipped"
    assert "event.application_id is missing" in message["reason"]


# What Temporal gets to know.


async def test_nothing_personal_is_in_a_history(world: World) -> None:
    person = await world.person(first_name="Plantedtrait")
    secret = {"application_id": "PLANTEDKEY", "bank": "Plantedbank", "note": "Plantednote"}
    await person.does("credit_application_started", filled=10, total=40, **secret)
    await person.passes(timedelta(days=2))
    assert len(await person.got()) == 4
    await person.does("credit_application_submitted", **secret)
    history = (await (await person.run()).fetch_history()).to_json()
    description = await (await person.run()).describe()
    for marker in ("planted", person.email, person.phone[2:], person.token, person.user_id):
        assert marker.lower() not in history.lower(), marker
        assert marker.lower() not in str(description.raw_description).lower(), marker


async def test_a_run_costs_what_the_design_says(world: World) -> None:
    # Enter, wait, send, wait, condition, send, closing record, leave: a day of this person's takes a second.
    person = await world.person()
    await world.lives_faster(person, 86_400)
    await person.does("lean_begun", application_id="A-1")
    assert await person.outcome() == "finished"
    assert await person.got() == ["inbox almost_empty", "inbox partly_filled"]
    history = await (await person.run()).fetch_history()
    assert len(history.events) == 28


async def stuck(world: World, run: str) -> bool:
    """Whether the operator's list of stuck runs names this one."""
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as operator:
        return run in [each["workflow_id"] for each in (await operator.get("/v1/stuck")).json()]


async def test_a_bug_in_the_steps_suspends_the_run_and_never_fails_it(world: World) -> None:
    person = await world.person()
    await person.does("buggy_begun", application_id="A-1")
    await world.until(lambda: person.attempts(), 2, at_least=True)
    run = await person.run()
    await world.until(lambda: stuck(world, run.id), True, within=60)
    assert (await (await person.run()).describe()).status.name == "RUNNING"  # type: ignore[union-attr]
    await person.does("story_ended")
    assert await person.outcome() == "goal"
