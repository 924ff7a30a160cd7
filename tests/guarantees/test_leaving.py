"""A claim holds for two seconds: what has not begun to leave by then is decided about anew."""

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.pulse import Pulse
from domain.messages import DeliverRequest, Status
from tests.workflows.stories import OTHER
from tests.world import World
from worker import delivering
from workflows.drafts import push


async def test_a_worker_that_was_paused_begins_nothing_of_which_nobody_knows_how_old_it_is(world: World) -> None:
    person = await world.person()
    await person.does("visit_begun", application_id="A-1")
    (stay,) = await person.enrolments()
    request = DeliverRequest(enrolment=stay["id"], draft=push(OTHER), decided_after=stay["trigger_event_id"])
    attempt = ActivityEnvironment()
    attempt.info = dataclasses.replace(attempt.info, started_time=datetime.now(UTC))
    async with delivering(world.pool, world.catalog, world.settings, world.settings.deployment()) as ready:
        pulse = Pulse(a_pause=0.7, settles_in=0.7)
        deliver = dataclasses.replace(ready, pulse=pulse)
        async with pulse.beating():
            await asyncio.sleep(0)
            time.sleep(0.8)  # noqa: ASYNC251, nothing of the process goes on
            with pytest.raises(ApplicationError, match="paused"):
                await attempt.run(deliver.deliver, request)
            assert await person.messages() == []
            # What Temporal sends again after a second is as fresh as it says.
            await world.until(lambda: as_coroutine(pulse.was_just_paused), False)
            assert (await attempt.run(deliver.deliver, request)).gone


async def as_coroutine(ask: Callable[[], bool]) -> bool:
    return ask()


async def test_a_push_that_waits_long_for_its_token_is_claimed_anew(world: World) -> None:
    person = await world.person()
    # This story sends nothing of its own for a day.
    await person.does("visit_begun", application_id="A-1")
    (stay,) = await person.enrolments()
    request = DeliverRequest(enrolment=stay["id"], draft=push(OTHER), decided_after=stay["trigger_event_id"])
    attempt = ActivityEnvironment()
    attempt.info = dataclasses.replace(attempt.info, started_time=datetime.now(UTC))
    deployment = world.settings.deployment()
    # Channels of its own, which have no token yet.
    async with delivering(world.pool, world.catalog, world.settings, deployment) as deliver:
        google = world.stack.pids["sandbox"]
        os.kill(google, signal.SIGSTOP)
        try:
            sending = asyncio.create_task(attempt.run(deliver.deliver, request))
            await world.until(lambda: person.status_of("push"), Status.SENDING)
            # Longer than a claim holds, shorter than is waited for a token.
            await asyncio.sleep(2.3)
        finally:
            os.kill(google, signal.SIGCONT)
        delivery = await sending
    assert delivery.gone
    (message,) = await world.messages_of(person, "push")
    assert message["attempt"] == 2
    ledger = await world.providers.get("/_sandbox/ledger", params={"message_id": str(message["id"])})
    (effect,) = ledger.json()["entries"]
    assert datetime.fromisoformat(effect["asked_at"]) - message["sending_at"] < timedelta(seconds=2)
    # The time it waited is part of when it was decided.
    assert delivery.at is not None
    assert delivery.at - attempt.info.started_time > timedelta(seconds=2)
