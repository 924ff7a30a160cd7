"""The registration chain: every step's messages in their time, and what is wrong with a plan."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from domain.messages import Channel
from storyboards.rehearsal import Messages, rehearse
from tests.world import World
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError
from workflows.payday_loans.events import Step
from workflows.payday_loans.registration_chain import PLAN, RegistrationChain
from workflows.plan import Plan, plan_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def plan() -> Plan:
    """The plan that ships."""
    return plan_of(list(Step))(PLAN)


def test_the_plan_that_ships_has_210_messages_at_most_one_a_day() -> None:
    messages = plan().messages
    assert len(messages) == 210
    assert {each.step for each in messages} == set(Step)
    assert {each.channels[0] for each in messages} == {Channel.WEB_PUSH}


async def test_who_stops_is_written_to_after_an_hour_and_once_a_day(world: World) -> None:
    person = await world.visitor()
    await person.does("registration_started")
    await person.passes(HOUR - MINUTE)
    assert await person.got() == []
    await person.passes(2 * MINUTE)
    assert await person.got() == ["web_push phone_code"]
    for day in range(1, 7):
        await person.passes(DAY - 10 * MINUTE)
        assert await person.count() == day
        await person.passes(10 * MINUTE + timedelta(seconds=5))
        await world.until(person.count, day + 1)
    assert [each.split()[1] for each in await person.got()] == [each.text.split("/")[1] for each in plan().messages[:7]]


async def test_the_next_step_has_its_own_messages_and_goes_on_from_its_own_beginning(world: World) -> None:
    person = await world.visitor()
    await person.does("registration_started")
    await person.passes(DAY + 2 * HOUR)
    await person.does("registration_step_completed", step="phone")
    await person.passes(2 * HOUR)
    assert (await person.got())[-1] == "web_push passport_at_hand"
    await person.does("registration_step_completed", step="income")
    await person.passes(2 * HOUR)
    assert (await person.got())[-1] == "web_push payout_choice"
    # Back at an earlier one: behind the place in the plan, so they hear nothing.
    await person.does("registration_step_completed", step="passport")
    await person.passes(10 * DAY)
    assert (await person.got())[-1] == "web_push payout_choice"
    await person.does("registration_step_completed", step="income")
    await person.passes(2 * HOUR)
    assert (await person.got())[-1] == "web_push payout_card"
    await person.does("registration_completed")
    assert await person.outcome() == "goal"


@pytest.mark.parametrize("step", list(Step)[2:])
async def test_who_stays_on_a_step_is_told_all_of_it_and_is_forgotten_a_month_after(world: World, step: Step) -> None:
    # The first two are walked in test_growing_long, over many runs.
    messages = [each for each in plan().messages if each.step == step]
    person = await world.visitor()
    await person.does("registration_started")
    await person.does("registration_step_completed", step=list(Step)[list(Step).index(step) - 1])
    await person.passes((messages[-1].day + 7) * DAY)
    assert await person.got() == [f"{each.channels[0]} {each.text.split('/')[1]}" for each in messages]
    await person.passes(31 * DAY)
    assert await person.outcome() == "finished"


async def test_who_has_done_every_step_hears_nothing_until_the_account_is_there(world: World) -> None:
    person = await world.visitor()
    await person.does("registration_started")
    await person.does("registration_step_completed", step="agreement")
    await person.passes(29 * DAY)
    assert await person.got() == []
    await person.passes(3 * DAY)
    assert await person.outcome() == "finished"


async def test_a_message_that_was_held_back_does_not_bring_two_on_one_day(world: World) -> None:
    person = await world.visitor()
    await person.does("registration_started")
    await (await person.run()).execute_update("pause")
    await person.passes(3 * DAY)
    assert await person.got() == []
    await (await person.run()).execute_update("resume")
    await world.until(person.got, ["web_push phone_code"])
    await person.passes(DAY - HOUR)
    assert await person.got() == ["web_push phone_code"]
    await person.passes(HOUR + MINUTE)
    assert await person.got() == ["web_push phone_code", "web_push phone_why"]


def test_at_most_one_message_goes_out_in_the_time_a_deployment_says() -> None:
    catalog = Catalog.of([RegistrationChain], {"RegistrationChain": {"one_a": "P3D"}})
    now, went = timedelta(0), list[timedelta]()
    for step in rehearse(catalog.journeys["RegistrationChain"]).walks[0]:
        now += step.lasts
        if isinstance(step.item, Messages) and step.item.drafts[0].channel is Channel.WEB_PUSH:
            went.append(now)
    days = [each.day for each in plan().messages[:35]]
    assert [later - earlier for earlier, later in pairwise(went)] == [
        max(later - earlier, 3) * DAY for earlier, later in pairwise(days)
    ]


async def test_a_published_review_is_told_and_none_is_made_up(world: World) -> None:
    author = await world.visitor()
    await author.does("review_published", text="It took two evenings, and nobody rang.", author="A customer")
    letters = world.deliver.catalog.journeys["RegistrationChain"].facts["review"]
    person = await world.visitor()
    await person.does("registration_started")
    stay = (await person.enrolments())[0]
    found = await world.pool.fetchrow(letters, stay["id"])
    assert dict(found or {}) == {"text": "It took two evenings, and nobody rang.", "author": "A customer"}


HEADER = "step,day,channels,text"
WHOLE = [f"{step},0,push email,registration/{step}_first" for step in Step]


@pytest.mark.parametrize(
    ("lines", "line", "rule"),
    [
        (["step;day", *WHOLE], 1, "the first line must be step,day,channels,text"),
        ([HEADER, *WHOLE[:-1]], 1, "no message for the step agreement"),
        ([HEADER, "phone,3,push,a/b", "phone,2,push,a/c", *WHOLE[1:]], 3, "day 2 comes after day 3"),
        ([HEADER, "phone,3,push,a/b", "phone,3,push,a/c", *WHOLE[1:]], 3, "day 3 comes after day 3"),
        ([HEADER, "fax,0,push,a/b", *WHOLE], 2, "there is no step 'fax'"),
        ([HEADER, "phone,0,fax,a/b", *WHOLE[1:]], 2, "there is no channel 'fax'"),
        ([HEADER, "phone,0,,a/b", *WHOLE[1:]], 2, "channels must be one or several"),
        ([HEADER, "phone,-1,push,a/b", *WHOLE[1:]], 2, "day must be a whole number"),
        ([HEADER, "phone,0,push", *WHOLE[1:]], 2, "has 3 values, not 4"),
        ([HEADER, "phone,0,push,", *WHOLE[1:]], 2, "a text is named group/name"),
        ([HEADER, WHOLE[0], WHOLE[1], WHOLE[0], *WHOLE[2:]], 4, "is in "),
        ([HEADER, WHOLE[1], WHOLE[0], *WHOLE[2:]], 3, "messages stand in the order of the steps"),
    ],
)
def test_a_plan_with_a_hole_is_refused_at_start_with_file_and_line(
    lines: list[str], line: int, rule: str, tmp_path: Path
) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DeclarationError) as refused:
        Catalog.of([RegistrationChain], {"RegistrationChain": {"plan": str(file)}})
    assert f"{file}:{line}: " in str(refused.value)
    assert rule in str(refused.value)


def test_a_plan_that_names_a_text_there_is_not_is_refused_at_start(world: World, tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("\n".join([HEADER, *WHOLE]) + "\n")
    catalog = Catalog.of([RegistrationChain], {"RegistrationChain": {"plan": str(file)}})
    texts = world.deliver.texts
    with pytest.raises(DeclarationError, match=rf"{file}:2: there is no text registration/phone_first for push"):
        catalog.check_texts(texts, texts.locales)


async def test_a_run_keeps_the_plan_it_began_with(world: World) -> None:
    person = await world.visitor()
    await person.does("registration_started")
    start = (await (await person.run()).fetch_history()).events[0].workflow_execution_started_event_attributes
    assert b"registration/agreement_goodbye" in start.input.payloads[0].data
