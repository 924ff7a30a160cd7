"""A text as a template of WhatsApp's: numbered variables for its reviewers, and their values for each customer.

What the reviewers approve are fixed words with gaps, so a text that is to go out as a template is written
without conditions. Each `{{ … }}` becomes a gap; so does each whole link, because every customer gets one of
their own. The client's site and the company's name are the same for everybody and stay words.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache

from liquid import BoundTemplate
from pydantic import BaseModel

from domain.messages import ApprovedTemplate, Button, WhatsAppContent
from templates.files import SESSION
from templates.language import Broken, Missing, parse, variables, write
from templates.letter import one_line
from templates.limits import too_long
from templates.renderer import AFTER_URL, URL, MissingVariable, RenderError, Text, Track
from templates.values import NotAnAddress, SiteAddress, as_address, as_words, clean

OUTPUT = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
GAP = re.compile("\ue002([0-9]+)\ue003")
"""Where a value stands while a text is taken apart; private-use characters, which no text holds."""

CONSTANTS = frozenset({"site", "company"})
"""What is the same for everybody."""

PICTURES, VIDEOS = frozenset({"jpg", "jpeg", "png"}), frozenset({"mp4"})
"""What WhatsApp shows above a message (twilio.com/docs/whatsapp/guidance-whatsapp-media-messages)."""


class NoTemplate(ValueError):
    """A text cannot be a template of WhatsApp's; lists every problem with its rule."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Gap(BaseModel, frozen=True):
    """A variable of a template.

    Attributes:
        liquid: What fills it.
        is_link: Whether that is an address, to be tracked.
        sample: What reviewers see there.
    """

    liquid: str
    is_link: bool
    sample: str


class Form(BaseModel, frozen=True):
    """What the reviewers approve.

    Attributes:
        body: Words, with ``{{1}}``, ``{{2}}`` … for `gaps`, in order.
        media: Address of the picture or video above it.
        category: One of `templates.files.CATEGORIES`.
        language: Code of the language, ``en`` or ``pt_BR``.
    """

    body: str
    gaps: tuple[Gap, ...] = ()
    buttons: tuple[Button, ...] = ()
    media: str | None = None
    category: str
    language: str

    @property
    def version(self) -> str:
        """Changes whenever the reviewers would see something else."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def samples(self) -> dict[str, str]:
        """The sample of every variable, by number."""
        return {str(number): gap.sample for number, gap in enumerate(self.gaps, 1)}


def form_of(text: Text, *, company: str, site: str) -> Form:
    """Return a text as it is submitted.

    Raises:
        NoTemplate: It cannot be a template.
    """
    problems: list[str] = []
    if text.category in (None, SESSION):
        raise NoTemplate(["category: must be marketing, utility or authentication for a template"])
    constants = {"company": company, "site": SiteAddress(as_address(site).rstrip("/"))}
    if "{%" in text.file.words:
        problems.append("body: a template has no conditions or loops; write a text of its own for each case")
        raise NoTemplate(problems)
    marked, outputs = _marked(text.file.words.strip(), constants, problems)
    body, gaps = _numbered(marked, outputs, constants["site"])
    problems += _around_gaps(body)
    buttons = tuple(_constant(title, constants, f"button {id}", problems) for id, title in text.file.buttons)
    media = text.file.header.get("media")
    form = Form(
        body=body,
        gaps=tuple(gaps),
        buttons=tuple(Button(id=id, title=title) for (id, _), title in zip(text.file.buttons, buttons, strict=True)),
        media=_constant(media, constants, "media", problems) if media else None,
        category=str(text.category),
        language=text.locale.replace("-", "_"),
    )
    sample = WhatsAppContent(
        text=_filled(form.body, form.samples), buttons=form.buttons, media=form.media, category=form.category
    )
    problems += [*media_problems(form.media), *too_long(sample)]
    if problems:
        raise NoTemplate(problems)
    return form


def fill(text: Text, form: Form, sid: str, values: Mapping[str, object], track: Track) -> WhatsAppContent:
    """Write a message by an approved template.

    Args:
        text: The text as it is now, for what errors say.
        form: What was approved; not necessarily the text as it is now.
        sid: Twilio's id of it.

    Raises:
        MissingVariable: A variable without a default has no value.
        RenderError: A filter failed, a link is not an http(s) address, or the message is too long.
    """
    given = {name: clean(value) for name, value in values.items()}
    site = SiteAddress(as_address(str(given["site"])).rstrip("/"))
    given["site"] = site
    tracked: dict[str, str] = {}

    def value(gap: Gap) -> str:
        raw = write(_parsed(gap.liquid), given)
        if not gap.is_link:
            # Reviewed templates take no line breaks in a variable.
            return " ".join(as_words(raw).split())
        address = as_address(raw, site)
        if address not in tracked:
            tracked[address] = track(address)
        return tracked[address]

    try:
        filled = {str(number): value(gap) for number, gap in enumerate(form.gaps, 1)}
    except Missing as missing:
        raise MissingVariable(text, missing.name) from None
    except (Broken, NotAnAddress) as error:
        raise RenderError(text, str(error)) from None
    content = WhatsAppContent(
        text=_filled(form.body, filled),
        buttons=form.buttons,
        media=form.media,
        category=form.category,
        template=ApprovedTemplate.model_validate({"sid": sid, "variables": filled, "category": form.category}),
    )
    if problems := too_long(content):
        raise RenderError(text, "; ".join(problems))
    return content


def media_problems(address: str | None) -> list[str]:
    """Return why WhatsApp would not show a picture or a video, as far as its address tells."""
    if address is None:
        return []
    if not address.startswith("https://"):
        return ["media: must be an https address"]
    kind = address.split("?")[0].rsplit(".", 1)[-1].lower()
    known = sorted(PICTURES | VIDEOS)
    return [] if kind in known else [f"media: must end as a picture or a video does: {', '.join(known)}"]


_parsed = lru_cache(maxsize=1000)(parse)


def _marked(words: str, constants: Mapping[str, str], problems: list[str]) -> tuple[str, list[str]]:
    """Put the constants into a text, and a mark in the place of every other value."""
    outputs: list[str] = []

    def mark(found: re.Match[str]) -> str:
        source = "{{ " + found[2] + " }}"
        names = variables(_parsed(source))
        if names and names <= CONSTANTS:
            return as_words(write(_parsed(source), constants))
        outputs.append(source)
        return f"\ue002{len(outputs) - 1}\ue003"

    marked = OUTPUT.sub(mark, words)
    if any(found[1] or found[3] for found in OUTPUT.finditer(words)):
        problems.append("body: {{- and -}} are not for templates; write the white space as it is to be")
    return marked, outputs


def _numbered(marked: str, outputs: list[str], site: str) -> tuple[str, list[Gap]]:
    """Return the body with numbers, and what they stand for; a link is one value, whatever it is made of."""
    gaps: list[Gap] = []

    def number(liquid: str, is_link: bool, sample: str) -> str:
        gaps.append(Gap(liquid=liquid, is_link=is_link, sample=sample))
        return "{{" + str(len(gaps)) + "}}"

    def words(part: str) -> str:
        return GAP.sub(lambda found: number(outputs[int(found[1])], False, _sample(outputs[int(found[1])])), part)

    body, end = "", 0
    for found in URL.finditer(marked):
        raw = found[0].rstrip(AFTER_URL)
        liquid = GAP.sub(lambda gap: outputs[int(gap[1])], raw)
        body += words(marked[end : found.start()]) + number(liquid, True, GAP.sub("1", raw))
        end = found.start() + len(raw)
    return body + words(marked[end:]), gaps


def _sample(output: str) -> str:
    """Return what reviewers see in a gap: what it is, in words."""
    name = min(variables(_parsed(output)), default="value")
    return name.rsplit(".", 1)[-1].replace("_", " ")


def _around_gaps(body: str) -> list[str]:
    """Return which of WhatsApp's rules about variables a body breaks (twilio.com/docs/content, template guidelines)."""
    gap = r"\{\{\d+\}\}"
    problems = []
    if re.match(gap, body) or re.search(gap + r"$", body):
        problems.append(
            "body: a template neither begins nor ends with a variable or a link; put a word or a full stop there"
        )
    if re.search(rf"{gap}\s*{gap}", body):
        problems.append("body: between two variables of a template there are words")
    return problems


def _constant(template: BoundTemplate, constants: Mapping[str, str], part: str, problems: list[str]) -> str:
    if others := variables(template) - CONSTANTS:
        problems.append(f"{part}: may not change from customer to customer, so not {', '.join(sorted(others))}")
        return ""
    try:
        return one_line(write(template, constants))
    except (Missing, Broken) as error:
        problems.append(f"{part}: {error}")
        return ""


def _filled(body: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\d+)\}\}", lambda found: values[found[1]], body)
