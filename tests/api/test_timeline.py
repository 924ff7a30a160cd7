"""Why did they (not) get it: the timeline of one customer, and one message explained."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.messages import Channel, DeliverRequest, Draft, Status, message_id
from store import messages
from store.messages import Proposal
from tests.api.scene import INBOX, READER, Person, Scene, email_event

HOUR = timedelta(hours=1)
TEXT = "abandoned_application/almost_empty"
OTHER = "refused_by_bank/another_bank"


def proposal(scene: Scene, person: Person, channel: Channel, template: str = TEXT) -> Proposal:
    """A message a person's run asks for."""
    draft = Draft(channel=channel, template=template)
    return Proposal(
        message=message_id(person.enrolment, draft.step, 1),
        customer=person.customer,
        journey="AbandonedApplication",
        priority=3,
        request=DeliverRequest(enrolment=person.enrolment, draft=draft, decided_after=0),
        policy_version=scene.context.policy.version,
        now=datetime.now(UTC),
    )


async def is_held(scene: Scene, person: Person, channel: Channel, reason: str, until: datetime) -> UUID:
    asked = proposal(scene, person, channel)
    async with scene.context.pool.acquire() as connection:
        await messages.hold(connection, asked, reason, until)
    return asked.message


async def is_dropped(scene: Scene, person: Person, channel: Channel, reason: str, template: str = TEXT) -> UUID:
    asked = proposal(scene, person, channel, template)
    async with scene.context.pool.acquire() as connection:
        await messages.skip(connection, asked, reason)
    return asked.message


async def entries(scene: Scene, person: Person, **asked: str) -> list[dict[str, Any]]:
    """A person's timeline, the newest first."""
    answer = await scene.http.get(
        f"/v1/customers/{person.user_id}/timeline", params=asked, headers={"Authorization": f"Bearer {READER}"}
    )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def the_message(scene: Scene, person: Person, channel: Channel) -> dict[str, Any]:
    (message,) = [each for each in await entries(scene, person) if each["kind"] == "message"]
    assert message["channel"] == channel
    return message


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["name"] if each["kind"] == "event" else each["kind"] for each in found]


async def test_it_tells_what_happened_and_why_the_newest_first(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS, awaits=[Status.FAILED])
    await scene.twilio_says(message, "failed", ErrorCode="30005")
    await scene.tells("track", person.user_id, event="credit_application_submitted")
    found = await entries(scene, person)
    assert [name for name in names(found) if name != "suppression"] == [
        "credit_application_submitted",
        "message_failed",
        "message",
        "enrolment",
        "credit_application_started",
        "customer_identified",
    ]
    told = {each["kind"]: each for each in found}
    assert (told["message"]["status"], told["message"]["reason"]) == ("failed", "30005")
    assert (told["suppression"]["channel"], told["suppression"]["reason"]) == ("sms", "dead")
    stay = told["enrolment"]
    assert (stay["outcome"], stay["ended_by"]) == ("goal", "credit_application_submitted")
    run = f"https://temporal.example.com/namespaces/api/workflows/{stay['workflow_id']}"
    assert stay["temporal_ui"] == told["message"]["temporal_ui"] == run


async def test_a_message_tells_every_decision_in_order_and_in_words(scene: Scene) -> None:
    person = await scene.person()
    morning = datetime(2026, 3, 4, 8, tzinfo=UTC)
    await is_held(scene, person, Channel.SMS, "quiet_hours", morning)
    await is_held(scene, person, Channel.SMS, "quiet_hours", morning)
    await is_held(scene, person, Channel.SMS, "provider:429", morning + HOUR)
    waiting = await the_message(scene, person, Channel.SMS)
    assert (waiting["status"], waiting["not_before"]) == ("waiting", "2026-03-04T09:00:00Z")
    await is_dropped(scene, person, Channel.SMS, "cap:sms 3 in 7 days")
    message = await the_message(scene, person, Channel.SMS)
    assert [
        (each["verdict"], each["rule"], each["reason"], each["until"], each["times"]) for each in message["decisions"]
    ] == [
        ("delay", "quiet_hours", "quiet_hours", "2026-03-04T08:00:00Z", 2),
        ("delay", "provider", "provider:429", "2026-03-04T09:00:00Z", 1),
        ("drop", "cap", "cap:sms 3 in 7 days", None, 1),
    ]
    assert [each["says"] for each in message["decisions"]] == [
        "not at this hour or on this day of the customer's",
        "the provider did not take it, and will be asked again",
        "the customer had enough messages",
    ]
    assert {each["policy_version"] for each in message["decisions"]} == {scene.context.policy.version}


async def test_what_a_rule_went_by_is_named(scene: Scene) -> None:
    person = await scene.person()
    base = f"/v1/customers/{person.user_id}"
    await scene.http.post(scene.context.links.unsubscribe(await scene.sent(person, Channel.EMAIL)))
    await scene.texts(person.phone, "STOP")
    await scene.as_operator("POST", f"{base}/blocks", {"name": "complaint", "lasts": "P7D"})
    await scene.as_operator("PUT", f"{base}/dialogue")
    (wish,) = [each for each in await entries(scene, person) if each["kind"] == "consent" and each["channel"] != "sms"]
    await is_dropped(scene, person, Channel.EMAIL, f"no_consent:email/offers withdrawn, {wish['source']}", OTHER)
    await is_dropped(scene, person, Channel.SMS, "suppressed:opted_out")
    await is_dropped(scene, person, Channel.CALL, "blocked:complaint")
    await is_held(scene, person, Channel.PUSH, "dialogue", datetime.now(UTC) + HOUR)
    found = await entries(scene, person)
    causes = {
        each["channel"]: each["decisions"][0]["cause"]
        for each in found
        if each["kind"] == "message" and each["decisions"]
    }
    told = {each["kind"]: each for each in found}
    assert (causes["email"]["source"], causes["email"]["at"]) == (wish["source"], wish["at"])
    assert (causes["sms"]["source"], causes["sms"]["at"]) == ("twilio:stop", told["suppression"]["at"])
    assert (causes["call"]["source"], causes["call"]["until"]) == ("operator:operate", told["block"]["until"])
    assert (causes["push"]["source"], causes["push"]["at"]) == ("operator:operate", told["dialogue"]["at"])


async def test_operators_and_silences_are_in_it(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    base = f"/v1/customers/{person.user_id}"
    block = (await scene.as_operator("POST", f"{base}/blocks", {"name": "complaint", "lasts": "P7D"})).json()
    await scene.as_operator("DELETE", f"{base}/blocks/{block['id']}")
    await scene.as_operator("POST", f"/v1/enrolments/{person.enrolment}/pause")
    await scene.as_operator("POST", f"/v1/enrolments/{other.enrolment}/pause")
    await scene.as_operator("POST", f"/v1/customers/{other.user_id}/blocks", {"name": "complaint", "lasts": "P7D"})
    found = await entries(scene, person)
    actions = [(each["actor"], each["action"], each["answer"]) for each in found if each["kind"] == "action"]
    assert [each[:2] for each in actions] == [
        ("operate", "command_enrolment"),
        ("operate", "lift_block"),
        ("operate", "block_customer"),
    ]
    (silence,) = [each for each in found if each["kind"] == "block"]
    assert silence["name"] == "complaint"
    assert silence["lifted_at"] is not None


async def test_what_shares_a_time_is_in_the_order_it_came(scene: Scene) -> None:
    person = await scene.person()
    await is_dropped(scene, person, Channel.SMS, "no_address")
    # As if everything had happened at one instant, and the clock of the one who dispatched it were behind.
    for change in (
        "update events set received_at = '2026-01-01' where customer_id = $1",
        "update enrolments set created_at = '2025-12-31' where customer_id = $1",
        "update messages set created_at = '2026-01-01' where customer_id = $1",
    ):
        await scene.context.pool.execute(change, person.customer)
    told = ["message", "enrolment", "credit_application_started", "customer_identified"]
    assert names(await entries(scene, person)) == told
    assert names(await entries(scene, person, limit="1")) == told


async def test_it_is_read_page_by_page_and_loses_nothing(scene: Scene) -> None:
    person = await scene.person()
    for channel in (Channel.SMS, Channel.EMAIL, Channel.CALL):
        await is_dropped(scene, person, channel, "cap:all 1 in 1 day")
    calls = [
        {"type": "track", "messageId": uuid4().hex, "userId": person.user_id, "event": f"looked_{number}"}
        for number in range(7)
    ]
    # One batch: all of it arrives at the same instant.
    await scene.http.post("/v1/batch", json={"batch": calls}, auth=("write-key-write-key-write-key", ""))
    await scene.as_operator("POST", f"/v1/customers/{person.user_id}/blocks", {"name": "complaint", "lasts": "P7D"})
    await scene.tells("track", person.user_id, event="looked_last")
    whole = await entries(scene, person, limit="500")
    assert len(whole) == 16
    for limit in ("1", "3", "5"):
        read, before = [], dict[str, str]()
        while True:
            answer = await scene.http.get(
                f"/v1/customers/{person.user_id}/timeline",
                params={"limit": limit, **before},
                headers={"Authorization": f"Bearer {READER}"},
            )
            page = answer.json()
            read += page["entries"]
            if page["next"] is None:
                break
            before = {"before": page["next"]}
        assert read == whole


async def test_one_journey_and_one_message_can_be_asked_about(scene: Scene) -> None:
    person = await scene.person()
    await scene.tells("track", person.user_id, event="car_viewed")
    refused = {"application_id": uuid4().hex, "bank": "First"}
    await scene.tells("track", person.user_id, event="credit_application_refused", properties=refused)
    await scene.dispatched(person.customer)
    message = await is_dropped(scene, person, Channel.SMS, "no_address")
    await is_dropped(scene, person, Channel.EMAIL, "no_address")
    of_journey = await entries(scene, person, journey="RefusedByBank")
    assert names(of_journey) == ["enrolment", "credit_application_refused"]
    for asked in (str(message), TEXT, "almost_empty"):
        found = await entries(scene, person, message=asked)
        assert {each["journey"] for each in found if each["kind"] == "enrolment"} == {"AbandonedApplication"}
        assert {each["channel"] for each in found if each["kind"] == "message"} == (
            {"sms"} if asked == str(message) else {"sms", "email"}
        )
        assert "car_viewed" not in names(found)
    # Never asked for: what its journey did instead.
    assert names(await entries(scene, person, message=OTHER)) == ["enrolment", "credit_application_refused"]


async def test_a_journey_that_did_not_start_says_why(scene: Scene) -> None:
    user_id = f"u-{uuid4().hex}"
    await scene.tells("track", user_id, event="credit_application_started", properties={"filled": 1, "total": 4})
    customer = await scene.customer_of(user_id)
    assert customer is not None
    async with scene.context.pool.acquire() as connection:
        await connection.execute("update events set note = 'why' where customer_id = $1", customer)
    found = await scene.get(f"/v1/customers/{user_id}/timeline?message={TEXT}")
    assert [(each["kind"], each["note"]) for each in found.json()["entries"]] == [("event", "why")]


async def test_one_message_is_explained_with_what_was_reported(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL, status=Status.UNKNOWN)
    await scene.sendgrid_says(email_event("delivered", message))
    await scene.sendgrid_says(email_event("open", message))
    found = (await scene.get(f"/v1/messages/{message}/explanation")).json()
    assert found["customer_id"] == person.customer
    assert [(each["provider"], each["told"]) for each in found["reports"]] == [
        ("sendgrid", "delivered"),
        ("sendgrid", "open"),
    ]
    told = found["message"]
    assert (told["status"], told["resolution"]) == ("read", "callback")
    assert told["unknown_at"] <= told["resolved_at"]
    assert told["evidence"]
    await scene.as_operator("DELETE", f"/v1/customers/{person.user_id}")
    erased = await scene.get(f"/v1/messages/{message}/explanation")
    assert erased.json()["erased_at"] is not None
    assert person.email.lower() not in erased.text.lower()


async def test_wrong_requests_get_a_clear_answer(scene: Scene) -> None:
    assert (await scene.get(f"/v1/messages/{uuid4()}/explanation")).status_code == 404
    assert (await scene.get("/v1/messages/7/explanation")).status_code == 422
    assert (await scene.get(f"/v1/messages/{uuid4()}/explanation", INBOX)).status_code == 403
    person = await scene.person()
    for wrong in ("before=yesterday", "limit=0", "journey=a%00b", f"message={'x' * 256}"):
        assert (await scene.get(f"/v1/customers/{person.user_id}/timeline?{wrong}")).status_code == 422, wrong


@pytest.mark.parametrize(
    ("asked", "journeys"),
    [("journey=Nobody", ["Nobody"]), ("message=nobody/nothing", []), ("message=another_bank", ["RefusedByBank"])],
)
async def test_what_there_is_not_has_no_entries(scene: Scene, asked: str, journeys: list[str]) -> None:
    person = await scene.person()
    found = (await scene.get(f"/v1/customers/{person.user_id}/timeline?{asked}")).json()
    assert (found["entries"], found["journeys"]) == ([], journeys)
