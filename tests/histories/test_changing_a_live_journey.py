"""The README's three ways to change a journey that is live, and which changes are safe.

`reminder/first.py` is the journey as customers began it; its neighbours are that journey changed.
"""

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from activities.outcomes import Outcomes
from dispatch.dispatcher import Dispatcher
from tests.histories.fingerprint import fingerprint
from tests.histories.recordings import Recording
from tests.histories.reminder import first, patched, renamed, safe
from tests.world import Person, World
from worker import build_replayer, build_worker, delivering
from workflows.catalog import Catalog
from workflows.journey import Journey

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

README = Path(__file__).parents[2] / "README.md"


@contextlib.contextmanager
def own_queue() -> Iterator[None]:
    """Keep the workers of the releases tried here apart from the one all other tests share."""
    queue = f"journeys-{uuid4().hex}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dispatch.runs.TASK_QUEUE", queue)
        patch.setattr("worker.TASK_QUEUE", queue)
        yield


@pytest.fixture
def queue() -> Iterator[None]:
    with own_queue():
        yield


@contextlib.asynccontextmanager
async def release(world: World, *journeys: type[Journey[Any]]) -> AsyncIterator[World]:
    """Run one release of the product, with these journeys."""
    catalog = Catalog.of(journeys)
    async with (
        delivering(world.pool, catalog, world.settings, world.settings.deployment()) as deliver,
        build_worker(world.temporal, catalog, deliver, Outcomes(world.pool)),
    ):
        dispatcher = Dispatcher(world.pool, world.stack.database_url, world.temporal, catalog)
        yield replace(world, catalog=catalog, dispatcher=dispatcher)


async def begins(world: World) -> Person:
    """Somebody begins the journey and gets its email."""
    person = await world.person()
    await person.begins()
    await world.until(person.count, 1)
    return person


@pytest.mark.usefixtures("queue")
async def test_a_safe_change_holds_for_waits_that_have_not_begun(world: World) -> None:
    async with release(world, first.Reminder) as before:
        person = await begins(before)
        await person.passes(HOUR)
    async with release(world, safe.Reminder) as after:
        person, other = replace(person, world=after), await begins(after)
        # A wait under way keeps its length.
        await person.passes(DAY)
        await other.passes(DAY + HOUR)
        assert await person.got() == ["email full", "sms partly_filled"]
        assert await other.got() == ["email full"]
        await other.passes(DAY)
        assert await other.got() == ["email full", "sms partly_filled"]


@pytest.mark.usefixtures("queue")
async def test_a_patch_is_taken_by_runs_that_have_not_come_there_and_passed_by_the_others(world: World) -> None:
    async with release(world, first.Reminder) as before:
        early, late = await begins(before), await begins(before)
        await early.passes(HOUR)
        await late.passes(DAY + HOUR)
        assert await late.got() == ["email full", "sms partly_filled"]
    async with release(world, patched.Reminder) as after:
        early, late = replace(early, world=after), replace(late, world=after)
        await early.passes(DAY)
        assert await early.got() == ["email full", "push partly_filled"]
        await early.passes(4 * HOUR)
        assert await early.got() == ["email full", "push partly_filled", "sms partly_filled"]
        await late.passes(30 * DAY)
        assert await late.outcome() == "finished"
        assert await late.got() == ["email full", "sms partly_filled"]


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize(
    ("instead", "goes_on"),
    [('workflow.deprecate_patch("push-before-sms")\n        if True:', True), ("if True:", False)],
)
async def test_a_patch_is_taken_out_in_two_steps(
    world: World, instead: str, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with release(world, patched.Reminder) as before:
        person = await begins(before)
        await person.passes(2 * DAY)
        run = Recording.of(await (await person.run()).fetch_history(), "patched")
    condition = 'if workflow.patched("push-before-sms"):'
    changed = Changed.at((condition, instead), tmp_path, monkeypatch, patched)
    assert await changed.goes_on(run) is goes_on


@pytest.mark.usefixtures("queue")
async def test_under_a_new_name_the_old_runs_stay_what_they_are(world: World) -> None:
    async with release(world, first.Reminder) as before:
        person, goal = await begins(before), await begins(before)
    async with release(world, renamed.Reminder, renamed.ReminderByCall) as after:
        person, goal, new = replace(person, world=after), replace(goal, world=after), await after.person()
        await new.begins()
        await new.passes(2 * HOUR)
        await person.passes(DAY + HOUR)
        await goal.does("credit_application_submitted", application_id="A-1")
        assert await goal.outcome() == "goal"
        assert await person.got() == ["email full", "sms partly_filled"]
        assert await new.got() == ["call full"]
        assert [stay["journey"] for stay in await new.enrolments()] == ["ReminderByCall"]


@pytest.mark.parametrize("shown", [first.Reminder, safe.Reminder, patched.Reminder, renamed.ReminderByCall])
def test_the_readme_shows_what_is_tested_here(shown: type[Journey[Any]]) -> None:
    assert textwrap.dedent(inspect.getsource(shown.steps)) in README.read_text()


# Which changes are safe: what stands in the code, and what stands there instead.

EMAIL = 'email("abandoned_application/full")'
SMS = 'sms("abandoned_application/partly_filled")'
OTHER = 'email("abandoned_application/partly_filled")'
WAIT = "await self.wait(timedelta(days=1))"

SAFE = {
    "a longer wait": ("timedelta(days=1)", "timedelta(days=3)"),
    "a wait so short that it was over when the run came there": ("timedelta(days=1)", "timedelta(hours=1)"),
    "how long a message is useful": (EMAIL, f"{EMAIL[:-1]}, useful_for=timedelta(days=3))"),
    "a message's class": (EMAIL, f"{EMAIL[:-1]}, transactional=True)"),
    "topic and priority": ("    key=", '    topic="offers",\n    priority=1,\n    key='),
    "another goal": ("    ends_on=CreditApplicationSubmitted,\n", ""),
}
UNSAFE = {
    "a message more": (WAIT, f"await self.send({OTHER})\n        {WAIT}"),
    "a message less": (f"        await self.send({SMS})\n", ""),
    "another text": (EMAIL, OTHER),
    "another channel": (SMS, OTHER),
    "a wait more": (WAIT, f"{WAIT}\n        {WAIT}"),
    "a wait less": (f"        {WAIT}\n", ""),
    "what restarts it": ("    restarts_on=CreditApplicationProgressed,\n", ""),
}
LATER = {
    "steps to which no run has come": ("days=30))\n", f"days=30))\n        await self.send({OTHER})\n"),
}


@pytest.fixture(scope="session")
async def under_way(world: World) -> Recording:
    """A run in its last wait, which went through its steps twice."""
    with own_queue():
        async with release(world, first.Reminder) as before:
            person = await begins(before)
            await person.passes(20 * HOUR)
            await person.fills(20)
            await person.passes(5 * HOUR)
            assert await person.got() == ["email full", "sms partly_filled"]
            return Recording.of(await (await person.run()).fetch_history(), "under_way")


@dataclass(frozen=True)
class Changed:
    """The journey with one place of its code changed."""

    journey: type[Journey[Any]]

    @classmethod
    def at(
        cls, change: tuple[str, str], folder: Path, patch: pytest.MonkeyPatch, module: ModuleType = first
    ) -> "Changed":
        code = Path(module.__file__ or "").read_text()
        assert change[0] in code
        name = f"reminder_{uuid4().hex}"
        (folder / f"{name}.py").write_text(code.replace(*change, 1))
        patch.syspath_prepend(folder)
        return cls(importlib.import_module(name).Reminder)

    async def goes_on(self, run: Recording) -> bool:
        """Whether a run that began under the unchanged journey goes on under this one."""
        try:
            await build_replayer([self.journey]).replay_workflow(run.history)
        except Exception:
            return False
        return True

    @property
    def is_noticed(self) -> bool:
        """Whether its fingerprint is another one."""
        return fingerprint(self.journey) != fingerprint(first.Reminder)


@pytest.mark.parametrize("change", SAFE.values(), ids=SAFE)
async def test_a_safe_change_stops_nothing(
    change: tuple[str, str], under_way: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Changed.at(change, tmp_path, monkeypatch)
    assert await changed.goes_on(under_way)
    assert not changed.is_noticed


@pytest.mark.parametrize("change", UNSAFE.values(), ids=UNSAFE)
async def test_an_unsafe_change_is_found_twice(
    change: tuple[str, str], under_way: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Changed.at(change, tmp_path, monkeypatch)
    assert not await changed.goes_on(under_way)
    assert changed.is_noticed


@pytest.mark.parametrize("change", LATER.values(), ids=LATER)
async def test_what_no_recorded_run_has_come_to_is_found_by_the_fingerprint(
    change: tuple[str, str], under_way: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Changed.at(change, tmp_path, monkeypatch)
    assert await changed.goes_on(under_way)
    assert changed.is_noticed
