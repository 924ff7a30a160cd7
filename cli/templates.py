"""`journeys templates`: texts changed without a release."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from cli.commands import WHERE, ask, fail

templates = typer.Typer(help="Change texts without a release.", no_args_is_help=True)
console = Console()

Which = Annotated[
    str,
    typer.Argument(
        help="The text as group/name/channel/locale, such as abandoned_application/full/email/en.", metavar="TEXT"
    ),
]
VersionNumber = Annotated[int, typer.Argument(min=1, help="Number of the version.")]
Edition = Annotated[str, typer.Option(help="The month it is for, as 2026-12; none: for always.")]


def _path(text: str) -> str:
    if text.count("/") != 3:
        fail("a text is named as group/name/channel/locale, such as abandoned_application/full/email/en")
    return f"/v1/texts/{text}"


def _of(edition: str) -> str:
    return f"?edition={edition}" if edition else ""


@templates.command("list", epilog=WHERE)
def list_texts(
    template: Annotated[str | None, typer.Argument(help="Only this group or template.")] = None,
) -> None:
    """List the texts that can be sent: who uses them, and which version is in use.

    Example: journeys templates list abandoned_application
    """
    found = ask(lambda installation: installation.get("/v1/texts"))
    table = Table("text", "edition", "used by", "in use", "drafts", box=None, pad_edge=False)
    for each in found:
        if template is None or each["template"].startswith(template):
            table.add_row(
                f"{each['template']}/{each['channel']}/{each['locale']}",
                each["edition"] or "always",
                ", ".join(each["used_by"]),
                f"version {each['published']}" if each["published"] else "none" if each["edition"] else "file",
                str(each["drafts"] or ""),
            )
    console.print(table)


@templates.command(epilog=WHERE)
def show(
    text: Which,
    edition: Edition = "",
    source: Annotated[bool, typer.Option("--source", help="Only the text, as a file has it.")] = False,
) -> None:
    """Show a text as it is sent now, and every version there was: who wrote, published and retired it, and when.

    Examples: journeys templates show abandoned_application/full/email/en,
    journeys templates show abandoned_application/full/email/en --source > full.md
    """
    found = ask(lambda installation: installation.get(_path(text), edition=edition or None))
    if found["source"] is None and source:
        fail("there is no text for this month")
    typer.echo(found["source"] if found["source"] is not None else "There is no text for this month.")
    if source:
        return
    table = Table("version", "status", "written", "published", "retired", "note", box=None, pad_edge=False)
    for each in found["versions"]:
        table.add_row(
            str(each["number"]),
            each["status"],
            *(_deed(each, what) for what in ("created", "published", "retired")),
            each["note"] or "",
        )
    console.print(table if found["versions"] else "The file of the release; there are no other versions.")


@templates.command(epilog=WHERE)
def draft(
    text: Which,
    file: Annotated[Path, typer.Argument(help="File with the text: a header between lines ---, then the body.")],
    note: Annotated[str | None, typer.Option(help="What was changed, and why.")] = None,
    edition: Edition = "",
) -> None:
    """Put a new version as a draft, and say what would keep it from being published.

    Example: journeys templates draft abandoned_application/full/email/en shorter.md --note "shorter subject"
    """
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {error}")
    body = {"source": source, "note": note}
    made = ask(lambda installation: installation.post(f"{_path(text)}/versions{_of(edition)}", body))
    console.print(f"Draft {made['number']}, it uses: {', '.join(made['variables']) or 'no variables'}", highlight=False)
    if made["sample"]:
        _print_content(made["sample"])
    for problem in made["problems"]:
        console.print(f"cannot be published: {problem}", style="red", markup=False, highlight=False)


@templates.command(epilog=WHERE)
def preview(
    text: Which,
    number: VersionNumber,
    customer: Annotated[str, typer.Option(help="The backend's id of the customer to write it for.")],
    event: Annotated[str, typer.Option(help="Properties of the trigger, JSON.")] = "{}",
    edition: Edition = "",
) -> None:
    """Write a version for a customer with their own data; nothing is sent.

    Example: journeys templates preview abandoned_application/full/email/en 2 --customer client-4711
    """
    try:
        body = {"user_id": customer, "event": orjson.loads(event)}
    except orjson.JSONDecodeError:
        fail('--event must be JSON, such as {"application_id": "A-1"}')
    path = f"{_path(text)}/versions/{number}/preview{_of(edition)}"
    _print_content(ask(lambda installation: installation.post(path, body)))


@templates.command(epilog=WHERE)
def publish(text: Which, number: VersionNumber, edition: Edition = "") -> None:
    """Let running journeys use a version from their next send on.

    Example: journeys templates publish abandoned_application/full/email/en 2
    """
    path = f"{_path(text)}/versions/{number}/publish{_of(edition)}"
    ask(lambda installation: installation.post(path))
    console.print(f"Version {number} is in use.")


@templates.command(epilog=WHERE)
def rollback(text: Which, edition: Edition = "") -> None:
    """Take the version in use back: the one before it is used again, or the file of the release.

    Example: journeys templates rollback abandoned_application/full/email/en
    """
    found = ask(lambda installation: installation.post(f"{_path(text)}/rollback{_of(edition)}"))
    console.print(f"Version {found['published']} is in use." if found["published"] else "The file is in use.")


def _print_content(content: dict[str, Any]) -> None:
    for part, value in content.items():
        if value and part not in ("channel", "html"):
            console.print(f"{part}: {value}", markup=False, highlight=False, soft_wrap=True)


def _deed(version: dict[str, Any], what: str) -> str:
    """Say when something was done to a version, and who did it."""
    at = version[f"{what}_at"]
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} by {version[f'{what}_by']}" if at else ""
