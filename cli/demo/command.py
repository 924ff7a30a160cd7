"""`journeys demo`: the main job, from nothing to a table of what happened."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.console import Console

from cli import signals
from cli.attended import while_whole
from cli.demo import screen
from cli.demo.backend import Backend
from cli.demo.lives import Life, Town
from cli.demo.pace import Pace
from cli.demo.people import KINDS, MOST_PEOPLE, Person, population
from cli.demo.phones import Phones
from cli.demo.promises import Evidence, Stay, read_stays, waiting
from cli.demo.screen import Tell
from cli.installation import Access, Installation, Refused, open_installation

if TYPE_CHECKING:
    from cli.stack import EmbeddedStack

STORY = timedelta(days=9)
"""Journey time the story takes: four days until everybody has begun, and the longest way from there to the
last message and what it does: half an hour, a night until one may call, three days, another night, an answer."""

_SETTLES_WITHIN = 15.0
"""Wall seconds in which the last reports and events must have arrived."""


def demo(
    customers: Annotated[int, typer.Option(min=1, max=MOST_PEOPLE, help="How many people take part.")] = 200,
    speed: Annotated[
        float, typer.Option(min=100, max=1_000_000, help="Journey seconds per second: 11520 lets a day pass in 7.5 s.")
    ] = 11_520.0,
    seed: Annotated[int, typer.Option(help="Another number draws other people.")] = 1,
    data_dir: Annotated[Path, typer.Option(help="For logs and summary.json; whatever else is kept there goes.")] = Path(
        "var/demo"
    ),
) -> None:
    """Run the main job: customers begin credit applications and behave like people.

    Starts PostgreSQL, Temporal, the providers' sandbox, the API and a worker on free ports, lets the people
    live through nine days, and ends with a table of what happened. The exit code is 1 if a promise was
    broken: an accepted event that did not reach its journeys, a message that left twice, or one that left
    after its goal.

    Example: journeys demo --customers 50
    """
    from cli.stack import StackError

    console = Console()
    try:
        broken = signals.run(_demo(console, population(customers, random.Random(seed)), speed, seed, data_dir))
    except signals.Interrupted as interrupted:
        console.print("Stopped; nothing is left but the logs.")
        raise typer.Exit(128 + interrupted.signal) from None
    except (StackError, Refused, httpx.HTTPError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    raise typer.Exit(1 if broken else 0)


async def _demo(console: Console, people: list[Person], speed: float, seed: int, data_dir: Path) -> list[str]:
    """Set everything up, run the story, and return the promises that were broken."""
    from cli.stack import EmbeddedStack

    summary_file = data_dir / "summary.json"
    summary_file.unlink(missing_ok=True)
    console.print("Starting PostgreSQL, Temporal, the sandbox, the API and a worker …")
    async with EmbeddedStack(data_dir, durable=False, speed=speed) as stack:
        addresses = {
            "Temporal's web interface": stack.ui_url,
            "Phones and mailboxes": stack.sandbox_url,
            "API documentation": f"{stack.api_url}/docs",
        }
        screen.begin(console, addresses)
        summary, broken = await while_whole(stack, _perform(console, stack, people, seed))
    summary_file.write_text(json.dumps(summary, indent=2, ensure_ascii=False))
    screen.end(console, summary, broken)
    console.print(f"All of it in {summary_file}")
    return broken


async def _perform(
    console: Console, stack: "EmbeddedStack", people: Sequence[Person], seed: int
) -> tuple[dict[str, Any], list[str]]:
    began = time.monotonic()
    async with (
        open_installation(Access(stack.api_url, stack.operator_key, stack.write_key)) as installation,
        httpx.AsyncClient(base_url=stack.sandbox_url, trust_env=False, timeout=20) as sandbox,
    ):
        backend, phones = Backend(installation), Phones(sandbox)
        await _story(console, installation, backend, phones, people, seed)
        await backend.finish()
        await _settled(installation, phones)
        counts, stays = await _counts(installation), await read_stays(installation)
        evidence = Evidence(
            accepted=backend.accepted,
            kept=counts["events"],
            undispatched=counts["undispatched"],
            parked=counts["parked"],
            goals=backend.goals,
            stays=stays,
            effects=phones.effects,
            repeated=await phones.repeated(),
        )
    broken = evidence.broken()
    summary = {
        "customers": backend.customers,
        "events": counts["events"],
        "enrolments": len(stays),
        "messages": counts["messages"],
        "goals_reached": sum(stay.outcome == "goal" for stay in stays),
        "seconds": round(time.monotonic() - began, 1),
        "outcomes": counts["enrolments"],
        "waiting": waiting(stays),
        "dispatch_seconds": {"median": counts["median_dispatch"], "slowest": counts["slowest_dispatch"]},
        "people": _by_kind(people, stays),
        "broken_promises": broken,
    }
    return summary, broken


def _by_kind(people: Sequence[Person], stays: Sequence[Stay]) -> dict[str, dict[str, int]]:
    """Return how many people of each kind there were, how many were in a journey, and how many reached a goal."""
    entered = {stay.user_id for stay in stays}
    reached = {stay.user_id for stay in stays if stay.outcome == "goal"}
    counted: dict[str, dict[str, int]] = {}
    for kind in KINDS:
        users = {person.user_id for person in people if person.kind is kind}
        if users:
            counted[kind.story] = {
                "people": len(users),
                "in a journey": len(users & entered),
                "reached a goal": len(users & reached),
            }
    return counted


async def _story(
    console: Console,
    installation: Installation,
    backend: Backend,
    phones: Phones,
    people: Sequence[Person],
    seed: int,
) -> None:
    """Let everybody live until the story is over."""
    clock = await installation.clock()
    pace = Pace.beginning_now(clock)
    try:
        with screen.progress(console, STORY / timedelta(days=1)) as tell:
            async with (
                asyncio.timeout(clock.wall_duration(STORY).total_seconds()),
                asyncio.TaskGroup() as tasks,
            ):
                town = Town(pace, backend, phones, installation, tasks)
                for person in people:
                    tasks.create_task(Life(person, town, random.Random(f"{seed}:{person.number}")).live())
                tasks.create_task(phones.deliver())
                tasks.create_task(_tell(installation, backend, pace, tell))
    except TimeoutError:
        return
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _tell(installation: Installation, backend: Backend, pace: Pace, tell: Tell) -> None:
    while True:
        tell(pace.days, backend.customers, await _counts(installation))
        await asyncio.sleep(1)


async def _settled(installation: Installation, phones: Phones) -> None:
    """Wait until every event has reached its runs and every report has arrived."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SETTLES_WITHIN
    while loop.time() < deadline:
        await phones.look()
        if not (await _counts(installation))["undispatched"] and not await phones.callbacks_waiting():
            break
        await asyncio.sleep(0.2)


async def _counts(installation: Installation) -> dict[str, Any]:
    counts: dict[str, Any] = await installation.get("/v1/reports/counts")
    return counts
