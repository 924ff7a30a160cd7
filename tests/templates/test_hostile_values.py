"""Whatever a customer calls themselves, the letter keeps its shape: no tag, link, line or field more."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.messages import Channel
from templates.renderer import Text, Texts
from tests.templates.conftest import Write, render, render_for_its_journey, values
from tests.templates.test_rendering import Page

HOSTILE = [
    "<script>alert(1)</script>",
    "</title></style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "[win](http://evil.example)",
    "](http://evil.example) [x",
    ")<http://evil.example>",
    "http://evil.example/now",
    "www.evil.example",
    "evil\u3002example",
    "![x](http://evil.example/x.png)",
    "# heading\n\n- list\n\n> quote\n\n---\n\n```\ncode",
    "**bold** _it_ `code` ~~no~~ \\",
    "{{ 7*7 }}{% raw %}{{ company }}",
    "&lt;b&gt; &#60;b&#62; &amp;",
    "Anna\r\nBcc: everyone@evil.example\r\n\r\nBody",
    "Anna\u2028\u2029\x85\x0b\x0cSmith",
    "\u202eannA\u202c \u2066x\u2069",
    "عائشة",
    "👩\u200d👩\u200d👧 Zoë Ñandú",
    "\ud800 half",
    "\ue000deadbeef\ue001",
    "x" * 5000,
]

STRUCTURE = st.sampled_from("a.:/<>[]()!#*_`\\&;\"'{}|~-+=\n\r\t 1é\u202e")

EVERYWHERE = """---
subject: Hi NAME
---
# NAME

Dear NAME, **NAME** and [NAME]({{ site }}/a/NAME?b=NAME "NAME")

NAME

- NAME

![NAME](https://cars.example/logo.png) `NAME`

    NAME
""".replace("NAME", "{{ customer.first_name }}")


def shape(letter: Any) -> object:
    """What of a letter must not depend on its values."""
    page = Page(letter.html)
    return page.tags, len(page.links), len(letter.text.splitlines()), len(letter.subject.splitlines())


@pytest.fixture
def everywhere(write: Write) -> Text:
    return write("email", EVERYWHERE).find("test/text", Channel.EMAIL, "en")


def check_letter(text: Text, name: str) -> None:
    letter = render(text, values(customer={"first_name": name}))
    assert shape(letter) == shape(render(text))
    links = [*Page(letter.html).links, *re.findall(r"https?://[^\s>]+", letter.text)]
    assert {link.split("/")[2] for link in links} == {"go.cars.example", "j.example"}
    for part in (letter.html, letter.text, letter.subject):
        assert not re.search("[\ue000\ue001\u202a-\u202e\u2066-\u2069\ud800-\udfff]", part)
        assert "://evil" not in part
    assert "\n" not in letter.subject
    assert "\r" not in letter.subject


@pytest.mark.parametrize("name", HOSTILE)
def test_a_letter_keeps_its_shape(name: str, everywhere: Text) -> None:
    check_letter(everywhere, name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(alphabet=STRUCTURE, max_size=30))
def test_a_letter_keeps_its_shape_whatever_the_name(name: str, everywhere: Text) -> None:
    # The letter before the name keeps a name of blanks from being a missing one.
    check_letter(everywhere, "a" + name)


def test_a_person_reads_the_value_as_it_was_given(everywhere: Text) -> None:
    letter = render(everywhere, values(customer={"first_name": "Anna <3 & [co] *x* 👩\u200d👧 عائشة"}))
    words = "Anna <3 & [co] *x* 👩\u200d👧 عائشة"
    assert letter.subject == f"Hi {words}"
    assert words in letter.text
    assert words in Page(letter.html).words


@pytest.mark.parametrize(
    ("given_name", "words"),
    [
        ("http://evil.example", "http: //evil. example"),
        ("me@evil.example", "me@evil. example"),
        ("J.Smith", "J. Smith"),
        ("2.0 TDI, 1.5%", "2.0 TDI, 1.5%"),
        ("Anna\r\n\r\nPay now", "Anna Pay now"),
    ],
)
def test_no_phone_makes_a_link_of_a_name(given_name: str, words: str, write: Write) -> None:
    text = write("sms", "Hi {{ customer.first_name }}").find("test/text", Channel.SMS, "en")
    assert render(text, values(customer={"first_name": given_name})).text == f"Hi {words}"


def test_a_value_is_one_part_of_an_address(write: Write) -> None:
    text = write("sms", "{{ site }}/a/{{ event.id }}/b").find("test/text", Channel.SMS, "en")
    hostile = {"id": "../x?y=z#w http://evil.example"}
    sms = text.render(values(event=hostile), track=str, footer=None)
    assert sms.text == "https://cars.example/a/..%2Fx%3Fy%3Dz%23w%20http%3A%2F%2Fevil.example/b"  # type: ignore[union-attr]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_every_text_of_the_product_keeps_its_shape(hostile: str, texts: Texts) -> None:
    bad = values(
        customer={"first_name": hostile, "last_name": hostile},
        offer={"bank": hostile},
        company=hostile,
    )
    for text in texts:
        said = {name.removeprefix("event."): hostile for name in text.variables if name.startswith("event.")}
        content, benign = render(text, {**bad, "event": said}), render_for_its_journey(text)
        assert set(content.model_dump()) == set(benign.model_dump())
        for field, words in content.model_dump().items():
            if isinstance(words, str):
                assert len(words.splitlines()) == len(getattr(benign, field).splitlines())
                assert "evil.example" not in words
        if text.channel is Channel.EMAIL:
            assert Page(content.html).tags == Page(benign.html).tags
