"""A campaign from its form to the phone: everybody of the segment once, whatever happens in the middle."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from activities.campaigns import Campaigns, _Now
from activities.courtesy import Courtesy
from dispatch.campaigns import run_campaigns
from domain.campaigns import CampaignForm
from policy.configuration import Policy
from policy.contact import is_held_out
from store import campaigns
from tests.campaigns.conftest import Office
from tests.guarantees.test_uncertain import settle
from tests.world import where_it_is

HOUR = timedelta(hours=1)


async def test_everybody_in_the_segment_gets_it_once(office: Office) -> None:
    people = await office.people(3)
    stranger = await office.world.person()
    campaign = await office.sends()
    assert await campaign.ends() == {"sent": 3}
    for person in people:
        assert await person.got() == ["sms tyres"]
        assert (await office.world.effects(person))["sms"] == 1
    assert await stranger.got() == []


async def test_everybody_gets_it_at_its_hour_where_they_are(office: Office) -> None:
    # The hour of those for whom it is ten now; for the others it comes an hour later.
    (early,), (late,) = await office.people(1), await office.people(1, timezone=where_it_is(9))
    campaign = await office.sends(hour=10)
    await office.world.until(early.count, 1)
    assert await late.got() == []
    await campaign.passes(HOUR)
    await office.world.until(late.count, 1)
    assert await campaign.ends() == {"sent": 2}


async def test_a_day_of_the_week_is_waited_for(office: Office) -> None:
    (person,) = await office.people(1)
    today = await office.world.pool.fetchval("select lower(to_char(now(), 'dy'))")
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    campaign = await office.sends(weekdays=[day for day in days if day != today], useful_for="P2D")
    await office.world.until(campaign.waiting, 1)
    due = await campaign.says("next_due")
    assert await person.got() == []
    assert due > (await office.world.pool.fetchval("select now() + interval '6 hours'")).isoformat()


async def test_nobody_is_written_to_before_it_starts_and_who_is_in_then_counts(office: Office) -> None:
    (gone,) = await office.people(1)
    starts_at = await office.world.pool.fetchval("select now() + interval '1 hour'")
    campaign = await office.sends(starts_at=starts_at.isoformat())
    await office.world.until(campaign.is_, "planning")
    await office.moves(gone, "elsewhere")
    (come,) = await office.people(1)
    await campaign.passes(HOUR + timedelta(minutes=1))
    assert await campaign.ends() == {"sent": 1}
    assert (await come.got(), await gone.got()) == (["sms tyres"], [])


async def test_variants_have_their_own_text_and_hour(office: Office) -> None:
    people = await office.people(8)
    variants = [
        {"name": "plain", "share": 0.5},
        {"name": "other", "share": 0.5, "templates": {"sms": "campaigns/other"}},
    ]
    name = await office.writes(variants=variants)
    campaign = await office.starts(name)
    assert await campaign.ends() == {"sent": 8}
    form = CampaignForm.model_validate(await campaign.says("form"))
    for person in people:
        drawn = form.drawn(await office.number(person)).name
        assert await person.got() == ["sms tyres" if drawn == "plain" else "sms other"]
    report = await campaign.reports()
    assert sum(each["sent"] for each in report["variants"]) == 8


async def test_a_cascade_goes_on_where_a_channel_does_not_reach(office: Office) -> None:
    reached, unreached = await office.people(2)
    await office.world.behaves(unreached.token, delivery="unregistered")
    (no_phone,) = await office.people(1, phone=None)
    steps = [{"channel": way, "template": "campaigns/tyres"} for way in ("push", "sms")]
    campaign = await office.sends(cascade=steps, within="PT6H")
    assert await campaign.ends() == {"sent": 3}
    assert [await person.got() for person in (reached, unreached, no_phone)] == [
        ["push tyres"],
        ["sms tyres"],
        ["push tyres"],
    ]


async def test_who_was_not_reached_in_time_gets_the_next_way(office: Office) -> None:
    (person,) = await office.people(1)
    steps = [{"channel": way, "template": "campaigns/tyres"} for way in ("push", "sms")]
    campaign = await office.sends(cascade=steps, reached="read", within="PT2H")
    await office.world.until(person.got, ["push tyres"])
    await campaign.passes(2 * HOUR)
    assert await campaign.ends() == {"sent": 1}
    assert await person.got() == ["push tyres", "sms tyres"]


async def test_whom_another_campaign_wrote_to_lately_is_left_alone(office: Office) -> None:
    first = await office.people(2)
    assert await (await office.sends()).ends() == {"sent": 2}
    (new,) = await office.people(1)
    second = await office.sends(exclude_contacted_within="P1D")
    assert await second.ends() == {"sent": 1}
    assert await second.says("excluded") == 2
    assert [await person.count() for person in (*first, new)] == [1, 1, 1]


async def test_whom_another_campaign_wrote_to_since_it_was_planned_is_left_alone_too(office: Office) -> None:
    (person,) = await office.people(1, timezone=where_it_is(9))
    later = await office.sends(hour=10, exclude_contacted_within="P1D")
    await office.world.until(later.waiting, 1)
    assert await (await office.sends()).ends() == {"sent": 1}
    await later.passes(HOUR)
    assert await later.ends() == {"skipped": 1}
    assert await later.says("skipped") == {"campaign": 1}
    assert await person.got() == ["sms tyres"]


async def test_who_has_left_the_segment_gets_nothing(office: Office) -> None:
    (person,) = await office.people(1, timezone=where_it_is(9))
    campaign = await office.sends(hour=10)
    await office.world.until(campaign.waiting, 1)
    await office.moves(person, "elsewhere")
    await campaign.passes(HOUR)
    assert await campaign.ends() == {"skipped": 1}
    assert await campaign.says("skipped") == {"segment": 1}
    assert await person.got() == []


async def test_nothing_of_it_goes_out_after_the_goal(office: Office) -> None:
    before, between, never = await office.people(3, timezone=where_it_is(9))
    steps = [{"channel": way, "template": "campaigns/tyres"} for way in ("push", "sms")]
    campaign = await office.sends(cascade=steps, reached="read", within="PT2H", hour=10, goal="tyres_ordered")
    await office.world.until(campaign.waiting, 3)
    await office.tells(before, "track", event="tyres_ordered")
    await campaign.passes(HOUR)
    for person in (between, never):
        await office.world.until(person.count, 1)
    await office.tells(between, "track", event="tyres_ordered")
    await campaign.passes(2 * HOUR)
    assert await campaign.ends() == {"goal": 1, "sent": 2}
    assert [await person.got() for person in (before, between, never)] == [
        [],
        ["push tyres"],
        ["push tyres", "sms tyres"],
    ]
    (variant,) = (await campaign.reports())["variants"]
    assert (variant["sent"], variant["conversions"]) == (2, 1)


async def test_those_held_out_get_nothing_and_are_compared_with(office: Office) -> None:
    people = await office.people(10)
    campaign = await office.sends(holdout=0.5, goal="tyres_ordered")
    form = CampaignForm.model_validate(await campaign.says("form"))
    out = [each for each in people if is_held_out(Policy(), form.journey, await office.number(each), 0.5)]
    done = await campaign.ends()
    assert done == {outcome: count for outcome, count in (("sent", 10 - len(out)), ("skipped", len(out))) if count}
    for person in people:
        assert await person.got() == ([] if person in out else ["sms tyres"])
        await office.tells(person, "track", event="tyres_ordered")
    report = await campaign.reports()
    assert report["variants"][0]["conversions"] == 10 - len(out)
    assert report["holdout"] == ({"recipients": len(out), "conversions": len(out)} if out else None)


# Operators.


async def test_a_paused_campaign_sends_nothing_and_goes_on_where_it_was(office: Office) -> None:
    people = await office.people(4)
    name = await office.writes(rate_per_second=2)
    campaign = await office.starts(name)
    assert (await campaign.is_told("pause"))["status"] == "paused"
    await office.world.until(campaign.standing, "paused")
    sent = [await person.count() for person in people]
    assert sum(sent) < 4
    assert (await campaign.is_told("resume"))["status"] in ("planning", "running")
    assert await campaign.ends() == {"sent": 4}
    assert [await person.count() for person in people] == [1, 1, 1, 1]


async def test_a_stopped_campaign_sends_nothing_more_for_good(office: Office) -> None:
    people = await office.people(3, timezone=where_it_is(9))
    campaign = await office.sends(hour=10)
    await office.world.until(campaign.waiting, 3)
    assert (await campaign.is_told("stop"))["status"] == "stopped"
    await office.world.until(campaign.done, {"stopped": 3})
    again = await office.http.post(f"/v1/campaigns/{campaign.name}/resume")
    assert again.status_code == 409
    assert "is stopped" in again.json()["message"]
    for person in people:
        assert await person.got() == []
        assert [stay["outcome"] for stay in await person.enrolments()] == ["stopped"]


# Bad luck.


async def test_a_process_that_dies_in_the_middle_of_a_send_doubles_and_misses_nobody(office: Office) -> None:
    world = office.world
    people = await office.people(5)
    name = await office.writes()
    dying = Campaigns(world.pool, world.deliver, Courtesy(world.pool, world.temporal))
    # To one of them it has gone, to the other it has not; the provider has not answered either way.
    for person, kind in zip(people, ("timeout_after_accept", "timeout"), strict=False):
        await world.behaves(person.phone, delivery="never")
        fault = {"provider": "twilio", "address": person.phone, "kind": kind, "seconds": 60}
        (await world.providers.put("/_sandbox/faults", json=fault)).raise_for_status()
    async with world.pool.acquire() as connection:
        kept = await campaigns.find(connection, name)
        assert kept is not None
        await campaigns.begin(connection, kept.id, "tests")
        now = await connection.fetchval("select now()")
    await dying.plan_page(kept.id, now)
    sending = asyncio.create_task(dying.send_due(kept.id, _Now(now)))
    for person in people[:2]:
        await world.until(lambda person=person: person.status_of("sms"), "sending")  # type: ignore[misc]
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending

    await run_campaigns(world.pool, world.temporal)
    campaign = office.campaign(name)
    await world.until(lambda: campaign.done_with("sent"), 3)
    await settle(world, *people[:2])
    await campaign.passes(timedelta(seconds=30))
    assert await campaign.ends() == {"sent": 5}
    for person in people:
        assert (await world.effects(person))["sms"] == 1


async def test_a_run_that_was_terminated_is_started_again(office: Office) -> None:
    (person,) = await office.people(1, timezone=where_it_is(9))
    campaign = await office.sends(hour=10)
    await office.world.until(campaign.waiting, 1)
    await campaign.run.terminate()
    await run_campaigns(office.world.pool, office.world.temporal)
    await campaign.passes(HOUR)
    assert await campaign.ends() == {"sent": 1}
    assert (await office.world.effects(person))["sms"] == 1


async def test_two_recipients_who_are_one_get_one_message(office: Office) -> None:
    one, two = await office.people(2, timezone=where_it_is(9))
    campaign = await office.sends(hour=10)
    await office.world.until(campaign.waiting, 2)
    await office.tells(one, "alias", previousId=two.user_id)
    await campaign.passes(HOUR)
    assert await campaign.ends() == {"sent": 1}
    assert await one.got() == ["sms tyres"]


# Journeys first.


async def test_a_campaign_stands_aside_while_an_event_waits_for_its_dispatch(office: Office) -> None:
    world = office.world
    courtesy = Courtesy(world.pool, world.temporal)
    person = await world.person()
    event = await world.keep_unannounced(person, "credit_application_started", {})
    await world.pool.execute("update events set received_at = now() - interval '2 seconds' where id = $1", event)
    assert await courtesy.journeys_wait()
    await world.pool.execute("update events set dispatched_at = now() where id = $1", event)
    await world.until(courtesy.journeys_wait, False)


async def test_an_event_that_nobody_can_dispatch_holds_no_campaign_up_for_ever(office: Office) -> None:
    world = office.world
    event = await world.keep_unannounced(await world.person(), "credit_application_started", {})
    await world.pool.execute("update events set received_at = now() - interval '6 minutes' where id = $1", event)
    assert not await Courtesy(world.pool, world.temporal).journeys_wait()


async def test_a_campaign_stands_aside_while_temporal_does_not_say(office: Office) -> None:
    courtesy = Courtesy(office.world.pool, office.world.temporal)
    async with office.world.temporal_is_away():
        assert await courtesy.journeys_wait()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_variants_are_drawn_by_their_shares_and_the_same_each_time(share: float) -> None:
    variants = [{"name": "a", "share": share}, {"name": "b", "share": 1 - share}]
    steps = [{"channel": "sms", "template": "campaigns/tyres"}]
    form = CampaignForm.model_validate({"name": "c", "segment": "s", "cascade": steps, "variants": variants})
    drawn = [form.drawn(customer).name for customer in range(10_000)]
    assert drawn == [form.drawn(customer).name for customer in range(10_000)]
    assert abs(drawn.count("a") / 10_000 - share) < 0.02
