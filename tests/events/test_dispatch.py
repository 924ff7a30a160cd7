"""From acceptance to the run: in order, once, at once when Temporal is up and later when it was down."""

import asyncio
import functools
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from dispatch.dispatcher import Dispatcher
from dispatch.reconciler import reconcile
from tests.world import Person, World


async def seen(person: Person) -> list[int]:
    """How full the form was, at every progress the run heard of, in the order it did."""
    history = await (await person.run()).fetch_history()
    filled = []
    for event in history.events:
        if event.HasField("workflow_execution_signaled_event_attributes"):
            (payload,) = event.workflow_execution_signaled_event_attributes.input.payloads
            filled.append(int(payload.data.split(b'"filled":')[-1].split(b",")[0].rstrip(b"}")))
    return filled


async def progresses(person: Person, amount: range) -> None:
    for filled in amount:
        progress = {"application_id": "A-1", "filled": filled, "total": 40}
        await person.does("credit_application_progressed", dispatched=False, **progress)


async def test_several_dispatchers_at_once_forward_each_event_once_and_in_order(world: World) -> None:
    people = [await world.person() for _ in range(8)]
    for person in people:
        await person.does("credit_application_started", dispatched=False, application_id="A-1", filled=1, total=40)
        await progresses(person, range(2, 22))
    others = [Dispatcher(world.pool, world.stack.database_url, world.temporal, world.catalog) for _ in range(3)]
    for _ in range(5):
        await asyncio.gather(*(world.dispatch(person, by=other) for person in people for other in others))
    for person in people:
        await world.until(functools.partial(seen, person), list(range(2, 22)))
        assert len(await person.enrolments()) == 1


async def test_notify_brings_an_event_to_its_run_and_the_sweep_what_no_notify_told_of(world: World) -> None:
    told, untold = await world.person(), await world.person()
    await told.begins()
    await untold.begins()
    async with Dispatcher(world.pool, world.stack.database_url, world.temporal, world.catalog).running():
        await told.does("credit_application_submitted", dispatched=False, application_id="A-1")
        assert await told.outcome() == "goal"
        # As if the NOTIFY had been lost with the connection that listened.
        event = await world.keep_unannounced(untold, "credit_application_submitted", {"application_id": "A-1"})
        await world.until(lambda: world.is_dispatched(event), True)


async def test_while_temporal_is_away_events_wait_and_then_go_on(world: World) -> None:
    person = await world.person()
    await person.begins()
    async with Dispatcher(world.pool, world.stack.database_url, world.temporal, world.catalog).running():
        now = await person.present()
        async with world.temporal_is_away():
            submitted = {
                "userId": person.user_id,
                "event": "credit_application_submitted",
                "properties": {"application_id": "A-1"},
            }
            await world.tell(submitted, "track", now, dispatched=False)
            (stay,) = await person.enrolments()
            # The goal counts already, though the run cannot hear of it.
            assert (stay["outcome"], stay["ended_at"]) == ("goal", None)
        await world.until(person.outcome_kept, "goal", within=60)


async def test_dispatching_the_same_events_again_changes_nothing(world: World) -> None:
    person = await world.person()
    await person.does("twice_begun", application_id="A-1")
    await person.does("visited", rooms=1)
    # As if the process had died between the signals and its note of them.
    await world.pool.execute(
        """
        update events set dispatched_at = null
        where customer_id = (select customer_id from identities where value = $1)
        """,
        person.user_id,
    )
    await world.dispatch(person)
    assert len(await person.enrolments()) == 1
    await person.passes(timedelta(days=3))
    assert await person.outcome() == "finished"
    # One visit, told twice, is no second visit.
    assert await person.got() == []


async def test_a_parked_event_is_dispatched_again_at_the_end_of_its_customers_order(world: World) -> None:
    person = await world.person()
    await person.begins(filled=1)
    await person.does("credit_application_progressed", application_id="A-1", filled="many", total=40)
    await person.fills(5)
    parked = await world.pool.fetchval(
        """
        select e.id from events e join identities i using (customer_id)
        where i.value = $1 and parked_at is not null
        """,
        person.user_id,
    )
    await world.pool.execute("update events set properties = properties || '{\"filled\": 9}' where id = $1", parked)
    assert await world.unpark(parked)
    await world.dispatch(person)
    await world.until(lambda: seen(person), [5, 9])


@pytest.mark.parametrize(("command", "outcome"), [("terminate", "terminated"), ("cancel", "cancelled")])
async def test_a_run_closed_in_the_temporal_ui_is_noticed(world: World, command: str, outcome: str) -> None:
    person = await world.person()
    await person.begins()
    await getattr(await person.run(), command)()

    async def kept() -> str | None:
        await reconcile(world.pool, world.temporal)
        return await person.outcome_kept()

    await world.until(kept, outcome)
    # A new application starts anew.
    await person.begins()
    assert len(await person.enrolments()) == 2


async def test_two_customers_who_turn_out_to_be_one_have_one_run(world: World) -> None:
    first, second = await world.person(), await world.person()
    await first.begins("A-1")
    await first.begins("A-2")
    await second.begins("A-1", filled=10)
    now = datetime.now(UTC)
    await world.tell({"previousId": second.user_id, "userId": first.user_id, "messageId": uuid4().hex}, "alias", now)
    stays = {(stay["key"], stay["outcome"]) for stay in await first.enrolments()}
    assert stays == {("A-1", None), ("A-2", None), ("A-1", "merged")}
    run = world.temporal.get_workflow_handle(
        next(stay["workflow_id"] for stay in await first.enrolments() if stay["outcome"] == "merged")
    )
    assert await asyncio.wait_for(run.result(), 20) == "merged"
    await second.does("credit_application_submitted", application_id="A-2")
    assert ("A-2", "goal") in {(stay["key"], stay["outcome"]) for stay in await first.enrolments()}
