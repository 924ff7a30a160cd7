"""How the tests speak: somebody does something, time passes, what did they get."""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import ActivityEnvironment, TimeSkipper, TimeSkippingConfig

from activities.deliver import Deliver
from activities.outcomes import Outcomes
from activities.pulse import Pulse
from api.intake import Accepted, Answer, Terms, accept
from api.segment import read_call
from channels.operators import open_operators
from cli.stack import EmbeddedStack
from dispatch.dispatcher import Dispatcher
from dispatch.plan import MESSAGE_REPLY, MESSAGE_STATUS
from domain.conversations import CONVERSATION
from domain.messages import DeliverRequest, Delivery, Draft, Status
from policy.configuration import Policy
from settings import Settings
from store import customers, events, installation, messages
from store.customers import Tombstones
from store.database import Pool, open_pool
from store.events import NewEvent
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

    async def does(self, event: str, *, dispatched: Any = True, **properties: Any) -> Answer:
        """Tell the product of an event, at the person's own present."""
        call = {"userId": self.user_id, "event": event, "properties": properties}
        return await self.world.tell(call, "track", await self.present(), dispatched=dispatched)

    async def begins(self, application: str = "A-1", filled: int = 2) -> None:
        """Open a credit application of 40 fields."""
        await self.does("credit_application_started", application_id=application, filled=filled, total=40)

    async def fills(self, filled: int, application: str = "A-1") -> None:
        """Go on with it."""
        await self.does("credit_application_progressed", application_id=application, filled=filled, total=40)

    async def present(self) -> datetime:
        """The time in the person's newest run; the wall's, if they have none."""
        run = await self._newest(None)
        return await self.world.skipper.get_current_time(run) if run else datetime.now(UTC)

    async def run(self, journey: str | None = None) -> WorkflowHandle[Any, str]:
        """The person's newest run, of a journey if one is named."""
        run = await self._newest(journey)
        assert run is not None, f"{self.user_id} is in no journey: {await self.notes()}"
        return run

    async def _newest(self, journey: str | None) -> WorkflowHandle[Any, str] | None:
        workflow_id = await self.world.pool.fetchval(
            """
            select workflow_id from enrolments e join identities i using (customer_id)
            where i.value = $1 and ($2::text is null or journey = $2) and journey <> $3 order by e.id desc limit 1
            """,
            self.user_id,
            journey,
            # No run belongs to its stay.
            CONVERSATION,
        )
        return self.world.temporal.get_workflow_handle(workflow_id) if workflow_id else None

    async def passes(self, duration: timedelta, journey: str | None = None) -> None:
        """Let journey time pass for the person's newest run, of a journey if one is named."""
        await self.world.skipper.fast_forward(await self.run(journey), duration)

    async def outcome(self, journey: str | None = None) -> str:
        """How the person's newest run ended, when it has."""
        return await asyncio.wait_for((await self.run(journey)).result(), 20)

    async def standing(self) -> dict[str, Any]:
        """What the person's newest run says of itself."""
        told: dict[str, Any] = await (await self.run()).query("standing")
        return told

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

    async def got(self, journey: str | None = None) -> list[str]:
        """What has left for the person, from a journey if one is named: ``channel name`` in order."""
        stays = {stay["id"] for stay in await self.enrolments() if journey in (None, stay["journey"])}
        return [
            f"{row['channel']} {row['template'].split('/')[-1]}"
            for row in await self.messages()
            if row["status"] not in ("waiting", "skipped", "failed") and row["enrolment_id"] in stays
        ]

    async def enrolments(self) -> list[asyncpg.Record]:
        """The person's stays, in order."""
        rows: list[asyncpg.Record] = await self.world.pool.fetch(
            "select e.* from enrolments e join identities i using (customer_id) where i.value = $1 order by e.id",
            self.user_id,
        )
        return rows

    async def notes(self) -> list[str]:
        """What came of the person's events."""
        rows = await self.world.pool.fetch(
            "select note from events e join identities i using (customer_id) where i.value = $1 order by e.id",
            self.user_id,
        )
        return [row["note"] for row in rows if row["note"]]

    async def count(self) -> int:
        """How many messages have left for the person."""
        return len(await self.got())

    async def status_of(self, channel: str) -> str | None:
        """What has become of the person's newest message of a channel."""
        found = [row["status"] for row in await self.messages() if row["channel"] == channel]
        return found[-1] if found else None

    async def outcome_kept(self) -> str | None:
        """How the newest stay ended, by our own tables, once the run is over."""
        stay = (await self.enrolments())[-1]
        return stay["outcome"] if stay["ended_at"] else None

    async def waits(self) -> bool:
        """Whether the newest run waits for something."""
        return bool((await self.standing())["waiting"])

    async def attempts(self) -> int:
        """How often the newest run's present task has been tried."""
        return (await (await self.run()).describe()).raw_description.pending_workflow_task.attempt


@dataclass
class World:
    """The product in the test's own process, its database and its providers."""

    stack: EmbeddedStack
    settings: Settings
    temporal: Client
    pool: Pool
    catalog: Catalog
    dispatcher: Dispatcher
    deliver: Deliver
    skipper: TimeSkipper
    providers: httpx.AsyncClient

    @property
    def terms(self) -> Terms:
        """What it takes to judge an event."""
        tombstones = Tombstones(self.settings.secret.get_secret_value().encode())
        return Terms(self.catalog, self.settings.deployment().policy, tombstones)

    async def person(self, **traits: Any) -> Person:
        """A new customer who can be reached by every channel, and for whom it is ten in the morning."""
        number = uuid4().int % 10_000_000
        who = Person(
            self,
            f"user-{uuid4().hex[:12]}",
            f"person{number}@example.com",
            f"+1415{number:07d}",
            f"token-{uuid4().hex}",
        )
        given = {
            "email": who.email,
            "phone": who.phone,
            "timezone": where_it_is(10),
            "locale": "en",
            "first_name": "Ada",
            **traits,
        }
        call = {
            "userId": who.user_id,
            "traits": {name: value for name, value in given.items() if value is not None},
            "context": {"device": {"token": who.token, "type": "android"}},
        }
        await self.tell(call, "identify", datetime.now(UTC))
        return who

    async def visitor(self, **traits: Any) -> Person:
        """A new customer who has allowed the site's notifications, too; their token is the browser's endpoint."""
        person = await self.person(**traits)
        answer = await self.providers.post(f"/_sandbox/people/{person.user_id}/browser")
        subscription = answer.raise_for_status().json()
        context = {"device": {"subscription": subscription}}
        await self.tell({"userId": person.user_id, "context": context}, "identify", datetime.now(UTC))
        return replace(person, token=subscription["endpoint"])

    async def tell(self, raw: dict[str, Any], type: str, at: datetime, *, dispatched: bool = True) -> Answer:
        """Accept one call, and wait until its runs have heard of it."""
        call = read_call({"messageId": uuid4().hex, **raw}, at, type=type)
        async with self.pool.acquire() as connection:
            (answer,) = await accept(connection, self.terms, "tests", [call], at)
        if dispatched and isinstance(answer, Accepted):
            await self.dispatcher.dispatch(answer.customer)
            # Where a dispatcher runs by itself, it may be the one that is at it.
            await self.until(lambda: self.is_dealt_with(answer.event), True)
        return answer

    async def offered(self, person: Person) -> str | None:
        """The bank RefusedByBank would offer the person now."""
        stay = (await person.enrolments())[-1]
        bank: str | None = await self.pool.fetchval(self.catalog.journeys["RefusedByBank"].facts["offer"], stay["id"])
        return bank

    async def asks_to_deliver(
        self,
        person: Person,
        draft: Draft,
        *,
        policy: Policy,
        at: datetime,
        journey: str | None = None,
        occurrence: int = 1,
        useful_for: timedelta | None = None,
    ) -> Delivery:
        """Ask `deliver`, as a run of the person's would, under a policy, at a moment."""
        stay = [each for each in await person.enrolments() if journey in (None, each["journey"])][-1]
        newest = await self.pool.fetchval("select max(id) from events where customer_id = $1", stay["customer_id"])
        deliver = replace(self.deliver, deployment=self.deliver.deployment.model_copy(update={"policy": policy}))
        request = DeliverRequest(
            enrolment=stay["id"],
            draft=draft,
            occurrence=occurrence,
            decided_after=newest,
            expires_at=at + useful_for if useful_for else None,
        )
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, started_time=at)
        delivery: Delivery = await environment.run(deliver.deliver, request)
        return delivery

    async def decisions(self, message: UUID) -> list[tuple[str, str, int]]:
        """Why a message was held back or dropped: verdict, reason, how often."""
        rows = await self.pool.fetch(
            "select verdict, reason, times from decisions where message_id = $1 order by id", message
        )
        return [(row["verdict"], row["reason"], row["times"]) for row in rows]

    async def dispatch(self, person: Person, *, by: Dispatcher | None = None) -> None:
        """Let the runs hear of what was accepted meanwhile."""
        customer = await self.pool.fetchval("select customer_id from identities where value = $1", person.user_id)
        await (by or self.dispatcher).dispatch(customer)

    async def keep_unannounced(self, person: Person, name: str, properties: dict[str, Any]) -> int:
        """Keep an event as `accept` does, without the NOTIFY."""
        event: int = await self.pool.fetchval(
            """
            insert into events (customer_id, source, message_id, type, name, properties, "timestamp", received_at)
            select customer_id, 'tests', $2, 'track', $3, $4, now(), now() from identities where value = $1
            returning id
            """,
            person.user_id,
            uuid4().hex,
            name,
            properties,
        )
        return event

    async def is_dispatched(self, event: int) -> bool:
        """Whether dispatch has dealt with an event."""
        found: bool = await self.pool.fetchval("select dispatched_at is not null from events where id = $1", event)
        return found

    async def is_dealt_with(self, event: int) -> bool:
        """Whether dispatch has dealt with an event, or set it aside."""
        found: bool = await self.pool.fetchval(
            "select coalesce(dispatched_at, parked_at) is not null from events where id = $1", event
        )
        return found

    async def unpark(self, event: int) -> bool:
        """Dispatch a parked event again."""
        async with self.pool.acquire() as connection:
            return await events.unpark(connection, event)

    @contextlib.asynccontextmanager
    async def temporal_is_away(self) -> AsyncIterator[None]:
        """Freeze the Temporal server: connections stay, answers do not come."""
        server = self.stack.pids["temporal"]
        os.kill(server, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(server, signal.SIGCONT)

    async def until(
        self, look: Callable[[], Awaitable[Any]], wanted: object, *, at_least: bool = False, within: float = 20
    ) -> None:
        """Wait for something that comes by itself; fails when it does not come in some seconds."""
        deadline = time.monotonic() + within
        while True:
            seen = await look()
            if seen == wanted or (at_least and seen >= wanted):
                return
            assert time.monotonic() < deadline, f"still {seen!r}, not {wanted!r}"
            await asyncio.sleep(0.05)

    async def lives_faster(self, person: Person, speed: float) -> None:
        """Make the person a test customer whose journey time runs faster."""
        await self.pool.execute(
            """
            update customers set speed = $2, clock_origin = now()
            where id = (select customer_id from identities where value = $1)
            """,
            person.user_id,
            speed,
        )

    async def behaves(self, address: str, **behaviour: Any) -> None:
        """Decide in the sandbox what becomes of messages to an address."""
        (await self.providers.put(f"/_sandbox/people/{address}", json=behaviour)).raise_for_status()

    async def effects(self, person: Person) -> dict[str, int]:
        """How many messages of each channel have taken effect at the providers, by their own ledger."""
        counted: dict[str, int] = {}
        for channel in ("email", "sms", "whatsapp", "push", "call"):
            for row in await self.messages_of(person, channel):
                ledger = await self.providers.get("/_sandbox/ledger", params={"message_id": str(row["id"])})
                counted[channel] = counted.get(channel, 0) + len(ledger.json()["entries"])
        return counted

    async def messages_of(self, person: Person, channel: str) -> list[asyncpg.Record]:
        """The person's messages of one channel."""
        return [row for row in await person.messages() if row["channel"] == channel]

    async def slow(self, provider: str, address: str, *, seconds: float) -> None:
        """Let a provider take its time over the next message to an address."""
        fault = {"provider": provider, "address": address, "kind": "slow", "times": 1, "seconds": seconds}
        (await self.providers.put("/_sandbox/faults", json=fault)).raise_for_status()

    async def limits_rate(self, provider: str, address: str, *, retry_after: int) -> None:
        """Let a provider refuse the next message to an address, and say how many seconds to wait."""
        fault = {"provider": provider, "address": address, "kind": "status_429", "retry_after": retry_after}
        (await self.providers.put("/_sandbox/faults", json=fault)).raise_for_status()

    async def report(self, person: Person, channel: str, status: str, *, choice: str | None = None) -> None:
        """Report on the person's newest message of a channel, as a callback would, at the person's present."""
        now = await person.present()
        (message,) = [row for row in await person.messages() if row["channel"] == channel][-1:]
        async with self.pool.acquire() as connection, connection.transaction():
            await customers.lock(connection, [message["customer_id"]])
            moved = await messages.advance(
                connection, message["id"], Status(status), now, provider_id=None, reason=None
            )
            assert moved is not None
            assert moved.awaited
            told = {"enrolment": moved.enrolment, "message": str(message["id"]), "status": status, "choice": choice}
            await events.keep(
                connection,
                [
                    NewEvent(
                        customer=moved.customer,
                        source="webhook:tests",
                        message_id=uuid4().hex,
                        type=MESSAGE_REPLY if status == "replied" else MESSAGE_STATUS,
                        name=f"message_{status}",
                        properties=told,
                        context={},
                        timestamp=now,
                        received_at=now,
                        concerns_a_run=True,
                    )
                ],
            )
        await self.dispatch(person)


def where_it_is(hour: int) -> str:
    """A time zone in which it is that hour now, so that no test depends on when it runs."""
    offset = (hour - datetime.now(UTC).hour + 11) % 24 - 11
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


@contextlib.asynccontextmanager
async def open_world(stack: EmbeddedStack, temporal: Client, configuration: Settings) -> AsyncIterator[World]:
    """Run a worker with every journey that ships, and the tests' own stories.

    The dispatcher does not run by itself: a test decides when its events are dispatched.
    """
    deployment = configuration.deployment()
    catalog = Catalog.of((*JOURNEYS, *STORIES))
    async with (
        await open_pool(stack.database_url) as pool,
        delivering(pool, catalog, configuration, deployment) as ready,
        open_operators() as operators,
    ):
        # Some tests hold this process up for many seconds, which is no pause to be wary of. Under time skipping
        # a message given back would be asked for again hours later.
        deliver = replace(ready, pulse=Pulse(a_pause=math.inf))
        async with (
            build_worker(temporal, catalog, deliver, Outcomes(pool), operators),
            httpx.AsyncClient(base_url=stack.sandbox_url) as providers,
        ):
            async with pool.acquire() as connection:
                await installation.begin(connection, configuration.speed)
            dispatcher = Dispatcher(pool, stack.database_url, temporal, catalog)
            # A callback in the middle of a skip would lose against the clock: it comes before the answer.
            (await providers.put("/_sandbox/callbacks", json={"before_answer": True})).raise_for_status()
            skipper = TimeSkipper(temporal, config=TimeSkippingConfig(enabled=False))
            yield World(stack, configuration, temporal, pool, catalog, dispatcher, deliver, skipper, providers)
