"""What messages brought: the last click, inherited attribution, utm tags, and those who were left out."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.links import tagged
from domain.messages import Channel, Status
from tests.api.scene import PUBLIC, Person, Scene

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def event() -> str:
    """An event nobody else's test counts."""
    return f"submitted_{uuid4().hex[:12]}"


async def told(scene: Scene, path: str, **asked: str) -> Any:
    answer = await scene.get(path + "?" + "&".join(f"{name}={value}" for name, value in asked.items()))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def got(scene: Scene, person: Person, journey: str, channel: Channel = Channel.EMAIL, *, ago: timedelta) -> UUID:
    """A message that arrived so long ago."""
    message = await scene.sent(person, channel, status=Status.ACCEPTED, links=["https://shop.example.com/"])
    await scene.context.pool.execute(
        "update messages set journey = $2, sending_at = now() - $3::interval, delivered_at = now() - $3::interval "
        "where id = $1",
        message,
        journey,
        ago,
    )
    return message


async def clicks(scene: Scene, message: UUID, *, ago: timedelta) -> None:
    """Its link is followed, as it was so long ago."""
    answer = await scene.http.get(scene.context.links.tracked(message, 0).removeprefix(PUBLIC))
    assert answer.status_code == 302
    await scene.context.pool.execute(
        """
        update clicks set at = now() - $2::interval
        where message_id = $1 and at = (select max(at) from clicks where message_id = $1)
        """,
        message,
        ago,
    )
    await scene.context.pool.execute(
        "update messages set clicked_at = (select min(at) from clicks where message_id = $1) where id = $1", message
    )


async def does(scene: Scene, person: Person, name: str, *, ago: timedelta = timedelta(0), **properties: str) -> None:
    at = (datetime.now(UTC) - ago).isoformat()
    answer = await scene.tells("track", person.user_id, event=name, properties=properties, timestamp=at)
    assert answer.status_code == 200


async def test_an_application_is_attributed_to_the_message_clicked_last(scene: Scene, event: str) -> None:
    person = await scene.person()
    welcome = await got(scene, person, "WelcomeBySegment", ago=20 * DAY)
    campaign = await got(scene, person, "campaign:spring", Channel.SMS, ago=10 * DAY)
    await got(scene, person, "Reactivation", ago=2 * DAY)
    await clicks(scene, campaign, ago=9 * DAY)
    await clicks(scene, welcome, ago=8 * DAY)
    await does(scene, person, event)
    found = await told(scene, "/v1/reports/attribution", event=event)
    assert found == {
        "window": "P90D",
        "conversions": 1,
        "attributed": 1,
        "share": 1.0,
        "of_unknown_origin": 0,
        "brought": [
            {
                **{"journey": "WelcomeBySegment", "campaign": None, "channel": "email"},
                **{"conversions": 1, "customers": 1, "share": 1.0},
            }
        ],
    }


async def test_a_message_clicked_again_is_the_last_one(scene: Scene, event: str) -> None:
    person = await scene.person()
    welcome = await got(scene, person, "WelcomeBySegment", ago=20 * DAY)
    campaign = await got(scene, person, "campaign:spring", Channel.SMS, ago=10 * DAY)
    await clicks(scene, welcome, ago=12 * DAY)
    await clicks(scene, campaign, ago=9 * DAY)
    await does(scene, person, event, ago=5 * DAY)
    await clicks(scene, welcome, ago=DAY)
    await does(scene, person, event)
    (first, second) = (await told(scene, "/v1/reports/attribution", event=event))["brought"]
    assert {first["journey"] or first["campaign"], second["journey"] or second["campaign"]} == {
        "WelcomeBySegment",
        "spring",
    }


@pytest.mark.parametrize(("received", "attributed"), [(89 * DAY, 1), (91 * DAY, 0)])
async def test_three_months_after_a_message_came_it_counts_no_more(
    scene: Scene, event: str, received: timedelta, attributed: int
) -> None:
    person = await scene.person()
    await clicks(scene, await got(scene, person, "WelcomeBySegment", ago=received), ago=DAY)
    await does(scene, person, event)
    assert (await told(scene, "/v1/reports/attribution", event=event))["attributed"] == attributed


async def test_what_was_not_clicked_or_clicked_afterwards_brought_nothing(scene: Scene, event: str) -> None:
    person = await scene.person()
    message = await got(scene, person, "WelcomeBySegment", ago=DAY)
    await does(scene, person, event, ago=2 * HOUR)
    await clicks(scene, message, ago=HOUR)
    found = await told(scene, "/v1/reports/attribution", event=event)
    assert (found["conversions"], found["attributed"], found["share"], found["brought"]) == (1, 0, 0.0, [])


async def test_a_deal_inherits_the_attribution_of_its_application(scene: Scene, event: str) -> None:
    deal = f"{event}_deal"
    person = await scene.person()
    await clicks(scene, await got(scene, person, "WelcomeBySegment", ago=150 * DAY), ago=149 * DAY)
    await does(scene, person, event, ago=148 * DAY, application_id="M-1")
    # Clicked between the application and its deal: it brought neither.
    await clicks(scene, await got(scene, person, "Reactivation", ago=20 * DAY), ago=19 * DAY)
    await does(scene, person, deal, ago=HOUR, application_id="M-1")
    await does(scene, person, deal, application_id="M-1")
    await does(scene, person, deal, application_id="M-2")
    found = await told(scene, "/v1/reports/attribution", event=deal, follows=event, key="application_id")
    assert (found["conversions"], found["of_unknown_origin"]) == (2, 1)
    assert [(each["journey"], each["conversions"], each["share"]) for each in found["brought"]] == [
        ("WelcomeBySegment", 1, 0.5)
    ]


async def test_what_a_deal_follows_by_must_be_told(scene: Scene) -> None:
    answer = await scene.get("/v1/reports/attribution?event=deal_closed&follows=submitted")
    assert answer.status_code == 400
    assert "key: is required with follows" in answer.json()["message"]


async def test_the_report_can_be_of_a_time(scene: Scene, event: str) -> None:
    person = await scene.person()
    for ago in (10 * DAY, 5 * DAY, DAY):
        await does(scene, person, event, ago=ago)
    now = datetime.now(UTC)
    since, until = (f"{now - each:%Y-%m-%dT%H:%M:%SZ}" for each in (7 * DAY, 2 * DAY))
    assert (await told(scene, "/v1/reports/attribution", event=event, since=since))["conversions"] == 2
    assert (await told(scene, "/v1/reports/attribution", event=event, since=since, until=until))["conversions"] == 1


async def test_courses_are_counted_by_the_tags_people_came_with(scene: Scene, event: str) -> None:
    letter = {"source": "journeys", "medium": "email", "name": "WelcomeBySegment", "content": "lesson_1"}
    for tags in (letter, letter, {"source": "radio"}, None):
        person = await scene.person()
        context = {"campaign": tags} if tags else {}
        await scene.tells("page", person.user_id, name="Course", context=context)
        await does(scene, person, event)
    found = await told(scene, "/v1/reports/tags", event=event)
    assert [(each["source"], each["campaign"], each["content"], each["conversions"]) for each in found] == [
        ("journeys", "WelcomeBySegment", "lesson_1", 2),
        ("radio", None, None, 1),
        (None, None, None, 1),
    ]


@pytest.mark.parametrize(
    ("url", "with_tags"),
    [
        ("https://a.example/course", "https://a.example/course?{}"),
        ("https://a.example/course?id=7&x=%D1%91#top", "https://a.example/course?id=7&x=%D1%91&{}#top"),
        (
            "https://a.example/?utm_source=partner&utm_medium=post&utm_campaign=&utm_content=",
            "https://a.example/?utm_source=partner&utm_medium=post&utm_campaign=&utm_content=",
        ),
    ],
)
def test_tags_are_added_and_replace_nothing(url: str, with_tags: str) -> None:
    tags = "utm_source=journeys&utm_medium=email&utm_campaign=Welcome&utm_content=welcome%2Flesson_1"
    assert tagged(url, "journeys", "email", "Welcome", "welcome/lesson_1") == with_tags.format(tags)


async def test_those_left_out_by_lot_are_compared_with_those_written_to(scene: Scene) -> None:
    """The figures of the story, a hundred to one."""
    journey = "RefusedByBank"
    begin = datetime.now(UTC)
    await decided(scene, journey, held_out=True, customers=320, came=47)
    await decided(scene, journey, held_out=False, customers=2874, came=450)
    # Whom nothing could have reached is in neither group.
    await decided(scene, journey, held_out=None, customers=50, came=50)
    since = f"{begin:%Y-%m-%dT%H:%M:%S.%fZ}"
    found = await told(scene, "/v1/reports/effect", journey=journey, since=since)
    assert (found["treated"]["customers"], found["treated"]["came"]) == (2874, 450)
    assert (found["control"]["customers"], found["control"]["came"]) == (320, 47)
    assert found["treated"]["share"] == pytest.approx(0.1566, abs=1e-4)
    assert found["control"]["share"] == pytest.approx(0.1469, abs=1e-4)
    assert found["won_back"] == pytest.approx(0.00970 * 2874, abs=0.5)
    assert 0.3 < found["confidence"] < 0.4
    assert (await told(scene, "/v1/reports/effect", journey=journey, since=since, goal="another"))["treated"][
        "came"
    ] == 0


async def decided(scene: Scene, journey: str, *, held_out: bool | None, customers: int, came: int) -> None:
    """So many were decided about, and so many of them came after it."""
    status, reason = {
        True: ("skipped", f"holdout:{journey}"),
        False: ("delivered", None),
        None: ("skipped", "no_address"),
    }[held_out]
    await scene.context.pool.execute(
        """
        with people as (insert into customers select from generate_series(1, $3) returning id),
        begun as (
            insert into events (customer_id, source, message_id, type, name, "timestamp", received_at, dispatched_at)
            select id, 'tests', 'b' || gen_random_uuid(), 'segment', 'segment_entered', now(), now(), now() from people
            returning id, customer_id
        ), stays as (
            insert into enrolments (customer_id, journey, key, workflow_id, trigger_event_id, enrolled_at, outcome)
            select customer_id, $1, '', gen_random_uuid(), id, now(), 'finished' from begun returning id, customer_id
        ), came as (
            insert into events (customer_id, source, message_id, type, name, "timestamp", received_at, dispatched_at)
            select id, 'tests', 'c' || gen_random_uuid(), 'page', 'page_viewed', now() + interval '1 hour', now(), now()
            from people order by id limit $4
        )
        insert into messages (id, customer_id, enrolment_id, journey, step, occurrence, channel, template,
                              message_class, priority, decided_after, policy_version, journey_at, status, reason)
        select gen_random_uuid(), customer_id, id, $1, 's', 1, 'email', 't/t', 'marketing', 3, 0, '', now(), $2, $5
        from stays
        """,
        journey,
        status,
        customers,
        came,
        reason,
    )


async def test_a_journey_there_is_not_has_no_effect(scene: Scene) -> None:
    answer = await scene.get("/v1/reports/effect?journey=Nobodys")
    assert answer.status_code == 404
    assert "there is no journey Nobodys" in answer.json()["message"]


async def test_the_reach_of_the_free_channels_alone_is_told_by_journey(scene: Scene) -> None:
    journey = f"Loan{uuid4().hex[:12]}"
    ways = (
        [(Channel.EMAIL, Status.DELIVERED)],
        [(Channel.EMAIL, Status.DELIVERED), (Channel.SMS, Status.FAILED)],  # nothing that costs has left
        [(Channel.EMAIL, Status.ACCEPTED), (Channel.SMS, Status.DELIVERED)],
        [(Channel.EMAIL, Status.DELIVERED), (Channel.SMS, Status.UNKNOWN)],  # may have left
        [(Channel.EMAIL, Status.ACCEPTED)],
        [(Channel.EMAIL, Status.FAILED)],  # not written to
    )
    for way in ways:
        person = await scene.person()
        await scene.context.pool.execute("update enrolments set journey = $2 where id = $1", person.enrolment, journey)
        for channel, status in way:
            await scene.sent(person, channel, status=status)
    (row,) = await told(scene, "/v1/reports/reach", journey=journey)
    assert row == {
        "journey": journey,
        "written_to": 5,
        "reached": 4,
        "free_alone": 2,
        "texts": 5,
        "texts_reached": 4,
        "texts_free_alone": 2,
        "free_alone_share": 0.4,
    }
    since = (datetime.now(UTC) + HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await told(scene, "/v1/reports/reach", journey=journey, since=since) == []
    assert (await scene.get("/v1/reports/reach?since=yesterday")).status_code == 422
