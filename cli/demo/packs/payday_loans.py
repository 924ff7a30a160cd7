"""Lender: people register step by step, leave their first application, leave the money, and stay away for long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto
from pathlib import Path

from cli.demo.lives import Life
from cli.demo.pack import Figure, Outcome, Pack
from cli.demo.people import Kind
from cli.demo.phones import Effect
from workflows.payday_loans.events import Step

STEPS: Sequence[Step] = list(Step)


class Part(StrEnum):
    """What somebody's part in the story begins with."""

    REGISTERS = auto()
    APPLIES = auto()
    """Registered before, and begins the application for a first loan."""
    IS_APPROVED = auto()
    """Had a loan before, and may take another."""
    IS_REFUSED = auto()
    WAS_AWAY = auto()
    """Not on the site for half a year and longer."""


class Deed(StrEnum):
    """What somebody does about a message."""

    GO_ON = auto()
    """Comes to the site and goes on where they left."""


@dataclass(frozen=True, eq=False)
class Client(Kind):
    """A kind of the lender's customers.

    Attributes:
        part: What their part begins with.
        leaves: They stop on the way instead of going through with it at once.
    """

    part: Part = Part.REGISTERS
    leaves: bool = True


BY_PUSH = {"push": Deed.GO_ON, "web_push": Deed.GO_ON}
BY_LETTER = {"email": Deed.GO_ON}
BY_SMS = {"sms": Deed.GO_ON}
BY_ANYTHING = BY_PUSH | BY_LETTER | BY_SMS

# Of those who register, a share goes through with it at once; of the rest a part comes back by one of the messages,
# each of which is heeded by lot. Whose mailbox and browser are known decides what the free channels can reach.
KINDS = (
    Client("register at once", 9, leaves=False),
    Client("stop at a step, come back by a push", 7, BY_PUSH, heeds=0.35, browser=1),
    Client("stop at a step, come back by a letter", 6, BY_LETTER, heeds=0.3, app=0),
    Client("stop at a step, come back by SMS", 3, BY_SMS, heeds=0.35, email=0, app=0),
    Client("stop at a step, hardly ever come back", 10, BY_ANYTHING, heeds=0.02, email=0.7, app=0.4, browser=0.4),
    Client("leave the application, come back by a push", 5, BY_PUSH, heeds=0.5, browser=1, part=Part.APPLIES),
    Client("leave the application, come back by a letter", 3, BY_LETTER, heeds=0.5, app=0, part=Part.APPLIES),
    Client("leave the application, come back by SMS", 7, BY_SMS, heeds=0.5, email=0, app=0, part=Part.APPLIES),
    Client("leave the application, letters bounce", 3, BY_SMS, heeds=0.4, app=0, network="bounced", part=Part.APPLIES),
    Client("leave the application for good", 2, email=0.5, app=0, part=Part.APPLIES),
    Client("leave the money, take it when reminded", 3, BY_ANYTHING, heeds=0.6, browser=1, part=Part.IS_APPROVED),
    Client("are refused", 2, BY_LETTER, heeds=0.3, part=Part.IS_REFUSED),
    Client(
        "have been away for long", 40, BY_ANYTHING, heeds=0.053, email=0.8, app=0.3, browser=0.3, part=Part.WAS_AWAY
    ),
)

_HAD_A_LOAN = timedelta(days=40)
_REGISTERED = timedelta(days=5)
_AWAY = (timedelta(days=181), timedelta(days=400))


class ClientsLife(Life[Client]):
    """They come to the site, go a part of the way, and go on by what reaches them."""

    come_within_days = 2

    async def begin(self) -> None:
        """Begin what this person's part in the story is."""
        kind, user = self._person.kind, self._person.user_id
        self._done = 0
        self._finished = False
        match kind.part:
            case Part.REGISTERS:
                await self.tell("registration_started")
                await self._register(self._dice.randrange(len(STEPS)) if kind.leaves else len(STEPS))
            case Part.APPLIES:
                await self.tell_of_past("registration_completed", ago=_REGISTERED)
                await self.tell("loan_application_started", application_id=f"{user}-1")
            case Part.IS_APPROVED:
                await self.tell_of_past("loan_issued", ago=_HAD_A_LOAN, loan_id=f"{user}-1")
                await self.tell("loan_approved", loan_id=f"{user}-2")
            case Part.IS_REFUSED:
                await self.tell_of_past("registration_completed", ago=_REGISTERED)
                await self.tell("loan_application_submitted", application_id=f"{user}-1")
                await self.hours(1, 5)
                await self.tell("loan_refused", application_id=f"{user}-1")
            case Part.WAS_AWAY:
                await self.tell_of_past("site_visited", ago=self._dice.uniform(0, 1) * (_AWAY[1] - _AWAY[0]) + _AWAY[0])

    async def do(self, deed: str, message: Effect) -> None:
        """Come to the site by the message, and go on with what was left."""
        if self._finished or not await self.follow(message):
            return
        user = self._person.user_id
        match self._person.kind.part:
            case Part.REGISTERS:
                stops_again = self._done < len(STEPS) - 1 and self.happens(0.3)
                await self._register(self._dice.randint(self._done + 1, len(STEPS) - 1) if stops_again else len(STEPS))
                return
            case Part.APPLIES:
                await self.tell("loan_application_submitted", application_id=f"{user}-1")
            case Part.IS_APPROVED:
                await self.tell("loan_issued", loan_id=f"{user}-2")
                self.later(self._repay(f"{user}-2"))
            case Part.IS_REFUSED:
                await self.tell("loan_application_submitted", application_id=f"{user}-2")
            case Part.WAS_AWAY:
                await self.tell("site_visited")
        self._finished = True

    async def _register(self, up_to: int) -> None:
        """Do the steps of the registration up to one; after the last there is an account."""
        self._finished = up_to == len(STEPS)
        while self._done < up_to:
            await self.minutes(2, 10)
            step, self._done = STEPS[self._done], self._done + 1
            await self.tell("registration_step_completed", step=step)
        if self._finished:
            await self.tell("registration_completed")

    async def _repay(self, loan: str) -> None:
        await self.hours(72, 144)
        await self.tell("loan_repaid", loan_id=loan)


async def figures(outcome: Outcome[Client]) -> list[Figure]:
    """Tell who registered, whom the free channels reached alone, and who came back."""
    entered, away = outcome.did("registration_started"), outcome.of("WinBack")
    written_to = [stay for stay in away if any(message.left for message in stay.messages)]
    reach = await outcome.installation.get("/v1/reports/reach", journey="AbandonedFirstLoan")
    return [
        Figure(
            "finish the registration, of those who enter",
            len(entered & outcome.did("registration_completed")),
            len(entered),
            "70%",
        ),
        *(
            Figure(
                "reached by the free channels alone in AbandonedFirstLoan",
                each["free_alone"],
                each["written_to"],
                "43%",
            )
            for each in reach
        ),
        Figure(
            "come back, of those WinBack has written to",
            sum(stay.outcome == "goal" for stay in written_to),
            len(written_to),
            "15%, by three messages; two fall into these weeks",
        ),
        Figure(
            "take the approved money when reminded",
            sum(stay.outcome == "goal" for stay in outcome.of("UncollectedLoan")),
            len(outcome.of("UncollectedLoan")),
        ),
    ]


PACK = Pack(
    name="payday_loans",
    # Two days until everybody has come, two weeks in which those who were away hear nothing, a week to the second
    # message and two days to what it does.
    story=timedelta(days=25),
    # The next channel follows after four hours, which is then a second: enough for a delivery to be reported.
    speed=14_400,
    customers=150,
    kinds=KINDS,
    life=ClientsLife,
    figures=figures,
    deployment=Path(__file__).with_suffix(".toml"),
)
