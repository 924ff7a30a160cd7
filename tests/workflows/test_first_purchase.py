"""The first purchase: sixteen messages in thirty days, by the channel and at the hour a customer reacts to."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tests.world import Person, World
from workflows.drafts import either, email, sms
from workflows.instalments.first_purchase import Plan

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


async def registers(person: Person) -> datetime:
    await person.does("customer_registered")
    return datetime.now(UTC)


async def reacts(world: World, person: Person, channel: str, how: str = "read") -> None:
    """The person opens, or clicks, what they got last by a channel, at their present."""
    message = [row for row in await person.messages() if row["channel"] == channel][-1]
    await world.pool.execute(
        f"update messages set status = $2, {how}_at = $3 where id = $1", message["id"], how, await person.present()
    )


async def test_sixteen_messages_in_thirty_days_from_the_day_after_registration(world: World) -> None:
    person = await world.person()
    began = await registers(person)
    await person.passes(DAY - MINUTE)
    assert await person.got() == []
    await person.passes(38 * DAY)
    assert await person.outcome() == "finished"
    sent = await person.messages()
    assert Counter(row["channel"] for row in sent) == {"inbox": 1, "email": 10, "sms": 6}
    assert len({row["template"] for row in sent}) == 16
    days = [round((row["journey_at"] - began) / DAY) for row in sent]
    assert days == [1, 1, 2, 4, 5, 7, 8, 10, 12, 14, 15, 17, 20, 22, 25, 28, 30]
    tiers = [row["template"].split("/")[1] for row in sent]
    assert tiers[2:4] == ["bonus", "bonus_waits"]
    assert tiers[6:8] == ["gift", "gift_waits"]
    assert tiers[-1] == "last_day"


async def test_what_was_seen_in_the_account_is_not_sent_as_a_letter(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(DAY + MINUTE)
    assert await person.got() == ["inbox welcome"]
    await reacts(world, person, "inbox")
    await person.passes(4 * HOUR)
    assert await person.got() == ["inbox welcome"]
    assert (await person.messages())[-1]["reason"] == "seen:inbox"
    await person.passes(DAY)
    assert (await person.got())[-1] == "email bonus"


async def test_what_was_not_seen_in_the_account_is_sent_as_a_letter(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(DAY + 4 * HOUR + MINUTE)
    assert await person.got() == ["inbox welcome", "email welcome"]


async def test_who_does_not_open_letters_but_reacts_to_sms_gets_sms(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(4 * DAY + MINUTE)
    assert await person.got() == ["inbox welcome", "email welcome", "email bonus", "sms bonus_waits"]
    await reacts(world, person, "sms", "clicked")
    await person.passes(34 * DAY)
    assert await person.outcome() == "finished"
    channels = [row["channel"] for row in (await person.messages())[4:]]
    # The third letter nobody opened is the last one.
    assert channels == ["email", *["sms"] * 12]
    assert len({row["template"] for row in await person.messages()}) == 16


async def test_who_opens_letters_and_never_looks_at_sms_gets_letters(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(2 * DAY + MINUTE)
    await reacts(world, person, "email")
    await person.passes(36 * DAY)
    assert await person.outcome() == "finished"
    channels = Counter(row["channel"] for row in await person.messages())
    assert channels == {"inbox": 1, "sms": 3, "email": 13}


async def test_who_reacts_to_nothing_goes_on_getting_both(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(38 * DAY)
    assert Counter(row["channel"] for row in (await person.messages())[-6:]) == {"email": 3, "sms": 3}


@pytest.mark.parametrize(("known", "channel"), [("email", "email"), ("phone", "sms")])
async def test_who_can_be_reached_by_one_channel_only_gets_all_by_it(world: World, known: str, channel: str) -> None:
    person = await world.person(**{"phone" if known == "email" else "email": None})
    await registers(person)
    await person.passes(38 * DAY)
    assert Counter(row["channel"] for row in await person.messages()) == {"inbox": 1, channel: 16}


async def test_it_is_sent_at_the_hour_at_which_the_customer_reacts(world: World) -> None:
    person = await world.person()
    began = await registers(person)
    for day in (1, 2, 4):
        await person.passes(began + day * DAY + 5 * HOUR - await person.present())
        channel = (await person.messages())[-1]["channel"]
        await reacts(world, person, channel)
        reacted_at = await person.present()
    await person.passes(20 * DAY)
    sent = [row["journey_at"] for row in await person.messages()]
    # The answer to one message tells the run the hour of the next: the first after the third reaction is the last
    # that does not know it.
    assert {at.hour for at in sent[5:]} == {reacted_at.hour}
    assert {at.hour for at in sent[2:4]} == {began.hour}


async def test_the_hour_costs_the_history_nothing(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(38 * DAY)
    history = await (await person.run()).fetch_history()
    asked = [event for event in history.events if event.HasField("activity_task_scheduled_event_attributes")]
    assert len(asked) == 17


async def test_the_operator_sees_by_which_channel_it_went(world: World) -> None:
    person = await world.person(email=None)
    await registers(person)
    await person.passes(2 * DAY + MINUTE)
    sent = (await person.standing())["sent"]
    assert sent[-1].startswith("sms first_purchase/bonus: ")


async def test_asked_again_it_goes_by_no_other_channel(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(2 * DAY + MINUTE)
    draft = either(email("first_purchase/bonus"), sms("first_purchase/bonus"))
    policy = world.settings.deployment().policy
    for _ in range(3):
        await reacts(world, person, "email")
        await world.asks_to_deliver(person, draft, policy=policy, at=await person.present())
    assert (await person.got()).count("email bonus") == 1
    assert "sms bonus" not in await person.got()


async def test_the_product_looked_at_most_is_offered(world: World) -> None:
    person = await world.person()
    await registers(person)
    for product in ("Boots", "Headphones", "Boots"):
        await person.does("product_viewed", product=product)
    await person.passes(7 * DAY + MINUTE)
    letter = (await person.messages())[-1]
    assert letter["template"] == "first_purchase/chosen_for_you"
    assert letter["content"]["subject"] == "Boots: in parts"


async def test_the_first_purchase_ends_it_at_once(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(9 * DAY)
    count = await person.count()
    await person.does("first_purchase_made", sum=4500)
    assert await person.outcome() == "goal"
    assert await person.count() == count


async def test_who_registers_again_does_not_begin_again(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(38 * DAY)
    await person.does("customer_registered")
    assert len(await person.enrolments()) == 1


@pytest.mark.parametrize(
    ("days", "rule"),
    [
        ({"gifts": (8 * DAY, 9 * DAY, 10 * DAY)}, "gifts must name 4 days"),
        ({"gifts": (6 * DAY, 10 * DAY, 12 * DAY, 14 * DAY)}, "each day must come after the one before"),
        ({"first_day": 2 * DAY}, "each day must come after the one before"),
    ],
)
def test_a_plan_out_of_order_is_refused(days: dict[str, object], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        Plan(**days)


def test_either_names_one_text() -> None:
    with pytest.raises(ValueError, match="one text, in several channels"):
        either(email("first_purchase/bonus"), sms("first_purchase/gift"))
