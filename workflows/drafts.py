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
        once: Whether a customer gets it once, in whatever stay of whatever journey.
        about: Code of what it is about, such as a curator's: about another one it is another message.
    """

    def __call__(
        self,
        template: str,
        *,
        transactional: bool = False,
        useful_for: timedelta | None = None,
        again: bool = False,
        edition: str = "",
        once: bool = False,
        about: str = "",
    ) -> Draft: ...


def _by(channel: Channel) -> Drafting:
    def draft(
        template: str,
        *,
        transactional: bool = False,
        useful_for: timedelta | None = None,
        again: bool = False,
        edition: str = "",
        once: bool = False,
        about: str = "",
    ) -> Draft:
        return Draft(
            channel=channel,
            template=template,
            message_class=MessageClass.TRANSACTIONAL if transactional else MessageClass.MARKETING,
            useful_for=useful_for,
            again=again,
            edition=edition,
            once=once,
            about=about,
        )

    return draft


email = _by(Channel.EMAIL)
sms = _by(Channel.SMS)
whatsapp = _by(Channel.WHATSAPP)
push = _by(Channel.PUSH)
web_push = _by(Channel.WEB_PUSH)
call = _by(Channel.CALL)
inbox = _by(Channel.INBOX)
popup = _by(Channel.POPUP)
banner = _by(Channel.BANNER)


def either(declared: Draft, *others: Draft) -> Draft:
    """One message that goes by one channel of several: by the first, unless the customer reacts to another.

    Which one is decided when it is sent, see `policy.reactions`. What was sent by one is not sent by another.

    Raises:
        ValueError: They are not one text in several channels.
    """
    channels = tuple(each.channel for each in others)
    if any(each.model_copy(update={"channel": declared.channel}) != declared for each in others):
        raise ValueError("either names one text, in several channels")
    return declared.model_copy(update={"others": channels})


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
