"""Texts of browsers, sites and machines: what their headers may say."""

import pytest

from domain.messages import BannerContent, CallContent, Channel, PopupContent, Surface, WebPushContent
from templates import TEXTS
from templates.checks import check
from templates.renderer import BadText, BadTexts, Text, Texts
from worker import check_spoken

SITE = "https://cars.example"
VALUES = {
    "site": SITE,
    "company": "Cars",
    "customer": {"first_name": "Ada"},
    "event": {"rest": 4000},
}


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts.load(TEXTS)


def composed(texts: Texts, channel: Channel, header: str, body: str = "Until Friday.") -> Text:
    return texts.compose("limits/spend", channel, "en", f"---\n{header}\n---\n{body}\n")


def rendered(text: Text) -> object:
    return text.render(VALUES, track=lambda url: f"https://j.example/r/{url[-4:]}", footer=None)


def test_a_popup_says_where_it_is_shown_and_what_its_link_is_called(texts: Texts) -> None:
    header = (
        "title: {{ event.rest }} left\nlink: {{ site }}/shop\nbutton: Spend, {{ customer.first_name }}\nsurface: app"
    )
    assert rendered(composed(texts, Channel.POPUP, header)) == PopupContent(
        title="4000 left",
        body="Until Friday.",
        link="https://j.example/r/shop",
        button="Spend, Ada",
        surface=Surface.APP,
    )


def test_a_banner_and_a_web_push_need_no_more_than_a_title(texts: Texts) -> None:
    banner, push = (composed(texts, channel, "title: Hello") for channel in (Channel.BANNER, Channel.WEB_PUSH))
    assert rendered(banner) == BannerContent(title="Hello", body="Until Friday.")
    assert rendered(push) == WebPushContent(title="Hello", body="Until Friday.")


def test_what_a_machine_speaks_is_beside_what_is_for_people(texts: Texts) -> None:
    text = composed(
        texts, Channel.CALL, "topic: Limit\nspoken: Hello, {{ customer.first_name }}!", "Ask. Do not insist."
    )
    content = rendered(text)
    assert isinstance(content, CallContent)
    assert (content.spoken, content.script) == ("Hello, Ada!", "Ask. Do not insist.")
    assert text.is_spoken
    assert not composed(texts, Channel.CALL, "topic: Limit").is_spoken


@pytest.mark.parametrize(
    ("channel", "header", "rule"),
    [
        (Channel.POPUP, "link: {{ site }}", "header field 'title' is missing"),
        (Channel.POPUP, "title: A\nsurface: paper", "a surface is one of web, app, once"),
        (Channel.POPUP, "title: A\nsurface: web\nsurface: app", "a surface is one of web, app, once"),
        (Channel.BANNER, "title: A\nbutton: Spend", "header field 'button' names what 'link' leads to"),
        (Channel.WEB_PUSH, "title: A\nbutton: Spend", "unknown header field 'button', web_push has: link, title"),
        (Channel.INBOX, "title: A\nsurface: web", "unknown header field 'surface'"),
    ],
)
def test_a_wrong_header_is_named(channel: Channel, header: str, rule: str, texts: Texts) -> None:
    with pytest.raises(BadText, match=rule):
        composed(texts, channel, header)


@pytest.mark.parametrize(
    ("channel", "header", "body", "problem"),
    [
        (Channel.WEB_PUSH, "title: A", "x" * 241, "body: 241 characters, at most 240"),
        (Channel.POPUP, f"title: {'x' * 81}", "B", "title: 81 characters, at most 80"),
        (
            Channel.BANNER,
            f"title: A\nlink: {{{{ site }}}}\nbutton: {'x' * 31}",
            "B",
            "button: 31 characters, at most 30",
        ),
        (Channel.CALL, f"topic: A\nspoken: {'x' * 601}", "B", "spoken: 601 characters, at most 600"),
    ],
)
def test_what_is_too_long_is_not_published(
    channel: Channel, header: str, body: str, problem: str, texts: Texts
) -> None:
    found = check(composed(texts, channel, header, body), [], company="Cars", site="https://cars.example")
    assert found.problems == (problem,)


def test_every_call_that_ships_can_be_made_by_a_machine(texts: Texts) -> None:
    check_spoken(texts)
    assert any(text.channel is Channel.CALL for text in texts)
    mute = Texts(
        {("a/b", Channel.CALL, "en"): composed(texts, Channel.CALL, "topic: Limit")}, texts._letterhead, ("en",)
    )
    with pytest.raises(BadTexts, match=r"limits/spend/call\.en\.txt:1: header field 'spoken' is missing"):
        check_spoken(mute)
