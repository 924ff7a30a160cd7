"""How many parts an SMS is sent and billed as (3GPP TS 23.038 and TS 23.040)."""

GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_7_TWICE = frozenset("^{}\\[~]|€\f")
"""Characters that take two places: an escape and themselves."""

ALONE_OR_JOINED = {"gsm-7": (160, 153), "ucs-2": (70, 67)}
"""Places in a message of one part, and in each part of a longer one."""


def encoding(text: str) -> str:
    """Return the cheaper encoding that has every character: ``gsm-7`` or ``ucs-2``."""
    return "gsm-7" if set(text) <= GSM_7 | GSM_7_TWICE else "ucs-2"


def segments(text: str) -> int:
    """Count the parts of an SMS; a character that takes two places is never split over two parts."""
    used = encoding(text)
    places = [_places(character, used) for character in text]
    alone, joined = ALONE_OR_JOINED[used]
    if sum(places) <= alone:
        return 1
    parts, left = 1, joined
    for needed in places:
        if needed > left:
            parts, left = parts + 1, joined
        left -= needed
    return parts


def _places(character: str, used: str) -> int:
    twice = character in GSM_7_TWICE if used == "gsm-7" else ord(character) > 0xFFFF
    return 2 if twice else 1
