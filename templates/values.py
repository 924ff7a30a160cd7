"""Values from outside inside a text: they are words to be read and nothing else.

A value never meets the Markdown parser, the search for links or the HTML: Liquid writes a
placeholder in its place, which no parser takes for structure, and what stands there in the end
depends on where it stands: words in a text, one escaped part in an address.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

# Private-use characters around the value in hexadecimal: letters to Markdown, not to be found in a text.
HELD = re.compile("\ue000([0-9a-f]*)\ue001")

INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs"})
JOINERS = "\u200c\u200d"
"""Invisible, but part of Persian and Indian words and of emoji."""

DOMAIN_DOT = re.compile(r"(?<=\w)[.\u3002\uff0e\uff61](?=[^\W\d_])")
URL_CHARACTERS = "!#$%&'()*+,-./:;=?@[]_~"
"""What may stand in an address as it is (RFC 3986, 2.2 and 2.3, and the percent sign)."""

HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
"""A host and nothing that browsers read in more than one way: no user name, backslash, blank or escape."""

BEFORE_PATH = re.compile(r"([^:/?#]*:)?/*[^/?#]*")
"""Scheme and host of an address."""


class NotAnAddress(ValueError):
    """A link leads to something that is not an http(s) address, or to a foreign one. The words hold no value."""


class SiteAddress(str):
    """The client's site, or an address of ours: from the installation's settings, so addresses may begin with it."""


def clean(value: object) -> object:
    """Return a value as one line without invisible characters; None if nothing is left of it.

    Line breaks would forge headers and lines of a text, direction overrides its order.
    """
    match value:
        case str():
            words = " ".join(value.split())
            visible = "".join(c for c in words if c in JOINERS or unicodedata.category(c) not in INVISIBLE)
            return visible.strip() or None
        case Mapping():
            return {key: clean(inner) for key, inner in value.items()}
        case list() | tuple():
            return [clean(inner) for inner in value]
        case _:
            return value


def hold(value: str) -> str:
    """Return the placeholder of a value."""
    return f"\ue000{value.encode().hex()}\ue001"


def as_words(text: str) -> str:
    """Put the values into a text."""
    return _fill(text, _unlinkable)


def as_html(markup: str) -> str:
    """Put the values into HTML, between tags or in quoted attributes."""
    return _fill(markup, lambda value: html.escape(_unlinkable(value)))


def as_address(raw: str, site: str | None = None) -> str:
    """Put the values into an http(s) address: one is a whole address, or one escaped part of it.

    Which host it is, the author says or the client's site: a value may choose among the site's own
    hosts only. Else whoever fills in a form could make a link of ours lead to them.

    Args:
        site: Address of the client's site, if it is known; its subdomains are the client's too.

    Raises:
        NotAnAddress: It is not http(s), has no plain ASCII host, or a value chose a foreign host.
    """
    whole = HELD.match(raw)
    start, rest = (_held(whole), raw[whole.end() :]) if whole else ("", raw)
    address = quote(start + _fill(rest, lambda value: quote(value, safe="")), safe=URL_CHARACTERS)
    scheme, host = _parts(address)
    if scheme not in ("http", "https") or not HOST.fullmatch(host):
        raise NotAnAddress("a link must be an http(s) address")
    before_path = BEFORE_PATH.match(raw)
    if before_path and HELD.search(before_path[0]) and not _is_of(site, host):
        raise NotAnAddress("a link whose host is a variable must lead to the site")
    return address


def _is_of(site: str | None, host: str) -> bool:
    """Whether a host is the site's, or a part of it."""
    return site is not None and f".{host}".lower().endswith(f".{_parts(site)[1]}".lower())


def _parts(address: str) -> tuple[str, str]:
    """Return scheme and host, with the port; nothing where there are none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc


def _unlinkable(value: str) -> str:
    """Keep mail programs and phones from making a link of a customer named ``prize.example``."""
    return DOMAIN_DOT.sub(". ", value.replace("://", ": //"))


def _fill(text: str, write: Callable[[str], str]) -> str:
    return HELD.sub(lambda placeholder: write(_held(placeholder)), text)


def _held(placeholder: re.Match[str]) -> str:
    return bytes.fromhex(placeholder[1]).decode()
