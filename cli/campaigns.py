"""`journeys campaigns`: one message, or a cascade, to a segment, by hand."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cli.commands import WHERE, ask, fail
from cli.installation import Installation

campaigns = typer.Typer(help="Write to a segment by hand.", no_args_is_help=True)
plan = typer.Typer(help="The content plan: what each centre sends, and when.", no_args_is_help=True)
campaigns.add_typer(plan, name="plan")
console = Console()

LOOKS_EVERY = 1.0
"""Wall seconds between two looks at a campaign that is watched."""

Name = Annotated[
    str, typer.Argument(help="Name of the campaign, as `journeys campaigns list` has it.", metavar="CAMPAIGN")
]


@campaigns.command("list", epilog=WHERE)
def list_campaigns() -> None:
    """List the campaigns, the newest first.

    Example: journeys campaigns list
    """
    found = ask(lambda installation: installation.get("/v1/campaigns"))
    if not found:
        console.print("No campaigns.")
        return
    _print_campaigns(found)


@campaigns.command(epilog=WHERE)
def show(campaign: Name) -> None:
    """Show a campaign: its form, how far it has come, what became of its messages.

    Example: journeys campaigns show winter_tyres
    """
    found = ask(lambda installation: installation.get(_path(campaign)))
    console.print_json(orjson.dumps(found["form"]).decode())
    who = f"put {_moment(found['created_at'])} by {found['created_by']}"
    if found["started_at"]:
        who += f", started {_moment(found['started_at'])} by {found['started_by']}"
    console.print(f"{found['status']}; {who}", highlight=False)
    console.print(_told(found), highlight=False)
    if found["temporal_ui"]:
        console.print(found["temporal_ui"], highlight=False, soft_wrap=True)
    counted = ("sent", "delivered", "read", "clicked", "replied", "failed", "skipped", "held_back")
    table = _table("variant", "channel", *(name.replace("_", " ") for name in counted))
    for each in found["messages"]:
        table.add_row(each["variant"], each["channel"], *(f"{each[name]:,}" for name in counted))
    if found["messages"]:
        console.print(table)
    for rule, messages in found["skipped"].items():
        console.print(f"skipped by the rule {rule}: {messages:,} messages", highlight=False)


@campaigns.command(epilog=WHERE)
def put(
    file: Annotated[Path, typer.Argument(help="JSON with name, segment, cascade and whatever else a campaign has.")],
) -> None:
    """Put a campaign, or change one that has not been started; nothing is sent until it is started.

    Example: journeys campaigns put winter_tyres.json
    """
    form = _read(file)
    if not isinstance(form.get("name"), str):
        fail(f"{file}: must have a name")
    kept = ask(lambda installation: installation.put(_path(form["name"]), form))
    console.print(f"{kept['name']}: {kept['status']}; count it with `journeys campaigns count`", highlight=False)


@campaigns.command(epilog=WHERE)
def count(campaign: Name) -> None:
    """Count what a campaign would do if it were started now: nothing is kept and nothing sent.

    Example: journeys campaigns count winter_tyres
    """
    found = ask(lambda installation: installation.get(f"{_path(campaign)}/dry"))
    about = "" if found["exact"] else "about "
    console.print(f"{about}{found['members']:,} customers, {found['share']:.1%} of all", highlight=False)
    if found["excluded"]:
        console.print(f"{found['excluded']:,} of them left out: another campaign wrote to them lately", highlight=False)
    if found["held_out"]:
        console.print(f"{found['held_out']:,} of them held out, for comparison", highlight=False)
    if found["beyond_reach"]:
        console.print(f"{found['beyond_reach']:,} of them reached by none of its channels", highlight=False)
    console.print(f"{about}{found['recipients']:,} get a message", highlight=False)
    table = _table("channel", "no address", "suppressed", "not agreed")
    for each in found["channels"]:
        table.add_row(each["channel"], *(f"{each[rule]:,}" for rule in ("unreachable", "suppressed", "forbidden")))
    console.print(table)
    for variant, recipients in found["variants"].items():
        console.print(f"variant {variant}: {recipients:,}", highlight=False)
    if found["first_due"]:
        console.print(f"turns come from {_moment(found['first_due'])} to {_moment(found['last_due'])} UTC")
    console.print(f"at its rate it takes {_duration(found['seconds'])} if all turns come at once", highlight=False)


@campaigns.command(epilog=WHERE)
def start(
    campaign: Name,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="It is meant for more than half of all customers.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it with a bar.")] = False,
) -> None:
    """Start a campaign; one that has a time waits for it.

    Example: journeys campaigns start winter_tyres --watch
    """
    begun = ask(lambda installation: installation.post(f"{_path(campaign)}/start", {"confirm": confirm}))
    console.print(f"{campaign}: {begun['status']}", highlight=False)
    if begun["temporal_ui"]:
        console.print(begun["temporal_ui"], highlight=False, soft_wrap=True)
    if watch:
        ask(lambda installation: _follow(installation, campaign))


@campaigns.command(epilog=WHERE)
def pause(campaign: Name) -> None:
    """Send nothing more of a campaign until `journeys campaigns resume`.

    Example: journeys campaigns pause winter_tyres
    """
    _command(campaign, "pause")


@campaigns.command(epilog=WHERE)
def resume(campaign: Name) -> None:
    """Let a paused campaign go on.

    Example: journeys campaigns resume winter_tyres
    """
    _command(campaign, "resume")


@campaigns.command(epilog=WHERE)
def stop(campaign: Name) -> None:
    """End a campaign for good: whoever still waits gets nothing.

    Example: journeys campaigns stop winter_tyres
    """
    _command(campaign, "stop")


@campaigns.command(epilog=WHERE)
def watch(campaign: Name) -> None:
    """Follow a campaign with a bar until it ends; Ctrl-C ends only the looking.

    Example: journeys campaigns watch winter_tyres
    """
    ask(lambda installation: _follow(installation, campaign))


@campaigns.command(epilog=WHERE)
def report(campaign: Name) -> None:
    """Report what came of a campaign, by variant, and whether it is more than chance.

    Example: journeys campaigns report winter_tyres
    """
    found = ask(lambda installation: installation.get(f"{_path(campaign)}/report"))
    console.print(f"{found['name']}: {found['status']}", highlight=False)
    if found["goal"]:
        console.print(f"goal: {found['goal']}, within {found['attributed_within']} of the first message")
    counted = ("recipients", "sent", "delivered", "read", "clicked", "replied", "unsubscribed")
    table = _table("variant", *counted, "goal")
    for each in found["variants"]:
        table.add_row(
            each["variant"], *(f"{each[name]:,}" for name in counted), _share(each["conversions"], each["sent"])
        )
    if holdout := found["holdout"]:
        blank = [""] * (len(counted) - 1)
        converted = _share(holdout["conversions"], holdout["recipients"])
        table.add_row("(held out)", f"{holdout['recipients']:,}", *blank, converted)
    console.print(table)
    for each in found["differences"]:
        against = each["against"] or "those held out"
        sure = "more than chance" if each["confidence"] >= 0.95 else "may be chance"
        measure = "goal" if each["measure"] == "conversions" else each["measure"]
        console.print(
            f"{each['variant']} against {against}, {measure}: {each['difference']:+.2%}, "
            f"{sure} ({each['confidence']:.1%})",
            highlight=False,
        )


@campaigns.command(epilog=WHERE)
def discard(campaign: Name) -> None:
    """Forget a campaign that has not been started.

    Example: journeys campaigns discard winter_tyres
    """
    ask(lambda installation: installation.delete(_path(campaign)))
    console.print(f"Discarded: {campaign}", highlight=False, markup=False)


@plan.command("put", epilog=WHERE)
def put_plan(
    file: Annotated[Path, typer.Argument(help='JSON: {"campaigns": [...]}, each with its starts_at and centre.')],
) -> None:
    """Put a content plan: all of its campaigns, or none if one is wrong. They are started one by one.

    Putting it again changes those that have not been started.

    Example: journeys campaigns plan put december.json
    """
    _print_campaigns(ask(lambda installation: installation.put("/v1/campaigns/plan", _read(file))))


@plan.command("show", epilog=WHERE)
def show_plan(
    month: Annotated[str, typer.Argument(help="As 2026-12, by the clocks by which the starts are written.")],
    centre: Annotated[str | None, typer.Option(help="Only of this centre.")] = None,
) -> None:
    """Show what is planned for a month, by centre.

    Example: journeys campaigns plan show 2026-12 --centre north
    """
    found = ask(lambda installation: installation.get("/v1/campaigns/plan", month=month, centre=centre))
    if not found:
        console.print("Nothing is planned.")
        return
    for each in found:
        console.print(each["centre"] or "no centre", style="bold", markup=False, highlight=False)
        _print_campaigns(each["campaigns"])


async def _follow(installation: Installation, campaign: str) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(campaign, total=None)
        while True:
            told = await installation.get(f"{_path(campaign)}/progress")
            total = told["planned"] if told["planned_at"] or told["ended_at"] else None
            bar.update(
                task,
                description=f"{campaign}: {told['status']}",
                completed=sum(told["done"].values()),
                total=total,
            )
            if told["ended_at"] or told["status"] == "draft":
                break
            await asyncio.sleep(LOOKS_EVERY)
    console.print(_told(told), highlight=False)


def _told(progress: dict[str, Any]) -> str:
    done = sum(progress["done"].values())
    parts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(progress["done"].items()))
    said = f"done with {done:,} of {progress['planned']:,}" + (f": {parts}" if parts else "")
    if progress["excluded"]:
        said += f"; {progress['excluded']:,} left out, another campaign had written to them lately"
    if progress["waiting"] and progress["next_due"]:
        said += f"; the next turn comes {_moment(progress['next_due'])} UTC"
    return said


def _print_campaigns(found: list[dict[str, Any]]) -> None:
    table = _table("campaign", "status", "segment", "by", "starts", "centre")
    for each in found:
        form = each["form"]
        ways = " → ".join(step["channel"] for step in form["cascade"])
        starts = f"{datetime.fromisoformat(form['starts_at']):%Y-%m-%d %H:%M %Z}" if form["starts_at"] else "at once"
        table.add_row(each["name"], each["status"], form["segment"], ways, starts, form["centre"] or "")
    console.print(table)


def _table(*columns: str) -> Table:
    """Return a table none of whose words are cut where the terminal is narrow."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _command(campaign: str, command: str) -> None:
    told = ask(lambda installation: installation.post(f"{_path(campaign)}/{command}"))
    console.print(f"{campaign}: {told['status']}; {_told(told)}", highlight=False)


def _path(campaign: str) -> str:
    return f"/v1/campaigns/{quote(campaign, safe='')}"


def _read(file: Path) -> dict[str, Any]:
    try:
        told = orjson.loads(file.read_bytes())
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except orjson.JSONDecodeError as error:
        fail(f"{file}: must be JSON in UTF-8: {error}")
    if not isinstance(told, dict):
        fail(f"{file}: must be a JSON object")
    return told


def _share(part: int | None, whole: int) -> str:
    if part is None:
        return ""
    return f"{part:,} ({part / whole:.1%})" if whole else f"{part:,}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _moment(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M}"
