"""The author's words for messages: `email("group/name")` and so on."""

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
web_push = _by(Channel.WEB_PUSH)
call = _by(Channel.CALL)
inbox = _by(Channel.INBOX)
popup = _by(Channel.POPUP)
banner = _by(Channel.BANNER)
