"""An application comes from approval to deal: one letter, once an application."""

from datetime import timedelta

import pytest

from tests.world import Person, World


async def moves(person: Person, left: str, to: str, application: str = "M-1", loan_type: str = "mortgage") -> None:
    told = {"from": left, "to": to, "loan_type": loan_type, "application_id": application}
    await person.does("mortgage_application_moved", **told)


@pytest.mark.parametrize(
    ("loan_type", "words"),
    [
        ("mortgage", "the approval is valid"),
        ("secured", "now find the flat"),
        ("refinancing", "the refinancing becomes a deal"),
    ],
)
async def test_from_approval_to_deal_a_letter_with_the_new_buildings(world: World, loan_type: str, words: str) -> None:
    person = await world.person()
    await moves(person, "Approval", "Deal", loan_type=loan_type)
    assert await person.outcome() == "finished"
    assert await person.got() == ["email new_buildings"]
    (letter,) = await person.messages()
    assert words in letter["content"]["subject"] + letter["content"]["text"]


@pytest.mark.parametrize(("left", "to"), [("Lead", "Approval"), ("Lead", "Deal"), ("Deal", "Approval")])
async def test_no_other_move_is_written_about(world: World, left: str, to: str) -> None:
    person = await world.person()
    await moves(person, left, to)
    assert await person.enrolments() == []


async def test_an_application_that_goes_back_and_forth_is_written_about_once_and_another_of_its_own(
    world: World,
) -> None:
    person = await world.person()
    for left, to in (("Approval", "Deal"), ("Deal", "Approval"), ("Approval", "Deal")):
        await moves(person, left, to)
        assert await person.outcome() == "finished"
    assert "may enter again 365 days later" in (await person.notes())[-1]
    await moves(person, "Approval", "Deal", application="M-2")
    await world.until(person.count, 2)


async def test_a_stage_nobody_knows_is_set_aside_with_the_rule(world: World) -> None:
    person = await world.person()
    await moves(person, "Approval", "Signed")
    (note,) = await person.notes()
    assert "to: Input should be 'Lead', 'Approval' or 'Deal'" in note


async def test_nothing_is_left_to_wait_for(world: World) -> None:
    person = await world.person()
    await moves(person, "Approval", "Deal")
    await person.passes(timedelta(seconds=1))
    assert await person.outcome() == "finished"
