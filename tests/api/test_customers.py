"""Customers over HTTP: the profile, the test customer's speed."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from domain.messages import Channel
from store import customers
from tests.api.scene import INBOX, READER, WRITER, Scene


async def test_the_profile_tells_what_is_known_and_what_may_not_be_sent(scene: Scene) -> None:
    person = await scene.person(first_name="Ada")
    await scene.tells("identify", person.user_id, anonymousId=f"a-{person.user_id}", traits={})
    await scene.texts(person.phone, "STOP")
    await scene.http.post(scene.context.links.unsubscribe(await scene.sent(person, Channel.EMAIL)))
    answer = await scene.get(f"/v1/customers/{person.user_id}")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["id"], found["email"], found["phone"]) == (person.customer, person.email, person.phone)
    assert (found["time_zone"], found["locale"], found["devices"]) == ("Etc/UTC", "en", 1)
    assert found["traits"] == {"first_name": "Ada"}
    assert found["identities"] == [
        {"kind": "user", "value": person.user_id},
        {"kind": "anonymous", "value": f"a-{person.user_id}"},
    ]
    # Unsubscribing withdraws consent to marketing; only a STOP ends everything.
    assert [(each["channel"], each["reason"], each["source"]) for each in found["suppressions"]] == [
        ("sms", "opted_out", "twilio:stop")
    ]


async def test_whoever_has_no_user_id_is_found_by_the_anonymous_one(scene: Scene) -> None:
    anonymous = f"a-{uuid4().hex}"
    await scene.http.post(
        "/v1/track", json={"messageId": uuid4().hex, "anonymousId": anonymous, "event": "car_viewed"}, auth=(WRITER, "")
    )
    found = (await scene.get(f"/v1/customers/{anonymous}")).json()
    assert found["identities"] == [{"kind": "anonymous", "value": anonymous}]
    assert found["email"] is None


async def test_a_test_customer_has_a_journey_time_of_their_own(scene: Scene) -> None:
    user_id = f"u-{uuid4().hex}"
    await scene.tells("track", user_id, event="car_viewed")
    began = datetime.now(UTC)
    assert (await scene.as_operator("PUT", f"/v1/customers/{user_id}/speed", {"speed": 86400})).status_code == 204
    number = await scene.customer_of(user_id)
    assert number is not None
    async with scene.context.pool.acquire() as connection:
        clock = await customers.clock_of(connection, number)
    assert clock.speed == 86400
    assert began <= clock.origin <= datetime.now(UTC)
    assert (await scene.get(f"/v1/customers/{user_id}")).json()["speed"] == 86400


async def test_journey_time_does_not_change_under_way(scene: Scene) -> None:
    person = await scene.person()
    answer = await scene.as_operator("PUT", f"/v1/customers/{person.user_id}/speed", {"speed": 60})
    assert (answer.status_code, answer.json()["code"]) == (409, "in_a_journey")
    assert (await scene.get(f"/v1/customers/{person.user_id}")).json()["speed"] is None


@pytest.mark.parametrize("speed", [0, -1, 10_000_001, "fast", None, "NaN"])
async def test_an_impossible_speed_is_refused(scene: Scene, speed: object) -> None:
    answer = await scene.as_operator("PUT", "/v1/customers/nobody/speed", {"speed": speed})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "speed")


async def test_wrong_requests_get_a_clear_answer(scene: Scene) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/timeline", None),
        ("GET", "/inbox", None),
        ("PUT", "/speed", {"speed": 2}),
        ("DELETE", "", None),
    ):
        for user_id, status in (("nobody", 404), ("a%00b", 422), ("u" * 256, 422)):
            answer = await scene.as_operator(method, f"/v1/customers/{user_id}{path}", body)
            assert answer.status_code == status, (method, path, user_id)
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await scene.http.request(method, f"/v1/customers/nobody{path}", json=body)).status_code == 401
    person = await scene.person()
    for key, path in ((INBOX, ""), (INBOX, "/timeline"), (WRITER, "")):
        assert (await scene.get(f"/v1/customers/{person.user_id}{path}", key)).status_code == 403
    reader = {"Authorization": f"Bearer {READER}"}
    assert (await scene.http.delete(f"/v1/customers/{person.user_id}", headers=reader)).status_code == 403
    assert (await scene.get(f"/v1/customers/{person.user_id}/timeline?before=yesterday")).status_code == 422


async def test_every_operation_is_documented_with_its_errors(scene: Scene) -> None:
    document = (await scene.http.get("/openapi.json")).json()
    ours = ("/webhooks/", "/r/", "/u/", "/p/", "/v1/customers", "/v1/inbox")
    found = [
        (path, operation)
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if path.startswith(ours)
    ]
    assert {path.split("/")[1] for path, _ in found} == {"webhooks", "r", "u", "p", "v1"}
    for path, operation in found:
        assert operation["description"], path
        assert "503" in operation["responses"], path
        if path.startswith("/webhooks/"):
            assert {"400", "403", "413"} <= operation["responses"].keys()
            (content,) = operation["requestBody"]["content"].values()
            assert content["example"]
