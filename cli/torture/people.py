"""Customers of the torture: their addresses, where they live, how their network behaves."""

import random
from dataclasses import dataclass

_ZONES = (
    ("America/New_York", "1212", "en"),
    ("America/Los_Angeles", "1415", "en"),
    ("America/Chicago", "1312", "en"),
    ("Europe/Moscow", "7900", "ru"),
    ("Asia/Yekaterinburg", "7902", "ru"),
    ("Asia/Vladivostok", "7908", "ru"),
    ("Pacific/Auckland", "6421", "en"),
    ("America/Sao_Paulo", "5511", "en"),
)

_NETWORKS = ("delivered",) * 16 + ("bounced", "undelivered", "unregistered", "never")
"""How many of twenty live where messages arrive; see the sandbox's `Delivery`."""

_CALLS = ("answered", "no_answer", "busy", "declined", None)
"""How a call ends; None: it never does."""


@dataclass(frozen=True)
class Person:
    """A customer."""

    number: int
    zone: str
    phone: str
    locale: str
    network: str
    call_result: str | None

    @property
    def user_id(self) -> str:
        """The backend's id."""
        return f"torture-{self.number}"

    @property
    def email(self) -> str:
        """Mailbox."""
        return f"person{self.number}@example.com"

    @property
    def device(self) -> str:
        """Token of their app."""
        return f"device-of-torture-{self.number}"

    @property
    def behaviour(self) -> dict[str, str | None]:
        """The person as the sandbox wants to know them."""
        return {
            "email": self.email,
            "phone": self.phone,
            "device_token": self.device,
            "delivery": self.network,
            "call_result": self.call_result,
        }

    @property
    def traits(self) -> dict[str, str]:
        """The person as the backend knows them."""
        return {
            "email": self.email,
            "phone": self.phone,
            "timezone": self.zone,
            "locale": self.locale,
            "first_name": f"Ada{self.number}",
        }


def person(number: int, dice: random.Random) -> Person:
    """Draw a customer; their number is part of all their addresses."""
    zone, area, locale = dice.choice(_ZONES)
    return Person(number, zone, f"+{area}{5_000_000 + number:07d}", locale, dice.choice(_NETWORKS), dice.choice(_CALLS))
