"""What messages cost: segments as operators bill them, prices by kind, number and currency."""

from decimal import Decimal

import pytest

from domain.messages import (
    ApprovedTemplate,
    Content,
    EmailContent,
    InboxContent,
    PopupContent,
    SmsContent,
    WebPushContent,
    WhatsAppContent,
)
from domain.sms import Encoding, encoding, segments
from domain.tariffs import Tariffs

STORY = Tariffs.model_validate(
    {
        "currency": "RUB",
        "whatsapp": 12,
        "sms": {"segment": 3, "ucs2": [72, 72]},
        "web_push": 0,
        "numbers": {"+1": {"sms": {"segment": 9.5}}, "+1415": {"sms": {"segment": 0.1}}},
    }
)
RUSSIAN, CALIFORNIAN = "+79161234567", "+14155550123"


def sms(text: str) -> SmsContent:
    return SmsContent(text=text)


def whatsapp(category: str | None) -> WhatsAppContent:
    template = ApprovedTemplate.model_validate({"sid": "HX", "category": category}) if category else None
    return WhatsAppContent(text="Hello", template=template)


@pytest.mark.parametrize(
    ("text", "parts", "written_in"),
    [
        ("", 1, "gsm-7"),
        ("a" * 160, 1, "gsm-7"),
        ("a" * 161, 2, "gsm-7"),
        ("a" * 306, 2, "gsm-7"),
        ("a" * 307, 3, "gsm-7"),
        ("€" * 80, 1, "gsm-7"),
        ("€" * 81, 2, "gsm-7"),
        ("^{}\\[~]|€\f" * 8, 1, "gsm-7"),
        ("a" * 152 + "€" + "a" * 152, 3, "gsm-7"),
        ("`", 1, "ucs-2"),
        ("ç" * 71, 2, "ucs-2"),
        ("ж" * 70, 1, "ucs-2"),
        ("ж" * 71, 2, "ucs-2"),
        ("ж" * 134, 2, "ucs-2"),
        ("ж" * 135, 3, "ucs-2"),
        ("😀" * 35, 1, "ucs-2"),
        ("😀" * 36, 2, "ucs-2"),
        ("ж" * 66 + "😀" + "ж" * 66, 3, "ucs-2"),
    ],
)
def test_segments_are_counted_by_3gpp_23_038_and_23_040(text: str, parts: int, written_in: str) -> None:
    assert (segments(text), encoding(text)) == (parts, Encoding(written_in))


@pytest.mark.parametrize(("characters", "price"), [(72, "3"), (73, "6"), (4 * 72, "12"), (5 * 72, "15"), (361, "18")])
def test_an_operators_own_segments_are_billed(characters: int, price: str) -> None:
    cost = STORY.estimate(sms("ж" * characters), RUSSIAN)
    assert cost is not None
    assert (cost.amount, cost.currency) == (Decimal(price), "RUB")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (sms("Привет " * 20), "2 segments, 6.00 RUB"),
        (sms("Hello"), "1 segment, 3.00 RUB"),
        (whatsapp("utility"), "utility, 12.00 RUB"),
        (whatsapp(None), "session, 12.00 RUB"),
        (InboxContent(title="A", body="B"), "0.00 RUB"),
        (PopupContent(title="A", body="B"), "0.00 RUB"),
        (WebPushContent(title="A", body="B"), "0.00 RUB"),
        (EmailContent(subject="A", html="B", text="B"), None),
    ],
)
def test_a_cost_is_said_in_words_before_anything_is_sent(content: Content, said: str | None) -> None:
    assert STORY.spoken(content) == said


def test_the_longest_prefix_of_a_number_decides_and_what_it_leaves_out_costs_as_everywhere() -> None:
    costs = [STORY.estimate(sms("Hello"), number) for number in (RUSSIAN, "+12125550123", CALIFORNIAN)]
    assert [cost.amount for cost in costs if cost] == [Decimal(3), Decimal("9.5"), Decimal("0.1")]
    abroad = STORY.estimate(whatsapp("marketing"), CALIFORNIAN)
    assert abroad is not None
    assert abroad.amount == 12


def test_prices_of_whatsapp_differ_by_kind_and_one_that_is_not_told_is_not_known() -> None:
    tariffs = Tariffs.model_validate({"whatsapp": {"marketing": "0.0740", "session": 0}})
    found = [tariffs.estimate(whatsapp(kind), RUSSIAN) for kind in ("marketing", None, "utility")]
    assert [cost.amount if cost else None for cost in found] == [Decimal("0.074"), Decimal(0), None]
    assert str(found[0]) == "marketing, 0.074 USD"
