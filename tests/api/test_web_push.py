"""Browsers that take pushes: how their subscriptions come, and what becomes of what is sent there."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest

from channels.web_push import new_private_key, public_key_of
from domain.messages import Channel
from store import contact, messages
from tests.api.scene import INBOX, Person, Scene
from tests.channels.browser import Browser

SERVICE = "https://fcm.googleapis.com/fcm/send"


async def subscribes(scene: Scene, user_id: str, subscription: object, how: str = "subscribe") -> httpx.Response:
    path = f"/v1/customers/{user_id}/web-push/{how}"
    return await scene.http.post(path, json=subscription, headers={"Authorization": f"Bearer {INBOX}"})


async def browsers(scene: Scene, person: Person) -> list[str]:
    async with scene.context.pool.acquire() as connection:
        return (await contact.person(connection, person.customer)).reached_at(Channel.WEB_PUSH)


async def device(scene: Scene, endpoint: str) -> asyncpg.Record | None:
    return await scene.context.pool.fetchrow("select * from devices where token = $1", endpoint)


async def test_a_customer_has_several_browsers_and_the_newest_is_used_first(scene: Scene) -> None:
    person = await scene.person()
    first, second = (Browser(f"{SERVICE}/{person.customer}-{number}") for number in (1, 2))
    for browser in (first, second, second):
        assert (await subscribes(scene, person.user_id, browser.subscription)).status_code == 204
    assert await browsers(scene, person) == [second.endpoint, first.endpoint]
    async with scene.context.pool.acquire() as connection:
        reached = await contact.person(connection, person.customer)
    assert reached.push_keys(second.endpoint) == second.keys
    assert reached.address(Channel.PUSH) == person.token, "an app is no browser"


async def test_the_backend_may_tell_of_a_browser_with_any_call(scene: Scene) -> None:
    person = await scene.person()
    browser = Browser(f"{SERVICE}/{person.customer}")
    told = await scene.tells(
        "track", person.user_id, event="car_viewed", context={"device": {"subscription": browser.subscription}}
    )
    assert told.status_code == 200
    assert await browsers(scene, person) == [browser.endpoint]
    context = await scene.context.pool.fetchval(
        "select context from events where customer_id = $1 and name = 'car_viewed'", person.customer
    )
    assert "device" not in context, "what it is encrypted with is kept in one place, where it can be erased"


async def test_a_browser_belongs_to_whoever_subscribed_in_it_last(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    browser = Browser(f"{SERVICE}/{person.customer}")
    await subscribes(scene, person.user_id, browser.subscription)
    await subscribes(scene, other.user_id, browser.subscription)
    assert (await browsers(scene, person), await browsers(scene, other)) == ([], [browser.endpoint])
    assert (await subscribes(scene, person.user_id, {"endpoint": browser.endpoint}, "unsubscribe")).status_code == 204
    assert await browsers(scene, other) == [browser.endpoint]
    assert (await subscribes(scene, other.user_id, {"endpoint": browser.endpoint}, "unsubscribe")).status_code == 204
    assert await browsers(scene, other) == []


async def test_one_that_is_gone_leaves_the_others_and_comes_back_when_it_subscribes_again(scene: Scene) -> None:
    person = await scene.person()
    first, second = (Browser(f"{SERVICE}/{person.customer}-{number}") for number in (1, 2))
    for browser in (first, second):
        await subscribes(scene, person.user_id, browser.subscription)
    message = await scene.sent(person, Channel.WEB_PUSH)
    async with scene.context.pool.acquire() as connection:
        await messages.bury_device(connection, second.endpoint)
        assert await messages.devices_left(connection, message) == 1
        await messages.bury_device(connection, first.endpoint)
        assert await messages.devices_left(connection, message) == 0, "its app is no browser"
    await subscribes(scene, person.user_id, second.subscription)
    assert await browsers(scene, person) == [second.endpoint]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"endpoint": "https://169.254.169.254/latest"}, "endpoint"),
        ({"endpoint": "http://fcm.googleapis.com/x"}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": "https://fcm.googleapis.com/" + "x" * 1024}, "endpoint"),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, "keys.p256dh"),
        ({"keys": {}}, "keys.p256dh"),
        ({"keys": 7}, "keys"),
    ],
)
async def test_a_wrong_subscription_is_refused_with_the_field_wherever_it_comes(
    wrong: dict[str, Any], field: str, scene: Scene
) -> None:
    person = await scene.person()
    subscription = {**Browser(f"{SERVICE}/{person.customer}").subscription, **wrong}
    direct = await subscribes(scene, person.user_id, subscription)
    assert (direct.status_code, direct.json()["errors"][0]["field"]) == (422, field)
    told = await scene.tells(
        "track", person.user_id, event="car_viewed", context={"device": {"subscription": subscription}}
    )
    assert (told.status_code, told.json()["errors"][0]["field"]) == (400, f"context.device.subscription.{field}")
    assert await browsers(scene, person) == []


async def test_what_the_service_worker_saw_comes_back_through_the_backend(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.WEB_PUSH)
    for event, status in (("received", "delivered"), ("opened", "clicked")):
        told = {"message_id": str(message), "event": event, "at": datetime.now(UTC).isoformat()}
        assert (await scene.app_says(told)).status_code == 204
        assert await scene.status(message) == status


async def test_a_browser_is_exported_and_erased_with_its_customer(scene: Scene) -> None:
    person = await scene.person()
    browser = Browser(f"{SERVICE}/{person.customer}-Case")
    await subscribes(scene, person.user_id, browser.subscription)
    exported = (await scene.as_operator("GET", f"/v1/customers/{person.user_id}/export")).json()["devices"]
    (kept,) = [each for each in exported if each["token"] == browser.endpoint]
    assert (kept["platform"], kept["p256dh"], kept["auth"]) == ("web", browser.keys.p256dh, browser.keys.auth)
    assert (await scene.as_operator("DELETE", f"/v1/customers/{person.user_id}")).status_code == 204
    assert await device(scene, browser.endpoint) is None
    assert await scene.suppressed(Channel.WEB_PUSH, browser.endpoint) == "erased"


async def test_pages_subscribe_with_our_public_key(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    private = new_private_key()
    monkeypatch.setenv("WEB_PUSH_PRIVATE_KEY", private)
    monkeypatch.setenv("WEB_PUSH_CONTACT", "mailto:push@cars.example")
    assert (await scene.http.get("/v1/web-push/key")).json() == {"public_key": public_key_of(private)}
    monkeypatch.delenv("WEB_PUSH_PRIVATE_KEY")
    missing = await scene.http.get("/v1/web-push/key")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_configured")
