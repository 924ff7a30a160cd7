"""How the tests of campaigns speak: somebody writes one and starts it, time passes, who got what."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.client import WorkflowHandle

from dispatch.progress import Report, move
from domain.messages import Channel, Status
from segments import form as forms
from store import customers, segments, texts
from store.segments import NewVersion
from store.texts import Name
from tests.world import Person, World
from worker import build_campaigns_worker
from workflows.campaigns import run_id

TEXTS = {
    Channel.SMS: "---\n---\nWinter tyres are here.",
    Channel.EMAIL: "---\nsubject: Winter tyres\n---\nThey are here, variant {{ event.variant }}.",
    Channel.PUSH: "---\ntitle: Winter tyres\n---\nThey are here.",
    Channel.INBOX: "---\ntitle: Winter tyres\n---\nThey are here.",
}


@dataclass(frozen=True)
class Office:
    """Where campaigns are made, and the people of one segment."""

    world: World
    http: httpx.AsyncClient
    segment: str

    async def people(self, count: int, **traits: Any) -> list[Person]:
        """Some customers of the segment."""
        return [await self.world.person(audience=self.segment, **traits) for _ in range(count)]

    def form(self, **given: Any) -> dict[str, Any]:
        """A campaign of one sms, as fast as it can be."""
        return {
            "name": f"c_{uuid4().hex[:12]}",
            "segment": self.segment,
            "cascade": [{"channel": "sms", "template": "campaigns/tyres"}],
            "rate_per_second": 1000,
            **given,
        }

    async def writes(self, **given: Any) -> str:
        """Somebody writes a campaign; its name."""
        form = self.form(**given)
        answer = await self.http.put(f"/v1/campaigns/{form['name']}", json=form)
        assert answer.status_code == 200, answer.text
        name: str = form["name"]
        return name

    async def starts(self, name: str, *, confirm: bool = True) -> "Campaign":
        """Somebody starts it."""
        answer = await self.http.post(f"/v1/campaigns/{name}/start", json={"confirm": confirm})
        assert answer.status_code == 200, answer.text
        return self.campaign(name)

    def campaign(self, name: str) -> "Campaign":
        """One that has begun."""
        return Campaign(self, name, self.world.temporal.get_workflow_handle(run_id(name)))

    async def moves(self, person: Person, audience: str) -> None:
        """Somebody goes over to another audience."""
        await self.tells(person, "identify", traits={"audience": audience})

    async def tells(self, person: Person, kind: str, **call: Any) -> None:
        """Something becomes known of somebody."""
        await self.world.tell({"userId": person.user_id, **call}, kind, datetime.now(UTC))

    async def hears(self, person: Person, status: Status) -> None:
        """A provider reports on somebody's newest message."""
        message = (await person.messages())[-1]
        async with self.world.pool.acquire() as connection, connection.transaction():
            await customers.lock(connection, [message["customer_id"]])
            await move(connection, message["id"], status, Report("tests", uuid4().hex, datetime.now(UTC)))

    async def number(self, person: Person) -> int:
        """Our number of a customer."""
        number: int = await self.world.pool.fetchval(
            "select customer_id from identities where value = $1", person.user_id
        )
        return number

    async def sends(self, **given: Any) -> "Campaign":
        """Somebody writes one and starts it."""
        return await self.starts(await self.writes(**given))


@dataclass(frozen=True)
class Campaign:
    """One that has begun."""

    office: Office
    name: str
    run: WorkflowHandle[Any, str]

    async def told(self) -> dict[str, Any]:
        """What the API says of it."""
        answer = await self.office.http.get(f"/v1/campaigns/{self.name}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def says(self, what: str) -> Any:
        """One thing of that."""
        return (await self.told())[what]

    async def is_(self) -> str:
        status: str = await self.says("status")
        return status

    async def waiting(self) -> int:
        count: int = await self.says("waiting")
        return count

    async def next_due(self) -> datetime:
        return datetime.fromisoformat(await self.says("next_due"))

    async def is_due_after(self, moment: datetime) -> bool:
        """Whether everybody who waits does so until then."""
        due = await self.says("next_due")
        return due is not None and datetime.fromisoformat(due) > moment

    async def done(self) -> dict[str, int]:
        done: dict[str, int] = await self.says("done")
        return done

    async def done_with(self, outcome: str) -> int:
        return (await self.done()).get(outcome, 0)

    async def standing(self) -> str:
        """What its run says."""
        status: str = (await self.run.query("standing"))["status"]
        return status

    async def waits(self) -> int:
        """How often its run has begun to wait."""
        events = self.run.fetch_history_events()
        return len([each async for each in events if each.HasField("timer_started_event_attributes")])

    async def reports(self) -> dict[str, Any]:
        """What came of it."""
        answer = await self.office.http.get(f"/v1/campaigns/{self.name}/report")
        assert answer.status_code == 200, answer.text
        report: dict[str, Any] = answer.json()
        return report

    async def ends(self) -> dict[str, int]:
        """How it was done with everybody, once it is."""
        await self.office.world.until(self.is_, "finished")
        done: dict[str, int] = await self.says("done")
        return done

    async def is_told(self, command: str) -> dict[str, Any]:
        """An operator says something."""
        answer = await self.office.http.post(f"/v1/campaigns/{self.name}/{command}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def passes(self, duration: timedelta) -> None:
        """Journey time passes for it."""
        await self.office.world.skipper.fast_forward(self.run, duration)


@pytest.fixture(scope="module")
async def sending(world: World) -> AsyncIterator[World]:
    """A worker of campaigns, and texts they may send."""
    async with world.pool.acquire() as connection, connection.transaction():
        for template in ("campaigns/tyres", "campaigns/other"):
            for channel, source in TEXTS.items():
                for locale in ("en", "ru"):
                    named = Name(template, channel, locale)
                    version = await texts.draft(connection, named, source, None, "tests")
                    await texts.publish(connection, named, version.number, "tests")
    async with build_campaigns_worker(world.temporal, world.deliver, world.pool):
        yield world


@pytest.fixture
async def office(sending: World) -> AsyncIterator[Office]:
    """An office with a segment of its own."""
    segment = f"s_{uuid4().hex[:12]}"
    # A campaign stands aside for events that wait, as other tests leave some.
    await sending.pool.execute("update events set dispatched_at = now() where dispatched_at is null")
    async with sending.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        form = forms.read({"trait": "audience", "is": segment})
        await segments.put(connection, NewVersion(segment, "", form, "api", "tests"))
    headers = {"Authorization": f"Bearer {sending.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=sending.stack.api_url, headers=headers, timeout=30) as http:
        yield Office(sending, http, segment)
