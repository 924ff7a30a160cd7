"""`journeys templates`: texts changed without a release."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

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


def _of(edition: str, **more: str) -> str:
    """Return what follows the path: only what is given."""
    given = {name: value for name, value in {"edition": edition, **more}.items() if value}
    return f"?{urlencode(given)}" if given else ""


@templates.command("list", epilog=WHERE)
def list_texts(
    template: Annotated[str | None, typer.Argument(help="Only this group or template.")] = None,
    month: Annotated[
        str | None, typer.Option(help="Tell what this month lacks, as 2026-12; else the present one.")
    ] = None,
) -> None:
    """List the texts that can be sent: who uses them, which version is in use, and what a month still lacks.

    Examples: journeys templates list abandoned_application, journeys templates list reactivation --month 2026-12
    """
    found = ask(lambda installation: installation.get("/v1/texts", month=month))
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
    version: Annotated[int | None, typer.Option(min=1, help="Of this version, and not of what is sent now.")] = None,
) -> None:
    """Show a text as it is sent now, and every version there was: who wrote, published and retired it, and when.

    Examples: journeys templates show abandoned_application/full/email/en,
    journeys templates show abandoned_application/full/email/en --source > full.md
    """
    found = ask(lambda installation: installation.get(_path(text), edition=edition or None))
    shown = found["source"]
    if version is not None:
        shown = next((each["source"] for each in found["versions"] if each["number"] == version), None)
        if shown is None:
            fail(f"there is no version {version} of this text")
    if shown is None and source:
        fail("there is no text for this month")
    typer.echo(shown if shown is not None else "There is no text for this month.")
    if source:
        return
    if found["broken"]:
        console.print(f"It cannot be sent by this release: {found['broken']}", style="red", markup=False)
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
    if made["cost"]:
        console.print(f"costs: {made['cost']}", markup=False, highlight=False)
    for name in made["unknown"]:
        console.print(f"publish it with --confirm only if meant: nothing provides {name}", style="yellow", markup=False)
    for problem in made["problems"]:
        console.print(f"cannot be published: {problem}", style="red", markup=False, highlight=False)


@templates.command(epilog=WHERE)
def preview(
    text: Which,
    number: VersionNumber,
    customer: Annotated[str, typer.Option(help="The backend's id of the customer to write it for.")],
    event: Annotated[
        str | None, typer.Option(help="Properties of the trigger, JSON; else of their newest stay.")
    ] = None,
    facts: Annotated[str | None, typer.Option(help="The journey's own facts, JSON; else as of that stay.")] = None,
    edition: Edition = "",
) -> None:
    """Write a version for a customer with their own data and those of their newest stay; nothing is sent.

    Example: journeys templates preview abandoned_application/full/email/en 2 --customer client-4711
    """
    body = {"user_id": customer, "event": _json("--event", event), "facts": _json("--facts", facts) or {}}
    path = f"{_path(text)}/versions/{number}/preview{_of(edition)}"
    _print_content(ask(lambda installation: installation.post(path, body)))


def _json(option: str, given: str | None) -> Any:
    try:
        return None if given is None else orjson.loads(given)
    except orjson.JSONDecodeError:
        fail(f'{option} must be JSON, such as {{"application_id": "A-1"}}')


@templates.command(epilog=WHERE)
def publish(
    text: Which,
    number: VersionNumber,
    confirm: Annotated[bool, typer.Option("--confirm", help="Variables that nothing provides are meant.")] = False,
    edition: Edition = "",
) -> None:
    """Let running journeys use a version from their next send on.

    Example: journeys templates publish abandoned_application/full/email/en 2
    """
    path = f"{_path(text)}/versions/{number}/publish{_of(edition, confirm='true' if confirm else '')}"
    ask(lambda installation: installation.post(path))
    console.print(f"Version {number} is in use.")


@templates.command(epilog=WHERE)
def discard(text: Which, number: VersionNumber, edition: Edition = "") -> None:
    """Forget a draft; what was published once stays in the history.

    Example: journeys templates discard abandoned_application/full/email/en 2
    """
    ask(lambda installation: installation.delete(f"{_path(text)}/versions/{number}{_of(edition)}"))
    console.print(f"Draft {number} is forgotten.")


@templates.command(epilog=WHERE)
def rollback(
    text: Which,
    number: Annotated[
        int | None, typer.Argument(min=1, help="The version to take back; refused if another one is in use by now.")
    ] = None,
    edition: Edition = "",
) -> None:
    """Take the version in use back: the one that it replaced is used again, or the file of the release.

    Example: journeys templates rollback abandoned_application/full/email/en 2
    """
    path = f"{_path(text)}/rollback{_of(edition, version=str(number or ''))}"
    found = ask(lambda installation: installation.post(path))
    if found["broken"]:
        console.print(f"It cannot be sent by this release: {found['broken']}", style="red", markup=False)
    console.print(f"Version {found['published']} is in use." if found["published"] else "The file is in use.")


def _print_content(content: dict[str, Any]) -> None:
    for part, value in content.items():
        if value and part not in ("channel", "html"):
            console.print(f"{part}: {value}", markup=False, highlight=False, soft_wrap=True)


def _deed(version: dict[str, Any], what: str) -> str:
    """Say when something was done to a version, and who did it."""
    at = version[f"{what}_at"]
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} by {version[f'{what}_by']}" if at else ""
