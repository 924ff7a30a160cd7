"""Which text a message gets: the published version, else the file."""

from functools import lru_cache

from domain.messages import Channel
from store import texts
from store.database import Connection
from templates.renderer import Text, Texts, UnknownTemplate


async def text_for(
    connection: Connection, files: Texts, template: str, channel: Channel, locale: str, edition: str
) -> Text:
    """Return the text to send now, in the language of a locale (BCP 47), else in the default one.

    A version published meanwhile is used from the next send on.

    Args:
        edition: The month it must be written for; "" for none.

    Raises:
        UnknownTemplate: There is none, or none for that month.
    """
    written = await texts.published(connection, template, channel, files.languages(locale), edition)
    for language in files.languages(locale):
        if source := written.get(language):
            return _composed(files, template, channel, language, source)
        if not edition and (file := files.get(template, channel, language)):
            return file
    month = f" for {edition}" if edition else ""
    raise UnknownTemplate(f"there is no text {template!r} for {channel}{month}")


_composed = lru_cache(maxsize=1000)(Texts.compose)
"""Parsed once, not for every message."""
