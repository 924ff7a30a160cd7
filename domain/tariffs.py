"""What messages cost, by the tariffs of a deployment: an estimate before sending, for prices come later."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from domain.messages import OWN, ApprovedTemplate, Channel, Content, SmsContent, WhatsAppContent
from domain.sms import ALONE_OR_JOINED, Encoding, segments

KOPECK = Decimal("0.01")


def _exactly(value: object) -> object:
    """Take a number as it was written: TOML's 2.3 is no binary fraction to anybody who pays it."""
    return Decimal(repr(value)) if isinstance(value, float) else value


Price = Annotated[Decimal, BeforeValidator(_exactly), Field(ge=0, le=1_000_000, decimal_places=6, allow_inf_nan=False)]
Lengths = tuple[Annotated[int, Field(ge=10, le=1530)], Annotated[int, Field(ge=10, le=1530)]]

WhatsAppKind = Literal["marketing", "utility", "authentication", "session"]
"""What WhatsApp charges by: the category of a template, or free text inside the customer-service window."""


class SmsTariff(BaseModel, extra="forbid", frozen=True):
    """What an SMS costs.

    Attributes:
        segment: Price of one.
        gsm7: Characters of an SMS of one segment, and of each segment of a longer one, as the operator bills.
        ucs2: The same for texts with characters outside the GSM alphabet, such as Russian ones.
    """

    segment: Price
    gsm7: Lengths = ALONE_OR_JOINED[Encoding.GSM_7]
    ucs2: Lengths = ALONE_OR_JOINED[Encoding.UCS_2]

    @model_validator(mode="after")
    def _fits(self) -> "SmsTariff":
        for name, (alone, joined) in (("gsm7", self.gsm7), ("ucs2", self.ucs2)):
            if joined > alone:
                raise ValueError(f"{name}: a segment of a longer SMS holds no more than one that stands alone")
        return self

    def segments(self, text: str) -> int:
        """Count the segments of a text, by the operator's lengths."""
        return segments(text, {Encoding.GSM_7: self.gsm7, Encoding.UCS_2: self.ucs2})


def _by_kind(value: object) -> object:
    """Take one price for all kinds of WhatsApp messages, or a table of them."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return dict.fromkeys(("marketing", "utility", "authentication", "session"), value)
    return value


class Rates(BaseModel, extra="forbid", frozen=True):
    """Prices by channel; a channel without one has no known cost.

    Attributes:
        whatsapp: By kind of message, or one price for all of them.
        call: Price of an attempt to call.
    """

    email: Price | None = None
    sms: SmsTariff | None = None
    whatsapp: Annotated[dict[WhatsAppKind, Price], BeforeValidator(_by_kind)] = {}
    push: Price | None = None
    web_push: Price | None = None
    call: Price | None = None
    inbox: Price | None = None
    popup: Price | None = None
    banner: Price | None = None


class Tariffs(Rates, frozen=True):
    """The section `tariffs` of a deployment's file.

    Attributes:
        currency: Of all prices, ISO 4217.
        numbers: Other prices for phone numbers that begin so, such as ``+7``; of several the longest counts. What
            they leave out costs as everywhere.
    """

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    numbers: dict[Annotated[str, Field(pattern=r"^\+[1-9]\d{0,9}$")], Rates] = {}

    def estimate(self, content: Content, recipient: str) -> "Cost | None":
        """Return what a message will cost by these tariffs; None if they do not say."""
        for rates in self._for(recipient):
            if cost := _cost(rates, content, self.currency):
                return cost
        return None

    def spoken(self, content: Content) -> str | None:
        """Say what a text costs that is not written to anybody yet: a WhatsApp one as the template it goes out by."""
        if isinstance(content, WhatsAppContent) and content.category in ("marketing", "utility", "authentication"):
            template = ApprovedTemplate.model_validate({"sid": "", "category": content.category})
            content = content.model_copy(update={"template": template})
        cost = self.estimate(content, "")
        return str(cost) if cost else None

    def _for(self, recipient: str) -> tuple[Rates, ...]:
        begins = [prefix for prefix in self.numbers if recipient.startswith(prefix)]
        return *(self.numbers[prefix] for prefix in sorted(begins, key=len, reverse=True)[:1]), self


@dataclass(frozen=True)
class Cost:
    """What a message costs.

    Attributes:
        units: What is billed: ``2 segments``, or the kind of WhatsApp message; "" for the message as a whole.
    """

    amount: Decimal
    currency: str
    units: str = ""

    def __str__(self) -> str:
        amount = (
            self.amount.quantize(KOPECK) if self.amount == self.amount.quantize(KOPECK) else self.amount.normalize()
        )
        return f"{self.units}{', ' if self.units else ''}{amount:f} {self.currency}"


FREE: Mapping[Channel, Decimal] = dict.fromkeys(OWN, Decimal(0))
"""Channels that cost nothing unless a tariff says otherwise: our own table."""


def _cost(rates: Rates, content: Content, currency: str) -> Cost | None:
    match content:
        case SmsContent() if rates.sms:
            count = rates.sms.segments(content.text)
            return Cost(rates.sms.segment * count, currency, f"{count} segment{'' if count == 1 else 's'}")
        case WhatsAppContent() if (kind := whatsapp_kind(content)) in rates.whatsapp:
            return Cost(rates.whatsapp[kind], currency, kind)
        case SmsContent() | WhatsAppContent():
            return None
    price = getattr(rates, content.channel, None)
    if price is None:
        price = FREE.get(content.channel)
    return None if price is None else Cost(price, currency)


def whatsapp_kind(content: WhatsAppContent) -> WhatsAppKind:
    """Return what WhatsApp charges a message as."""
    if content.template is None:
        return "session"
    return content.template.category
