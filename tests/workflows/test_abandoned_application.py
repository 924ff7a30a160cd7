"""The abandoned application, walked through its full time, branch by branch."""

from datetime import timedelta

import pytest

from tests.world import World, where_it_is

GONE = timedelta(minutes=31)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("filled", "story"),
    [
        (
            2,
            [
                (GONE, {"call almost_empty"}),
                (DAY, {"email almost_empty", "inbox almost_empty"}),
                (2 * DAY, {"sms almost_empty"}),
            ],
        ),
        (
            6,  # 15% of 40 is partly filled already
            [
                (GONE, {"push partly_filled", "email partly_filled", "inbox partly_filled"}),
                (DAY, {"sms partly_filled"}),
            ],
        ),
        (
            32,  # 80% of 40 is partly filled still
            [
                (GONE, {"push partly_filled", "email partly_filled", "inbox partly_filled"}),
                (DAY, {"sms partly_filled"}),
            ],
        ),
        (
            33,
            [
                (GONE, {"email almost_full", "inbox almost_full"}),
                (3 * HOUR, {"call almost_full"}),
                (2 * DAY, {"sms almost_full"}),
            ],
        ),
        (40, [(GONE, {"email full", "inbox full"}), (HOUR, {"call full"})]),
    ],
)
async def test_what_is_sent_depends_on_how_full_the_form_is(
    world: World, filled: int, story: list[tuple[timedelta, set[str]]]
) -> None:
    person = await world.person()
    await person.begins(filled=filled)
    expected: set[str] = set()
    for duration, messages in story:
        # Not a minute before, then all of it.
        await person.passes(duration - timedelta(minutes=2))
        assert set(await person.got()) == expected
        await person.passes(timedelta(minutes=2))
        expected |= messages
        assert set(await person.got()) == expected
    await person.passes(20 * DAY)
    assert set(await person.got()) == expected


async def test_progress_starts_the_wait_again_and_the_level_then_decides(world: World) -> None:
    person = await world.person()
    await person.begins(filled=2)
    await person.passes(timedelta(minutes=20))
    await person.fills(20)
    await person.passes(timedelta(minutes=20))
    assert await person.got() == []
    await person.passes(timedelta(minutes=11))
    assert set(await person.got()) == {"push partly_filled", "email partly_filled", "inbox partly_filled"}


async def test_on_the_same_level_the_chain_goes_on_and_repeats_nothing(world: World) -> None:
    person = await world.person()
    await person.begins(filled=10)
    await person.passes(GONE)
    await person.passes(12 * HOUR)
    await person.fills(12)
    await person.passes(GONE)
    assert len(await person.got()) == 3
    await person.passes(12 * HOUR)
    # A day after the first messages, as told, not a day after the progress.
    assert (await person.got())[3:] == ["sms partly_filled"]


async def test_a_higher_level_has_a_chain_of_its_own(world: World) -> None:
    person = await world.person()
    await person.begins(filled=2)
    await person.passes(GONE)
    await person.fills(40)
    await person.passes(GONE)
    assert sorted(await person.got()) == ["call almost_empty", "email full", "inbox full"]


async def test_the_goal_ends_it_wherever_it_is(world: World) -> None:
    person = await world.person()
    await person.begins(filled=10)
    await person.passes(GONE)
    await person.does("credit_application_submitted", application_id="A-1")
    assert await person.outcome() == "goal"
    assert len(await person.got()) == 3
    (stay,) = await person.enrolments()
    assert stay["outcome"] == "goal"
    assert stay["ended_at"] is not None


async def test_nothing_is_sent_after_a_goal_the_run_has_not_heard_of_yet(world: World) -> None:
    person = await world.person()
    await person.begins(filled=2)
    await person.does("credit_application_submitted", application_id="A-1", dispatched=False)
    await person.passes(5 * DAY)
    assert [(row["status"], row["reason"]) for row in await person.messages()] == [("skipped", "overtaken:goal")]
    await world.dispatch(person)
    assert await person.outcome() == "goal"
    assert await person.got() == []


async def test_a_goal_without_its_key_ends_all_of_the_customers_runs(world: World) -> None:
    person = await world.person()
    await person.begins("A-1")
    await person.begins("A-2")
    await person.does("credit_application_submitted")
    assert [stay["outcome"] for stay in await person.enrolments()] == ["goal", "goal"]


async def test_a_customer_may_have_two_applications_and_submit_one(world: World) -> None:
    person = await world.person()
    await person.begins("A-1", filled=10)
    await person.begins("A-2", filled=10)
    await person.does("credit_application_submitted", application_id="A-1")
    assert [(stay["key"], stay["outcome"]) for stay in await person.enrolments()] == [("A-1", "goal"), ("A-2", None)]
    await person.passes(GONE)
    assert len(await person.got()) == 3


async def test_after_the_last_message_it_stays_for_thirty_days_and_answers_progress(world: World) -> None:
    person = await world.person()
    await person.begins(filled=40)
    await person.passes(25 * DAY)
    assert len(await person.got()) == 3
    await person.fills(20)
    await person.passes(GONE)
    assert set((await person.got())[3:]) == {"push partly_filled", "email partly_filled", "inbox partly_filled"}
    await person.passes(31 * DAY)
    assert await person.outcome() == "finished"


async def test_the_same_application_starts_once(world: World) -> None:
    person = await world.person()
    await person.begins("A-1")
    await person.begins("A-1")
    assert len(await person.enrolments()) == 1
    assert "AbandonedApplication: already in it" in await person.notes()


async def test_without_its_key_it_starts_nothing_and_says_why(world: World) -> None:
    person = await world.person()
    await person.does("credit_application_started", filled=1, total=40)
    assert await person.enrolments() == []
    assert await person.notes() == [
        "AbandonedApplication: no property application_id that can be a key, starts nothing"
    ]


async def test_a_goal_accepted_before_the_start_prevents_it(world: World) -> None:
    person = await world.person()
    started = await person.present()
    await person.does("credit_application_submitted", application_id="A-1")
    late = {
        "userId": person.user_id,
        "event": "credit_application_started",
        "properties": {"application_id": "A-1"},
        "timestamp": (started - HOUR).isoformat(),
    }
    await world.tell(late, "track", await person.present())
    assert await person.enrolments() == []
    assert "AbandonedApplication: the goal was reached before it could start" in await person.notes()


async def test_an_event_that_does_not_fit_is_parked_and_does_not_block_its_customer(world: World) -> None:
    person = await world.person()
    await person.begins(filled=2)
    await person.does("credit_application_progressed", application_id="A-1", filled=50, total=40)
    await person.fills(40)
    await person.passes(GONE)
    assert sorted(await person.got()) == ["email full", "inbox full"]
    (note,) = [note for note in await person.notes() if "does not fit" in note]
    assert "filled must not exceed total" in note


async def test_without_an_address_the_channel_is_skipped_and_the_journey_goes_on(world: World) -> None:
    person = await world.person(email=None)
    await person.begins(filled=40)
    await person.passes(GONE)
    assert {(row["channel"], row["status"], row["reason"]) for row in await person.messages()} == {
        ("email", "skipped", "no_address"),
        ("inbox", "delivered", None),
    }


async def test_at_night_the_sms_waits_for_the_morning(world: World) -> None:
    # The SMS is due a day and half an hour from now, between 22:30 and 23:30 where they live.
    person = await world.person(timezone=where_it_is(22))
    await person.begins(filled=10)
    await person.passes(GONE + DAY)
    assert len(await person.got()) == 3
    (wait,) = (await person.standing())["waiting"]
    assert (wait["policy"], wait["for"]) == (True, "sms abandoned_application/partly_filled: quiet_hours")
    await person.passes(12 * HOUR)
    assert (await person.got())[3:] == ["sms partly_filled"]
