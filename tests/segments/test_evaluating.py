"""Segments evaluated: by scans that go on where they were broken off, by looks, by Temporal's own schedule."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from activities import segments as at_work
from api.intake import accept
from api.segment import Invalid, read_call
from dispatch.schedules import LOOKS, begin_scan, schedule_looks
from domain.clock import Clock
from domain.segments import Scan
from segments import form as forms
from segments.coded import CODED
from segments.definition import Coded, CodedParameters
from store import membership, segments
from store.segments import NewVersion
from tests.segments.conftest import DAY, HOUR, Base
from tests.segments.model import ORIGIN, Deed, Human
from tests.world import World
from worker import build_segments_worker

NOW = ORIGIN + 40 * DAY
BUYERS = {"event": "bought"}
QUIET = {"event": "*", "not_within": "P30D"}


def buyer(*ago: timedelta, **told: object) -> Human:
    """Somebody who bought so long ago."""
    return Human(created_at=ORIGIN - 400 * DAY, deeds=[Deed("bought", NOW - each, told) for each in ago])


def coded(member: str) -> Coded:
    """SQL in the code by which everybody is in, or nobody."""
    sql = f"select id as customer_id, {member} as member, null::jsonb as because from unnest(:customers) id"
    return Coded(name="coded", story="All or none.", parameters=CodedParameters, sql=sql)


async def test_entering_and_leaving_are_events_like_any_other(base: Base) -> None:
    number = await base.meets(buyer(HOUR))
    await base.defines("buyers", {"event": "bought", "within": "P1D"})
    await base.scans("buyers", NOW)
    await base.looks(NOW + DAY)
    rows = await base.pool.fetch(
        """
        select name, type, source, properties, "timestamp", dispatched_at from events
        where customer_id = $1 and type = 'segment' order by id
        """,
        number,
    )
    assert [tuple(row.values()) for row in rows] == [
        (f"segment_{what}", "segment", "segments", {"segment": "buyers"}, at, at)
        for what, at in (("entered", NOW), ("left", NOW + DAY))
    ]


@pytest.mark.parametrize("name", ["segment_entered", "segment_left"])
def test_no_backend_can_say_that_somebody_entered(name: str) -> None:
    call = {"messageId": "m-1", "userId": "u-1", "event": name, "properties": {"segment": "buyers"}}
    with pytest.raises(Invalid, match="a name of our own events"):
        read_call(call, datetime.now(UTC), type="track")


async def test_time_alone_moves_nobody_before_its_time_and_everybody_at_it(base: Base) -> None:
    number = await base.meets(buyer(29 * DAY))
    await base.defines("quiet", QUIET)
    await base.scans("quiet", NOW)
    assert await base.looks(NOW + DAY - timedelta(seconds=1)) == 1  # Of themselves: they had come.
    assert await base.members("quiet") == set()
    assert await base.looks(NOW + DAY) == 1
    assert await base.members("quiet") == {number}
    assert await base.looks(NOW + 400 * DAY) == 0  # Nothing can change any more by itself.


async def test_nobody_is_looked_at_without_a_reason(base: Base) -> None:
    for _ in range(5):
        await base.meets(buyer(HOUR))
    await base.defines("buyers", BUYERS)
    assert await base.looks(NOW) == 5
    assert await base.looks(NOW + 400 * DAY) == 0
    await base.does(base.numbers[0], [Deed("bought", NOW)] * 3)
    assert await base.looks(NOW) == 1


async def test_a_scan_that_was_broken_off_goes_on_where_it_was(base: Base) -> None:
    for _ in range(7):
        await base.meets(buyer(HOUR))
    await base.defines("buyers", BUYERS)
    first = await base.segments.begin_scan(Scan(segment="buyers"), NOW)
    await base.segments.scan_page(first, NOW, 3)
    again = await base.segments.begin_scan(Scan(segment="buyers"), NOW)
    assert again == first
    while not (progress := await base.segments.scan_page(again, NOW, 3)).over:
        pass
    assert (progress.examined, progress.entered) == (7, 7)
    assert {tuple(await base.told(number)) for number in base.numbers} == {(("entered", "buyers"),)}


async def test_a_scan_broken_off_in_the_middle_of_a_page_doubles_nothing(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(7):
        await base.meets(buyer(HOUR))
    await base.defines("buyers", BUYERS)
    evaluation = await base.segments.begin_scan(Scan(segment="buyers"), NOW)
    monkeypatch.setattr(at_work, "CHUNK", 2)
    # The connection dies when a second chunk is about to be kept.
    await base.pool.execute(
        """
        create function dies() returns trigger language plpgsql as $$
        begin
            if (select count(*) from segment_members) > 3 then raise exception 'dies'; end if;
            return null;
        end $$;
        create trigger dies after insert on segment_members for each statement execute function dies()
        """
    )
    with pytest.raises(Exception, match="dies"):
        await base.segments.scan_page(evaluation, NOW)
    assert len(await base.members("buyers")) == 2
    await base.pool.execute("drop trigger dies on segment_members; drop function dies()")
    progress = await base.segments.scan_page(evaluation, NOW)
    assert (progress.over, progress.examined, progress.entered) == (True, 7, 7)
    assert {tuple(await base.told(number)) for number in base.numbers} == {(("entered", "buyers"),)}


async def test_a_scan_of_a_segment_that_was_changed_ends_and_another_is_due(base: Base) -> None:
    for _ in range(4):
        await base.meets(buyer(HOUR))
    await base.defines("inner", BUYERS)
    await base.defines("buyers", {"all": [{"segment": "inner"}]})
    evaluation = await base.segments.begin_scan(Scan(segment="buyers"), NOW)
    await base.segments.scan_page(evaluation, NOW, 2)
    await base.defines("inner", {"event": "called"})
    assert (await base.segments.scan_page(evaluation, NOW, 2)).over
    assert await failures(base) == ["redefined"]
    assert await due(base, NOW) == {"inner", "buyers"}
    assert await base.scans("buyers", NOW) == (4, 0, 2)
    assert await due(base, NOW) == {"inner"}


async def test_a_scan_that_was_lost_is_not_gone_on_with_after_another_definition(base: Base) -> None:
    for _ in range(7):
        await base.meets(buyer(HOUR))
    await base.defines("buyers", BUYERS)
    lost = await base.segments.begin_scan(Scan(segment="buyers"), NOW)
    await base.segments.scan_page(lost, NOW, 3)
    await base.defines("buyers", {"event": "called"})
    assert await base.scans("buyers", NOW) == (7, 0, 3)
    await base.defines("buyers", BUYERS)
    assert await base.scans("buyers", NOW) == (7, 7, 0)
    assert await failures(base) == ["redefined", None, None]


async def failures(base: Base) -> list[str | None]:
    rows = await base.pool.fetch("select failed from segment_evaluations where segment_id is not null order by id")
    return [row["failed"] for row in rows]


async def due(base: Base, now: datetime) -> set[str]:
    """The segments by which everybody is to be looked at."""
    async with base.pool.acquire() as connection:
        return set(await base.segments._to_scan(connection, now))


async def test_everybody_is_looked_at_again_now_and_then(base: Base) -> None:
    await base.meets(buyer(HOUR, sum=1))
    await base.defines("buyers", BUYERS)
    await base.defines("lost", {"coded": "rfm", "with": {"is": "lost", "event": "bought", "amount": "sum"}})
    assert await due(base, NOW) == {"buyers", "lost"}
    for name in ("buyers", "lost"):
        await base.scans(name, NOW)
    began = await base.pool.fetchval("select max(scanned_at) from segments")
    assert await due(base, began + DAY - HOUR) == set()
    assert await due(base, began + DAY) == {"lost"}
    assert await due(base, began + 7 * DAY) == {"buyers", "lost"}
    # Another speed moves every window: nothing of what was found is sure.
    await base.pool.execute("update installation set speed = 60")
    assert await due(base, began) == {"buyers", "lost"}


async def test_a_segment_too_slow_to_be_judged_by_fails_and_holds_up_no_other(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODED, "slow", coded("pg_sleep(1) is not null"))
    monkeypatch.setattr(membership, "PAGE_WITHIN", 0.2)
    number = await base.meets(buyer(HOUR))
    await base.defines("slow", {"coded": "slow"})
    await base.defines("buyers", BUYERS)
    # Whoever could not be looked at by it is looked at again, until its scan tells that it always is so slow.
    assert [await base.looks(NOW) for _ in range(2)] == [0, 0]
    assert await base.members("buyers") == {number}
    assert await base.scans("slow", NOW) == (0, 0, 0)
    assert await failures(base) == ["too_slow"]
    assert await base.looks(NOW) == 1
    assert "slow" not in await due(base, NOW)
    began = await base.pool.fetchval("select max(scanned_at) from segments")
    assert "slow" in await due(base, began + HOUR)


async def test_a_database_that_was_slow_for_a_while_loses_nobody(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    number = await base.meets(buyer())
    await base.defines("buyers", BUYERS)
    await base.scans("buyers", NOW)
    await base.looks(NOW)
    await base.does(number, [Deed("bought", NOW)])
    async with base.pool.acquire() as busy, busy.transaction():
        await busy.execute("lock table segment_members in access exclusive mode")
        with monkeypatch.context() as patched:
            patched.setattr(membership, "PAGE_WITHIN", 0.2)
            assert await base.looks(NOW) == 0
    assert "buyers" in await due(base, NOW)
    assert await base.looks(NOW) == 1
    assert await base.members("buyers") == {number}


async def test_a_segment_whose_sql_fails_holds_up_no_other(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODED, "broken", coded("1 / (id - id) > 0"))
    number = await base.meets(buyer(HOUR))
    await base.defines("broken", {"coded": "broken"})
    await base.defines("buyers", BUYERS)
    assert await base.looks(NOW) == 0
    assert await base.members("buyers") == {number}
    assert await base.scans("broken", NOW) == (0, 0, 0)
    assert await failures(base) == ["broken"]
    assert await base.looks(NOW) == 1


async def test_what_a_segment_rests_on_may_fail_too(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "select id as customer_id, true as member, :basis as because from unnest(:customers) id"
    rests = Coded("rests", "Rests on nothing.", CodedParameters, sql, basis="select to_jsonb(1 / 0)")
    monkeypatch.setitem(CODED, "rests", rests)
    await base.meets(buyer(HOUR))
    await base.defines("rests", {"coded": "rests"})
    assert await base.scans("rests", NOW) == (0, 0, 0)
    assert await failures(base) == ["broken"]


async def test_windows_of_years_may_end_after_all_times_there_are(base: Base) -> None:
    """Of a test customer whose journey time hardly passes."""
    slow = await base.meets(replace(buyer(HOUR), speed=0.001))
    await base.defines("buyers", {"event": "bought", "within": "P3650D"})
    await base.looks(NOW)
    assert await base.members("buyers") == {slow}


async def test_customers_who_cannot_enter_in_time_hold_up_no_other_segment(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time they can be looked at, but not let in all at once."""
    monkeypatch.setitem(CODED, "slow", coded("pg_sleep(0.05) is not null"))
    monkeypatch.setattr(at_work, "SMALLEST_PAGE", 1)
    monkeypatch.setattr(membership, "PAGE_WITHIN", 0.3)
    await base.defines("buyers", BUYERS)
    await base.defines("slow", {"coded": "slow"})
    for _ in range(10):
        await base.meets(buyer(HOUR))
    assert await base.looks(NOW) == 0
    assert await base.members("buyers") == set(base.numbers)
    assert await base.members("slow") == set()


async def test_everybody_is_looked_at_again_when_a_release_changes_the_sql_of_a_segment(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODED, "all_or_none", coded("true"))
    number = await base.meets(buyer())
    await base.defines("whole", {"coded": "all_or_none"})
    await base.scans("whole", NOW)
    assert (await due(base, NOW), await base.members("whole")) == (set(), {number})
    monkeypatch.setitem(CODED, "all_or_none", coded("false"))
    assert await due(base, NOW) == {"whole"}
    assert await base.scans("whole", NOW) == (1, 0, 1)


async def test_who_is_merged_has_been_known_for_as_long_as_either(base: Base) -> None:
    known = await base.meets(Human(created_at=NOW - 40 * DAY))
    new = await base.meets(Human(created_at=NOW))
    await base.merges(known, new)
    assert await base.found({"first_seen": {"not_within": "P30D"}}, NOW) == {new}


async def test_a_form_a_release_cannot_read_any_more_holds_up_no_other(base: Base) -> None:
    number = await base.meets(buyer(HOUR))
    await base.defines("buyers", BUYERS)
    await base.defines("old", BUYERS)
    await base.defines("older", {"segment": "old"})
    await base.pool.execute(
        """update segment_versions set form = '{"coded": "gone"}'
           where segment_id = (select id from segments where name = 'old')"""
    )
    await base.looks(NOW)
    assert await base.members("buyers") == {number}
    assert await base.members("older") == set()
    async with base.pool.acquire() as connection:
        assert "there is no SQL of this name" in (await segments.load(connection)).unreadable["old"]
        assert not await membership.is_in(connection, "old", number, NOW)
        assert not await membership.is_in(connection, "older", number, NOW)


async def test_nobody_is_made_to_enter_while_journeys_events_wait_for_dispatch(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await base.meets(buyer(HOUR))
    await base.defines("buyers", BUYERS)
    monkeypatch.setattr(at_work, "DISPATCH_BEHIND", 0)
    await base.pool.execute("update events set dispatched_at = null")
    looking = asyncio.create_task(base.looks(NOW))
    done, _ = await asyncio.wait([looking], timeout=1)
    assert not done
    assert await base.members("buyers") == set()
    await base.pool.execute("update events set dispatched_at = now()")
    await asyncio.wait_for(looking, 10)
    assert await base.members("buyers") == {number}


async def test_an_event_accepted_while_one_is_looked_at_is_not_missed(base: Base) -> None:
    """Its touch is another one than those that were there when the look began."""
    number = await base.meets(buyer())
    await base.defines("buyers", BUYERS)
    async with base.pool.acquire() as connection:
        found, definitions = await membership.to_look_at(connection, NOW, 10), await segments.load(connection)
        await base.does(number, [Deed("bought", NOW)])
        assert await membership.looked_at(connection, definitions, found, {})
    await base.looks(NOW)
    assert await base.members("buyers") == {number}


async def test_a_segment_put_while_somebody_is_looked_at_knows_when_to_look_again(base: Base) -> None:
    """Its scan leaves the time to the earlier one that is there, which goes with the look."""
    number = await base.meets(buyer(29 * DAY))
    await base.defines("quiet", QUIET)
    await base.scans("quiet", NOW)
    await base.looks(NOW)
    later = NOW + DAY
    async with base.pool.acquire() as connection:
        found, definitions = await membership.to_look_at(connection, later, 10), await segments.load(connection)
        assert found.due.keys() == {number}
        await base.defines("quieter", {"event": "*", "not_within": "P60D"})
        await base.scans("quieter", later)
        assert not await membership.looked_at(connection, definitions, found, {})
    await base.looks(later)
    await base.looks(NOW + 31 * DAY)
    assert await base.members("quieter") == {number}


async def test_a_look_and_a_scan_do_not_stop_each_other_half_way(base: Base) -> None:
    """Each keeps times of many customers: where they met in the middle, one of them was broken off."""
    numbers = [await base.meets(buyer(HOUR)) for _ in range(4)]
    await base.defines("lately", {"event": "bought", "within": "P1D"})
    async with base.pool.acquire() as scan, base.pool.acquire() as look:
        found, definitions = await membership.to_look_at(look, NOW, 10), await segments.load(look)
        async with scan.transaction():
            await segments.lock_looks(scan)
            await membership.look_again(scan, {numbers[2]: NOW})
            both = dict.fromkeys((numbers[1], numbers[2]), NOW + DAY)
            looking = asyncio.create_task(membership.looked_at(look, definitions, found, both))
            while not await base.pool.fetchval("select exists (select from pg_locks where not granted)"):
                assert not looking.done()
            # The look waits, and holds no row that the scan still wants.
            await membership.look_again(scan, {numbers[1]: NOW})
        assert await looking


async def test_who_is_merged_takes_memberships_along_and_enters_nothing_twice(base: Base) -> None:
    loser, winner = await base.meets(buyer(HOUR)), await base.meets(buyer())
    await base.defines("buyers", BUYERS)
    await base.defines("strangers", {"not": BUYERS})
    for name in ("buyers", "strangers"):
        await base.scans(name, NOW)
    await base.looks(NOW)
    await base.merges(loser, winner)
    assert await base.members("buyers") == {winner}
    await base.looks(NOW)
    assert (await base.members("buyers"), await base.members("strangers")) == ({winner}, set())
    assert await base.told(winner) == [("entered", "buyers"), ("entered", "strangers"), ("left", "strangers")]


async def test_who_is_erased_is_in_nothing_any_more(base: Base) -> None:
    number = await base.meets(buyer(HOUR))
    await base.defines("buyers", BUYERS)
    await base.looks(NOW)
    await base.erases(number)
    assert await base.members("buyers") == set()
    await base.looks(NOW)
    assert await base.scans("buyers", NOW) == (0, 0, 0)
    assert await base.members("buyers") == set()


async def test_a_customer_is_looked_at_for_all_the_ways_something_can_happen_to_them(world: World) -> None:
    """Told over HTTP, as backends do it: each of them leaves a touch."""
    user = f"u-{uuid4().hex}"

    async def touched(type: str, **call: object) -> int:
        await world.pool.execute("delete from segment_touches")
        at = datetime.now(UTC)
        given = {"messageId": uuid4().hex, "userId": user, **call}
        async with world.pool.acquire() as connection:
            await accept(connection, world.terms, "tests", [read_call(given, at, type=type)], at)
        count: int = await world.pool.fetchval(
            """
            select count(*) from segment_touches t join identities i on i.customer_id = t.customer_id
            where i.value = $1
            """,
            user,
        )
        return count

    assert await touched("identify", traits={"city": "Berlin"}) > 0
    assert await touched("identify", traits={"city": "Berlin"}) == 0
    assert await touched("identify", traits={"city": "Paris"}) == 1
    assert await touched("identify", context={"device": {"token": uuid4().hex, "type": "ios"}}) == 1
    assert await touched("track", event="listing_viewed") == 1
    assert await touched("page") == 1
    assert await touched("group", traits={"size": 3}) == 0
    await touched("track", event="listing_viewed", userId=f"{user}-2")
    assert await touched("alias", previousId=f"{user}-2") > 0


# By the schedule and its workflows.


async def test_a_look_finds_what_is_to_be_scanned_and_has_it_scanned(world: World, temporal: Client) -> None:
    person, name = await world.person(city=(city := uuid4().hex)), f"s_{uuid4().hex[:12]}"
    async with world.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        form = forms.read({"trait": "city", "is": city})
        await segments.put(connection, NewVersion(name, "", form, "api", "tests"))
        # Nothing happened to them since the segment is there.
        await connection.execute("delete from segment_touches")

    async def is_member() -> bool:
        found: bool = await world.pool.fetchval(
            """
            select exists (select from segment_members m join segments s on s.id = m.segment_id
                           join identities i on i.customer_id = m.customer_id where s.name = $1 and i.value = $2)
            """,
            name,
            person.user_id,
        )
        return found

    async with build_segments_worker(temporal, world.pool, world.catalog):
        await temporal.execute_workflow("SegmentLook", id=f"look-{uuid4().hex}", task_queue="segments")
        await world.until(is_member, True)
        handle = temporal.get_workflow_handle(f"segment-scan-{name}")
        assert "1 entered, 0 left" in await handle.result()
        by_hand = await begin_scan(temporal, name, "operator:desk")
        assert by_hand == f"segment-scan-{name}"
        assert "0 entered, 0 left" in await temporal.get_workflow_handle(by_hand).result()
        nobody = await begin_scan(temporal, "nobody_knows", "operator:desk")
        assert nobody is not None
        assert await temporal.get_workflow_handle(nobody).result() == "there is no segment nobody_knows"
    asked = await world.pool.fetch(
        "select asked_by, failed from segment_evaluations e join segments s on s.id = e.segment_id where name = $1",
        name,
    )
    assert [tuple(row.values()) for row in asked] == [(None, None), ("operator:desk", None)]


@pytest.mark.parametrize(("speed", "seconds"), [(1, 60), (4, 15), (3600, 5)])
async def test_looks_are_scheduled_in_journey_time_and_operators_may_pause_them(
    temporal: Client, speed: float, seconds: int
) -> None:
    await schedule_looks(temporal, Clock(speed=speed))
    schedule = temporal.get_schedule_handle(LOOKS)
    (interval,) = (await schedule.describe()).schedule.spec.intervals
    assert interval.every == timedelta(seconds=seconds)
    await schedule.pause(note="the desk wants quiet")
    await schedule_looks(temporal, Clock(speed=speed))
    state = (await schedule.describe()).schedule.state
    assert (state.paused, state.note) == (True, "the desk wants quiet")
    await schedule.delete()
