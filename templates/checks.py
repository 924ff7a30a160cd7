"""Whether a new version of a text can be sent: its variables exist, its links are links, it is not too long."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from domain.messages import Channel, Content, WhatsAppContent
from templates.files import SESSION
from templates.letter import Footer
from templates.limits import too_long
from templates.renderer import MissingVariable, RenderError, Text
from templates.whatsapp import NoTemplate, form_of, media_problems

_FOOTER = Footer("Example Street 1", "https://example.com/u", "https://example.com/p")
LONGEST_TRACKED = "https://example.com/r/" + "x" * 60
"""Stands for a tracked link, as long as real ones."""


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        problems: Why it cannot be published, each with its rule.
        sample: It, with a value for every variable; None if it cannot be written.
    """

    problems: tuple[str, ...]
    sample: Content | None


def check(text: Text, provided: Iterable[str], *, company: str, site: str, track: str = LONGEST_TRACKED) -> Checked:
    """Write a text with a value for every variable that something provides, and look at it.

    Args:
        provided: Names of variables that will have values, such as ``event.application_id``.
        track: Stands for each tracked link.
    """
    given = {**_values(provided), "company": company, "site": site}
    problems = [] if text.channel is not Channel.WHATSAPP or text.category else ["category: is required for whatsapp"]
    if text.channel is Channel.WHATSAPP and text.category not in (None, SESSION):
        try:
            form_of(text, company=company, site=site)
        except NoTemplate as refused:
            return Checked(tuple(refused.problems), None)
    try:
        sample = text.render(given, track=lambda _: track, footer=_FOOTER)
    except MissingVariable as missing:
        return Checked((*problems, f"{missing.name}: nothing provides this variable"), None)
    except RenderError as error:
        return Checked((*problems, error.reason), None)
    if isinstance(sample, WhatsAppContent):
        problems += media_problems(sample.media)
    return Checked((*problems, *too_long(sample)), sample)


def _values(names: Iterable[str]) -> Mapping[str, object]:
    """Give every variable a value: a number, which also works where one is reckoned with."""
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
        place[last] = "17"
    return values
