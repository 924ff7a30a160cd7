"""Erasure: nothing personal stays, nothing goes out, nothing comes back."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from domain.messages import Channel, Status
from store import customers, erasure
from tests.api.known import OURS, WORDS, columns, rows_with, well_known
from tests.api.scene import OPERATOR, Person, Scene, email_event


async def erase(scene: Scene, user_id: str) -> int:
    return (await scene.as_operator("DELETE", f"/v1/customers/{user_id}")).status_code


async def suppressions(scene: Scene, person: Person) -> dict[str, str]:
    """Why nothing is sent to somebody, by channel."""
    found = (await scene.get(f"/v1/customers/{person.user_id}")).json()
    return {each["channel"]: each["reason"] for each in found["suppressions"]}


async def test_words_are_only_where_an_erasure_looks(scene: Scene) -> None:
    """A new column that can hold words fails this until somebody says what it holds, see `OURS`."""
    known = await well_known(scene)
    planted = await rows_with(scene, *known.markers)
    ours = {f"{table}.{column}" for table, names in OURS.items() for column in names}
    assert planted | ours == {f"{table}.{column}" for table, column, kind in await columns(scene) if kind in WORDS}
    assert planted & ours == set()


async def test_nothing_personal_is_left_and_nothing_new_is_kept(scene: Scene) -> None:
    known = await well_known(scene)
    person = known.person
    assert await erase(scene, person.user_id) == 204
    # What the provider has to be told of, until it has been.
    assert await rows_with(scene, *known.markers) == {"provider_erasures.subject"}
    await _providers_answer(scene, person)
    assert await rows_with(scene, *known.markers) == set()

    for call in ("track", "identify"):
        answer = await scene.tells(call, person.user_id, event="car_viewed", traits={"email": person.email})
        assert (answer.status_code, answer.json()["code"]) == (410, "customer_erased")
    for path in ("", "/timeline", "/export"):
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        assert (await scene.http.get(f"/v1/customers/{person.user_id}{path}", headers=headers)).status_code == 410
    assert (await scene.http.get(scene.context.links.tracked(known.email, 0))).status_code == 404


async def test_what_comes_late_from_a_provider_leaves_nothing_behind(scene: Scene) -> None:
    known = await well_known(scene)
    person, mark = known.person, known.mark
    assert await erase(scene, person.user_id) == 204
    await _providers_answer(scene, person)
    # Of a message we know, of one we do not, and what they write themselves.
    await scene.sendgrid_says(email_event("delivered", known.email, email=person.email, response=mark))
    await scene.sendgrid_says(email_event("bounce", email=person.email, reason=f"no such user {mark}", status="5.1.1"))
    await scene.sendgrid_says(email_event("unsubscribe", email=person.email.upper(), useragent=mark))
    await scene.twilio_says(uuid4(), "delivered", To=person.phone, Note=mark)
    for text in (mark, "STOP", f"{mark} again"):
        await scene.texts(person.phone, text, ProfileName=mark)
    await scene.texts(f"whatsapp:{person.phone}", mark, ButtonPayload=mark)
    assert await scene.status(known.email) == "delivered"
    assert await rows_with(scene, *known.markers) == set()
    # Whoever writes START wants to hear from us: then their number is kept again.
    await scene.texts(person.phone, "START")
    assert await scene.suppressed(Channel.SMS, person.phone) is None


async def test_a_message_nobody_knew_the_provider_had_is_erased_there_too(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS, provider="twilio", status=Status.UNKNOWN)
    assert await erase(scene, person.user_id) == 204
    pool = scene.context.pool
    async with pool.acquire() as connection:
        assert person.customer not in await erasure.due(connection)
        # It is taken to have left, and Twilio has never told its number.
        await connection.execute("update messages set resolved_at = now() where id = $1", message)
        assert person.customer in await erasure.due(connection)
        assert await erasure.requests(connection, person.customer, 10) == []
        assert person.customer not in await erasure.due(connection)
    await scene.twilio_says(message, "delivered", sid="SM-late", To=person.phone)
    async with pool.acquire() as connection:
        assert person.customer in await erasure.due(connection)
        (number,) = await erasure.requests(connection, person.customer, 10)
        request = await erasure.attempt(connection, number)
    assert request == erasure.Request("twilio", "SM-late")


async def _providers_answer(scene: Scene, person: Person) -> None:
    """Whoever can be asked has erased what they hold."""
    async with scene.context.pool.acquire() as connection:
        await connection.execute("update messages set resolved_at = now() where customer_id = $1", person.customer)
        while numbers := await erasure.requests(connection, person.customer, 10):
            for number in numbers:
                assert await erasure.attempt(connection, number)
                await erasure.answered(connection, number, "deleted", done=True)


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
    assert await rows_with(scene, person.phone) == set()
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
    known = await well_known(scene)
    person = known.person
    other = await scene.person()
    await scene.tells("alias", other.user_id, previousId=person.user_id)
    assert await erase(scene, person.user_id) == 204
    await _providers_answer(scene, other)
    assert await rows_with(scene, *known.markers, other.user_id, other.email, other.phone) == set()
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
    assert await rows_with(scene, mark, person.email) == set()
