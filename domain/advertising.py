"""Audiences for advertising cabinets: people as hashes, by the rules of each cabinet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import md5, sha256


class Cabinet(StrEnum):
    """Where an audience is uploaded."""

    GOOGLE = "google"
    YANDEX = "yandex"


@dataclass(frozen=True)
class _Rules:
    """How a cabinet wants a file.

    Attributes:
        columns: Names of the columns of emails and phones.
        plus: Whether a number is hashed with its plus sign.
    """

    columns: tuple[str, str]
    hash: Callable[[bytes], str]
    plus: bool


def _md5(value: bytes) -> str:
    return md5(value, usedforsecurity=False).hexdigest()


def _sha256(value: bytes) -> str:
    return sha256(value).hexdigest()


# Google: developers.google.com/display-video/api/guides/tasks/upload-customer-match-audience/prepare-data
# Yandex: yandex.com/dev/metrika/en/data-import/hashing
_RULES = {
    Cabinet.GOOGLE: _Rules(("Email", "Phone"), _sha256, plus=True),
    Cabinet.YANDEX: _Rules(("emails_md5", "phones_md5"), _md5, plus=False),
}


def audience(cabinet: Cabinet, people: Iterable[tuple[str | None, str | None]]) -> bytes:
    """Write an audience as CSV (UTF-8, RFC 4180), a person a line after the header.

    Args:
        people: Email and phone number (E.164) of each; at least one of them is known.
    """
    rules = _RULES[cabinet]

    def hashed(value: str | None) -> str:
        return rules.hash(value.encode()) if value else ""

    lines = [",".join(rules.columns)]
    for email, phone in people:
        number = phone if rules.plus or phone is None else phone.removeprefix("+")
        lines.append(f"{hashed(''.join(email.split()).lower() if email else None)},{hashed(number)}")
    return ("\r\n".join(lines) + "\r\n").encode()
