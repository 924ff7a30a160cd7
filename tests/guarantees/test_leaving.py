"""A claim holds for two seconds: what has not begun to leave by then is decided about anew."""

import asyncio
import dataclasses
import os
import signal
from datetime import UTC, datetime, timedelta

from temporalio.testing import ActivityEnvironment

from domain.messages import DeliverRequest, Status
from tests.workflows.stories import OTHER
from tests.world import World
from worker import delivering
from workflows.drafts import push


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
