"""Conversations: what a customer and people of ours write to each other, and what stands around it."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from domain.messages import Channel

CONVERSATION = "conversation"
"""The journey, by name, that operators' answers belong to."""

OPERATOR = "operator"
"""Id of the button that calls an operator, in whatever message it is."""

OPERATOR_WORDS = frozenset({"operator", "call an operator", "оператор", "позовите оператора", "позвать оператора"})
"""What means the same without a button."""

WINDOW = timedelta(hours=24)
"""Wall time after a customer's last message within which WhatsApp takes free text
(developers.facebook.com/docs/whatsapp, "Customer service windows")."""


class Reason(StrEnum):
    """Why a conversation was opened."""

    WROTE = "wrote"
    """The customer wrote what no waiting run expected."""
    CALLED = "called_operator"
    """They pressed "Call an operator"."""
    WORDS = "words_to_bot"
    """They went on writing to a bot that had told them it understands buttons only."""
    PRESSED = "pressed_old_button"
    """They pressed a button of a message nobody waits for an answer to any more."""
    OPERATOR = "operator"
    """A person of ours began it."""


class Notice(StrEnum):
    """What the operators' tool is told."""

    OPENED = "conversation.opened"
    WROTE = "conversation.customer_wrote"
    CLOSED = "conversation.closed"
    NOT_SENT = "conversation.answer_not_sent"
    ERASED = "conversation.erased"


class Said(BaseModel, frozen=True):
    """One line of a conversation; what journeys sent by the channel meanwhile is among them."""

    at: datetime = Field(description="Wall time.")
    by: str = Field(description="`customer`, an operator's key, or the journey that sent it.", examples=["customer"])
    text: str
    buttons: list[str] = Field(default=[], description="Titles of the buttons under it.")
    choice: str | None = Field(default=None, description="Id of the button the customer pressed.")
    answers: UUID | None = Field(default=None, description="The message of ours it answers.")
    message: UUID | None = Field(default=None, description="The message that carries it.")
    status: str | None = Field(default=None, description="What has become of that message.")
    reason: str | None = Field(default=None, description="Why it has not left, or has not arrived.")


class Happened(BaseModel, frozen=True):
    """Something the customer did lately."""

    at: datetime
    event: str
    properties: dict[str, Any]


class Conversation(BaseModel, frozen=True):
    """A conversation with its context. Times are the wall's."""

    id: int
    user_id: str | None = Field(description="The customer, as your calls name them.")
    name: str | None = Field(description="Their first name, if it is known.")
    channel: Channel
    address: str | None = Field(description="The number they write from.")
    reason: Reason = Field(description="Why it was opened.")
    alerted: bool = Field(description="Whether somebody is expected to look at it now.")
    opened_by: str
    opened_at: datetime
    closed_by: str | None
    closed_at: datetime | None
    answer_until: datetime | None = Field(
        description="Until when the provider takes an answer; null where it always does, or nobody wrote yet."
    )
    lines: list[Said] = Field(description="The newest last.")
    events: list[Happened] = Field(description="What they did lately, the newest first.")


class Errand(StrEnum):
    """What there may be to do about a conversation."""

    TELL = "tell"
    """Tell the operators' tool what has happened in it."""
    ANSWER = "answer"
    """Send what operators have answered."""
