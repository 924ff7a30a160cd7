"""What customers want to hear of, by their own word: one-click unsubscribing (RFC 8058) and the page of preferences.

The token in an address acts for whoever reads that message: there is no login and no cookie, so no
other site can borrow anything from a browser. Still only our own page's form is taken: it carries a
token of its own, and browsers say where a form comes from. Looking at a page changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import structlog
from fastapi import APIRouter, Header, Request
from fastapi.responses import HTMLResponse, Response

from api.context import Context, Ctx
from api.pages import MISSING, PAGE, Pages, Preferences, Subject, Way
from api.signatures import raw_body
from domain.links import BadToken
from domain.messages import Channel
from store import consents, contact
from store.consents import ALL, Entry, Reader, Suppression, Wish
from store.contact import Person
from store.database import AWAY, Connection

log = structlog.get_logger()
router = APIRouter(tags=["preferences"])

WAYS = (Channel.EMAIL, Channel.SMS, Channel.WHATSAPP, Channel.PUSH, Channel.WEB_PUSH, Channel.CALL)
"""The channels the page offers: those that come to the customer."""

FORM_LIMIT = 16 * 1024
MOST_FIELDS = 500
AGENT_LIMIT = 200

Cell = tuple[Channel, str]
"""A channel and a topic."""

UserAgent = Annotated[str, Header(alias="user-agent", include_in_schema=False)]

_NOT_SAVED: dict[int | str, dict[str, Any]] = {
    403: {"description": "Not the page's own form, or too old: the page anew.", "content": {"text/html": {}}},
    413: {"description": "Larger than any form of ours."},
}

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["form"],
                    "properties": {
                        "form": {"type": "string", "description": "The token of the page's form."},
                        "do": {"type": "string", "enum": ["save", "nothing", "unsubscribe"]},
                        "shown": {"type": "string", "description": "What the page showed as chosen."},
                        "wants": {"type": "array", "items": {"type": "string"}, "description": "What is chosen."},
                    },
                },
                "example": {"form": "…", "do": "save", "shown": "email:offers", "wants": ["sms:offers"]},
            }
        },
    }
}


@dataclass(frozen=True)
class _Standing:
    """What holds for the reader of a message, read at once."""

    reader: Reader
    person: Person
    wishes: Mapping[Cell, Entry]
    suppressed: Mapping[Channel, Suppression]

    @property
    def ways(self) -> list[Channel]:
        """The channels by which the customer can be reached at all."""
        return [channel for channel in WAYS if self.person.address(channel)]

    @property
    def open(self) -> list[Channel]:
        """Those of them they may choose."""
        return [channel for channel in self.ways if channel not in self.suppressed]


@dataclass(frozen=True)
class _Submitted:
    """What the page's form says."""

    token: str
    do: str
    shown: frozenset[str]
    wants: frozenset[str]

    @staticmethod
    def read(body: bytes) -> "_Submitted":
        """Read a form; what is no form says nothing."""
        try:
            fields = parse_qs(body.decode(), max_num_fields=MOST_FIELDS)
        except ValueError:
            fields = {}
        shown = fields.get("shown", [""])[0].split()
        do, token = fields.get("do", ["save"])[0], fields.get("form", [""])[0]
        return _Submitted(token, do, frozenset(shown), frozenset(fields.get("wants", [])))


@router.head("/u/{token}", include_in_schema=False)
@router.get("/u/{token}", response_class=HTMLResponse, responses={**PAGE, **MISSING})
async def ask_to_unsubscribe(token: str, ctx: Ctx) -> Response:
    """Show a page with a button, and what else may be chosen.

    Changes nothing: scanners follow every link of a letter (RFC 8058, 3.1).
    """
    try:
        return await _ask(ctx, ctx.links.read_unsubscribe(token), leaving=True)
    except BadToken:
        return _pages(ctx).unknown()
    except AWAY:
        return _pages(ctx).away()


@router.post("/u/{token}", response_class=HTMLResponse, responses={**PAGE, **MISSING})
async def unsubscribe_in_one_click(token: str, ctx: Ctx, agent: UserAgent = "") -> Response:
    """Withdraw the consent of a message's reader to marketing by that message's channel, at once (RFC 8058).

    For the button of mail programs: whatever the body, without a cookie, an Origin or a second question.
    """
    try:
        message = ctx.links.read_unsubscribe(token)
        async with ctx.pool.acquire() as connection, connection.transaction():
            reader = await consents.locked_reader(connection, message)
            if reader is None:
                return _pages(ctx).unknown()
            await _keep(connection, reader, [(reader.channel, ALL, False)], "one_click", agent)
    except BadToken:
        return _pages(ctx).unknown()
    except AWAY:
        return _pages(ctx).away()
    pages = _pages(ctx, reader)
    return pages.unsubscribed(_leaving(pages, reader), _path(ctx, message))


@router.head("/p/{token}", include_in_schema=False)
@router.get("/p/{token}", response_class=HTMLResponse, responses={**PAGE, **MISSING})
async def show_preferences(token: str, ctx: Ctx) -> Response:
    """Show what the reader of a message has chosen to hear of, by topic and channel. Changes nothing."""
    try:
        return await _ask(ctx, ctx.links.read_preferences(token), leaving=False)
    except BadToken:
        return _pages(ctx).unknown()
    except AWAY:
        return _pages(ctx).away()


@router.post(
    "/p/{token}", response_class=HTMLResponse, responses={**PAGE, **MISSING, **_NOT_SAVED}, openapi_extra=_FORM
)
async def save_preferences(token: str, request: Request, ctx: Ctx, agent: UserAgent = "") -> Response:
    """Keep what the reader of a message changed on the page, and show it. Only the page's own form is taken."""
    try:
        return await _save(ctx, ctx.links.read_preferences(token), request, agent)
    except BadToken:
        return _pages(ctx).unknown()
    except AWAY:
        return _pages(ctx).away()


async def _ask(ctx: Context, message: UUID, *, leaving: bool) -> Response:
    async with ctx.pool.acquire() as connection:
        reader = await consents.reader(connection, message)
        if reader is None:
            return _pages(ctx).unknown()
        standing = await _standing(ctx, connection, reader)
    pages = _pages(ctx, reader)
    return pages.preferences(_preferences(ctx, pages, standing, leaving=_leaving(pages, reader) if leaving else None))


async def _save(ctx: Context, message: UUID, request: Request, agent: str) -> Response:
    submitted = _Submitted.read(await raw_body(request, FORM_LIMIT))
    ours = _is_our_form(ctx, request, submitted.token, message)
    async with ctx.pool.acquire() as connection, connection.transaction():
        reader = await consents.locked_reader(connection, message)
        if reader is None:
            return _pages(ctx).unknown()
        standing = await _standing(ctx, connection, reader)
        if ours:
            wished = await _wished(ctx, connection, standing, submitted)
            await _keep(connection, reader, wished, "preference_page", agent)
            standing = await _standing(ctx, connection, reader)
        address = standing.person.email
        kept = bool(address and await consents.kept_by(connection, "sendgrid", address))
    pages = _pages(ctx, reader)
    if not ours:
        return pages.preferences(_preferences(ctx, pages, standing, told=pages.words.not_saved), 403)
    told = _told(ctx, pages, standing, submitted)
    return pages.preferences(_preferences(ctx, pages, standing, told=told, kept=kept))


def _is_our_form(ctx: Context, request: Request, token: str, message: UUID) -> bool:
    """Whether a form is the one our page showed, sent from there.

    Pages that send no referrer send no origin either ("null"): then the token alone decides.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "null")
    base = urlsplit(ctx.settings.base)
    if site not in (None, "same-origin", "none") or (
        site is None and origin not in ("null", f"{base.scheme}://{base.netloc}")
    ):
        return False
    try:
        ctx.links.check_form(token, message, datetime.now(UTC))
    except BadToken:
        return False
    return True


async def _standing(ctx: Context, connection: Connection, reader: Reader) -> _Standing:
    person = await contact.person(connection, reader.customer)
    return _Standing(
        reader=reader,
        person=person,
        wishes=await consents.newest(connection, person, WAYS, list(ctx.policy.topics)),
        suppressed=await consents.suppressed(connection, {channel: person.address(channel) for channel in WAYS}),
    )


async def _wished(
    ctx: Context, connection: Connection, standing: _Standing, submitted: _Submitted
) -> list[tuple[str, str, bool]]:
    """Return what a form changes of what holds: channel, topic, whether given.

    Only what a person changed on the page counts: what was wished elsewhere since it was shown stays.
    """
    if submitted.do == "unsubscribe":
        return [(standing.reader.channel, ALL, False)]
    if submitted.do == "nothing":
        newest = await consents.history(connection, standing.person, None, 1)
        told = [(entry.customer, entry.channel, entry.topic, entry.given) for entry in newest]
        return [] if told == [(standing.reader.customer, ALL, ALL, False)] else [(ALL, ALL, False)]
    changed = submitted.shown ^ submitted.wants
    return [
        (channel, topic, wanted)
        for channel in standing.open
        for topic in ctx.policy.topics
        if (value := _value(channel, topic)) in changed
        and (wanted := value in submitted.wants) is not _holds(ctx, standing, (channel, topic))
    ]


async def _keep(
    connection: Connection, reader: Reader, wished: Sequence[tuple[str, str, bool]], source: str, agent: str
) -> None:
    """Add wishes to the ledger.

    What is withdrawn by a channel's own message is withdrawn for all who are reached there: nobody
    can say which of them reads it. What is given is given for the customer alone.
    """
    proof = {"message": str(reader.message), "user_agent": agent.replace("\0", "")[:AGENT_LIMIT]}
    for channel, topic, given in wished:
        covers_others = not given and channel in (reader.channel, ALL)
        await consents.record(
            connection,
            Wish(channel, topic, given=given, source=source, proof=proof),
            customer=reader.customer,
            address=reader.address if covers_others else None,
        )
    log.info("wishes kept", message=str(reader.message), source=source, number=len(wished))


def _holds(ctx: Context, standing: _Standing, cell: Cell) -> bool:
    """Whether marketing may come by a channel about a topic, as far as consent goes."""
    entry = standing.wishes.get(cell)
    return entry.given if entry else ctx.policy.consent.get(cell[0]) != "required"


def _preferences(
    ctx: Context,
    pages: Pages,
    standing: _Standing,
    *,
    told: str | None = None,
    leaving: str | None = None,
    kept: bool = False,
) -> Preferences:
    message, words = standing.reader.message, pages.words
    notes = [
        words.suppressed.get(standing.suppressed[channel].reason, words.unreachable).format(label=words.labels[channel])
        for channel in standing.ways
        if channel in standing.suppressed
    ]
    return Preferences(
        action=_path(ctx, message),
        form=ctx.links.form(message, datetime.now(UTC)),
        subjects=_subjects(ctx, pages, standing),
        told=told,
        leaving=leaving,
        notes=[*notes, words.kept] if kept and _wants_letters(ctx, standing) else notes,
    )


def _wants_letters(ctx: Context, standing: _Standing) -> bool:
    return any(_holds(ctx, standing, (Channel.EMAIL, topic)) for topic in ctx.policy.topics)


def _subjects(ctx: Context, pages: Pages, standing: _Standing) -> list[Subject]:
    if not standing.open:
        return []
    return [
        Subject(
            _title(ctx, topic, pages.language),
            [
                Way(_value(channel, topic), pages.words.labels[channel], _holds(ctx, standing, (channel, topic)))
                for channel in standing.open
            ],
        )
        for topic in ctx.policy.topics
    ]


def _told(ctx: Context, pages: Pages, standing: _Standing, submitted: _Submitted) -> str:
    """Say what was saved."""
    match submitted.do:
        case "unsubscribe":
            return f"{pages.words.unsubscribed}. {_leaving(pages, standing.reader)}"
        case "nothing":
            return pages.words.saved_nothing
    chosen = [
        f"{subject.title} ({', '.join(ways)})"
        for subject in _subjects(ctx, pages, standing)
        if (ways := [way.label for way in subject.ways if way.chosen])
    ]
    return pages.words.saved.format(chosen="; ".join(chosen)) if chosen else pages.words.saved_none


def _title(ctx: Context, topic: str, language: str) -> str:
    titles = ctx.policy.topics[topic].title
    return titles.get(language) or titles.get("en") or next(iter(titles.values()))


def _leaving(pages: Pages, reader: Reader) -> str:
    """What unsubscribing from a message does, for those who have more than one address."""
    by = pages.words.by[reader.channel]
    if reader.channel is Channel.EMAIL and reader.address:
        by = f"{by} ({masked(reader.address)})"
    return pages.words.leaving.format(by=by)


def masked(email: str) -> str:
    """Return an email address as its owner knows it and nobody else: ``a***@e***.com``."""
    name, _, domain = email.rpartition("@")
    host, _, top = domain.rpartition(".")
    return f"{name[:1]}***@{host[:1]}***.{top}"


def _value(channel: str, topic: str) -> str:
    return f"{channel}:{topic}"


def _path(ctx: Context, message: UUID) -> str:
    """The page's address as our pages, which all lie beside it, link to it: under any address of the API."""
    return f"../p/{ctx.links.preferences(message).rpartition('/')[2]}"


def _pages(ctx: Context, reader: Reader | None = None) -> Pages:
    return Pages.of(ctx.deployment.company, (reader.locale if reader else None) or ctx.default_locale)
