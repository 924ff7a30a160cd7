"""How people live through a story: they come, do what they do by themselves, look at their phone, and act by it."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic
from urllib.parse import quote

from cli.demo.backend import Backend
from cli.demo.pace import Pace
from cli.demo.people import K, Person
from cli.demo.phones import Effect, Phones
from cli.installation import Installation

_READ = ("email", "push", "web_push", "whatsapp")
"""Channels whose senders learn that somebody has looked at a message."""


@dataclass(frozen=True)
class Town:
    """Where everybody lives."""

    pace: Pace
    backend: Backend
    phones: Phones
    installation: Installation
    tasks: asyncio.TaskGroup


class Life(ABC, Generic[K]):
    """One person's part in a story; each pack says what its people do.

    Attributes:
        come_within_days: Journey days on which people come, each at an hour of their own waking day.
    """

    come_within_days = 3

    def __init__(self, person: Person[K], town: Town, dice: random.Random) -> None:
        self._person = person
        self._town = town
        self._dice = dice

    @abstractmethod
    async def begin(self) -> None:
        """Do what this person does on coming, before they look at their phone; what takes longer is for `later`."""

    @abstractmethod
    async def do(self, deed: str, message: Effect) -> None:
        """Do about a message what this person's kind does about its channel."""

    async def live(self) -> None:
        """Come, begin, and then answer what reaches them; ends only when it is cancelled."""
        person, town = self._person, self._town
        await town.pace.comes(
            town.pace.at_local_hour(
                self._dice.randrange(self.come_within_days), self._dice.uniform(9, 22), person.time_zone
            )
        )
        await town.phones.give(person)
        await town.backend.introduce(person)
        if "browser" in person.has:
            await town.phones.subscribe(person)
        await self.begin()
        async for message in town.phones.messages(person):
            self.later(self._notice(message))

    def later(self, doing: Coroutine[Any, Any, None]) -> None:
        """Go on with something beside everything else."""
        self._town.tasks.create_task(doing)

    async def follow(self, message: Effect) -> bool:
        """Follow a message's link, or listen to the call; False if nothing leads anywhere."""
        return message.channel == "call" or await self._town.phones.click(message)

    async def tell(self, event: str, **properties: Any) -> None:
        """Do something the company's backend tells of."""
        await self._town.backend.track(self._person, event, properties)

    async def tell_of_past(self, event: str, ago: timedelta, **properties: Any) -> None:
        """Have done something so long before the story began; the backend tells of it now."""
        await self._town.backend.track(self._person, event, properties, ago)

    async def text_of(self, message: Effect) -> str:
        """Which text a message is, ``group/name``: what a person sees at once, and the demonstration asks."""
        explained = await self._town.installation.get(f"/v1/messages/{message.message_id}/explanation")
        return str(explained["message"]["template"])

    async def account(self) -> list[dict[str, Any]]:
        """Look at what is in the personal account, the newest first."""
        path = f"/v1/customers/{quote(self._person.user_id)}/inbox"
        messages: list[dict[str, Any]] = (await self._town.installation.get(path))["messages"]
        return messages

    async def popup(self) -> str | None:
        """Look at the site: return the message that pops up there, once it is shown."""
        user = self._person.user_id
        found = await self._town.installation.get(f"/v1/customers/{quote(user)}/placements", surface="web")
        if (popup := found["popup"]) is None:
            return None
        shown = {"user_id": user, "impression": popup["impression"], "surface": "web"}
        await self._town.installation.post(f"/v1/inbox/{popup['id']}/impressions", shown)
        return str(popup["id"])

    async def touch(self, message: str, *gestures: str) -> None:
        """Do something with a message in the account, or a pop-up: ``seen``, ``clicked``, ``dismissed``."""
        for gesture in gestures:
            await self._town.installation.post(f"/v1/inbox/{message}/{gesture}", {"user_id": self._person.user_id})

    async def minutes(self, fewest: float, most: float) -> None:
        """Let some minutes pass."""
        await self._town.pace.passes(timedelta(minutes=self._dice.uniform(fewest, most)))

    async def hours(self, fewest: float, most: float) -> None:
        """Let some hours pass."""
        await self._town.pace.passes(timedelta(hours=self._dice.uniform(fewest, most)))

    def happens(self, share: float) -> bool:
        """Whether something happens that does so with this probability."""
        return self._dice.random() < share

    async def _notice(self, message: Effect) -> None:
        """Do about a message what this person does about that channel."""
        kind = self._person.kind
        deed = kind.answers.get(message.channel)
        if kind.heeds < 1 and not self.happens(kind.heeds):
            deed = None
        if message.channel == "call":
            await self.minutes(1, 3)
            await self._town.phones.end_call(message, "answered" if deed else kind.picks_up)
            if deed:
                await self.do(deed, message)
            return
        await self.hours(0.2, 5)
        if deed:
            await self.do(deed, message)
        elif message.channel in _READ and self.happens(kind.reads):
            await self._town.phones.open(message)
