"""`deliver` by web push, and into the places of the client's own site: what leaves, where, and how often."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Page, async_playwright, expect

from activities.resolve import Resolve
from domain.messages import Channel, Delivery, Draft, MessageClass, Status, Verdict
from policy.configuration import Cap, Policy
from store import uncertain
from templates import TEXTS
from templates.renderer import Texts
from tests.browser import ARGUMENTS, chromium
from tests.world import Person, World

TEXT = """---
title: Finish{% if customer.first_name %}, {{ customer.first_name }}{% endif %}
link: {{ site }}/form
{HEADER}---
Two fields are left.
"""


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    shutil.copytree(TEXTS / "letter", tmp_path / "letter")
    (tmp_path / "form" / "finish").mkdir(parents=True)
    for channel, header in (
        ("web_push", ""),
        ("popup", "button: Finish now\nsurface: web\n"),
        ("banner", ""),
    ):
        for locale in ("en", "ru"):
            file = tmp_path / "form" / "finish" / f"{channel}.{locale}.txt"
            file.write_text(TEXT.replace("{HEADER}", header))
    return Texts.load(tmp_path)


@pytest.fixture
def site(world: World, texts: Texts) -> World:
    """The world, where a site has texts for its visitors."""
    return replace(world, deliver=replace(world.deliver, texts=texts))


async def browser(world: World, person: Person, **behaviour: str) -> str:
    """Let the person allow notifications in one more browser; returns its endpoint."""
    name = uuid4().hex
    answer = await world.providers.post(f"/_sandbox/people/{name}/browser")
    subscription = answer.raise_for_status().json()
    if behaviour:
        await world.behaves(name, browser=subscription["endpoint"], **behaviour)
    context = {"device": {"subscription": subscription}}
    await world.tell({"userId": person.user_id, "event": "allowed", "context": context}, "track", datetime.now(UTC))
    endpoint: str = subscription["endpoint"]
    return endpoint


async def asks(world: World, person: Person, channel: Channel, **more: Any) -> Delivery:
    draft = Draft(channel=channel, template="form/finish", message_class=MessageClass.MARKETING)
    policy = more.pop("policy", Policy())
    return await world.asks_to_deliver(person, draft, policy=policy, at=datetime.now(UTC), **more)


async def effects(world: World, delivery: Delivery) -> list[dict[str, Any]]:
    answer = await world.providers.get("/_sandbox/ledger", params={"message_id": str(delivery.message)})
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


async def test_a_web_push_goes_to_the_newest_browser_and_is_read_there(site: World) -> None:
    person = await site.person()
    await person.begins()
    older, newest = await browser(site, person), await browser(site, person)
    delivery = await asks(site, person, Channel.WEB_PUSH)
    assert (delivery.verdict, delivery.status) == (Verdict.GONE, Status.DELIVERED)
    (effect,) = await effects(site, delivery)
    assert (effect["address"], effect["subject"], effect["text"]) == (newest, "Finish, Ada", "Two fields are left.")
    assert "/r/" in effect["details"]["data"]["link"]
    assert older != newest


async def test_a_browser_that_is_gone_is_buried_and_another_one_gets_it_at_once(site: World) -> None:
    person = await site.person()
    await person.begins()
    older, newest = await browser(site, person), await browser(site, person, delivery="unregistered")
    delivery = await asks(site, person, Channel.WEB_PUSH)
    assert delivery.verdict is Verdict.GONE
    (effect,) = await effects(site, delivery)
    assert effect["address"] == older
    dead = await site.pool.fetchval("select dead_at is not null from devices where token = $1", newest)
    assert dead is True


async def test_without_any_browser_there_is_nowhere_to_push(site: World) -> None:
    person = await site.person()
    await person.begins()
    assert (await asks(site, person, Channel.WEB_PUSH)).reason == "no_address"
    await browser(site, person, delivery="unregistered")
    delivery = await asks(site, person, Channel.WEB_PUSH, occurrence=2)
    assert (delivery.verdict, delivery.reason) == (Verdict.FAILED, "http_410")


async def test_a_push_service_that_asks_to_wait_is_asked_again_later(site: World) -> None:
    person = await site.person()
    await person.begins()
    await site.limits_rate("web_push", await browser(site, person), retry_after=30)
    delivery = await asks(site, person, Channel.WEB_PUSH)
    assert (delivery.verdict, delivery.reason) == (Verdict.NOT_YET, "provider:http_429")
    assert delivery.not_before is not None
    assert delivery.not_before - datetime.now(UTC) > timedelta(seconds=20)


async def test_a_push_of_which_nobody_knows_replaces_the_first_when_it_is_handed_over_again(site: World) -> None:
    person = await site.person()
    await person.begins()
    endpoint = await browser(site, person)
    fault = {"provider": "web_push", "address": endpoint, "kind": "status_503_after_accept"}
    (await site.providers.put("/_sandbox/faults", json=fault)).raise_for_status()
    (
        await site.providers.put("/_sandbox/callbacks", json={"before_answer": False, "delay_seconds": 600})
    ).raise_for_status()
    try:
        delivery = await asks(site, person, Channel.WEB_PUSH)
        assert (delivery.verdict, delivery.status) == (Verdict.GONE, Status.UNKNOWN)
        settled = await resolved(site, delivery)
    finally:
        (await site.providers.put("/_sandbox/callbacks", json={"before_answer": True})).raise_for_status()
    assert settled == "found"
    (effect,) = await effects(site, delivery)
    assert len(effect["details"]["replacements"]) == 1


async def resolved(world: World, delivery: Delivery) -> str | None:
    """Look into a send of which nobody knows whether it left, as the upkeep does."""
    resolve = Resolve(world.pool, world.catalog, world.deliver.channels, world.deliver.deployment)
    await world.pool.execute("update messages set look_after = now() where id = $1", delivery.message)
    async with world.pool.acquire() as connection:
        while doubt := await uncertain.take(connection, timedelta(minutes=1)):
            if doubt.message == delivery.message:
                return await resolve.look_into(doubt)
    return None


@pytest.mark.parametrize("channel", [Channel.POPUP, Channel.BANNER])
async def test_a_popup_or_banner_is_there_when_its_commit_is(channel: Channel, site: World) -> None:
    person = await site.person()
    await person.begins()
    for _ in range(2):
        delivery = await asks(site, person, channel)
        assert (delivery.verdict, delivery.status) == (Verdict.GONE, Status.DELIVERED)
    (row,) = await site.messages_of(person, channel)
    assert (row["provider"], row["content"]["title"]) == ("inbox", "Finish, Ada")
    expected = ("Finish now", "web") if channel is Channel.POPUP else (None, None)
    assert (row["content"]["button"], row["content"]["surface"]) == expected
    assert "/r/" in row["content"]["link"]


async def test_what_waits_on_the_site_takes_up_no_cap_but_one_of_its_own(site: World) -> None:
    person = await site.person()
    await person.begins()
    all_together = Policy(caps=(Cap(at_most=1, within=timedelta(days=1)),))
    for occurrence in (1, 2):
        assert (await asks(site, person, Channel.POPUP, occurrence=occurrence, policy=all_together)).gone
    own = Policy(caps=(Cap(channel=Channel.POPUP, at_most=2, within=timedelta(days=1), exceeded="drop"),))
    assert (await asks(site, person, Channel.POPUP, occurrence=3, policy=own)).verdict is Verdict.SKIPPED


async def test_web_push_keeps_to_its_quiet_hours_and_its_consent(site: World) -> None:
    person = await site.person()
    await person.begins()
    await browser(site, person)
    asleep = Policy(quiet_hours={Channel.WEB_PUSH: (20, 21)})
    delivery = await asks(site, person, Channel.WEB_PUSH, policy=asleep)
    assert (delivery.verdict, delivery.reason) == (Verdict.NOT_YET, "quiet_hours")
    never_asked = Policy(consent={Channel.WEB_PUSH: "required"})
    delivery = await asks(site, person, Channel.WEB_PUSH, policy=never_asked)
    assert (delivery.verdict, delivery.reason) == (Verdict.SKIPPED, "no_consent:web_push/offers never given")


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield await browser.new_page()
        await browser.close()


async def test_a_person_sees_popup_banner_and_push_on_the_site_live(site: World, page: Page) -> None:
    person = await site.person()
    await person.begins()
    name = f"Ada {uuid4().hex[:8]}"
    await site.behaves(name, user_id=person.user_id, phone=person.phone)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(f"{site.stack.sandbox_url}/people/{name}")
    await expect(page.get_by_text("Nothing is shown")).to_be_visible()

    popup, banner = [await asks(site, person, channel) for channel in (Channel.POPUP, Channel.BANNER)]
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("Finish, Ada")).to_be_visible()
    await expect(page.get_by_text("Nothing is shown")).to_be_hidden()
    await site.until(lambda: _status(site, popup), "read")
    await dialog.get_by_role("button", name="Dismiss").click()
    await expect(dialog).to_be_hidden()
    dismissed = "select dismissed_at is not null from messages where id = $1"
    await site.until(lambda: site.pool.fetchval(dismissed, popup.message), True)

    section = page.get_by_role("region", name="Site")
    await section.get_by_role("button", name="Open").click()
    await site.until(lambda: _status(site, banner), "clicked")
    await expect(section.get_by_role("article")).to_have_count(0)

    await section.get_by_role("button", name="Allow notifications").click()
    await site.until(
        lambda: site.pool.fetchval(
            "select count(*) from devices d join identities i using (customer_id) "
            "where i.value = $1 and p256dh is not null",
            person.user_id,
        ),
        1,
    )
    push = await asks(site, person, Channel.WEB_PUSH)
    notification = page.get_by_role("region", name="Phone").get_by_role("article").filter(has_text="Browser")
    await notification.get_by_role("button", name="Follow link").click()
    await site.until(lambda: _status(site, push), "clicked")
    assert faults == []


async def _status(world: World, delivery: Delivery) -> str:
    status: str = await world.pool.fetchval("select status from messages where id = $1", delivery.message)
    return status
