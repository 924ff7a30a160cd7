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
from templates.renderer import RenderError, Text


def headline(text: Text, *, company: str, site: str) -> str:
    """Return the first line a customer reads, or hears, of whom nothing is known; "" if that cannot be written."""
    for value in ("…", "17"):
        with suppress(RenderError):
            given = {**_values(text.variables, value), "company": company, "site": site}
            return _first(text.render(given, track=lambda _: f"{site}/…", footer=None))
    return ""


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
