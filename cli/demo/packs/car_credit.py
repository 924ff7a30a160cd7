"""Car marketplace: people begin credit applications, leave them, and come back by what reaches them."""

import random
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto

from cli.demo.lives import Life, Town
from cli.demo.pack import Pack
from cli.demo.people import Kind, Person
from cli.demo.phones import Effect

TOTAL_FIELDS = 40
"""Fields of the application form."""

ALMOST_EMPTY = (1, 5)
PARTLY_FILLED = (6, 32)
ALMOST_FULL = (33, 39)
FULL = (40, 40)

BANKS = ("First Bank", "Northern Bank", "Harbour Bank", "People's Bank")


class Deed(StrEnum):
    """What somebody does about a message they have noticed."""

    FINISH = auto()
    """Goes back to the form, fills in what is left and submits it."""
    GO_ON = auto()
    """Goes back, fills in some more and leaves again."""
    OTHER_BANK = auto()
    """Sends the refused application to another bank."""
    SAY_STOP = auto()
    UNSUBSCRIBE = auto()


class Decision(StrEnum):
    """What the bank says to an application."""

    ISSUE = auto()
    REFUSE = auto()


@dataclass(frozen=True, eq=False)
class Borrower(Kind):
    """A kind of people who want a credit.

    Attributes:
        leaves_at: Fewest and most fields filled in when they leave the form.
        submits: They do not leave but submit at once.
        bank: What the bank decides.
        applications: How many they begin; all but the last are submitted at once.
    """

    leaves_at: tuple[int, int] = FULL
    submits: bool = False
    bank: Decision = Decision.ISSUE
    applications: int = 1


KINDS: tuple[Borrower, ...] = (
    Borrower("finish at once", 17, submits=True),
    Borrower("leave, take the call and finish on the phone", 7, leaves_at=ALMOST_EMPTY, answers={"call": Deed.FINISH}),
    Borrower(
        "miss the call, read the letter", 5, leaves_at=ALMOST_EMPTY, answers={"email": Deed.FINISH}, picks_up="busy"
    ),
    Borrower("look at nothing but SMS", 7, leaves_at=(2, 20), answers={"sms": Deed.FINISH}),
    Borrower(
        "open the push, leave again, take the call",
        7,
        leaves_at=(8, 24),
        answers={"push": Deed.GO_ON, "call": Deed.FINISH},
    ),
    Borrower("ignore the push, click the letter", 7, leaves_at=PARTLY_FILLED, answers={"email": Deed.FINISH}),
    Borrower("look into their account on the site", 5, leaves_at=PARTLY_FILLED, answers={"inbox": Deed.FINISH}),
    Borrower("almost done, click the letter", 4, leaves_at=ALMOST_FULL, answers={"email": Deed.FINISH}),
    Borrower("almost done, wait for the call", 4, leaves_at=ALMOST_FULL, answers={"call": Deed.FINISH}),
    Borrower("forget to press the button, take the call", 5, leaves_at=FULL, answers={"call": Deed.FINISH}),
    Borrower("never come back", 5, leaves_at=(1, 40), picks_up="declined"),
    Borrower("letters bounce, SMS works", 3, leaves_at=(6, 36), answers={"sms": Deed.FINISH}, network="bounced"),
    Borrower("number does not exist", 2, leaves_at=ALMOST_EMPTY, network="undelivered", picks_up="wrong_number"),
    Borrower(
        "app is gone, click the letter",
        3,
        leaves_at=PARTLY_FILLED,
        answers={"email": Deed.FINISH},
        network="unregistered",
    ),
    Borrower("answer STOP", 3, leaves_at=PARTLY_FILLED, answers={"sms": Deed.SAY_STOP}),
    Borrower("unsubscribe from letters", 2, leaves_at=(8, 39), answers={"email": Deed.UNSUBSCRIBE}),
    Borrower(
        "two applications, the second forgotten",
        3,
        leaves_at=PARTLY_FILLED,
        answers={"email": Deed.FINISH},
        applications=2,
    ),
    Borrower(
        "refused, the letter takes them to another bank",
        4,
        submits=True,
        bank=Decision.REFUSE,
        answers={"email": Deed.OTHER_BANK},
    ),
    Borrower(
        "refused, the call takes them to another bank",
        4,
        submits=True,
        bank=Decision.REFUSE,
        answers={"call": Deed.OTHER_BANK},
    ),
    Borrower("refused, give up", 3, submits=True, bank=Decision.REFUSE),
)


class BorrowersLife(Life[Borrower]):
    """They begin a form, leave it, look at their phone, and act by it."""

    def __init__(self, person: Person[Borrower], town: Town, dice: random.Random) -> None:
        super().__init__(person, town, dice)
        self._application = ""
        self._filled = 0
        self._tried: list[str] = []

    async def begin(self) -> None:
        """Begin, and leave or finish."""
        person, kind = self._person, self._person.kind
        for number in range(1, kind.applications + 1):
            await self._begin(f"{person.user_id}-{number}")
            if kind.submits or number < kind.applications:
                await self._finish()
            else:
                await self._fill_in(self._dice.randint(*kind.leaves_at))
        if "inbox" in kind.answers:
            self.later(self._visit_account(kind.answers["inbox"]))

    # At the form.

    async def _begin(self, application: str) -> None:
        self._application, self._filled, self._tried = application, 0, []
        await self._form("credit_application_started")

    async def _fill_in(self, fields: int) -> None:
        """Fill in up to so many fields, in one or two goes of a few minutes."""
        goes = self._dice.randint(1, 2)
        begun = self._filled
        for go in range(1, goes + 1):
            await self.minutes(2, 10)
            reached = begun + (fields - begun) * go // goes
            if reached > self._filled:
                self._filled = reached
                await self._form("credit_application_progressed")

    async def _form(self, event: str) -> None:
        await self.tell(event, application_id=self._application, filled=self._filled, total=TOTAL_FIELDS)

    async def _finish(self) -> None:
        if self._filled < TOTAL_FIELDS:
            await self._fill_in(TOTAL_FIELDS)
        await self._submit()

    async def _submit(self) -> None:
        """Send the form to a bank not tried before; the bank decides later."""
        bank = self._dice.choice([bank for bank in BANKS if bank not in self._tried])
        self._tried.append(bank)
        await self.tell("credit_application_submitted", application_id=self._application, bank=bank)
        self.later(self._hear_from_bank(self._application, bank, first=len(self._tried) == 1))

    async def _hear_from_bank(self, application: str, bank: str, *, first: bool) -> None:
        await self.hours(3, 20)
        refused = first and self._person.kind.bank is Decision.REFUSE
        await self.tell(
            "credit_application_refused" if refused else "credit_issued", application_id=application, bank=bank
        )

    # At the phone.

    async def do(self, deed: str, message: Effect) -> None:
        """Come back to the form by the message, or say that they want no more of them."""
        match deed:
            case Deed.SAY_STOP:
                await self._town.phones.reply(message, "STOP")
            case Deed.UNSUBSCRIBE:
                await self._town.phones.unsubscribe(message)
            case _:
                if await self.follow(message):
                    await self._return(deed)

    async def _visit_account(self, deed: str) -> None:
        """Look into the account on the site now and then; the first message there brings the person back."""
        while True:
            await self.hours(4, 10)
            if found := await self.account():
                break
        await self.touch(found[0]["id"], "seen", "clicked")
        await self._return(deed)

    async def _return(self, deed: str) -> None:
        """Come back to the form; nobody finishes what is submitted."""
        if deed == Deed.OTHER_BANK:
            if len(self._tried) == 1:
                await self._submit()
        elif not self._tried:
            if deed == Deed.GO_ON and self._filled < 32:
                await self._fill_in(self._dice.randint(33, 39))
            else:
                await self._finish()


PACK = Pack(
    name="car_credit",
    # Four days until everybody has begun, and the longest way from there to the last message and what it does: half
    # an hour, a night until one may call, three days, another night, an answer.
    story=timedelta(days=9),
    speed=11_520,
    customers=200,
    kinds=KINDS,
    life=BorrowersLife,
)
