"""The file of a text: a header between two lines ``---``, then the body."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from liquid import BoundTemplate

from domain.messages import Channel, Surface
from templates.language import Broken, parse

FENCE = "---"

REQUIRED: Mapping[Channel, frozenset[str]] = {
    Channel.EMAIL: frozenset({"subject"}),
    Channel.PUSH: frozenset({"title"}),
    Channel.WEB_PUSH: frozenset({"title"}),
    Channel.INBOX: frozenset({"title"}),
    Channel.POPUP: frozenset({"title"}),
    Channel.BANNER: frozenset({"title"}),
    Channel.CALL: frozenset({"topic"}),
    Channel.WHATSAPP: frozenset(),
    Channel.SMS: frozenset(),
}
OPTIONAL: Mapping[Channel, frozenset[str]] = {
    Channel.PUSH: frozenset({"link"}),
    Channel.WEB_PUSH: frozenset({"link"}),
    Channel.CALL: frozenset({"spoken"}),
    Channel.INBOX: frozenset({"link"}),
    Channel.POPUP: frozenset({"link", "button", "surface"}),
    Channel.BANNER: frozenset({"link", "button", "surface"}),
    Channel.WHATSAPP: frozenset({"button", "category", "media"}),
}
SESSION = "session"
"""Of a WhatsApp text that only answers a customer who has just written: it never becomes a template."""
CATEGORIES = ("marketing", "utility", "authentication", SESSION)
"""WhatsApp's categories of templates (twilio.com/docs/content/overview), and what needs none."""


@dataclass(frozen=True)
class TextFile:
    """A file as its author wrote it, parsed.

    Attributes:
        header: Fields by name.
        buttons: Ids and titles, in order.
        category: WhatsApp's, if it is told.
        surface: Where alone a pop-up or banner is shown, if that is told.
        words: The body as it was written.
    """

    header: Mapping[str, BoundTemplate]
    buttons: tuple[tuple[str, BoundTemplate], ...]
    body: BoundTemplate
    category: str | None = None
    surface: Surface | None = None
    words: str = ""

    @property
    def templates(self) -> list[BoundTemplate]:
        """Every part that holds Liquid."""
        return [*self.header.values(), *(title for _, title in self.buttons), self.body]


def extension(channel: Channel) -> str:
    """Return how a channel's files end: email is Markdown, everything else plain text."""
    return "md" if channel is Channel.EMAIL else "txt"


def parse_file(source: str, channel: Channel) -> TextFile:
    """Parse a file.

    Raises:
        Broken: With the line and the rule.
    """
    lines = source.splitlines()
    head: list[str] = []
    if lines and lines[0] == FENCE:
        if FENCE not in lines[1:]:
            raise Broken(1, f"the header has no closing line {FENCE}")
        head = lines[1 : lines.index(FENCE, 1)]
    begin = len(head) + 2 if head or lines[:1] == [FENCE] else 0
    body = "\n".join(lines[begin:])
    if not body.strip():
        raise Broken(max(len(lines), 1), "there is no body")
    return replace(_parse_header(head, channel, parse(body, line=begin + 1)), words=body)


def _parse_header(lines: list[str], channel: Channel, body: BoundTemplate) -> TextFile:
    allowed = REQUIRED[channel] | OPTIONAL.get(channel, frozenset())
    header: dict[str, BoundTemplate] = {}
    buttons: dict[str, BoundTemplate] = {}
    category, surface = None, None
    for number, line in enumerate(lines, 2):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not value:
            raise Broken(number, "a header line is written as name: value")
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise Broken(number, f"unknown header field {name!r}, {channel} has: {known}")
        if name in header:
            raise Broken(number, f"header field {name!r} is there twice")
        if name == "button" and channel is Channel.WHATSAPP:
            button, bar, title = (part.strip() for part in value.partition("|"))
            if not button or not bar or not title or button in buttons:
                raise Broken(number, "a button is written as its own id | title")
            buttons[button] = parse(title, line=number)
        elif name == "category":
            if value not in CATEGORIES or category is not None:
                raise Broken(number, f"a category is one of {', '.join(CATEGORIES)}, once")
            category = value
        elif name == "surface":
            if value not in [*Surface] or surface is not None:
                raise Broken(number, f"a surface is one of {', '.join(Surface)}, once")
            surface = Surface(value)
        else:
            header[name] = parse(value, line=number)
    if absent := REQUIRED[channel] - set(header):
        raise Broken(1, f"header field {min(absent)!r} is missing")
    if "button" in header and "link" not in header:
        raise Broken(1, "header field 'button' names what 'link' leads to, which is missing")
    return TextFile(header, tuple(buttons.items()), body, category, surface)
