"""A text as a template of WhatsApp's: numbered variables, and every rule of its reviewers that we know."""

from typing import Any

import pytest

from domain.messages import Channel
from templates.checks import check
from templates.files import SESSION
from templates.renderer import MissingVariable, RenderError, Text, Texts
from templates.whatsapp import Form, NoTemplate, fill, form_of

SITE = "https://cars.example"
HEAD = "---\ncategory: marketing\n---\n"


@pytest.fixture
def text(texts: Texts) -> Any:
    return lambda source: texts.compose("campaigns/spring", Channel.WHATSAPP, "en", source)


def form(text: Text) -> Form:
    return form_of(text, company="Cars", site=SITE)


def filled(text: Text, **values: object) -> Any:
    given = {"customer": {}, "event": {}, "company": "Cars", "site": SITE, **values}
    return fill(text, form(text), "HX1", given, lambda url: f"https://j.example/r/{len(url)}")


def test_values_and_whole_links_become_numbers_and_what_is_the_same_for_everybody_stays_words(text: Any) -> None:
    source = "{{ company }}: {{ customer.first_name | default: 'friend' }}, look at {{ site }}/car/{{ event.car }}."
    made = form(text(HEAD + source))
    assert made.body == "Cars: {{1}}, look at {{2}}."
    assert made.samples == {"1": "first name", "2": f"{SITE}/car/1"}
    assert (made.category, made.language) == ("marketing", "en")


def test_a_customer_gets_their_values_and_links_of_their_own(text: Any) -> None:
    source = HEAD + "Dear {{ customer.first_name | default: 'friend' }}, look at {{ site }}/car/{{ event.car }}."
    content = filled(text(source), event={"car": "a b"}, customer={"first_name": "Анна\n1"})
    assert content.template.variables == {"1": "Анна 1", "2": "https://j.example/r/30"}
    assert content.text == "Dear Анна 1, look at https://j.example/r/30."
    assert filled(text(source), event={"car": 7}).text.startswith("Dear friend,")


def test_a_value_cannot_become_a_variable_or_a_link_of_its_own(text: Any) -> None:
    content = filled(
        text(HEAD + "Dear {{ customer.first_name }}, hello."), customer={"first_name": "{{2}} evil.example"}
    )
    assert content.template.variables["1"].startswith("{{2}} ")
    assert "evil.example" not in content.text


def test_a_missing_value_is_named(text: Any) -> None:
    with pytest.raises(MissingVariable) as missing:
        filled(text(HEAD + "Car {{ event.car }} is here."))
    assert missing.value.name == "event.car"


def test_what_gets_too_long_by_its_values_is_not_sent(text: Any) -> None:
    with pytest.raises(RenderError, match="1008 characters, at most 1000"):
        filled(text(HEAD + "Dear {{ event.a }}."), event={"a": "x" * 1002})


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("Hello.", "category: must be marketing, utility or authentication"),
        ("---\ncategory: session\n---\nHello.", "category: must be marketing, utility or authentication"),
        (HEAD + "{% if event.a %}A{% endif %} b.", "no conditions or loops"),
        (HEAD + "{{ event.a }} is here.", "neither begins nor ends with a variable"),
        (HEAD + "Go on: {{ site }}/credit", "neither begins nor ends with a variable or a link"),
        (HEAD + "Dear {{ event.a }} {{ event.b }}.", "between two variables of a template there are words"),
        (HEAD + "Dear {{- event.a }}.", "{{- and -}} are not for templates"),
        (HEAD + "x" * 1001, "1001 characters, at most 1000"),
        ("---\ncategory: utility\nbutton: a | Call {{ event.a }}\n---\nHello.", "button a: may not change"),
        (f"---\ncategory: utility\nbutton: a | {'x' * 26}\n---\nHello.", "26 characters, at most 25"),
        (
            "---\ncategory: utility\n" + "".join(f"button: {n} | {n}\n" for n in range(11)) + "---\nHello.",
            "11 of them, at most 10",
        ),
        ("---\ncategory: utility\nmedia: http://cars.example/7.jpg\n---\nHello.", "must be an https address"),
        ("---\ncategory: utility\nmedia: {{ site }}/7.gif\n---\nHello.", "must end as a picture or a video does"),
        ("---\ncategory: utility\nmedia: {{ site }}/{{ event.a }}.jpg\n---\nHello.", "media: may not change"),
    ],
)
def test_what_the_reviewers_would_refuse_is_refused_with_its_rule(text: Any, source: str, rule: str) -> None:
    with pytest.raises(NoTemplate) as refused:
        form(text(source))
    assert any(rule in problem for problem in refused.value.problems), refused.value.problems


def test_the_version_changes_with_what_the_reviewers_see_and_with_nothing_else(text: Any) -> None:
    first = form(text(HEAD + "Dear {{ event.a }}, hello."))
    assert form(text("---\ncategory: marketing\n---\nDear {{event.a}}, hello.")).version == first.version
    assert form(text("---\ncategory: utility\n---\nDear {{ event.a }}, hello.")).version != first.version
    assert form(text(HEAD + "Dear {{ event.b }}, hello.")).version != first.version


def test_every_whatsapp_text_that_ships_can_be_approved(texts: Texts) -> None:
    # Outside the window nothing else goes out, and a journey cannot know that the customer has just written.
    for text in texts:
        if text.channel is Channel.WHATSAPP and text.category != SESSION:
            assert form_of(text, company="Cars", site=SITE).body


@pytest.mark.parametrize(
    ("media", "problem"),
    [
        ("{{ site }}/car.gif", "media: must end as a picture or a video does: jpeg, jpg, mp4, png"),
        ("http://cars.example/car.jpg", "media: must be an https address"),
    ],
)
def test_what_whatsapp_shows_no_customer_is_refused_also_where_nobody_reviews_it(
    text: Any, media: str, problem: str
) -> None:
    checked = check(text(f"---\ncategory: session\nmedia: {media}\n---\nHere it is."), [], company="Cars", site=SITE)
    assert checked.problems == (problem,)
