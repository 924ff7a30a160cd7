"""A visit is booked: introduce the dealership until then, and remind of the visit in time."""

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from domain.messages import Draft, Status
    from workflows.car_dealer.events import Booking, VisitCancelled, VisitMade
    from workflows.car_dealer.reaching import Cascading, Reaching, letter_first
    from workflows.drafts import call, sms, whatsapp
    from workflows.journey import journey


class Pauses(Cascading):
    """Durations of journey time."""

    rising = ("last_reminder", "first_reminder")

    halfway_from: timedelta = Field(default=timedelta(days=3), gt=timedelta(0))
    first_reminder: timedelta = Field(default=timedelta(hours=24), gt=timedelta(0))
    last_reminder: timedelta = Field(default=timedelta(hours=3), gt=timedelta(0))
    reminded_by_sms_after: timedelta = Field(default=timedelta(minutes=30), gt=timedelta(0))
    call_without_time_after: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))
    time_expected_within: timedelta = Field(default=timedelta(days=7), gt=timedelta(0))
    forgotten_after: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))


# The newest booking of the visit, by which the run goes too, as the customer's clock shows it; nothing if it names no
# time. What is no time was set aside when it came.
VISIT = """
select to_char(moment at time zone coalesce(zone, 'UTC'), 'DD.MM') as day,
       to_char(moment at time zone coalesce(zone, 'UTC'), 'HH24:MI') as hour, centre
from (
    select (v.properties ->> 'at')::timestamptz as moment, c.time_zone as zone, v.properties ->> 'centre' as centre
    from enrolments e join customers c on c.id = e.customer_id
    join events v on v.customer_id = e.customer_id and v.name = 'visit_booked' and v.properties ->> 'visit_id' = e.key
    where e.id = $1 and v.parked_at is null
      and coalesce(pg_input_is_valid(v.properties ->> 'at', 'timestamptz'), true)
    order by least(v."timestamp", v.received_at) desc, v.id desc limit 1
) visit
where moment is not null
"""


@journey(
    starts_on=Booking,
    key="visit_id",
    ends_on=VisitMade,
    exits_on=VisitCancelled,
    restarts_on=Booking,
    facts={"visit": VISIT},
)
class VisitBooked(Reaching[Pauses]):
    """Introduces the dealership until the visit, and reminds of it; a new time moves everything."""

    introduced: frozenset[str] = frozenset()

    async def steps(self) -> None:
        pauses = self.parameters
        visit = self.visit
        if visit is None:
            await self.introduce(*letter_first("visit_booked/welcome"))
            await self.until_quiet(pauses.call_without_time_after)
            await self.send(call("visit_booked/no_time"))
            await self.wait(pauses.time_expected_within)
        elif visit <= self.now:
            # Booked for, or moved into, the past: there is nothing to invite to or to remind of.
            await self.wait(pauses.forgotten_after)
        else:
            halfway = self.now + (visit - self.now) / 2
            far = visit - self.now >= pauses.halfway_from
            await self.introduce(*letter_first("visit_booked/welcome"))
            if far:
                await self.wait_until(halfway)
                await self.introduce(*letter_first("visit_booked/halfway"))
            await self.remind(
                pauses.first_reminder,
                whatsapp("visit_booked/tomorrow", transactional=True, again=True),
                sms("visit_booked/tomorrow", transactional=True, again=True),
            )
            await self.remind(
                pauses.last_reminder,
                whatsapp("visit_booked/soon", transactional=True, again=True),
                sms("visit_booked/soon", transactional=True, again=True),
            )
            await self.wait_until(visit + pauses.forgotten_after)

    @property
    def visit(self) -> datetime | None:
        """When it is, as it was agreed last."""
        booking = self.latest(Booking)
        return booking.at if booking else None

    @property
    def time_for_every_channel(self) -> bool:
        """Whether a cascade by all of them would be over before the first reminder."""
        pauses, visit = self.parameters, self.visit
        over_after = len(letter_first.channels) * pauses.next_channel_after
        return visit is None or visit - pauses.first_reminder - self.now > over_after

    async def introduce(self, *drafts: Draft) -> None:
        """Write by the cascade, once: a new time says nothing again that has left, nor by another channel.

        Where a reminder comes before the cascade would be over, it is enough to be delivered.
        """
        if workflow.patched("what-has-left"):
            done = self.left_at(*drafts) is not None
        else:
            done = drafts[0].template in self.introduced
        if done:
            return
        self.introduced |= {drafts[0].template}
        if self.time_for_every_channel:
            await self.reach(*drafts)
        else:
            await self.cascade(*drafts, until=Status.DELIVERED, within=self.parameters.reminded_by_sms_after)

    async def remind(self, before: timedelta, *drafts: Draft) -> None:
        """Remind so long before the visit; of one that was agreed later than that, not any more."""
        if self.visit and self.visit - before > self.now:
            await self.wait_until(self.visit - before)
            await self.cascade(*drafts, until=Status.DELIVERED, within=self.parameters.reminded_by_sms_after)
