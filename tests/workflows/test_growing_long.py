"""A run whose history has grown long goes on as a new one, and the customer notices nothing.

The server suggests it after 4,096 events; the one of these tests after 40.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

import settings
from cli.stack import EmbeddedStack, Part
from dispatch.reconciler import reconcile
from store.migrate import migrate
from tests.conftest import TIME_SKIPPING
from tests.workflows.stories import Serial
from tests.world import Person, World, open_world
from workflows.payday_loans.events import Step
from workflows.payday_loans.registration_chain import PLAN
from workflows.plan import plan_of

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

METADATA = "__temporal_workflow_metadata"

SOON_LONG = {**TIME_SKIPPING, "limit.historyCount.suggestContinueAsNew": "40"}


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """A stack of this module's own."""
    data: Path = tmp_path_factory.mktemp("long")
    parts = [Part.POSTGRES, Part.TEMPORAL, Part.SANDBOX, Part.API]
    async with EmbeddedStack(data, parts=parts, durable=False, dynamic_config=SOON_LONG) as stack:
        yield stack


@pytest.fixture(scope="module")
async def world(stack: EmbeddedStack) -> AsyncIterator[World]:
    """The world in which histories are soon too long."""
    await asyncio.to_thread(migrate, stack.database_url)
    temporal = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    with patch.dict(os.environ, stack.environment):
        async with open_world(stack, temporal, settings.load()) as world:
            yield world


async def runs(person: Person) -> int:
    """How many runs the newest stay has had, one after the other."""
    found, run = 1, await person.run()
    handle = person.world.temporal.get_workflow_handle(run.id)
    while (
        before := (await handle.fetch_history())
        .events[0]
        .workflow_execution_started_event_attributes.continued_execution_run_id
    ):
        found, handle = found + 1, person.world.temporal.get_workflow_handle(run.id, run_id=before)
    return found


async def times(person: Person) -> list[datetime]:
    """When messages left, in journey time."""
    return [row["journey_at"] for row in await person.messages()]


async def test_a_plan_goes_on_at_its_place_with_its_waits_and_what_nobody_has_read_yet(world: World) -> None:
    person = await world.person()
    await person.does("serial_begun", application_id="A-1")
    await person.passes(HOUR)
    await person.does("visited", rooms=3)
    await person.passes((Serial.PARTS + 1) * DAY)
    assert await person.outcome() == "finished"
    assert await person.got() == ["inbox almost_empty"] * Serial.PARTS + ["inbox partly_filled"]
    assert await runs(person) > 1
    sent = await times(person)
    assert all(after - before > DAY - timedelta(minutes=1) for before, after in pairwise(sent[:-1]))


async def test_a_pause_holds_over_runs_and_the_log_goes_on(world: World) -> None:
    person = await world.person()
    await person.does("serial_begun", application_id="A-1")
    await person.passes(9 * DAY + HOUR)
    assert await runs(person) > 1
    details = (await (await person.run()).query(METADATA, result_type=WorkflowMetadata)).current_details
    assert details.startswith(
        f"**Serial** of customer {(await person.enrolments())[0]['customer_id']}, since serial_begun"
    )
    standing = await person.standing()
    assert len(standing["sent"]) == 10
    await (await person.run()).execute_update("pause")
    await person.passes(3 * DAY)
    assert await person.count() == 10
    await (await person.run()).execute_update("resume")
    await world.until(person.count, 11)


async def test_the_goal_ends_whichever_run_is_under_way(world: World) -> None:
    person = await world.person()
    await person.does("serial_begun", application_id="A-1")
    await person.passes(9 * DAY + HOUR)
    assert await runs(person) > 1
    # A run that goes on as another one has not been closed from outside.
    await reconcile(world.pool, world.temporal)
    assert (await person.enrolments())[0]["ended_at"] is None
    await person.does("story_ended")
    assert await person.outcome() == "goal"
    assert await person.count() == 10


async def test_whoever_begins_anew_again_and_again_gets_the_letter_once(world: World) -> None:
    person = await world.person()
    await person.does("letter_begun", by="push", application_id="A-1")
    await world.until(person.count, 1)
    for _ in range(20):
        await person.does("letter_begun_anew")
        await person.passes(HOUR)
    assert await person.count() == 1
    assert await runs(person) > 1
    await person.passes(31 * DAY)
    assert await person.outcome() == "finished"


async def test_two_steps_of_the_registration_are_told_over_many_runs_in_order_and_nothing_twice(world: World) -> None:
    # All six take a minute or more, and go the same way.
    steps = list(Step)[:2]
    plan = [each for each in plan_of(list(Step))(PLAN).messages if each.step in steps]
    person = await world.visitor()
    await person.does("registration_started")
    for step in steps:
        # A week longer than the step's last message; the next step is reached before the stay is forgotten.
        await person.passes(timedelta(days=max(each.day for each in plan if each.step == step) + 7))
        await person.does("registration_step_completed", step=step)
    assert await person.got() == [f"{each.channels[0]} {each.text.split('/')[1]}" for each in plan]
    assert await runs(person) > 8
    sent = await times(person)
    assert all(after - before > DAY - timedelta(minutes=1) for before, after in pairwise(sent))
    await person.does("registration_completed")
    assert await person.outcome() == "goal"
