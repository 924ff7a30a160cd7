"""The inbox in the customer's personal account."""

from uuid import uuid4

import httpx
import pytest

from domain.messages import Channel, Status
from tests.api.scene import INBOX, OPERATOR, READER, WRITER, Scene


async def listed(scene: Scene, user_id: str, query: str = "") -> dict[str, object]:
    answer = await scene.get(f"/v1/customers/{user_id}/inbox{query}", INBOX)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_the_inbox_lists_the_newest_first_page_by_page(scene: Scene) -> None:
    person = await scene.person()
    sent = [str(await scene.sent(person, Channel.INBOX)) for _ in range(5)]
    await scene.sent(person, Channel.EMAIL)
    pages, before = [], ""
    while True:
        page = (await scene.get(f"/v1/customers/{person.user_id}/inbox?limit=2{before}", INBOX)).json()
        pages.append([message["id"] for message in page["messages"]])
        assert page["unseen"] == 5
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    newest = sent[::-1]
    assert pages == [newest[:2], newest[2:4], newest[4:]]
    (first, *_) = (await scene.get(f"/v1/customers/{person.user_id}/inbox", INBOX)).json()["messages"]
    assert (first["title"], first["body"]) == ("Finish", "It takes a minute")
    assert first["link"].startswith("https://")
    assert first["delivered_at"]
    assert (first["seen_at"], first["clicked_at"], first["dismissed_at"]) == (None, None, None)


async def test_nobody_sees_what_has_not_been_delivered(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.INBOX)
    for status in ("waiting", "skipped", "failed"):
        await scene.context.pool.execute("update messages set status = $2 where id = $1", message, status)
        assert (await listed(scene, person.user_id))["messages"] == []


@pytest.mark.parametrize(
    ("deed", "status", "moments"),
    [
        ("seen", "read", {"seen_at"}),
        ("clicked", "clicked", {"seen_at", "clicked_at"}),
        ("dismissed", "read", {"seen_at", "dismissed_at"}),
    ],
)
async def test_what_a_customer_does_is_kept_once_and_their_run_hears_of_it(
    scene: Scene, deed: str, status: str, moments: set[str]
) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.INBOX, awaits=[Status.READ, Status.CLICKED])
    first = await scene.does(person.user_id, message, deed)
    again = await scene.does(person.user_id, message, deed)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert {name for name in ("seen_at", "clicked_at", "dismissed_at") if first.json()[name]} == moments
    assert await scene.status(message) == status
    assert await scene.heard(person) == [("delivery_status", status)]
    assert (await listed(scene, person.user_id))["unseen"] == 0


async def test_seen_after_clicked_does_not_step_back(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.INBOX)
    await scene.does(person.user_id, message, "clicked")
    await scene.does(person.user_id, message, "dismissed")
    await scene.does(person.user_id, message, "seen")
    assert await scene.status(message) == "clicked"


async def test_nobody_touches_another_ones_message(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    await scene.sent(other, Channel.INBOX)
    message, letter = await scene.sent(person, Channel.INBOX), await scene.sent(person, Channel.EMAIL)
    for user_id, what in (
        (other.user_id, message),
        (person.user_id, letter),
        (person.user_id, uuid4()),
        ("?", message),
    ):
        answer = await scene.does(user_id, what, "seen")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await scene.status(message) == "delivered"
    assert (await listed(scene, other.user_id, f"?before={message}"))["messages"] == []


async def test_wrong_requests_to_the_inbox_get_a_clear_answer(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.INBOX)
    path, inbox = f"/v1/inbox/{message}/seen", f"/v1/customers/{person.user_id}/inbox"
    headers = {"Authorization": f"Bearer {INBOX}"}

    async def post(to: str, body: object) -> httpx.Response:
        return await scene.http.post(to, json=body, headers=headers)

    assert (await post(path, {})).json()["errors"][0]["field"] == "user_id"
    assert (await post(path, {"user_id": "a\0b"})).json()["errors"][0]["field"] == "user_id"
    assert (await post(path, {"user_id": "u" * 256})).status_code == 422
    assert (await post(f"/v1/inbox/{message}/eaten", {"user_id": person.user_id})).status_code == 422
    assert (await post("/v1/inbox/7/seen", {"user_id": person.user_id})).json()["errors"][0]["field"] == "message_id"
    assert (await scene.get("/v1/customers/nobody/inbox", INBOX)).status_code == 404
    assert (await scene.get(f"{inbox}?limit=0", INBOX)).status_code == 422
    assert (await scene.http.get(inbox)).status_code == 401
    assert {key: (await scene.get(inbox, key)).status_code for key in (READER, WRITER, OPERATOR)} == {
        READER: 403,
        WRITER: 403,
        OPERATOR: 200,
    }
