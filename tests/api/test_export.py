"""An export holds everything that is held on a customer, and nothing of anybody else."""

import json
from typing import Any

from jsonschema import Draft202012Validator

from domain.messages import Channel
from store.export import SECTIONS, WITHHELD
from tests.api.known import OURS, columns, rows_with, well_known
from tests.api.scene import READER, Scene


async def exported(scene: Scene, user_id: str) -> dict[str, Any]:
    answer = await scene.as_operator("GET", f"/v1/customers/{user_id}/export")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


async def test_every_column_is_exported_or_withheld_for_a_reason(scene: Scene) -> None:
    """A new table or column fails this until somebody decides about it in `store/export.py`."""
    shown = {f"{section.table}.{column}" for section in SECTIONS.values() for column in section.columns}
    tables = {table for table, _, _ in await columns(scene)}
    there = {f"{table}.{column}" for table, column, _ in await columns(scene)}
    withheld = {name for name in there if name in WITHHELD or name.split(".")[0] in WITHHELD}
    assert there - withheld == shown
    assert shown & withheld == set()
    # What is withheld is there.
    assert WITHHELD.keys() <= there | tables
    assert all(WITHHELD.values())


async def test_an_export_holds_every_word_that_is_held(scene: Scene) -> None:
    known = await well_known(scene)
    await scene.context.pool.execute(
        "insert into impressions (message_id, number, surface, journey_at) "
        "select id, 1, 'web', now() from messages where customer_id = $1 limit 1",
        known.person.customer,
    )
    tables = {section.table: name for name, section in SECTIONS.items()}
    found = await exported(scene, known.person.user_id)
    planted = await rows_with(scene, *known.markers)
    assert len(planted) > 20
    for place in planted:
        table, column = place.split(".")
        told = json.dumps([row[column] for row in found[tables[table]]], ensure_ascii=False).lower()
        assert any(marker.lower() in told for marker in known.markers), place
    # And every row, with or without words.
    counts = {name: len(found[name]) for name in SECTIONS}
    assert counts["messages"] == 6
    assert counts["blocks"] == counts["dialogues"] == 1
    assert counts["rejected_events"] == 2
    assert counts["enrolments"] == 3, "two journeys, and the conversation"
    assert {row["channel"] for row in found["suppressions"]} == {"email", "sms"}
    assert {row["action"] for row in found["audit"]} >= {"block_customer", "open_dialogue", "record_consent"}
    assert not {name for name, number in counts.items() if not number} - {"decisions", "clicks"}
    assert OURS.keys() - {section.table for section in SECTIONS.values()} <= WITHHELD.keys()


async def test_an_export_holds_nothing_of_anybody_else(scene: Scene) -> None:
    known = await well_known(scene)
    other = await scene.person(phone=known.person.phone, first_name="Bea")
    await scene.sent(other, Channel.SMS)
    await scene.as_operator("POST", f"/v1/customers/{other.user_id}/blocks", {"name": "theirs", "lasts": "P1D"})
    told = json.dumps(await exported(scene, known.person.user_id))
    assert other.user_id not in told
    assert other.email.lower() not in told.lower()
    assert "theirs" not in told
    assert known.mark not in json.dumps((await exported(scene, other.user_id))["messages"])


async def test_who_was_merged_is_exported_with_the_whole(scene: Scene) -> None:
    known = await well_known(scene)
    other = await scene.person()
    await scene.tells("alias", other.user_id, previousId=known.person.user_id)
    found = await exported(scene, other.user_id)
    assert {row["value"] for row in found["identities"]} >= {other.user_id, known.person.user_id}
    assert [row["id"] for row in found["profile"]] == [other.customer, known.person.customer]
    assert len(found["messages"]) == 6


async def test_the_layout_is_the_documented_one(scene: Scene) -> None:
    known = await well_known(scene)
    document = (await scene.http.get("/openapi.json")).json()
    operation = document["paths"]["/v1/customers/{user_id}/export"]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    found = await exported(scene, known.person.user_id)
    Draft202012Validator(schema).validate(found)
    assert list(found) == list(schema["properties"])
    for name in SECTIONS:
        for row in found[name]:
            assert list(row) == list(schema["properties"][name]["items"]["properties"])


async def test_only_an_operator_exports_and_it_is_kept_that_they_did(scene: Scene) -> None:
    person = await scene.person()
    assert (await scene.get(f"/v1/customers/{person.user_id}/export", READER)).status_code == 403
    assert (await scene.as_operator("GET", "/v1/customers/nobody/export")).status_code == 404
    await exported(scene, person.user_id)
    entries = await scene.context.pool.fetch(
        """
        select a.action, r.answer from audit a join audit_answers r on r.audit_id = a.id
        where a.subject @> jsonb_build_object('customer', $1::bigint) order by a.id
        """,
        person.customer,
    )
    assert [tuple(entry.values()) for entry in entries][-1] == ("export_customer", "200")
