"""How many parts an SMS is billed as."""

_GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENSION = set("^{}\\[~]|€\f")


def segments(text: str) -> int:
    """Count the parts: 160 GSM-7 septets or 70 UCS-2 units alone, 153 or 67 when joined.

    Source: 3GPP TS 23.038 and TS 23.040. A character that takes two units is never split.
    """
    if all(letter in _GSM or letter in _GSM_EXTENSION for letter in text):
        sizes, alone, joined = [1 + (letter in _GSM_EXTENSION) for letter in text], 160, 153
    else:
        sizes, alone, joined = [1 + (ord(letter) > 0xFFFF) for letter in text], 70, 67
    if sum(sizes) <= alone:
        return 1
    parts, room = 1, joined
    for size in sizes:
        if size > room:
            parts, room = parts + 1, joined
        room -= size
    return parts
