"""How a message begins, for whoever looks at a journey and not at one customer."""

from contextlib import suppress

from domain.messages import (
    BannerContent,
    CallContent,
    Content,
    EmailContent,
    InboxContent,
    PopupContent,
    PushContent,
    WebPushContent,
)
from templates.checks import LONGEST_TRACKED
from templates.renderer import RenderError, Text


def headline(text: Text, *, company: str, site: str) -> str:
    """Return the first line a customer reads, or hears, of whom nothing is known; "" if that cannot be written."""
    content = example(text, company=company, site=site, track=f"{site}/…")
    return _first(content) if content else ""


def example(text: Text, *, company: str, site: str, track: str = LONGEST_TRACKED) -> Content | None:
    """Return a text as it is written for somebody of whom nothing is known; None if that cannot be done.

    Args:
        track: Stands for each tracked link; as long as real ones, where it matters how long the text is.
    """
    for value in ("…", "17"):
        with suppress(RenderError):
            given = {**_values(text.variables, value), "company": company, "site": site}
            return text.render(given, track=lambda _: track, footer=None)
    return None


def _values(names: set[str], value: str) -> dict[str, object]:
    """Give what is told of everything but the customer a value that stands for any."""
    values: dict[str, object] = {"customer": {}}
    for name in names:
        root, *path = name.split(".")
        if root != "customer" and path:
            place = values.setdefault(root, {})
            assert isinstance(place, dict)
            place[path[-1]] = value
    return values


def _first(content: Content) -> str:
    match content:
        case EmailContent():
            return content.subject
        case PushContent() | WebPushContent() | InboxContent() | PopupContent() | BannerContent():
            return content.title
        case CallContent():
            return content.topic
        case _:
            return content.text.strip().split("\n")[0]
