"""Running journeys take up a new text at their next send; a month without its edition sends nothing."""

from datetime import UTC, datetime, timedelta

from domain.messages import Channel, Draft, Verdict
from policy.configuration import Policy
from store import texts
from store.texts import Name
from tests.world import World

TEXT = "abandoned_application/partly_filled"
ALWAYS = dict.fromkeys(Channel, (0, 24))
SOURCE = "{{ company }}, a new text: {{ site }}/credit/application/{{ event.application_id }}"


async def published(world: World, name: Name, source: str) -> None:
    async with world.pool.acquire() as connection, connection.transaction():
        await texts.lock(connection, name)
        version = await texts.draft(connection, name, source, None, "tests")
        await texts.publish(connection, name, version.number, "tests")


async def retired(world: World, name: Name) -> None:
    async with world.pool.acquire() as connection, connection.transaction():
        await texts.retire(connection, name, "tests")


async def test_a_running_journey_uses_a_text_published_meanwhile(world: World) -> None:
    name = Name(TEXT, Channel.SMS, "en")
    person = await world.person()
    await person.begins(filled=10)
    await person.passes(timedelta(hours=1))
    assert len(await person.got()) == 3
    await published(world, name, SOURCE)
    try:
        await person.passes(timedelta(days=1, hours=1))
    finally:
        await retired(world, name)
    (sms,) = await world.messages_of(person, "sms")
    assert "a new text: " in sms["content"]["text"]
    assert "/r/" in sms["content"]["text"]  # Links are tracked as ever.
    assert len(sms["links"]) == 1


async def test_each_month_has_its_edition_and_one_without_sends_nothing(world: World) -> None:
    person, now = await world.person(), datetime.now(UTC)
    await person.begins(filled=10)
    await published(world, Name(TEXT, Channel.SMS, "en", "2026-12"), SOURCE)
    policy = Policy(quiet_hours=ALWAYS)
    for edition, verdict in (("2026-12", Verdict.GONE), ("2027-01", Verdict.SKIPPED)):
        draft = Draft(channel=Channel.SMS, template=TEXT, edition=edition)
        delivery = await world.asks_to_deliver(person, draft, policy=policy, at=now)
        assert delivery.verdict is verdict
    assert delivery.reason is not None
    assert delivery.reason.endswith("for sms for 2027-01")
    again = await world.asks_to_deliver(
        person, Draft(channel=Channel.SMS, template=TEXT, edition="2026-12"), policy=policy, at=now
    )
    assert again.gone
    assert (await world.effects(person))["sms"] == 1


async def test_a_customer_of_a_language_without_a_version_gets_their_languages_file(world: World) -> None:
    name = Name(TEXT, Channel.SMS, "en")
    person, now = await world.person(locale="ru"), datetime.now(UTC)
    await person.begins(filled=10)
    await published(world, name, SOURCE)
    try:
        await world.asks_to_deliver(
            person, Draft(channel=Channel.SMS, template=TEXT), policy=Policy(quiet_hours=ALWAYS), at=now
        )
    finally:
        await retired(world, name)
    (sms,) = await world.messages_of(person, "sms")
    assert sms["locale"] == "ru"
    assert "a new text" not in sms["content"]["text"]
