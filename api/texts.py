"""Texts without a release: a new version is drafted, checked, looked at, published, taken back."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.context import Context, Ctx, Db, Operator, Reader
from api.customers import TEXT, existing
from api.problems import FieldError, Problem, documented
from domain.messages import Channel, Content
from store import customers, texts
from store.database import Connection
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
Edition = Annotated[
    str,
    Query(
        pattern=r"^(\d{4}-(0[1-9]|1[0-2]))?$",
        description="The month it is for, as 2026-12; leave it out for a text that is for always.",
    ),
]


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
    source: str


class Draft(TextVersion):
    """A version, and what would keep it from being published."""

    problems: list[str] = Field(description="Why it cannot be published, each with its rule.")
    variables: list[str]
    sample: Content | None = Field(description="The message with a value for every variable.")


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
    variables: list[str]
    published: int | None = Field(description="The version in use; None: the file of the release.")
    versions: list[TextVersion] = Field(description="The newest first.")


class PreviewFor(BaseModel):
    """For whom to write a version."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=255, pattern=TEXT)
    event: dict[str, Any] = Field(default={}, description="Properties of the event that began the journey.")
    offer: dict[str, Any] | None = Field(default=None, description="What the journey's own facts would say.")


_ERRORS = documented(401, 403, 404, 422, 503)
_CHANGE = documented(400, 401, 403, 404, 409, 422, 503)


@router.get("", responses=documented(401, 403, 503))
async def list_texts(_: Reader, ctx: Ctx, db: Db) -> list[KnownText]:
    """List every text that can be sent, with the version in use."""
    used = _users(ctx)
    written = {(row["template"], row["channel"], row["locale"], row["edition"]): row for row in await texts.written(db)}
    names = {(text.template, str(text.channel), text.locale, "") for text in ctx.texts} | written.keys()
    return [
        KnownText(
            template=template,
            channel=Channel(channel),
            locale=locale,
            edition=edition,
            used_by=sorted(each.name for each in used.get(template, ())),
            published=row["published"] if (row := written.get((template, channel, locale, edition))) else None,
            newest=row["newest"] if row else None,
            drafts=row["drafts"] if row else 0,
        )
        for template, channel, locale, edition in sorted(names)
    ]


@router.get("/{group}/{name}/{channel}/{locale}", responses=_ERRORS)
async def read_text(
    group: Part, name: Part, channel: ByChannel, locale: Locale, _: Reader, ctx: Ctx, db: Db, edition: Edition = ""
) -> TextInUse:
    """Read a text as it is sent now, with every version there was."""
    named = Name(f"{group}/{name}", channel, locale, edition)
    versions = await texts.versions(db, named)
    published = next((each for each in versions if each.status == "published"), None)
    text = _composed(ctx, named, published.source) if published else _file(ctx, named)
    if text is None and not versions:
        raise _unknown(named)
    return TextInUse(
        template=named.template,
        channel=channel,
        locale=locale,
        edition=edition,
        source=text.source if text else None,
        variables=sorted(text.variables) if text else [],
        published=published.number if published else None,
        versions=[_told(each) for each in versions],
    )


@router.post("/{group}/{name}/{channel}/{locale}/versions", status_code=201, responses=_CHANGE)
async def draft_text(
    group: Part,
    name: Part,
    channel: ByChannel,
    locale: Locale,
    body: NewVersion,
    ctx: Ctx,
    key: Operator,
    edition: Edition = "",
) -> Draft:
    """Keep a new version as a draft; 400 with the line where it is no text at all."""
    named = Name(f"{group}/{name}", channel, locale, edition)
    text = _composed(ctx, named, body.source)
    async with ctx.pool.acquire() as connection, connection.transaction():
        await _must_be_known(ctx, connection, named)
        await texts.lock(connection, named)
        version = await texts.draft(connection, named, body.source, body.note, f"operator:{key.name}")
        checked = await _checked(ctx, connection, text)
    return _drafted(version, text, checked)


@router.get("/{group}/{name}/{channel}/{locale}/versions/{number}", responses=_ERRORS)
async def read_version(
    group: Part,
    name: Part,
    channel: ByChannel,
    locale: Locale,
    number: Number,
    _: Reader,
    ctx: Ctx,
    db: Db,
    edition: Edition = "",
) -> Draft:
    """Read one version, with what would keep it from being published."""
    named = Name(f"{group}/{name}", channel, locale, edition)
    version = await _version(db, named, number)
    text = _composed(ctx, named, version.source)
    return _drafted(version, text, await _checked(ctx, db, text))


@router.post(
    "/{group}/{name}/{channel}/{locale}/versions/{number}/preview",
    responses=documented(400, 401, 403, 404, 410, 422, 503),
)
async def preview_version(
    group: Part,
    name: Part,
    channel: ByChannel,
    locale: Locale,
    number: Number,
    body: PreviewFor,
    _: Reader,
    ctx: Ctx,
    db: Db,
    edition: Edition = "",
) -> Content:
    """Write a version for a customer, with their own data; nothing is sent and no link is tracked."""
    named = Name(f"{group}/{name}", channel, locale, edition)
    version = await _version(db, named, number)
    customer = await customers.profile(db, await existing(ctx, db, body.user_id))
    values = {
        "customer": customer["traits"],
        "event": body.event,
        "offer": body.offer,
        "site": str(ctx.deployment.site).rstrip("/"),
        "company": ctx.deployment.company,
    }
    address = f"{ctx.settings.base}/u/preview"
    footer = Footer(ctx.deployment.postal_address, address, address)
    try:
        return _composed(ctx, named, version.source).render(values, track=lambda url: url, footer=footer)
    except RenderError as error:
        raise _refused("source", error.reason) from None


@router.post("/{group}/{name}/{channel}/{locale}/versions/{number}/publish", responses=_CHANGE)
async def publish_version(
    group: Part,
    name: Part,
    channel: ByChannel,
    locale: Locale,
    number: Number,
    ctx: Ctx,
    key: Operator,
    edition: Edition = "",
) -> TextVersion:
    """Let running journeys use a version from their next send on; 400 with every rule it breaks."""
    named = Name(f"{group}/{name}", channel, locale, edition)
    async with ctx.pool.acquire() as connection, connection.transaction():
        await texts.lock(connection, named)
        version = await _version(connection, named, number)
        if version.status == "published":
            raise Problem(409, "published_already", "this version is in use already")
        text = _composed(ctx, named, version.source)
        if problems := (await _checked(ctx, connection, text)).problems:
            raise Problem(
                400,
                "invalid_text",
                "; ".join(problems),
                [FieldError(field="source", rule=problem) for problem in problems],
            )
        await texts.publish(connection, named, number, f"operator:{key.name}")
        return _told(await _version(connection, named, number))


@router.post("/{group}/{name}/{channel}/{locale}/rollback", responses=_CHANGE)
async def roll_back(
    group: Part, name: Part, channel: ByChannel, locale: Locale, ctx: Ctx, key: Operator, edition: Edition = ""
) -> TextInUse:
    """Take the version in use back: the one before it is used again, or the file of the release."""
    named, by = Name(f"{group}/{name}", channel, locale, edition), f"operator:{key.name}"
    async with ctx.pool.acquire() as connection, connection.transaction():
        await texts.lock(connection, named)
        if not any(each.status == "published" for each in await texts.versions(connection, named)):
            raise Problem(409, "not_published", "no version is in use; the file of the release is")
        before = await texts.published_before(connection, named)
        if before is None:
            await texts.retire(connection, named, by)
        else:
            await texts.publish(connection, named, before, by)
        return await read_text(group, name, channel, locale, key, ctx, connection, edition)


@router.delete("/{group}/{name}/{channel}/{locale}/versions/{number}", status_code=204, responses=_ERRORS)
async def discard_draft(
    group: Part,
    name: Part,
    channel: ByChannel,
    locale: Locale,
    number: Number,
    ctx: Ctx,
    _: Operator,
    edition: Edition = "",
) -> None:
    """Forget a draft; what was published once stays in the history."""
    named = Name(f"{group}/{name}", channel, locale, edition)
    async with ctx.pool.acquire() as connection, connection.transaction():
        await texts.lock(connection, named)
        if not await texts.discard(connection, named, number):
            raise Problem(404, "not_found", "there is no such draft")


def _composed(ctx: Context, named: Name, source: str) -> Text:
    try:
        return ctx.texts.compose(named.template, named.channel, named.locale, source)
    except BadText as error:
        raise _refused("source", str(error)) from None


def _file(ctx: Context, named: Name) -> Text | None:
    """The file of the release; an edition has none."""
    return None if named.edition else ctx.texts.get(named.template, named.channel, named.locale)


async def _must_be_known(ctx: Context, connection: Connection, named: Name) -> None:
    """Refuse a text nobody would ever send: a misspelt name."""
    known = _file(ctx, named) is not None or named.template in _users(ctx) or named.template.startswith(FOR_CAMPAIGNS)
    if not known and not await texts.versions(connection, named):
        raise _unknown(named)


async def problems_for_campaign(ctx: Context, connection: Connection, template: str, channel: Channel) -> list[str]:
    """Return why a campaign cannot send a text, in any language there is of it; nothing if it can."""
    problems, default = [], ctx.texts.languages(ctx.default_locale)[-1]
    written = await texts.published(connection, template, channel, ctx.texts.locales, "")
    for locale in ctx.texts.locales:
        named = Name(template, channel, locale)
        text = _composed(ctx, named, written[locale]) if locale in written else _file(ctx, named)
        if text:
            problems += [
                f"{locale}: {each}" for each in (await _checked(ctx, connection, text, campaign=True)).problems
            ]
        elif locale == default:
            problems.append(
                f"there is no text {template} for {channel} in {locale}; write and publish it, see journeys templates"
            )
    return problems


def _users(ctx: Context) -> dict[str, list[Declaration]]:
    """The journeys that name each template."""
    users: dict[str, list[Declaration]] = {}
    for declaration in ctx.catalog.journeys.values():
        for template in {named.template for named in texts_named(declaration.workflow, monthly=True)}:
            users.setdefault(template, []).append(declaration)
    return users


async def _checked(ctx: Context, connection: Connection, text: Text, *, campaign: bool = False) -> Checked:
    traits = {name.split(".")[1] for name in text.variables if name.startswith("customer.")}
    provided = {f"customer.{name}" for name in await texts.traits_seen(connection, sorted(traits))}
    if campaign or text.template.startswith(FOR_CAMPAIGNS):
        provided |= OF_CAMPAIGNS
    else:
        provided |= _provided(text, _users(ctx).get(text.template) or ctx.catalog.journeys.values())
    if not campaign and (file := _file(ctx, Name(text.template, text.channel, text.locale))):
        # What the file of the release speaks of is there.
        provided |= file.variables
    return check(text, sorted(provided), company=ctx.deployment.company, site=str(ctx.deployment.site).rstrip("/"))


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


def _told(version: Version) -> TextVersion:
    return TextVersion.model_validate(version, from_attributes=True)


def _drafted(version: Version, text: Text, checked: Checked) -> Draft:
    return Draft(
        **_told(version).model_dump(),
        problems=list(checked.problems),
        variables=sorted(text.variables),
        sample=checked.sample,
    )


def _unknown(named: Name) -> Problem:
    return Problem(
        404,
        "unknown_text",
        f"no journey sends {named.template} by {named.channel}: GET /v1/texts lists the names",
    )


def _refused(field: str, rule: str) -> Problem:
    return Problem(400, "invalid_text", f"{field}: {rule}", [FieldError(field=field, rule=rule)])
