"""A broken text is found when the product starts, with file and line."""

from pathlib import Path

import pytest

from domain.messages import Channel
from templates.renderer import BadTexts, Texts, UnknownTemplate
from tests.templates.conftest import Write


@pytest.mark.parametrize(
    ("channel", "source", "line", "rule"),
    [
        ("sms", "Hello\n{% if offer %}\nyes", None, "endif"),
        ("sms", "Hello\n{{ customer.first_name ", 2, "}}"),
        ("sms", "Hello\n\n{{ custmer.first_name }}", 3, "unknown variable 'custmer'"),
        ("sms", "Hello\n{{ customer.first_name | upcse }}", 2, "unknown filter 'upcse'"),
        ("sms", "{% capture x %}{% endcapture %}", 1, "capture"),
        ("sms", "{% include 'secrets' %}", 1, "include"),
        ("sms", "---\nsubject: Hello\n---\nText", 2, "unknown header field 'subject'"),
        ("sms", "   \n", 1, "no body"),
        ("email", "Text", 1, "'subject' is missing"),
        ("email", "---\nsubject: Hello\nText", 1, "closing"),
        ("email", "---\nsubject: Hello\nsubject: Again\n---\nText", 3, "twice"),
        ("email", "---\nsubject: {{ event.\n---\nText", 2, ""),
        ("email", "---\nsubject: Hello\n---\nText\n{{ x }}", 5, "unknown variable 'x'"),
        ("email", "---\nsubject: Hello\ntopic: x\n---\nText", 3, "unknown header field 'topic'"),
        ("push", "---\ntitle: Hello\nlink\n---\nText", 3, "name: value"),
        ("whatsapp", "---\nbutton: yes\n---\nText", 2, "id | title"),
        ("whatsapp", "---\nbutton: y | Yes\nbutton: y | Also\n---\nText", 3, "id | title"),
    ],
)
def test_a_broken_text(channel: str, source: str, line: int | None, rule: str, write: Write) -> None:
    with pytest.raises(BadTexts) as caught:
        write(channel, source)
    for locale, problem in zip(("en", "ru"), caught.value.problems, strict=True):
        place, _, words = problem.partition(": ")
        file, _, found = place.rpartition(":")
        assert Path(file).name.startswith(f"{channel}.{locale}.")
        assert rule in words
        assert line is None or int(found) == line


def test_a_text_must_exist_in_both_languages(folder: Path) -> None:
    directory = folder / "test" / "text"
    directory.mkdir(parents=True)
    (directory / "sms.en.txt").write_text("Hello")
    (directory / "email.ru.md").write_text("---\nsubject: Здравствуйте\n---\nТекст")
    with pytest.raises(BadTexts) as caught:
        Texts.load(folder)
    assert caught.value.problems == [
        f"{directory}/email.en.md:1: every text must exist in en and ru",
        f"{directory}/sms.ru.txt:1: every text must exist in en and ru",
    ]


@pytest.mark.parametrize(
    "place",
    ["sms.en.txt", "test/sms.en.txt", "test/text/sms.de.txt", "test/text/email.en.txt", "test/text/fax.en.txt"],
)
def test_a_misplaced_file(place: str, folder: Path) -> None:
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_text("Hello")
    with pytest.raises(BadTexts, match=r"group/name/channel\.locale"):
        Texts.load(folder)


def test_a_broken_letterhead(folder: Path) -> None:
    (folder / "letter" / "footer.ru.md").write_text("{{ customer.first_name }}")
    with pytest.raises(BadTexts, match=r"letter: .*unknown variable 'customer'"):
        Texts.load(folder)


@pytest.mark.parametrize(
    ("locale", "found"), [("en", "en"), ("ru-RU", "ru"), ("RU_ru", "ru"), ("en-GB", "en"), ("kk-KZ", "en"), ("", "en")]
)
def test_the_language_of_a_locale(locale: str, found: str, write: Write) -> None:
    assert write("sms", "Hello").find("test/text", Channel.SMS, locale).locale == found


def test_a_text_nobody_wrote(write: Write) -> None:
    texts = write("sms", "Hello")
    with pytest.raises(UnknownTemplate, match=r"'test/text' for email"):
        texts.find("test/text", Channel.EMAIL, "en")
    with pytest.raises(UnknownTemplate):
        texts.variables("test/other", Channel.SMS, "en")


def test_which_variables_a_text_uses(write: Write) -> None:
    texts = write(
        "push",
        "---\ntitle: {{ company }}\nlink: {{ site }}/{{ event.id }}\n---\n"
        "{% assign name = customer.first_name | default: 'friend' %}{{ name }}"
        "{% if offer %}{{ offer.bank }}{% endif %}",
    )
    assert texts.variables("test/text", Channel.PUSH, "ru") == {
        "company",
        "site",
        "event.id",
        "customer.first_name",
        "offer",
        "offer.bank",
    }


def test_the_version_changes_with_the_text_and_with_the_layout_of_letters(write: Write, folder: Path) -> None:
    def versions(body: str) -> tuple[str, str]:
        write("sms", body)
        texts = write("email", f"---\nsubject: Hello\n---\n{body}")
        return tuple(texts.find("test/text", channel, "en").version for channel in (Channel.SMS, Channel.EMAIL))  # type: ignore[return-value]

    first = versions("One")
    assert versions("One") == first
    assert not set(versions("Two")) & set(first)
    layout = folder / "letter" / "layout.html"
    layout.write_text(layout.read_text().replace("560px", "600px"))
    assert versions("One")[0] == first[0]
    assert versions("One")[1] != first[1]
