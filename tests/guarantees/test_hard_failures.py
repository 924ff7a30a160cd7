"""A recipient that cannot be reached is not tried again, and the cascade goes on with the next channel."""

from typing import Any
from uuid import uuid4

import pytest

from store import messages
from tests.world import Person, World


async def address(world: World, person: Person, column: str, value: str) -> None:
    """Give the person an address that passed every check of ours."""
    change = f"update customers set {column} = $2 where id = (select customer_id from identities where value = $1)"
    await world.pool.execute(change, person.user_id, value)


async def no_address_to_sendgrid(world: World, person: Person) -> None:
    await address(world, person, "email", f"{person.email}@")


async def a_bouncing_address(world: World, person: Person) -> None:
    await world.behaves(person.email, delivery="bounced")


async def a_landline(world: World, person: Person) -> None:
    # Twilio's own number for "not a mobile number".
    await address(world, person, "phone", "+15005550009")


async def a_number_out_of_service(world: World, person: Person) -> None:
    await world.behaves(person.phone, delivery="undelivered", error_code=30005)


async def a_number_that_said_stop(world: World, person: Person) -> None:
    await world.behaves(person.phone, delivery="failed", error_code=21610)


async def a_device_without_the_app(world: World, person: Person) -> None:
    await world.behaves(person.token, delivery="unregistered")


async def somebody_elses_number(world: World, person: Person) -> None:
    await world.behaves(person.phone, call_result="wrong_number")


@pytest.mark.parametrize(
    ("channel", "trouble", "reason", "afterwards"),
    [
        ("email", no_address_to_sendgrid, "http_400:personalizations.0.to.0.email", "suppressed:dead"),
        ("email", a_bouncing_address, "bounce:5.1.1", "suppressed:dead"),
        ("sms", a_landline, "21614", "suppressed:dead"),
        ("sms", a_number_out_of_service, "30005", "suppressed:dead"),
        ("sms", a_number_that_said_stop, "21610", "suppressed:opted_out"),
        ("push", a_device_without_the_app, "UNREGISTERED", "no_address"),
        ("call", somebody_elses_number, "wrong_number", "suppressed:wrong_number"),
    ],
)
async def test_a_hard_failure_is_the_last_by_its_channel(
    world: World, channel: str, trouble: Any, reason: str, afterwards: str
) -> None:
    person = await world.person()
    await trouble(world, person)
    await person.does("ladder_begun", application_id="A-1", by=channel)
    await world.until(lambda: person.status_of(channel), "failed")
    await world.dispatch(person)
    await world.until(lambda: person.status_of("inbox"), "delivered")
    assert (await world.messages_of(person, channel))[0]["reason"] == reason
    await person.does("letter_begun", application_id="A-1", by=channel, urgent=True)
    await world.until(lambda: person.status_of(channel), "skipped")
    assert (await world.messages_of(person, channel))[-1]["reason"] == afterwards


async def test_a_stop_outlasts_a_number_that_was_dead_and_writes_again(world: World) -> None:
    number = f"+1415{uuid4().int % 10_000_000:07d}"
    async with world.pool.acquire() as connection:
        for reason in ("dead", "opted_out", "dead"):
            await messages.suppress(connection, "sms", number, reason, "tests")
        await messages.heard_from(connection, "sms", number)
    kept = await world.pool.fetch("select reason from suppressions where recipient = kept_address($1)", number)
    assert [row["reason"] for row in kept] == ["opted_out"]
