"""Journeys that use everything a journey can, and live their whole lives in a minute of a fast installation."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.events import Event
    from domain.messages import Status
    from workflows.drafts import call, email, inbox, push, sms
    from workflows.journey import Journey, journey

HOUR = timedelta(hours=1)

FIRST = "abandoned_application/almost_empty"
SECOND = "abandoned_application/partly_filled"
THIRD = "abandoned_application/almost_full"


class OrderPlaced(Event, name="order_placed"):
    """The customer ordered, and wants to hear how it goes."""


class OrderChanged(Event, name="order_changed"):
    """The customer changed the order."""


class OrderCollected(Event, name="order_collected"):
    """The customer has what they ordered."""


class OfferMade(Event, name="offer_made"):
    """There is something to offer, by one channel after the other."""


class OfferTaken(Event, name="offer_taken"):
    """The customer took it."""


class OfferLookedAt(Event, name="offer_looked_at"):
    """The customer came to look."""


class OpinionWanted(Event, name="opinion_wanted"):
    """There is something to ask."""


class OpinionGiven(Event, name="opinion_given"):
    """The customer said what they think, elsewhere."""


class SeriesBegun(Event, name="series_begun"):
    """The customer wants the series."""


class SeriesEnded(Event, name="series_ended"):
    """The customer has read enough."""


class SilenceWanted(Event, name="silence_wanted"):
    """The customer wants to hear nothing for a while: a rule of the policy, no journey's event."""


@journey(starts_on=OrderPlaced, key="application_id", ends_on=OrderCollected, restarts_on=OrderChanged, priority=1)
class Order(Journey):
    """Tells a customer, transactionally, how their order goes."""

    async def steps(self) -> None:
        await self.send(sms(FIRST, transactional=True), email(FIRST, transactional=True), inbox(FIRST))
        await self.wait(4 * HOUR)
        await self.send(push(SECOND, transactional=True))
        await self.wait(6 * HOUR)
        await self.send(email(THIRD, transactional=True), sms(THIRD, transactional=True))
        await self.wait(6 * HOUR)
        await self.send(call(THIRD, transactional=True))
        await self.wait(8 * HOUR)


@journey(starts_on=OfferMade, key="application_id", ends_on=OfferTaken, listens_to=OfferLookedAt)
class Offer(Journey):
    """Goes from channel to channel until the customer has read it."""

    async def steps(self) -> None:
        await self.cascade(push(SECOND), email(SECOND), sms(SECOND), call(FIRST), until=Status.READ, within=5 * HOUR)
        if await self.wait_for(OfferLookedAt, within=6 * HOUR):
            await self.send(email(THIRD), inbox(THIRD))


@journey(starts_on=OpinionWanted, key="application_id", ends_on=OpinionGiven)
class Opinion(Journey):
    """Asks, and writes by what was answered."""

    async def steps(self) -> None:
        answer = await self.ask(sms(FIRST), within=10 * HOUR)
        if answer is None:
            await self.send(push(SECOND), inbox(SECOND))
            await self.wait(5 * HOUR)
        await self.send(email(THIRD))
        await self.wait(5 * HOUR)


@journey(starts_on=SeriesBegun, key="application_id", ends_on=SeriesEnded, priority=4)
class Series(Journey):
    """Sends the same letter and push again and again, in step; a push that cannot leave soon is worth nothing."""

    async def steps(self) -> None:
        for _ in range(6):
            await self.send(email(FIRST, again=True), push(SECOND, again=True, useful_for=3 * HOUR))
            await self.wait(4 * HOUR)


JOURNEYS = (Order, Offer, Opinion, Series)
