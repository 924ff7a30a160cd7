"""Erasure: nothing personal stays, nothing goes out, nothing comes back."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from domain.messages import Channel, Status
from store import customers, erasure
from tests.api.scene import WRITER, Person, Scene, email_event


async def rows_with(scene: Scene, *markers: str) -> list[str]:
    """Every table and column that holds a marker, whatever its type."""
    columns = await scene.context.pool.fetch(
        "select table_name, column_name from information_schema.columns where table_schema = 'public'"
    )
    assert len(columns) > 50
    found = []
    for table, column in columns:
        holds = await scene.context.pool.fetchval(
            f"""
            select exists (
                select from "{table}" t, unnest($1::text[]) marker where strpos(lower(t."{column}"::text), marker) > 0
            )
            """,
            [marker.lower() for marker in markers],
        )
        if holds:
            found.append(f"{table}.{column}")
    return found


async def well_known(scene: Scene) -> tuple[Person, list[str], UUID]:
    """A customer of whom there is something in every table, and what must not be left of it."""
    mark = f"marker{uuid4().hex}"
    person = await scene.person(first_name=mark, city=mark)
    anonymous = f"{mark}-anonymous"
    await scene.tells("identify", person.user_id, anonymousId=anonymous, traits={"plan": mark})
    await scene.tells(
        "track",
        person.user_id,
        messageId=f"{mark}-message",
        event="car_viewed",
        properties={"car": mark},
        context={"ip": mark},
    )
    bad = {"type": "track", "messageId": mark, "userId": f" {person.user_id} ", "event": "", "properties": {"x": mark}}
    await scene.http.post("/v1/batch", json={"batch": [bad]}, auth=(WRITER, ""))
    email = await scene.sent(person, Channel.EMAIL, awaits=list(Status), links=[f"https://example.com/{mark}"])
    sms = await scene.sent(person, Channel.SMS, awaits=list(Status))
    await scene.sent(person, Channel.INBOX)
    await scene.sendgrid_says(email_event("deferred", email, email=person.email, response=f"421 {mark}"))
    await scene.sendgrid_says(email_event("spamreport", email=person.email, reason=mark))
    await scene.twilio_says(sms, "delivered", To=person.phone)
    await scene.texts(person.phone, f"I am {mark}")
    await scene.texts(f"whatsapp:{person.phone}", mark)
    return person, [mark, person.user_id, person.email, person.phone, person.token], email


async def erase(scene: Scene, user_id: str) -> int:
    return (await scene.as_operator("DELETE", f"/v1/customers/{user_id}")).status_code


async def suppressions(scene: Scene, person: Person) -> dict[str, str]:
    """Why nothing is sent to somebody, by channel."""
    found = (await scene.get(f"/v1/customers/{person.user_id}")).json()
    return {each["channel"]: each["reason"] for each in found["suppressions"]}


async def test_nothing_personal_is_left_and_nothing_new_is_kept(scene: Scene) -> None:
    person, markers, email = await well_known(scene)
    assert len(await rows_with(scene, *markers)) >= 14
    assert await erase(scene, person.user_id) == 204
    assert await rows_with(scene, *markers) == []

    for call in ("track", "identify"):
        answer = await scene.tells(call, person.user_id, event="car_viewed", traits={"email": person.email})
        assert (answer.status_code, answer.json()["code"]) == (410, "customer_erased")
    for path in ("", "/timeline"):
        assert (await scene.get(f"/v1/customers/{person.user_id}{path}")).status_code == 410
    # What comes late from a provider moves the message and leaves nothing else behind.
    await scene.sendgrid_says(email_event("delivered", email, email=person.email, response=markers[0]))
    assert await scene.status(email) == "delivered"
    assert await rows_with(scene, *markers) == []
    assert (await scene.http.get(scene.context.links.tracked(email, 0))).status_code == 404


async def test_erasing_again_is_harmless_and_erasing_nobody_is_told(scene: Scene) -> None:
    person = await scene.person()
    assert [await erase(scene, person.user_id) for _ in range(3)] == [204, 204, 204]
    assert await erase(scene, "nobody-at-all") == 404
    both = await scene.person()
    assert await asyncio.gather(*(erase(scene, both.user_id) for _ in range(4))) == [204] * 4


async def test_a_journey_under_way_ends_by_the_erasure(scene: Scene) -> None:
    person = await scene.person()
    assert await erase(scene, person.user_id) == 204
    stay = await scene.context.pool.fetchrow("select outcome, key from enrolments where id = $1", person.enrolment)
    assert stay is not None
    assert tuple(stay.values()) == ("erased", "")
    assert await scene.heard(person) == [("depart", "erased")]
    assert await scene.heard(person) == []


async def test_a_goal_no_run_has_heard_of_yet_is_told_by_the_erasure(scene: Scene) -> None:
    person = await scene.person()
    await scene.tells("track", person.user_id, event="credit_application_submitted")
    message = await scene.sent(person, Channel.SMS, awaits=[Status.DELIVERED])
    await scene.twilio_says(message, "delivered")
    assert await erase(scene, person.user_id) == 204
    assert await scene.heard(person) == [("depart", "goal")]


async def test_a_goal_that_was_told_stays_the_reason(scene: Scene) -> None:
    person = await scene.person()
    await scene.tells("track", person.user_id, event="credit_application_submitted")
    assert await scene.heard(person) == [("depart", "goal")]
    assert await erase(scene, person.user_id) == 204
    assert await scene.heard(person) == []
    ended_by = await scene.context.pool.fetchval(
        "select o.name from enrolments e join events o on o.id = e.outcome_event_id where e.id = $1", person.enrolment
    )
    assert ended_by == "credit_application_submitted"


async def test_a_stop_outlives_the_erasure_as_a_hash(scene: Scene) -> None:
    person = await scene.person()
    await scene.texts(person.phone, "STOP")
    assert await erase(scene, person.user_id) == 204
    assert await rows_with(scene, person.phone) == []
    assert await scene.suppressed(Channel.SMS, person.phone) == "opted_out"
    assert await scene.suppressed(Channel.SMS, person.phone[:-1] + "x") is None
    again = await scene.person(phone=person.phone)
    assert await suppressions(scene, again) == {"sms": "opted_out", "whatsapp": "erased", "call": "erased"}
    await scene.texts(person.phone, "START")
    assert await scene.suppressed(Channel.SMS, person.phone) is None


async def test_who_shares_a_phone_with_the_erased_keeps_theirs(scene: Scene) -> None:
    person = await scene.person()
    other = await scene.person(phone=person.phone, first_name="Bea")
    message = await scene.sent(other, Channel.SMS)
    await scene.texts(person.phone, "STOP")
    assert await erase(scene, person.user_id) == 204
    found = (await scene.get(f"/v1/customers/{other.user_id}")).json()
    assert (found["phone"], found["traits"]) == (other.phone, {"first_name": "Bea"})
    assert await suppressions(scene, other) == {"sms": "opted_out", "whatsapp": "erased", "call": "erased"}
    assert (await scene.row(message))["recipient"] == other.phone
    await scene.texts(person.phone, "START")
    assert await scene.suppressed(Channel.SMS, person.phone) is None


async def test_who_was_merged_is_erased_with_the_whole(scene: Scene) -> None:
    person, markers, _ = await well_known(scene)
    other = await scene.person()
    await scene.tells("alias", other.user_id, previousId=person.user_id)
    assert await erase(scene, person.user_id) == 204
    assert await rows_with(scene, *markers, other.user_id, other.email, other.phone) == []
    for user_id in (person.user_id, other.user_id):
        assert (await scene.tells("track", user_id, event="car_viewed")).status_code == 410


@pytest.mark.parametrize("call", ["track", "identify"])
async def test_a_call_that_waits_for_the_erasure_is_refused(scene: Scene, call: str) -> None:
    person = await scene.person()
    mark = f"marker{uuid4().hex}"
    pool = scene.context.pool
    async with pool.acquire() as connection, connection.transaction():
        await customers.lock(connection, [person.customer])
        telling = asyncio.create_task(
            scene.tells(call, person.user_id, event="car_viewed", properties={"car": mark}, traits={"name": mark})
        )
        waiting = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = 'api')"
        while not await pool.fetchval(waiting):  # noqa: ASYNC110, only PostgreSQL knows who waits
            await asyncio.sleep(0.01)
        tombstones, now = scene.context.tombstones, datetime.now(UTC)
        await erasure.erase(connection, person.customer, tombstones, "operator:test", now)
    assert (await telling).status_code == 410
    assert await rows_with(scene, mark, person.email) == []
