"""`journeys costs`: what messages cost."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.commands import ask

console = Console()


def costs(
    since: Annotated[str | None, typer.Option(help="Only messages from this wall time on, as 2026-12-01.")] = None,
    journey: Annotated[str | None, typer.Option(help="Only this journey, or campaign:NAME.")] = None,
) -> None:
    """Show what messages cost, by journey or campaign and channel: by your tariffs, and by what providers say.

    Example: journeys costs --since 2026-12-01
    """
    moment = since + ("T00:00:00Z" if since and len(since) == 10 else "") if since else None
    found = ask(lambda installation: installation.get("/v1/reports/costs", since=moment, journey=journey))
    table = Table("journey", "channel", "messages", "estimated", "priced", "unknown", box=None, pad_edge=False)
    for each in found["rows"]:
        table.add_row(
            each["journey"],
            each["channel"],
            f"{each['messages']:,}",
            _money(each["estimated"]),
            _money(each["priced"]),
            f"{each['without_estimate']:,}" if each["without_estimate"] else "",
        )
    table.add_row("all", "", "", _money(found["estimated"]), _money(found["priced"]), "")
    console.print(table)


def _money(amounts: dict[str, str]) -> str:
    return ", ".join(f"{amount} {currency}" for currency, amount in sorted(amounts.items()))
