"""WhatsApp over HTTP: templates that are reviewed, and senders that are blocked."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from api.auditing import Audited
from api.context import Context, Ctx, Db, Operator, Reader
from api.problems import Problem, documented
from domain.messages import Button, Channel
from store import texts, whatsapp
from store.database import Connection
from templates.files import SESSION
from templates.renderer import BadText, Text
from templates.whatsapp import Form, NoTemplate, form_of

router = APIRouter(prefix="/v1/whatsapp", tags=["whatsapp"])

Status = Literal["requested", "submitted", "pending", "approved", "rejected", "paused", "disabled"]


class Template(BaseModel):
    """A version of a text as WhatsApp's reviewers know it; times are wall time."""

    template: str
    locale: str
    edition: str
    version: str = Field(description="Changes whenever the reviewers would see something else.")
    category: str
    status: Status = Field(
        description="requested: Twilio is told within seconds. Sent are approved ones only, the one approved last if "
        "the text as it is now is not approved."
    )
    reason: str | None = Field(description="Why it was refused: the reviewers' words, or Twilio's code.")
    body: str = Field(description="The text with its numbered variables.", examples=["Ada, go on: {{1}}."])
    samples: dict[str, str] = Field(description="What the reviewers see in them.")
    buttons: list[Button]
    media: str | None
    content_sid: str | None = Field(description="Twilio's id of it.")
    requested_by: str
    requested_at: datetime
    submitted_at: datetime | None
    approved_at: datetime | None
    changed_at: datetime


class Submit(BaseModel):
    """Which texts to have reviewed."""

    model_config = ConfigDict(extra="forbid")

    template: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]{0,62}/[a-z][a-z0-9_]{0,62}$",
        description="One text, in all its languages; leave it out for every WhatsApp text that goes out as a template.",
        examples=["abandoned_application/full"],
    )


class Submission(BaseModel):
    """What has become of one text in one language."""

    template: str
    locale: str
    status: Status | None = Field(description="None: it cannot be submitted.")
    problems: list[str] = Field(description="Why not, each with its rule.")


class SenderBlock(BaseModel):
    """A number of ours from which nothing goes out for a while; wall time."""

    sender: str
    code: str = Field(description="Twilio's error code.", examples=["63112"])
    since: datetime
    until: datetime


@router.get("/templates", responses=documented(401, 403, 503))
async def list_templates(_: Reader, db: Db) -> list[Template]:
    """List every version of every text that was submitted, the newest of each first."""
    return [
        Template(**{**row, "form": None}, **form.model_dump(include={"body", "buttons", "media"}), samples=form.samples)
        for row in await whatsapp.templates(db)
        for form in [Form.model_validate(row["form"])]
    ]


@router.post("/templates/submit", responses=documented(400, 401, 403, 404, 422, 503))
async def submit_templates(body: Submit, ctx: Ctx, key: Operator) -> list[Submission]:
    """Have texts reviewed as they are now: published versions before files of the release.

    A version that was submitted before is not submitted again, unless it was rejected.
    """
    async with ctx.pool.acquire() as connection, connection.transaction():
        found = await _texts(ctx, connection, body.template)
        if body.template and not found:
            raise Problem(404, "unknown_text", f"there is no WhatsApp text {body.template}")
        return [await submit(ctx, connection, text, "", f"operator:{key.name}") for text in found]


@router.post("/templates/look", responses=documented(401, 403, 503))
async def look_at_reviews(ctx: Ctx, _: Operator) -> dict[str, int]:
    """Have Twilio asked now what the reviewers say; how many templates it is asked about."""
    async with ctx.pool.acquire() as connection:
        return {"templates": await whatsapp.look_now(connection)}


@router.get("/senders/blocks", responses=documented(401, 403, 503))
async def list_blocked_senders(_: Reader, db: Db) -> list[SenderBlock]:
    """List the senders nothing goes out from now."""
    return [SenderBlock.model_validate(dict(row)) for row in await whatsapp.blocked_senders(db)]


@router.delete("/senders/{sender}/block", status_code=204, responses=documented(401, 403, 404, 422, 503))
async def lift_sender_block(
    sender: Annotated[str, Path(pattern=r"^\+[1-9]\d{6,14}$", examples=["+14155550100"])],
    ctx: Ctx,
    _: Operator,
    audited: Audited,
) -> None:
    """Use a sender again before its time."""
    async with ctx.pool.acquire() as connection:
        if not await whatsapp.lift_sender_block(connection, sender):
            raise Problem(404, "not_blocked", "this sender is not blocked")
    # Now it is known to be a number of ours, and nobody else's.
    audited.facts["sender"] = sender


async def submit(ctx: Context, connection: Connection, text: Text, edition: str, by: str) -> Submission:
    """Have one text reviewed as it is."""
    try:
        form = form_of(text, company=ctx.deployment.company, site=str(ctx.deployment.site).rstrip("/"))
    except NoTemplate as refused:
        return Submission(template=text.template, locale=text.locale, status=None, problems=refused.problems)
    status = await whatsapp.request(
        connection,
        template=text.template,
        locale=text.locale,
        edition=edition,
        version=form.version,
        category=form.category,
        form=form.model_dump(mode="json"),
        by=by,
    )
    return Submission.model_validate(
        {"template": text.template, "locale": text.locale, "status": status, "problems": []}
    )


async def submit_again(ctx: Context, connection: Connection, text: Text, edition: str, by: str) -> None:
    """Have a text reviewed that was reviewed before, and has been changed; that of a month when it is published."""
    if edition or await whatsapp.submitted_before(connection, text.template, text.locale, edition):
        await submit(ctx, connection, text, edition, by)


async def _texts(ctx: Context, connection: Connection, template: str | None) -> list[Text]:
    """Return the WhatsApp texts that are sent now and may go out as templates."""
    names = {text.template for text in ctx.texts if text.channel is Channel.WHATSAPP}
    names |= {row["template"] for row in await texts.written(connection) if row["channel"] == Channel.WHATSAPP}
    found: list[Text] = []
    for name in sorted(names if template is None else names & {template}):
        written = await texts.published(connection, name, Channel.WHATSAPP, ctx.texts.locales, "")
        for locale in ctx.texts.locales:
            text = ctx.texts.get(name, Channel.WHATSAPP, locale)
            if source := written.get(locale):
                try:
                    text = ctx.texts.compose(name, Channel.WHATSAPP, locale, source)
                except BadText:
                    continue
            if text and text.category != SESSION:
                found.append(text)
    return found
