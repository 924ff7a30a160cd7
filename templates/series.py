"""A series: many short texts in one file, for a chain so long that a file for each would be read by nobody.

``group/series.locale.md`` holds a header for all of them and one part for each text, which is then found as
``group/name`` like any other, by email and push, and by SMS where it has a line for that:

    ---
    link: {{ site }}/registration
    button: Go on with the registration
    closing: *Borrow only what you can comfortably repay.*
    ---
    === at_hand
    What to have at hand
    Your passport and two minutes: that is all this step needs.
    The page tells which fields are meant by which lines of the passport.
    sms: {{ company }}: your registration waits at the passport: {{ site }}/registration

After the name a part has its title (subject of the letter), the words a push has room for (and the letter begins
with), and the rest of the letter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from domain.messages import Channel
from templates.language import Broken

FENCE, PART, SMS = "---", "=== ", "sms: "

HEADER = ("link", "button", "closing")

SHORT = (Channel.PUSH, Channel.WEB_PUSH)
"""Channels that get the title, the first words and the link."""


@dataclass(frozen=True)
class Part:
    """One text of a series in one channel.

    Attributes:
        source: As a file of this channel is written.
        line: Where the part begins in the series.
    """

    name: str
    channel: Channel
    source: str
    line: int


def parse_series(source: str) -> Iterator[Part]:
    """Return every text of a series, by channel.

    Raises:
        Broken: With the line and the rule.
    """
    lines = source.splitlines()
    header = _header(lines)
    begins = [number for number, line in enumerate(lines) if line.startswith(PART)]
    if not begins:
        raise Broken(len(lines) or 1, f"there is no text; each begins with a line {PART}name")
    names: set[str] = set()
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        name = lines[begin].removeprefix(PART).strip()
        if name in names or not name:
            raise Broken(begin + 1, f"a text {name!r} is there twice" if name else "a text has a name")
        names.add(name)
        yield from _part(name, begin + 1, [line for line in lines[begin + 1 : end] if line.strip()], header)


def _header(lines: list[str]) -> Mapping[str, str]:
    if not lines or lines[0] != FENCE or FENCE not in lines[1:]:
        raise Broken(1, f"a series begins with a header between two lines {FENCE}")
    header: dict[str, str] = {}
    for number, line in enumerate(lines[1 : lines.index(FENCE, 1)], 2):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not value or name not in HEADER or name in header:
            raise Broken(number, f"a header line is written as name: value, with the names {', '.join(HEADER)}, once")
        header[name] = value
    if absent := set(HEADER) - set(header):
        raise Broken(1, f"header field {min(absent)!r} is missing")
    return header


def _part(name: str, line: int, words: list[str], header: Mapping[str, str]) -> Iterator[Part]:
    if words and words[-1].startswith(SMS):
        yield Part(name, Channel.SMS, words.pop().removeprefix(SMS), line)
    if len(words) < 3:
        raise Broken(line, f"{name} needs a title, the words a push has room for, and the rest of the letter")
    title, first, *rest = words
    for channel in SHORT:
        yield Part(name, channel, f"{FENCE}\ntitle: {title}\nlink: {header['link']}\n{FENCE}\n{first}", line)
    body = [f"# {title}", first, *rest, f"[{header['button']}]({header['link']})", header["closing"]]
    yield Part(name, Channel.EMAIL, f"{FENCE}\nsubject: {title}\n{FENCE}\n" + "\n\n".join(body), line)
