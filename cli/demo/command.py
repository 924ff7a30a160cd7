"""`journeys demo`: the main job, from nothing to a table of what happened."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
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
from cli.demo.lives import Town
from cli.demo.pace import Pace
from cli.demo.pack import Figure, Outcome, Pack
from cli.demo.packs import PACKS, PackName
from cli.demo.people import MOST_PEOPLE, K, Person, population
from cli.demo.phones import Phones
from cli.demo.promises import Evidence, Stay, decided, goals, read_stays, waiting
from cli.demo.screen import Tell
from cli.installation import Access, Installation, Refused, open_installation

if TYPE_CHECKING:
    from cli.stack import EmbeddedStack

_SETTLES_WITHIN = 15.0
"""Wall seconds in which the last reports and events must have arrived."""


def demo(
    pack: Annotated[PackName, typer.Option(help="Whose story is played.")] = PackName.CAR_CREDIT,
    customers: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_PEOPLE, help="How many people take part; if left out, as many as the story needs."
        ),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(min=0.5, help="How many days of the story are played; if left out, all of it."),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=100, max=1_000_000, help="Journey seconds per second: 11520, car_credit's, lets a day pass in 7.5 s."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number draws other people.")] = 1,
    data_dir: Annotated[Path, typer.Option(help="For logs and summary.json; whatever else is kept there goes.")] = Path(
        "var/demo"
    ),
) -> None:
    """Run the main job: a company's customers live through its story and behave like people.

    Starts PostgreSQL, Temporal, the providers' sandbox, the API and a worker on free ports, lets the people
    live through some days or weeks, and ends with a table of what happened, and of what the company's own story says
    beside what was observed. The exit code is 1 if a promise was broken: an accepted event that did not reach its
    journeys, a message that left twice, or one that left after its goal.

    Example: journeys demo --pack payday_loans --customers 50
    """
    from cli.stack import StackError

    console = Console()
    played = _first(PACKS[pack], days)
    people = population(played.kinds, customers or played.customers, random.Random(seed))
    try:
        broken = signals.run(_demo(console, played, people, speed or played.speed, seed, data_dir))
    except signals.Interrupted as interrupted:
        console.print("Stopped; nothing is left but the logs.")
        raise typer.Exit(128 + interrupted.signal) from None
    except (StackError, Refused, httpx.HTTPError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    raise typer.Exit(1 if broken else 0)


def _first(pack: Pack[K], days: float | None) -> Pack[K]:
    """Return the beginning of a pack's story."""
    whole = pack.story / timedelta(days=1)
    if days is None:
        return pack
    if days > whole:
        raise typer.BadParameter(f"the story of {pack.name} takes {whole:g} days", param_hint="--days")
    return replace(pack, story=timedelta(days=days))


async def _demo(
    console: Console, pack: Pack[K], people: list[Person[K]], speed: float, seed: int, data_dir: Path
) -> list[str]:
    """Set everything up, run the story, and return the promises that were broken."""
    from cli.stack import EmbeddedStack

    summary_file = data_dir / "summary.json"
    summary_file.unlink(missing_ok=True)
    console.print("Starting PostgreSQL, Temporal, the sandbox, the API and a worker …")
    async with EmbeddedStack(data_dir, durable=False, speed=speed, environment=pack.environment) as stack:
        addresses = {
            "Temporal's web interface": stack.ui_url,
            "Phones and mailboxes": stack.sandbox_url,
            "API documentation": f"{stack.api_url}/docs",
        }
        screen.begin(console, addresses)
        summary, figures, broken = await while_whole(stack, _perform(console, stack, pack, people, seed))
    summary_file.write_text(json.dumps(summary, indent=2, ensure_ascii=False))
    screen.end(console, summary, figures, broken)
    console.print(f"All of it in {summary_file}")
    return broken


async def _perform(
    console: Console, stack: "EmbeddedStack", pack: Pack[K], people: Sequence[Person[K]], seed: int
) -> tuple[dict[str, Any], list[Figure], list[str]]:
    began = time.monotonic()
    async with (
        open_installation(Access(stack.api_url, stack.operator_key, stack.write_key)) as installation,
        httpx.AsyncClient(base_url=stack.sandbox_url, trust_env=False, timeout=20) as sandbox,
        Backend(installation) as backend,
    ):
        phones = Phones(sandbox)
        await pack.prepare(installation)
        await _story(console, installation, backend, phones, pack, people, seed)
        await backend.finish()
        await _settled(installation, phones)
        counts, stays = await _counts(installation), await read_stays(installation)
        evidence = Evidence(
            accepted=backend.accepted,
            kept=counts["events"],
            undispatched=counts["undispatched"],
            parked=counts["parked"],
            goals=goals(stays, backend.told),
            stays=stays,
            effects=phones.effects,
            decided=await decided(installation, stays, phones.effects),
            repeated=await phones.repeated(),
        )
        figures = await pack.figures(Outcome(installation, people, backend.told, stays))
    broken = evidence.broken()
    summary = {
        "pack": pack.name,
        "days": pack.story / timedelta(days=1),
        "customers": backend.customers,
        "events": counts["events"],
        "enrolments": len(stays),
        "messages": counts["messages"],
        "goals_reached": sum(stay.outcome == "goal" for stay in stays),
        "seconds": round(time.monotonic() - began, 1),
        "outcomes": counts["enrolments"],
        "waiting": waiting(stays),
        "dispatch_seconds": {"median": counts["median_dispatch"], "slowest": counts["slowest_dispatch"]},
        "people": _by_kind(pack, people, stays),
        "figures": [figure.as_json() for figure in figures],
        "broken_promises": broken,
    }
    return summary, figures, broken


def _by_kind(pack: Pack[K], people: Sequence[Person[K]], stays: Sequence[Stay]) -> dict[str, dict[str, int]]:
    """Return how many people of each kind there were, how many were in a journey, and how many reached a goal."""
    entered = {stay.user_id for stay in stays}
    reached = {stay.user_id for stay in stays if stay.outcome == "goal"}
    counted: dict[str, dict[str, int]] = {}
    for kind in pack.kinds:
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
    pack: Pack[K],
    people: Sequence[Person[K]],
    seed: int,
) -> None:
    """Let everybody live until the story is over."""
    clock = await installation.clock()
    pace = Pace.beginning_now(clock)
    try:
        with screen.progress(console, pack.story / timedelta(days=1)) as tell:
            async with (
                asyncio.timeout(clock.wall_duration(pack.story).total_seconds()),
                asyncio.TaskGroup() as tasks,
            ):
                town = Town(pace, backend, phones, installation, tasks)
                for person in people:
                    tasks.create_task(pack.life(person, town, random.Random(f"{seed}:{person.number}")).live())
                tasks.create_task(pack.meanwhile(town))
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
