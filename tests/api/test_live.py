"""Messages told live to a customer's page: what comes, what was missed, and when a stream ends."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from api import live, streams
from cli.stack import EmbeddedStack
from cli.stack.ports import free_port
from domain.messages import Channel
from domain.passes import Pass, Passes
from tests.api.scene import INBOX, OPERATOR, Person, Scene

SOON = 20
"""Wall seconds within which what is to come has come."""


@dataclass
class Told:
    """One event of a stream."""

    name: str
    id: str | None
    data: Any


@dataclass
class Page:
    """A page that listens, as an `EventSource` reads it."""

    lines: AsyncIterator[str]
    last_id: str | None = None
    beats: int = 0
    _kept: dict[str, str] = field(default_factory=dict)

    async def hears(self, name: str) -> Told:
        """The next event of a name; others are passed over."""
        while (told := await asyncio.wait_for(self._next(), SOON)).name != name:
            pass
        return told

    async def ends(self) -> None:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await asyncio.wait_for(self._next(), SOON)

    async def beats_on(self, times: int) -> None:
        while self.beats < times:
            self._take(await asyncio.wait_for(anext(self.lines), SOON))

    async def _next(self) -> Told:
        while True:
            if found := self._take(await anext(self.lines)):
                return found

    def _take(self, line: str) -> Told | None:
        if line.startswith(":"):
            self.beats += 1
        elif line:
            name, _, value = line.partition(": ")
            self._kept[name] = value
        elif "event" in self._kept:
            kept, self._kept = self._kept, {}
            self.last_id = kept.get("id", self.last_id)
            return Told(kept["event"], kept.get("id"), json.loads(kept["data"]))
        return None


@dataclass
class Site:
    """The API on a real socket: streams do not end by themselves."""

    url: str
    http: httpx.AsyncClient

    @contextlib.asynccontextmanager
    async def page(
        self, person: Person, *, last_id: str | None = None, surface: str = "web", given: str | None = None
    ) -> AsyncIterator[Page]:
        headers = {"Authorization": f"Bearer {INBOX}"} if given is None else {}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        query = {"surface": surface, **({"pass": given} if given else {})}
        path = f"{self.url}/v1/customers/{person.user_id}/inbox/live"
        async with self.http.stream("GET", path, params=query, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            page = Page(answer.aiter_lines())
            await page.hears("ready")
            yield page


@pytest.fixture
async def site(app: FastAPI) -> AsyncIterator[Site]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="error", http="h11"))
    serving = asyncio.create_task(server._serve())
    async with httpx.AsyncClient(timeout=SOON, transport=httpx.AsyncHTTPTransport(retries=8)) as client:
        yield Site(f"http://127.0.0.1:{port}", client)
    server.should_exit = True
    await asyncio.wait_for(serving, SOON)


async def test_a_new_message_is_told_at_once_and_nobody_elses(site: Site, scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    await scene.sent(person, Channel.INBOX)
    async with site.page(person) as page:
        await scene.sent(other, Channel.INBOX)
        message = await scene.sent(person, Channel.INBOX)
        told = await page.hears("message")
        assert (told.data["id"], told.data["placement"], told.data["title"]) == (str(message), "inbox", "Finish")
        assert told.id == str((await scene.row(message))["sequence"])


async def test_a_page_that_was_cut_off_is_told_what_it_missed(site: Site, scene: Scene) -> None:
    person = await scene.person()
    async with site.page(person) as page:
        await scene.sent(person, Channel.INBOX)
        await page.hears("message")
    missed = [await scene.sent(person, Channel.INBOX) for _ in range(3)]
    async with site.page(person, last_id=page.last_id) as page:
        assert [(await page.hears("message")).data["id"] for _ in missed] == [str(each) for each in missed]
    async with site.page(person, last_id=page.last_id) as page:
        newest = await scene.sent(person, Channel.INBOX)
        assert (await page.hears("message")).data["id"] == str(newest)


async def test_a_popup_comes_and_goes_live(site: Site, scene: Scene) -> None:
    person = await scene.person()
    async with site.page(person) as page, site.page(person, surface="app") as app:
        for each in (page, app):
            assert (await each.hears("placements")).data == {"popup": None, "may_stay": [], "banners": []}
        content = {"channel": "popup", "title": "For the web", "body": "…", "surface": "web"}
        popup = await scene.sent(person, Channel.POPUP, content=content)
        assert (await page.hears("placements")).data["popup"]["id"] == str(popup)
        await scene.does(person.user_id, popup, "dismissed")
        assert (await page.hears("placements")).data["popup"] is None
        banner = await scene.sent(person, Channel.BANNER)
        assert [each["id"] for each in (await page.hears("placements")).data["banners"]] == [str(banner)]
        await scene.context.pool.execute("update enrolments set outcome = 'goal' where id = $1", person.enrolment)
        assert (await page.hears("placements")).data["banners"] == []
        assert [each["id"] for each in (await app.hears("placements")).data["banners"]] == [str(banner)]


async def test_a_popup_goes_at_once_when_it_is_forbidden_or_somebody_talks(site: Site, scene: Scene) -> None:
    person = await scene.person()
    path = f"/v1/customers/{person.user_id}"
    popup = str(await scene.sent(person, Channel.POPUP))
    wish = {"channel": "popup", "topic": "*", "source": "form"}
    async with site.page(person) as page:

        async def shows() -> str | None:
            placed = (await page.hears("placements")).data["popup"]
            return placed["id"] if placed else None

        assert await shows() == popup
        await scene.as_operator("PUT", f"{path}/dialogue")
        assert await shows() is None
        await scene.as_operator("DELETE", f"{path}/dialogue")
        assert await shows() == popup
        block = (await scene.as_operator("POST", f"{path}/blocks", {"name": "refused", "lasts": "P7D"})).json()
        assert await shows() is None
        await scene.as_operator("DELETE", f"{path}/blocks/{block['id']}")
        assert await shows() == popup
        await scene.as_operator("POST", f"{path}/consents", {**wish, "given": False})
        assert await shows() is None


async def test_a_pass_in_the_address_opens_the_stream_until_it_is_over(site: Site, scene: Scene) -> None:
    person = await scene.person()
    passes = Passes(scene.context.settings.secret.get_secret_value().encode())
    until = datetime.now(UTC) + timedelta(seconds=2)
    async with site.page(person, given=passes.write(Pass(person.customer, until, "site"))) as page:
        await page.hears("over")
        await page.ends()
    assert datetime.now(UTC) >= until.replace(microsecond=0)


async def test_a_quiet_stream_gives_signs_of_life(site: Site, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", 0.02)
    person = await scene.person()
    async with site.page(person) as page:
        await page.beats_on(3)


async def test_what_is_over_goes_without_anybody_telling(
    site: Site, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK_EVERY", 0.05)
    person = await scene.person()
    await scene.sent(person, Channel.BANNER, expires_at=datetime.now(UTC) + timedelta(seconds=1))
    async with site.page(person) as page:
        assert len((await page.hears("placements")).data["banners"]) == 1
        assert (await page.hears("placements")).data["banners"] == []


async def test_no_more_streams_than_there_may_be(site: Site, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    person, other, third = [await scene.person() for _ in range(3)]
    monkeypatch.setattr(live, "MOST_FOR_A_CUSTOMER", 1)
    monkeypatch.setattr(live, "MOST_FOR_A_KEY", 2)
    headers = {"Authorization": f"Bearer {INBOX}"}

    async def refused(who: Person) -> None:
        path = f"{site.url}/v1/customers/{who.user_id}/inbox/live?surface=web"
        answer = await site.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
        assert answer.headers["Retry-After"] == "5"

    async with site.page(person) as page:
        await page.hears("placements")
        await refused(person)
        async with site.page(other) as another:
            await another.hears("placements")
            await refused(third)


async def test_the_stream_of_an_erased_customer_ends(site: Site, scene: Scene) -> None:
    person = await scene.person()
    await scene.sent(person, Channel.INBOX)
    async with site.page(person) as page:
        assert (await scene.as_operator("DELETE", f"/v1/customers/{person.user_id}")).status_code == 204
        await page.ends()


async def test_wrong_requests_for_a_stream_get_a_clear_answer(scene: Scene) -> None:
    person = await scene.person()
    path = f"/v1/customers/{person.user_id}/inbox/live"
    assert (await scene.http.get(f"{path}?surface=web")).status_code == 401
    assert (await scene.http.get(f"{path}?surface=web&pass=pass_x")).status_code == 401
    assert (await scene.get(path, INBOX)).json()["errors"][0]["field"] == "surface"
    assert (await scene.get("/v1/customers/nobody/inbox/live?surface=web", INBOX)).status_code == 404
    headers = {"Authorization": f"Bearer {INBOX}", "Last-Event-ID": "seven"}
    assert (await scene.http.get(f"{path}?surface=web", headers=headers)).status_code == 422


async def test_a_process_that_is_stopped_ends_its_streams_before_it_ends(stack: EmbeddedStack) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    given = [{"name": "site-of-streams", "scopes": ["operate", "inbox", "ingest"], "token": OPERATOR * 2}]
    environment = {**os.environ, **stack.environment, "JOURNEYS_KEYS": json.dumps(given)}
    for arguments in (("-m", "store.migrate"), ("-m", "store.keys", "ensure")):
        done = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
        assert await done.wait() == 0
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "uvicorn", "api.app:create_app", "--factory", "--port", str(port), "--log-level", "warning"),
        *("--http", "h11", "--timeout-graceful-shutdown", "60"),
        env=environment,
    )
    try:
        async with httpx.AsyncClient(timeout=SOON, transport=httpx.AsyncHTTPTransport(retries=10)) as client:
            call = {"messageId": "live-1", "userId": "live-1", "event": "car_viewed"}
            (await client.post(f"{url}/v1/track", json=call, auth=(OPERATOR * 2, ""))).raise_for_status()
            path = f"{url}/v1/customers/live-1/inbox/live?surface=web"
            headers = {"Authorization": f"Bearer {OPERATOR * 2}"}
            async with client.stream("GET", path, headers=headers) as answer:
                page = Page(answer.aiter_lines())
                await page.hears("placements")
                server.send_signal(signal.SIGTERM)
                await page.ends()
        assert await asyncio.wait_for(server.wait(), SOON) in (0, -signal.SIGTERM)
    finally:
        if server.returncode is None:
            server.kill()
