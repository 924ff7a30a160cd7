"""The abandoned application, walked through its full time."""

from datetime import timedelta

from tests.world import World


async def test_almost_empty_form_begins_with_a_call(world: World) -> None:
    person = await world.person()
    await person.does("credit_application_started", {"application_id": "A-1", "filled": 2, "total": 40})
    await person.passes(timedelta(minutes=31))
    assert await person.got() == ["call almost_empty"]
