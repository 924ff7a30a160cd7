"""A call of Segment's HTTP tracking API, checked and made plain."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from domain.messages import PushKeys


class CallType(StrEnum):
    """The calls of the tracking API."""

    IDENTIFY = "identify"
    TRACK = "track"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"


class Device(BaseModel, frozen=True):
    """A device that takes pushes.

    Attributes:
        token: Of the app, or the endpoint of a browser's subscription.
        keys: The browser's; None for an app.
    """

    token: str
    platform: str | None = None
    keys: PushKeys | None = None


class Profile(BaseModel, frozen=True):
    """What an identify call says about a customer; fields it does not mention are not set.

    Attributes:
        email: As given, checked for form.
        phone: E.164.
        time_zone: IANA name.
        locale: BCP 47 tag.
        traits: Everything else; a value of None removes the trait.
    """

    email: str | None = None
    phone: str | None = None
    time_zone: str | None = None
    locale: str | None = None
    traits: dict[str, Any] = {}


class Call(BaseModel, frozen=True):
    """One accepted call.

    Attributes:
        message_id: The sender's idempotency key.
        name: Event name; ``page_viewed`` and so on for the calls that have none.
        timestamp: When it happened, corrected by `sentAt` for a wrong clock of the device.
    """

    type: CallType
    message_id: str
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    name: str
    properties: dict[str, Any] = {}
    context: dict[str, Any] = {}
    profile: Profile | None = None
    device: Device | None = None
    timestamp: datetime


class Rejection(BaseModel, frozen=True):
    """Why a call was not accepted: the field and the rule it breaks."""

    index: int
    message_id: str | None
    field: str
    rule: str
