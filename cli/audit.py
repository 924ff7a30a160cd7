"""`journeys audit`: who did what as an operator or an administrator."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.commands import ask, console


def audit(
    actor: Annotated[
        str | None, typer.Option(help="Only what this key did; or cli: and a user of the machine.")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Only this operation, such as erase_customer.")] = None,
    customer: Annotated[
        int | None, typer.Option(min=1, help="Only what was done to a customer, by our number.")
    ] = None,
    since: Annotated[datetime | None, typer.Option(help="Only from then on, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 20,
) -> None:
    """List what was done by operators and administrators, the newest first: when, by whom, to what, with what answer.

    Example: journeys audit --action erase_customer
    """
    found = ask(
        lambda installation: installation.get(
            "/v1/audit",
            actor=actor,
            action=action,
            customer=customer,
            since=f"{since.isoformat()}Z" if since else None,
            limit=limit,
        )
    )
    if not found["entries"]:
        console.print("Nothing was done.")
        return
    table = Table()
    for name in ("when (UTC)", "who", "what", "to what", "how", "answer"):
        table.add_column(name, overflow="fold")
    for each in found["entries"]:
        table.add_row(
            f"{datetime.fromisoformat(each['at']):%Y-%m-%d %H:%M:%S}",
            each["actor"],
            each["action"],
            _told(each["subject"]),
            _told(each["detail"]),
            each["answer"] or "none",
        )
    console.print(table)
    if found["next"]:
        console.print(f"Older ones: --limit {min(2 * limit, 500)}, or --since, --actor, --action", highlight=False)


def _told(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
