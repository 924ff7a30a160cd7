"""The texts of the packs themselves: complete, in the right language, and as short as they must be."""

import re

import pytest

from domain.messages import Channel
from templates.files import SESSION
from templates.renderer import Texts
from templates.whatsapp import fill, form_of
from tests.templates.conftest import render_for_its_journey as render
from tests.templates.conftest import track, values, with_event_of

GSM_7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)

EMPTY = values(customer={}, event={}, offer=None, visit=None, words=None)
ASKING = {"deal_review/score"}
"""Questions that are answered in the chat, without buttons."""
REMINDERS = {"visit_booked/tomorrow", "visit_booked/soon"}
"""Transactional: the customer has asked for what they are about."""
ABOUT_LOANS = {
    *("abandoned_application", "refused_by_bank", "registration", "abandoned_first_loan", "uncollected_loan"),
    *("new_customer", "repeat_customer", "refusal_block", "win_back", "first_purchase", "limit_reminder"),
}
"""Groups whose letters and pop-ups offer to borrow."""
FULL = values(customer={"first_name": "Александра", "last_name": "К"})


def test_every_text_can_be_written_with_everything_known_and_with_nothing(texts: Texts) -> None:
    for text in texts:
        for given in (FULL, EMPTY):
            for words in render(text, given).model_dump().values():
                if isinstance(words, str):
                    assert words.strip() == words or text.channel is Channel.EMAIL
                    assert not re.search(r" [,.!?:]|\(\)|,,|  [A-Za-zА-Яа-я]", words.partition("<body")[2] or words)


def test_russian_texts_are_russian_and_english_ones_english(texts: Texts) -> None:
    for text in texts:
        content = render(text, EMPTY).model_dump()
        words = re.sub(
            r"https?://\S+|STOP|SMS|Cars|1 Main Street, Springfield",
            "",
            str(content.get("text") or content.get("body") or content.get("script")),
        )
        foreign = "[A-Za-z]" if text.locale == "ru" else "[А-Яа-яЁё]"
        assert re.findall(foreign, words) == [], f"{text.template} {text.channel} {text.locale}"


def test_an_english_sms_is_one_segment(texts: Texts) -> None:
    for text in texts:
        if (text.channel, text.locale) == (Channel.SMS, "en"):
            for given in (FULL, EMPTY, values(company="Twelve Chars")):
                sms = render(text, given).text
                assert set(sms) <= GSM_7
                assert len(sms) <= 160


def test_a_russian_sms_is_at_most_two_segments(texts: Texts) -> None:
    for text in texts:
        if (text.channel, text.locale) == (Channel.SMS, "ru"):
            for given in (FULL, EMPTY, values(company="Двенадцать б")):
                # Two joined UCS-2 segments hold 67 characters each.
                assert len(render(text, given).text) <= 2 * 67


def test_sms_say_nothing_personal(texts: Texts) -> None:
    # A name would make an English SMS cost three: one Cyrillic letter turns it into UCS-2.
    for text in texts:
        if text.channel is Channel.SMS:
            assert not {name for name in text.variables if name.startswith(("customer", "offer"))}


def test_a_marketing_sms_says_how_to_be_left_alone(texts: Texts) -> None:
    # 47 CFR 64.1200(a)(10) and article 18 of 38-FZ: whoever is written to must be able to end it.
    for text in texts:
        if text.channel is Channel.SMS:
            assert ("STOP" in text.file.words) is (text.template not in REMINDERS), f"{text.template} {text.locale}"


def test_a_letter_about_a_loan_warns_of_its_risks(texts: Texts) -> None:
    # Article 28 of 38-FZ, in its own words; in English what it means.
    words = {
        "en": "orrow only what you can comfortably repay.",
        "ru": "Оценивайте свои финансовые возможности и риски.",
    }
    for text in texts:
        if text.channel in (Channel.EMAIL, Channel.POPUP) and text.template.partition("/")[0] in ABOUT_LOANS:
            assert words[text.locale] in str(render(text)), f"{text.template} {text.locale}"


@pytest.mark.parametrize("locale", ["en", "ru"])
def test_a_marketing_letter_can_be_left_and_says_who_writes(locale: str, texts: Texts) -> None:
    for text in texts:
        if text.channel is Channel.EMAIL and text.locale == locale:
            letter = render(text)
            for part in (letter.html, letter.text):
                assert "1 Main Street, Springfield" in part
                assert "https://j.example/u/token-1" in part
                assert "https://j.example/p/token-1" in part


@pytest.mark.parametrize("channel", ["email", "inbox", "push", "call"])
@pytest.mark.parametrize("locale", ["en", "ru"])
def test_after_a_refusal_another_bank_is_offered_or_the_choice_is(channel: str, locale: str, texts: Texts) -> None:
    text = texts.find("refused_by_bank/another_bank", Channel(channel), locale)
    assert "Beta" in str(render(text))
    without = str(render(text, values(offer=None)))
    assert "Beta" not in without
    assert without != str(render(text))


def test_every_link_leads_to_the_clients_site(texts: Texts) -> None:
    for text in texts:
        asked: list[str] = []
        given = with_event_of(text, values())
        text.render(given, track=lambda address, asked=asked: asked.append(address) or address, footer=None)  # type: ignore[misc]
        assert all(address.startswith("https://cars.example/") for address in asked)
        # Who is called hears no link; every other text has somewhere to go, or waits for an answer.
        if not asked or text.channel is Channel.CALL:
            answered = text.file.buttons or text.template in ASKING
            assert bool(asked) is not (text.channel is Channel.CALL or answered), f"{text.template} {text.channel}"


def test_every_whatsapp_text_can_be_reviewed_and_then_written_with_everything_known_and_with_nothing(
    texts: Texts,
) -> None:
    # Outside the customer-service window it goes out so or not at all.
    for text in texts:
        if text.channel is Channel.WHATSAPP and text.category != SESSION:
            form = form_of(text, company="Cars", site="https://cars.example")
            for given in (FULL, EMPTY):
                filled = fill(text, form, "HX1", with_event_of(text, given), track)
                assert filled.buttons == render(text, given).buttons
