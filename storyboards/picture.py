"""Draws a journey's story as an SVG picture: side by side for wide screens, one below the other for narrow ones."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from html import escape
from pathlib import Path

from domain.messages import Channel, Draft, MessageClass
from domain.segments import SegmentLeft
from storyboards.rehearsal import End, Kind, goes_by_silence
from storyboards.story import Fork, Over, Part, Sent, Storyboard, Waits, Way
from storyboards.ways import in_words
from workflows.audience import OfSegment, takes_in
from workflows.bot import Bot, Patience
from workflows.declaration import Declaration, Rule

Headline = Callable[[Draft], str | None]
"""Returns how a message begins, if that is known."""

LABELS = {
    Channel.EMAIL: "Email",
    Channel.SMS: "SMS",
    Channel.WHATSAPP: "WhatsApp",
    Channel.PUSH: "Push",
    Channel.WEB_PUSH: "Web push",
    Channel.CALL: "Call",
    Channel.INBOX: "Inbox",
    Channel.POPUP: "Pop-up",
    Channel.BANNER: "Banner",
}

# Drawn on 16 by 16.
ICONS = {
    Channel.EMAIL: "M2 4h12v8.5H2zM2 4.5l6 4.5 6-4.5",
    Channel.SMS: "M2.5 3h11v8H7l-3 2.6V11H2.5z",
    Channel.WHATSAPP: "M8 2.2a5.8 5.8 0 1 1-3 10.8L2.4 13.7l.8-2.5A5.8 5.8 0 0 1 8 2.2zM5.6 8l1.7 1.7 3.2-3.4",
    Channel.PUSH: "M4 11.2V7.4a4 4 0 0 1 8 0v3.8l1.2 1.2H2.8zM6.6 14h2.8",
    Channel.WEB_PUSH: "M2 3h12v10H2zM2 5.5h12M10.5 8v2.5M9.2 10.5h2.6",
    Channel.CALL: "M4.2 2.4l2 3-1.2 1.5a8 8 0 0 0 4.1 4.1l1.5-1.2 3 2-.8 2.2C7.6 14.4 1.6 8.4 2 3.2z",
    Channel.INBOX: "M2 9.5 4 3h8l2 6.5V13H2zM2 9.5h3.5l1 1.7h3l1-1.7H14",
    Channel.POPUP: "M2 3h12v10H2zM5 6h6v4H5z",
    Channel.BANNER: "M2 3h12v10H2zM4 5h8v2.5H4z",
}
CLOCK = "M8 2.2a5.8 5.8 0 1 1 0 11.6A5.8 5.8 0 0 1 8 2.2zM8 5v3.2l2.2 1.4"
QUIET = "M12.9 9.6A5.5 5.5 0 0 1 6.4 3a5.5 5.5 0 1 0 6.5 6.6zM10 3h3L10 6.4h3"
HEARING = "M4.5 2.5h7M4.5 13.5h7M5.3 2.5v2.2L8 8l2.7-3.3V2.5M5.3 13.5v-2.2L8 8l2.7 3.3v2.2"
FLAG = "M4 14V2.5h8L10.2 5.3 12 8H4"
DOOR = "M9.5 3H3v10h6.5M7 8h7M11.3 5.3 14 8l-2.7 2.7"
ROUND = "M13 8a5 5 0 1 1-1.6-3.7M13.2 2v2.8h-2.8"
ONWARD = "M2 8h11M9.5 4.5 13 8l-3.5 3.5"
BEGIN = "M5 3.2 12.5 8 5 12.8z"
STOPS = "M8 2.5 14.5 13.5h-13zM8 6.5v3.2M8 11.4v.6"

STYLE = (Path(__file__).parent / "picture.css").read_text(encoding="utf-8")
"""What a page brings that holds pictures: light and dark."""

BOX = 232
NARROW = 340
PAD = 12
GAP = 22
"""Between one thing and the next; an arrow is drawn in it."""
APART = 26
"""Between ways side by side."""
BEND = 10
INDENT = 14
AXIS = 22
"""Where the line of a narrow picture runs, from the left of what it joins."""


@dataclass(frozen=True)
class _Block:
    """A part of the picture.

    Attributes:
        axis: Where, from its left, the line comes in and goes on.
        ends: Whether nothing goes on from it.
        pointed: Whether the line to it ends in an arrow.
    """

    width: float
    height: float
    axis: float
    svg: str
    ends: bool = False
    pointed: bool = True


def draw(board: Storyboard, *, narrow: bool = False, headline: Headline = lambda _: None, alone: bool = False) -> str:
    """Return a picture of a story as an SVG element.

    Args:
        narrow: Ways one below the other, for a screen of 360 pixels.
        headline: How messages begin.
        alone: With its title and colours, to be a file of its own; else the page brings `STYLE`.
    """
    declaration = board.declaration
    talks = issubclass(declaration.workflow, Bot)
    painter = _Narrow(headline, talks=talks) if narrow else _Wide(headline, talks=talks)
    flow = painter.series([painter.start(declaration), *map(painter.part, board.parts)])
    width = max(flow.width, NARROW)
    above = [painter.title(declaration, width)] if alone else []
    if moments := painter.moments(declaration, width):
        above.append(moments)
    below = [painter.silent(board)] if board.silent else []
    below += [painter.missed(each.source, each.code, width) for each in board.missed]
    left = 0 if narrow else (width - flow.width) / 2
    svg, y = "", 0.0
    for block, x in [*((each, 0.0) for each in above), (flow, left), *((each, 0.0) for each in below)]:
        svg += _at(x, y, block.svg)
        y += block.height + GAP
    margin = 2 if not alone else 24
    total, height = width + 2 * margin, y - GAP + 2 * margin
    style, name = (f"<style>{STYLE}</style>", "journey alone") if alone else ("", "journey")
    label = escape(f"{declaration.name}: {declaration.story}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{name}" role="img" aria-label="{label}" '
        f'width="{total:g}" height="{height:g}" viewBox="0 0 {total:g} {height:g}">'
        f"{style}{_at(margin, margin, svg)}</svg>"
    )


class _Painter:
    """Draws the parts of a story; how ways lie beside each other is left to its two kinds."""

    def __init__(self, headline: Headline, box: float = BOX, *, talks: bool = False) -> None:
        self._headline = headline
        self.box = box
        # Of a bot it is told once that what it says are answers.
        self.talks = talks

    # The parts.

    def part(self, part: Part) -> _Block:
        """Draw any part."""
        match part:
            case Sent():
                return self.sent(part)
            case Waits():
                return self.waits(part)
            case Over():
                return self.over(part)
            case Fork(ways):
                return self.fork(ways)

    def sent(self, sent: Sent) -> _Block:
        """Draw messages that go out at once."""
        inside = self.box - 2 * PAD
        texts = dict.fromkeys(draft.template for draft in sent.drafts)
        svg = _text(self.box - PAD, PAD + 11, str(sent.number), "number")
        y: float = PAD
        for template in texts:
            drafts = [draft for draft in sent.drafts if draft.template == template]
            name = in_words(template.split("/")[-1])
            svg, y = _stacked(svg, y, _wrapped(name, inside - 20, 2), PAD, "strong", 17)
            if words := next(filter(None, map(self._headline, drafts)), None):
                svg, y = _stacked(svg, y + 1, _wrapped(f"“{words}”", inside, 2, 12), PAD, "soft", 15)
            svg, y = self._chips(drafts, svg, y + 6, inside)
            for note in dict.fromkeys(note for draft in drafts for note in _notes(draft, self.talks)):
                svg, y = _stacked(svg, y, _wrapped(note, inside, 2, 12), PAD, "soft", 15)
            y += 8
        title = "; ".join(f"{draft.channel}: {draft.template}" for draft in sent.drafts)
        return self._card("sent", title, svg, y + PAD - 8)

    def _chips(self, drafts: Sequence[Draft], svg: str, y: float, inside: float) -> tuple[str, float]:
        x = 0.0
        for draft in drafts:
            label = LABELS[draft.channel]
            width = 28 + _width(label, 12)
            if x and x + width > inside:
                x, y = 0.0, y + 27
            chip = (
                f'<g class="{draft.channel}"><rect class="chip" width="{width:g}" height="22" rx="11"/>'
                f"{_at(6, 3, _icon(ICONS[draft.channel]))}{_text(25, 15.5, label, 'small')}</g>"
            )
            svg += _at(PAD + x, y, chip)
            x += width + 6
        return svg, y + 26

    def waits(self, waits: Waits) -> _Block:
        """Draw a pause, on the line."""
        icon = {Kind.TIME: CLOCK, Kind.QUIET: QUIET}.get(waits.pause.kind, HEARING)
        return self._pill("waits", waiting(waits), icon)

    def over(self, over: Over) -> _Block:
        """Draw an end."""
        match over.end:
            case End.FINISHED:
                block = self._pill("over", "Over", DOOR)
            case End.AGAIN:
                block = self._pill("over", f"Again from {over.back}" if over.back else "Waits again", ROUND)
            case End.ON:
                block = self._pill("over", f"Goes on with {over.back}", ONWARD)
            case End.CUT:
                block = self._pill("over", "… and so on", ROUND)
            case End.BROKEN:
                lines = _wrapped(f"Fails here: {over.told}", self.box - 2 * PAD - 20, 6)
                block = self._noted("over bad", over.told, lines, STOPS)
        return replace(block, ends=True, pointed=True)

    def start(self, declaration: Declaration) -> _Block:
        """Draw what begins the journey."""
        inside = self.box - 2 * PAD
        svg, y = _at(PAD, PAD, _icon(BEGIN)), float(PAD)
        for each in starting(declaration):
            svg, y = _stacked(svg, y, _wrapped(each, inside - 22, 3), PAD + 22, "strong", 17)
        for each in terms(declaration):
            svg, y = _stacked(svg, y + 2, _wrapped(each, inside - 22, 3, 12), PAD + 22, "soft", 15)
        return self._card("start good", " or ".join(starting(declaration)), svg, y + PAD - 2)

    def silent(self, board: Storyboard) -> _Block:
        """Draw what a bot does about who leaves the talk, as a story beside it."""
        begins = self._pill("waits", silence(board.declaration), HEARING)
        return self.series([begins, *map(self.part, board.silent)])

    def moments(self, declaration: Declaration, width: float) -> _Block | None:
        """Draw what counts at any moment: goals, exits, restarts."""
        rows = at_any_moment(declaration)
        if not rows:
            return None
        svg, y = "", float(PAD)
        for name, words in rows:
            icon = FLAG if name.startswith("Goal") else ROUND if name.startswith("Begins") else DOOR
            mark = _icon(icon, "icon goal" if icon is FLAG else "icon")
            svg += _at(PAD, y, mark)
            svg, y = _stacked(svg, y, _wrapped(f"{name}: {words}", width - 2 * PAD - 24, 4), PAD + 24, "", 18)
            y += 4
        height = y + PAD - 4
        card = f'<rect class="card" width="{width:g}" height="{height:g}" rx="12"/>'
        title = "; ".join(f"{name}: {words}" for name, words in rows)
        return _Block(width, height, 0, _group("moment", title, card + svg))

    def missed(self, source: str, code: str, width: float) -> _Block:
        """Draw what no rehearsal came to."""
        told = f"No rehearsal came here: {code}"
        svg, y = _stacked("", PAD, _wrapped(told, width - 2 * PAD, 3), PAD, "", 17)
        svg, y = _stacked(svg, y, _wrapped(source, width - 2 * PAD, 2, 12), PAD, "soft", 15)
        card = f'<rect class="card" width="{width:g}" height="{y + PAD:g}" rx="10"/>'
        return _Block(width, y + PAD, 0, _group("missed", f"{source}: {code}", card + svg))

    def title(self, declaration: Declaration, width: float) -> _Block:
        """Draw the journey's name, for a picture that stands alone."""
        svg, y = _stacked("", 0, [declaration.name], 0, "name", 26)
        svg, y = _stacked(svg, y, _wrapped(declaration.story, width, 3), 0, "soft", 17)
        return _Block(width, y, 0, svg)

    # Their shapes.

    def _card(self, name: str, title: str, svg: str, height: float) -> _Block:
        card = f'<rect class="card" width="{self.box:g}" height="{height:g}" rx="10"/>'
        return _Block(self.box, height, self._axis(self.box), _group(name, title, card + svg))

    def _noted(self, name: str, title: str, lines: list[str], icon: str) -> _Block:
        svg, y = _stacked(_at(PAD, PAD, _icon(icon)), PAD, lines, PAD + 22, "", 17)
        return self._card(name, title, svg, y + PAD)

    def _pill(self, name: str, words: str, icon: str) -> _Block:
        lines = _wrapped(words, self.box - 46, 3)
        width = 40 + max(_width(line) for line in lines)
        height = 12 + 17 * len(lines)
        svg = f'<rect class="pill" width="{width:g}" height="{height:g}" rx="14"/>' + _at(10, 6.5, _icon(icon))
        svg, _ = _stacked(svg, 6, lines, 30, "", 17)
        return _Block(width, height, self._axis(width), _group(name, words, svg), pointed=False)

    def _tag(self, words: str) -> _Block:
        lines = _wrapped(words, self.box - 24, 3, 12)
        width = max(_width(line, 12) for line in lines) * 1.12 + 20
        height = 8 + 16 * len(lines)
        svg = f'<rect class="tag" width="{width:g}" height="{height:g}" rx="6"/>'
        svg, _ = _stacked(svg, 4, lines, 10, "words", 16)
        return _Block(width, height, self._axis(width), svg, pointed=False)

    def _way(self, way: Way) -> _Block:
        """Draw one way of a fork, with its words above it."""
        blocks = [self._tag(way.words)] if way.words else []
        return self.series([*blocks, *map(self.part, way.parts)])

    def series(self, blocks: Sequence[_Block]) -> _Block:
        """Draw one thing after the other, along one line."""
        if not blocks:
            return _Block(0, 0, 0, "")
        left = max(block.axis for block in blocks)
        right = max(block.width - block.axis for block in blocks)
        svg, y = "", 0.0
        for before, block in zip([None, *blocks], blocks, strict=False):
            if before is not None:
                svg += _line(left, y, y + GAP, pointed=block.pointed)
                y += GAP
            svg += _at(left - block.axis, y, block.svg)
            y += block.height
        return _Block(left + right, y, left, svg, ends=blocks[-1].ends, pointed=blocks[0].pointed)

    def _axis(self, width: float) -> float:
        raise NotImplementedError

    def fork(self, ways: Sequence[Way]) -> _Block:
        """Draw ways that part and meet again."""
        raise NotImplementedError


class _Wide(_Painter):
    """Ways lie side by side."""

    def _axis(self, width: float) -> float:
        return width / 2

    def fork(self, ways: Sequence[Way]) -> _Block:
        arms = [self._way(way) for way in ways]
        places, x = [], 0.0
        for arm in arms:
            places.append(x)
            x += max(arm.width, 40) + APART
        width = x - APART
        lines = [place + (arm.axis or 20) for place, arm in zip(places, arms, strict=True)]
        axis = (lines[0] + lines[-1]) / 2
        top, height = 2 * BEND, max(arm.height for arm in arms)
        foot = top + GAP / 2 + height + 3 * BEND
        going = [line for line, arm in zip(lines, arms, strict=True) if not arm.ends]
        svg = ""
        for arm, place, line, way in zip(arms, places, lines, ways, strict=True):
            drawn = _bent(axis, 0, line, top + GAP / 2, BEND)
            drawn += _at(place, top + GAP / 2, arm.svg)
            if not arm.ends:
                drawn += _bent(line, top + GAP / 2 + arm.height, axis, foot, BEND, late=True)
            svg += _group("way", way.words, drawn)
        bottom = foot if going else top + GAP / 2 + height
        return _Block(width, bottom, axis, _group("fork", "", svg), ends=not going, pointed=False)


class _Narrow(_Painter):
    """Ways lie one below the other, each to the right of the line they leave."""

    def __init__(self, headline: Headline, box: float = NARROW, *, talks: bool = False) -> None:
        super().__init__(headline, box, talks=talks)

    def _axis(self, width: float) -> float:
        return min(AXIS, width / 2)

    def fork(self, ways: Sequence[Way]) -> _Block:
        inner = _Narrow(self._headline, self.box - AXIS - INDENT, talks=self.talks)
        arms = [inner._way(way) for way in ways]
        svg, y, begins = "", 0.0, 0.0
        for arm, way in zip(arms, ways, strict=True):
            begins = y + BEND
            drawn = _elbow(AXIS, y, AXIS + INDENT, begins + 12)
            drawn += _at(AXIS + INDENT, begins, arm.svg)
            y = begins + arm.height
            if not arm.ends:
                drawn += _return(AXIS + INDENT + arm.axis, y, AXIS, y + BEND)
                y += BEND
            svg += _group("way", way.words, drawn)
        ends = all(arm.ends for arm in arms)
        rail = f'<path class="line" d="M{AXIS} 0V{begins if ends else y + BEND:g}"/>'
        width = AXIS + INDENT + max(arm.width for arm in arms)
        return _Block(width, y + BEND, AXIS, _group("fork", "", rail + svg), ends=ends, pointed=False)


# Words.


def starting(declaration: Declaration) -> list[str]:
    """Return what begins a journey, in words."""
    return [_rule(rule) for rule in takes_in(declaration)] or ["takes nobody in any more"]


def terms(declaration: Declaration) -> list[str]:
    """Return how often a customer may be in a journey, in words."""
    told = [f"once per {in_words(declaration.key)}" if declaration.key else "once per customer at a time"]
    if declaration.reenter_after:
        told.append(f"again after {duration(declaration.reenter_after)} at the earliest")
    if issubclass(declaration.workflow, Bot):
        told.append("what it says are answers: they pass quiet hours and caps")
    return told


def at_any_moment(declaration: Declaration) -> list[tuple[str, str]]:
    """Return what counts wherever a journey is: what it does, and by which events."""
    talks = issubclass(declaration.workflow, Bot)
    told = [
        ("Goal, at any moment", [_rule(rule) for rule in declaration.ends_on]),
        ("Leaves it, at any moment", [_rule(rule) for rule in declaration.exits_on]),
        (
            "Begins again" if talks else "Begins again, without repeating a message",
            [in_words(each.event_name) for each in declaration.restarts_on],
        ),
    ]
    if talks:
        told.append(("Handed over to an operator", ["asks for one", "writes words again after a hint"]))
        if not goes_by_silence(declaration):
            told.append(("Over", [silence(declaration)]))
    return [(what, " or ".join(words)) for what, words in told if words]


def silence(declaration: Declaration) -> str:
    """Say after how long a bot's customer has left the talk."""
    assert isinstance(declaration.parameters, Patience)
    return f"no button for {duration(declaration.parameters.silent_after)}, whatever was asked"


def _rule(rule: Rule) -> str:
    if isinstance(rule, OfSegment):
        verb = "leaves" if rule.event is SegmentLeft else "enters"
        return f"{verb} the segment “{rule.segment}”"
    words, conditions = in_words(rule.event.event_name), ", ".join(_conditions(rule))
    return f"{words} ({conditions})" if conditions else words


def _conditions(rule: Rule) -> Iterable[str]:
    if rule.when is not None:
        name = getattr(rule.when, "__name__", "")
        yield in_words(name) if name.isidentifier() else "on a condition"
    if rule.if_done is not None:
        yield f"only after {in_words(rule.if_done.event_name)}"
    if rule.unless_done is rule.event:
        yield "for the first time"
    elif rule.unless_done is not None:
        yield f"never before {in_words(rule.unless_done.event_name)}"


def waiting(waits: Waits) -> str:
    """Say a pause in words."""
    long = f"a time that depends: {in_words(waits.depends)}" if waits.depends else duration(waits.long)
    match waits.pause.kind:
        case Kind.TIME:
            return long
        case Kind.QUIET:
            return f"{long} of quiet"
        case Kind.EVENT:
            return f"up to {long} for {' or '.join(map(in_words, waits.pause.what))}"
        case Kind.ANSWER:
            return f"up to {long} for an answer"
        case Kind.BUTTON:
            return f"up to {long} for a button"
        case Kind.STATUS:
            return f"up to {long} until {waits.pause.what[0]}"


def _notes(draft: Draft, talks: bool) -> Iterable[str]:
    if draft.message_class is MessageClass.TRANSACTIONAL and not talks:
        yield "transactional: passes quiet hours and caps"
    if draft.useful_for:
        yield f"not sent more than {duration(draft.useful_for)} late"
    if draft.edition:
        yield "with the month's own text"


def duration(given: timedelta) -> str:
    """Say a duration in its two largest units: "2 days 12 hours"."""
    seconds, told = int(given.total_seconds()), []
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count, seconds = divmod(seconds, size)
        if count:
            told.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " ".join(told[:2]) or "no time"


# Shapes.


def _at(x: float, y: float, svg: str) -> str:
    return f'<g transform="translate({x:g} {y:g})">{svg}</g>' if x or y else svg


def _group(name: str, title: str, svg: str) -> str:
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<g class="{name}">{told}{svg}</g>'


def _text(x: float, y: float, words: str, name: str) -> str:
    style = f' class="{name}"' if name else ""
    return f'<text x="{x:g}" y="{y:g}"{style}>{escape(words)}</text>'


def _icon(path: str, name: str = "icon") -> str:
    return f'<path class="{name}" d="{path}"/>'


def _stacked(svg: str, y: float, lines: list[str], x: float, name: str, step: float) -> tuple[str, float]:
    for line in lines:
        svg += _text(x, y + step * 0.75, line, name)
        y += step
    return svg, y


def _line(x: float, top: float, bottom: float, *, pointed: bool) -> str:
    head = f'<path class="head" d="M{x - 4:g} {bottom - 7:g}h8l-4 7z"/>' if pointed else ""
    return f'<path class="line" d="M{x:g} {top:g}V{bottom - (5 if pointed else 0):g}"/>{head}'


def _bent(x: float, y: float, to_x: float, to_y: float, bend: float, *, late: bool = False) -> str:
    """A line down, across, and down again."""
    if abs(to_x - x) < 2:
        return f'<path class="line" d="M{x:g} {y:g}V{to_y:g}"/>'
    across = to_y - bend if late else y + bend
    side = min(bend, abs(to_x - x) / 2) * (1 if to_x > x else -1)
    return (
        f'<path class="line" d="M{x:g} {y:g}V{across - bend:g}Q{x:g} {across:g} {x + side:g} {across:g}'
        f'H{to_x - side:g}Q{to_x:g} {across:g} {to_x:g} {across + bend:g}V{to_y:g}"/>'
    )


def _elbow(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path class="line" d="M{x:g} {y:g}V{to_y - 8:g}Q{x:g} {to_y:g} {x + 8:g} {to_y:g}H{to_x:g}"/>'


def _return(x: float, y: float, to_x: float, to_y: float) -> str:
    head = f'<path class="head" d="M{to_x + 7:g} {to_y - 4:g}v8l-7-4z"/>'
    return f'<path class="line" d="M{x:g} {y:g}V{to_y:g}H{to_x + 5:g}"/>{head}'


_SLIM, _BROAD = set("iljtfrI.,:;'|!()[]‘’ /-"), set("mwMWжшщюмфЖШЩЮМФЫы@%…")


def _width(words: str, size: float = 13) -> float:
    """How wide words are, near enough: every machine has its own letters."""
    return size * sum(
        0.38 if each in _SLIM else 0.94 if each in _BROAD else 0.72 if each.isupper() else 0.61 for each in words
    )


def _wrapped(words: str, width: float, most: int, size: float = 13) -> list[str]:
    """Break words into lines that fit; what does not is cut, visibly."""
    lines = [""]
    for word in words.split():
        while _width(word, size) > width:
            # A long path breaks where it must.
            cut = next(i for i in range(len(word), 0, -1) if i == 1 or _width(word[:i], size) <= width)
            lines, word = [*lines, word[:cut]] if lines[-1] else [*lines[:-1], word[:cut]], word[cut:]
            lines.append("")
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    lines = [line for line in lines if line]
    return lines[:most] if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1].rstrip('.,;: ”')} …"]
