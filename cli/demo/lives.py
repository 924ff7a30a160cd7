"""How people live through the story: they begin a form, leave it, look at their phone, and act by it."""

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from cli.demo.backend import Backend
from cli.demo.pace import Pace
from cli.demo.people import TOTAL_FIELDS, Decision, Deed, Person
from cli.demo.phones import Effect, Phones
from cli.installation import Installation

BEGIN_WITHIN_DAYS = 3
"""Journey days on which people begin, each at an hour of their own waking day."""

BANKS = ("First Bank", "Northern Bank", "Harbour Bank", "People's Bank")

_READS_ANYWAY = 0.3
"""Share of the letters and pushes that are looked at by those who do nothing about them."""


@dataclass(frozen=True)
class Town:
    """Where everybody lives."""

    pace: Pace
    backend: Backend
    phones: Phones
    installation: Installation
    tasks: asyncio.TaskGroup


class Life:
    """One person's part in the story."""

    def __init__(self, person: Person, town: Town, dice: random.Random) -> None:
        self._person = person
        self._town = town
        self._dice = dice
        self._application = ""
        self._filled = 0
        self._tried: list[str] = []

    async def live(self) -> None:
        """Begin, leave or finish, and then answer what comes; ends only when it is cancelled."""
        person, kind = self._person, self._person.kind
        begins = self._town.pace.at_local_hour(
            self._dice.randrange(BEGIN_WITHIN_DAYS), self._dice.uniform(9, 22), person.time_zone
        )
        await self._town.pace.comes(begins)
        await self._town.phones.give(person)
        await self._town.backend.introduce(person)
        for number in range(1, kind.applications + 1):
            await self._begin(f"{person.user_id}-{number}")
            if kind.submits or number < kind.applications:
                await self._finish()
            else:
                await self._fill_in(person.leaves_at(self._dice))
        if "inbox" in kind.answers:
            self._town.tasks.create_task(self._visit_account(kind.answers["inbox"]))
        async for message in self._town.phones.messages(person):
            self._town.tasks.create_task(self._notice(message))

    # At the form.

    async def _begin(self, application: str) -> None:
        self._application, self._filled, self._tried = application, 0, []
        await self._town.backend.started(self._person, application)

    async def _fill_in(self, fields: int) -> None:
        """Fill in up to so many fields, in one or two goes of a few minutes."""
        goes = self._dice.randint(1, 2)
        begun = self._filled
        for go in range(1, goes + 1):
            await self._minutes(2, 10)
            reached = begun + (fields - begun) * go // goes
            if reached > self._filled:
                self._filled = reached
                await self._town.backend.progressed(self._person, self._application, reached)

    async def _finish(self) -> None:
        if self._filled < TOTAL_FIELDS:
            await self._fill_in(TOTAL_FIELDS)
        await self._submit()

    async def _submit(self) -> None:
        """Send the form to a bank not tried before; the bank decides later."""
        bank = self._dice.choice([bank for bank in BANKS if bank not in self._tried])
        self._tried.append(bank)
        await self._town.backend.submitted(self._person, self._application, bank)
        self._town.tasks.create_task(self._hear_from_bank(self._application, bank, first=len(self._tried) == 1))

    async def _hear_from_bank(self, application: str, bank: str, *, first: bool) -> None:
        await self._hours(3, 20)
        if first and self._person.kind.bank is Decision.REFUSE:
            await self._town.backend.refused(self._person, application, bank)
        else:
            await self._town.backend.issued(self._person, application, bank)

    # At the phone.

    async def _notice(self, message: Effect) -> None:
        """Do about a message what this person does about that channel."""
        deed = self._person.kind.answers.get(message.channel)
        if message.channel == "call":
            await self._minutes(1, 3)
            await self._town.phones.end_call(message, "answered" if deed else self._person.kind.picks_up)
            if deed:
                await self._do(deed, message)
            return
        await self._hours(0.2, 5)
        if deed:
            await self._do(deed, message)
        elif message.channel in ("email", "push") and self._dice.random() < _READS_ANYWAY:
            await self._town.phones.open(message)

    async def _do(self, deed: Deed, message: Effect) -> None:
        phones = self._town.phones
        match deed:
            case Deed.SAY_STOP:
                await phones.reply(message, "STOP")
            case Deed.UNSUBSCRIBE:
                await phones.unsubscribe(message)
            case _:
                if message.channel == "call" or await phones.click(message):
                    await self._return(deed)

    async def _visit_account(self, deed: Deed) -> None:
        """Look into the account on the site now and then; the first message there brings the person back."""
        path = f"/v1/customers/{quote(self._person.user_id)}/inbox"
        while True:
            await self._hours(4, 10)
            if found := (await self._town.installation.get(path))["messages"]:
                break
        for gesture in ("seen", "clicked"):
            await self._town.installation.post(
                f"/v1/inbox/{found[0]['id']}/{gesture}", {"user_id": self._person.user_id}
            )
        await self._return(deed)

    async def _return(self, deed: Deed) -> None:
        """Come back to the form; nobody finishes what is submitted."""
        if deed is Deed.OTHER_BANK:
            if len(self._tried) == 1:
                await self._submit()
        elif not self._tried:
            if deed is Deed.GO_ON and self._filled < 32:
                await self._fill_in(self._dice.randint(33, 39))
            else:
                await self._finish()

    async def _minutes(self, fewest: float, most: float) -> None:
        await self._town.pace.passes(timedelta(minutes=self._dice.uniform(fewest, most)))

    async def _hours(self, fewest: float, most: float) -> None:
        await self._town.pace.passes(timedelta(hours=self._dice.uniform(fewest, most)))
