"""Segments over HTTP: defined, looked at, explained, evaluated; and what is refused, with what to change."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.campaigns import CampaignForm, Step
from domain.messages import Channel
from segments.coded import CODED
from segments.definition import Coded, CodedParameters
from store import campaigns
from tests.api.scene import READER, Scene
from tests.workflows.stories import QuietOnes
from workflows.car_credit.abandoned_application import AbandonedApplication
from workflows.catalog import Catalog
from workflows.enabled import JOURNEYS


@pytest.fixture(autouse=True)
async def bystanders(scene: Scene) -> None:
    """So many others that no group of a test is most of all."""
    await scene.context.pool.execute("insert into customers select from generate_series(1, 30)")


def a_name() -> str:
    return f"s_{uuid4().hex[:12]}"


async def put(scene: Scene, name: str, form: Any, **more: Any) -> httpx.Response:
    return await scene.as_operator("PUT", f"/v1/segments/{name}", {"story": "Some.", "form": form, **more})


async def preview(scene: Scene, form: Any, **more: Any) -> httpx.Response:
    return await scene.as_operator("POST", "/v1/segments/preview", {"form": form, **more})


async def told(scene: Scene, path: str) -> Any:
    answer = await scene.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def people(scene: Scene, group: str, count: int) -> dict[int, str]:
    """Some who share a trait nobody else has: user ids by number."""
    users = [f"u-{uuid4().hex}" for _ in range(count)]
    for user in users:
        await scene.tells("identify", user, traits={"group": group})
    return {number: user for user in users if (number := await scene.customer_of(user))}


async def test_a_segment_is_defined_changed_and_taken_back(scene: Scene) -> None:
    name, group = a_name(), uuid4().hex
    await people(scene, group, 2)
    first = await put(scene, name, {"trait": "group", "is": group}, note="for the spring")
    assert first.status_code == 201
    assert first.json() == {
        **{"name": name, "version": 1, "new": True, "scan": f"segment-scan-{name}"},
        "size": first.json()["size"],
    }
    assert (first.json()["size"]["customers"], first.json()["size"]["exact"]) == (2, True)
    again = (await put(scene, name, {"trait": "group", "is": group})).json()
    assert (again["version"], again["new"], again["scan"]) == (1, False, None)
    second = await put(scene, name, {"all": [{"trait": "group", "is": group}, {"has": "phone"}]})
    assert (second.status_code, second.json()["version"], second.json()["size"]["customers"]) == (200, 2, 0)
    back = (await scene.as_operator("POST", f"/v1/segments/{name}/rollback", {"version": 1})).json()
    assert (back["version"], back["new"], back["size"]["customers"]) == (3, True, 2)
    found = await told(scene, f"/v1/segments/{name}")
    assert [(each["version"], each["current"], each["note"], each["author"]) for each in found["versions"]] == [
        (3, True, "back to version 1", "operator:operate"),
        (2, False, None, "operator:operate"),
        (1, False, "for the spring", "operator:operate"),
    ]
    assert found["form"] == {"trait": "group", "is": group}
    assert name in {each["name"] for each in await told(scene, "/v1/segments")}
    assert (await scene.as_operator("DELETE", f"/v1/segments/{name}")).status_code == 204
    assert (await scene.get(f"/v1/segments/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("form", "field", "rule"),
    [
        ({"event": "viewed", "within": "14 days"}, "form.within", "must be an ISO 8601 duration"),
        ({"all": [{"has": "email"}, {"trait": "age", "at_least": "old"}]}, "form.all.1.at_least", "must be a number"),
        ({"any": [{"not": {"event": "message_read"}}]}, "form.any.0.not.event", "message_read is an event of ours"),
        ({"event": "viewed", "at_last": 3}, "form.at_last", "Extra inputs are not permitted"),
        ({"trait": "a", "is": 1, "is_not": 2}, "form", "must have exactly one of is, is_not"),
        ({"trait": "phone", "exists": True}, "form", '{"has": "phone"}'),
        ({"all": []}, "form.all", "at least 1"),
        ({"where": {}}, "form", "an object with exactly one of all, any, not"),
        ({"event": "viewed", "has": "email"}, "form", "exactly one of all, any, not"),
        ({"event": "viewed", "within": "P1D", "not_within": "P1D"}, "form", "goes with nothing but where"),
        ({"segment": "nobody_knows"}, "form.segment", "there is no segment nobody_knows"),
        ({"coded": "magic"}, "form", "there is no SQL of this name; there is rfm"),
        ({"coded": "rfm", "with": {"is": "kings"}}, "form", "with.is: Input should be"),
        ({"event": "viewed", "where": {"bank": None}}, "form.where.bank", "must be a text, a number, true or false"),
        ({"not": {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"has": "email"}}}}}}}}}, "form", "8 levels"),
        ({"any": [{"has": "email"}] * 40}, "form", "more than 40 conditions"),
    ],
)
async def test_a_wrong_form_is_refused_with_the_place_and_the_rule(
    scene: Scene, form: dict[str, Any], field: str, rule: str
) -> None:
    for answer in (await put(scene, a_name(), form), await preview(scene, form)):
        assert answer.status_code == 422, answer.text
        assert any(field == each["field"] or each["field"].startswith(f"{field}.") for each in answer.json()["errors"])
        assert rule in answer.json()["message"]


async def test_a_form_whose_sql_in_the_code_fails_is_refused_and_says_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "select id as customer_id, 1 / (id - id) > 0 as member, null::jsonb as because from unnest(:customers) id"
    monkeypatch.setitem(CODED, "fails", Coded("fails", "Fails.", CodedParameters, sql))
    for answer in (await put(scene, a_name(), {"coded": "fails"}), await preview(scene, {"coded": "fails"})):
        assert (answer.status_code, answer.json()["code"]) == (422, "broken")
        assert "SQL in the code fails: DivisionByZeroError" in answer.json()["message"]


async def test_segments_do_not_lead_in_circles(scene: Scene) -> None:
    one, two = a_name(), a_name()
    await put(scene, one, {"trait": "group", "is": uuid4().hex})
    assert (await put(scene, two, {"segment": one})).status_code == 201
    circle = await put(scene, one, {"not": {"segment": two}}, confirm=True)
    assert circle.status_code == 422
    assert circle.json()["errors"] == [
        {"field": "form.not.segment.segment", "rule": f"must not lead back to itself: {one} → {two} → {one}"}
    ]
    assert (await put(scene, one, {"segment": one})).status_code == 422
    in_use = await scene.as_operator("DELETE", f"/v1/segments/{one}")
    assert (in_use.status_code, in_use.json()["code"]) == (409, "in_use")
    assert two in in_use.json()["message"]


async def test_what_names_a_segment_must_not_grow_too_large_by_it(scene: Scene) -> None:
    inner, outer = a_name(), a_name()
    condition = {"trait": "group", "is": uuid4().hex}
    await put(scene, inner, {"any": [condition] * 5})
    await put(scene, outer, {"any": [condition] * 30 + [{"segment": inner}]})
    assert (await put(scene, inner, {"any": [condition] * 15})).status_code == 422
    assert (await told(scene, f"/v1/segments/{inner}"))["version"] == 1


async def test_a_segment_that_would_take_the_whole_base_is_refused_unless_it_is_meant(scene: Scene) -> None:
    await people(scene, uuid4().hex, 1)
    name, everybody = a_name(), {"not": {"trait": "group", "is": uuid4().hex}}
    refused = await put(scene, name, everybody)
    assert (refused.status_code, refused.json()["code"]) == (409, "most_customers")
    assert "(100%); narrow its form, or confirm" in refused.json()["message"]
    assert (await scene.get(f"/v1/segments/{name}")).status_code == 404
    assert (await put(scene, name, everybody, confirm=True)).status_code == 201


async def test_a_preview_counts_and_names_some_and_keeps_nothing(scene: Scene) -> None:
    group = uuid4().hex
    found = await people(scene, group, 5)
    seen = (await preview(scene, {"trait": "group", "is": group}, sample=3)).json()
    assert (seen["customers"], seen["least"], seen["most"], seen["exact"]) == (5, 5, 5, True)
    assert len(seen["sample"]) == 3
    assert {each["customer_id"]: each["user_id"] for each in seen["sample"]}.items() <= found.items()
    assert seen["of"] > 5


async def test_one_customer_is_explained_condition_by_condition(scene: Scene) -> None:
    name, user = a_name(), f"u-{uuid4().hex}"
    await scene.tells("identify", user, traits={"city": "Berlin"})
    for _ in range(3):
        await scene.tells("track", user, event="listing_viewed")
    form = {
        "all": [
            {"event": "listing_viewed", "at_least": 20, "within": "P14D"},
            {"not": {"trait": "city", "is": "Paris"}},
        ]
    }
    await put(scene, name, form)
    why = await told(scene, f"/v1/segments/{name}/customers/{user}")
    assert (why["holds"], why["member_since"], why["customer_id"]) == (False, None, await scene.customer_of(user))
    viewed, no_parisian = why["because"]["parts"]
    assert viewed == {
        "path": "form.all.0",
        "says": "listing_viewed at least 20 times in 14 days",
        "holds": False,
        "actual": 3,
        "parts": [],
    }
    assert (no_parisian["says"], no_parisian["holds"], no_parisian["parts"][0]["actual"]) == ("not", True, "Berlin")
    assert (await scene.get(f"/v1/segments/{name}/customers/nobody")).status_code == 404


async def test_a_scan_is_begun_by_hand_once_at_a_time(scene: Scene) -> None:
    name = a_name()
    assert (await put(scene, name, {"trait": "group", "is": uuid4().hex})).json()["scan"]
    # The one that the definition began is under way: nobody works on it here.
    busy = await scene.as_operator("POST", f"/v1/segments/{name}/evaluate")
    assert (busy.status_code, busy.json()["code"]) == (409, "under_way")
    await scene.context.temporal.get_workflow_handle(f"segment-scan-{name}").terminate()
    begun = await scene.as_operator("POST", f"/v1/segments/{name}/evaluate")
    assert (begun.status_code, begun.json()["workflow_id"]) == (202, f"segment-scan-{name}")
    assert await told(scene, f"/v1/segments/{name}/evaluations") == []
    unknown = await scene.as_operator("POST", f"/v1/segments/{a_name()}/evaluate")
    assert unknown.status_code == 404
    assert name in unknown.json()["message"]


async def test_members_are_listed_page_by_page(scene: Scene) -> None:
    name = a_name()
    found = await people(scene, uuid4().hex, 3)
    numbers = sorted(found)
    await put(scene, name, {"trait": "group", "is": uuid4().hex})
    await scene.context.pool.execute(
        """
        insert into segment_members (segment_id, customer_id)
        select id, unnest($2::bigint[]) from segments where name = $1
        """,
        name,
        numbers,
    )
    first = await told(scene, f"/v1/segments/{name}/members?limit=2")
    assert ([each["customer_id"] for each in first["members"]], first["next"]) == (numbers[:2], numbers[1])
    assert [each["user_id"] for each in first["members"]] == [found[number] for number in numbers[:2]]
    rest = await told(scene, f"/v1/segments/{name}/members?limit=2&after={first['next']}")
    assert ([each["customer_id"] for each in rest["members"]], rest["next"]) == (numbers[2:], None)
    assert (await told(scene, f"/v1/segments/{name}"))["members"] == 3


async def test_a_segment_of_a_journey_or_of_the_release_is_not_deleted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.context, "catalog", Catalog.of((AbandonedApplication,)))
    released = await scene.as_operator("DELETE", "/v1/segments/credit_interest_cold")
    assert (released.status_code, released.json()["code"]) == (409, "in_use")
    assert "comes with the release" in released.json()["message"]
    monkeypatch.setattr(scene.context, "catalog", Catalog.of((*JOURNEYS, QuietOnes)))
    await put(scene, "quiet_month", {"trait": "group", "is": uuid4().hex})
    used = await scene.as_operator("DELETE", "/v1/segments/quiet_month")
    assert used.status_code == 409
    assert "QuietOnes" in used.json()["message"]
    assert (await told(scene, "/v1/segments/quiet_month"))["journeys"] == ["QuietOnes"]


async def test_a_segment_a_campaign_is_for_is_not_deleted(scene: Scene) -> None:
    name, campaign = a_name(), a_name()
    await put(scene, name, {"trait": "group", "is": uuid4().hex})
    form = CampaignForm(name=campaign, segment=name, cascade=[Step(channel=Channel.SMS, template="campaigns/spring")])
    async with scene.context.pool.acquire() as connection:
        kept = await campaigns.put(connection, form, "operator:tests")
        assert kept
        assert await campaigns.begin(connection, kept, "operator:tests")
    used = await scene.as_operator("DELETE", f"/v1/segments/{name}")
    assert (used.status_code, used.json()["code"]) == (409, "in_use")
    assert f"whom the campaign {campaign} is for; stop that first" in used.json()["message"]
    async with scene.context.pool.acquire() as connection:
        await campaigns.end(connection, kept.id)
    assert (await scene.as_operator("DELETE", f"/v1/segments/{name}")).status_code == 204


async def test_only_operators_change_segments_and_what_they_do_is_on_record(scene: Scene) -> None:
    name = a_name()
    body = {"story": "Some.", "form": {"has": "email"}}
    answer = await scene.http.put(f"/v1/segments/{name}", json=body, headers={"Authorization": f"Bearer {READER}"})
    assert answer.status_code == 403
    await put(scene, name, {"trait": "group", "is": uuid4().hex})
    entries = (await told(scene, "/v1/audit?action=put_segment&limit=2"))["entries"]
    assert [(each["detail"], each["answer"]) for each in entries] == [
        ({"segment": name, "version": 1}, "201"),
        ({}, "403"),
    ]
