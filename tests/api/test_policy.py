"""What the policy says, over HTTP: the rules, dry decisions, blocks and dialogues."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain.messages import Channel
from policy.contact import RULES
from tests.api.scene import READER, Person, Scene


async def decision(scene: Scene, person: Person, **about: str) -> dict[str, Any]:
    query = "&".join(f"{name}={value}" for name, value in about.items())
    answer = await scene.get(f"/v1/customers/{person.user_id}/decision?{query}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


SMS = {"journey": "AbandonedApplication", "channel": "sms"}


async def test_the_rules_are_told_in_the_order_in_which_they_are_asked(scene: Scene) -> None:
    told = (await scene.get("/v1/policy")).json()
    assert [rule["name"] for rule in told["rules"]] == [rule.name for rule in RULES]
    assert told["body"]["quiet_hours"] == {"sms": [8, 21], "call": [8, 21]}
    (version,) = (await scene.get("/v1/policy/versions")).json()
    assert version["version"] == told["version"]
    assert version["body"] == told["body"]


async def test_a_dry_decision_says_what_every_rule_says_and_sends_nothing(scene: Scene) -> None:
    person = await scene.person()
    at_night = "2026-11-23T23:30:00Z"
    told = await decision(scene, person, **SMS, at=at_night)
    assert (told["verdict"], told["reason"], told["until"]) == ("delay", "quiet_hours", "2026-11-24T08:00:00Z")
    verdicts = {each["rule"]: each["verdict"] for each in told["rules"]}
    assert verdicts == {rule.name: "passes" for rule in RULES} | {"quiet_hours": "delays"}
    assert (await decision(scene, person, **SMS, at="2026-11-23T12:00:00Z"))["verdict"] == "send"
    transactional = await decision(scene, person, **SMS, at=at_night, message_class="transactional")
    assert transactional["verdict"] == "send"
    assert {each["rule"]: each["verdict"] for each in transactional["rules"]}["quiet_hours"] == "exempt"
    assert (
        await scene.context.pool.fetchval("select count(*) from messages where customer_id = $1", person.customer) == 0
    )


async def test_a_dry_decision_about_a_message_of_the_customers(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    message = await scene.sent(person, Channel.EMAIL)
    assert (await decision(scene, person, message=str(message)))["verdict"] == "send"
    for user_id, about in ((other.user_id, message), (person.user_id, uuid4())):
        answer = await scene.get(f"/v1/customers/{user_id}/decision?message={about}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_dry_decision_names_what_is_missing(scene: Scene) -> None:
    person = await scene.person()
    for query, field in (("channel=sms", "journey"), ("journey=AbandonedApplication", "channel")):
        answer = await scene.get(f"/v1/customers/{person.user_id}/decision?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    unknown = await scene.get(f"/v1/customers/{person.user_id}/decision?journey=Nowhere&channel=sms")
    assert "must be one of AbandonedApplication" in unknown.json()["message"]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:00:00Z"])
async def test_a_dry_decision_at_no_time_anybody_lives_in_is_refused(scene: Scene, at: str) -> None:
    person = await scene.person()
    query = f"journey=AbandonedApplication&channel=sms&at={at}"
    refused = await scene.get(f"/v1/customers/{person.user_id}/decision?{query}")
    assert refused.status_code == 422
    assert "at" in refused.json()["errors"][0]["field"]


async def test_a_block_silences_a_customer_until_it_is_lifted(scene: Scene) -> None:
    person, noon = await scene.person(), "2026-12-01T12:00:00Z"
    path = f"/v1/customers/{person.user_id}/blocks"
    made = await scene.as_operator("POST", path, {"name": "complaint", "lasts": "P30D"})
    assert made.status_code == 201
    block = made.json()
    begins, until = (datetime.fromisoformat(block[name]) for name in ("begins_at", "until"))
    assert until - begins == timedelta(days=30)
    noon = (begins + timedelta(days=1)).astimezone(UTC).replace(hour=12).isoformat().replace("+00:00", "Z")
    told = await decision(scene, person, **SMS, at=noon)
    assert (told["verdict"], told["reason"]) == ("drop", "blocked:complaint")
    assert (await scene.as_operator("DELETE", f"{path}/{block['id']}")).status_code == 204
    assert (await scene.as_operator("DELETE", f"{path}/{block['id']}")).status_code == 404
    assert (await decision(scene, person, **SMS, at=noon))["verdict"] == "send"
    (kept,) = (await scene.get(path)).json()
    assert kept["lifted_at"] is not None


async def test_a_block_that_makes_no_sense_is_refused(scene: Scene) -> None:
    person = await scene.person()
    path = f"/v1/customers/{person.user_id}/blocks"
    for body, field in (
        ({"name": "complaint", "lasts": "P0D"}, "lasts"),
        ({"name": "complaint", "lasts": "-P1D"}, "lasts"),
        ({"name": "complaint", "lasts": "P100000D"}, "lasts"),
        ({"name": "They complained!", "lasts": "P1D"}, "name"),
        ({"name": "complaint"}, "lasts"),
    ):
        answer = await scene.as_operator("POST", path, body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert (await scene.get(path)).json() == []


async def test_a_dialogue_is_opened_seen_and_closed(scene: Scene) -> None:
    person = await scene.person()
    path = f"/v1/customers/{person.user_id}/dialogue"
    email = {"journey": "AbandonedApplication", "channel": "email"}
    assert (await scene.get(path)).status_code == 204
    opened = await scene.as_operator("PUT", path)
    assert opened.json()["source"] == "operator:operate"
    assert (await scene.as_operator("PUT", path)).json()["id"] == opened.json()["id"]
    assert (await decision(scene, person, **email))["reason"] == "dialogue"
    assert (await scene.as_operator("DELETE", path)).status_code == 204
    assert (await scene.as_operator("DELETE", path)).status_code == 204
    assert (await decision(scene, person, **email))["verdict"] == "send"


async def test_readers_may_ask_and_not_silence(scene: Scene) -> None:
    person = await scene.person()
    headers = {"Authorization": f"Bearer {READER}"}
    for method, path in (("POST", "blocks"), ("PUT", "dialogue"), ("DELETE", "dialogue")):
        answer = await scene.http.request(
            method, f"/v1/customers/{person.user_id}/{path}", headers=headers, json={"name": "x", "lasts": "P1D"}
        )
        assert answer.status_code == 403
    assert (
        await scene.get("/v1/customers/nobody/decision?journey=AbandonedApplication&channel=sms")
    ).status_code == 404
