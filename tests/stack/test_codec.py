"""What payload keys have encrypted, in Temporal's own interface and commands."""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect
from temporalio.client import Client

from cli.stack import EmbeddedStack, Part
from cli.stack.temporal import program
from dispatch.codec import VARIABLE, data_converter
from dispatch.runs import TASK_QUEUE
from tests.browser import ARGUMENTS, chromium

SECRET, SUMMARY = "what-the-run-holds", "What it is about"
REFUSED = "Codec Server could not connect"


@pytest.fixture(scope="module")
async def private(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """An installation that encrypts."""
    keys = f"a:{base64.b64encode(secrets.token_bytes(32)).decode()}"
    data: Path = tmp_path_factory.mktemp("private")
    parts = [Part.POSTGRES, Part.TEMPORAL, Part.API]
    async with EmbeddedStack(data, parts=parts, durable=False, environment={VARIABLE: keys}) as stack:
        yield stack


@pytest.fixture(scope="module")
async def run(private: EmbeddedStack) -> str:
    """A run that holds something; nobody works on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, private.environment[VARIABLE])
        converter = data_converter()
    client = await Client.connect(private.temporal_address, data_converter=converter)
    started = await client.start_workflow(
        "Private", {"held": SECRET}, id="private-1", task_queue=TASK_QUEUE, static_summary=SUMMARY
    )
    return started.id


async def shown(stack: EmbeddedStack, run: str, *options: str) -> str:
    """What `temporal workflow show` says of a run."""
    arguments = ("workflow", "show", "--workflow-id", run, "--address", stack.temporal_address, "--output", "json")
    process = await asyncio.create_subprocess_exec(
        *(program(), "--disable-config-file", "--disable-config-env"),
        *arguments,
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    (payload,) = json.loads(said)["events"][0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"]
    return base64.b64decode(payload["data"]).decode(errors="replace")


async def test_the_commands_show_it_to_whoever_has_the_key(private: EmbeddedStack, run: str) -> None:
    assert private.codec_url
    endpoint = ("--codec-endpoint", private.codec_url, "--codec-auth", f"Bearer {private.operator_key}")
    assert SECRET in await shown(private, run, *endpoint)
    assert SECRET not in await shown(private, run)


async def test_the_interface_shows_it_to_a_browser_that_was_given_the_key(private: EmbeddedStack, run: str) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        context = await browser.new_context(viewport={"width": 1400, "height": 1000})
        page = await context.new_page()
        await page.goto(f"{private.ui_url}/namespaces/default/workflows/{run}")
        await expect(page.locator("#content").get_by_text(REFUSED)).to_be_visible(timeout=20_000)
        assert SECRET not in await page.inner_text("body")

        await gives_the_key(await context.new_page(), private)
        await includes_credentials(page, private)
        await page.reload()
        await expect(page.get_by_text(SECRET).first).to_be_visible(timeout=20_000)
        await expect(page.locator("#content").get_by_text(REFUSED)).to_have_count(0)

        # Another browser has nothing of it.
        stranger = await (await browser.new_context()).new_page()
        await stranger.goto(page.url)
        await expect(stranger.locator("#content").get_by_text(REFUSED)).to_be_visible(timeout=20_000)
        assert SECRET not in await stranger.inner_text("body")
        await browser.close()


async def gives_the_key(page: Page, stack: EmbeddedStack) -> None:
    assert stack.codec_url
    await page.goto(stack.codec_url)
    for key, told in (
        ("no-key-at-all-no-key", "no key with the scope"),
        (stack.operator_key, "may show what runs hold"),
    ):
        await page.get_by_label("Key").fill(key)
        await page.get_by_role("button", name="Show what runs hold").click()
        await expect(page.get_by_text(told)).to_be_visible()


async def includes_credentials(page: Page, stack: EmbeddedStack) -> None:
    """Tell the interface, as the page says."""
    assert stack.codec_url
    await page.get_by_test_id("data-encoder-status-error").click()
    await page.get_by_test_id("use-local-endpoint-input").check(force=True)
    await page.get_by_placeholder("Paste your endpoint here").fill(stack.codec_url)
    await page.get_by_test_id("data-encoder-include-credentials").click()
    await page.get_by_role("button", name="Apply").click()
