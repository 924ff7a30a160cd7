"""How many parts an SMS is sent and billed as (3GPP TS 23.038 and TS 23.040)."""

from collections.abc import Mapping
from enum import StrEnum

GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_7_TWICE = frozenset("^{}\\[~]|€\f")
"""Characters that take two places: an escape and themselves."""


class Encoding(StrEnum):
    """What an SMS is written in."""

    GSM_7 = "gsm-7"
    UCS_2 = "ucs-2"


ALONE_OR_JOINED: Mapping[Encoding, tuple[int, int]] = {Encoding.GSM_7: (160, 153), Encoding.UCS_2: (70, 67)}
"""Places in a message of one part, and in each part of a longer one."""


def encoding(text: str) -> Encoding:
    """Return the cheaper encoding that has every character."""
    return Encoding.GSM_7 if set(text) <= GSM_7 | GSM_7_TWICE else Encoding.UCS_2


def segments(text: str, lengths: Mapping[Encoding, tuple[int, int]] = ALONE_OR_JOINED) -> int:
    """Count the parts of an SMS; a character that takes two places is never split over two parts.

    Args:
        lengths: Places alone and joined, where an operator counts differently.
    """
    used = encoding(text)
    places = [_places(character, used) for character in text]
    alone, joined = lengths[used]
    if sum(places) <= alone:
        return 1
    parts, left = 1, joined
    for needed in places:
        if needed > left:
            parts, left = parts + 1, joined
        left -= needed
    return parts


def _places(character: str, used: Encoding) -> int:
    twice = character in GSM_7_TWICE if used is Encoding.GSM_7 else ord(character) > 0xFFFF
    return 2 if twice else 1
