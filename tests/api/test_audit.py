"""The audit log: nothing is done without an entry, and no entry is changed or holds what must be erased."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api import journeys
from domain.messages import Channel
from store import whatsapp
from tests.api.scene import DECODER, INBOX, OPERATOR, READER, Scene


async def entries(scene: Scene, **filters: Any) -> list[dict[str, Any]]:
    answer = await scene.http.get("/v1/audit", params=filters, headers={"Authorization": f"Bearer {READER}"})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def newest(scene: Scene) -> dict[str, Any]:
    (entry,) = await entries(scene, limit=1)
    return entry


async def test_an_operators_action_is_entered_with_who_what_and_the_answer(scene: Scene) -> None:
    person = await scene.person()
    answer = await scene.as_operator("POST", f"/v1/enrolments/{person.enrolment}/stop")
    assert answer.status_code == 200
    entry = await newest(scene)
    assert (entry["actor"], entry["action"]) == ("operate", "command_enrolment")
    assert entry["subject"] == {"number": person.enrolment, "command": "stop"}
    assert entry["answer"] == "200"
    assert entry["at"] <= entry["answered_at"]


async def test_customers_are_named_by_our_number_and_nothing_in_the_log_is_theirs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody dispatches here: who starts a journey by hand need not wait for it.
    monkeypatch.setattr(journeys, "STARTS_WITHIN", 0.0)
    person = await scene.person()
    block = {"name": "complaint", "lasts": "P7D"}
    await scene.as_operator("POST", f"/v1/customers/{person.user_id}/blocks", block)
    await scene.as_operator("PUT", f"/v1/customers/{person.user_id}/speed", {"speed": 5})
    started = {"user_id": person.user_id, "properties": {"application_id": person.email, "filled": 1, "total": 2}}
    await scene.as_operator("POST", "/v1/journeys/AbandonedApplication/enrolments", started)
    await scene.as_operator("POST", f"/v1/journeys/{person.email}/enrolments", started)
    await scene.as_operator("DELETE", f"/v1/customers/{person.user_id}")
    found = await entries(scene, limit=5)
    assert [entry["action"] for entry in reversed(found)] == [
        "block_customer",
        "set_speed",
        "start_journey",
        "start_journey",
        "erase_customer",
    ]
    assert [entry["subject"].get("customer") for entry in found] == [person.customer, None, None] + 2 * [
        person.customer
    ]
    by_hand = found[2]
    assert by_hand["detail"]["customer"] == person.customer
    assert found[1]["subject"] == {"name": "unknown"}
    for personal in (person.user_id, person.email, person.phone, person.token):
        assert personal not in json.dumps(found)
    about = await entries(scene, customer=person.customer)
    assert {entry["action"] for entry in about} >= {"block_customer", "set_speed", "erase_customer", "start_journey"}


async def test_which_sender_is_used_again_is_entered_and_no_other_number(scene: Scene) -> None:
    person = await scene.person()
    async with scene.context.pool.acquire() as connection:
        await whatsapp.block_sender(connection, "+14155550188", "63112", timedelta(hours=1))
    for number in (person.phone, "+14155550188"):
        await scene.as_operator("DELETE", f"/v1/whatsapp/senders/{number}/block")
    done, refused = await entries(scene, limit=2)
    assert (done["answer"], done["detail"]) == ("204", {"sender": "+14155550188"})
    assert (refused["answer"], refused["subject"], refused["detail"]) == ("404", {"sender": "unknown"}, {})


async def test_every_operation_that_changes_something_or_shows_everything_is_entered(scene: Scene) -> None:
    document, asked = (await scene.http.get("/openapi.json")).json(), set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if {"bearerKey": []} not in operation.get("security", []):
                continue
            as_reader = await _asked(scene, method, path, READER)
            if method == "get" and as_reader.status_code != 403:
                continue
            before = await newest(scene)
            await _asked(scene, method, path, DECODER if path.startswith("/codec/") else OPERATOR)
            entry = await newest(scene)
            assert entry["id"] > before["id"], (method, path)
            assert entry["action"] == operation["operationId"], (method, path)
            assert entry["answer"] is not None, (method, path)
            asked.add(operation["operationId"])
    assert asked >= {"erase_customer", "export_customer", "command_enrolment", "decode_payloads", "resend", "set_speed"}


async def _asked(scene: Scene, method: str, path: str, token: str) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    return await scene.http.request(method.upper(), _filled(path), content=b"{}", headers=headers)


async def test_parameters_of_paths_are_of_kinds_the_log_can_keep(scene: Scene) -> None:
    document = (await scene.http.get("/openapi.json")).json()
    names = {
        parameter["name"]
        for operations in document["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "path"
    }
    # A new one that names a person must become their number, as user_id does.
    assert names <= {
        *("user_id", "number", "id", "name", "signal", "command", "message_id", "deed", "token"),
        *("group", "channel", "locale"),
        # A number of ours, or whatever was typed in its place.
        "sender",
    }


def _filled(path: str) -> str:
    for name, value in {
        "user_id": "nobody",
        "number": "999999999",
        "id": "999999999",
        "name": "NoSuchJourney",
        "group": "no_such_group",
        "channel": "sms",
        "locale": "en",
        "signal": "no_such_signal",
        "command": "pause",
        "message_id": str(uuid4()),
        "deed": "seen",
        "sender": "+14155550199",
    }.items():
        path = path.replace(f"{{{name}}}", value)
    return path


async def test_an_attempt_without_the_scope_is_entered_too(scene: Scene) -> None:
    person = await scene.person()
    headers = {"Authorization": f"Bearer {READER}"}
    refused = await scene.http.delete(f"/v1/customers/{person.user_id}", headers=headers)
    assert refused.status_code == 403
    entry = await newest(scene)
    assert (entry["actor"], entry["action"], entry["answer"]) == ("read", "erase_customer", "403")
    assert entry["subject"] == {"customer": person.customer}


async def test_what_customers_do_and_what_is_only_looked_at_is_not_entered(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.INBOX)
    before = await newest(scene)
    assert (await scene.does(person.user_id, message, "seen")).status_code == 200
    assert (await scene.get(f"/v1/customers/{person.user_id}")).status_code == 200
    assert (await scene.get(f"/v1/customers/{person.user_id}/inbox", INBOX)).status_code == 200
    assert await newest(scene) == before


@pytest.fixture
async def deaf_log(scene: Scene) -> AsyncIterator[None]:
    """Nothing can be entered in the log."""
    await scene.context.pool.execute(
        """
        create function deaf() returns trigger language plpgsql as $$ begin raise exception 'full'; end $$;
        create trigger deaf before insert on audit for each row execute function deaf();
        """
    )
    yield
    await scene.context.pool.execute("drop trigger deaf on audit; drop function deaf();")


async def test_what_cannot_be_entered_is_not_done(scene: Scene, deaf_log: None) -> None:
    person = await scene.person()
    assert (await scene.as_operator("DELETE", f"/v1/customers/{person.user_id}")).status_code == 503
    assert (await scene.as_operator("POST", f"/v1/enrolments/{person.enrolment}/stop")).status_code == 503
    assert (await scene.get(f"/v1/customers/{person.user_id}")).status_code == 200
    assert (await scene.get(f"/v1/enrolments/{person.enrolment}")).json()["outcome"] is None


async def test_an_answer_that_cannot_be_entered_changes_nothing_about_what_was_done(scene: Scene) -> None:
    person = await scene.person()
    await scene.context.pool.execute("alter table audit_answers rename to audit_answers_away")
    try:
        answer = await scene.as_operator("POST", f"/v1/enrolments/{person.enrolment}/stop")
    finally:
        await scene.context.pool.execute("alter table audit_answers_away rename to audit_answers")
    assert answer.status_code == 200
    assert (await newest(scene))["answer"] is None


@pytest.mark.parametrize("table", ["audit", "audit_answers"])
@pytest.mark.parametrize(
    "change", ["update {} set at = now()", "delete from {}", "truncate {} cascade", "delete from {} where false"]
)
async def test_no_entry_is_changed_or_removed(scene: Scene, table: str, change: str) -> None:
    await scene.as_operator("DELETE", "/v1/customers/nobody")
    with pytest.raises(asyncpg.RaiseError, match="only added to"):
        await scene.context.pool.execute(change.format(table))


async def test_entries_never_wait_for_the_requests_that_wait_for_them(scene: Scene) -> None:
    person = await scene.person()
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    # Each holds a connection while its answer is entered, and together they want more than there are.
    asked = [scene.http.get(f"/v1/customers/{person.user_id}/inbox", headers=headers) for _ in range(60)]
    answers = await asyncio.wait_for(asyncio.gather(*asked), 30)
    assert {answer.status_code for answer in answers} == {200}
    assert {entry["answer"] for entry in await entries(scene, customer=person.customer)} == {"200"}


async def test_a_failure_inside_is_the_answer_of_its_entry(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("api.customers.customers.set_speed", broken)
    person = await scene.person()
    assert (await scene.as_operator("PUT", f"/v1/customers/{person.user_id}/speed", {"speed": 5})).status_code == 500
    assert (await newest(scene))["answer"] == "500"


async def test_the_log_is_read_page_by_page_and_by_who_what_and_when(scene: Scene) -> None:
    began = datetime.now(UTC)
    for number in (999_999_991, 999_999_992, 999_999_993):
        await scene.as_operator("POST", f"/v1/enrolments/{number}/pause")
    await scene.as_operator("DELETE", "/v1/customers/nobody")
    pauses = await entries(scene, action="command_enrolment", since=began.isoformat())
    assert [entry["subject"]["number"] for entry in pauses] == [999_999_993, 999_999_992, 999_999_991]
    assert await entries(scene, actor="nobody-of-that-name") == []
    assert await entries(scene, until=began.isoformat(), since=began.isoformat()) == []
    headers = {"Authorization": f"Bearer {READER}"}
    seen: list[int] = []
    before: dict[str, int] = {}
    for _ in range(2):
        page = (
            await scene.http.get(
                "/v1/audit", params={"limit": 2, "since": began.isoformat(), **before}, headers=headers
            )
        ).json()
        seen += [entry["id"] for entry in page["entries"]]
        before = {"before": page["next"]} if page["next"] else {}
    assert len(seen) == 4
    assert seen == sorted(seen, reverse=True)
    assert before == {}
