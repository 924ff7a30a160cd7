"""The way of a message is visible in the folders: who may import whom, without circles."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "segments": {"domain"},
    "policy": {"domain"},
    "channels": {"domain"},
    "templates": {"domain"},
    "workflows": {"domain", "segments"},
    "storyboards": {"domain", "workflows"},
    "store": {"domain", "policy", "segments", "settings"},
    "dispatch": {"domain", "segments", "store", "workflows"},
    "activities": {
        "domain",
        "segments",
        "policy",
        "channels",
        "templates",
        "store",
        "dispatch",
        "workflows",
        "settings",
    },
    "api": {
        "domain",
        "segments",
        "policy",
        "storyboards",
        "store",
        "templates",
        "workflows",
        "dispatch",
        "channels",
        "settings",
        "logs",
    },
    "sandbox": set(),
}
ROOMS = {*MAY_IMPORT, "bench", "cli", "logs", "settings", "worker"}


def imported(file: Path) -> set[str]:
    """The rooms a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names} & ROOMS


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    for file in sorted((PROJECT / room).rglob("*.py")):
        foreign = imported(file) - {room} - MAY_IMPORT[room]
        assert not foreign, f"{file.relative_to(PROJECT)} imports {', '.join(sorted(foreign))}"


def test_there_are_no_circles() -> None:
    rest = dict(MAY_IMPORT)
    while rest:
        free = {room for room, needs in rest.items() if not needs & rest.keys()}
        assert free, f"a circle among {', '.join(sorted(rest))}"
        rest = {room: needs for room, needs in rest.items() if room not in free}


def test_the_product_does_not_know_the_sandbox() -> None:
    for room in MAY_IMPORT.keys() - {"sandbox"}:
        assert "sandbox" not in MAY_IMPORT[room]
    assert "sandbox" not in imported(PROJECT / "worker.py")
