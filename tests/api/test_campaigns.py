"""Campaigns over HTTP: kept, counted, planned, started; and what is refused, with what to change."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.campaigns import CampaignForm
from policy.contact import is_held_out
from store import campaigns
from tests.api.scene import READER, Scene

TEXT = "campaigns/tyres"


@pytest.fixture(autouse=True)
async def surroundings(scene: Scene) -> None:
    """So many others that no group of a test is most of all, and a text for two channels."""
    await scene.context.pool.execute("insert into customers select from generate_series(1, 30)")
    for channel, source in (
        ("sms", "---\n---\nWinter tyres are here."),
        ("push", "---\ntitle: Winter tyres\n---\nThey are here."),
    ):
        path = f"/v1/texts/{TEXT}/{channel}/en"
        if not (found := await scene.get(path)).is_success or found.json()["published"] is None:
            number = (await scene.as_operator("POST", f"{path}/versions", {"source": source})).json()["number"]
            published = await scene.as_operator("POST", f"{path}/versions/{number}/publish")
            assert published.status_code == 200, published.text


def a_name() -> str:
    return f"c_{uuid4().hex[:12]}"


async def a_segment(scene: Scene, members: int, **traits: Any) -> str:
    """A segment with some in it."""
    name = f"s_{uuid4().hex[:12]}"
    for _ in range(members):
        known = {"group": name, "phone": f"+1415{uuid4().int % 10_000_000:07d}", "timezone": "Etc/UTC", **traits}
        await scene.tells("identify", f"u-{uuid4().hex}", traits=known)
    body = {"story": "Some.", "form": {"trait": "group", "is": name}}
    assert (await scene.as_operator("PUT", f"/v1/segments/{name}", body)).status_code == 201
    return name


def a_form(segment: str, **given: Any) -> dict[str, Any]:
    return {"name": a_name(), "segment": segment, "cascade": [{"channel": "sms", "template": TEXT}], **given}


async def put(scene: Scene, form: dict[str, Any]) -> httpx.Response:
    return await scene.as_operator("PUT", f"/v1/campaigns/{form['name']}", form)


async def start(scene: Scene, name: str, *, confirm: bool = False) -> httpx.Response:
    return await scene.as_operator("POST", f"/v1/campaigns/{name}/start", {"confirm": confirm})


def kept(form: dict[str, Any]) -> Any:
    """As the database has it."""
    return CampaignForm.model_validate(form).model_dump(mode="json")


def refused(answer: httpx.Response, code: str, *words: str) -> None:
    """It says why, and what to change."""
    assert answer.json()["code"] == code, answer.text
    for word in words:
        assert word in answer.json()["message"]


async def test_a_campaign_is_put_changed_counted_started_and_kept(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 3))
    name = form["name"]
    first = await put(scene, form)
    assert (first.status_code, first.json()["status"], first.json()["created_by"]) == (200, "draft", "operate")
    assert (await put(scene, {**form, "rate_per_second": 5})).json()["form"]["rate_per_second"] == 5
    dry = (await scene.get(f"/v1/campaigns/{name}/dry")).json()
    assert (dry["members"], dry["exact"], dry["excluded"], dry["variants"]) == (3, True, 0, {"all": 3})
    assert dry["channels"] == [{"channel": "sms", "unreachable": 0, "suppressed": 0, "forbidden": 0}]
    begun = await start(scene, name)
    assert (begun.status_code, begun.json()["status"], begun.json()["started_by"]) == (200, "planning", "operate")
    assert begun.json()["temporal_ui"].startswith("https://temporal.example.com/")
    assert (await scene.get(f"/v1/campaigns/{name}/progress")).json()["status"] == "planning"
    assert name in {each["name"] for each in (await scene.get("/v1/campaigns")).json()}
    report = (await scene.get(f"/v1/campaigns/{name}/report")).json()
    assert [each["sent"] for each in report["variants"]] == [0]


async def test_a_dry_count_tells_who_cannot_be_reached(scene: Scene) -> None:
    segment = await a_segment(scene, 2)
    nobody = f"u-{uuid4().hex}"
    await scene.tells("identify", nobody, traits={"group": segment, "timezone": "Etc/UTC"})
    phone = f"+1415{uuid4().int % 10_000_000:07d}"
    await scene.tells("identify", f"u-{uuid4().hex}", traits={"group": segment, "phone": phone, "timezone": "Etc/UTC"})
    await scene.texts(phone, "STOP")
    form = a_form(segment)
    await put(scene, form)
    (sms,) = (await scene.get(f"/v1/campaigns/{form['name']}/dry")).json()["channels"]
    assert (sms["unreachable"], sms["suppressed"] + sms["forbidden"]) == (1, 1)
    dry = (await scene.get(f"/v1/campaigns/{form['name']}/dry")).json()
    assert (dry["members"], dry["beyond_reach"], dry["recipients"], dry["variants"]) == (4, 2, 2, {"all": 2})


async def test_a_dry_count_tells_who_is_held_out(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 12), holdout=0.5, rate_per_second=1)
    await put(scene, form)
    dry = (await scene.get(f"/v1/campaigns/{form['name']}/dry")).json()
    numbers = await scene.context.pool.fetch("select id from customers where traits ->> 'group' = $1", form["segment"])
    out = sum(is_held_out(scene.context.policy, f"campaign:{form['name']}", row["id"], 0.5) for row in numbers)
    assert (dry["members"], dry["held_out"], dry["recipients"], dry["seconds"]) == (12, out, 12 - out, 12 - out)


async def test_it_is_started_once_and_not_changed_or_discarded_after(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 1))
    name = form["name"]
    await put(scene, form)
    assert (await start(scene, name)).status_code == 200
    for answer in (await start(scene, name), await put(scene, {**form, "rate_per_second": 1})):
        assert answer.status_code == 409
        refused(answer, "started_already", f"{name} was started by operate", "under another name")
    gone = await scene.as_operator("DELETE", f"/v1/campaigns/{name}")
    assert gone.status_code == 409
    refused(gone, "started_already", "only a draft can be discarded")


async def test_a_draft_is_discarded(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 1))
    await put(scene, form)
    assert (await scene.as_operator("DELETE", f"/v1/campaigns/{form['name']}")).status_code == 204
    assert (await scene.get(f"/v1/campaigns/{form['name']}")).status_code == 404
    assert (await start(scene, form["name"])).status_code == 404


async def test_one_without_an_audience_is_refused(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 0))
    await put(scene, form)
    answer = await start(scene, form["name"])
    assert answer.status_code == 409
    refused(answer, "no_audience", "nobody is in it", form["segment"], "change its segment")


async def test_one_that_reaches_nobody_is_refused(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 2, phone=None))
    await put(scene, form)
    answer = await start(scene, form["name"])
    assert answer.status_code == 409
    refused(answer, "no_audience", "none of its 2 customers may be written to by sms", "change its cascade")


async def test_one_whose_messages_would_be_useless_before_they_are_sent_is_refused(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 8), rate_per_second=0.1, useful_for="PT1M")
    await put(scene, form)
    answer = await start(scene, form["name"])
    assert answer.status_code == 409
    refused(answer, "too_slow", "for 8 recipients at 0.1 a second", "raise rate_per_second or useful_for")
    await put(scene, {**form, "useful_for": "PT2M"})
    assert (await start(scene, form["name"])).status_code == 200


async def test_what_was_changed_since_it_was_looked_at_is_not_started(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 1))
    await put(scene, form)
    async with scene.context.pool.acquire() as connection:
        looked_at = await campaigns.find(connection, form["name"])
        assert looked_at is not None
        await put(scene, {**form, "rate_per_second": 5})
        assert not await campaigns.begin(connection, looked_at, "tests")


async def test_one_for_most_of_all_must_be_confirmed(scene: Scene) -> None:
    name = f"s_{uuid4().hex[:12]}"
    body = {"story": "All.", "form": {"not": {"has": "device"}}, "confirm": True}
    await scene.as_operator("PUT", f"/v1/segments/{name}", body)
    form = a_form(name)
    await put(scene, form)
    answer = await start(scene, form["name"])
    assert answer.status_code == 409
    refused(answer, "most_customers", "of all", "choose a narrower segment", "confirm")
    assert (await start(scene, form["name"], confirm=True)).status_code == 200
    await scene.as_operator("POST", f"/v1/campaigns/{form['name']}/stop")


PAST = (datetime.now(UTC) - timedelta(days=1)).isoformat()
OTHER = {"name": "b", "share": 0.5}


@pytest.mark.parametrize(
    ("given", "field", "rule"),
    [
        ({"segment": "nobody_knows"}, "segment", "there is no segment nobody_knows; there are"),
        ({"starts_at": PAST}, "starts_at", "is in the past; name a time to come"),
        ({"starts_at": "2030-01-01T10:00:00"}, "starts_at", "timezone"),
        ({"hour": 24}, "hour", "less than or equal to 23"),
        ({"hour": 22}, "hour", "sms may be used from 8 to 21 only; name an hour from 8 to 20"),
        ({"variants": [{"name": "a", "share": 1, "hour": 3}]}, "variants.a.hour", "sms may be used from 8 to 21"),
        ({"weekdays": []}, "weekdays", "at least 1"),
        ({"weekdays": ["monday"]}, "weekdays", "'mon'"),
        ({"topic": "weather"}, "topic", "must be one of the policy's topics: offers"),
        ({"cascade": []}, "cascade", "at least 1"),
        ({"cascade": [{"channel": "pigeon", "template": TEXT}]}, "cascade", "'email'"),
        ({"cascade": [{"channel": "sms", "template": TEXT}] * 2}, "", "goes to sms twice; leave one of them out"),
        ({"cascade": [{"channel": "email", "template": TEXT}]}, f"{TEXT} for email", "there is no text"),
        ({"cascade": [{"channel": "sms", "template": "campaigns/nothing"}]}, "for sms", "write and publish it"),
        ({"variants": [{"name": "a", "share": 0.4}, OTHER]}, "", "their shares add up to 0.9; they must add up to 1"),
        ({"variants": [OTHER, OTHER]}, "", "two are called b; give one of them another name"),
        ({"variants": [{"name": "a", "share": 1, "templates": {"push": TEXT}}]}, "", "a text for push, which"),
        ({"variants": [{"name": "a", "share": 1, "templates": {"sms": "campaigns/no"}}]}, "campaigns/no", "no text"),
        ({"rate_per_second": 0.01}, "rate_per_second", "greater than or equal to 0.1"),
        ({"exclude_contacted_within": "PT1S"}, "exclude_contacted_within", "greater than or equal to"),
        ({"holdout": 1}, "holdout", "less than or equal to 0.9"),
        ({"audience": "everybody"}, "audience", "Extra inputs are not permitted"),
        ({"name": "Winter Tyres"}, "name", "must be"),
        ({"name": "plan"}, "", "plan is what the content plan is called; give it another name"),
    ],
)
async def test_a_wrong_one_is_refused_with_the_place_and_the_rule(
    scene: Scene, given: dict[str, Any], field: str, rule: str
) -> None:
    form = {**a_form(await a_segment(scene, 1)), **given}
    answer = await scene.as_operator("PUT", f"/v1/campaigns/{form['name'] if 'name' not in given else 'c'}", form)
    assert answer.status_code == 422, answer.text
    assert any(field in each["field"] for each in answer.json()["errors"]), answer.text
    assert rule in answer.json()["message"] or "pattern" in answer.json()["message"], answer.text


async def test_the_name_is_that_of_the_address(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 1))
    answer = await scene.as_operator("PUT", "/v1/campaigns/another", form)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "name", "rule": "must be another, as in the address"}]


async def test_what_was_right_when_it_was_put_is_looked_at_again_when_it_is_started(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 1))
    await put(scene, form)
    assert (await scene.as_operator("DELETE", f"/v1/segments/{form['segment']}")).status_code == 204
    answer = await start(scene, form["name"])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "segment"


async def test_a_plan_is_kept_whole_or_not_at_all(scene: Scene) -> None:
    segment, month = await a_segment(scene, 1), "2031-12"
    forms = [
        a_form(segment, starts_at=f"{month}-0{day}T09:00:00Z", centre=centre)
        for day, centre in ((2, "north"), (1, "north"), (3, "south"))
    ]

    async def plan(*campaigns: dict[str, Any]) -> httpx.Response:
        return await scene.as_operator("PUT", "/v1/campaigns/plan", {"campaigns": campaigns})

    wrong = await plan(forms[0], {**forms[1], "centre": None}, {**forms[2], "topic": "weather"})
    assert wrong.status_code == 422
    assert {each["field"] for each in wrong.json()["errors"]} == {"campaigns.1.centre", "campaigns.2.topic"}
    twice = await plan(forms[0], forms[0])
    assert twice.json()["errors"] == [
        {"field": "campaigns.1.name", "rule": "another campaign of the plan has this name"}
    ]
    assert (await scene.get(f"/v1/campaigns/{forms[0]['name']}")).status_code == 404

    assert (await plan(*forms)).status_code == 200
    found = (await scene.get(f"/v1/campaigns/plan?month={month}")).json()
    assert [(each["centre"], [one["name"] for one in each["campaigns"]]) for each in found] == [
        ("north", [forms[1]["name"], forms[0]["name"]]),
        ("south", [forms[2]["name"]]),
    ]
    (north,) = (await scene.get(f"/v1/campaigns/plan?month={month}&centre=north")).json()
    assert len(north["campaigns"]) == 2

    assert (await start(scene, forms[0]["name"])).status_code == 200
    again = await plan(forms[0], {**forms[1], "rate_per_second": 3}, forms[2])
    assert [each["status"] for each in again.json()] == ["planning", "draft", "draft"]
    assert again.json()[1]["form"]["rate_per_second"] == 3
    # The month goes on: what was not started in its time is no reason to refuse the others.
    past = {**forms[1], "starts_at": PAST}
    await scene.context.pool.execute("update campaigns set form = $2 where name = $1", past["name"], kept(past))
    assert (await plan(forms[0], past, forms[2])).status_code == 200
    changed = await plan({**forms[0], "rate_per_second": 3}, *forms[1:])
    assert changed.status_code == 422
    assert "was started by operate" in changed.json()["message"]


async def test_what_it_is_not_cannot_be_done_to_it(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 1))
    await put(scene, form)
    for command, why in (("pause", "only one that is running can pause"), ("resume", "only one that is paused")):
        answer = await scene.as_operator("POST", f"/v1/campaigns/{form['name']}/{command}")
        assert answer.status_code == 409
        assert f"{form['name']} is draft; {why}" in answer.json()["message"]


async def test_whoever_may_only_read_starts_nothing(scene: Scene) -> None:
    form = a_form(await a_segment(scene, 1))
    await put(scene, form)
    headers = {"Authorization": f"Bearer {READER}"}
    assert (await scene.http.get(f"/v1/campaigns/{form['name']}", headers=headers)).status_code == 200
    path = f"/v1/campaigns/{form['name']}/start"
    assert (await scene.http.post(path, json={}, headers=headers)).status_code == 403
