"""Tracked links in messages: they lead where the message pointed, and nowhere else."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from cli.stack import EmbeddedStack
from domain.links import Links
from domain.messages import Channel, Status
from tests.api.scene import PUBLIC, Scene

TARGETS = ["https://shop.example.com/form?id=7&x=ё", "https://shop.example.com/help"]


def tracked(scene: Scene, message: UUID, place: int) -> str:
    return scene.context.links.tracked(message, place).removeprefix(PUBLIC)


def unsubscribing(scene: Scene, message: UUID) -> str:
    return scene.context.links.unsubscribe(message).removeprefix(PUBLIC)


def is_a_safe_page(answer: httpx.Response) -> bool:
    policy = answer.headers["content-security-policy"]
    return (
        answer.headers["content-type"].startswith("text/html")
        and policy.startswith("default-src 'none'")
        and "frame-ancestors 'none'" in policy
        and "noindex" in answer.headers["x-robots-tag"]
        and answer.headers["cache-control"] == "no-store"
        and "set-cookie" not in answer.headers
    )


async def test_a_link_leads_where_the_message_pointed_and_is_a_click_once(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL, awaits=[Status.CLICKED], links=TARGETS)
    for place, target in [(1, TARGETS[1]), (0, "https://shop.example.com/form?id=7&x=%D1%91"), (0, None), (1, None)]:
        answer = await scene.http.get(tracked(scene, message, place))
        assert answer.status_code == 302
        assert target is None or answer.headers["location"] == target
        assert answer.headers["cache-control"] == "no-store"
    assert await scene.status(message) == "clicked"
    assert await scene.heard(person) == [("delivery_status", "clicked")]
    for place in (0, 1):
        assert len(await scene.callbacks("link", f"{message}:{place}")) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
        {"User-Agent": "facebookexternalhit/1.1"},
        {"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
        {"User-Agent": "TelegramBot (like TwitterBot)"},
    ],
)
async def test_what_fetches_ahead_of_the_reader_is_led_on_and_not_counted(
    scene: Scene, headers: dict[str, str]
) -> None:
    message = await scene.sent(await scene.person(), Channel.EMAIL, links=TARGETS)
    answer = await scene.http.get(tracked(scene, message, 1), headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (302, TARGETS[1])
    assert await scene.status(message) == "accepted"


async def test_head_is_no_click(scene: Scene) -> None:
    message = await scene.sent(await scene.person(), Channel.EMAIL, links=TARGETS)
    answer = await scene.http.head(tracked(scene, message, 1))
    assert (answer.status_code, answer.headers["location"]) == (302, TARGETS[1])
    assert await scene.status(message) == "accepted"


async def test_nothing_but_a_stored_link_is_ever_redirected_to(scene: Scene) -> None:
    message = await scene.sent(await scene.person(), Channel.EMAIL, links=TARGETS)
    good = tracked(scene, message, 0)
    stranger = Links(PUBLIC, b"another secret, of somebody else").tracked(message, 0).removeprefix(PUBLIC)
    for path in (
        tracked(scene, message, 2),
        tracked(scene, uuid4(), 0),
        unsubscribing(scene, message).replace("/u/", "/r/"),
        stranger,
        good[:-1],
        good + "AAAA",
        "/r/https:evil.example.com",
        "/r/" + "A" * 5000,
        "/r/%00",
        "/r/ё",
    ):
        answer = await scene.http.get(path, params={"url": "https://evil.example.com"})
        assert answer.status_code == 404, path
        assert "location" not in answer.headers
        assert is_a_safe_page(answer)
    assert await scene.status(message) == "accepted"


@pytest.fixture
async def unreachable(stack: EmbeddedStack, scene: Scene) -> AsyncIterator[None]:
    """PostgreSQL lets nobody in any more."""
    neighbour = await asyncpg.connect(stack.database_url)
    try:
        await neighbour.execute("alter database api with allow_connections false")
        await neighbour.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = 'api'")
        yield
    finally:
        await neighbour.execute("alter database api with allow_connections true")
        await neighbour.close()


async def test_without_the_database_everybody_is_asked_to_come_again(scene: Scene, unreachable: None) -> None:
    message = uuid4()
    for method, path in (
        ("GET", tracked(scene, message, 0)),
        ("GET", unsubscribing(scene, message)),
        ("POST", unsubscribing(scene, message)),
        ("GET", scene.context.links.preferences(message).removeprefix(PUBLIC)),
        ("POST", scene.context.links.preferences(message).removeprefix(PUBLIC)),
    ):
        answer = await scene.http.request(method, path)
        assert answer.status_code == 503, path
        assert int(answer.headers["retry-after"]) > 0
        assert is_a_safe_page(answer)
    callback = await scene.twilio_says(message, "delivered")
    assert (callback.status_code, callback.json()["code"]) == (503, "unavailable")
    assert int(callback.headers["retry-after"]) > 0
