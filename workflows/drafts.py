"""The author's words for messages: `email("group/name")` and so on."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from domain.messages import Channel, Draft, MessageClass


class Drafting(Protocol):
    """Names a text to be sent by one channel.

    Args:
        template: Name of the text, ``group/name``.
        transactional: The customer asked for it, so it passes quiet hours and caps.
        useful_for: Journey time after which it is not worth sending any more.
        again: Whether it may go out more than once in one enrolment.
        edition: The month whose text it is, such as a journey's `month`; where there is none, nothing is sent.
    """

    def __call__(
        self,
        template: str,
        *,
        transactional: bool = False,
        useful_for: timedelta | None = None,
        again: bool = False,
        edition: str = "",
    ) -> Draft: ...


def _by(channel: Channel) -> Drafting:
    def draft(
        template: str,
        *,
        transactional: bool = False,
        useful_for: timedelta | None = None,
        again: bool = False,
        edition: str = "",
    ) -> Draft:
        return Draft(
            channel=channel,
            template=template,
            message_class=MessageClass.TRANSACTIONAL if transactional else MessageClass.MARKETING,
            useful_for=useful_for,
            again=again,
            edition=edition,
        )

    return draft


email = _by(Channel.EMAIL)
sms = _by(Channel.SMS)
whatsapp = _by(Channel.WHATSAPP)
push = _by(Channel.PUSH)
call = _by(Channel.CALL)
inbox = _by(Channel.INBOX)


@dataclass(frozen=True)
class Cascade:
    """A cascade a pack uses again and again: one text by several channels, in this order.

    Example:
        free_first = Cascade(push, email, sms)
        await self.cascade(*free_first("group/name"), until=Status.DELIVERED, within=timedelta(hours=4))
    """

    drafting: tuple[Drafting, ...]

    def __init__(self, *drafting: Drafting) -> None:
        object.__setattr__(self, "drafting", drafting)

    def __call__(self, template: str) -> tuple[Draft, ...]:
        """Return a text's messages by each of the channels."""
        return tuple(draft(template) for draft in self.drafting)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels, in order."""
        return tuple(draft.channel for draft in self("group/name"))
