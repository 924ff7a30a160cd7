"""A visit booked, moved, cancelled, made; what comes after it; and who does not come back."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.world import Person, World, where_it_is
from workflows.car_dealer.lost_to_competitor import LostToCompetitor
from workflows.car_dealer.visit_booked import VisitBooked
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError

pytestmark = pytest.mark.usefixtures("approved")

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


async def books(person: Person, after: timedelta | None, visit: str = "V-1") -> datetime:
    """Book or move a visit to so long after the person's present."""
    at = await person.present() + (after or timedelta())
    told = {"at": at.isoformat()} if after is not None else {}
    await person.does("visit_booked", visit_id=visit, centre="North", **told)
    return at


async def booked(world: World, after: timedelta | None, **traits: object) -> Person:
    person = await world.person(**{"email": None, **traits})
    await books(person, after)
    return person


async def reads(world: World, person: Person, channel: str = "whatsapp") -> None:
    await world.report(person, channel, "read")


# VisitBooked.


async def test_a_visit_a_week_away_is_introduced_and_reminded_of(world: World) -> None:
    person = await booked(world, 7 * DAY)
    await person.passes(MINUTE)
    assert await person.got() == ["whatsapp welcome"]
    await reads(world, person)
    await person.passes(3.5 * DAY - 2 * MINUTE)
    assert len(await person.got()) == 1
    await person.passes(3 * MINUTE)
    assert (await person.got())[1:] == ["whatsapp halfway"]
    await reads(world, person)
    await person.passes(2.5 * DAY)
    assert (await person.got())[2:] == ["whatsapp tomorrow"]
    await person.passes(21 * HOUR)
    assert (await person.got())[3:] == ["whatsapp soon"]
    await person.passes(3 * HOUR + DAY)
    assert await person.outcome() == "finished"


async def test_the_reminders_tell_the_time_by_the_customers_clock(world: World) -> None:
    person = await booked(world, 2 * DAY, timezone="Etc/GMT-3")
    stay = (await person.enrolments())[-1]
    fact = await the_visit(world, person)
    at = datetime.fromisoformat(
        await world.pool.fetchval("select properties ->> 'at' from events where id = $1", stay["trigger_event_id"])
    )
    assert fact is not None
    assert (fact["hour"], fact["centre"]) == (f"{at.astimezone(UTC) + 3 * HOUR:%H:%M}", "North")


async def test_what_is_told_is_the_time_the_reminders_go_by_in_whatever_order_the_bookings_came(world: World) -> None:
    person = await booked(world, 5 * DAY, timezone="Etc/GMT")
    moved = await books(person, 3 * DAY + HOUR)
    late = {"visit_id": "V-1", "at": (moved + 9 * HOUR).isoformat()}
    call = {"userId": person.user_id, "event": "visit_booked", "properties": late}
    await world.tell({**call, "timestamp": (moved - 30 * DAY).isoformat()}, "track", await person.present())
    told = await the_visit(world, person)
    assert told is not None
    assert told["hour"] == f"{moved.astimezone(UTC):%H:%M}"
    await books(person, None)
    assert await the_visit(world, person) is None


async def the_visit(world: World, person: Person) -> asyncpg.Record | None:
    """What texts say of the visit."""
    facts = world.catalog.journeys["VisitBooked"].facts["visit"]
    return await world.pool.fetchrow(facts, (await person.enrolments())[-1]["id"])


async def test_a_new_time_moves_the_reminders_and_repeats_nothing_else(world: World) -> None:
    person = await booked(world, 2 * DAY)
    await person.passes(DAY + MINUTE)
    assert await person.got() == ["whatsapp welcome", "whatsapp tomorrow"]
    await books(person, 5 * DAY)
    await person.passes(DAY)
    assert len(await person.got()) == 2
    await person.passes(1.5 * DAY + MINUTE)
    assert (await person.got())[2:] == ["whatsapp halfway"]
    await reads(world, person)
    await person.passes(1.5 * DAY)
    assert (await person.got())[3:] == ["whatsapp tomorrow"]
    await person.passes(21 * HOUR)
    assert (await person.got())[4:] == ["whatsapp soon"]


async def test_a_reminder_that_is_not_delivered_comes_by_sms(world: World) -> None:
    person = await booked(world, 2 * DAY)
    await person.passes(MINUTE)
    await world.behaves(person.phone, delivery="never")
    await person.passes(DAY + 32 * MINUTE)
    assert (await person.got())[1:] == ["whatsapp tomorrow", "sms tomorrow"]


async def test_where_no_template_is_approved_the_cascade_goes_on_to_sms_at_once(world: World) -> None:
    # Nobody who books a visit has written to us, so without a template there is nothing WhatsApp would take.
    person = await booked(world, 4 * DAY, locale="ru")
    await person.passes(MINUTE)
    assert await person.got() == ["sms welcome"]
    await person.passes(2 * DAY)
    assert (await person.got())[1:] == ["sms halfway"]
    await person.passes(DAY)
    assert (await person.got())[2:] == ["sms tomorrow"]
    await person.passes(21 * HOUR)
    assert (await person.got())[3:] == ["sms soon"]
    skipped = await world.messages_of(person, "whatsapp")
    assert [(row["status"], row["reason"]) for row in skipped] == [("skipped", "whatsapp_template:never submitted")] * 4


async def test_where_the_mailbox_is_known_the_introduction_begins_with_a_letter(world: World) -> None:
    person = await world.person()
    await books(person, 10 * DAY)
    await person.passes(MINUTE)
    assert await person.got() == ["email welcome"]
    (letter,) = await person.messages()
    assert "is in our diary, and a manager keeps that hour free" in letter["content"]["text"]
    await person.passes(DAY)
    assert (await person.got())[1:] == ["whatsapp welcome"]
    await person.passes(DAY)
    assert (await person.got())[2:] == ["sms welcome"]
    await person.passes(3 * DAY)
    assert (await person.got())[3:] == ["email halfway"]
    await reads(world, person, "email")
    await person.passes(4 * DAY)
    assert (await person.got())[4:] == ["whatsapp tomorrow"]


async def test_whoever_moves_a_visit_before_the_introduction_could_leave_is_introduced_all_the_same(
    world: World,
) -> None:
    # By SMS, and it is night where they live.
    person = await booked(world, 5 * DAY, locale="ru", timezone=where_it_is(22))
    await person.passes(MINUTE)
    assert await person.got() == []
    await books(person, 6 * DAY)
    await person.passes(12 * HOUR)
    assert await person.got() == ["sms welcome"]


async def test_for_a_visit_today_one_channel_is_enough_and_late_reminders_are_left_out(world: World) -> None:
    person = await booked(world, 5 * HOUR)
    await person.passes(2 * HOUR + MINUTE)
    assert await person.got() == ["whatsapp welcome", "whatsapp soon"]


async def test_a_visit_without_a_time_is_called_about_and_its_time_counts_when_it_comes(world: World) -> None:
    person = await booked(world, None)
    await person.passes(MINUTE)
    assert await person.got() == ["whatsapp welcome"]
    await reads(world, person)
    await person.passes(DAY)
    assert (await person.got())[1:] == ["call no_time"]
    await books(person, 2 * DAY)
    await person.passes(DAY + MINUTE)
    assert (await person.got())[2:] == ["whatsapp tomorrow"]


async def test_nobody_is_promised_an_hour_that_was_not_agreed_on(world: World) -> None:
    person = await world.person()
    await books(person, None)
    await person.passes(MINUTE)
    (letter,) = await person.messages()
    assert letter["content"]["subject"] == "We are expecting you"
    assert "Tell us which day and hour suit you" in letter["content"]["text"]
    assert "diary" not in letter["content"]["text"]


async def test_who_does_not_know_the_new_time_yet_is_called_a_day_later(world: World) -> None:
    person = await booked(world, 7 * DAY)
    await person.passes(MINUTE)
    await reads(world, person)
    await person.passes(3 * DAY)
    await books(person, None)
    await person.passes(DAY - MINUTE)
    assert await person.got() == ["whatsapp welcome"]
    await person.passes(2 * MINUTE)
    assert (await person.got())[1:] == ["call no_time"]


async def test_a_visit_whose_time_never_comes_is_forgotten(world: World) -> None:
    person = await booked(world, None)
    await person.passes(10 * DAY)
    assert await person.outcome() == "finished"
    assert "call no_time" in await person.got()


@pytest.mark.parametrize("moved", [timedelta(0), -3 * DAY])
async def test_a_visit_moved_into_the_past_is_not_written_about(world: World, moved: timedelta) -> None:
    person = await booked(world, 7 * DAY)
    await person.passes(MINUTE)
    await books(person, moved)
    await person.passes(DAY + MINUTE)
    assert await person.outcome() == "finished"
    assert await person.got() == ["whatsapp welcome"]


@pytest.mark.parametrize("at", ["tomorrow", "2035-01-01T10:00:00", {"day": 1}])
async def test_what_is_no_time_is_set_aside_with_the_rule(world: World, at: object) -> None:
    person = await world.person()
    await person.does("visit_booked", visit_id="V-1", at=at)
    assert await person.enrolments() == []
    (note,) = await person.notes()
    assert "does not fit its declaration Booking: at" in note


async def test_a_visit_made_is_the_goal_and_a_cancelled_one_an_exit(world: World) -> None:
    for event, outcome in (("visit_made", "goal"), ("visit_cancelled", "exit")):
        person = await booked(world, 7 * DAY)
        await person.does(event, visit_id="V-1")
        assert await person.outcome("VisitBooked") == outcome


# AfterVisit, LostToCompetitor.


async def test_the_advantages_come_on_days_one_four_and_nine(world: World) -> None:
    person = await world.person(email=None)
    await person.does("visit_made", visit_id="V-1")
    for day, text in ((1, "offer"), (4, "service"), (9, "drive")):
        await passes_to(person, "AfterVisit", day * DAY + MINUTE)
        assert (await person.got("AfterVisit"))[-1] == f"whatsapp {text}"
        await reads(world, person)
    await person.passes(31 * DAY, "AfterVisit")
    assert await person.outcome("AfterVisit") == "finished"
    assert len(await person.got("AfterVisit")) == 3


async def test_the_cascade_goes_from_email_to_whatsapp_to_sms(world: World) -> None:
    person = await world.person()
    await person.does("visit_made", visit_id="V-1")
    await passes_to(person, "AfterVisit", DAY + MINUTE)
    assert await person.got("AfterVisit") == ["email offer"]
    await passes_to(person, "AfterVisit", 2 * DAY + MINUTE)
    assert (await person.got("AfterVisit"))[1:] == ["whatsapp offer"]
    await passes_to(person, "AfterVisit", 3 * DAY + 2 * MINUTE)
    assert (await person.got("AfterVisit"))[2:] == ["sms offer"]
    await passes_to(person, "AfterVisit", 4 * DAY + MINUTE)
    assert (await person.got("AfterVisit"))[3:] == ["email service"]
    await reads(world, person, "email")
    await passes_to(person, "AfterVisit", 9 * DAY - MINUTE)
    assert len(await person.got("AfterVisit")) == 4


async def test_where_no_template_is_approved_all_of_it_comes_by_sms(world: World) -> None:
    person = await world.person(email=None, locale="ru")
    await person.does("visit_made", visit_id="V-1")
    for journey, day, text in (
        ("AfterVisit", 1, "offer"),
        ("AfterVisit", 4, "service"),
        ("AfterVisit", 9, "drive"),
        ("LostToCompetitor", 14, "terms"),
        ("LostToCompetitor", 21, "makes"),
        ("LostToCompetitor", 35, "centres"),
    ):
        await passes_to(person, journey, day * DAY + MINUTE)
        assert (await person.got(journey))[-1] == f"sms {text}"
    assert {text.split()[0] for text in await person.got()} == {"sms"}


async def test_a_contract_ends_all_that_speaks_for_one(world: World) -> None:
    person = await world.person()
    await person.does("visit_made", visit_id="V-1")
    await person.does("contract_signed", deal_id="D-1")
    assert await person.outcome("AfterVisit") == "goal"
    assert await person.outcome("LostToCompetitor") == "goal"


async def test_who_has_not_signed_in_two_weeks_gets_better_terms(world: World) -> None:
    person = await world.person(email=None)
    await person.does("visit_made", visit_id="V-1")
    await passes_to(person, "LostToCompetitor", 14 * DAY - MINUTE)
    assert await person.got("LostToCompetitor") == []
    for day, text in ((14, "terms"), (21, "makes"), (35, "centres")):
        await passes_to(person, "LostToCompetitor", day * DAY + MINUTE)
        assert (await person.got("LostToCompetitor"))[-1] == f"whatsapp {text}"
        await reads(world, person)
    await person.passes(31 * DAY, "LostToCompetitor")
    assert await person.outcome("LostToCompetitor") == "finished"


async def test_who_returns_after_the_last_message_has_returned_by_it(world: World) -> None:
    person = await world.person(email=None)
    await person.does("visit_made", visit_id="V-1")
    await passes_to(person, "LostToCompetitor", 60 * DAY)
    assert (await person.got("LostToCompetitor"))[-1] == "sms centres"
    await person.does("visit_booked", visit_id="V-2")
    assert await person.outcome("LostToCompetitor") == "goal"


async def test_what_follows_another_visit_takes_the_place_of_what_followed_the_first(world: World) -> None:
    person = await world.person(email=None)
    await person.does("visit_made", visit_id="V-1")
    await passes_to(person, "AfterVisit", DAY + MINUTE)
    await person.does("visit_made", visit_id="V-1")
    assert len(await person.enrolments()) == 2, "the same visit, told again"
    await person.does("visit_made", visit_id="V-2")
    stays = [(stay["journey"], stay["key"], stay["outcome"]) for stay in await person.enrolments()]
    assert sorted(stays[:2]) == [("AfterVisit", "V-1", "exit"), ("LostToCompetitor", "V-1", "exit")]
    assert sorted(stays[2:]) == [("AfterVisit", "V-2", None), ("LostToCompetitor", "V-2", None)]


@pytest.mark.parametrize(
    ("journey", "given", "rule"),
    [
        (VisitBooked, {"first_reminder": "PT2H"}, "first_reminder must be more than last_reminder"),
        (LostToCompetitor, {"makes_after": "P30D"}, "centres_after must be more than makes_after"),
    ],
)
def test_reminders_out_of_order_are_refused_at_start(journey: type, given: dict[str, str], rule: str) -> None:
    with pytest.raises(DeclarationError, match=rule):
        Catalog.of([journey], {journey.__name__: given})


async def test_another_visit_of_theirs_is_what_it_was_for(world: World) -> None:
    person = await world.person()
    await person.does("visit_made", visit_id="V-1")
    await person.does("visit_booked", visit_id="V-2", at=(datetime.now(UTC) + DAY).isoformat())
    assert await person.outcome("LostToCompetitor") == "goal"
    assert (await person.enrolments())[0]["outcome"] is None, "what comes after the visit goes on"


async def passes_to(person: Person, journey: str, since: timedelta) -> None:
    """Let time pass until so long after the journey's stay began."""
    (stay,) = [each for each in await person.enrolments() if each["journey"] == journey]
    run = await person.run(journey)
    now = await person.world.skipper.get_current_time(run)
    await person.passes(stay["enrolled_at"] + since - now, journey)
