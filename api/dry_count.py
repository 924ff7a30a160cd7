"""What a campaign would do if it were started now: counted as its planning would find it, and nothing is kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from api.context import Context
from api.problems import Problem
from api.segments import MOST_OF_ALL
from domain.campaigns import CampaignForm
from domain.clock import Clock
from policy.contact import held_out_by
from policy.hours import zones_of
from policy.turns import first_due, open_between
from segments.condition import BasisMissing
from store import campaigns, installation, membership, segments
from store.database import Connection
from store.membership import BROKEN

COUNTED = 20_000
"""Customers a dry count goes through; if there are more, members of the segment are, drawn by lot."""

COUNTED_AT_ONCE = 2_000


class ChannelReach(BaseModel):
    """What stands between those it is for and a channel."""

    channel: str
    unreachable: int = Field(description="They have no address for it.")
    suppressed: int = Field(description="Their address bounced, complained or said STOP.")
    forbidden: int = Field(description="They did not agree to it, or forbade it.")


class DryCount(BaseModel):
    """What a campaign would do if it were started now; nothing is kept."""

    members: int
    share: float = Field(description="Of all customers.")
    exact: bool = Field(description=f"False: told from {COUNTED:,} members of the segment, drawn by lot.")
    excluded: int = Field(description="Left out because another campaign wrote to them lately.")
    held_out: int = Field(description="They get nothing, for comparison.")
    beyond_reach: int = Field(
        description="Of the others: none of the campaign's channels may be used, or reaches them."
    )
    recipients: int = Field(description="Who is left: they get a message, unless something happens before it is due.")
    channels: list[ChannelReach]
    variants: dict[str, int] = Field(description="Recipients of each.")
    first_due: datetime | None = Field(description="When the first turn comes, wall time.")
    last_due: datetime | None
    seconds: float = Field(description="How long it takes at its rate, if all are due at once.")


def refuse_odd_audience(form: CampaignForm, found: DryCount, clock: Clock, zone: ZoneInfo, *, confirm: bool) -> None:
    """Refuse to start a campaign for nobody, one too slow to be useful, and unconfirmed one for most customers.

    Args:
        zone: By whose days and hours it is told how much it can send.

    Raises:
        Problem: With what to change.
    """
    if found.recipients <= 0:
        raise Problem(409, "no_audience", f"{form.name} has no audience: {_why_nobody(form, found)}")
    if found.share > MOST_OF_ALL and not confirm:
        raise Problem(
            409,
            "most_customers",
            f"{form.name} is for {found.members:,} customers, {found.share:.0%} of all; choose a narrower segment than "
            f"{form.segment}, or confirm that this is meant",
        )
    assert found.first_due is not None
    assert found.last_due is not None
    ends = clock.journey_time(found.last_due) + form.useful_for
    lasts = clock.wall_duration(open_between(form, zone, clock.journey_time(found.first_due), ends))
    if timedelta(seconds=found.seconds) > lasts:
        raise Problem(
            409,
            "too_slow",
            f"{form.name} takes {found.seconds / 3600:,.1f} hours for {found.recipients:,} recipients at "
            f"{form.rate_per_second:g} a second, and its last messages would not be worth sending any more by the time "
            "one of its days has room for them; raise rate_per_second or useful_for",
        )


def _why_nobody(form: CampaignForm, found: DryCount) -> str:
    if not found.members:
        return f"nobody is in it ({form.segment}); change its segment"
    if found.excluded + found.held_out == found.members:
        return f"all who are in it were written to lately or are held out ({form.segment}); change its segment"
    ways = " or ".join(step.channel for step in form.cascade)
    return f"none of its {found.members:,} customers may be written to by {ways} ({form.segment}); change its cascade"


@dataclass
class _Count:
    """What has been counted so far."""

    members: int = 0
    excluded: int = 0
    held_out: int = 0
    beyond_reach: int = 0
    channels: dict[str, Counter[str]] = field(default_factory=dict)
    variants: Counter[str] = field(default_factory=Counter)
    first_due: datetime | None = None
    last_due: datetime | None = None


async def counted(ctx: Context, connection: Connection, form: CampaignForm) -> DryCount:
    """Go through the customers as planning would.

    Raises:
        Problem: The segment cannot be judged by yet.
    """
    now = datetime.now(UTC)
    clock = await installation.clock(connection)
    begins = max(now, clock.wall_time(form.starts_at)) if form.starts_at else now
    definitions = await segments.load(connection)
    definition = definitions.by_name.get(form.segment)
    if definition is None:
        raise Problem(409, "no_audience", f"there is no segment {form.segment} any more")
    of: int = await connection.fetchval(f"select count(*) from customers c where {membership.ALIVE}")
    count = _Count(channels={step.channel: Counter() for step in form.cascade})
    if of <= COUNTED:
        looked_at = await membership.page(connection, 0, COUNTED)
        scale = 1.0
    elif definition.scanned is None:
        raise _not_yet(form.segment)
    else:
        looked_at, there_are = await membership.members(connection, definition.id, COUNTED)
        scale = there_are / len(looked_at) if looked_at else 1.0
    for place in range(0, len(looked_at), COUNTED_AT_ONCE):
        ids = looked_at[place : place + COUNTED_AT_ONCE]
        try:
            within = await membership.inside(connection, definition.form, definitions, ids, now)
        except BasisMissing:
            raise _not_yet(form.segment) from None
        except TimeoutError:
            raise Problem(409, "too_slow", f"{form.segment} takes too long to count; make it simpler") from None
        except BROKEN as error:
            rule = f"what of {form.segment} is SQL in the code fails: {type(error).__name__}; a release has to mend it"
            raise Problem(409, "broken", rule) from None
        await _count(ctx, connection, form, count, within, begins)

    def all_of(part: int) -> int:
        return round(part * scale)

    recipients = all_of(count.variants.total())
    return DryCount(
        members=all_of(count.members),
        share=round(count.members * scale / of, 4) if of else 0,
        exact=scale == 1,
        excluded=all_of(count.excluded),
        held_out=all_of(count.held_out),
        beyond_reach=all_of(count.beyond_reach),
        recipients=recipients,
        channels=[
            ChannelReach(channel=name, **{rule: all_of(found[rule]) for rule in campaigns.HINDRANCES})
            for name, found in count.channels.items()
        ],
        variants={each.name: all_of(count.variants[each.name]) for each in form.variants},
        first_due=count.first_due,
        last_due=count.last_due,
        seconds=round(recipients / form.rate_per_second, 1),
    )


def _not_yet(segment: str) -> Problem:
    return Problem(409, "not_yet", f"{segment} has not been scanned yet: it is within a minute, so ask again then")


async def _count(
    ctx: Context, connection: Connection, form: CampaignForm, count: _Count, within: Sequence[int], begins: datetime
) -> None:
    found = await campaigns.candidates(connection, form, within, begins)
    chosen = [each for each in found if not each.lately]
    count.members += len(found)
    count.excluded += len(found) - len(chosen)
    told = [each for each in chosen if held_out_by(ctx.policy, form.journey, each.customer, form.holdout) is None]
    count.held_out += len(chosen) - len(told)
    required = [channel for channel, rule in ctx.policy.consent.items() if rule == "required"]
    ways = await campaigns.ways(
        connection, [each.customer for each in told], list(count.channels), form.topic, required
    )
    reached = {way.customer for way in ways if way.hindrance is None}
    count.beyond_reach += len(told) - len(reached)
    for way in ways:
        if way.hindrance:
            count.channels[way.channel][way.hindrance] += 1
    for each in told:
        if each.customer not in reached:
            continue
        zones = zones_of(each.time_zone, each.phone, ctx.deployment.default_time_zone)
        due = each.clock.wall_time(first_due(form, each.customer, zones, each.clock.journey_time(begins)))
        count.variants[form.drawn(each.customer).name] += 1
        count.first_due, count.last_due = min(count.first_due or due, due), max(count.last_due or due, due)
