"""What a journey's author looks at on their own machine: from the code and the deployment's file, without a server."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from cli.commands import console, fail
from domain.messages import Draft
from settings import ConfigurationError, Deployment, read_deployment
from storyboards.picture import LABELS, at_any_moment, draw, silence, starting, waiting
from storyboards.rehearsal import End, Rehearsal, rehearse
from storyboards.story import Fork, Over, Part, Sent, Storyboard, Waits, storyboard
from templates import TEXTS
from templates.headline import headline
from templates.renderer import BadTexts, Texts
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError, NamedText
from workflows.enabled import JOURNEYS, enabled
from workflows.mistakes import text_mistakes

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the journey, such as AbandonedApplication.")]


def check() -> None:
    """Check every journey and text that ships, without a server: what is wrong is told with file and line.

    Everything the API and the workers check at their start; and each journey is rehearsed, which finds steps that
    fail and texts whose names are put together at run time.
    """
    wrong: list[str] = []
    deployment = _deployment()
    texts: Texts | None = None
    try:
        texts = Texts.load(TEXTS, deployment.languages)
    except BadTexts as error:
        wrong += error.problems
    catalogs: list[Catalog] = []
    for read in (_here, _shipped):
        try:
            catalogs.append(read(deployment))
            if texts:
                catalogs[-1].check_texts(texts, texts.locales)
        except DeclarationError as error:
            wrong += str(error).splitlines()
    # What is declared wrongly would fail in any number of ways.
    rehearsals = [rehearse(each) for each in catalogs[-1].journeys.values()] if len(catalogs) == 2 else []
    for rehearsal in rehearsals:
        wrong += _failed(rehearsal, texts)
    for rehearsal in rehearsals:
        for missed in rehearsal.missed:
            console.print(f"{missed.source}: no rehearsal comes here: {missed.code}", highlight=False, markup=False)
    for mistake in dict.fromkeys(wrong):
        Console(stderr=True).print(mistake, style="red", markup=False, highlight=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)
    console.print(f"{len(JOURNEYS)} journeys and their texts: nothing wrong", highlight=False)


def draw_journey(
    name: Name,
    to: Annotated[Path | None, typer.Option(help="The file to write; NAME.svg if not said.")] = None,
    narrow: Annotated[bool, typer.Option("--narrow", help="For a narrow screen: ways one below the other.")] = False,
) -> None:
    """Draw a journey from its code, as an SVG picture: what starts it, what goes out when, where it depends.

    Example: journeys draw AbandonedApplication --to abandoned_application.svg
    """
    catalog, deployment = _all()
    if name not in catalog.journeys:
        fail(f"there is no journey {name}; there are {', '.join(sorted(catalog.journeys))}")
    board = storyboard(rehearse(catalog.journeys[name]))
    file = to or Path(f"{name}.svg")
    try:
        file.write_text(draw(board, narrow=narrow, headline=_headlines(deployment), alone=True), encoding="utf-8")
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}")
    console.print(f"{name} is drawn in {file}", highlight=False, markup=False)


def list_here(pack: str | None) -> None:
    """List every journey that ships as its code tells it."""
    catalog, deployment = _all()
    packs = sorted({each.pack for each in catalog.journeys.values()})
    if pack and pack not in packs:
        fail(f"there is no pack {pack}; there are {', '.join(packs)}")
    chosen = [each for each in catalog.journeys.values() if pack in (None, each.pack)]
    boards = [storyboard(rehearse(each)) for each in sorted(chosen, key=lambda each: (each.pack, each.name))]
    running = {journey.__name__ for journey in enabled(deployment.enabled)}
    for board in boards:
        console.print(_sketch(board), highlight=False)
        console.print()
    console.print(_table(boards, running))


def _deployment() -> Deployment:
    try:
        return read_deployment()
    except ConfigurationError as error:
        fail(str(error))


def _here(deployment: Deployment) -> Catalog:
    """The journeys the deployment enables, as its API and workers read them."""
    return Catalog.of(
        enabled(deployment.enabled),
        deployment.parameters,
        topics=deployment.policy.topics,
        held_out=deployment.policy.holdouts,
    )


def _shipped(deployment: Deployment) -> Catalog:
    """Every journey that ships, with the deployment's parameters where it has some."""
    names = {journey.__name__ for journey in JOURNEYS}
    given = {name: values for name, values in deployment.parameters.items() if name in names}
    return Catalog.of(JOURNEYS, given, topics=None)


def _all() -> tuple[Catalog, Deployment]:
    deployment = _deployment()
    try:
        return _shipped(deployment), deployment
    except DeclarationError as error:
        fail(str(error))


def _headlines(deployment: Deployment) -> Callable[[Draft], str | None]:
    texts = Texts.load(TEXTS, deployment.languages)

    def first_line(draft: Draft) -> str | None:
        text = texts.get(draft.template, draft.channel, texts.locales[0])
        return headline(text, company=deployment.company, site=str(deployment.site).rstrip("/")) if text else None

    return first_line


def _failed(rehearsal: Rehearsal, texts: Texts | None) -> list[str]:
    """What only a rehearsal finds."""
    name = rehearsal.declaration.name
    wrong = [f"{told} (steps of {name}, in a rehearsal)" for told in rehearsal.broken]
    named = [
        NamedText(each.channel, each.template, at, monthly=bool(each.edition)) for each, at in rehearsal.drafts.items()
    ]
    return wrong + (text_mistakes(named, texts, texts.locales) if texts else [])


# For the terminal.


def _table(boards: list[Storyboard], running: set[str]) -> Table:
    # Without borders, which would take the width that names need.
    table = Table(box=None, pad_edge=False)
    for column in ("journey", "once per"):
        table.add_column(column, no_wrap=True)
    for column in ("topic", "class", "messages", "runs here"):
        table.add_column(column, overflow="fold")
    for board in boards:
        declaration = board.declaration
        drafts = board.drafts
        channels = Counter(LABELS[draft.channel] for draft in drafts)
        table.add_row(
            declaration.name,
            declaration.key or "customer",
            declaration.topic,
            ", ".join(sorted({draft.message_class for draft in drafts})),
            ", ".join(f"{channel} {count}" for channel, count in channels.items()),
            "yes" if declaration.name in running else "no",
        )
    return table


def _sketch(board: Storyboard) -> Tree:
    """Draw a story with a terminal's means."""
    declaration = board.declaration
    tree = Tree(f"[bold]{declaration.name}[/bold] ({declaration.pack})\n{escape(declaration.story)}")
    for what, words in at_any_moment(declaration):
        tree.add(f"[green]{escape(what)}: {escape(words)}[/green]")
    tree.add(f"[bold green]▶ {escape(' or '.join(starting(declaration)))}[/bold green]")
    _grow(tree, board.parts)
    if board.silent:
        _grow(tree.add(f"[yellow]◷ {escape(silence(board.declaration))}[/yellow]"), board.silent)
    return tree


def _grow(tree: Tree, parts: tuple[Part, ...]) -> None:
    for part in parts:
        match part:
            case Sent(number, drafts):
                tree.add(f"{number}. {'; '.join(_messages(drafts))}")
            case Waits():
                tree.add(f"[yellow]◷ {escape(waiting(part))}[/yellow]")
            case Over():
                tree.add(_over(part))
            case Fork(ways):
                for way in ways:
                    _grow(tree.add(f"[cyan]{escape(way.words) or '…'}[/cyan]"), way.parts)


def _messages(drafts: tuple[Draft, ...]) -> Iterator[str]:
    for template in dict.fromkeys(draft.template for draft in drafts):
        channels = [LABELS[draft.channel] for draft in drafts if draft.template == template]
        yield f"{', '.join(channels)} [dim]{template.split('/')[-1]}[/dim]"


def _over(over: Over) -> str:
    words = {
        End.FINISHED: "■ over",
        End.AGAIN: f"↻ again from {over.back}",
        End.ON: f"→ goes on with {over.back}",
        End.CUT: "… and so on",
        End.BROKEN: f"[red]fails here: {escape(over.told)}[/red]",
    }
    return words[over.end]
