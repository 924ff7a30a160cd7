"""A process of the race: accepts goals, or delivers, as its standard input says, round by round.

``python -m cli.torture.racer accept|send RESULT``
"""

import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AnyHttpUrl
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import logs
import settings
from api.intake import Terms, accept
from api.segment import read_call
from cli.torture.journeys import SECOND, Offer
from domain.messages import Channel, DeliverRequest, message_id
from policy.configuration import Policy
from settings import Deployment, Settings
from store.customers import Tombstones
from store.database import Pool, open_pool
from worker import delivering
from workflows.catalog import Catalog
from workflows.drafts import sms

Task = list[tuple[int, float]]
"""Customers, each with the wall seconds to wait before their part."""

Act = Callable[[int], Awaitable[None]]

AT_ONCE = 10
"""Customers one process acts for at the same time."""

DRAFT = sms(SECOND)

POLICY = Policy(quiet_hours={Channel.SMS: (0, 24)})
"""At any hour: nothing but the goal keeps a message back."""


def message_of(customer: int) -> str:
    """Return the id of the message a customer is about to get; their stay has their own number."""
    return str(message_id(customer, DRAFT.step, 1))


def catalog() -> Catalog:
    """The one journey of the race."""
    return Catalog.of([Offer])


@contextlib.asynccontextmanager
async def accepting(pool: Pool, configuration: Settings) -> AsyncIterator[Act]:
    """Accept goals as the API does."""
    tombstones = Tombstones(configuration.secret.get_secret_value().encode())
    terms = Terms(catalog(), POLICY, tombstones)

    async def act(customer: int) -> None:
        now = datetime.now(UTC)
        raw = {
            "messageId": f"won-{customer}",
            "userId": f"race-{customer}",
            "event": "offer_taken",
            "properties": {"application_id": str(customer)},
        }
        async with pool.acquire() as connection:
            await accept(connection, terms, "race", [read_call(raw, now, type="track")], now)

    yield act


@contextlib.asynccontextmanager
async def sending(pool: Pool, configuration: Settings) -> AsyncIterator[Act]:
    """Deliver as a worker does."""
    deployment = Deployment(
        site=AnyHttpUrl("https://cars.example"),
        company="Example Cars",
        postal_address="1 Example Street",
        policy=POLICY,
    )
    async with delivering(pool, catalog(), configuration, deployment) as deliver:

        async def act(customer: int) -> None:
            request = DeliverRequest(enrolment=customer, draft=DRAFT, decided_after=customer)
            while True:
                environment = ActivityEnvironment()
                environment.info = dataclasses.replace(environment.info, started_time=datetime.now(UTC))
                try:
                    await environment.run(deliver.deliver, request)
                except ApplicationError:
                    # It certainly did not leave, and Temporal would give it out again.
                    await asyncio.sleep(1)
                else:
                    break

        yield act


ROLES = {"accept": accepting, "send": sending}


async def main(role: str, result: Path) -> None:
    """Act round by round until standard input ends; then write down when each customer's part was done."""
    configuration = settings.load()
    logs.configure("WARNING")
    done: dict[int, float] = {}
    slots = asyncio.Semaphore(AT_ONCE)

    async def part(act: Act, customer: int, after: float) -> None:
        async with slots:
            await asyncio.sleep(after)
            await act(customer)
            done[customer] = time.time()

    async with (
        await open_pool(configuration.database_url, size=AT_ONCE) as pool,
        ROLES[role](pool, configuration) as act,
    ):
        while line := await asyncio.to_thread(sys.stdin.readline):
            await asyncio.gather(*(part(act, customer, after) for customer, after in json.loads(line)))
            sys.stdout.write("done\n")
            sys.stdout.flush()
    result.write_text(json.dumps(done))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
