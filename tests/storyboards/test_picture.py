"""The pictures: whole, with nothing over anything else, on wide screens and narrow ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest

from domain.messages import Channel, Draft
from storyboards.picture import STYLE, draw
from storyboards.rehearsal import rehearse
from storyboards.story import Fork, Sent, Storyboard, Way, storyboard
from tests.storyboards import stories
from workflows.audience import InSegment
from workflows.catalog import Catalog
from workflows.enabled import JOURNEYS
from workflows.journey import Journey, journey

BOARDS = {
    name: storyboard(rehearse(declaration))
    for catalog in (Catalog.of(JOURNEYS), Catalog.of(stories.STORIES))
    for name, declaration in catalog.journeys.items()
    if name != "Endless"
}


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def boxes(element: ElementTree.Element, x: float = 0, y: float = 0) -> Iterator[Box]:
    """Everything that is written in: cards, pauses, the words of ways."""
    if moved := element.get("transform"):
        dx, dy = map(float, moved.removeprefix("translate(").rstrip(")").split())
        x, y = x + dx, y + dy
    if element.get("class") in ("card", "pill", "tag"):
        yield Box(x, y, x + float(element.get("width", 0)), y + float(element.get("height", 0)))
    for child in element:
        yield from boxes(child, x, y)


def words(svg: str) -> str:
    return " ".join(ElementTree.fromstring(svg).itertext())


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("name", BOARDS)
def test_nothing_lies_over_anything_else_and_all_of_it_is_in_the_picture(name: str, narrow: bool) -> None:
    picture = ElementTree.fromstring(draw(BOARDS[name], narrow=narrow, headline=lambda _: "A headline. " * 20))
    found = list(boxes(picture))
    assert len(found) > 2
    width, height = float(picture.get("width", 0)), float(picture.get("height", 0))
    for box in found:
        assert min(box.left, box.top) >= 0
        assert box.right <= width
        assert box.bottom <= height
    assert [pair for pair in combinations(found, 2) if pair[0].meets(pair[1])] == []


@pytest.mark.parametrize("name", BOARDS)
def test_a_narrow_picture_is_for_a_telephone(name: str) -> None:
    assert float(ElementTree.fromstring(draw(BOARDS[name], narrow=True)).get("width", 0)) <= 400


def test_it_says_what_starts_it_and_what_counts_at_any_moment() -> None:
    told = words(draw(BOARDS["AbandonedApplication"]))
    for part in (
        "credit application started",
        "once per application id",
        "Goal, at any moment: credit application submitted",
        "Begins again, without repeating a message: credit application progressed",
    ):
        assert part in told
    assert "(to another bank)" in words(draw(BOARDS["RefusedByBank"]))
    assert "deal closed (for the first time)" in words(draw(BOARDS["FirstDealSurvey"]))
    assert "loan approved (only after loan issued)" in words(draw(BOARDS["UncollectedLoan"]))
    assert "loan application started (never before loan issued)" in words(draw(BOARDS["AbandonedFirstLoan"]))
    assert "Leaves it, at any moment: inspection cancelled" in words(draw(BOARDS["Reminder"]))
    rounds = words(draw(BOARDS["Rounds"]))
    assert "enters the segment “not_seen_30_days”" in rounds
    assert "leaves the segment “not_seen_30_days”" in rounds
    assert "Again from 1" in rounds


@pytest.mark.parametrize(
    ("story", "starts"), [(stories.Reminder, ()), (stories.Rounds, InSegment("not_seen_30_days", enters=False))]
)
def test_a_journey_that_takes_nobody_in_any_more_is_drawn_as_one(story: type[Journey], starts: Any) -> None:
    closed = journey(starts_on=starts)(type(story.__name__, (story,), {}))
    shown = draw(storyboard(rehearse(Catalog.of([closed]).journeys[story.__name__])))
    assert "takes nobody in any more" in words(shown)


def test_messages_show_their_channels_how_they_begin_and_what_is_special() -> None:
    board = BOARDS["Reminder"]
    svg = draw(board, headline=lambda draft: f"Dear {draft.channel}" if draft.template == "visit/tomorrow" else None)
    assert "“Dear sms”" in words(svg)
    assert "“Dear email”" not in words(svg)
    assert "SMS" in words(svg)
    assert "transactional: passes quiet hours and caps" in words(svg)
    assert "not sent more than 12 hours late" in words(svg)
    assert "a time that depends" in words(svg)


def test_what_no_rehearsal_came_to_is_told_with_its_line() -> None:
    told = words(draw(BOARDS["Leap"]))
    assert "No rehearsal came here: self.send(sms('leap/never'))" in told
    assert "stories.py:" in told
    assert "Fails here" in told


def test_nothing_a_name_or_a_text_holds_is_markup() -> None:
    sent = Sent(1, (Draft(channel=Channel.SMS, template='<script>/"&"<b>'),))
    board = replace(BOARDS["Survey"], parts=(sent, Fork((Way("<i>", (sent,)), Way("", ())))))
    svg = draw(board, headline=lambda _: "</svg><script>alert(1)</script>", alone=True)
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert tags <= {"svg", "style", "g", "title", "rect", "path", "text"}
    assert "<script" not in svg


def test_alone_it_brings_its_colours_for_light_and_dark() -> None:
    alone, within = (draw(BOARDS["Survey"], alone=alone) for alone in (True, False))
    assert STYLE in alone.replace("&gt;", ">")
    assert "prefers-color-scheme: dark" in alone
    assert "<style" not in within
    # A page's policy forbids styles of elements.
    assert "style=" not in within
    assert "Asks, and goes by the answer." in words(alone)


def test_a_long_story_is_drawn_whole() -> None:
    board: Storyboard = BOARDS["Welcome"]
    assert len(board.messages) == 13
    svg = draw(board)
    for number in range(1, 14):
        assert f'class="number">{number}</text>' in svg
