"""Journeys of the tests' own: each is made to go wrong in one way."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.events import Event
    from domain.messages import Status
    from workflows.drafts import email, sms
    from workflows.journey import Journey, journey

TEXT = "abandoned_application/almost_empty"


class StoryBegun(Event, name="story_begun"):
    """Starts the stubborn story."""


class StoryEnded(Event, name="story_ended"):
    """Its goal."""


@journey(starts_on=StoryBegun, ends_on=StoryEnded)
class Stubborn(Journey):
    """Goes on whatever happens: an author's `except Exception` around everything."""

    async def steps(self) -> None:
        while True:
            try:
                await self.cascade(
                    email(TEXT, again=True), sms(TEXT, again=True), until=Status.CLICKED, within=timedelta(days=1)
                )
            except Exception:
                continue


STORIES = (Stubborn,)
