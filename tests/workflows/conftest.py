"""With `--record`, the runs of these tests become recordings: what is tested is what is recorded."""

import re
from collections.abc import AsyncIterator

import pytest

from dispatch.reconciler import review_templates
from domain.conversations import CONVERSATION
from domain.messages import Channel
from store import whatsapp
from templates.files import SESSION
from templates.whatsapp import form_of
from tests.histories import fingerprint
from tests.histories.recordings import HISTORIES, Recording, recordings, worth_keeping
from tests.world import World
from workflows.enabled import JOURNEYS
from workflows.upkeep import REVIEW_TEMPLATES

RUNS = pytest.StashKey[list[Recording]]()


@pytest.fixture(autouse=True)
async def recorded(request: pytest.FixtureRequest, world: World) -> AsyncIterator[list[str]]:
    """Record every run the test begins, as far as it has come; of those no customer is in, a test adds the id."""
    runs: list[str] = []
    newest = await world.pool.fetchval("select coalesce(max(id), 0) from enrolments")
    yield runs
    if request.config.getoption("--record"):
        stays = await world.pool.fetch(
            "select workflow_id from enrolments where id > $1 and journey <> $2 order by id", newest, CONVERSATION
        )
        branch = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
        for run in (*runs, *(stay["workflow_id"] for stay in stays)):
            history = await world.temporal.get_workflow_handle(run).fetch_history()
            request.config.stash.setdefault(RUNS, []).append(Recording.of(history, branch))


@pytest.fixture(autouse=True)
async def segments_of_its_own(world: World) -> AsyncIterator[None]:
    """Those a test has put are not there for the customers of another."""
    yield
    await world.pool.execute("delete from segments")


@pytest.fixture(scope="session")
async def approved(world: World) -> None:
    """WhatsApp's reviewers have approved the English texts; of the Russian ones they were never told."""
    deployment = world.settings.deployment()
    for text in world.deliver.texts:
        if text.channel is Channel.WHATSAPP and text.locale == "en" and text.category != SESSION:
            form = form_of(text, company=deployment.company, site=str(deployment.site).rstrip("/"))
            async with world.pool.acquire() as connection:
                await whatsapp.request(
                    connection,
                    template=text.template,
                    locale=text.locale,
                    edition="",
                    version=form.version,
                    category=form.category,
                    form=form.model_dump(mode="json"),
                    by="tests",
                )
    for _ in ("submitted", "approved"):
        await world.pool.execute("update whatsapp_templates set look_after = now()")
        assert await review_templates(world.pool, world.temporal)
        await world.temporal.get_workflow_handle(REVIEW_TEMPLATES).result()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """Keep what shows something new, and the journeys' fingerprints, when all tests have passed."""
    if not config.getoption("--record"):
        return
    if exitstatus:
        terminalreporter.write_line("Nothing is recorded: a run whose test fails is not what was meant.", red=True)
        return
    runs: list[Recording] = config.stash.get(RUNS, [])
    for recording in worth_keeping(runs):
        terminalreporter.write_line(f"recorded {recording.keep().relative_to(HISTORIES)}")
    for journey in JOURNEYS:
        if recordings(journey.__name__) and fingerprint.differs(journey):
            fingerprint.kept(journey).write_text(fingerprint.fingerprint(journey))
            terminalreporter.write_line(f"kept the fingerprint of {journey.__name__}")
