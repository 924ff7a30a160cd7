"""What a rehearsal sees of a journey, and how it is told: every way of its own code, and no other."""

import inspect
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest

from storyboards.picture import at_any_moment, draw
from storyboards.rehearsal import RUNS, STEPS, rehearse
from storyboards.story import Storyboard, storyboard
from tests.storyboards import stories
from tests.storyboards.telling import told
from workflows.catalog import Catalog
from workflows.enabled import JOURNEYS

# Apart, because the stories have events of their own by the names of the packs'.
CATALOG = Catalog({**Catalog.of(JOURNEYS).journeys, **Catalog.of(stories.STORIES).journeys})


def board_of(name: str) -> Storyboard:
    return storyboard(rehearse(CATALOG.journeys[name]))


def line_of(code: str) -> str:
    lines = inspect.getsource(stories).splitlines()
    return f"{stories.__file__}:{1 + next(number for number, line in enumerate(lines) if code in line)}"


@pytest.mark.parametrize(
    ("name", "story"),
    [
        (
            "AbandonedApplication",
            """
            ~ 30 minutes of quiet
            <almost empty>
              1: call almost_empty
              ~ 1 day
              2: email almost_empty, inbox almost_empty
              ~ 2 days
              3: sms almost_empty
            <partly filled>
              4: push partly_filled, email partly_filled, inbox partly_filled
              ~ 1 day
              5: sms partly_filled
            <almost full>
              6: email almost_full, inbox almost_full
              ~ 3 hours
              7: call almost_full
              ~ 2 days
              8: sms almost_full
            <full>
              9: email full, inbox full
              ~ 1 hour
              10: call full
            ~ 30 days of quiet
            finished
            """,
        ),
        (
            "Welcome",
            """
            <agent experienced and agent has client>
              1: email functions
              ~ 1 day
              2: email new_buildings
            <agent experienced>
              3: email finding_clients
              ~ 2 days
              4: email geography
              ~ 3 days
              5: email partners
            <agent has client>
              ~ up to 1 day for curator assigned
              <curator assigned>
                6: email curator, inbox curator
              <not in time>
              ~ 2 days
              7: email stages
            <otherwise>
              8: email lesson_1
              ~ 2 days
              9: email lesson_2
              ~ 3 days
              10: email lesson_3
              ~ 4 days
              11: email lesson_4
              ~ 5 days
              12: email lesson_5
              ~ 7 days
              13: email lesson_6
            finished
            """,
        ),
        (
            "Uncollected",
            """
            ~ 1 day
            1: push first
            ~ up to 4 hours until read
            <read>
            <not read>
              2: email first
              ~ up to 4 hours until read
              <read>
              <not read>
                3: sms first
            ~ 1 day
            4: push last
            ~ up to 4 hours until read
            <read>
            <not read>
              5: email last
              ~ up to 4 hours until read
              <read>
              <not read>
                6: sms last
            finished
            """,
        ),
        (
            "Survey",
            """
            1: whatsapp how_was_it
            ~ up to 3 days for an answer
            <“excellent”>
              2: email contest
            <“bad” or “normal”>
              3: call why
            <answers in words>
              4: call free_text
            <no answer>
            finished
            """,
        ),
        (
            "Reminder",
            """
            <visit at - now > 2 * DAY>
              1: email welcome
            <otherwise>
            ~ a time that depends: max(visit at - DAY - now, timedelta(0))
            2: sms tomorrow
            finished
            """,
        ),
        (
            "Rounds",
            """
            1: email first
            ~ 3 days
            2: email second
            ~ 27 days
            again 1
            """,
        ),
        (
            "Patient",
            """
            ~ 1 day
            <curator assigned>
              1: sms curator
            <otherwise>
            ~ up to 1 day for curator assigned
            <curator assigned>
              2: sms thanks
            <not in time>
            finished
            """,
        ),
        (
            "Thread",
            """
            <>
              1: push other
              ~ up to 1 day until read
              <read>
              <not read>
                2: sms other
            <>
              3: push alpha
              ~ up to 1 day until read
              <read>
              <not read>
                4: sms alpha
            finished
            """,
        ),
        (
            "Attentive",
            """
            1: email letter
            <not letter gone>
              2: sms instead
            <otherwise>
            finished
            """,
        ),
    ],
)
def test_a_story_is_told_as_its_code_tells_it(name: str, story: str) -> None:
    board = board_of(name)
    assert list(told(board.parts)) == dedent(story).strip().splitlines()
    assert board.missed == ()


def test_a_bot_is_told_by_its_buttons_and_what_it_does_about_silence_beside_that() -> None:
    board = board_of("CarQuiz")
    story = """
        1: whatsapp where
        ~ up to 1 hour for a button
        2: whatsapp what_matters
        ~ up to 1 hour for a button
        <“city”, “price”>
          3: whatsapp city_price
        <“city”, another button>
          4: whatsapp city_comfort
        <“country”, “price”>
          5: whatsapp country_price
        <“country”, another button>
          6: whatsapp country_comfort
        <another button, “price”>
          7: whatsapp family_price
        <another button, another button>
          8: whatsapp family_comfort
        ~ up to 1 hour for a button
        <“phone”>
          9: whatsapp phone
          finished
        <another button>
          again 1
        """
    assert list(told(board.parts)) == dedent(story).strip().splitlines()
    assert list(told(board.silent)) == ["10: call left", "finished"]
    assert [sent.number for sent in board.messages] == list(range(1, 11))
    beside = dict(at_any_moment(board.declaration))
    assert beside["Handed over to an operator"] == "asks for one or writes words again after a hint"
    drawn = [" ".join(ElementTree.fromstring(draw(board, narrow=narrow)).itertext()) for narrow in (False, True)]
    assert all("no button for 1 hour" in picture for picture in drawn)
    gallery = board_of("ModelGallery")
    assert gallery.silent == ()
    assert dict(at_any_moment(gallery.declaration))["Over"] == "no button for 1 hour, whatever was asked"


def test_what_several_ways_come_to_is_told_once() -> None:
    """However the visit's welcome went, its reminders are the same."""
    lines = [line.strip() for line in told(board_of("VisitBooked").parts)]
    sent = [line.split(":")[0] for line in lines if line[0].isdigit()]
    assert sent == [str(number) for number in range(1, len(sent) + 1)]
    assert lines.count("on 14") == 3


def test_a_way_nobody_comes_to_is_told_and_not_drawn() -> None:
    board = board_of("Leap")
    assert [(missed.source, missed.code) for missed in board.missed] == [
        (line_of('sms("leap/never")'), "self.send(sms('leap/never'))"),
        (line_of('sms("leap/older")'), "self.send(sms('leap/older'))"),
    ]
    drawn = [draft.template for sent in board.messages for draft in sent.drafts]
    assert drawn == ["leap/newer"]


def test_steps_that_fail_are_told_with_their_line() -> None:
    board = board_of("Leap")
    failed = f"{line_of('leap/beta')}: KeyError: 'Alpha'"
    assert list(told(board.parts)) == ["1: sms newer", "<chosen bank is “Alpha”>", f"  broken {failed}", *OTHERWISE]
    assert rehearse(CATALOG.journeys["Leap"]).broken == [failed]


OTHERWISE = ["<otherwise>", "  finished"]


def test_a_story_without_end_is_cut_visibly() -> None:
    lines = list(told(board_of("Endless").parts))
    assert (len(lines), lines[-1]) == (STEPS + 1, "cut")


def test_it_is_the_same_every_time() -> None:
    assert board_of("Welcome") == board_of("Welcome")


def test_parameters_are_the_deployments() -> None:
    catalog = Catalog.of(
        JOURNEYS, {"AbandonedApplication": {"considered_gone_after": "PT45M", "sms_after_push": "P3D"}}
    )
    lines = list(told(storyboard(rehearse(catalog.journeys["AbandonedApplication"])).parts))
    assert lines[0] == "~ 45 minutes of quiet"
    assert lines[lines.index("<partly filled>") + 2] == "  ~ 3 days"


def test_what_ships_is_rehearsed_to_the_last_line() -> None:
    for declaration in Catalog.of(JOURNEYS).journeys.values():
        rehearsal = rehearse(declaration)
        assert (rehearsal.missed, rehearsal.broken) == ((), []), declaration.name
        assert len(rehearsal.walks) < RUNS
        assert Path(str(next(iter(rehearsal.drafts.values()))).rpartition(":")[0]).exists()
