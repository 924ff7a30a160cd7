"""How a message is written: its text with what it may use, its links, its footer; by WhatsApp as WhatsApp takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter

from activities import whatsapp
from activities.asked import Asked
from activities.texts import text_for
from channels.protocol import ChannelPort
from domain.campaigns import PREFIX
from domain.links import Links, tagged
from domain.messages import Channel, Content, WhatsAppContent
from settings import Deployment
from store import enrolments
from store.database import Connection
from templates.renderer import BadText, Footer, MissingVariable, RenderError, Text, Texts, UnknownTemplate

_CONTENT: TypeAdapter[Content] = TypeAdapter(Content)


class Unwritable(Exception):
    """A message cannot be written, or cannot go out as it is; the reason begins with the rule's name.

    Attributes:
        until: Wall time after which it can, if that is soon.
    """

    def __init__(self, reason: str, until: datetime | None = None) -> None:
        super().__init__(reason)
        self.until = until


@dataclass(frozen=True)
class Written:
    """A message as the customer would get it now.

    Attributes:
        version: Of its text; None if no text says it, or an earlier attempt wrote it.
        links: Where its tracked links lead, by place.
        anew: Whether it was written now; if not, the outbox has it as it is.
    """

    content: Content
    locale: str
    version: str | None = None
    links: Sequence[str] = ()
    anew: bool = True


@dataclass(frozen=True)
class Writer:
    """Writes messages; nothing it does changes anything."""

    texts: Texts
    links: Links
    deployment: Deployment
    channels: Mapping[Channel, ChannelPort]

    async def write(self, connection: Connection, asked: Asked, recipient: str) -> Written:
        """Write a message, unless an earlier attempt did.

        A WhatsApp message is always written as it can go out now: its earlier attempt certainly did not leave,
        and meanwhile the customer-service window may have closed, or a sender been blocked.

        Raises:
            Unwritable: With the reason.
        """
        row, said = asked.row, asked.manner.content
        locale = asked.addressee.locale or self.deployment.default_locale
        if row and row.content is not None and asked.channel is not Channel.WHATSAPP:
            return Written(_CONTENT.validate_python(row.content), row.locale or locale, anew=False)
        try:
            if said is not None:
                return Written(await self._said(connection, asked, recipient, said), locale)
            return await self._rendered(connection, asked, recipient, locale)
        except whatsapp.CannotSend as error:
            raise Unwritable(str(error), error.until) from None
        except (BadText, MissingVariable, RenderError, UnknownTemplate) as error:
            raise Unwritable(f"text:{error}") from None

    def unsubscribe_url(self, asked: Asked) -> str | None:
        """Return where one click ends it (RFC 8058); None for what is no marketing."""
        return self.links.unsubscribe(asked.proposal.message) if asked.is_marketing else None

    async def _rendered(self, connection: Connection, asked: Asked, recipient: str, locale: str) -> Written:
        draft, message, links = asked.request.draft, asked.proposal.message, list[str]()

        def track(url: str) -> str:
            url = self._tagged(asked, url)
            if url not in links:
                links.append(url)
            return self.links.tracked(message, links.index(url))

        text = await text_for(connection, self.texts, draft.template, asked.channel, locale, draft.edition)
        values = await self._variables(connection, asked)
        content: Content
        if asked.channel is Channel.WHATSAPP:
            wanted = self._wanted(asked, recipient, text)
            content = await whatsapp.write(connection, self._senders, wanted, values, track)
        else:
            content = text.render(values, track=track, footer=self._footer(message) if asked.is_marketing else None)
        return Written(content, text.locale, text.version, links)

    async def _said(self, connection: Connection, asked: Asked, recipient: str, content: Content) -> Content:
        """Return what a person of ours has written, as it can go out now."""
        if not isinstance(content, WhatsAppContent):
            return content
        to = whatsapp.To(
            customer=asked.proposal.customer, recipient=recipient, now=asked.proposal.now, clock=asked.clock
        )
        return await whatsapp.say(connection, self._senders, to, content)

    @property
    def _senders(self) -> Sequence[str]:
        port = self.channels[Channel.WHATSAPP]
        assert isinstance(port, whatsapp.Senders)
        return port.senders

    def _wanted(self, asked: Asked, recipient: str, text: Text) -> whatsapp.Asked:
        return whatsapp.Asked(
            customer=asked.proposal.customer,
            recipient=recipient,
            text=text,
            edition=asked.request.draft.edition,
            now=asked.proposal.now,
            clock=asked.clock,
            company=self.deployment.company,
            site=self._site,
        )

    async def _variables(self, connection: Connection, asked: Asked) -> dict[str, object]:
        """What a text may use."""
        return {
            "customer": asked.addressee.traits,
            "event": asked.addressee.event,
            "site": self._site,
            "company": self.deployment.company,
            **await enrolments.facts(connection, asked.manner.facts, asked.request.enrolment),
        }

    @property
    def _site(self) -> str:
        return str(self.deployment.site).rstrip("/")

    def _tagged(self, asked: Asked, url: str) -> str:
        if self.deployment.utm_source is None:
            return url
        campaign, draft = asked.addressee.journey.removeprefix(PREFIX), asked.request.draft
        return tagged(url, self.deployment.utm_source, asked.channel, campaign, draft.template)

    def _footer(self, message: UUID) -> Footer:
        return Footer(
            postal_address=self.deployment.postal_address,
            unsubscribe_url=self.links.unsubscribe(message),
            preferences_url=self.links.preferences(message),
        )
