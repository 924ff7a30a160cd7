"""A campaign from its form to the phone: everybody of the segment once, whatever happens in the middle."""

from tests.campaigns.conftest import Office


async def test_everybody_in_the_segment_gets_it_once(office: Office) -> None:
    people = await office.people(3)
    stranger = await office.world.person()
    campaign = await office.sends()
    assert await campaign.ends() == {"sent": 3}
    for person in people:
        assert await person.got() == ["sms tyres"]
        assert (await office.world.effects(person))["sms"] == 1
    assert await stranger.got() == []
