"""Who takes part: kinds of people with their shares, and a population drawn from them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto

TOTAL_FIELDS = 40
"""Fields of the application form."""

ALMOST_EMPTY = (1, 5)
PARTLY_FILLED = (6, 32)
ALMOST_FULL = (33, 39)
FULL = (40, 40)


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
class Kind:
    """A kind of people; two kinds are never the same.

    Attributes:
        story: What they are like, in words.
        share: Percent of all.
        leaves_at: Fewest and most fields filled in when they leave the form.
        submits: They do not leave but submit at once.
        bank: What the bank decides.
        answers: What they do about a message, by channel; whatever comes by another one they ignore.
        network: How their network behaves, in the sandbox's words.
        picks_up: How a call ends that they do not answer.
        applications: How many they begin; all but the last are submitted at once.
    """

    story: str
    share: int
    leaves_at: tuple[int, int] = FULL
    submits: bool = False
    bank: Decision = Decision.ISSUE
    answers: Mapping[str, Deed] = field(default_factory=dict)
    network: str = "delivered"
    picks_up: str = "no_answer"
    applications: int = 1


KINDS = (
    Kind("finish at once", 17, submits=True),
    Kind("leave, take the call and finish on the phone", 7, ALMOST_EMPTY, answers={"call": Deed.FINISH}),
    Kind("miss the call, read the letter", 5, ALMOST_EMPTY, answers={"email": Deed.FINISH}, picks_up="busy"),
    Kind("look at nothing but SMS", 7, (2, 20), answers={"sms": Deed.FINISH}),
    Kind("open the push, leave again, take the call", 7, (8, 24), answers={"push": Deed.GO_ON, "call": Deed.FINISH}),
    Kind("ignore the push, click the letter", 7, PARTLY_FILLED, answers={"email": Deed.FINISH}),
    Kind("look into their account on the site", 5, PARTLY_FILLED, answers={"inbox": Deed.FINISH}),
    Kind("almost done, click the letter", 4, ALMOST_FULL, answers={"email": Deed.FINISH}),
    Kind("almost done, wait for the call", 4, ALMOST_FULL, answers={"call": Deed.FINISH}),
    Kind("forget to press the button, take the call", 5, FULL, answers={"call": Deed.FINISH}),
    Kind("never come back", 5, (1, 40), picks_up="declined"),
    Kind("letters bounce, SMS works", 3, (6, 36), answers={"sms": Deed.FINISH}, network="bounced"),
    Kind("number does not exist", 2, ALMOST_EMPTY, network="undelivered", picks_up="wrong_number"),
    Kind("app is gone, click the letter", 3, PARTLY_FILLED, answers={"email": Deed.FINISH}, network="unregistered"),
    Kind("answer STOP", 3, PARTLY_FILLED, answers={"sms": Deed.SAY_STOP}),
    Kind("unsubscribe from letters", 2, (8, 39), answers={"email": Deed.UNSUBSCRIBE}),
    Kind("two applications, the second forgotten", 3, PARTLY_FILLED, answers={"email": Deed.FINISH}, applications=2),
    Kind(
        "refused, the letter takes them to another bank",
        4,
        submits=True,
        bank=Decision.REFUSE,
        answers={"email": Deed.OTHER_BANK},
    ),
    Kind(
        "refused, the call takes them to another bank",
        4,
        submits=True,
        bank=Decision.REFUSE,
        answers={"call": Deed.OTHER_BANK},
    ),
    Kind("refused, give up", 3, submits=True, bank=Decision.REFUSE),
)

# First name, last name, both as they stand in an email address.
_ENGLISH = [
    ("Emma", "Clarke"),
    ("Oliver", "Hughes"),
    ("Grace", "Bennett"),
    ("James", "Foster"),
    ("Amelia", "Hayes"),
    ("Henry", "Walsh"),
    ("Chloe", "Murray"),
    ("Daniel", "Reed"),
    ("Sophie", "Palmer"),
    ("Thomas", "Grant"),
    ("Ruby", "Lawson"),
    ("Samuel", "Pierce"),
]
_RUSSIAN = [
    ("Анна", "Соколова", "anna.sokolova"),
    ("Иван", "Лебедев", "ivan.lebedev"),
    ("Мария", "Козлова", "maria.kozlova"),
    ("Дмитрий", "Новиков", "dmitry.novikov"),
    ("Елена", "Морозова", "elena.morozova"),
    ("Алексей", "Волков", "alexey.volkov"),
    ("Ольга", "Зайцева", "olga.zaytseva"),
    ("Сергей", "Павлов", "sergey.pavlov"),
    ("Наталья", "Орлова", "natalya.orlova"),
    ("Михаил", "Фёдоров", "mikhail.fedorov"),
    ("Юлия", "Егорова", "yulia.egorova"),
    ("Артём", "Никитин", "artem.nikitin"),
]

# Zone and area code; the numbers 555-0100 to 555-0199 of each are kept free for stories (ATIS-0300115).
_AMERICA = [
    ("America/New_York", "212"),
    ("America/Chicago", "312"),
    ("America/Denver", "303"),
    ("America/Los_Angeles", "213"),
    ("America/New_York", "617"),
    ("America/Chicago", "713"),
    ("America/Phoenix", "602"),
    ("America/Los_Angeles", "415"),
    ("America/New_York", "305"),
    ("America/Los_Angeles", "206"),
]
_RUSSIA = ["Europe/Moscow", "Europe/Samara", "Asia/Yekaterinburg", "Asia/Novosibirsk", "Asia/Vladivostok"]

MOST_PEOPLE = 1000


@dataclass(frozen=True)
class Person:
    """Somebody who takes part."""

    number: int
    kind: Kind
    first_name: str
    last_name: str
    email: str
    phone: str
    locale: str
    time_zone: str

    @property
    def user_id(self) -> str:
        """The backend's id."""
        return f"client-{self.number}"

    @property
    def device(self) -> str:
        """Token of their app."""
        return f"device-of-client-{self.number}"

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"

    def leaves_at(self, dice: random.Random) -> int:
        """How many fields are filled in when this person leaves the form."""
        return dice.randint(*self.kind.leaves_at)


def population(size: int, dice: random.Random) -> list[Person]:
    """Draw people: each kind by its share, in no order.

    Args:
        size: At most `MOST_PEOPLE`.
    """
    kinds = _apportioned(size)
    dice.shuffle(kinds)
    return [_person(number, kind, dice) for number, kind in enumerate(kinds, start=1)]


def _apportioned(size: int) -> list[Kind]:
    """Give every kind its share of the places, those left to the largest remainders."""
    shares = [kind.share * size / 100 for kind in KINDS]
    places = [int(share) for share in shares]
    by_remainder = sorted(range(len(KINDS)), key=lambda index: places[index] - shares[index])
    for index in by_remainder[: size - sum(places)]:
        places[index] += 1
    return [kind for kind, count in zip(KINDS, places, strict=True) for _ in range(count)]


def _person(number: int, kind: Kind, dice: random.Random) -> Person:
    if dice.random() < 0.5:
        first, last = dice.choice(_ENGLISH)[0], dice.choice(_ENGLISH)[1]
        zone, area = _AMERICA[number % len(_AMERICA)]
        phone = f"+1{area}55501{number // len(_AMERICA) % 100:02d}"
        return Person(number, kind, first, last, _email(f"{first}.{last}", number), phone, "en-US", zone)
    first, last, mailbox = dice.choice(_RUSSIAN)
    phone = f"+7900000{number:04d}"
    return Person(number, kind, first, last, _email(mailbox, number), phone, "ru-RU", dice.choice(_RUSSIA))


def _email(mailbox: str, number: int) -> str:
    return f"{mailbox.lower()}{number}@example.com"
