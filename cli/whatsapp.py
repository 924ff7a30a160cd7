"""`journeys whatsapp`: templates that are reviewed, and senders that are blocked."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.commands import WHERE, ask

whatsapp = typer.Typer(help="Have WhatsApp templates approved.", no_args_is_help=True)
console = Console()


@whatsapp.command(epilog=WHERE)
def submit(
    template: Annotated[str | None, typer.Argument(help="The text as group/name; all of them if left out.")] = None,
) -> None:
    """Have WhatsApp texts reviewed as they are now; what was submitted before is not submitted again.

    Example: journeys whatsapp submit abandoned_application/full
    """
    body = {"template": template} if template else {}
    told = ask(lambda installation: installation.post("/v1/whatsapp/templates/submit", body))
    table = Table("text", "", box=None, pad_edge=False)
    for each in told:
        table.add_row(f"{each['template']}/{each['locale']}", each["status"] or "; ".join(each["problems"]))
    console.print(table if told else "There are no WhatsApp texts that go out as templates.")
    if any(each["status"] is None for each in told):
        raise typer.Exit(1)


@whatsapp.command(epilog=WHERE)
def status(
    look: Annotated[bool, typer.Option("--look", help="Have Twilio asked now; the answer is here in seconds.")] = False,
) -> None:
    """Show what WhatsApp's reviewers say of each version of each text, and which senders are blocked.

    Example: journeys whatsapp status
    """
    if look:
        ask(lambda installation: installation.post("/v1/whatsapp/templates/look"))
    found = ask(lambda installation: installation.get("/v1/whatsapp/templates"))
    blocks = ask(lambda installation: installation.get("/v1/whatsapp/senders/blocks"))
    table = Table("text", "version", "category", "status", "why", box=None, pad_edge=False)
    for each in found:
        edition = f" {each['edition']}" if each["edition"] else ""
        table.add_row(
            f"{each['template']}/{each['locale']}{edition}",
            each["version"],
            each["category"],
            each["status"],
            each["reason"] or "",
        )
    console.print(table if found else "No text was submitted yet: journeys whatsapp submit.")
    for each in blocks:
        console.print(f"{each['sender']} is blocked ({each['code']}) until {each['until'][:16].replace('T', ' ')} UTC.")
