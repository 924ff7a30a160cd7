"""Lender at the till: people register and buy for the first time, or look at the limit they have left."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cli.demo.lives import Life, Town
from cli.demo.pack import Figure, Outcome, Pack
from cli.demo.people import Kind, Person
from cli.demo.phones import Effect
from cli.demo.promises import Message, Stay

PRODUCTS = ("headphones", "sneakers", "coffee machine", "office chair")

BUYS_BY_REMINDER = 0.35
"""Share of the reminders of the limit that lead to a purchase; the company's story tells none."""


@dataclass(frozen=True, eq=False)
class Buyer(Kind):
    """A kind of people who may buy in instalments.

    Attributes:
        registers: They have just registered; the others bought before and open their account now and then.
        buys_alone: They buy within days without being told anything.
        buys: Share of the messages they follow that lead to a purchase; by the others they only look at what is told.
    """

    registers: bool = True
    buys_alone: bool = False
    buys: float = 1


KINDS = (
    Buyer("buy by themselves", 20, buys_alone=True),
    Buyer("open the letters, buy by one", 14, {"email": "buy"}, heeds=0.2, reads=0.6),
    Buyer("open no letters, follow SMS, buy by one", 10, {"sms": "buy"}, heeds=0.8, reads=0, buys=0.25),
    Buyer("look into their account", 4, {"inbox": "buy"}),
    Buyer("never buy", 12, reads=0.2),
    Buyer("bought before, have a limit left", 40, registers=False),
)


class BuyersLife(Life[Buyer]):
    """They register, look at things, buy or do not, and open their account."""

    come_within_days = 2

    def __init__(self, person: Person[Buyer], town: Town, dice: random.Random) -> None:
        super().__init__(person, town, dice)
        self._bought = False
        self._noticed: set[str] = set()

    async def begin(self) -> None:
        """Register and look at something; or open the account every few days."""
        kind = self._person.kind
        if not kind.registers:
            await self.tell_of_past("first_purchase_made", ago=timedelta(days=self._dice.randint(30, 300)))
            self.later(self._open_account_now_and_then())
            return
        await self.tell("customer_registered")
        for _ in range(self._dice.randint(0, 3)):
            await self.minutes(1, 5)
            await self.tell("product_viewed", product=self._dice.choice(PRODUCTS))
        if kind.buys_alone:
            self.later(self._buy_within_days())
        elif "inbox" in kind.answers:
            self.later(self._look_into_account())

    async def do(self, deed: str, message: Effect) -> None:
        """Buy by a message."""
        if not self._bought and await self.follow(message) and self.happens(self._person.kind.buys):
            await self._buy()

    async def _buy(self) -> None:
        if not self._bought:
            self._bought = True
            await self.tell("first_purchase_made")

    async def _buy_within_days(self) -> None:
        await self.hours(1, 100)
        await self._buy()

    async def _look_into_account(self) -> None:
        while not self._bought:
            await self.hours(8, 30)
            for message in await self._new_in_account():
                await self.touch(message["id"], "seen", "clicked")
                await self._buy()

    async def _open_account_now_and_then(self) -> None:
        while True:
            await self.tell("account_opened", limit_left=self._dice.randrange(1_000, 30_000, 500))
            await self.hours(2, 5)
            if message := await self.popup():
                if self.happens(BUYS_BY_REMINDER):
                    await self.touch(message, "clicked")
                    await self.tell("purchase_made")
                else:
                    await self.touch(message, "dismissed")
            await self.hours(48, 240)

    async def _new_in_account(self) -> list[dict[str, Any]]:
        """What they have not noticed there before."""
        found = [each for each in await self.account() if each["id"] not in self._noticed]
        self._noticed |= {each["id"] for each in found}
        return found


async def figures(outcome: Outcome[Buyer]) -> list[Figure]:
    """Tell who bought, by which channel they were written to, and what the reminder of the limit did."""
    first, reminded = outcome.of("FirstPurchase"), outcome.of("LimitReminder")
    by_sms_alone = {person.user_id for person in outcome.people if "sms" in person.kind.answers}
    unreached = [stay for stay in first if stay.outcome != "goal"]
    shown = [message for stay in reminded for message in stay.messages if message.left]
    return [
        Figure("first purchases", sum(stay.outcome == "goal" for stay in first), len(first), "70%: 30% never did"),
        *(
            Figure(f"messages by {channel} to who does not buy, each", each, None, story)
            for channel, story in (("email", "10"), ("sms", "6"))
            if (each := _each(channel, unreached)) is not None
        ),
        Figure(
            "SMS, of the messages to who opens no letters but reacts to SMS",
            sum(each.left and each.channel == "sms" for each in _messages(first, by_sms_alone)),
            sum(each.left and each.channel in ("sms", "email") for each in _messages(first, by_sms_alone)),
            "mainly SMS",
        ),
        Figure("reminders of the limit that were shown", sum(each.read_at is not None for each in shown), len(shown)),
        Figure("reminders that were clicked", sum(each.clicked_at is not None for each in shown), len(shown)),
        Figure("purchases after a reminder", sum(stay.outcome == "goal" for stay in reminded), len(reminded)),
    ]


def _messages(stays: Sequence[Stay], users: Collection[str]) -> list[Message]:
    return [message for stay in stays if stay.user_id in users for message in stay.messages]


def _each(channel: str, stays: Sequence[Stay]) -> float | None:
    """How many messages by a channel each stay has got; None where there is no stay."""
    if not stays:
        return None
    left = sum(each.left and each.channel == channel for stay in stays for each in stay.messages)
    return round(left / len(stays), 2)


PACK = Pack(
    name="instalments",
    # Two days until everybody has come, and the thirty days of the chain.
    story=timedelta(days=33),
    speed=14_400,
    customers=150,
    kinds=KINDS,
    life=BuyersLife,
    figures=figures,
    deployment=Path(__file__).with_suffix(".toml"),
)
