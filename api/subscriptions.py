"""What a customer wants to hear of, for backends and operators: consent recorded, what holds by it, and the ledger."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from api.context import Context, Ctx, Db, Reader, allowed
from api.customers import UserId, existing, locked
from api.problems import FieldError, Problem, documented
from domain.messages import Channel
from store import consents, contact, messages
from store.consents import ALL, Entry, Suppression, Wish
from store.contact import Person
from store.keys import Key, Scope

log = structlog.get_logger()
router = APIRouter(tags=["customers"])

PROOF_LIMIT = 4096
"""Bytes of a proof, as JSON."""

CLOCKS_DIFFER_BY = timedelta(minutes=1)
"""How far (wall) a caller's clock may be ahead of ours."""

Recorder = Annotated[Key, Depends(allowed(Scope.INGEST, Scope.OPERATE))]
"""Your backend, with its write key as a bearer token, or an operator."""


class Subscription(BaseModel):
    """Whether marketing about a topic may come to a customer by a channel, and why."""

    channel: Channel
    topic: str = Field(examples=["offers"])
    title: dict[str, str] = Field(description="The topic's name by language.", examples=[{"en": "Offers"}])
    reachable: bool = Field(description="Whether the customer has an address for the channel.")
    allowed: bool
    why: str = Field(
        description=(
            "`given` or `withdrawn` by the customer; where they said nothing, `assumed`, or `never_given` where the "
            "policy requires consent; `suppressed:` and the reason where nothing at all is sent to the address."
        ),
        examples=["withdrawn"],
    )
    since: datetime | None = Field(description="When that was said, wall time.")
    source: str | None = Field(description="How we know.", examples=["one_click"])


class Subscriptions(BaseModel):
    """What a customer wants to hear of, every topic by every channel."""

    subscriptions: list[Subscription]
    kept_by_provider: str | None = Field(
        description=(
            "An email provider that, as far as we know, keeps an unsubscribe itself. As long as it does, it sends no "
            "email to the customer, whatever is allowed here: undo it there."
        ),
        examples=["sendgrid"],
    )


class NewConsent(BaseModel):
    """Consent a customer gave or withdrew somewhere you can prove it."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel | Literal["*"] = Field(description="`*` for every channel.", examples=["sms"])
    topic: str = Field(max_length=63, description="A topic of the policy; `*` for every topic.", examples=["offers"])
    given: bool
    source: str = Field(
        pattern=r"^[a-z][a-z0-9_.-]{0,62}$",
        description="Where it was said, as a code. It is kept for ever: nothing personal.",
        examples=["registration_form"],
    )
    proof: dict[str, Any] = Field(
        default={},
        description=f"What shows it, at most {PROOF_LIMIT} bytes: the wording agreed to, the form's id.",
        examples=[{"form": "registration-7", "wording": "2026-11"}],
    )
    at: AwareDatetime | None = Field(
        default=None, description="When it was said, wall time, not in the future; now, if not given."
    )

    @field_validator("proof")
    @classmethod
    def _small(cls, proof: dict[str, Any]) -> dict[str, Any]:
        try:
            size = len(orjson.dumps(proof))
        except orjson.JSONEncodeError:
            raise ValueError("must hold no whole number of more than 64 bits") from None
        if size > PROOF_LIMIT:
            raise ValueError(f"must not be larger than {PROOF_LIMIT} bytes")
        return proof

    @field_validator("at")
    @classmethod
    def _past(cls, at: datetime | None) -> datetime | None:
        now = datetime.now(UTC)
        if at is not None and at > now + CLOCKS_DIFFER_BY:
            raise ValueError("must not be in the future")
        return min(at, now) if at else None


class Consent(BaseModel):
    """An entry of the ledger."""

    id: int
    channel: str = Field(examples=["email"])
    topic: str = Field(examples=["*"])
    given: bool
    source: str = Field(examples=["twilio:stop"])
    proof: dict[str, Any]
    at: datetime = Field(description="When it was said, wall time.")
    address: str | None = Field(
        description="It covers whoever is reached there; a hash, once a customer reached there was erased."
    )


class Ledger(BaseModel):
    """What a customer allowed and forbade, the newest first."""

    entries: list[Consent]
    next: int | None = Field(description="Give it as `before` for what is older; None at the end.")


_ERRORS = documented(401, 403, 404, 410, 422, 503)


@router.get("/v1/customers/{user_id}/subscriptions", responses=_ERRORS)
async def read_subscriptions(user_id: UserId, _: Reader, ctx: Ctx, db: Db) -> Subscriptions:
    """Read what marketing may come to a customer, by topic and channel, and why.

    As far as consent and suppressions go: the rest of the policy is asked by the dry decision.
    """
    person = await contact.person(db, await existing(ctx, db, user_id))
    wishes = await consents.newest(db, person, list(Channel), list(ctx.policy.topics))
    suppressed = await consents.suppressed(db, {channel: person.address(channel) for channel in Channel})
    kept = person.email is not None and await consents.kept_by(db, "sendgrid", person.email)
    return Subscriptions(
        subscriptions=[
            _subscription(ctx, person, channel, topic, wishes.get((channel, topic)), suppressed.get(channel))
            for channel in Channel
            for topic in ctx.policy.topics
        ],
        kept_by_provider="sendgrid" if kept else None,
    )


@router.post(
    "/v1/customers/{user_id}/consents", status_code=201, responses=documented(400, 401, 403, 404, 410, 422, 503)
)
async def record_consent(user_id: UserId, body: NewConsent, ctx: Ctx, key: Recorder) -> Consent:
    """Record that a customer agreed to marketing, or forbade it, with its source and proof.

    The one way consent comes from your side, such as the box ticked at registration: `identify` the customer
    first, then record it here. It is added to a ledger that never changes; of all entries the one added last
    holds, so tell old ones in their order. It covers this customer alone, not who shares an address with them.

    Consent given lifts no suppression, as a STOP, a bounce or a complaint is not yours to undo, with one
    exception: an address that an erased customer had may be written to again.
    """
    if body.topic not in (ALL, *ctx.policy.topics):
        rule = f"must be * or one of {', '.join(ctx.policy.topics)}"
        raise Problem(422, "invalid_request", f"topic: {rule}", [FieldError(field="topic", rule=rule)])
    wish = Wish(body.channel, body.topic, body.given, f"{key.name}:{body.source}", body.proof, body.at)
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = await locked(ctx, connection, user_id)
        entry = await consents.record(connection, wish, customer=customer, address=None)
        if body.given:
            person = await contact.person(connection, customer)
            for channel in Channel if body.channel == ALL else (Channel(body.channel),):
                if address := person.address(channel):
                    await messages.lift_suppression(connection, channel, address, "erased")
    log.info("consent recorded", customer=customer, given=body.given, source=wish.source)
    return _consent(entry)


@router.get("/v1/customers/{user_id}/consents", responses=_ERRORS)
async def list_consents(
    user_id: UserId,
    _: Reader,
    ctx: Ctx,
    db: Db,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Only what was added before this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Ledger:
    """List what a customer allowed and forbade, with source and proof: about them, and about their addresses."""
    person = await contact.person(db, await existing(ctx, db, user_id))
    entries = await consents.history(db, person, before, limit + 1)
    shown = entries[:limit]
    return Ledger(entries=[_consent(entry) for entry in shown], next=shown[-1].id if len(entries) > limit else None)


def _subscription(
    ctx: Context, person: Person, channel: Channel, topic: str, wish: Entry | None, suppression: Suppression | None
) -> Subscription:
    required = ctx.policy.consent.get(channel) == "required"
    consented = wish.given if wish else not required
    if suppression:
        why, since, source = f"suppressed:{suppression.reason}", suppression.since, suppression.source
    elif wish:
        why, since, source = "given" if wish.given else "withdrawn", wish.at, wish.source
    else:
        why, since, source = "never_given" if required else "assumed", None, None
    return Subscription(
        channel=channel,
        topic=topic,
        title=ctx.policy.topics[topic].title,
        reachable=person.address(channel) is not None,
        allowed=consented and suppression is None,
        why=why,
        since=since,
        source=source,
    )


def _consent(entry: Entry) -> Consent:
    return Consent.model_validate(entry, from_attributes=True)
