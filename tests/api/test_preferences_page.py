"""The page of preferences in a real browser: by keyboard, without scripts, on a narrow screen, from elsewhere."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.async_api import Browser, Page, async_playwright, expect

from domain.messages import Channel
from tests.api.scene import Scene
from tests.api.test_preferences import a_letter, preferring, unsubscribing
from tests.browser import ARGUMENTS, chromium


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


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A narrow screen, as most letters are read on, and no scripts; anything the browser objects to fails the test."""
    context = await browser.new_context(viewport={"width": 320, "height": 640}, java_script_enabled=False)
    page = await context.new_page()
    objections: list[str] = []
    page.on("console", lambda said: objections.append(said.text) if said.type in ("error", "warning") else None)
    page.on("requestfailed", lambda request: objections.append(request.url))
    yield page
    await context.close()
    assert objections == []


async def is_ticked(page: Page, channel: str) -> bool:
    return await page.get_by_role("checkbox", name=channel).is_checked()


async def test_a_customer_chooses_by_keyboard_alone(page: Page, site: str, scene: Scene) -> None:
    person, message = await a_letter(scene)
    await page.goto(site + unsubscribing(scene, message))
    await expect(page.get_by_role("heading", name="Unsubscribe?")).to_be_visible()
    for _ in range(3):  # the button, email, SMS
        await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    assert not await is_ticked(page, "SMS")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("Offers and reminders (Email, WhatsApp")
    assert page.url == site + preferring(scene, message)
    assert await is_ticked(page, "Email")
    assert not await is_ticked(page, "SMS")
    assert await scene.allows(person, Channel.SMS) == (False, "withdrawn")
    assert await scene.allows(person, Channel.EMAIL) == (True, "assumed")


async def test_a_customer_leaves_by_the_first_button(page: Page, site: str, scene: Scene) -> None:
    person, message = await a_letter(scene, "ru")
    await page.goto(site + unsubscribing(scene, message))
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("Вы отписаны. Больше никакой рекламы по электронной почте")
    assert not await is_ticked(page, "Письма")
    assert await scene.allows(person, Channel.EMAIL) == (False, "withdrawn")
    await page.get_by_role("button", name="Никакой рекламы").click()
    await expect(page.get_by_role("status")).to_contain_text("больше не получите от нас никакой рекламы")
    assert await scene.allows(person, Channel.CALL) == (False, "withdrawn")


@pytest.mark.parametrize("locale", ["en", "ru"])
async def test_nothing_is_wider_than_a_narrow_screen(browser: Browser, site: str, scene: Scene, locale: str) -> None:
    _, message = await a_letter(scene, locale)
    page = await browser.new_page(viewport={"width": 320, "height": 640})
    for path in (unsubscribing(scene, message), preferring(scene, message), "/u/nothing"):
        await page.goto(site + path)
        assert await page.evaluate("document.documentElement.scrollWidth") == 320
        # The style is taken: its hash is the one the policy allows.
        assert await page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "576px"
    await page.close()


async def test_another_site_cannot_submit_the_form(browser: Browser, site: str, scene: Scene) -> None:
    person, message = await a_letter(scene)
    page = await browser.new_page()
    # It has even got hold of a token.
    token = scene.context.links.form(message, datetime.now(UTC))
    trap = (
        f'<form method="post" action="{site}{preferring(scene, message)}"><input name="form" value="{token}">'
        '<button name="do" value="nothing">A prize</button></form>'
    )
    await page.route("http://evil.example/", lambda route: route.fulfill(content_type="text/html", body=trap))
    await page.goto("http://evil.example/")
    async with page.expect_navigation() as navigation:
        await page.get_by_role("button").click()
    answer = await navigation.value
    assert answer is not None
    assert answer.status == 403
    await expect(page.get_by_role("status")).to_contain_text("Nothing was saved")
    assert await scene.ledger(person) == []
    # Nor can it show the page within its own.
    framed = await browser.new_page()
    await framed.set_content(f'<iframe src="{site}{preferring(scene, message)}"></iframe>')
    await expect(framed.frame_locator("iframe").get_by_role("button", name="Save")).to_have_count(0)
    for each in (page, framed):
        await each.close()
