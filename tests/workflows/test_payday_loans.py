"""The lender's journeys, each walked through all its branches and its whole time."""

from datetime import UTC, datetime, timedelta

import pytest

from activities.segments import Segments
from domain.messages import Channel
from segments import form as forms
from store import reports, segments
from store.segments import NewVersion
from tests.world import Person, World
from workflows.drafts import email
from workflows.payday_loans.segments import SEGMENTS

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def looks(world: World) -> Segments:
    """The lender's segments."""
    async with world.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        for each in SEGMENTS:
            form = forms.read(each.form)
            await segments.put(connection, NewVersion(each.name, each.story, form, "api", "tests"))
    return Segments(world.pool, world.catalog)


async def looked(world: World, looks: Segments, person: Person, at: datetime | None = None) -> None:
    """Whoever something happened to is looked at, and the person's journeys hear of it."""
    while (await looks.look(at or await person.present()))[1]:
        pass
    await world.dispatch(person)


async def did(person: Person, event: str, ago: timedelta, **properties: object) -> None:
    """Tell of something that happened some time ago."""
    now = datetime.now(UTC)
    call = {"userId": person.user_id, "event": event, "timestamp": (now - ago).isoformat(), "properties": properties}
    await person.world.tell(call, "track", now)


async def goes(person: Person, by: Channel, *texts: str, after: list[timedelta], journey: str) -> None:
    """Let time pass from one message to the next, and see that each goes at its time and not before."""
    passed = timedelta(0)
    for number, due in enumerate(after):
        await person.passes(due - passed - MINUTE, journey)
        assert len(await person.got(journey)) == number
        await person.passes(2 * MINUTE, journey)
        await person.world.until(lambda: person.got(journey), [f"{by} {text}" for text in texts[: number + 1]])
        passed = due + MINUTE


# AbandonedFirstLoan


async def test_the_first_loan_is_reminded_of_four_times_and_free_of_charge(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_application_started", application_id="A-1")
    texts = ("saved", "what_is_left", "questions", "last_reminder")
    await goes(person, Channel.WEB_PUSH, *texts, after=[HOUR, DAY, 3 * DAY, 7 * DAY], journey="AbandonedFirstLoan")
    await person.passes(31 * DAY)
    assert await person.outcome() == "finished"


async def test_an_application_after_the_last_reminder_is_its_goal(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_application_started", application_id="A-1")
    await person.passes(20 * DAY)
    await person.does("loan_application_submitted", application_id="A-1")
    assert await person.outcome() == "goal"


async def test_a_dearer_channel_is_used_when_the_cheaper_one_has_not_reached_them_in_four_hours(world: World) -> None:
    person = await world.visitor()
    await world.behaves(person.user_id, browser=person.token, delivery="never")
    await world.behaves(person.email, delivery="never")
    await person.does("loan_application_started", application_id="A-1")
    await person.passes(HOUR + MINUTE)
    assert await person.got() == ["web_push saved"]
    await person.passes(4 * HOUR)
    assert await person.got() == ["web_push saved", "email saved"]
    await person.passes(4 * HOUR)
    await world.until(person.got, ["web_push saved", "email saved", "sms saved"])


async def test_the_share_reached_by_the_free_channels_alone_is_told(world: World) -> None:
    async def told() -> dict[str, int]:
        async with world.pool.acquire() as connection:
            (row,) = await reports.reach(connection, "AbandonedFirstLoan", began)
        return {name: row[name] for name in ("written_to", "reached", "free_alone", "texts", "texts_free_alone")}

    began = datetime.now(UTC)
    free, paid = await world.visitor(), await world.visitor()
    await world.behaves(paid.user_id, browser=paid.token, delivery="never")
    await world.behaves(paid.email, delivery="never")
    for person in (free, paid):
        await person.does("loan_application_started", application_id="A-1")
        await person.passes(10 * HOUR)
    await world.until(paid.count, 3)
    assert await told() == {"written_to": 2, "reached": 2, "free_alone": 1, "texts": 2, "texts_free_alone": 1}


async def test_who_has_had_a_loan_is_not_reminded_of_their_first(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_issued", loan_id="L-1")
    await person.does("loan_application_started", application_id="A-1")
    assert await person.enrolments() == []
    assert "AbandonedFirstLoan: they have already done loan_issued" in await person.notes()


async def test_the_submitted_application_is_the_goal_of_its_reminders(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_application_started", application_id="A-1")
    await person.passes(2 * HOUR)
    await person.does("loan_application_submitted", application_id="A-1")
    assert await person.outcome() == "goal"
    assert await person.got() == ["web_push saved"]


# UncollectedLoan


async def test_approved_money_is_reminded_of_until_it_is_taken(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_issued", loan_id="L-1")
    await person.does("loan_approved", loan_id="L-2")
    texts = ("approved", "ways_to_take_it", "still_waiting", "last_reminder")
    await goes(person, Channel.WEB_PUSH, *texts, after=[2 * HOUR, DAY, 2 * DAY, 5 * DAY], journey="UncollectedLoan")
    await person.passes(31 * DAY)
    assert await person.outcome() == "finished"


async def test_the_money_taken_is_the_goal_and_that_of_another_loan_is_not(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_issued", loan_id="L-1")
    await person.does("loan_approved", loan_id="L-2")
    await person.does("loan_issued", loan_id="L-3")
    assert (await person.enrolments())[-1]["outcome"] is None
    await person.does("loan_issued", loan_id="L-2")
    assert await person.outcome() == "goal"


async def test_a_first_loan_that_is_approved_starts_nothing(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_approved", loan_id="L-1")
    assert "UncollectedLoan: they have never done loan_issued" in await person.notes()


# NewCustomer and RepeatCustomer


async def test_a_new_customer_is_told_six_times_in_two_months(world: World, looks: Segments) -> None:
    person = await world.visitor()
    await did(person, "registration_completed", MINUTE)
    await looked(world, looks, person, datetime.now(UTC))
    texts = ("quick_answer", "privacy", "where_the_money_goes", "how_to_borrow_well", "your_account", "still_here")
    after = [day * DAY for day in (1, 3, 7, 14, 30, 60)]
    await goes(person, Channel.WEB_PUSH, *texts, after=after, journey="NewCustomer")
    await person.passes(31 * DAY, "NewCustomer")
    assert await person.outcome("NewCustomer") == "finished"


async def test_the_first_application_is_the_goal_of_a_new_customer(world: World, looks: Segments) -> None:
    person = await world.visitor()
    await did(person, "registration_completed", MINUTE)
    await looked(world, looks, person, datetime.now(UTC))
    await person.passes(2 * DAY, "NewCustomer")
    await person.does("loan_application_submitted", application_id="A-1")
    assert await person.outcome("NewCustomer") == "goal"
    assert await person.got("NewCustomer") == ["web_push quick_answer"]


async def test_whoever_repaid_is_offered_more_for_a_quarter(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_repaid", loan_id="L-1")
    texts = ("thank_you", "larger_sum", "longer_term", "whenever_you_need")
    await goes(person, Channel.WEB_PUSH, *texts, after=[DAY, 7 * DAY, 30 * DAY, 90 * DAY], journey="RepeatCustomer")
    await person.passes(31 * DAY, "RepeatCustomer")
    assert await person.outcome("RepeatCustomer") == "finished"


async def test_whoever_repaid_before_this_journey_ran_here_is_offered_more_too(world: World, looks: Segments) -> None:
    person = await world.visitor()
    now = datetime.now(UTC)
    repaid = {"userId": person.user_id, "event": "loan_repaid", "timestamp": (now - 20 * DAY).isoformat()}
    answer = await world.tell(repaid, "track", now, dispatched=False)
    await world.pool.execute("update events set dispatched_at = now() where id = $1", answer.event)  # type: ignore[union-attr]
    await looked(world, looks, person, now)
    await person.passes(DAY + MINUTE, "RepeatCustomer")
    assert await person.got("RepeatCustomer") == ["web_push thank_you"]
    await person.does("loan_application_submitted", application_id="A-1")
    assert await person.outcome("RepeatCustomer") == "goal"


async def test_a_repayment_meanwhile_counts_anew_and_repeats_no_letter(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_repaid", loan_id="L-1")
    await person.passes(5 * DAY)
    await person.does("loan_repaid", loan_id="L-2")
    await person.passes(6 * DAY)
    assert await person.got() == ["web_push thank_you"]
    await person.passes(DAY + MINUTE)
    assert await person.got() == ["web_push thank_you", "web_push larger_sum"]
    assert len(await person.enrolments()) == 1


async def test_whoever_repays_a_second_time_within_half_a_year_is_written_to_again(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_repaid", loan_id="L-1")
    await person.does("loan_application_submitted", application_id="A-2")
    assert await person.outcome("RepeatCustomer") == "goal"
    await person.does("loan_repaid", loan_id="L-2")
    assert [each["journey"] for each in await person.enrolments()] == ["RepeatCustomer"] * 2


# RefusalBlock


async def test_after_a_refusal_nothing_is_sent_for_a_week_and_then_a_letter(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_application_started", application_id="A-1")
    await person.does("loan_refused")
    await person.passes(6 * DAY, "AbandonedFirstLoan")
    await world.until(lambda: reasons(person), {"blocked:RefusalBlock"})
    assert await person.got() == []
    await person.passes(7 * DAY - HOUR, "RefusalBlock")
    assert await person.got() == []
    await person.passes(2 * HOUR, "RefusalBlock")
    assert await person.got() == ["email apply_again"]
    assert await person.outcome("RefusalBlock") == "finished"


async def reasons(person: Person) -> set[str]:
    """Why messages were not sent."""
    return {row["reason"] for row in await person.messages() if row["status"] == "skipped"}


async def test_the_block_counts_from_the_transaction_that_accepts_the_refusal(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_application_started", application_id="A-1")
    await person.does("loan_refused", dispatched=False)
    now = await person.present()
    policy = world.deliver.deployment.policy
    told = await world.asks_to_deliver(person, email("abandoned_first_loan/saved"), policy=policy, at=now + HOUR)
    assert told.reason == "blocked:RefusalBlock"
    later = now + 7 * DAY + MINUTE
    told = await world.asks_to_deliver(person, email("abandoned_first_loan/questions"), policy=policy, at=later)
    assert told.gone


async def test_whoever_is_refused_again_is_left_alone_as_long_again(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_refused")
    await person.passes(5 * DAY)
    await person.does("loan_refused")
    await person.passes(6 * DAY)
    assert await person.got() == []
    await person.passes(DAY + MINUTE)
    assert await person.got() == ["email apply_again"]
    assert len(await person.enrolments()) == 1


async def test_whoever_applies_again_by_themselves_is_not_told_that_they_may(world: World) -> None:
    person = await world.visitor()
    await person.does("loan_refused")
    await person.passes(2 * DAY)
    await person.does("loan_application_submitted", application_id="A-2")
    assert await person.outcome() == "exit"
    assert await person.got() == []


# WinBack


async def churned(world: World, looks: Segments) -> Person:
    """Somebody who was last here 181 days ago and never had a loan."""
    person = await world.visitor()
    await did(person, "page_opened", 181 * DAY)
    await looked(world, looks, person, datetime.now(UTC))
    return person


async def test_the_churned_hear_nothing_for_a_fortnight_and_then_three_times(world: World, looks: Segments) -> None:
    person = await churned(world, looks)
    after = [14 * DAY, 21 * DAY, 44 * DAY]
    texts = ("we_are_here", "what_is_new", "goodbye")
    await goes(person, Channel.WEB_PUSH, *texts, after=after, journey="WinBack")
    await person.passes(31 * DAY, "WinBack")
    assert await person.outcome("WinBack") == "finished"


async def test_any_activity_wins_them_back(world: World, looks: Segments) -> None:
    person = await churned(world, looks)
    await person.passes(15 * DAY, "WinBack")
    await person.does("page_opened")
    await looked(world, looks, person)
    assert await person.outcome("WinBack") == "goal"


async def test_nobody_else_writes_to_whoever_is_to_be_won_back(world: World, looks: Segments) -> None:
    person = await world.visitor()
    await did(person, "loan_issued", 600 * DAY, loan_id="L-1")
    await did(person, "loan_approved", 549 * DAY, loan_id="L-2")
    await looked(world, looks, person, datetime.now(UTC))
    await person.passes(3 * DAY, "UncollectedLoan")
    await world.until(lambda: reasons(person), {"exclusive:WinBack"})
    assert await person.got() == []
    # What they asked for themselves is none of the communication that stops.
    now, policy = datetime.now(UTC), world.deliver.deployment.policy
    asked_for = email("uncollected_loan/approved", transactional=True)
    assert (await world.asks_to_deliver(person, asked_for, policy=policy, at=now, journey="UncollectedLoan")).gone


async def test_when_they_are_won_back_others_may_write_again(world: World, looks: Segments) -> None:
    person = await world.visitor()
    await did(person, "loan_issued", 600 * DAY, loan_id="L-1")
    await did(person, "loan_approved", 549 * DAY, loan_id="L-2")
    await looked(world, looks, person, datetime.now(UTC))
    await did(person, "page_opened", MINUTE)
    await looked(world, looks, person, datetime.now(UTC))
    await person.passes(3 * HOUR, "UncollectedLoan")
    await world.until(lambda: person.got("UncollectedLoan"), ["web_push approved"])
