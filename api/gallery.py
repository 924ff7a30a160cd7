"""The journeys as pages, for whoever writes and reads them: each as a picture of what its own code does.

They run no script and load nothing. A browser asks for a key by itself: any with the scope `read`, as the password.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path as File
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse, Response
from liquid import Environment, FileSystemLoader, Markup, StrictUndefined

from api import pages
from api.context import Context, Ctx, Db, PageReader
from api.pages import PAGE
from api.problems import documented
from domain.messages import Channel, Draft
from store import reports, texts
from store.database import Connection
from storyboards.picture import LABELS, STYLE, at_any_moment, draw, duration, starting, terms
from storyboards.story import Storyboard
from templates.headline import example, headline
from templates.renderer import BadText
from workflows.declaration import Declaration, Parameters

router = APIRouter(tags=["pages"])

_HTML = File(__file__).parent / "html"
_STYLE = (_HTML / "gallery.css").read_text(encoding="utf-8") + STYLE
_TEMPLATES = Environment(loader=FileSystemLoader(_HTML), autoescape=True, undefined=StrictUndefined)
_HEADERS = {
    **pages.HEADERS,
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_ERRORS = documented(401, 403, 429, 503)
_OVER = {"goal": "reached the goal", "finished": "came to the end", "exit": "left it"}
"""What most stays come to; the others are told together."""

Headlines = Mapping[tuple[str, Channel, str], str]
"""How texts begin, or what they cost, by template, channel and language."""


@router.get("/journeys", response_class=Response, responses={**PAGE, **_ERRORS})
async def show_journeys(_: PageReader, ctx: Ctx, db: Db) -> Response:
    """Show every journey this deployment runs: what starts and ends it, whom it is for, its picture."""
    stays = await reports.journeys(db)
    shown = []
    for declaration in sorted(ctx.catalog.journeys.values(), key=lambda each: (each.pack, each.name)):
        board = await ctx.board(declaration)
        shown.append(
            {
                **_facts(board),
                "picture": Markup(draw(board)),
                "stays": _stays(stays.get(declaration.name, {})),
            }
        )
    return _page(ctx, "journeys.html", "Journeys", 200, journeys=shown)


@router.get(
    "/journeys/{name}",
    response_class=Response,
    responses={
        **PAGE,
        **_ERRORS,
        404: {"description": "No journey of this name: a page.", "content": {"text/html": {}}},
    },
)
async def show_journey(
    name: Annotated[str, Path(max_length=255, examples=["AbandonedApplication"])], _: PageReader, ctx: Ctx, db: Db
) -> Response:
    """Show one journey: its picture, its parameters here, how its texts begin, how many customers are in it."""
    declaration = ctx.catalog.journeys.get(name)
    if declaration is None:
        return _page(ctx, "no_journey.html", "There is no such journey", 404, names=sorted(ctx.catalog.journeys))
    board = await ctx.board(declaration)
    begin, costs = await _headlines(ctx, db, board)
    language = ctx.texts.locales[0]

    def first_line(draft: Draft) -> str | None:
        return begin.get((draft.template, draft.channel, language))

    counts = (await reports.journeys(db)).get(name, {})
    return _page(
        ctx,
        "journey.html",
        name,
        200,
        journey=_facts(board),
        wide=Markup(draw(board, headline=first_line)),
        narrow=Markup(draw(board, headline=first_line, narrow=True)),
        stays=_stays(counts),
        declared=[asdict(row) for row in _declared(declaration)],
        parameters=[asdict(row) for row in _parameters(declaration.parameters)],
        languages=list(ctx.texts.locales),
        texts=list(_texts(board, begin, costs, ctx.texts.locales)),
    )


async def _headlines(ctx: Context, connection: Connection, board: Storyboard) -> tuple[Headlines, Headlines]:
    """Return how the texts of a journey begin that would be sent now, published ones before files, and their costs."""
    site, found, costs = str(ctx.deployment.site).rstrip("/"), {}, {}
    for draft in (draft for draft in board.drafts if not draft.edition):
        written = await texts.published(connection, draft.template, draft.channel, ctx.texts.locales, "")
        for locale in ctx.texts.locales:
            text = ctx.texts.get(draft.template, draft.channel, locale)
            if source := written.get(locale):
                try:
                    text = ctx.texts.compose(draft.template, draft.channel, locale, source)
                except BadText:
                    continue
            if text:
                name = (draft.template, draft.channel, locale)
                found[name] = headline(text, company=ctx.deployment.company, site=site)
                link = ctx.links.tracked(UUID(int=0), 0)
                sample = example(text, company=ctx.deployment.company, site=site, track=link)
                costs[name] = (sample and ctx.deployment.tariffs.spoken(sample)) or ""
    return found, costs


@dataclass(frozen=True)
class _Row:
    """A row of a table.

    Attributes:
        marked: Whether it is not as everywhere else.
    """

    name: str
    values: Sequence[str]
    marked: bool = False


def _facts(board: Storyboard) -> dict[str, Any]:
    declaration = board.declaration
    drafts = board.drafts
    channels = Counter(draft.channel for draft in drafts)
    return {
        "name": declaration.name,
        "pack": declaration.pack.replace("_", " "),
        "story": declaration.story,
        "starts": " or ".join(starting(declaration)),
        "terms": "; ".join(terms(declaration)),
        "moments": [{"what": what, "words": words} for what, words in at_any_moment(declaration)],
        "topic": declaration.topic,
        "classes": sorted({str(draft.message_class) for draft in drafts}),
        "priority": declaration.priority,
        "gives_way": declaration.gives_way,
        "channels": [{"name": LABELS[each], "count": channels[each]} for each in Channel if channels[each]],
        "count": len(drafts),
    }


def _stays(counts: Mapping[str, int]) -> list[dict[str, str]]:
    others = sum(count for state, count in counts.items() if state not in ("running", *_OVER))
    told = [
        ("in it now", counts.get("running", 0)),
        *((words, counts.get(state, 0)) for state, words in _OVER.items()),
        ("ended otherwise", others),
    ]
    return [
        {"what": what, "count": f"{count:,}"} for what, count in told if count or what in ("in it now", _OVER["goal"])
    ]


def _declared(declaration: Declaration) -> Iterator[_Row]:
    for name, events in (
        ("starts on", [rule.event.event_name for rule in declaration.starts_on]),
        ("once per", [declaration.key or "customer"]),
        ("goal", [rule.event.event_name for rule in declaration.ends_on]),
        ("exits on", [rule.event.event_name for rule in declaration.exits_on]),
        ("begins again on", [event.event_name for event in declaration.restarts_on]),
        ("waits for", [event.event_name for event in declaration.listens_to]),
        ("writes about", [declaration.topic]),
        ("priority", [str(declaration.priority)]),
        ("facts in texts", sorted(declaration.facts)),
    ):
        if events:
            yield _Row(name, list(dict.fromkeys(events)))
    if declaration.gives_way:
        yield _Row("gives way", ["drops a message that would have to wait for a slot"])


def _parameters(parameters: Parameters) -> Iterator[_Row]:
    for name, field in type(parameters).model_fields.items():
        here, default = getattr(parameters, name), field.get_default(call_default_factory=True)
        yield _Row(name, [_value(here), _value(default)], marked=here != default)


def _value(value: object) -> str:
    return duration(value) if isinstance(value, timedelta) else str(value)


def _texts(board: Storyboard, begin: Headlines, costs: Headlines, locales: Sequence[str]) -> Iterator[dict[str, Any]]:
    for sent in board.messages:
        for draft in sent.drafts:
            yield {
                "number": sent.number,
                "template": draft.template,
                "channel": LABELS[draft.channel],
                "class": str(draft.message_class),
                "begins": [begin.get((draft.template, draft.channel, locale)) or "–" for locale in locales],
                "costs": [costs.get((draft.template, draft.channel, locale)) or "" for locale in locales],
            }


def _page(ctx: Context, template: str, title: str, status: int, **shown: Any) -> Response:
    body = _TEMPLATES.get_template(template).render(title=title, **shown)
    html = _TEMPLATES.get_template("layout.html").render(
        language="en", title=title, company=ctx.deployment.company, style=Markup(_STYLE), body=Markup(body)
    )
    return HTMLResponse(html, status, headers=_HEADERS)
