"""What a customer's own browser may ask with a pass, and that it opens nothing else."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.messages import Channel
from domain.passes import Pass, Passes
from tests.api.scene import INBOX, OPERATOR, READER, WRITER, Person, Scene
from tests.channels.browser import Browser

SITE = "https://cars.example"


async def passed(scene: Scene, person: Person, key: str = INBOX, **wanted: int) -> str:
    answer = await scene.http.post(
        f"/v1/customers/{person.user_id}/pass", json=wanted, headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


async def asks(scene: Scene, token: str, method: str, path: str, **body: Any) -> httpx.Response:
    """A browser asks with a pass."""
    return await scene.http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **body)


async def test_a_pass_opens_one_customers_inbox_placements_and_web_push(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.INBOX)
    token = await passed(scene, person)
    whose = f"/v1/customers/{person.user_id}"
    inbox = (await asks(scene, token, "GET", f"{whose}/inbox")).json()
    assert [each["id"] for each in inbox["messages"]] == [str(message)]
    assert (await asks(scene, token, "GET", f"{whose}/placements?surface=web")).status_code == 200
    seen = await asks(scene, token, "POST", f"/v1/inbox/{message}/seen", json={"user_id": person.user_id})
    assert seen.status_code == 200
    browser = Browser(f"https://fcm.googleapis.com/fcm/send/{person.customer}")
    subscribed = await asks(scene, token, "POST", f"{whose}/web-push/subscribe", json=browser.subscription)
    assert subscribed.status_code == 204, subscribed.text


async def test_a_pass_opens_nothing_of_anybody_else_and_nothing_else(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    theirs = await scene.sent(other, Channel.INBOX)
    token = await passed(scene, person)
    for path in ("inbox", "placements?surface=web", "inbox/live?surface=web"):
        assert (await asks(scene, token, "GET", f"/v1/customers/{other.user_id}/{path}")).status_code == 403
    deed = await asks(scene, token, "POST", f"/v1/inbox/{theirs}/seen", json={"user_id": other.user_id})
    assert deed.status_code == 403
    browser = Browser("https://fcm.googleapis.com/fcm/send/x")
    whose = f"/v1/customers/{other.user_id}/web-push"
    assert (await asks(scene, token, "POST", f"{whose}/subscribe", json=browser.subscription)).status_code == 403
    assert await scene.status(theirs) == "delivered"
    for path in (f"/v1/customers/{person.user_id}", "/v1/journeys", f"/v1/customers/{person.user_id}/export"):
        assert (await asks(scene, token, "GET", path)).status_code == 401
    assert (await asks(scene, token, "POST", f"/v1/customers/{person.user_id}/pass", json={})).status_code == 401


async def test_a_pass_that_is_over_changed_or_made_up_opens_nothing(scene: Scene) -> None:
    person = await scene.person()
    inbox = f"/v1/customers/{person.user_id}/inbox"
    passes = Passes(scene.context.settings.secret.get_secret_value().encode())
    over = passes.write(Pass(person.customer, datetime.now(UTC) - timedelta(seconds=1), "inbox"))
    foreign = Passes(b"another secret").write(Pass(person.customer, datetime.now(UTC) + timedelta(hours=1), "inbox"))
    good = await passed(scene, person)
    changed = good[:-8] + ("A" if good[-8] != "A" else "B") + good[-7:]
    for token in (over, foreign, changed, "pass_", "pass_ä", "pass_" + "A" * 500):
        answer = await scene.http.get(inbox, headers={b"Authorization": f"Bearer {token}".encode()})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert (await asks(scene, good, "GET", inbox)).status_code == 200


async def test_a_pass_lasts_no_longer_than_an_hour_and_is_given_to_the_backend_alone(scene: Scene) -> None:
    person = await scene.person()
    path = f"/v1/customers/{person.user_id}/pass"

    async def wanted(key: str, **body: int) -> httpx.Response:
        return await scene.http.post(path, json=body, headers={"Authorization": f"Bearer {key}"})

    for lasts in (59, 3601, 10**12):
        assert (await wanted(INBOX, lasts=lasts)).status_code == 422
    assert {key: (await wanted(key)).status_code for key in (READER, WRITER, OPERATOR)} == {
        READER: 403,
        WRITER: 403,
        OPERATOR: 200,
    }
    until = datetime.fromisoformat((await wanted(INBOX, lasts=3600)).json()["expires_at"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) <= timedelta(hours=1)


async def test_a_customers_browsers_ask_only_so_often(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    token, inbox = await passed(scene, person), f"/v1/customers/{person.user_id}/inbox"
    for _ in range(500):
        answer = await asks(scene, token, "GET", inbox)
        if answer.status_code == 429:
            break
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    theirs = await asks(scene, await passed(scene, other), "GET", f"/v1/customers/{other.user_id}/inbox")
    assert theirs.status_code == 200


@pytest.mark.parametrize(("origin", "allowed"), [(SITE, SITE), ("https://evil.example", None)])
async def test_pages_of_the_clients_site_and_no_others_may_ask(origin: str, allowed: str | None, scene: Scene) -> None:
    person = await scene.person()
    token = await passed(scene, person)
    asked = await scene.http.options(
        f"/v1/customers/{person.user_id}/inbox/live",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "Authorization",
        },
    )
    assert asked.headers.get("Access-Control-Allow-Origin") == allowed
    answer = await scene.http.get(
        f"/v1/customers/{person.user_id}/inbox", headers={"Origin": origin, "Authorization": f"Bearer {token}"}
    )
    assert answer.headers.get("Access-Control-Allow-Origin") == allowed
    elsewhere = await scene.http.get("/v1/journeys", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in elsewhere.headers


def test_reading_a_pass_says_whose_it_is_and_by_whose_leave() -> None:
    passes, now = Passes(b"secret"), datetime.fromtimestamp(int(time.time()), UTC)
    held = Pass(17, now + timedelta(minutes=1), "site")
    assert passes.read(passes.write(held), now) == held
