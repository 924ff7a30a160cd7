"""A bank refused: which bank is offered next, when, and what ends it."""

from datetime import timedelta
from uuid import uuid4

from tests.world import Person, World

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


async def is_refused(person: Person, bank: str, application: str = "A-1") -> None:
    await person.does("credit_application_refused", application_id=application, bank=bank)


async def had(world: World, bank: str, *, approved: int, refused: int, region: str) -> None:
    """Other customers' experience with a bank."""
    other = await world.person(region=region)
    for decision, count in (("credit_issued", approved), ("credit_application_refused", refused)):
        for _ in range(count):
            await other.does(decision, application_id=uuid4().hex, bank=bank, dispatched=False)


async def test_the_story_in_its_time(world: World) -> None:
    person = await world.person()
    await is_refused(person, "First")
    await person.passes(MINUTE)
    assert sorted(await person.got()) == ["email another_bank", "inbox another_bank"]
    await person.passes(DAY)
    assert (await person.got())[2:] == ["push another_bank"]
    await person.passes(2 * DAY)
    assert (await person.got())[3:] == ["call another_bank"]
    await person.passes(31 * DAY)
    assert await person.outcome() == "finished"


async def test_a_submission_to_another_bank_is_the_goal_and_one_to_the_same_is_not(world: World) -> None:
    person = await world.person()
    await is_refused(person, "First")
    await person.does("credit_application_submitted", application_id="A-1", bank="First")
    assert (await person.enrolments())[0]["outcome"] is None
    await person.does("credit_application_submitted", application_id="A-1", bank="Second")
    assert await person.outcome() == "goal"


async def test_the_submission_before_the_refusal_does_not_prevent_it(world: World) -> None:
    person = await world.person()
    await person.does("credit_application_submitted", application_id="A-1", bank="First")
    await is_refused(person, "First")
    assert len(await person.enrolments()) == 1


async def test_money_from_any_bank_is_the_goal(world: World) -> None:
    person = await world.person()
    await is_refused(person, "First")
    await person.does("credit_issued", application_id="A-1", bank="First")
    assert await person.outcome() == "goal"


async def test_the_bank_offered_is_the_best_one_not_yet_tried(world: World) -> None:
    region = uuid4().hex
    good, better, tried = f"Good-{region}", f"Better-{region}", f"Tried-{region}"
    await had(world, good, approved=1, refused=1, region=region)
    await had(world, better, approved=2, refused=1, region=region)
    await had(world, tried, approved=3, refused=0, region=region)
    person = await world.person(region=region)
    await is_refused(person, tried)
    assert await world.offered(person) == better
    await person.does("credit_application_submitted", application_id="A-1", bank=better)
    await is_refused(person, better)
    assert await world.offered(person) == good


async def test_customers_like_this_one_count_more_where_there_are_enough(world: World) -> None:
    region, elsewhere = uuid4().hex, uuid4().hex
    local, famous = f"Local-{region}", f"Famous-{region}"
    await had(world, local, approved=19, refused=1, region=region)
    await had(world, famous, approved=10, refused=10, region=region)
    await had(world, famous, approved=60, refused=0, region=elsewhere)
    person = await world.person(region=region)
    await is_refused(person, "First")
    assert await world.offered(person) == local
