"""Journeys over HTTP: start by hand, read live, signal, command; and a clear answer to whatever makes no sense."""

from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from dispatch.dispatcher import Dispatcher
from tests.api.scene import Scene
from tests.histories.reminder import renamed
from tests.world import Person, World
from workflows.catalog import Catalog


@pytest.fixture
async def operator(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """An operator, while dispatch is running."""
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with (
        Dispatcher(world.pool, world.stack.database_url, world.temporal, world.catalog).running(),
        httpx.AsyncClient(base_url=world.stack.api_url, headers=headers, timeout=20) as client,
    ):
        yield client


async def started(operator: httpx.AsyncClient, person: Person, **body: Any) -> httpx.Response:
    properties = {"application_id": "A-1", "filled": 10, "total": 40}
    return await operator.post(
        "/v1/journeys/AbandonedApplication/enrolments",
        json={"user_id": person.user_id, "properties": properties, **body},
    )


async def test_a_journey_started_by_hand_is_a_run_with_a_link_to_it(world: World, operator: httpx.AsyncClient) -> None:
    person = await world.person()
    answer = await started(operator, person)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["workflow_id"] == (await person.run()).id
    assert body["temporal_ui"].endswith(f"/namespaces/default/workflows/{body['workflow_id']}")
    assert answer.headers["location"] == f"/v1/enrolments/{body['id']}"
    again = await started(operator, person)
    assert again.status_code == 409
    assert "already in it" in again.json()["message"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"properties": {"filled": 1, "total": 4}}, 400, "properties.application_id: is required"),
        ({"properties": {"application_id": "A-1", "filled": "x"}}, 400, "properties.filled"),
        ({"event": "credit_issued"}, 400, "event: must be one of credit_application_started"),
        ({"user_id": ""}, 422, "user_id"),
        ({"speed": 3}, 422, "speed"),
    ],
)
async def test_what_cannot_start_is_refused_with_field_and_rule(
    world: World, operator: httpx.AsyncClient, body: dict[str, Any], status: int, said: str
) -> None:
    person = await world.person()
    answer = await started(operator, person, **body)
    assert answer.status_code == status
    assert said in answer.json()["message"]
    assert await person.enrolments() == []


async def test_an_unknown_journey_names_those_there_are(operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/v1/journeys/Nonsense/enrolments", json={"user_id": "u"})
    assert answer.status_code == 404
    assert "AbandonedApplication" in answer.json()["message"]


async def test_a_stay_can_be_read_live(world: World, operator: httpx.AsyncClient) -> None:
    person = await world.person()
    number = (await started(operator, person)).json()["id"]
    await person.passes(timedelta(minutes=31))
    body = (await operator.get(f"/v1/enrolments/{number}")).json()
    assert {(each["channel"], each["template"]) for each in body["messages"]} == {
        (channel, "abandoned_application/partly_filled") for channel in ("push", "email", "inbox")
    }
    assert body["standing"]["waiting"][0]["for"] == "1 day to pass"
    assert person.email not in str(body)
    assert (await operator.get("/v1/enrolments/999999999")).status_code == 404


async def test_form_progress_signalled_over_http_reaches_the_run_in_order(
    world: World, operator: httpx.AsyncClient
) -> None:
    person = await world.person()
    number = (await started(operator, person)).json()["id"]
    signals = f"/v1/enrolments/{number}/signals"
    answer = await operator.post(f"{signals}/form_progress", json={"fields": {"filled": 40, "total": 40}})
    assert answer.status_code == 202, answer.text
    await world.dispatch(person)
    await person.passes(timedelta(minutes=31))
    assert sorted(await person.got()) == ["email full", "inbox full"]
    wrong = await operator.post(f"{signals}/form_progress", json={"fields": {"filled": 50, "total": 40}})
    assert wrong.status_code == 400
    assert "filled must not exceed total" in wrong.json()["message"]
    unknown = await operator.post(f"{signals}/explode", json={})
    assert unknown.status_code == 404
    assert "form_progress" in unknown.json()["message"]
    unheard = await operator.post(f"{signals}/event", json={"event": "weather_changed"})
    assert unheard.status_code == 400


async def test_commands_are_carried_out_or_refused_with_the_reason(world: World, operator: httpx.AsyncClient) -> None:
    person = await world.person()
    number = (await started(operator, person)).json()["id"]
    assert (await operator.post(f"/v1/enrolments/{number}/pause")).status_code == 200
    again = await operator.post(f"/v1/enrolments/{number}/pause")
    assert (again.status_code, again.json()["message"]) == (409, "it is paused already")
    assert (await operator.post(f"/v1/enrolments/{number}/resume")).status_code == 200
    assert (await operator.post(f"/v1/enrolments/{number}/skip_wait")).status_code == 200
    assert (await operator.post(f"/v1/enrolments/{number}/explode")).status_code == 422
    assert (await operator.post(f"/v1/enrolments/{number}/stop")).json() == {"result": "stopped"}
    assert await person.outcome() == "stopped"
    over = await operator.post(f"/v1/enrolments/{number}/pause")
    assert (over.status_code, over.json()["message"]) == (409, "the journey is over (stopped)")


async def test_dispatchs_lag_and_what_is_parked_can_be_seen(world: World, operator: httpx.AsyncClient) -> None:
    person = await world.person()
    await person.begins()
    await person.does("credit_application_progressed", application_id="A-1", filled=50, total=40)

    async def parked() -> list[int]:
        listed = (await operator.get("/v1/events/parked")).json()
        return [each["id"] for each in listed if "exceed" in each["reason"]]

    await world.until(lambda: _count(parked()), 1, at_least=True)
    (number, *_) = await parked()
    state = (await operator.get("/v1/dispatch")).json()
    assert state["parked"] >= 1
    assert (await operator.post(f"/v1/events/parked/{number}/retry")).status_code == 202
    assert (await operator.post("/v1/events/parked/999999999/retry")).status_code == 404


async def test_the_journeys_of_the_deployment_are_listed(operator: httpx.AsyncClient) -> None:
    listed = {each["name"]: each for each in (await operator.get("/v1/journeys")).json()}
    assert listed["AbandonedApplication"]["key"] == "application_id"
    first = {"number": 1, "channel": "call", "template": "abandoned_application/almost_empty"}
    assert listed["AbandonedApplication"]["messages"][0] == {**first, "message_class": "marketing"}
    assert listed["CreditInterestCold"]["segments"] == ["credit_interest_cold"]
    assert listed["RefusedByBank"]["ends_on"] == ["credit_application_submitted", "credit_issued"]


async def _count(found: Awaitable[list[int]]) -> int:
    return len(await found)


async def test_nobody_starts_a_journey_that_has_a_successor(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.context, "catalog", Catalog.of([renamed.Reminder, renamed.ReminderByCall]))
    person = await scene.person()
    body = {"user_id": person.user_id, "properties": {"application_id": "A-2"}}
    answer = await scene.as_operator("POST", "/v1/journeys/Reminder/enrolments", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "closed")
