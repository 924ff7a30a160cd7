"""`journeys attribution` and `journeys effect`: what the messages brought."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.commands import ask

console = Console()

Since = Annotated[datetime | None, typer.Option(help="Only what happened from then on, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Only what happened before, UTC.")]


def attribution(
    event: Annotated[str, typer.Argument(help="What counts, such as mortgage_application_submitted.")],
    follows: Annotated[str | None, typer.Option(help="An earlier event whose attribution it inherits.")] = None,
    key: Annotated[str | None, typer.Option(help="Property that tells them apart, such as application_id.")] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Tell which messages brought an event: by the last click within the attribution window of receiving them.

    Example: journeys attribution deal_closed --follows mortgage_application_submitted --key application_id
    """
    asked = {"event": event, "follows": follows, "key": key, "since": _utc(since), "until": _utc(until)}
    found = ask(lambda installation: installation.get("/v1/reports/attribution", **asked))
    share = f", {found['share']:.1%}" if found["share"] is not None else ""
    console.print(f"{found['conversions']:,} in all, {found['attributed']:,} by messages{share}", highlight=False)
    table = Table("journey or campaign", "channel", event, "customers", "share", box=None, pad_edge=False)
    for each in found["brought"]:
        name = each["journey"] or f"campaign {each['campaign']}"
        counts = (f"{each['conversions']:,}", f"{each['customers']:,}", f"{each['share']:.1%}")
        table.add_row(name, each["channel"], *counts)
    console.print(table)
    if found["of_unknown_origin"]:
        console.print(f"Of {found['of_unknown_origin']:,} no {follows} is known", highlight=False)


def effect(
    journey: Annotated[str, typer.Argument(help="A journey that leaves some out by lot.")],
    within: Annotated[int, typer.Option(min=1, max=3660, help="Days from the first message.")] = 30,
    goal: Annotated[str | None, typer.Option(help="What they are to do; any activity if left out.")] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Compare those a journey writes to with those it leaves out: how many came, and whether that is chance.

    Example: journeys effect Reactivation
    """
    asked = {
        **{"journey": journey, "within": f"P{within}D", "goal": goal},
        **{"since": _utc(since), "until": _utc(until)},
    }
    found = ask(lambda installation: installation.get("/v1/reports/effect", **asked))
    for name in ("treated", "control"):
        console.print(f"{name}: {_group(found[name])}", highlight=False)
    if found["confidence"] is None:
        console.print("Nothing to compare yet")
        return
    console.print(
        f"difference {found['difference']:+.2%}: {found['won_back']:,.0f} won back, "
        f"with a confidence of {found['confidence']:.0%}",
        highlight=False,
    )


def _group(found: dict[str, Any]) -> str:
    share = f", {found['share']:.2%}" if found["share"] is not None else ""
    return f"{found['came']:,} of {found['customers']:,} came{share}"


def _utc(moment: datetime | None) -> str | None:
    return f"{moment.isoformat()}Z" if moment else None
