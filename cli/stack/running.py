"""How other commands find the stack that `journeys up` keeps running."""

from pathlib import Path

_FILE = "api_url"


def announce(data: Path, api_url: str) -> None:
    """Leave word in a data directory where its API is."""
    (data / _FILE).write_text(api_url)


def retire(data: Path) -> None:
    """Take the word back."""
    (data / _FILE).unlink(missing_ok=True)


def api_url(data: Path) -> str | None:
    """Return where the API of a data directory's stack is, or None if none runs."""
    file = data / _FILE
    return file.read_text() if file.exists() else None
