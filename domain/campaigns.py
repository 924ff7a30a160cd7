"""A campaign: one message, or a cascade, to everybody in a segment, at a time and a pace its author says."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, model_validator

from domain.messages import DEFAULT_TOPIC, Channel, Draft, Status
from domain.segments import SegmentName

PREFIX = "campaign:"
"""Before a campaign's name where a journey's would stand."""

EVENT_TYPE = "campaign"
"""Of the event of ours that begins a recipient's stay."""

PRIORITY = 5
"""Journeys' messages, at 1 to 4, go first where both want the same slot of a cap."""

ROUNDING = 1e-6

CampaignName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Template = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}/[a-z][a-z0-9_]{0,62}$")]
Hour = Annotated[int, Field(ge=0, le=23)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


Duration = Annotated[timedelta, Field(ge=timedelta(minutes=1), le=timedelta(days=366))]


class CampaignStatus(StrEnum):
    """Where a campaign is."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"


Standing = Literal["draft", "planning", "running", "paused", "stopped", "finished"]
"""Where it is, for people: `planning` while its start has not come, or its recipients are being found."""

MAY_BECOME: Mapping[CampaignStatus, Sequence[CampaignStatus]] = {
    CampaignStatus.PAUSED: (CampaignStatus.RUNNING,),
    CampaignStatus.RUNNING: (CampaignStatus.PAUSED,),
    CampaignStatus.STOPPED: (CampaignStatus.RUNNING, CampaignStatus.PAUSED),
}
"""What an operator may do: where a campaign comes to, and from where."""


class Step(BaseModel, frozen=True, extra="forbid"):
    """One way of a cascade."""

    channel: Channel
    template: Template


class Variant(BaseModel, frozen=True, extra="forbid"):
    """What some of the recipients get instead.

    Attributes:
        share: Of the recipients, above 0.
        templates: Texts by channel, in place of the cascade's; whatever else a text holds, such as its subject and
            its buttons, differs with it.
        hour: In place of the campaign's.
    """

    name: CampaignName
    share: float = Field(gt=0, le=1)
    templates: dict[Channel, Template] = {}
    hour: Hour | None = None


EVERYBODY = Variant(name="all", share=1)


class CampaignForm(BaseModel, frozen=True, extra="forbid"):
    """A campaign as its author writes it. Durations and times are journey time.

    Attributes:
        segment: Whom it is for. Who is not in it any more when their message is due gets none.
        topic: What it writes about, one of the policy's.
        cascade: Tried in this order until the customer is reached.
        reached: What a message must have come to for the cascade to end.
        within: How long it has to come to that.
        hour: Of each recipient's own day, at which it begins; what is late goes on that day, or at that hour of
            another. None for at once.
        weekdays: Of each recipient's own week; nothing of it goes on another day.
        starts_at: Nobody is written to before; None for at once.
        rate_per_second: Most messages in a wall second.
        exclude_contacted_within: Whoever got a message of any other campaign so shortly before gets none.
        useful_for: From when a message is due until it is not worth sending any more.
        holdout: Share of the recipients who get nothing, for comparison.
        centre: Whose campaign it is, in the content plan.
        goal: Event that counts as success in the report; whoever comes to it gets no message of it after.
        attributed_within: How long after the first message it counts.
    """

    name: CampaignName
    segment: SegmentName
    topic: str = DEFAULT_TOPIC
    cascade: Annotated[tuple[Step, ...], Field(min_length=1, max_length=4)]
    reached: Literal[Status.DELIVERED, Status.READ] = Status.DELIVERED
    within: Duration = timedelta(days=1)
    hour: Hour | None = None
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7)] = (
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
    )
    starts_at: AwareDatetime | None = None
    rate_per_second: float = Field(default=20, ge=0.1, le=1000)
    exclude_contacted_within: Duration | None = None
    useful_for: Duration = timedelta(days=3)
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=10)] = (EVERYBODY,)
    holdout: float = Field(default=0, ge=0, le=0.9)
    centre: CampaignName | None = None
    goal: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    attributed_within: Duration = timedelta(days=7)

    @model_validator(mode="after")
    def _agrees(self) -> "CampaignForm":
        if wrong := list(self._contradictions()):
            raise ValueError("; ".join(wrong))
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.name == "plan":
            yield "name: plan is what the content plan is called; give it another name"
        channels = [step.channel for step in self.cascade]
        names = [variant.name for variant in self.variants]
        for channel in sorted({each for each in channels if channels.count(each) > 1}):
            yield f"cascade: goes to {channel} twice; leave one of them out"
        for name in sorted({each for each in names if names.count(each) > 1}):
            yield f"variants: two are called {name}; give one of them another name"
        total = sum(variant.share for variant in self.variants)
        if abs(total - 1) > ROUNDING:
            yield f"variants: their shares add up to {total:g}; they must add up to 1"
        for variant in self.variants:
            for channel in variant.templates.keys() - set(channels):
                yield f"variants.{variant.name}: has a text for {channel}, which the cascade does not use"

    @property
    def journey(self) -> str:
        """What stands in place of a journey's name where its messages are kept."""
        return f"{PREFIX}{self.name}"

    def variant(self, name: str) -> Variant:
        """Return a variant by its name."""
        return next(each for each in self.variants if each.name == name)

    def drawn(self, customer: int) -> Variant:
        """Return the variant a customer gets: the same whenever it is asked."""
        draw = int.from_bytes(sha256(f"{self.name}/{customer}".encode()).digest()[:8]) / 2**64
        below = 0.0
        for variant in self.variants:
            below += variant.share
            if draw < below:
                return variant
        return self.variants[-1]

    def hour_of(self, customer: int) -> int | None:
        """Return the hour of their day from which on a customer is written to; None for any."""
        own = self.drawn(customer).hour
        return self.hour if own is None else own

    def draft(self, step: int, variant: Variant) -> Draft:
        """Return the message of a step for a variant."""
        way = self.cascade[step]
        return Draft(channel=way.channel, template=variant.templates.get(way.channel, way.template))

    def texts(self) -> Sequence[tuple[str, Channel]]:
        """Return every text it may send, each once."""
        drafts = (self.draft(step, variant) for step in range(len(self.cascade)) for variant in self.variants)
        return list(dict.fromkeys((draft.template, draft.channel) for draft in drafts))


class Planned(BaseModel, frozen=True):
    """How far planning has come.

    Attributes:
        not_before: Wall time at which it begins, if that is still to come.
    """

    status: CampaignStatus
    over: bool
    planned: int
    not_before: AwareDatetime | None = None


class Progress(BaseModel, frozen=True):
    """How far a campaign has come.

    Attributes:
        done: Recipients with whom it is done, by what became of it.
        next_due: When the next recipient's turn comes, wall time; None if nobody waits.
    """

    status: CampaignStatus
    waiting: int
    done: dict[str, int]
    next_due: AwareDatetime | None

    @property
    def planned(self) -> int:
        """All recipients."""
        return self.waiting + sum(self.done.values())


class CampaignRun(BaseModel, frozen=True):
    """What a campaign's run is told: nothing of its customers."""

    campaign: int
    name: str
