"""The texts: read and checked at start, rendered without any input or output."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import assert_never

from liquid.exceptions import LiquidError

from domain.messages import (
    BannerContent,
    Button,
    CallContent,
    Channel,
    Content,
    InboxContent,
    PopupContent,
    PushContent,
    SmsContent,
    WebPushContent,
    WhatsAppContent,
)
from templates.files import TextFile, extension, parse_file
from templates.language import Broken, Missing, variables, write
from templates.letter import Footer, Letterhead, one_line
from templates.series import Part, parse_series
from templates.values import NotAnAddress, SiteAddress, as_address, as_words, clean, hold

__all__ = ["BadText", "BadTexts", "Footer", "MissingVariable", "RenderError", "Text", "Texts", "UnknownTemplate"]

LOCALES = ("en", "ru")
"""Languages in which the texts that ship exist; the first is that of a customer whose own is none of them."""

LETTERHEAD = "letter"
"""The folder, beside the groups, of what all emails share."""

URL = re.compile(r"https?://[^\s<>\"«»]+")
AFTER_URL = ".,;:!?)'"
"""Ends a sentence, not an address."""

Track = Callable[[str], str]


class BadTexts(ValueError):
    """The folder of texts cannot be used; lists every problem as ``file:line: rule``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BadText(ValueError):
    """A text cannot be used.

    Attributes:
        line: Where, from 1.
        rule: What is wrong there.
    """

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(f"line {line}: {rule}")
        self.line = line
        self.rule = rule


class UnknownTemplate(LookupError):
    """There is no text of this template in this channel."""


class RenderError(Exception):
    """A text cannot be rendered with these variables. Its words hold none of their values.

    Attributes:
        reason: What is wrong, with the line in the file where there is one.
    """

    def __init__(self, text: "Text", reason: str) -> None:
        super().__init__(f"{text.template}, {text.channel}, {text.locale}: {reason}")
        self.reason = reason


class MissingVariable(RenderError):
    """A variable the text needs has no value.

    Attributes:
        name: Such as ``event.application_id``.
    """

    def __init__(self, text: "Text", name: str) -> None:
        super().__init__(text, f"{name} is missing")
        self.name = name


@dataclass(frozen=True)
class Text:
    """One text: a template in one channel and language.

    Attributes:
        template: ``group/name``.
        locale: Language it is written in.
        version: Changes whenever the customer would read something else.
        source: As its author wrote it.
    """

    template: str
    channel: Channel
    locale: str
    version: str
    source: str
    file: TextFile
    letterhead: Letterhead

    @property
    def category(self) -> str | None:
        """What WhatsApp is told it is, see `templates.files.CATEGORIES`."""
        return self.file.category

    @property
    def is_spoken(self) -> bool:
        """Whether it says what a machine speaks in a call."""
        return "spoken" in self.file.header

    @property
    def variables(self) -> set[str]:
        """Names of the variables it uses, such as ``customer.first_name``."""
        return {name for template in self.file.templates for name in variables(template)}

    def render(self, values: Mapping[str, object], *, track: Track, footer: Footer | None) -> Content:
        """Write the message.

        Args:
            values: The variables by name, see `templates`. ``site`` must be an http(s) address.
            track: Returns the tracked address of a link; asked once for each different link.
            footer: For marketing email; other channels leave it out.

        Raises:
            MissingVariable: A variable without a default has no value.
            RenderError: A filter failed, a limit was met, or a link is not an http(s) address.
        """
        try:
            return _Rendering(self, values, track).content(footer)
        except Missing as missing:
            raise MissingVariable(self, missing.name) from None
        except (Broken, NotAnAddress) as error:
            raise RenderError(self, str(error)) from None


class Texts:
    """All texts of an installation, by template, channel and language."""

    def __init__(
        self, texts: Mapping[tuple[str, Channel, str], Text], letterhead: Letterhead, locales: Sequence[str]
    ) -> None:
        self._texts = texts
        self._letterhead = letterhead
        self.locales = tuple(locales)

    @staticmethod
    def load(directory: Path, locales: Sequence[str] = LOCALES) -> "Texts":
        """Read and check every text below a folder.

        Args:
            locales: Languages every text must exist in, the one to fall back on first; others are left alone.

        Raises:
            BadTexts: A file is broken, misplaced, or lacks its counterpart in another language.
        """
        return _Reader(directory, locales).read()

    def __iter__(self) -> Iterator[Text]:
        return iter(self._texts.values())

    @cached_property
    def traits(self) -> frozenset[str]:
        """The traits any text speaks of, such as ``customer.first_name``."""
        return frozenset(name for text in self for name in text.variables if name.startswith("customer."))

    def get(self, template: str, channel: Channel, language: str) -> Text | None:
        """Return the text in exactly a language, if there is one."""
        return self._texts.get((template, channel, language))

    def find(self, template: str, channel: Channel, locale: str) -> Text:
        """Return the text in the language of a locale (BCP 47), else in the first of `locales`.

        Raises:
            UnknownTemplate: There is none in either.
        """
        for written_in in self.languages(locale):
            if text := self._texts.get((template, channel, written_in)):
                return text
        raise UnknownTemplate(f"there is no text {template!r} for {channel}")

    def languages(self, locale: str) -> tuple[str, str]:
        """Return the languages in which a text is looked for, for a customer's locale (BCP 47)."""
        return re.split("[-_]", locale, maxsplit=1)[0].lower(), self.locales[0]

    def compose(self, template: str, channel: Channel, locale: str, source: str) -> Text:
        """Return a text as somebody wrote it, with what all letters share.

        Args:
            source: As a file of this channel is written.

        Raises:
            BadText: It breaks a rule.
        """
        if locale not in self.locales:
            raise BadText(1, f"texts are written in {' and '.join(self.locales)} here, not in {locale}")
        try:
            file = parse_file(source, channel)
        except Broken as broken:
            raise BadText(broken.line, broken.rule) from None
        version = _version(self._letterhead, channel, source)
        return Text(template, channel, locale, version, source, file, self._letterhead)

    def variables(self, template: str, channel: Channel, locale: str) -> set[str]:
        """Return the names of the variables a text uses, such as ``customer.first_name``.

        Raises:
            UnknownTemplate: See `find`.
        """
        return self.find(template, channel, locale).variables


def _version(letterhead: Letterhead, channel: Channel, source: str) -> str:
    shared = letterhead.source if channel is Channel.EMAIL else ""
    return hashlib.sha256(shared.encode() + source.encode()).hexdigest()[:12]


class _Rendering:
    """One message being written."""

    def __init__(self, text: Text, values: Mapping[str, object], track: Track) -> None:
        self._text = text
        self._track = track
        self._tracked: dict[str, str] = {}
        self._site: SiteAddress | None = None
        self._values = {name: clean(value) for name, value in values.items()}
        site = self._values.get("site")
        if site is not None:
            self._site = SiteAddress(as_address(str(site)).rstrip("/"))
            self._values["site"] = self._site

    def content(self, footer: Footer | None) -> Content:
        channel = self._text.channel
        body = write(self._text.file.body, self._values)
        match channel:
            case Channel.EMAIL:
                return self._text.letterhead.write(
                    self._header("subject"),
                    body,
                    locale=self._text.locale,
                    company=self._company(),
                    link=self._link,
                    footer=footer,
                )
            case Channel.SMS:
                return SmsContent(text=self._with_links(body))
            case Channel.WHATSAPP:
                return WhatsAppContent(
                    text=self._with_links(body),
                    buttons=self._buttons(),
                    media=as_address(self._header("media"), self._site) if "media" in self._text.file.header else None,
                    category=self._text.category,
                )
            case Channel.PUSH:
                return PushContent(
                    title=one_line(self._header("title")),
                    body=self._with_links(body),
                    link=self._header_link(),
                )
            case Channel.WEB_PUSH:
                return WebPushContent(
                    title=one_line(self._header("title")),
                    body=self._with_links(body),
                    link=self._header_link(),
                )
            case Channel.INBOX:
                return InboxContent(
                    title=one_line(self._header("title")),
                    body=self._with_links(body),
                    link=self._header_link(),
                )
            case Channel.POPUP | Channel.BANNER:
                placed = PopupContent if channel is Channel.POPUP else BannerContent
                return placed(
                    title=one_line(self._header("title")),
                    body=self._with_links(body),
                    link=self._header_link(),
                    button=self._header_words("button"),
                    surface=self._text.file.surface,
                )
            case Channel.CALL:
                return CallContent(
                    topic=one_line(self._header("topic")),
                    script=as_words(body),
                    name=self._customer_name(),
                    spoken=self._header_words("spoken"),
                )
        assert_never(channel)

    def _header(self, name: str) -> str:
        return write(self._text.file.header[name], self._values)

    def _header_words(self, name: str) -> str | None:
        return one_line(self._header(name)) if name in self._text.file.header else None

    def _header_link(self) -> str | None:
        return self._link(self._header("link")) if "link" in self._text.file.header else None

    def _buttons(self) -> tuple[Button, ...]:
        return tuple(
            Button(id=button, title=one_line(write(title, self._values))) for button, title in self._text.file.buttons
        )

    def _company(self) -> str:
        company = self._values.get("company")
        if company is None:
            raise Missing("company")
        return str(company)

    def _customer_name(self) -> str | None:
        customer = self._values.get("customer")
        traits = customer if isinstance(customer, Mapping) else {}
        names = [hold(str(traits[part])) for part in ("first_name", "last_name") if traits.get(part)]
        return one_line(" ".join(names)) or None

    def _link(self, raw: str) -> str:
        address = as_address(raw, self._site)
        if address not in self._tracked:
            self._tracked[address] = self._track(address)
        return self._tracked[address]

    def _with_links(self, text: str) -> str:
        """Put values and tracked addresses into a plain text."""
        written, end = "", 0
        for found in URL.finditer(text):
            raw = found[0].rstrip(AFTER_URL)
            written += as_words(text[end : found.start()]) + self._link(raw)
            end = found.start() + len(raw)
        return written + as_words(text[end:])


class _Reader:
    """Reads a folder of texts and collects what is wrong with it."""

    def __init__(self, directory: Path, locales: Sequence[str]) -> None:
        self._directory = directory
        self._locales = locales
        self._problems: list[str] = []
        self._seen: set[tuple[str, Channel, str]] = set()
        self._texts: dict[tuple[str, Channel, str], Text] = {}

    def read(self) -> Texts:
        try:
            letterhead = Letterhead.load(self._directory / LETTERHEAD, self._locales)
        except (Broken, LiquidError, OSError) as error:
            raise BadTexts([f"{self._directory / LETTERHEAD}: {error}"]) from error
        for path in sorted(self._directory.rglob("*")):
            place = path.relative_to(self._directory).parts
            if path.is_file() and place[0] != LETTERHEAD:
                self._read_file(path, place, letterhead)
        self._check_languages()
        if self._problems:
            raise BadTexts(self._problems)
        return Texts(self._texts, letterhead, self._locales)

    def _read_file(self, path: Path, place: tuple[str, ...], letterhead: Letterhead) -> None:
        if series := _parse_series_place(place, {*LOCALES, *self._locales}):
            self._read_series(path, *series, letterhead)
            return
        named = _parse_place(place, {*LOCALES, *self._locales})
        if named is None:
            rule = (
                "a text is found as group/name/channel.locale.md (email) or .txt (others), a series as group/…locale.md"
            )
            self._problem(path, 1, rule)
            return
        if named[2] not in self._locales:
            return
        self._seen.add(named)
        template, channel, locale = named
        try:
            source = path.read_text(encoding="utf-8")
            file = parse_file(source, channel)
        except UnicodeDecodeError:
            self._problem(path, 1, "is not UTF-8")
            return
        except Broken as broken:
            self._problem(path, broken.line, broken.rule)
            return
        version = _version(letterhead, channel, source)
        self._texts[named] = Text(template, channel, locale, version, source, file, letterhead)

    def _read_series(self, path: Path, group: str, locale: str, letterhead: Letterhead) -> None:
        if locale not in self._locales:
            return
        try:
            parts = list(parse_series(path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            self._problem(path, 1, "is not UTF-8")
            return
        except Broken as broken:
            self._problem(path, broken.line, broken.rule)
            return
        for part in parts:
            self._keep_part(path, part, (f"{group}/{part.name}", part.channel, locale), letterhead)

    def _keep_part(self, path: Path, part: Part, named: tuple[str, Channel, str], letterhead: Letterhead) -> None:
        template, channel, locale = named
        if named in self._seen:
            self._problem(path, part.line, f"{template} has a text for {channel} elsewhere too")
            return
        self._seen.add(named)
        try:
            file = parse_file(part.source, channel)
        except Broken as broken:
            self._problem(path, part.line, f"{part.name}, {channel}: {broken.rule}")
            return
        version = _version(letterhead, channel, part.source)
        self._texts[named] = Text(template, channel, locale, version, part.source, file, letterhead)

    def _check_languages(self) -> None:
        for template, channel in sorted({(template, channel) for template, channel, _ in self._seen}):
            for locale in self._locales:
                if (template, channel, locale) not in self._seen:
                    path = self._directory / template / f"{channel}.{locale}.{extension(channel)}"
                    self._problem(path, 1, f"every text must exist in {' and '.join(self._locales)}")

    def _problem(self, path: Path, line: int, rule: str) -> None:
        self._problems.append(f"{path}:{line}: {rule}")


def _parse_series_place(place: tuple[str, ...], locales: Collection[str]) -> tuple[str, str] | None:
    """Return group and language of a series."""
    if len(place) != 2:
        return None
    named = re.fullmatch(r"[^.]+\.([a-z]{2,3})\.md", place[1])
    return (place[0], named[1]) if named and named[1] in locales else None


def _parse_place(place: tuple[str, ...], locales: Collection[str]) -> tuple[str, Channel, str] | None:
    if len(place) != 3:
        return None
    group, name, file = place
    for channel in Channel:
        for locale in locales:
            if file == f"{channel}.{locale}.{extension(channel)}":
                return f"{group}/{name}", channel, locale
    return None
