"""The contact policy of a deployment: what its file may say under `[policy]`, checked at start."""

import json
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, field_validator

from domain.messages import DEFAULT_TOPIC, Channel

LEGAL_HOURS = {Channel.SMS: (8, 21), Channel.CALL: (8, 21)}
"""Hours of the called party's day outside of which nobody is solicited by phone (47 CFR 64.1200(c)(1))."""

LONGEST = timedelta(days=3660)
"""What no window, block or dialogue exceeds; added to any time there is, it is still a time."""


def _in_order(hours: tuple[int, int]) -> tuple[int, int]:
    if hours[0] >= hours[1]:
        raise ValueError("must be [from, to] within one day, from before to, such as [8, 21]")
    return hours


def _lasting(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("must be longer than nothing, such as P7D")
    if duration > LONGEST:
        raise ValueError("must not be longer than ten years")
    return duration


Hour = Annotated[int, Field(ge=0, le=24)]
Hours = Annotated[tuple[Hour, Hour], AfterValidator(_in_order)]
Duration = Annotated[timedelta, AfterValidator(_lasting)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Weekday(StrEnum):
    """A day of the customer's week, Monday first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class Topic(BaseModel, frozen=True, extra="forbid"):
    """What marketing messages are about, as customers choose it on their preference page.

    Attributes:
        title: Name of the topic by language, such as ``{en = "Offers", ru = "Предложения"}``.
    """

    title: dict[str, str] = Field(min_length=1)


class Cap(BaseModel, frozen=True, extra="forbid"):
    """The most marketing messages one customer gets, all journeys and campaigns together.

    Attributes:
        channel: The channel it counts; if None all together, except the inbox, pop-ups and banners, which wait on the
            client's own site: how often those are shown is `showing`.
        at_most: Messages in any stretch of time as long as `within`.
        within: Length of the sliding window, journey time.
        exceeded: What becomes of a message over it: it waits for a slot, or is dropped.
        counts_transactional: Whether transactional messages, which always go, take up slots too.
    """

    channel: Channel | None = None
    at_most: int = Field(ge=1)
    within: Duration
    exceeded: Literal["wait", "drop"] = "wait"
    counts_transactional: bool = False

    @property
    def name(self) -> str:
        """The cap in words, for reasons: ``sms 3 in 7 days``."""
        return f"{self.channel or 'all'} {self.at_most} in {spoken(self.within)}"


class Showing(BaseModel, frozen=True, extra="forbid"):
    """How often what waits on the client's site or app is shown to one customer.

    Attributes:
        at_most: Showings of all messages of the placement together in any stretch as long as `within`; None: any.
        within: Length of the sliding window, journey time.
        each_at_most: Showings of one message in all; None: until it is clicked, dismissed, or over.
    """

    at_most: Annotated[int, Field(ge=1)] | None = None
    within: Duration = timedelta(days=1)
    each_at_most: Annotated[int, Field(ge=1)] | None = None


Placement = Literal[Channel.POPUP, Channel.BANNER]

SHOWING: dict[Placement, Showing] = {Channel.POPUP: Showing(at_most=2, each_at_most=3), Channel.BANNER: Showing()}
"""A pop-up interrupts: two a day, and none more than three times. A banner stands there."""


class BlockRule(BaseModel, frozen=True, extra="forbid"):
    """An event after which a customer hears nothing for a while.

    Attributes:
        on: Name of the event.
        lasts: Journey time from when it happened.
    """

    on: str = Field(min_length=1, max_length=255)
    lasts: Duration


class Policy(BaseModel, frozen=True, extra="forbid"):
    """Every rule about whom we may write to, and when.

    Attributes:
        quiet_hours: Channel to ``[from, to]``, hours of the customer's day in which it may be used. A channel
            that is not named has `LEGAL_HOURS`, or may be used always; ``[0, 24]`` is always.
        weekdays: Channel to the days of the customer's week on which it may be used; all, if it is not named.
        caps: See `Cap`.
        showing: See `Showing`; a placement that is not named has the one of `SHOWING`.
        topics: What customers may choose to hear of, by name.
        consent: Channels for which marketing needs the customer's consent, given before ("required"); for
            the others it is enough that they have not forbidden it ("assumed").
        holdout: Share of all customers who get no marketing at all, for comparison.
        holdouts: Journey to the share of customers who get no marketing from it, for comparison.
        holdout_salt: Who is held out follows from it; another one draws them anew.
        blocks: Silences by name, see `BlockRule`.
        dialogue_ends_after: Journey time after which an open dialogue that nobody closed counts as closed.
    """

    quiet_hours: dict[Channel, Hours] = LEGAL_HOURS
    weekdays: dict[Channel, tuple[Weekday, ...]] = {}
    caps: tuple[Cap, ...] = ()
    showing: dict[Placement, Showing] = SHOWING
    topics: dict[Name, Topic] = {
        DEFAULT_TOPIC: Topic(title={"en": "Offers and reminders", "ru": "Предложения и напоминания"})
    }
    consent: dict[Channel, Literal["assumed", "required"]] = {}
    holdout: Share = 0
    holdouts: dict[str, Share] = {}
    holdout_salt: str = "1"
    blocks: dict[Name, BlockRule] = {}
    dialogue_ends_after: Duration = timedelta(days=1)

    @field_validator("quiet_hours")
    @classmethod
    def _and_the_legal_ones(cls, given: dict[Channel, Hours]) -> dict[Channel, Hours]:
        return {**LEGAL_HOURS, **given}

    @field_validator("showing")
    @classmethod
    def _and_the_usual_ones(cls, given: dict[Placement, Showing]) -> dict[Placement, Showing]:
        return {**SHOWING, **given}

    @field_validator("weekdays")
    @classmethod
    def _some_day(cls, given: dict[Channel, tuple[Weekday, ...]]) -> dict[Channel, tuple[Weekday, ...]]:
        if any(not days for days in given.values()):
            raise ValueError("a channel must have at least one day")
        return {channel: tuple(day for day in Weekday if day in days) for channel, days in given.items()}

    @property
    def longest_window(self) -> timedelta | None:
        """How far back caps look, journey time; None if there are none."""
        return max((cap.within for cap in self.caps), default=None)

    @property
    def version(self) -> str:
        """A name for exactly these rules: the same rules have the same, anywhere."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return sha256(canonical.encode()).hexdigest()[:12]


def spoken(duration: timedelta) -> str:
    """Say a duration in words: ``7 days``, ``36 hours``, ``10 minutes``."""
    seconds = int(duration.total_seconds())
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{duration.total_seconds():g} seconds"
