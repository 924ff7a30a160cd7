"""Whom the lender's free channels do not reach has every message of its journeys by SMS, at its time."""

from datetime import UTC, datetime, timedelta

from activities.segments import Segments
from domain.messages import Channel
from tests.workflows.audiences import declared
from tests.workflows.test_payday_loans import did, goes, looked
from tests.world import Person, World
from workflows.payday_loans.segments import SEGMENTS

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def by_sms_alone(world: World) -> Person:
    person = await world.person(email=None)
    await world.behaves(person.token, delivery="unregistered")
    return person


async def test_the_abandoned_first_loan(world: World) -> None:
    person = await by_sms_alone(world)
    await person.does("loan_application_started", application_id="A-1")
    texts = ("saved", "what_is_left", "questions", "last_reminder")
    await goes(person, Channel.SMS, *texts, after=[HOUR, DAY, 3 * DAY, 7 * DAY], journey="AbandonedFirstLoan")


async def test_the_uncollected_loan(world: World) -> None:
    person = await by_sms_alone(world)
    await person.does("loan_issued", loan_id="L-1")
    await person.does("loan_approved", loan_id="L-2")
    texts = ("approved", "ways_to_take_it", "still_waiting", "last_reminder")
    await goes(person, Channel.SMS, *texts, after=[2 * HOUR, DAY, 2 * DAY, 5 * DAY], journey="UncollectedLoan")


async def test_the_new_customer(world: World) -> None:
    person, looks = await by_sms_alone(world), await declared(world, *SEGMENTS)
    await did(person, "registration_completed", timedelta(minutes=1))
    await looked(world, looks, person, datetime.now(UTC))
    texts = ("quick_answer", "privacy", "where_the_money_goes", "how_to_borrow_well", "your_account", "still_here")
    after = [day * DAY for day in (1, 3, 7, 14, 30, 60)]
    await goes(person, Channel.SMS, *texts, after=after, journey="NewCustomer")


async def test_the_repeat_customer(world: World) -> None:
    person = await by_sms_alone(world)
    await person.does("loan_repaid", loan_id="L-1")
    texts = ("thank_you", "larger_sum", "longer_term", "whenever_you_need")
    await goes(person, Channel.SMS, *texts, after=[DAY, 7 * DAY, 30 * DAY, 90 * DAY], journey="RepeatCustomer")


async def test_who_is_to_be_won_back(world: World) -> None:
    person = await by_sms_alone(world)
    looks: Segments = await declared(world, *SEGMENTS)
    await did(person, "page_opened", 181 * DAY)
    await looked(world, looks, person, datetime.now(UTC))
    texts = ("we_are_here", "what_is_new", "goodbye")
    await goes(person, Channel.SMS, *texts, after=[14 * DAY, 21 * DAY, 44 * DAY], journey="WinBack")
