"""Consent over HTTP: recorded by a backend, read as what holds and as the ledger of how it came about."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from cli.stack.processes import PROJECT
from domain.messages import Channel
from tests.api.scene import INBOX, OPERATOR, READER, WRITER, Person, Scene


async def records(
    scene: Scene, person: Person, given: bool = True, *, key: str = WRITER, **fields: Any
) -> httpx.Response:
    body = {"channel": "sms", "topic": "offers", "given": given, "source": "registration_form", **fields}
    headers = {"Authorization": f"Bearer {key}"}
    return await scene.http.post(f"/v1/customers/{person.user_id}/consents", json=body, headers=headers)


async def test_a_backend_records_what_was_said_at_registration(scene: Scene) -> None:
    person = await scene.person()
    said = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    proof = {"form": "registration-7", "wording": ["2026-11"]}
    answer = await records(scene, person, proof=proof, at=said.isoformat())
    assert answer.status_code == 201, answer.text
    (entry,) = await scene.ledger(person)
    assert entry == answer.json()
    assert (entry["channel"], entry["topic"], entry["given"]) == ("sms", "offers", True)
    assert (entry["source"], entry["proof"]) == ("ingest:registration_form", proof)
    assert datetime.fromisoformat(entry["at"]) == said
    assert await scene.allows(person, Channel.SMS) == (True, "given")
    found = (await scene.get(f"/v1/customers/{person.user_id}/subscriptions")).json()
    (sms,) = (each for each in found["subscriptions"] if each["channel"] == "sms")
    assert (sms["since"], sms["source"]) == (entry["at"], "ingest:registration_form")
    assert (sms["reachable"], sms["title"]["ru"]) == (True, "Предложения и напоминания")


async def test_the_page_about_consent_shows_what_is_taken(scene: Scene) -> None:
    page = (PROJECT / "docs" / "consent.md").read_text(encoding="utf-8")
    body = json.loads(page.partition("-d '")[2].partition("'")[0])
    answer = await records(scene, await scene.person(), **body)
    assert answer.status_code == 201, answer.text


async def test_what_is_recorded_last_holds_whenever_it_was_said(scene: Scene) -> None:
    person = await scene.person()
    await records(scene, person, given=False, at=datetime.now(UTC).isoformat())
    await records(scene, person, given=True, at="2020-01-01T00:00:00Z")
    assert await scene.allows(person, Channel.SMS) == (True, "given")
    await records(scene, person, given=False, channel="*", topic="*")
    for channel in Channel:
        assert await scene.allows(person, channel) == (False, "withdrawn")
    await records(scene, person, channel="email", topic="*")
    assert await scene.allows(person, Channel.EMAIL) == (True, "given")


async def test_it_covers_this_customer_alone(scene: Scene) -> None:
    person = await scene.person()
    other = await scene.person(phone=person.phone)
    await records(scene, person, given=False)
    assert await scene.allows(other, Channel.SMS) == (True, "assumed")


@pytest.mark.parametrize(
    ("reason", "lifted"), [("erased", True), ("opted_out", False), ("complained", False), ("dead", False)]
)
@pytest.mark.parametrize("channel", ["sms", "*"])
async def test_consent_lifts_no_suppression_but_that_of_an_address_whose_customer_was_erased(
    scene: Scene, reason: str, lifted: bool, channel: str
) -> None:
    person = await scene.person()
    for blocked in ("sms", "call"):
        await scene.context.pool.execute(
            "insert into suppressions (channel, recipient, reason, source) values ($1, address_hash($2), $3, 'test')",
            blocked,
            person.phone,
            reason,
        )
    await records(scene, person, given=False, channel=channel)
    assert await scene.suppressed(Channel.SMS, person.phone) == reason
    await records(scene, person, given=True, channel=channel)
    assert await scene.suppressed(Channel.SMS, person.phone) == (None if lifted else reason)
    assert await scene.suppressed(Channel.CALL, person.phone) == (None if lifted and channel == "*" else reason)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"channel": "pigeon"}, "channel"),
        ({"topic": "secrets"}, "topic"),
        ({"topic": ""}, "topic"),
        ({"given": None}, "given"),
        ({"source": "Ada said so"}, "source"),
        ({"source": ""}, "source"),
        ({"proof": {"x": "y" * 5000}}, "proof"),
        ({"proof": "paper"}, "proof"),
        ({"at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "at"),
        ({"at": "2026-01-01T00:00:00"}, "at"),
        ({"address": "a@example.com"}, "address"),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_its_name(scene: Scene, fields: dict[str, Any], field: str) -> None:
    person = await scene.person()
    answer = await records(scene, person, **fields)
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["errors"][0]["field"]
    assert await scene.ledger(person) == []


async def test_a_clock_a_little_ahead_is_now(scene: Scene) -> None:
    person = await scene.person()
    ahead = datetime.now(UTC) + timedelta(seconds=30)
    answer = await records(scene, person, at=ahead.isoformat())
    assert datetime.fromisoformat(answer.json()["at"]) < ahead


async def test_who_may_record_and_who_may_read(scene: Scene) -> None:
    person = await scene.person()
    assert [(await records(scene, person, key=key)).status_code for key in (WRITER, OPERATOR, READER, INBOX)] == [
        201,
        201,
        403,
        403,
    ]
    assert (await records(scene, person, key="nobody")).status_code == 401
    for path in ("subscriptions", "consents"):
        found = [
            (await scene.get(f"/v1/customers/{person.user_id}/{path}", key)).status_code for key in (READER, WRITER)
        ]
        assert found == [200, 403]


async def test_there_is_nothing_of_nobody_and_of_the_erased(scene: Scene) -> None:
    person = await scene.person()
    await records(scene, person)
    assert (await scene.get("/v1/customers/nobody-at-all/subscriptions")).status_code == 404
    assert (await scene.as_operator("DELETE", f"/v1/customers/{person.user_id}")).status_code == 204
    for path in ("subscriptions", "consents"):
        assert (await scene.get(f"/v1/customers/{person.user_id}/{path}")).status_code == 410
    assert (await records(scene, person)).status_code == 410


async def test_the_ledger_is_read_page_by_page(scene: Scene) -> None:
    person = await scene.person()
    other = await scene.person(phone=person.phone)
    await scene.texts(person.phone, "STOP")
    ids = [(await records(scene, person, given=bool(number % 2))).json()["id"] for number in range(5)]
    await records(scene, other)
    seen: list[int] = []
    path, more = f"/v1/customers/{person.user_id}/consents?limit=2", True
    while more:
        page = (await scene.get(f"{path}&before={seen[-1]}" if seen else path)).json()
        assert len(page["entries"]) <= 2
        seen += [entry["id"] for entry in page["entries"]]
        more = page["next"] is not None
        assert page["next"] in (None, seen[-1])
    # The STOP was about the number, so it is about both; the other one's own entry is not.
    assert seen[:5] == ids[::-1]
    assert len(seen) == 6


async def test_the_ledger_is_only_added_to(scene: Scene) -> None:
    person = await scene.person()
    await records(scene, person, proof={"form": "7"})
    for attempt in (
        "update consents set given = not given where customer_id = $1",
        "update consents set channel = 'email' where customer_id = $1",
        "update consents set topic = '*' where customer_id = $1",
        "update consents set source = 'me' where customer_id = $1",
        "update consents set at = now() where customer_id = $1",
        'update consents set proof = \'{"form": "8"}\' where customer_id = $1',
        "delete from consents where customer_id = $1",
    ):
        with pytest.raises(asyncpg.RaiseError, match="only added"):
            await scene.context.pool.execute(attempt, person.customer)
    with pytest.raises(asyncpg.RaiseError, match="only added"):
        await scene.context.pool.execute("truncate consents")


async def test_wishes_that_cross_a_merge_are_kept_in_one_order(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    await asyncio.gather(
        scene.tells("alias", other.user_id, previousId=person.user_id),
        *(records(scene, each, given=bool(number % 2)) for number in range(4) for each in (person, other)),
    )
    ledger = await scene.ledger(other)
    assert len(ledger) == 8
    assert await scene.allows(other, Channel.SMS) == ((True, "given") if ledger[0]["given"] else (False, "withdrawn"))
