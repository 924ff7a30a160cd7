"""How the tests speak: somebody does something, time passes, what did they get."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from activities.outcomes import Outcomes
from api.intake import Accepted, Answer, accept
from api.segment import read_call
from cli.stack import EmbeddedStack
from dispatch.dispatcher import Dispatcher
from settings import Settings
from store import installation
from store.customers import Tombstones
from store.database import Pool, open_pool
from tests.workflows.stories import STORIES
from worker import build_worker, delivering
from workflows.catalog import Catalog
from workflows.enabled import JOURNEYS


@dataclass
class Person:
    """A customer of a test, with addresses of their own."""

    world: "World"
    user_id: str
    email: str
    phone: str
    token: str

    async def does(self, event: str, properties: dict[str, Any] | None = None, **call: Any) -> Answer:
        """Tell the product of an event, at the person's own present."""
        return await self.world.tell(
            {"userId": self.user_id, "event": event, "properties": properties or {}, **call},
            "track",
            await self.present(),
        )

    async def present(self) -> datetime:
        """The time in the person's newest run; the wall's, if they have none."""
        run = await self.run()
        return await self.world.skipper.get_current_time(run) if run else datetime.now(UTC)

    async def run(self, journey: str | None = None) -> WorkflowHandle[Any, str] | None:
        """The person's newest run, of a journey if one is named."""
        workflow_id = await self.world.pool.fetchval(
            """
            select workflow_id from enrolments e join identities i using (customer_id)
            where i.value = $1 and ($2::text is null or journey = $2) order by e.id desc limit 1
            """,
            self.user_id,
            journey,
        )
        return self.world.temporal.get_workflow_handle(workflow_id) if workflow_id else None

    async def messages(self) -> list[asyncpg.Record]:
        """Every message decided about for the person, in order."""
        rows: list[asyncpg.Record] = await self.world.pool.fetch(
            """
            select m.* from messages m join identities i using (customer_id)
            where i.value = $1 order by m.journey_at, m.created_at, m.channel
            """,
            self.user_id,
        )
        return rows

    async def got(self) -> list[str]:
        """What has left for the person: ``channel name`` in order."""
        return [
            f"{row['channel']} {row['template'].split('/')[-1]}"
            for row in await self.messages()
            if row["status"] not in ("skipped", "failed")
        ]

    async def passes(self, duration: timedelta) -> None:
        """Let journey time pass for the person's newest run."""
        run = await self.run()
        assert run is not None
        await self.world.skipper.fast_forward(run, duration)


@dataclass
class World:
    """The product in the test's own process, its database and its providers."""

    stack: EmbeddedStack
    settings: Settings
    temporal: Client
    pool: Pool
    catalog: Catalog
    dispatcher: Dispatcher
    skipper: TimeSkipper
    providers: httpx.AsyncClient

    async def person(self, **traits: Any) -> Person:
        """A new customer who can be reached by every channel."""
        number = uuid4().int % 10_000_000
        who = Person(
            self,
            f"user-{uuid4().hex[:12]}",
            f"person{number}@example.com",
            f"+1415{number:07d}",
            f"token-{uuid4().hex}",
        )
        given = {"email": who.email, "phone": who.phone, "timezone": "Etc/UTC", "locale": "en", "first_name": "Ada"}
        call = {
            "userId": who.user_id,
            "traits": {name: value for name, value in {**given, **traits}.items() if value is not None},
            "context": {"device": {"token": who.token, "type": "android"}},
        }
        await self.tell(call, "identify", datetime.now(UTC))
        return who

    async def tell(self, raw: dict[str, Any], type: str, at: datetime) -> Answer:
        """Accept one call at a time, and wait until its runs have heard of it."""
        call = read_call({"messageId": uuid4().hex, **raw}, at, type=type)
        async with self.pool.acquire() as connection:
            tombstones = Tombstones(self.settings.secret.get_secret_value().encode())
            (answer,) = await accept(connection, self.catalog, tombstones, "tests", [call], at)
        if isinstance(answer, Accepted):
            await self.dispatcher.dispatch(answer.customer)
        return answer


@contextlib.asynccontextmanager
async def open_world(stack: EmbeddedStack, temporal: Client, configuration: Settings) -> AsyncIterator[World]:
    """Run a worker with every journey that ships, and the tests' own stories."""
    deployment = configuration.deployment()
    catalog = Catalog.of((*JOURNEYS, *STORIES))
    async with (
        await open_pool(stack.database_url) as pool,
        delivering(pool, catalog, configuration, deployment) as deliver,
        build_worker(temporal, catalog, deliver, Outcomes(pool)),
        httpx.AsyncClient(base_url=stack.sandbox_url) as providers,
    ):
        async with pool.acquire() as connection:
            await installation.begin(connection, configuration.speed)
        dispatcher = Dispatcher(pool, stack.database_url, temporal, catalog)
        # A callback in the middle of a skip would lose against the clock: it comes before the answer.
        (await providers.put("/_sandbox/callbacks", json={"before_answer": True})).raise_for_status()
        skipper = TimeSkipper(temporal, config=TimeSkippingConfig(enabled=False))
        async with dispatcher.running():
            yield World(stack, configuration, temporal, pool, catalog, dispatcher, skipper, providers)
