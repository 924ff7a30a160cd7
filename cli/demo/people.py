"""Who takes part: kinds of people with their shares, and a population drawn from them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of people; two kinds are never the same. A pack's own kinds add what its people do by themselves.

    Attributes:
        story: What they are like, in words.
        share: Percent of all.
        answers: What they do about a message, by channel; whatever comes by another one they ignore.
        heeds: Share of the messages by these channels that they do it about, by lot for each.
        reads: Share of the other letters, pushes and chat messages that they look at without doing anything.
        network: How their network behaves, in the sandbox's words.
        picks_up: How a call ends that they do not answer.
        email: Share of them whose mailbox is known.
        app: Share of them who have the app.
        browser: Share of them whose browser takes pushes of the site.
    """

    story: str
    share: int
    answers: Mapping[str, str] = field(default_factory=dict)
    heeds: float = 1
    reads: float = 0.3
    network: str = "delivered"
    picks_up: str = "no_answer"
    email: float = 1
    app: float = 1
    browser: float = 0


K = TypeVar("K", bound=Kind)

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
class Person(Generic[K]):
    """Somebody who takes part.

    Attributes:
        has: What they can be reached by besides their phone: ``email``, ``app``, ``browser``.
    """

    number: int
    kind: K
    first_name: str
    last_name: str
    email: str
    phone: str
    locale: str
    time_zone: str
    has: frozenset[str]

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


def population(kinds: Sequence[K], size: int, dice: random.Random) -> list[Person[K]]:
    """Draw people: each kind by its share, in no order.

    Args:
        kinds: Their shares are of 100.
        size: At most `MOST_PEOPLE`.
    """
    places = _apportioned(kinds, size)
    dice.shuffle(places)
    return [_person(number, kind, dice) for number, kind in enumerate(places, start=1)]


def _apportioned(kinds: Sequence[K], size: int) -> list[K]:
    """Give every kind its share of the places, those left to the largest remainders."""
    shares = [kind.share * size / 100 for kind in kinds]
    places = [int(share) for share in shares]
    by_remainder = sorted(range(len(kinds)), key=lambda index: places[index] - shares[index])
    for index in by_remainder[: size - sum(places)]:
        places[index] += 1
    return [kind for kind, count in zip(kinds, places, strict=True) for _ in range(count)]


def _person(number: int, kind: K, dice: random.Random) -> Person[K]:
    if dice.random() < 0.5:
        first, last = dice.choice(_ENGLISH)[0], dice.choice(_ENGLISH)[1]
        zone, area = _AMERICA[number % len(_AMERICA)]
        mailbox, locale = f"{first}.{last}", "en-US"
        phone = f"+1{area}55501{number // len(_AMERICA) % 100:02d}"
    else:
        first, last, mailbox = dice.choice(_RUSSIAN)
        phone, locale, zone = f"+7900000{number:04d}", "ru-RU", dice.choice(_RUSSIA)
    # By lot only where there is a choice, so that adding one does not change who everybody else is.
    shares = {"email": kind.email, "app": kind.app, "browser": kind.browser}
    has = frozenset(way for way, share in shares.items() if share >= 1 or (share > 0 and dice.random() < share))
    return Person(number, kind, first, last, _email(mailbox, number), phone, locale, zone, has)


def _email(mailbox: str, number: int) -> str:
    return f"{mailbox.lower()}{number}@example.com"
