"""The API and the worker with the tests' stories beside the journeys that ship, and one that tells all it knows.

``tests.guarantees.marked:create_app`` is the API, ``python -m tests.guarantees.marked`` the worker.
"""

from datetime import timedelta

from fastapi import FastAPI
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.events import Code, Event
    from tests.workflows.stories import STORIES, PatientOnes, QuietOnes, StoryEnded, WelcomeBack
    from workflows.drafts import banner, inbox, popup, sms, web_push, whatsapp
    from workflows.enabled import JOURNEYS
    from workflows.journey import Journey, journey


SHOWN = tuple(each for each in (*JOURNEYS, *STORIES) if each not in (QuietOnes, PatientOnes, WelcomeBack))
"""Those for segments start only where there are such segments."""


class BlurtBegun(Event, name="blurt_begun"):
    """Starts what tells all it knows."""

    bank: Code | None = None
    amount: float = 0


class Overheard(Event, name="overheard"):
    """What it hears meanwhile."""

    bank: Code | None = None


@journey(starts_on=BlurtBegun, key="application_id", ends_on=StoryEnded, listens_to=Overheard)
class Blurt(Journey):
    """Asks and sends, and then has a bug that quotes everything the run has ever been told."""

    async def steps(self) -> None:
        await self.send(inbox("abandoned_application/almost_empty"))
        reply = await self.ask(sms("abandoned_application/almost_empty"), within=timedelta(days=300))
        raise ValueError(f"{reply!r} {vars(self)!r}")


class SiteVisited(Event, name="site_visited"):
    """Starts what has a browser and a site to show things in."""

    text: Code


@journey(starts_on=SiteVisited, key="application_id", ends_on=StoryEnded)
class OnTheSite(Journey):
    """Sends a text somebody has published by whatever came after the first five channels."""

    async def steps(self) -> None:
        visited = self.latest(SiteVisited)
        assert visited is not None
        text = f"campaigns/{visited.text}"
        for draft in (web_push(text), popup(text), banner(text), whatsapp(text)):
            await self.send(draft)
        await self.wait(timedelta(days=3000))


def create_app() -> FastAPI:
    """Build the API."""
    import api.app

    return api.app.create_app((*SHOWN, Blurt, OnTheSite))


if __name__ == "__main__":
    import worker
    from tests.guarantees import marked

    worker.main((*SHOWN, marked.Blurt, marked.OnTheSite))
