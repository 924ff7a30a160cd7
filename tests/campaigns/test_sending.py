"""A campaign from its form to the phone: everybody of the segment once, whatever happens in the middle."""

import asyncio
import contextlib
from datetime import UTC, datetime, time, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from activities.campaigns import Campaigns, _Now
from activities.courtesy import Courtesy
from dispatch.campaigns import run_campaigns
from domain.campaigns import CampaignForm
from domain.messages import Status
from policy.configuration import Policy
from policy.contact import is_held_out
from segments import form as forms
from segments.coded import CODED
from segments.definition import Coded, CodedParameters
from store import campaigns, segments
from store.segments import NewVersion
from tests.campaigns.conftest import Office
from tests.guarantees.test_uncertain import settle
from tests.world import Person, where_it_is

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


@pytest.mark.parametrize(("on_one_day", "days"), [(False, 1), (True, 7)])
async def test_what_is_late_after_a_pause_waits_for_its_hour_on_one_of_its_days(
    office: Office, on_one_day: bool, days: int
) -> None:
    zone = where_it_is(21)
    (person,) = await office.people(1, timezone=zone)
    today = f"{datetime.now(ZoneInfo(zone)):%a}".lower()
    given = {"weekdays": [today], "useful_for": "P10D"} if on_one_day else {}
    # By a channel that has no quiet hours.
    campaign = await office.sends(cascade=[{"channel": "email", "template": "campaigns/tyres"}], hour=22, **given)
    await office.world.until(campaign.waiting, 1)
    due = await campaign.next_due()
    await campaign.is_told("pause")
    await campaign.passes(3 * HOUR)
    await campaign.is_told("resume")
    await office.world.until(campaign.next_due, due + timedelta(days=days))
    assert await person.got() == []


async def test_the_next_way_of_a_cascade_waits_for_one_of_its_days_too(office: Office) -> None:
    zone = where_it_is(23)
    (person,) = await office.people(1, timezone=zone)
    begins = datetime.now(ZoneInfo(zone))
    ways = [{"channel": channel, "template": "campaigns/tyres"} for channel in ("email", "sms")]
    times = {"weekdays": [f"{begins:%a}".lower()], "within": "PT1H", "useful_for": "PT2H"}
    campaign = await office.sends(cascade=ways, reached="read", **times)
    await office.world.until(person.got, ["email tyres"])
    await campaign.passes(3 * HOUR)
    a_week_later = datetime.combine(begins.date() + timedelta(days=7), time(), ZoneInfo(zone))
    await office.world.until(campaign.next_due, a_week_later)
    assert await person.got() == ["email tyres"]


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


async def test_a_cascade_goes_on_when_it_is_heard_that_a_message_failed_and_ends_when_it_arrived(
    office: Office,
) -> None:
    reached, unreached = await office.people(2)
    steps = [{"channel": way, "template": "campaigns/tyres"} for way in ("sms", "push")]
    for person in (reached, unreached):
        await office.world.behaves(person.phone, delivery="never")
    campaign = await office.sends(cascade=steps, within="P1D")
    tomorrow = datetime.now(UTC) + timedelta(hours=23)
    await office.world.until(lambda: campaign.is_due_after(tomorrow), True)
    await office.hears(reached, Status.DELIVERED)
    await office.hears(unreached, Status.FAILED)
    # A campaign that waits looks again every ten minutes.
    await campaign.passes(timedelta(minutes=11))
    assert await campaign.ends() == {"sent": 2}
    assert (await reached.got(), await unreached.got()) == (["sms tyres"], ["push tyres"])


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
    numbers = [await office.number(each) for each in people]

    def drawn(name: str) -> set[int]:
        return {each for each in numbers if is_held_out(Policy(), f"campaign:{name}", each, 0.5)}

    # Some are held out, and some are not.
    name = next(each for each in (f"c_{uuid4().hex[:12]}" for _ in range(100)) if 0 < len(drawn(each)) < 10)
    campaign = await office.sends(name=name, holdout=0.5, goal="tyres_ordered")
    out = [person for person, number in zip(people, numbers, strict=True) if number in drawn(name)]
    done = await campaign.ends()
    assert done == {"sent": 10 - len(out), "skipped": len(out)}
    for person in people:
        assert await person.got() == ([] if person in out else ["sms tyres"])
        await office.tells(person, "track", event="tyres_ordered")
    report = await campaign.reports()
    assert report["variants"][0]["conversions"] == 10 - len(out)
    assert report["holdout"] == {"recipients": len(out), "conversions": len(out)}


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


async def test_who_was_written_to_before_a_stop_is_counted_as_sent(office: Office) -> None:
    (person,) = await office.people(1)
    (later,) = await office.people(1, timezone=where_it_is(9))
    steps = [{"channel": way, "template": "campaigns/tyres"} for way in ("push", "sms")]
    campaign = await office.sends(cascade=steps, reached="read", hour=10)
    await office.world.until(person.count, 1)
    await campaign.is_told("stop")
    await office.world.until(campaign.done, {"sent": 1, "stopped": 1})
    assert (await person.got(), await later.got()) == (["push tyres"], [])


async def test_a_stop_the_run_was_not_told_of_is_wound_up_when_it_looks_again(office: Office) -> None:
    await office.people(1, timezone=where_it_is(9))
    campaign = await office.sends(hour=10)
    await office.world.until(campaign.waits, 1)
    await office.world.pool.execute("update campaigns set status = 'stopped' where name = $1", campaign.name)
    await campaign.passes(timedelta(minutes=11))
    await campaign.run.result()
    assert await campaign.done() == {"stopped": 1}
    assert await campaign.waits() == 1


async def test_what_is_done_straight_in_temporal_is_in_the_audit_log_and_what_came_over_http_not_twice(
    office: Office,
) -> None:
    await office.people(1, timezone=where_it_is(9))
    campaign = await office.sends(hour=10)
    await office.world.until(campaign.waiting, 1)
    await campaign.is_told("pause")
    await campaign.run.execute_update("resume")
    await campaign.run.execute_update("stop")
    answer = await office.http.get("/v1/audit", params={"action": "command_campaign"})
    assert [
        (each["actor"] == "temporal", each["subject"]["command"])
        for each in reversed(answer.json()["entries"])
        if each["detail"]["campaign"] == campaign.name
    ] == [(False, "pause"), (True, "resume"), (True, "stop")]


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


async def has_been_taken(person: Person) -> bool:
    """Whether somebody's message is with its provider."""
    return [row["provider_id"] is not None for row in await person.messages()] == [True]


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
        await campaigns.begin(connection, kept, "tests")
        now = await connection.fetchval("select now()")
    await dying.plan_page(kept.id, now)
    sending = asyncio.create_task(dying.send_due(kept.id, _Now(now)))
    for person in people[:2]:
        await world.until(lambda person=person: person.status_of("sms"), "sending")  # type: ignore[misc]
    for person in people[2:]:
        await world.until(lambda person=person: has_been_taken(person), True)  # type: ignore[misc]
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


async def test_an_attempt_at_planning_that_goes_on_beside_the_next_one_counts_nobody_twice(office: Office) -> None:
    await office.people(2)
    name = await office.writes()
    async with office.world.pool.acquire() as connection:
        kept = await campaigns.find(connection, name)
        assert kept is not None
        for cursor in (20, 20, 10):
            await campaigns.advance_plan(connection, kept.id, cursor, 3)
        kept = await campaigns.load(connection, kept.id)
    assert (kept.cursor, kept.excluded) == (20, 3)


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


async def test_one_whose_data_the_segment_s_sql_fails_on_holds_up_nobody(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, (odd, other) = office.world, await office.people(2)
    name = await office.writes()
    sender = Campaigns(world.pool, world.deliver, Courtesy(world.pool, world.temporal))
    async with world.pool.acquire() as connection:
        kept = await campaigns.find(connection, name)
        assert kept is not None
        await campaigns.begin(connection, kept, "tests")
        now = await connection.fetchval("select now()")
    await sender.plan_page(kept.id, now)
    sql = """
        select id as customer_id, (traits ->> 'size')::numeric > 0 as member, null::jsonb as because
        from customers where id = any(:customers)
    """
    monkeypatch.setitem(CODED, "sized", Coded("sized", "Has a size.", CodedParameters, sql))
    for person, size in ((odd, "large"), (other, "12")):
        await office.tells(person, "identify", traits={"size": size})
    async with world.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        await segments.put(connection, NewVersion(office.segment, "", forms.read({"coded": "sized"}), "api", "tests"))
    progress = await sender.send_due(kept.id, _Now(now))
    assert (await other.got(), await odd.got(), progress.waiting) == (["sms tyres"], [], 1)


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
