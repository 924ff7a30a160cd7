"""Why did they (not) get it: everything that happened to a customer, with the rule that decided, and one message."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.context import Context, Ctx, Db, Reader
from api.customers import TEXT, UserId, existing
from api.problems import Problem, documented
from domain.clock import Clock
from policy.contact import RULES
from store import customers, timeline
from store.database import Connection
from store.timeline import KINDS, Scope
from workflows.declaration import texts_named

router = APIRouter(tags=["customers"])

SAYS = {
    # What a rule does about it is in the verdict.
    **{rule.name: rule.says.partition(":")[0] for rule in RULES},
    "provider": "the provider did not take it, and will be asked again",
    "overtaken": "the journey was over before it could be sent",
    "text": "its text could not be written",
}
"""In words what the reasons of decisions begin with: the policy's rules, and what else comes between."""


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Cause(_Told):
    """What a rule went by: the customer's wish, a silence, a report of the provider."""

    at: datetime = Field(description="Since when, wall time.")
    source: str = Field(description="How we know, or who wanted it.", examples=["preference_page"])
    until: datetime | None = Field(description="Until when, journey time, if that is known.")


class Decision(_Told):
    """Why a message was held back or dropped. Times are journey time unless they say otherwise."""

    verdict: Literal["delay", "drop"]
    rule: str = Field(examples=["quiet_hours"])
    says: str | None = Field(
        description="The rule in words.", examples=["not at this hour or on this day of the customer's"]
    )
    reason: str = Field(description="The rule and its particulars.", examples=["no_consent:email/offers withdrawn"])
    until: datetime | None = Field(description="Until when it was held back, by the newest time it was decided so.")
    first_at: datetime
    last_at: datetime
    times: int = Field(description="How often it was decided so.")
    policy_version: str | None = Field(description="The policy it was decided by, see `GET /v1/policy/versions`.")
    decided_at: datetime = Field(description="Wall time it was first decided so.")
    cause: Cause | None


class _Entry(_Told):
    at: datetime = Field(description="Wall time.")


class EventEntry(_Entry):
    """Something the customer did, or a report about a message their journey waited for."""

    kind: Literal["event"] = "event"
    id: int
    type: str
    name: str
    source: str
    properties: dict[str, Any]
    timestamp: datetime = Field(description="When it happened, by the sender's word.")
    dispatched_at: datetime | None
    parked_at: datetime | None
    note: str | None = Field(description="What came of it: what it started or ended, or why it did not.")


class EnrolmentEntry(_Entry):
    """A stay in a journey."""

    kind: Literal["enrolment"] = "enrolment"
    id: int
    journey: str
    key: str
    workflow_id: str
    enrolled_at: datetime = Field(description="Journey time.")
    outcome: str | None
    ended_by: str | None = Field(description="Name of the event that decided the outcome.")
    ended_at: datetime | None
    temporal_ui: str | None = Field(description="The run in the Temporal UI.")


class MessageEntry(_Entry):
    """A message that was decided about, from the first decision to the last report."""

    kind: Literal["message"] = "message"
    id: UUID
    enrolment_id: int
    journey: str
    channel: str
    template: str
    template_version: str | None
    locale: str | None
    message_class: str
    priority: int = Field(description="1 is the most important.")
    status: str
    reason: str | None = Field(description="Why it waits, was not sent or did not arrive.")
    attempt: int = Field(description="How often it was handed to the provider.")
    policy_version: str | None = Field(description="The policy it was last decided by.")
    decisions: list[Decision] = Field(description="Why it was held back or dropped, in order.")
    journey_at: datetime = Field(description="When it was last decided about, journey time.")
    not_before: datetime | None = Field(description="While it waits: until when, journey time.")
    expires_at: datetime | None = Field(description="When it is not worth sending any more, journey time.")
    provider: str | None
    provider_id: str | None
    sending_at: datetime | None
    accepted_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    clicked_at: datetime | None
    replied_at: datetime | None
    failed_at: datetime | None
    dismissed_at: datetime | None
    unknown_at: datetime | None = Field(description="Since when it was uncertain whether it left, if it ever was.")
    resolution: str | None = Field(description="By what that was settled.", examples=["callback", "assumed_sent"])
    resolved_at: datetime | None
    evidence: list[dict[str, Any]] | None = Field(description="What was found out about it, in order.")
    temporal_ui: str | None = Field(description="The run that asked for it, in the Temporal UI.")


class ConsentEntry(_Entry):
    """A wish of the customer's, or of whoever is reached at their address: what they allow or forbid."""

    kind: Literal["consent"] = "consent"
    id: int
    channel: str = Field(description="`*` is every channel.")
    topic: str = Field(description="`*` is every topic.")
    given: bool
    source: str = Field(examples=["preference_page"])


class SuppressionEntry(_Entry):
    """Since then nothing at all is sent to an address the customer has now."""

    kind: Literal["suppression"] = "suppression"
    channel: str
    reason: str = Field(examples=["opted_out"])
    source: str = Field(examples=["twilio:stop"])


class BlockEntry(_Entry):
    """A silence: nothing is sent until it is over. Times are journey time."""

    kind: Literal["block"] = "block"
    id: int
    name: str
    source: str
    begins_at: datetime
    until: datetime
    lifted_at: datetime | None = Field(description="Wall time at which it was ended before its time.")


class DialogueEntry(_Entry):
    """A person of ours talked with the customer, and no journey wrote meanwhile. Times are journey time."""

    kind: Literal["dialogue"] = "dialogue"
    id: int
    source: str
    opened_at: datetime
    closed_at: datetime | None


class ActionEntry(_Entry):
    """What an operator did to the customer or a stay of theirs, from the audit log."""

    kind: Literal["action"] = "action"
    id: int
    actor: str = Field(examples=["desk"])
    action: str = Field(examples=["command_enrolment"])
    subject: dict[str, Any]
    detail: dict[str, Any]
    answer: str | None = Field(description="Status of the HTTP answer, or `done`.")


Entry = Annotated[
    EventEntry
    | EnrolmentEntry
    | MessageEntry
    | ConsentEntry
    | SuppressionEntry
    | BlockEntry
    | DialogueEntry
    | ActionEntry,
    Field(discriminator="kind"),
]

_ENTRIES: dict[str, type[_Entry]] = {
    "event": EventEntry,
    "enrolment": EnrolmentEntry,
    "message": MessageEntry,
    "consent": ConsentEntry,
    "suppression": SuppressionEntry,
    "block": BlockEntry,
    "dialogue": DialogueEntry,
    "action": ActionEntry,
}


class Timeline(BaseModel):
    """What happened to a customer, the newest first."""

    customer_id: int = Field(description="Our number of the customer, as the Temporal UI shows it.")
    time_zone: str | None = Field(description="The customer's, if it is known.", examples=["Europe/Berlin"])
    clock: Clock = Field(description="Journey time is origin + (wall time - origin) * speed.")
    journeys: list[str] | None = Field(description="Those asked about, or that send the message; None for all.")
    entries: list[Entry]
    next: datetime | None = Field(description="Give it as `before` for what is older; None at the end.")


class Report(_Told):
    """What was reported about a message."""

    provider: str
    received_at: datetime
    told: str | None = Field(description="In the provider's own word.", examples=["delivered"])


class Explanation(BaseModel):
    """All there is to say about one message."""

    customer_id: int
    erased_at: datetime | None = Field(description="When its customer was erased, if they were.")
    clock: Clock = Field(description="Journey time is origin + (wall time - origin) * speed.")
    message: MessageEntry
    reports: list[Report] = Field(description="What was reported about it, in order.")


_ERRORS = documented(401, 403, 404, 410, 422, 503)


@router.get("/v1/customers/{user_id}/timeline", responses=_ERRORS)
async def read_timeline(
    user_id: UserId,
    _: Reader,
    ctx: Ctx,
    db: Db,
    before: Annotated[AwareDatetime | None, Query(description="Only what is older, wall time.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    journey: Annotated[
        str | None,
        Query(max_length=255, pattern=TEXT, description="Only events, stays and messages of this journey."),
    ] = None,
    message: Annotated[
        str | None,
        Query(
            max_length=255,
            pattern=TEXT,
            description="Only this message, by its id or its text's name, and what the journeys that send it did "
            "instead where there is none.",
            examples=["abandoned_application/full"],
        ),
    ] = None,
) -> Timeline:
    """Read what happened to a customer and why: events, stays, messages sent and not sent, wishes, silences, operators.

    A message that is not in it was never asked for: the events' notes tell why its journey did not start, the stays
    when it ended. A page may be longer than its limit: what happened at the same instant stays together.
    """
    customer = await existing(ctx, db, user_id)
    journeys = await _concerned(ctx, db, customer, journey, message)
    scope = Scope(before, journeys, _events_of(ctx, journeys), message)
    # One more, which tells whether there is another page.
    found = await timeline.page(db, customer, scope, limit + 1)
    kinds = list(KINDS)
    rows = sorted(
        ((kind, row) for kind, several in found.items() for row in several),
        key=lambda each: (each[1]["at"], each[1]["sequence"], kinds.index(each[0]), each[1].get("id", 0)),
        reverse=True,
    )
    last = rows[limit - 1][1]["at"] if len(rows) > limit else None
    return Timeline(
        customer_id=customer,
        time_zone=(await customers.profile(db, customer))["time_zone"],
        clock=await customers.clock_of(db, customer),
        journeys=journeys,
        entries=[_entry(ctx, kind, row) for kind, row in rows if last is None or row["at"] >= last],
        next=last,
    )


@router.get("/v1/messages/{message_id}/explanation", responses=documented(401, 403, 404, 422, 503))
async def explain_message(
    message_id: Annotated[UUID, Path(description="Our id of the message.")], _: Reader, ctx: Ctx, db: Db
) -> Explanation:
    """Explain one message: every decision about it, how an uncertain send was settled, what was reported."""
    row = await timeline.message(db, message_id)
    if row is None:
        raise Problem(404, "not_found", "there is no such message; the timeline tells why none was asked for")
    customer, erased_at = row.pop("customer_id"), row.pop("erased_at")
    return Explanation(
        customer_id=customer,
        erased_at=erased_at,
        clock=await customers.clock_of(db, customer),
        message=_entry(ctx, "message", row),
        reports=[Report(**each) for each in await timeline.callbacks(db, message_id)],
    )


async def _concerned(
    ctx: Context, db: Connection, customer: int, journey: str | None, message: str | None
) -> list[str] | None:
    """Return the journeys asked about; None for all."""
    if message is None:
        return None if journey is None else [journey]
    asked = set(await timeline.journeys_that_asked(db, customer, message))
    asked |= {
        declaration.name
        for declaration in ctx.catalog.journeys.values()
        for text in texts_named(declaration.workflow)
        if message in (text.template, text.template.partition("/")[2])
    }
    return sorted(asked if journey is None else asked & {journey})


def _events_of(ctx: Context, journeys: list[str] | None) -> list[str]:
    """Return the events that are declared to concern some journeys."""
    declarations = [ctx.catalog.journeys[name] for name in journeys or () if name in ctx.catalog.journeys]
    return sorted({name for declaration in declarations for name in declaration.events()})


def _entry(ctx: Context, kind: str, row: Mapping[str, Any]) -> Any:
    told = {name: value for name, value in row.items() if name != "sequence"}
    if kind == "enrolment":
        told["temporal_ui"] = ctx.run_url(told["workflow_id"])
    if kind == "message":
        told["temporal_ui"] = ctx.run_url(told.pop("workflow_id"))
        told["decisions"] = [_decision(each) for each in told["decisions"]]
    return _ENTRIES[kind](**told)


def _decision(row: Mapping[str, Any]) -> Decision:
    told = {name: value for name, value in row.items() if not name.startswith("cause_")}
    cause = Cause(at=row["cause_at"], source=row["cause_source"], until=row["cause_until"]) if row["cause_at"] else None
    return Decision(**told, says=SAYS.get(row["rule"]), cause=cause)
