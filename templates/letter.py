"""An email: Markdown with placeholders becomes HTML in the shared layout, and plain text beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from css_inline import CSSInliner
from liquid import BoundTemplate, Environment, Markup, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token

from domain.messages import EmailContent
from templates.language import parse, write
from templates.values import SiteAddress, as_address, as_html, as_words, clean, hold

FOOTER_ROOTS = frozenset({"company", "postal_address", "unsubscribe_url", "preferences_url"})

Link = Callable[[str], str]
"""Turns the raw destination of a link, placeholders and all, into the address to be written."""


@dataclass(frozen=True)
class Footer:
    """What the law wants under a marketing letter (CAN-SPAM; RFC 8058 for the link).

    Attributes:
        postal_address: The sender's.
        unsubscribe_url: The customer's own link; it is not tracked.
        preferences_url: To the page on which they choose what to hear of; nor is this one.
    """

    postal_address: str
    unsubscribe_url: str
    preferences_url: str


class _Markdown(MarkdownIt):
    """CommonMark whose link destinations reach us as they were written; `Link` checks and escapes them."""

    def validateLink(self, url: str) -> bool:
        return True

    def normalizeLink(self, url: str) -> str:
        return url

    def normalizeLinkText(self, link: str) -> str:
        return link


_MARKDOWN = _Markdown("commonmark", {"html": False})
_INLINER = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)


@dataclass(frozen=True)
class Letterhead:
    """The parts all letters share: the layout and a footer in every language.

    Attributes:
        source: All of it as written, to notice a change.
    """

    layout: BoundTemplate
    footers: Mapping[str, BoundTemplate]
    source: str

    @staticmethod
    def load(directory: Path, locales: Sequence[str]) -> "Letterhead":
        """Read ``layout.html`` and ``footer.<locale>.md``.

        Raises:
            templates.language.Broken: A footer is not our Liquid.
            liquid.exceptions.LiquidError: Nor is the layout.
            OSError: One of them cannot be read.
        """
        layout = (directory / "layout.html").read_text(encoding="utf-8")
        footers = {locale: (directory / f"footer.{locale}.md").read_text(encoding="utf-8") for locale in locales}
        return Letterhead(
            layout=Environment(autoescape=True, undefined=StrictUndefined).from_string(layout),
            footers={locale: parse(source, roots=FOOTER_ROOTS) for locale, source in footers.items()},
            source=layout + "".join(footers.values()),
        )

    def write(
        self, subject: str, body: str, *, locale: str, company: str, link: Link, footer: Footer | None
    ) -> EmailContent:
        """Lay out a letter.

        Args:
            subject: With placeholders.
            body: Markdown with placeholders.
        """
        content = _read(body, link)
        closing = _read(self._footer(footer, locale, company), as_address) if footer else []
        page = self.layout.render(
            locale=locale,
            subject=subject,
            company=hold(company),
            body=Markup(_html(content)),
            footer=Markup(_html(closing)),
        )
        return EmailContent(
            subject=one_line(subject),
            html=as_html(_INLINER.inline(page)),
            text=as_words("\n\n—\n".join(_plain(part) for part in (content, closing) if part)),
        )

    def _footer(self, footer: Footer, locale: str, company: str) -> str:
        values: dict[str, Any] = {
            "company": company,
            "postal_address": clean(footer.postal_address),
            "unsubscribe_url": SiteAddress(footer.unsubscribe_url),
            "preferences_url": SiteAddress(footer.preferences_url),
        }
        return write(self.footers[locale], values)


def one_line(text: str) -> str:
    """Put the values into a text that must be a single line, such as a subject."""
    return " ".join(as_words(text).split())


def _read(markdown: str, link: Link) -> list[Token]:
    """Parse Markdown and give every link its address; a link alone in its paragraph becomes a button."""
    tokens = _MARKDOWN.parse(markdown)
    for token in tokens:
        children = token.children or []
        for child in children:
            if child.type == "link_open":
                child.attrSet("href", link(str(child.attrGet("href"))))
            if child.type == "image":
                child.attrSet("src", as_address(str(child.attrGet("src"))))
        if _is_button(children):
            children[0].attrSet("class", "button")
    return tokens


def _is_button(children: Sequence[Token]) -> bool:
    kinds = [child.type for child in children]
    return kinds.count("link_open") == 1 and kinds[0] == "link_open" and kinds[-1] == "link_close"


def _html(tokens: Sequence[Token]) -> str:
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def _plain(tokens: Sequence[Token]) -> str:
    """Write Markdown as a person would in a plain letter: paragraphs, list marks, addresses beside links."""
    text = ""
    lists: list[int | None] = []
    mark = ""
    for token in tokens:
        match token.type:
            case "bullet_list_open":
                lists.append(None)
            case "ordered_list_open":
                lists.append(int(token.attrGet("start") or 1))
            case "bullet_list_close" | "ordered_list_close":
                lists.pop()
                text += "" if lists else "\n"
            case "list_item_open":
                number = lists[-1]
                mark = "- " if number is None else f"{number}. "
                lists[-1] = None if number is None else number + 1
            case "inline":
                text += mark + _plain_line(token.children or []) + ("\n" if lists else "\n\n")
                mark = ""
            case "hr":
                text += "—\n\n"
            case "fence" | "code_block":
                text += token.content + "\n"
    return text.strip()


def _plain_line(children: Sequence[Token]) -> str:
    text = ""
    link, label_from = "", 0
    for child in children:
        match child.type:
            case "text" | "code_inline" | "image":
                text += child.content
            case "softbreak" | "hardbreak":
                text += "\n"
            case "link_open":
                link, label_from = str(child.attrGet("href")), len(text)
            case "link_close":
                if text[label_from:].startswith(("http://", "https://")):
                    text = text[:label_from] + link
                else:
                    text += f": {link}" if _is_button(children) else f" <{link}>"
    return text
