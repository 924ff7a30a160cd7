"""The pages of the journeys: who may see them, what is on them, in a real browser."""

import asyncio
import base64
import re
import socket
from collections.abc import AsyncIterator
from hashlib import sha256

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.api.scene import INBOX, OPERATOR, READER, WRITER, Scene
from tests.browser import ARGUMENTS, chromium

PAGES = ["/journeys", "/journeys/AbandonedApplication"]


async def seen(scene: Scene, path: str, key: str = READER) -> httpx.Response:
    """What somebody sees whose browser has asked for a key."""
    return await scene.http.get(path, auth=("whoever", key))


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_shown_to_whoever_has_a_key_that_may_read(scene: Scene, path: str) -> None:
    for answer in (await seen(scene, path), await seen(scene, path, OPERATOR), await scene.get(path)):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [*PAGES, "/journeys/Nobody"])
async def test_nobody_else_sees_it_and_a_browser_asks_for_the_key(scene: Scene, path: str) -> None:
    for answer in (await scene.http.get(path), await seen(scene, path, "guessed"), await seen(scene, path, "")):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    for key in (WRITER, INBOX):
        refused = await seen(scene, path, key)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_all_journeys_are_listed_with_their_pictures(scene: Scene) -> None:
    page = (await seen(scene, "/journeys")).text
    for name in scene.context.catalog.journeys:
        assert f'<a href="journeys/{name}">{name}</a>' in page
    assert page.count("<svg") == len(scene.context.catalog.journeys)


async def test_a_journey_is_shown_with_its_story_its_parameters_and_its_texts(scene: Scene) -> None:
    await scene.person()
    page = (await seen(scene, "/journeys/AbandonedApplication")).text
    for part in (
        "Brings a customer back to the credit application they began and left.",
        "30 minutes of quiet",
        "<code>considered_gone_after</code></td><td>30 minutes</td><td>30 minutes</td>",
        "Your application is saved: pick up where you left off",
        "Заявка сохранена: продолжите с того же места",
        "<code>credit_application_submitted</code>",
        "1 segment, 0.0083 USD",
        "2 segments, 0.0166 USD",
    ):
        assert part in page
    # One picture for wide screens, one for narrow ones.
    assert page.count("<svg") == 2
    running = re.search(r"<b>([\d,]+)</b> in it now", page)
    assert running
    assert int(running[1].replace(",", "")) > 0


async def test_a_text_published_meanwhile_is_the_one_that_is_shown(scene: Scene) -> None:
    path = "/v1/texts/refused_by_bank/another_bank/push/en"
    source = "---\ntitle: Published <b>today</b>\nlink: {{ site }}/credit\n---\nAnother bank may say yes."
    drafted = await scene.as_operator("POST", f"{path}/versions", {"source": source})
    number = drafted.json()["number"]
    assert (await scene.as_operator("POST", f"{path}/versions/{number}/publish")).status_code == 200
    try:
        page = (await seen(scene, "/journeys/RefusedByBank")).text
        assert "Published &lt;b&gt;today&lt;/b&gt;" in page
        assert "<b>today" not in page
    finally:
        await scene.as_operator("POST", f"{path}/rollback")


async def test_a_name_that_is_none_is_answered_with_those_there_are(scene: Scene) -> None:
    answer = await seen(scene, "/journeys/%3Cscript%3E")
    assert answer.status_code == 404
    assert '<a href="../journeys/AbandonedApplication">' in answer.text
    assert "<script" not in answer.text


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_runs_nothing_and_loads_nothing(scene: Scene, path: str) -> None:
    answer = await seen(scene, path)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    assert base64.b64encode(sha256(style.encode()).digest()).decode() in policy
    assert not re.search(r"<script|<link|<img|style=|url\(|@import", answer.text)


@pytest.fixture(scope="module")
async def site(app: FastAPI) -> AsyncIterator[str]:
    """Where a browser finds the API."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(params=[(1280, "light"), (360, "dark")], ids=["wide", "narrow"])
async def page(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """Somebody's browser, which knows the key; anything it objects to fails the test."""
    width, scheme = request.param
    context = await browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        http_credentials={"username": "me", "password": READER},
    )
    page = await context.new_page()
    objections: list[str] = []
    page.on("console", lambda said: objections.append(said.text) if said.type in ("error", "warning") else None)
    yield page
    await context.close()
    assert objections == []


SPILT = """() => [...document.querySelectorAll('.journey')]
  .filter(picture => picture.getClientRects().length)
  .flatMap(picture => [...picture.querySelectorAll('.sent, .start, .waits, .over, .moment')])
  .filter(group => [...group.querySelectorAll('text')].some(text =>
    text.getBoundingClientRect().right > group.querySelector('rect').getBoundingClientRect().right + 1))
  .map(group => group.textContent)"""
"""What is written beyond its card; the letters of the machines that test this are wide ones."""


async def test_somebody_looks_through_the_journeys(page: Page, site: str) -> None:
    await page.goto(f"{site}/journeys")
    await page.get_by_role("link", name="AbandonedApplication", exact=True).click()
    await expect(page.get_by_role("heading", name="AbandonedApplication")).to_be_visible()
    pictures = page.locator("svg.journey:visible")
    await expect(pictures).to_have_count(1)
    assert page.viewport_size
    for what in ("almost empty", "30 minutes of quiet", "Email"):
        await expect(pictures.locator("text", has_text=what).first).to_be_visible()
    # Nothing makes the page itself wider than the screen; a wide picture scrolls within it.
    assert await page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert await page.evaluate(SPILT) == []
    await page.get_by_role("link", name="All journeys").click()
    await expect(page.get_by_role("heading", name="Journeys", exact=True)).to_be_visible()
