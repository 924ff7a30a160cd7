"""Commands that speak to a running installation, each by one or two calls of its HTTP API."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import quote

import orjson
import typer
from rich.console import Console
from rich.table import Table

from cli.installation import Installation, NoInstallation, Refused, find_access, open_installation
from cli.tables import outcomes_table

T = TypeVar("T")

WHERE = (
    "Speaks to the installation at JOURNEYS_URL with JOURNEYS_OPERATOR_KEY or, if they are not set, "
    "to the one `journeys up` runs in this directory."
)

Enrolment = Annotated[int, typer.Argument(min=1, help="Number of the enrolment, as `journeys show USER_ID` lists it.")]

console = Console()

MOST_MESSAGES = 12
"""Of a journey, told in a list; its picture has all."""


def fail(message: str) -> NoReturn:
    """Say in one line why not, and end with exit code 1."""
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def ask(question: Callable[[Installation], Coroutine[Any, Any, T]]) -> T:
    """Put a question to the installation the environment means."""

    async def put() -> T:
        async with open_installation(find_access()) as installation:
            return await question(installation)

    try:
        return asyncio.run(put())
    except (NoInstallation, Refused) as error:
        fail(str(error))


def list_journeys(
    pack: Annotated[
        str | None, typer.Option(help="Only the journeys of one business pack, such as car_credit.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="From the code, without a server: every journey that ships, with its story.")
    ] = False,
) -> None:
    """List the journeys of the deployment: what starts them, whom they are for, their goal, what they send.

    Example: journeys list --pack car_credit
    """
    if local:
        # Reads all journeys' code, which no other command here needs.
        from cli.authors import list_here

        return list_here(pack)

    async def journeys(installation: Installation) -> tuple[str, Any]:
        return installation.url, await installation.get("/v1/journeys")

    url, found = ask(journeys)
    packs = sorted({each["pack"] for each in found})
    if pack and pack not in packs:
        fail(f"there is no pack {pack}; there are {', '.join(packs)}")
    chosen = [each for each in found if pack in (None, each["pack"])]
    for each in chosen:
        console.print(f"[bold]{each['name']}[/bold]  ({each['pack']})", highlight=False)
        console.print(f"  {each['story']}", highlight=False)
        for heading, values in (
            ("for", [f"whoever is in the segment {name}" for name in each["segments"]]),
            ("starts on", each["starts_on"]),
            ("once per", [each["key"] or "customer"]),
            ("goal", each["ends_on"]),
            ("exits on", each["exits_on"]),
            ("sends", _messages(each["messages"])),
            ("about", [each["topic"]]),
            ("picture", [f"{url}{each['page']}"]),
        ):
            if values:
                console.print(f"  {heading + ':':<11}{', '.join(values)}", highlight=False, soft_wrap=True)
        console.print()
    console.print(outcomes_table({each["name"]: each["stays"] for each in chosen}))


def _messages(messages: list[dict[str, Any]]) -> list[str]:
    """Return texts, each with the channels it may go by, in the order in which they may be sent."""
    channels: dict[str, dict[str, None]] = {}
    for each in messages:
        channels.setdefault(each["template"].split("/", 1)[-1], {})[each["channel"]] = None
    told = [f"{name} ({', '.join(ways)})" for name, ways in channels.items()]
    return told if len(told) <= MOST_MESSAGES else [*told[:MOST_MESSAGES], f"and {len(told) - MOST_MESSAGES} more"]


def show(
    what: Annotated[str, typer.Argument(metavar="ENROLMENT|USER_ID", help="Number of an enrolment, or a user's id.")],
    user: Annotated[bool, typer.Option("--user", help="It is a user's id, though it looks like a number.")] = False,
) -> None:
    """Show one enrolment as it stands: what was sent, what it waits for and until when; or a user's enrolments.

    Examples: journeys show 42, journeys show client-4711
    """
    if what.isdecimal() and not user:
        _show_enrolment(ask(lambda installation: installation.get(f"/v1/enrolments/{what}")))
    else:
        _show_user(what)


def start(
    journey: Annotated[str, typer.Argument(help="Name of the journey, as `journeys list` has it.")],
    user_id: Annotated[str, typer.Argument(help="The customer's id in your backend.")],
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME=VALUE", help="A property of the starting event; JSON or a text."),
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Which of the journey's starting events; the first if not said.")
    ] = None,
) -> None:
    """Start a journey for a customer by hand, as its own event would.

    Example: journeys start AbandonedApplication client-4711 --property application_id=A-1 --property filled=4
    """
    body = {"user_id": user_id, "event": event, "properties": dict(map(_property, properties or []))}
    enrolment = ask(lambda installation: installation.post(f"/v1/journeys/{journey}/enrolments", body))
    console.print(f"Started: enrolment {enrolment['id']}, run {enrolment['workflow_id']}", highlight=False)
    if enrolment["temporal_ui"]:
        console.print(enrolment["temporal_ui"], highlight=False, soft_wrap=True)


def pause(enrolment: Enrolment) -> None:
    """Start no further message of an enrolment until `journeys resume`; its timers run on.

    Example: journeys pause 42
    """
    _command(enrolment, "pause")


def resume(enrolment: Enrolment) -> None:
    """Let a paused enrolment go on; what became due meanwhile is acted on now.

    Example: journeys resume 42
    """
    _command(enrolment, "resume")


def stop(enrolment: Enrolment) -> None:
    """End an enrolment now, without a goal.

    Example: journeys stop 42
    """
    _command(enrolment, "stop")


def skip_wait(enrolment: Enrolment) -> None:
    """End the one wait an enrolment is in, as if its time were over; refused where the contact policy waits.

    Example: journeys skip-wait 42
    """
    _command(enrolment, "skip_wait")


class AsideKind(StrEnum):
    """Why an event is aside."""

    PARKED = "parked"
    REJECTED = "rejected"


def events(
    kind: Annotated[
        AsideKind,
        typer.Argument(help="parked: accepted, but can never be dispatched as it is. rejected: not accepted."),
    ],
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 20,
) -> None:
    """List events that are set aside, with the reason.

    Example: journeys events rejected
    """
    found = ask(lambda installation: installation.get(f"/v1/events/{kind}", limit=limit))
    if not found:
        console.print(f"No {kind} events.")
        return
    table = Table()
    for name in ("number", "received", "source", "event", "reason"):
        table.add_column(name, overflow="fold")
    for each in found:
        reason = f"{each['field']}: {each['rule']}" if kind is AsideKind.REJECTED else each["reason"]
        named = each["name"] if kind is AsideKind.PARKED else each["message_id"] or ""
        table.add_row(str(each["id"]), _moment(each["received_at"]), each["source"], named, reason)
    console.print(table)


def _command(enrolment: int, command: str) -> None:
    done = ask(lambda installation: installation.post(f"/v1/enrolments/{enrolment}/{command}"))
    console.print(f"Enrolment {enrolment}: {done['result']}", highlight=False)


def _property(given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{given}: must be NAME=VALUE", param_hint="--property")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def _show_enrolment(enrolment: dict[str, Any]) -> None:
    console.print(
        f"{enrolment['journey']} of {enrolment['user_id'] or 'customer ' + str(enrolment['customer_id'])}"
        f"{' for ' + enrolment['key'] if enrolment['key'] else ''}, "
        f"since {_moment(enrolment['enrolled_at'])} (journey time)",
        style="bold",
        highlight=False,
        markup=False,
    )
    if enrolment["temporal_ui"]:
        console.print(enrolment["temporal_ui"], highlight=False, soft_wrap=True)
    _show_messages(enrolment["messages"])
    standing = enrolment["standing"]
    if enrolment["outcome"]:
        console.print(f"Over: {enrolment['outcome']}")
    elif standing is None:
        console.print("Under way, but its run does not answer now.")
    else:
        for wait in standing["waiting"]:
            by = " (contact policy)" if wait["policy"] else ""
            until = f"until {_moment(wait['until'])} (journey time, UTC)"
            console.print(f"Waits for {wait['for']}{by}, {until}", highlight=False, markup=False)
        if standing["paused"]:
            console.print("Paused: no message starts until it is resumed")


def _show_user(user_id: str) -> None:
    who = quote(user_id, safe="")
    found = ask(lambda installation: installation.get(f"/v1/customers/{who}/timeline", limit=200))
    entries = [each for each in reversed(found["entries"]) if each["kind"] in ("event", "enrolment", "message")]
    title = f"{user_id}{', the newest only' if found['next'] else ''}"
    # Without borders, which would take the width that names of journeys and texts need.
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("when (UTC)", "what", "", "came of it"):
        table.add_column(name, overflow="fold")
    for each in entries:
        table.add_row(_moment(each["at"]), *_told(each))
    console.print(table)
    if numbers := [str(each["id"]) for each in entries if each["kind"] == "enrolment"]:
        console.print(f"Enrolments: {', '.join(numbers)}; look closer with `journeys show {numbers[-1]}`")


def _told(entry: dict[str, Any]) -> tuple[str, str, str]:
    """Say in three columns what happened."""
    match entry["kind"]:
        case "event":
            reason = f"parked: {entry['note']}" if entry["parked_at"] else entry["note"]
            return "did", entry["name"], reason or ""
        case "enrolment":
            by = f" by {entry['ended_by']}" if entry["ended_by"] else ""
            became = f"{entry['outcome']}{by}" if entry["outcome"] else "under way"
            return f"enrolment {entry['id']}", f"{entry['journey']} {entry['key']}", became
        case _:
            reason = f" ({entry['reason']})" if entry["reason"] else ""
            return entry["channel"], entry["template"], f"{entry['status']}{reason}"


def _show_messages(messages: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("journey time", "channel", "text", "became", "reason"):
        table.add_column(name, overflow="fold")
    for each in messages:
        table.add_row(
            _moment(each["journey_at"]), each["channel"], each["template"], each["status"], each["reason"] or ""
        )
    console.print(table if messages else "Nothing sent so far.")


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"
