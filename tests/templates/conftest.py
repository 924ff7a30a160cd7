"""The product's own texts, and folders of texts written for one test."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from templates import TEXTS
from templates.renderer import Footer, Text, Texts

TRACKED = "https://go.cars.example/r/"
FOOTER = Footer(
    postal_address="1 Main Street, Springfield",
    unsubscribe_url="https://j.example/u/token-1",
    preferences_url="https://j.example/p/token-1",
)

Write = Callable[..., Texts]


def values(**others: object) -> dict[str, Any]:
    return {
        "customer": {"first_name": "Anna"},
        "event": {"application_id": "app-1", "bank": "Alpha"},
        "offer": {"bank": "Beta", "product": "Headphones"},
        "visit": {"day": "28.11", "hour": "18:30", "centre": "North"},
        "words": {"text": "17"},
        "review": None,
        "site": "https://cars.example",
        "company": "Cars",
        "parameters": {},
    } | others


def track(address: str) -> str:
    """Stand for the tracked links: as long as real ones, and showing what they lead to by number."""
    return TRACKED + f"{sum(address.encode()):x}".rjust(34, "0")


def render(text: Text, given: dict[str, Any] | None = None) -> Any:
    return text.render(values() if given is None else given, track=track, footer=FOOTER)


def render_for_its_journey(text: Text, given: dict[str, Any] | None = None) -> Any:
    return render(text, with_event_of(text, values() if given is None else given))


def with_event_of(text: Text, given: dict[str, Any]) -> dict[str, Any]:
    """Add what a text says of its journey's own event, whichever journey it is."""
    named = {name.removeprefix("event."): "17" for name in text.variables if name.startswith("event.")}
    return {**given, "event": named | given["event"]}


@pytest.fixture(scope="session")
def texts() -> Texts:
    return Texts.load(TEXTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of texts with nothing but the letterhead."""
    copytree(TEXTS / "letter", tmp_path / "letter")
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a text of the template ``test/text`` in both languages, and load it."""

    def write(channel: str, source: str) -> Texts:
        directory = folder / "test" / "text"
        directory.mkdir(parents=True, exist_ok=True)
        ending = "md" if channel == "email" else "txt"
        for locale in ("en", "ru"):
            (directory / f"{channel}.{locale}.{ending}").write_text(source)
        return Texts.load(folder)

    return write
