"""What an author looks at without a server: `journeys check`, `draw` and `list --local`."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from cli import authors, commands
from cli.main import app
from settings import PROJECT
from tests.storyboards.stories import Leap, Uncollected
from workflows.enabled import JOURNEYS


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.console, "width", 200)


def run(*arguments: str, **environment: str) -> Result:
    result = CliRunner().invoke(app, list(arguments), env={"JOURNEYS_URL": None, "DATABASE_URL": None, **environment})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def deployment(folder: Path, *lines: str) -> str:
    """The file of another deployment."""
    file = folder / "journeys.toml"
    given = (PROJECT / "journeys.toml").read_text()
    head, policy, rest = given.partition("[policy")
    file.write_text("\n".join([head, *lines, policy + rest]))
    return str(file)


def test_what_ships_is_right() -> None:
    checked = run("check")
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert f"{len(JOURNEYS)} journeys and their texts: nothing wrong" in checked.stdout
    assert "no rehearsal comes here" not in checked.stdout


def test_what_only_a_rehearsal_finds_is_told_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the packs that have events of the same names.
    monkeypatch.setattr(authors, "JOURNEYS", (*JOURNEYS[:1], Leap, Uncollected))
    checked = run("check")
    assert checked.exit_code == 1
    for found in (
        "KeyError: 'Alpha' (steps of Leap, in a rehearsal)",
        # A name that is put together while it runs.
        "there is no text uncollected/first for push; write push.en.txt and push.ru.txt in templates/texts/uncollected",
        "there is no text leap/newer for sms",
    ):
        (line,) = [line for line in checked.stderr.splitlines() if found in line]
        assert "stories.py:" in line
    assert "no rehearsal comes here: self.send(sms('leap/never'))" in checked.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("parameters = {AbandonedApplication = {wait = 'P1D'}}", "wait: Extra inputs are not permitted"),
        ("parameters = {Nobody = {}}", "not enabled: Nobody"),
        ("locales = ['en', 'de']", "footer.de.md"),
        ("enabled_ = 1", "enabled_: Extra inputs are not permitted"),
    ],
)
def test_a_deployments_file_is_checked_with_them(tmp_path: Path, line: str, said: str) -> None:
    checked = run("check", JOURNEYS_CONFIG=deployment(tmp_path, line))
    assert checked.exit_code == 1
    assert said in checked.stderr


def test_a_journey_is_drawn_into_a_file(tmp_path: Path) -> None:
    file = tmp_path / "picture.svg"
    drawn = run("draw", "AbandonedApplication", "--to", str(file))
    assert drawn.exit_code == 0
    assert str(file) in drawn.stdout
    wide = ElementTree.fromstring(file.read_text())
    assert "Your application is saved" in " ".join(wide.itertext())
    assert run("draw", "AbandonedApplication", "--narrow", "--to", str(file)).exit_code == 0
    narrow = ElementTree.fromstring(file.read_text())
    assert float(narrow.get("width", 0)) < float(wide.get("width", 0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["draw", "Nobody"], "there is no journey Nobody; there are AbandonedApplication"),
        (["draw", "AbandonedApplication", "--to", "/nowhere/picture.svg"], "cannot write /nowhere/picture.svg"),
        (["list", "--local", "--pack", "submarines"], "there is no pack submarines; there are"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(arguments: list[str], said: str) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_all_journeys_are_listed_from_the_code_with_their_stories(tmp_path: Path) -> None:
    listed = run("list", "--local", JOURNEYS_CONFIG=deployment(tmp_path))
    assert listed.exit_code == 0
    for journey in JOURNEYS:
        assert journey.__name__ in listed.stdout
    for words in (
        "▶ credit application started",
        "Goal, at any moment: credit application submitted",
        "├── almost empty",
        "◷ 30 minutes of quiet",
        "4. Push, Email, Inbox partly_filled",
        "■ over",
    ):
        assert words in listed.stdout
