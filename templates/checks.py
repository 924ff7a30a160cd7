"""Whether a new version of a text can be sent: its variables exist, its links are links, it is not too long."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from domain.messages import Channel, Content, WhatsAppContent
from templates.files import SESSION
from templates.letter import Footer
from templates.limits import too_long
from templates.renderer import AFTER_URL, MissingVariable, RenderError, Text
from templates.whatsapp import NoTemplate, form_of, media_problems

_FOOTER = Footer("Example Street 1", "https://example.com/u", "https://example.com/p")
LONGEST_TRACKED = "https://example.com/r/" + "x" * 60
"""Stands for a tracked link, as long as real ones."""

ALWAYS = ("company", "site")
"""Variables every text has."""

WHOLE = ("customer", "event")
"""What every text has too, whatever is in it."""

READ_AS_LINKS = (Channel.EMAIL, Channel.SMS, Channel.WHATSAPP, Channel.INBOX)
"""Channels whose readers can follow what looks like an address."""

BARE_ADDRESS = re.compile(r"(?<![\w@./:-])(?:www\.\w|(?:[a-z0-9-]+\.)+(?:[a-z]{2,}|рф)/)[^\s<>()\[\]\"«»]*", re.I)
"""An address without its scheme: ``www.bank.example``, ``t.me/bank``."""

MARKDOWN_LINK = re.compile(r"\[[^\]]*\]\([^)]*\)")


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        problems: Why it cannot be published, each with its rule.
        unknown: Variables that nothing provides and that may be missing, so that a default stands in their place.
        sample: It, with a value for every variable; None if it cannot be written.
    """

    problems: tuple[str, ...]
    unknown: tuple[str, ...]
    sample: Content | None


def check(
    text: Text,
    provided: Iterable[str],
    *,
    known: Iterable[str] = (),
    company: str,
    site: str,
    track: str = LONGEST_TRACKED,
) -> Checked:
    """Write a text with a value for every variable that something provides, and look at it.

    Args:
        provided: Names of variables that will have values, such as ``event.application_id``.
        known: Names of variables that may have none, but are no mistake.
        track: Stands for each tracked link.
    """
    provided = list(provided)
    given = {**_values(provided), "company": company, "site": site}
    unknown = tuple(sorted(name for name in text.variables if not _is_known(name, {*ALWAYS, *provided, *known})))
    problems = [] if text.channel is not Channel.WHATSAPP or text.category else ["category: is required for whatsapp"]
    problems += _untracked(text)
    if text.channel is Channel.WHATSAPP and text.category not in (None, SESSION):
        try:
            form_of(text, company=company, site=site)
        except NoTemplate as refused:
            return Checked((*problems, *refused.problems), unknown, None)
    try:
        sample = text.render(given, track=lambda _: track, footer=_FOOTER)
    except MissingVariable as missing:
        return Checked((*problems, f"{missing.name}: nothing provides this variable"), unknown, None)
    except RenderError as error:
        return Checked((*problems, error.reason), unknown, None)
    if isinstance(sample, WhatsAppContent):
        problems += media_problems(sample.media)
    return Checked((*problems, *(too_long(sample) or _too_long_in_other_letters(text, given, track))), unknown, sample)


def _too_long_in_other_letters(text: Text, given: Mapping[str, object], track: str) -> list[str]:
    """Return by what an SMS exceeds its length where a customer's name has letters that GSM-7 has not.

    One of them turns the whole message into UCS-2, of which less than half fits into a segment.
    """
    traits = [name for name in text.variables if name.startswith("customer.") and "[" not in name]
    if text.channel is not Channel.SMS or not traits:
        return []
    try:
        content = text.render({**given, **_values(traits, "Ж")}, track=lambda _: track, footer=None)
    except RenderError:
        return []
    return [f"{excess}, for a customer whose data have letters beyond GSM-7" for excess in too_long(content)]


def _is_known(name: str, known: Collection[str]) -> bool:
    """Whether a variable, or what it is a part of, is among some."""
    return name in WHOLE or any(name == each or name.startswith((f"{each}.", f"{each}[")) for each in known)


def _untracked(text: Text) -> list[str]:
    """Return the addresses that phones and mail programs make links of, and we do not: nobody sees who follows them."""
    if text.channel not in READ_AS_LINKS:
        return []
    found = BARE_ADDRESS.findall(MARKDOWN_LINK.sub("", text.file.words))
    return [
        f"body: {address.rstrip(AFTER_URL)} is no link that is tracked; begin it with https://" for address in found
    ]


def _values(names: Iterable[str], value: str = "17") -> Mapping[str, object]:
    """Give every variable a value; by default a number, which also works where one is reckoned with."""
    values: dict[str, object] = {}
    given = list(names)
    for name in given:
        if any(other.startswith(f"{name}.") for other in given):
            continue  # What has parts, such as an offer, is given by them.
        *path, last = name.split(".")
        place = values
        for part in path:
            inner = place.setdefault(part, {})
            assert isinstance(inner, dict)
            place = inner
        place[last] = value
    return values
