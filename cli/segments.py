"""`journeys segments`: who is who, without a release."""

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from cli.commands import WHERE, ask, fail
from domain.advertising import Cabinet

segments = typer.Typer(help="Define who is who, without a release.", no_args_is_help=True)
console = Console()

Name = Annotated[
    str, typer.Argument(help="Name of the segment, as `journeys segments list` has it.", metavar="SEGMENT")
]
File = Annotated[Path, typer.Argument(help="JSON with name, story and form; segments/library has some to begin with.")]
Confirmed = Annotated[bool, typer.Option("--confirm", help="It is meant to hold more than half of all customers.")]


@segments.command("list", epilog=WHERE)
def list_segments() -> None:
    """List the segments: how many are in each, who uses it, when everybody was last looked at.

    Example: journeys segments list
    """
    found = ask(lambda installation: installation.get("/v1/segments"))
    table = Table(box=None, pad_edge=False)
    table.add_column("segment", no_wrap=True)
    for column in ("members", "version", "who they are", "used by", "scanned"):
        table.add_column(column)
    for each in found:
        table.add_row(
            each["name"],
            f"{each['members']:,}",
            f"{each['version']} ({each['origin']})",
            each["story"],
            ", ".join((*each["journeys"], *each["segments"])),
            _moment(each["scanned_at"]) if each["scanned_at"] else "not yet",
        )
    console.print(table)


@segments.command(epilog=WHERE)
def show(
    segment: Name,
    version: Annotated[
        int | None, typer.Option(min=1, help="The form of this version, and not of the one now.")
    ] = None,
) -> None:
    """Show a segment: its form, every version there was, and the last scans.

    Example: journeys segments show not_seen_30_days
    """
    found = ask(lambda installation: installation.get(f"/v1/segments/{_path(segment)}"))
    console.print(f"{found['story']} {found['members']:,} members.", markup=False, highlight=False)
    form = found["form"]
    if version is not None:
        form = next((each["form"] for each in found["versions"] if each["version"] == version), None)
        if form is None:
            fail(f"{segment} has no version {version}; the newest is {found['version']}")
    console.print_json(orjson.dumps(form).decode())
    versions = Table("version", "written", "note", box=None, pad_edge=False)
    for each in found["versions"]:
        mark = "*" if each["current"] else ""
        written = f"{_moment(each['created_at'])} by {each['author']}"
        versions.add_row(f"{each['version']}{mark}", written, each["note"] or "")
    console.print(versions)
    scans = Table("scanned", "seconds", "looked at", "entered", "left", "asked by", "", box=None, pad_edge=False)
    for each in found["evaluations"]:
        scans.add_row(
            _moment(each["started_at"]),
            f"{each['seconds']:.1f}",
            *(f"{each[what]:,}" for what in ("examined", "entered", "departed")),
            each["asked_by"] or "",
            each["failed"] or ("" if each["finished_at"] else "under way"),
        )
    console.print(scans if found["evaluations"] else "Not scanned yet.")


@segments.command(epilog=WHERE)
def preview(
    file: File,
    exact: Annotated[bool, typer.Option("--exact", help="Count everybody, however many there are.")] = False,
    sample: Annotated[int, typer.Option(min=0, max=100, help="How many of them to name.")] = 10,
) -> None:
    """Tell how many a form would hold now, and name some; nothing is kept.

    Example: journeys segments preview segments/library/not_seen_30_days.json
    """
    body = {"form": _read(file)["form"], "exact": exact, "sample": sample}
    _print_size(ask(lambda installation: installation.post("/v1/segments/preview", body)))


@segments.command(epilog=WHERE)
def put(
    file: File,
    note: Annotated[str | None, typer.Option(help="What was changed, and why.")] = None,
    confirm: Confirmed = False,
) -> None:
    """Define a segment, or give it a new version; then everybody is looked at by it.

    Example: journeys segments put segments/library/not_seen_30_days.json --note "for the spring"
    """
    told = _read(file)
    body = {"story": told["story"], "form": told["form"], "note": note, "confirm": confirm}
    _print_kept(ask(lambda installation: installation.put(f"/v1/segments/{_path(told['name'])}", body)))


@segments.command(epilog=WHERE)
def rollback(
    segment: Name,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version to go back to.")],
    confirm: Confirmed = False,
) -> None:
    """Go back to an earlier version: it becomes the newest once more.

    Example: journeys segments rollback not_seen_30_days 1
    """
    body = {"version": version, "confirm": confirm}
    _print_kept(ask(lambda installation: installation.post(f"/v1/segments/{_path(segment)}/rollback", body)))


@segments.command(epilog=WHERE)
def size(
    segment: Name,
    sample: Annotated[int, typer.Option(min=0, max=100, help="How many of them to name.")] = 10,
) -> None:
    """Tell how many are in a segment as last looked at, and how many by its definition now, with some of them.

    Example: journeys segments size not_seen_30_days
    """
    found = ask(lambda installation: installation.get(f"/v1/segments/{_path(segment)}"))
    console.print(f"{found['members']:,} members", highlight=False)
    body = {"form": found["form"], "sample": sample}
    _print_size(ask(lambda installation: installation.post("/v1/segments/preview", body)))


@segments.command(epilog=WHERE)
def explain(
    customer: Annotated[str, typer.Argument(help="The backend's id of the customer.", metavar="CUSTOMER")],
    segment: Name,
) -> None:
    """Explain why a customer is in a segment now, or is not: every condition, with what it looks at.

    Example: journeys segments explain client-4711 not_seen_30_days
    """
    path = f"/v1/segments/{_path(segment)}/customers/{quote(customer, safe='')}"
    found = ask(lambda installation: installation.get(path))
    since = f", a member since {_moment(found['member_since'])} UTC" if found["member_since"] else ", no member"
    tree = Tree(f"{'in' if found['holds'] else 'not in'} {segment}{since}", highlight=False)
    _grow(tree, found["because"])
    console.print(tree)


@segments.command(epilog=WHERE)
def evaluate(segment: Name) -> None:
    """Have everybody looked at by a segment now.

    Example: journeys segments evaluate not_seen_30_days
    """
    begun = ask(lambda installation: installation.post(f"/v1/segments/{_path(segment)}/evaluate"))
    console.print(f"Begun: {begun['workflow_id']}", highlight=False)
    if begun["temporal_ui"]:
        console.print(begun["temporal_ui"], highlight=False, soft_wrap=True)


@segments.command(epilog=WHERE)
def audience(
    segment: Name,
    cabinet: Annotated[Cabinet, typer.Option("--for", help="The advertising cabinet it is for.")],
    to: Annotated[Path, typer.Option(help="A file that is not there yet; only its owner may read it.")],
) -> None:
    """Write a segment as a file for an advertising cabinet: hashed emails and phones, and how many they are.

    Example: journeys segments audience rfm_champions --for yandex --to champions.csv
    """
    path = f"/v1/segments/{_path(segment)}/audience"
    body, told = ask(lambda installation: installation.file(path, cabinet=cabinet))
    lines = body.count(b"\n") - 1
    if lines != int(told["Audience-Exported"]):
        fail(f"the file has {lines:,} people, not {int(told['Audience-Exported']):,}; nothing is written")
    try:
        with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
    except OSError as error:
        fail(f"{to}: {os.strerror(error.errno or 0)}")
    console.print(
        f"{int(told['Audience-Members']):,} members: {lines:,} written to {to}, "
        f"{int(told['Audience-Unmatchable']):,} without email and phone, "
        f"{int(told['Audience-Forbidden']):,} who do not want to hear of us",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@segments.command(epilog=WHERE)
def delete(segment: Name) -> None:
    """Forget a segment with its versions and members; refused while a journey or another segment has it.

    Example: journeys segments delete not_seen_30_days
    """
    ask(lambda installation: installation.delete(f"/v1/segments/{_path(segment)}"))
    console.print(f"Deleted: {segment}", highlight=False, markup=False)


def _path(segment: str) -> str:
    return quote(segment, safe="")


def _read(file: Path) -> dict[str, Any]:
    try:
        told = orjson.loads(file.read_bytes())
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except orjson.JSONDecodeError as error:
        fail(f"{file}: must be JSON in UTF-8: {error}")
    if not isinstance(told, dict) or not {"name", "story", "form"} <= told.keys():
        fail(f"{file}: must have name, story and form")
    return told


def _print_kept(kept: dict[str, Any]) -> None:
    if not kept["new"]:
        console.print(f"{kept['name']} says this already: version {kept['version']}", highlight=False)
        return
    console.print(f"{kept['name']}: version {kept['version']}", highlight=False)
    if kept["size"]:
        _print_size(kept["size"])
    console.print(f"Scanned by {kept['scan']}" if kept["scan"] else "Scanned within a minute", highlight=False)


def _print_size(found: dict[str, Any]) -> None:
    between = "" if found["exact"] else f" (between {found['least']:,} and {found['most']:,})"
    console.print(
        f"{found['customers']:,}{between} of {found['of']:,} customers by the form now, {found['share']:.1%}",
        highlight=False,
    )
    if found["sample"]:
        some = (each["user_id"] or f"number {each['customer_id']}" for each in found["sample"])
        console.print(f"Some of them: {', '.join(some)}", highlight=False, markup=False)


def _grow(tree: Tree, found: dict[str, Any]) -> None:
    """Add a condition: whether it holds, its words, and what it looks at."""
    actual = "" if found["parts"] else f": {orjson.dumps(found['actual']).decode()}"
    branch = tree.add(f"{'✓' if found['holds'] else '✗'} {found['says']}{actual}", highlight=False)
    for part in found["parts"]:
        _grow(branch, part)


def _moment(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M}"
