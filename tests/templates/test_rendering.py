"""What a text becomes, channel by channel; and what it refuses to become."""

from html.parser import HTMLParser

import pytest

from domain.messages import Button, CallContent, Channel, PushContent, WhatsAppContent
from templates.renderer import MissingVariable, RenderError
from tests.templates.conftest import FOOTER, TRACKED, Write, render, track, values

APPLICATION = "https://cars.example/credit/application/app-1"
LINK = "{{ site }}/credit/application/{{ event.application_id }}"


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_letter(write: Write) -> None:
    source = (
        f"---\nsubject: Hello, {{{{ customer.first_name }}}}\n---\n"
        f"# Title\n\nDear **{{{{ customer.first_name }}}}**, look [here]({LINK}) or at <https://bank.example/>.\n\n"
        f"[Go on]({LINK})\n\n- one\n- two\n\n3. three\n4. four\n\nBye"
    )
    letter = render(write("email", source).find("test/text", Channel.EMAIL, "en"))

    go_on, bank = track(APPLICATION), track("https://bank.example/")
    assert letter.subject == "Hello, Anna"
    page = Page(letter.html)
    assert page.links == [go_on, bank, go_on, FOOTER.unsubscribe_url, FOOTER.preferences_url]
    assert "<strong>Anna</strong>" in letter.html
    assert "{" not in page.words.partition("</style>")[2]
    assert letter.text == (
        f"Title\n\nDear Anna, look here <{go_on}> or at {bank}.\n\nGo on: {go_on}\n\n"
        "- one\n- two\n\n3. three\n4. four\n\nBye\n\n—\n"
        "Cars, 1 Main Street, Springfield\n\n"
        "You get this letter as a customer of ours. "
        f"Unsubscribe in one click <{FOOTER.unsubscribe_url}> or choose what you hear about <{FOOTER.preferences_url}>."
    )


def test_a_letter_brings_its_style_with_it(write: Write) -> None:
    letter = render(write("email", f"---\nsubject: Hi\n---\n[Go on]({LINK})").find("test/text", Channel.EMAIL, "en"))
    button = letter.html.partition('class="button"')[2].partition(">")[0]
    assert "background-color" in button
    assert "@media" in letter.html
    assert "@import" not in letter.html
    assert "<link" not in letter.html


def test_a_transactional_letter_has_no_footer(write: Write) -> None:
    text = write("email", "---\nsubject: Hi\n---\nText").find("test/text", Channel.EMAIL, "en")
    letter = text.render(values(), track=track, footer=None)
    assert letter.text == "Text"  # type: ignore[union-attr]
    assert "nsubscribe" not in letter.html  # type: ignore[union-attr]


def test_each_link_is_tracked_once(write: Write) -> None:
    asked: list[str] = []

    def count(address: str) -> str:
        asked.append(address)
        return f"https://go.example/{len(asked)}"

    source = f"---\nsubject: Hi\n---\n[a]({LINK}) [b]({LINK}) [c](https://other.example)"
    text = write("email", source).find("test/text", Channel.EMAIL, "en")
    text.render(values(), track=count, footer=FOOTER)
    assert asked == [APPLICATION, "https://other.example"]


def test_bare_addresses_in_a_short_text_are_tracked(write: Write) -> None:
    source = f"{{{{ company }}}}: see {LINK}. (Or https://other.example/a?b=1&c=2)! http://x.example,"
    sms = render(write("sms", source).find("test/text", Channel.SMS, "en"))
    first, second, third = (
        track(address) for address in (APPLICATION, "https://other.example/a?b=1&c=2", "http://x.example")
    )
    assert sms.text == f"Cars: see {first}. (Or {second})! {third},"


def test_a_push(write: Write) -> None:
    source = f"---\ntitle: Hi, {{{{ customer.first_name }}}}\nlink: {LINK}\n---\nText"
    push = render(write("push", source).find("test/text", Channel.PUSH, "en"))
    assert push == PushContent(title="Hi, Anna", body="Text", link=track(APPLICATION))


def test_a_whatsapp_with_buttons(write: Write) -> None:
    source = "---\nbutton: y | Yes, {{ company }}\nbutton: n | No\n---\nShall we?"
    content = render(write("whatsapp", source).find("test/text", Channel.WHATSAPP, "en"))
    buttons = (Button(id="y", title="Yes, Cars"), Button(id="n", title="No"))
    assert content == WhatsAppContent(text="Shall we?", buttons=buttons)


@pytest.mark.parametrize(
    ("traits", "name"),
    [({"first_name": "Anna", "last_name": "Smith"}, "Anna Smith"), ({"last_name": "Smith"}, "Smith"), ({}, None)],
)
def test_a_call(traits: dict[str, str], name: str | None, write: Write) -> None:
    text = write("call", "---\ntopic: Help\n---\nSay hello.").find("test/text", Channel.CALL, "en")
    assert render(text, values(customer=traits)) == CallContent(topic="Help", script="Say hello.", name=name)


@pytest.mark.parametrize("customer", [{}, {"first_name": None}, {"first_name": ""}, {"first_name": " \n\u200b"}])
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Hi {{ customer.first_name | default: 'friend' }}", "Hi friend"),
        ("Hi{% if customer.first_name %} you{% endif %}", "Hi"),
        ("Hi{% unless customer.first_name %} friend{% endunless %}", "Hi friend"),
    ],
)
def test_a_value_that_is_not_there_can_be_replaced(
    customer: dict[str, object], source: str, expected: str, write: Write
) -> None:
    text = write("sms", source).find("test/text", Channel.SMS, "en")
    assert render(text, values(customer=customer)).text == expected


@pytest.mark.parametrize("customer", [{}, {"first_name": None}, {"first_name": ""}, {"first_name": " \n\u200b"}])
@pytest.mark.parametrize(
    ("channel", "source"),
    [
        ("sms", "Hi {{ customer.first_name }}"),
        ("sms", "Hi {{ customer.first_name | upcase | default: '' }}"),
        ("email", "---\nsubject: Hi {{ customer.first_name }}\n---\nText"),
        ("push", "---\ntitle: Hi\nlink: {{ site }}/{{ customer.first_name }}\n---\nText"),
    ],
)
def test_a_value_that_is_not_there_is_an_error_that_names_it(
    customer: dict[str, object], channel: str, source: str, write: Write
) -> None:
    text = write(channel, source).find("test/text", Channel(channel), "ru")
    with pytest.raises(MissingVariable) as caught:
        render(text, values(customer=customer))
    assert caught.value.name == "customer.first_name"
    assert str(caught.value) == f"test/text, {channel}, ru: customer.first_name is missing"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("{{ offer.bank }}", "offer.bank"),
        ("{% for car in event.cars %}{{ car }}{% endfor %}", "event.cars"),
        ("{{ site }}", "site"),
        # What another variable holds is a value, and no name.
        ("{% for car in event[event.owner] %}{{ car }}{% endfor %}", "event"),
        ("{% assign car = event[event.owner] | upcase %}{{ car }}", "event"),
    ],
)
def test_whole_variables_may_be_missing(source: str, name: str, write: Write) -> None:
    text = write("sms", "Text " + source).find("test/text", Channel.SMS, "en")
    with pytest.raises(MissingVariable) as caught:
        render(text, {"event": {"owner": "Anna"}, "offer": None})
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for i in (1..100000000) %}x{% endfor %}", "LoopIterationLimitError"),
        (
            "{% assign s = 'aaaaaaaaaa' %}{% for i in (1..900) %}{% assign s = s | append: s %}{% endfor %}",
            "LocalNamespaceLimitError",
        ),
        (
            "{% assign s = 'aaaaaaaaaa' | append: event.long %}{% for i in (1..900) %}{{ s }}{% endfor %}",
            "OutputStreamLimitError",
        ),
        ("{{ event.secret | divided_by: 0 }}", "FilterArgumentError"),
    ],
)
def test_a_text_that_cannot_be_rendered_says_where_but_not_with_which_values(
    source: str, reason: str, write: Write
) -> None:
    event = {"secret": "Anna Secret", "long": "l" * 1000}
    text = write("sms", "Text\n" + source).find("test/text", Channel.SMS, "en")
    with pytest.raises(RenderError) as caught:
        render(text, values(event=event))
    assert str(caught.value).startswith("test/text, sms, en: line 2: ")
    assert reason in str(caught.value)
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "mailto:a@b.example",
        "https://",
        "http://[",
        "app-1",
        "JavaScript:alert(1)//https://cars.example",
        " javascript:alert(1)",
        "/\\evil.example",
        "\\\\evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https:///evil.example",
        "https:\\\\evil.example",
        "https://evil.example\\@cars.example/",
        "https://cars.example@evil.example/",
        "https://cars.example:secret@evil.example/",
        "https://cars.example%40evil.example/",
        "https://cars.example%2F@evil.example",
        "https://cars.example%00.evil.example",
        "https://еvil.example/",
        "https://cars.example。evil.example/",
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_link_leads_to_the_web_and_nowhere_else(address: str, whole: bool, write: Write) -> None:
    destination = "{{ event.address }}" if whole else address
    text = write("email", f"---\nsubject: Hi\n---\n[x](<{destination}>)").find("test/text", Channel.EMAIL, "en")
    with pytest.raises(RenderError, match="a link must be an http"):
        render(text, values(event={"address": address}))


@pytest.mark.parametrize(
    ("link", "value"),
    [
        ("{{ event.car }}", "https://evil.example/bmw"),
        ("{{ event.car }}", "https://cars.example.evil.example/bmw"),
        ("{{ event.car }}", "https://evilcars.example/bmw"),
        ("{{ event.car }}", "https://cars.example:8443/bmw"),
        ("{{ event.car }}", "https://evil.example?https://cars.example/"),
        ("{{ event.car }}", "https://evil.example#.cars.example"),
        ("https://{{ event.car }}/", "evil.example"),
        ("https://{{ event.car }}.example/", "evil"),
        ("{{ site }}{{ event.car }}", ".evil.example"),
        ("{{ site }}.{{ event.car }}", "evil.example"),
        ("https:{{ event.car }}", "//evil.example"),
    ],
)
@pytest.mark.parametrize("channel", ["push", "email"])
def test_no_value_chooses_a_foreign_host(link: str, value: str, channel: str, write: Write) -> None:
    sources = {"push": f"---\ntitle: Hi\nlink: {link}\n---\nText", "email": f"---\nsubject: Hi\n---\n[x](<{link}>)"}
    text = write(channel, sources[channel]).find("test/text", Channel(channel), "en")
    with pytest.raises(RenderError, match="a link ") as caught:
        render(text, values(event={"car": value}))
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize("value", ["evil.example", "@evil.example", "//evil.example", "\\\\evil.example", "..%2f..%2f"])
def test_a_value_stays_within_the_part_of_the_address_it_stands_in(value: str, write: Write) -> None:
    text = write("push", "---\ntitle: Hi\nlink: {{ site }}/cars/{{ event.car }}\n---\nText")
    push = text.find("test/text", Channel.PUSH, "en").render(values(event={"car": value}), track=str, footer=None)
    prefix, part = "https://cars.example/cars/", str(push.link)  # type: ignore[union-attr]
    assert part.startswith(prefix)
    assert not set(part.removeprefix(prefix)) & set("/\\@:?#\r\n")


def test_a_value_may_lead_to_a_part_of_the_site(write: Write) -> None:
    text = write("push", "---\ntitle: Hi\nlink: {{ event.car }}\n---\nText").find("test/text", Channel.PUSH, "en")
    push = text.render(values(event={"car": "https://used.Cars.example/bmw"}), track=str, footer=None)
    assert push.link == "https://used.Cars.example/bmw"  # type: ignore[union-attr]


def test_a_link_may_be_a_whole_value_where_the_author_says_so(write: Write) -> None:
    text = write("push", "---\ntitle: Hi\nlink: {{ event.car }}\n---\nText").find("test/text", Channel.PUSH, "en")
    push = text.render(values(event={"car": "https://cars.example/bmw?id=1&q=синий x"}), track=str, footer=None)
    assert push.link == "https://cars.example/bmw?id=1&q=%D1%81%D0%B8%D0%BD%D0%B8%D0%B9%20x"  # type: ignore[union-attr]


def test_the_site_must_be_an_address(write: Write) -> None:
    text = write("sms", "{{ site }}/x").find("test/text", Channel.SMS, "en")
    with pytest.raises(RenderError, match="http"):
        render(text, values(site="cars.example"))


def test_what_goes_wrong_while_tracking_is_not_taken_for_a_bad_text(write: Write) -> None:
    def fail(_: str) -> str:
        raise ValueError("no key")

    text = write("sms", "{{ site }}/x").find("test/text", Channel.SMS, "en")
    with pytest.raises(ValueError, match="no key"):
        text.render(values(), track=fail, footer=None)


def test_tracked_addresses_are_what_the_test_takes_them_for() -> None:
    assert len(track(APPLICATION)) == 60
    assert track(APPLICATION).startswith(TRACKED)
