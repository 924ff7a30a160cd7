"""Texts without a release: a new version is drafted, checked, looked at, published, taken back."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.auditing import Audited
from api.context import Context, Ctx, Db, Operator, Reader
from api.customers import TEXT, existing
from api.problems import FieldError, Problem, documented
from api.whatsapp import submit_again
from domain.messages import Channel, Content
from store import customers, enrolments, installation, texts
from store.database import Connection
from store.enrolments import Stay
from store.texts import Name, Version
from templates.checks import Checked, check
from templates.letter import Footer
from templates.renderer import BadText, RenderError, Text
from workflows.declaration import Declaration, texts_named

router = APIRouter(prefix="/v1/texts", tags=["texts"])

FOR_CAMPAIGNS = "campaigns/"
"""Texts of this group are no journey's."""

OF_CAMPAIGNS = frozenset({"event.campaign", "event.variant"})
"""What the event that begins a recipient's stay says."""

LONGEST = 50_000
"""Characters of a text."""

Part = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,62}$", examples=["abandoned_application"])]
ByChannel = Annotated[Channel, Path()]
Locale = Annotated[str, Path(pattern="^[a-z]{2,3}$", examples=["en"])]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
_MONTH = r"^(\d{4}-(0[1-9]|1[0-2]))?$"
Edition = Annotated[
    str,
    Query(pattern=_MONTH, description="The month it is for, as 2026-12; leave it out for a text that is for always."),
]
Month = Annotated[
    str, Query(pattern=_MONTH, description="The month of which to tell what it lacks; this one if it is left out.")
]


def _name(group: Part, name: Part, channel: ByChannel, locale: Locale, edition: Edition = "") -> Name:
    return Name(f"{group}/{name}", channel, locale, edition)


Named = Annotated[Name, Depends(_name)]
"""The text an address names."""


class NewVersion(BaseModel):
    """A text as its file would be written: a header between two lines `---`, then the body, both Liquid."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        max_length=LONGEST,
        pattern=TEXT,
        examples=["---\ntitle: Your application is saved\n---\nGo on where you stopped: {{ site }}/credit"],
    )
    note: str | None = Field(default=None, max_length=500, pattern=TEXT, description="What was changed, and why.")


class TextVersion(BaseModel):
    """A version of a text; times are wall time."""

    number: int
    status: Literal["draft", "published", "retired"]
    note: str | None
    created_by: str
    created_at: datetime
    published_by: str | None
    published_at: datetime | None
    retired_by: str | None = Field(description="Who took it back, or published another instead.")
    retired_at: datetime | None
    source: str


class Draft(TextVersion):
    """A version, and what would keep it from being published."""

    problems: list[str] = Field(description="Why it cannot be published, each with its rule.")
    unknown: list[str] = Field(
        description="Variables that nothing provides. They have a default or are only asked for, so everybody would "
        "read what stands in their place: publishing it has to be confirmed."
    )
    variables: list[str]
    sample: Content | None = Field(description="The message with a value for every variable.")
    cost: str | None = Field(
        description="What the sample costs by the deployment's tariffs; None if they do not say.",
        examples=["2 segments, 6.00 RUB"],
    )


class KnownText(BaseModel):
    """A text that can be sent."""

    template: str
    channel: Channel
    locale: str
    edition: str
    used_by: list[str] = Field(description="Journeys that name it.")
    published: int | None = Field(description="The version in use; None: the file of the release.")
    newest: int | None
    drafts: int


class TextInUse(BaseModel):
    """A text and its history."""

    template: str
    channel: Channel
    locale: str
    edition: str
    source: str | None = Field(description="What is sent now; None if there is no text for this month.")
    broken: str | None = Field(
        description="Why the version in use cannot be sent by this release: messages fail by it."
    )
    variables: list[str]
    published: int | None = Field(description="The version in use; None: the file of the release.")
    versions: list[TextVersion] = Field(description="The newest first.")


class PreviewFor(BaseModel):
    """For whom to write a version."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=255, pattern=TEXT)
    event: dict[str, Any] | None = Field(
        default=None,
        description="Properties of the event that began the journey; left out: of the customer's newest stay in one "
        "that sends the text.",
    )
    facts: dict[str, dict[str, Any]] = Field(
        default={},
        description="What the journey's own facts would say, by name; those left out are as of that stay.",
        examples=[{"offer": {"bank": "Alfa"}}],
    )


_ERRORS = documented(401, 403, 404, 422, 503)
_CHANGE = documented(400, 401, 403, 404, 409, 422, 503)


@router.get("", responses=documented(401, 403, 422, 503))
async def list_texts(_: Reader, ctx: Ctx, db: Db, month: Month = "") -> list[KnownText]:
    """List every text that can be sent, with the version in use; of what is written for each month, one month's too."""
    senders = await _senders(ctx)
    month = month or f"{(await installation.clock(db)).journey_time(datetime.now(UTC)):%Y-%m}"
    written = {(row["template"], row["channel"], row["locale"], row["edition"]): row for row in await texts.written(db)}
    names = {(text.template, str(text.channel), text.locale, "") for text in ctx.texts} | written.keys()
    names |= {
        (each.template, str(each.channel), locale, month)
        for each in senders
        for locale in ctx.texts.locales
        if each.monthly
    }
    return [
        KnownText(
            template=template,
            channel=Channel(channel),
            locale=locale,
            edition=edition,
            used_by=sorted({each.journey.name for each in senders if each.sends(template, channel)}),
            published=row["published"] if (row := written.get((template, channel, locale, edition))) else None,
            newest=row["newest"] if row else None,
            drafts=row["drafts"] if row else 0,
        )
        for template, channel, locale, edition in sorted(names)
    ]


@router.get("/{group}/{name}/{channel}/{locale}", responses=_ERRORS)
async def read_text(named: Named, _: Reader, ctx: Ctx, db: Db) -> TextInUse:
    """Read a text as it is sent now, with every version there was."""
    return await _in_use(ctx, db, named)


@router.post("/{group}/{name}/{channel}/{locale}/versions", status_code=201, responses=_CHANGE)
async def draft_text(
    named: Named,
    body: NewVersion,
    ctx: Ctx,
    key: Operator,
    audited: Audited,
) -> Draft:
    """Keep a new version as a draft; 400 with the line where it is no text at all."""
    _composed(ctx, named, body.source)
    async with ctx.pool.acquire() as connection, connection.transaction():
        await _must_be_known(ctx, connection, named)
        await texts.lock(connection, named)
        version = await texts.draft(connection, named, body.source, body.note, f"operator:{key.name}")
        drafted = await _drafted(ctx, connection, named, version)
    audited.facts.update(_entered(named, version.number))
    return drafted


@router.get("/{group}/{name}/{channel}/{locale}/versions/{number}", responses=_ERRORS)
async def read_version(
    named: Named,
    number: Number,
    _: Reader,
    ctx: Ctx,
    db: Db,
) -> Draft:
    """Read one version, with what would keep it from being published."""
    return await _drafted(ctx, db, named, await _version(db, named, number))


@router.post(
    "/{group}/{name}/{channel}/{locale}/versions/{number}/preview",
    responses=documented(400, 401, 403, 404, 410, 422, 503),
)
async def preview_version(
    named: Named,
    number: Number,
    body: PreviewFor,
    _: Reader,
    ctx: Ctx,
    db: Db,
) -> Content:
    """Write a version for a customer, with their own data; nothing is sent and no link is tracked."""
    version = await _version(db, named, number)
    customer = await existing(ctx, db, body.user_id)
    stay = await _newest_stay(ctx, db, named, customer)
    facts = await enrolments.facts(db, ctx.catalog.journeys[stay.journey].facts, stay.id) if stay else {}
    values = {
        **facts,
        **body.facts,
        "customer": (await customers.profile(db, customer))["traits"],
        "event": (stay.trigger if stay else {}) if body.event is None else body.event,
        "site": str(ctx.deployment.site).rstrip("/"),
        "company": ctx.deployment.company,
    }
    address = f"{ctx.settings.base}/u/preview"
    footer = Footer(ctx.deployment.postal_address, address, address)
    try:
        return _composed(ctx, named, version.source).render(values, track=lambda url: url, footer=footer)
    except RenderError as error:
        hint = "" if stay else "; the customer has been in no journey that sends this text, so give event and facts"
        raise _refused("source", f"{error.reason}{hint}") from None


@router.post("/{group}/{name}/{channel}/{locale}/versions/{number}/publish", responses=_CHANGE)
async def publish_version(
    named: Named,
    number: Number,
    ctx: Ctx,
    key: Operator,
    audited: Audited,
    confirm: Annotated[bool, Query(description="Variables that nothing provides are meant.")] = False,
) -> TextVersion:
    """Let running journeys use a version from their next send on; 400 with every rule it breaks.

    One with a variable that nothing provides, though it has a default, is refused unless it is confirmed.
    """
    async with ctx.pool.acquire() as connection, connection.transaction():
        await texts.lock(connection, named)
        version = await _version(connection, named, number)
        if version.status == "published":
            raise Problem(409, "published_already", "this version is in use already")
        text = _composed(ctx, named, version.source)
        checked = await _checked(ctx, connection, text)
        if checked.problems:
            raise Problem(400, "invalid_text", "; ".join(checked.problems), _about_source(checked.problems))
        if checked.unknown and not confirm:
            problems = [f"{name}: nothing provides this variable" for name in checked.unknown]
            raise Problem(
                409,
                "unknown_variables",
                f"{'; '.join(problems)}, so everybody would read what stands in its place; mend it, or confirm that "
                "it is meant",
                _about_source(problems),
            )
        await texts.publish(connection, named, number, f"operator:{key.name}")
        audited.facts.update(_entered(named, number))
        if named.channel is Channel.WHATSAPP:
            await submit_again(ctx, connection, text, named.edition, f"operator:{key.name}")
        return _told(await _version(connection, named, number))


@router.post("/{group}/{name}/{channel}/{locale}/rollback", responses=_CHANGE)
async def roll_back(
    named: Named,
    ctx: Ctx,
    key: Operator,
    audited: Audited,
    version: Annotated[
        int | None,
        Query(ge=1, le=2**31 - 1, description="The version to take back; 409 if another one is in use by now."),
    ] = None,
) -> TextInUse:
    """Take the version in use back: the one that it replaced is used again, or the file of the release."""
    by = f"operator:{key.name}"
    async with ctx.pool.acquire() as connection, connection.transaction():
        await texts.lock(connection, named)
        versions = await texts.versions(connection, named)
        in_use = next((each.number for each in versions if each.status == "published"), None)
        if in_use is None:
            raise Problem(409, "not_published", "no version is in use; the file of the release is")
        if version not in (None, in_use):
            raise Problem(409, "another_in_use", f"version {in_use} is in use by now, not {version}")
        before = await texts.published_before(connection, named)
        if before is None:
            await texts.retire(connection, named, by)
        else:
            await texts.publish(connection, named, before, by)
        audited.facts.update(_entered(named, before))
        return await _in_use(ctx, connection, named)


@router.delete("/{group}/{name}/{channel}/{locale}/versions/{number}", status_code=204, responses=_ERRORS)
async def discard_draft(
    named: Named,
    number: Number,
    ctx: Ctx,
    _: Operator,
    audited: Audited,
) -> None:
    """Forget a draft; what was published once stays in the history."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        await texts.lock(connection, named)
        if not await texts.discard(connection, named, number):
            raise Problem(404, "not_found", "there is no such draft")
    audited.facts.update(_entered(named, number))


async def _in_use(ctx: Context, connection: Connection, named: Name) -> TextInUse:
    """Tell what is sent now, and what was before."""
    versions = await texts.versions(connection, named)
    published = next((each for each in versions if each.status == "published"), None)
    text, broken = _file(ctx, named), None
    if published:
        try:
            text = ctx.texts.compose(named.template, named.channel, named.locale, published.source)
        except BadText as error:
            # A release may have forgotten what an earlier one knew.
            text, broken = None, str(error)
    elif text is None and not versions:
        raise _unknown(named)
    return TextInUse(
        template=named.template,
        channel=named.channel,
        locale=named.locale,
        edition=named.edition,
        source=published.source if published else text.source if text else None,
        broken=broken,
        variables=sorted(text.variables) if text else [],
        published=published.number if published else None,
        versions=[_told(each) for each in versions],
    )


async def _newest_stay(ctx: Context, connection: Connection, named: Name, customer: int) -> Stay | None:
    """Return a customer's newest stay in a journey that sends a text."""
    senders = {each.journey.name for each in await _senders(ctx) if each.sends(named.template, named.channel)}
    return await enrolments.newest(connection, customer, senders)


def _composed(ctx: Context, named: Name, source: str) -> Text:
    try:
        return _read(ctx, named, source)
    except BadText as error:
        raise _refused("source", str(error)) from None


def _read(ctx: Context, named: Name, source: str) -> Text:
    return ctx.texts.compose(named.template, named.channel, named.locale, source)


def _file(ctx: Context, named: Name) -> Text | None:
    """The file of the release; an edition has none."""
    return None if named.edition else ctx.texts.get(named.template, named.channel, named.locale)


async def _must_be_known(ctx: Context, connection: Connection, named: Name) -> None:
    """Refuse a text nobody would ever send: a misspelt name."""
    if _file(ctx, named) is not None or (named.template.startswith(FOR_CAMPAIGNS) and not named.edition):
        return
    senders = [each for each in await _senders(ctx) if each.sends(named.template, named.channel)]
    if any(each.monthly is bool(named.edition) for each in senders) or await texts.versions(connection, named):
        return
    if named.edition and (senders or _file(ctx, replace(named, edition="")) is not None):
        raise Problem(
            404, "unknown_text", f"{named.template} is for always, no journey asks for a month's; leave the edition out"
        )
    if senders:
        raise Problem(404, "unknown_text", f"{named.template} is written for each month; give one as the edition")
    raise _unknown(named)


async def problems_for_campaign(ctx: Context, connection: Connection, template: str, channel: Channel) -> list[str]:
    """Return why a campaign cannot send a text, in any language there is of it; nothing if it can."""
    problems, default = [], ctx.texts.languages(ctx.default_locale)[-1]
    written = await texts.published(connection, template, channel, ctx.texts.locales, "")
    for locale in ctx.texts.locales:
        named = Name(template, channel, locale)
        try:
            text = _read(ctx, named, written[locale]) if locale in written else _file(ctx, named)
        except BadText as error:
            # A release may have forgotten what an earlier one knew.
            problems.append(f"{locale}: {error}")
            continue
        if text:
            problems += [
                f"{locale}: {each}" for each in (await _checked(ctx, connection, text, campaign=True)).problems
            ]
        elif locale == default:
            problems.append(
                f"there is no text {template} for {channel} in {locale}; write and publish it, see journeys templates"
            )
    return problems


@dataclass(frozen=True)
class _Sender:
    """A journey and a text it sends.

    Attributes:
        monthly: It asks for the text of the month.
    """

    journey: Declaration
    template: str
    channel: Channel
    monthly: bool

    def sends(self, template: str, channel: str) -> bool:
        """Whether it is this text."""
        return (self.template, self.channel) == (template, channel)


async def _senders(ctx: Context) -> list[_Sender]:
    """Who sends what: as the journeys' code names it, and as it is put together where they are rehearsed."""
    senders: list[_Sender] = []
    for journey in ctx.catalog.journeys.values():
        senders += [
            _Sender(journey, each.template, each.channel, each.monthly) for each in texts_named(journey.workflow)
        ]
        drafts = (await ctx.board(journey)).drafts
        senders += [_Sender(journey, each.template, each.channel, bool(each.edition)) for each in drafts]
    return senders


async def _checked(ctx: Context, connection: Connection, text: Text, *, campaign: bool = False) -> Checked:
    traits = {re.split(r"[.\[]", name)[1] for name in text.variables if name.startswith("customer.")}
    provided = {f"customer.{name}" for name in await texts.traits_seen(connection, sorted(traits))}
    if campaign or text.template.startswith(FOR_CAMPAIGNS):
        provided |= OF_CAMPAIGNS
    else:
        senders = [each.journey for each in await _senders(ctx) if each.sends(text.template, text.channel)]
        provided |= _provided(text, senders or ctx.catalog.journeys.values())
    if not campaign and (file := _file(ctx, Name(text.template, text.channel, text.locale))):
        # What the file of the release speaks of is there.
        provided |= file.variables
    return check(
        text,
        sorted(provided),
        known=await asyncio.to_thread(lambda: ctx.texts.traits),
        track=ctx.links.tracked(UUID(int=0), 0),
        company=ctx.deployment.company,
        site=str(ctx.deployment.site).rstrip("/"),
    )


def _provided(text: Text, journeys: Iterable[Declaration]) -> set[str]:
    """What the journeys' triggers and facts give: declared fields, keys, and any column of a fact."""
    given = set[str]()
    for journey in journeys:
        for rule in journey.starts_on:
            given |= {f"event.{field}" for field in rule.event.model_fields}
        if journey.key:
            given.add(f"event.{journey.key}")
        given |= {name for name in text.variables if name.split(".")[0] in journey.facts}
    return given


async def _version(connection: Connection, named: Name, number: int) -> Version:
    version = await texts.version(connection, named, number)
    if version is None:
        raise Problem(404, "not_found", "there is no such version")
    return version


def _entered(named: Name, version: int | None) -> dict[str, Any]:
    """What the audit log says of a change: which text, and which version it was about; None: the release's file."""
    return {"text": f"{named.template}/{named.channel}/{named.locale}", "edition": named.edition, "version": version}


def _told(version: Version) -> TextVersion:
    return TextVersion.model_validate(version, from_attributes=True)


async def _drafted(ctx: Context, connection: Connection, named: Name, version: Version) -> Draft:
    try:
        text = ctx.texts.compose(named.template, named.channel, named.locale, version.source)
    except BadText as error:
        return Draft(
            **_told(version).model_dump(), problems=[str(error)], unknown=[], variables=[], sample=None, cost=None
        )
    checked = await _checked(ctx, connection, text)
    return Draft(
        **_told(version).model_dump(),
        problems=list(checked.problems),
        unknown=list(checked.unknown),
        variables=sorted(text.variables),
        sample=checked.sample,
        cost=ctx.deployment.tariffs.spoken(checked.sample) if checked.sample else None,
    )


def _about_source(rules: Iterable[str]) -> list[FieldError]:
    return [FieldError(field="source", rule=rule) for rule in rules]


def _unknown(named: Name) -> Problem:
    return Problem(
        404,
        "unknown_text",
        f"no journey sends {named.template} by {named.channel}: GET /v1/texts lists the names",
    )


def _refused(field: str, rule: str) -> Problem:
    return Problem(400, "invalid_text", f"{field}: {rule}", [FieldError(field=field, rule=rule)])
