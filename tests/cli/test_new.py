"""`journeys new` in a copy of the repository: what it writes runs as it is, and what is in the way stops it whole."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cli import new
from cli.main import app
from settings import PROJECT

LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "var", "build", "__pycache__", ".*_cache", "*.egg-info", ".hypothesis", "*.png"
)
GIT = ["git", "-c", "user.name=tests", "-c", "user.email=tests@example.com", "-c", "commit.gpgsign=false"]

Journeys = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as it is."""
    return Path(shutil.copytree(PROJECT, tmp_path_factory.mktemp("original") / "product", ignore=LEFT_BEHIND))


@pytest.fixture
def checkout(original: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(original, tmp_path / "product"))


@pytest.fixture
def journeys(checkout: Path) -> Journeys:
    """Runs the command of the copy."""

    def run(*arguments: str, largest_file: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        command = [sys.executable, "-B", "-m", "cli.main", *arguments]
        return subprocess.run(command, cwd=checkout, capture_output=True, text=True, preexec_fn=limited)

    return run


def contents(folder: Path) -> dict[str, str]:
    """Everything in a folder, by its path."""
    return {
        str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts and ".git" not in file.parts
    }


def folders(folder: Path) -> Iterator[str]:
    return (str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_dir() and each.name != "__pycache__")


def passes(checkout: Path, *command: str) -> None:
    ran = subprocess.run([sys.executable, "-m", *command], cwd=checkout, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]


@pytest.mark.timeout(600)  # It starts a whole installation for the tests it has written.
def test_what_it_writes_is_clean_and_its_test_passes_as_it_is(checkout: Path, journeys: Journeys) -> None:
    before = contents(checkout)
    made = journeys("new", "ForgottenCart", "--pack", "shop", "--event", "cart_left", "--goal", "cart_ordered")
    assert made.returncode == 0, made.stderr
    # Beside it one that starts on an event there is, with fields, in the pack there is.
    shared = ("--pack", "car_credit", "--event", "credit_application_progressed", "--goal", "credit_issued")
    assert journeys("new", "SecondThoughts", *shared).returncode == 0

    after = contents(checkout)
    assert {file for file in before if before[file] != after.get(file)} == {"workflows/enabled.py"}
    written = sorted(after.keys() - before.keys())
    assert "workflows/shop/forgotten_cart.py" in written
    assert f"  {written[0]}\n" in made.stdout
    code = [file for file in [*written, "workflows/enabled.py"] if file.endswith(".py")]
    passes(checkout, "ruff", "format", "--check", *code)
    passes(checkout, "ruff", "check", *code)
    # What mypy knows of the repository holds for the copy, whose files have the same times.
    passes(checkout, "mypy", "--cache-dir", str(PROJECT / ".mypy_cache"), *code)
    checked = journeys("check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "nothing wrong" in checked.stdout
    tests = ["tests/workflows/test_forgotten_cart.py", "tests/workflows/test_second_thoughts.py"]
    passes(checkout, "pytest", "-q", "-p", "no:cacheprovider", *tests, "tests/templates/test_texts.py")

    drawn = journeys("draw", "ForgottenCart")
    assert drawn.returncode == 0
    picture = " ".join(ElementTree.fromstring((checkout / "ForgottenCart.svg").read_text()).itertext())
    for words in ("cart left", "cart ordered", "You can go on where you stopped", "up to 4 hours until read"):
        assert words in picture


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["forgotten_cart"], "forgotten_cart: a journey's name is written in PascalCase, such as ForgottenCart"),
        (["HTTPJourney"], "HTTPJourney: a journey's name is written in PascalCase, such as ForgottenCart"),
        (["../Cart"], "../Cart: a journey's name is written in PascalCase, such as ForgottenCart"),
        (["Class"], "class is a word of Python's own; give it another name"),
        (["Корзина"], "Корзина: a journey's name is written in PascalCase, such as ForgottenCart"),
        (["Forgotten-Cart"], "Forgotten-Cart: a journey's name is written in PascalCase, such as ForgottenCart"),
        (["2Carts"], "2Carts: a journey's name is written in PascalCase, such as ForgottenCart"),
        (
            ["Events", "--pack", "shop"],
            "Events would be events.py, which holds the pack's events; give it another name",
        ),
        (["Field"], "Field means something else in a journey's file; give it another name"),
        (["RefusedByBank"], "RefusedByBank is taken: workflows/car_credit/refused_by_bank.py:"),
        (["Stubborn"], "Stubborn is taken: tests/workflows/stories.py:"),
        (["Cart", "--pack", "My Pack"], "--pack My Pack: is written in small letters, digits and underscores"),
        (["Cart", "--pack", "import"], "import is a word of Python's own; give it another name"),
        (["Cart", "--pack", "journey"], "--pack journey: workflows/journey.py is no pack; give it another name"),
        (["Cart", "--event", "CartLeft"], "--event CartLeft: is written in small letters, digits and underscores"),
        (["Cart", "--event", "message_read"], "message_read is an event of the product's own"),
        (["Cart", "--event", "left", "--goal", "left"], "--goal left: the event that starts a journey is not its goal"),
        (["Cart", "--event", "visited"], "the event visited is declared at tests/workflows/stories.py:"),
        (
            ["Cart", "--pack", "shop", "--event", "credit_issued"],
            "the event credit_issued is declared at workflows/car_credit/events.py:",
        ),
        (["CartLeft", "--event", "cart_left"], "the event cart_left would be declared under the journey's own name"),
        (["Cart", "--event", "left" * 30], "would have lines of more than 120 characters; choose shorter names"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is(
    original: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.setattr(new, "PROJECT", original)
    before = contents(original)
    pack = [] if "--pack" in arguments else ["--pack", "car_credit"]
    refused = CliRunner().invoke(app, ["new", *arguments, *pack])
    assert refused.exit_code == 1
    assert reason in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert contents(original) == before


def test_of_several_packs_none_is_guessed(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new, "PROJECT", original)
    refused = CliRunner().invoke(app, ["new", "Cart"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("--pack: say which, there are car_credit, car_dealer, ")


@pytest.mark.parametrize(
    "taken",
    ["workflows/car_credit/cart.py", "templates/texts/cart", "tests/workflows/test_cart.py"],
)
def test_nothing_is_written_over(checkout: Path, monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    monkeypatch.setattr(new, "PROJECT", checkout)
    if taken.endswith(".py"):
        (checkout / taken).write_text("mine = True\n")
    else:
        (checkout / taken).mkdir()
    before = contents(checkout)
    refused = CliRunner().invoke(app, ["new", "Cart", "--pack", "car_credit"])
    assert (refused.exit_code, refused.stderr) == (1, f"{taken} is there already; give the journey another name\n")
    assert contents(checkout) == before


def test_a_file_with_changes_of_its_authors_is_not_touched(checkout: Path, journeys: Journeys) -> None:
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "begin"]):
        subprocess.run([*GIT, *command], cwd=checkout, check=True)
    with (checkout / "workflows/enabled.py").open("a") as enabled:
        enabled.write("# Half a thought.\n")
    before = contents(checkout)
    refused = journeys("new", "Cart", "--pack", "car_credit")
    assert refused.returncode == 1
    assert refused.stderr == "workflows/enabled.py: has changes that are not committed; commit or undo them first\n"
    assert contents(checkout) == before
    subprocess.run([*GIT, "commit", "--quiet", "--all", "--message", "whole"], cwd=checkout, check=True)
    assert journeys("new", "Cart", "--pack", "car_credit").returncode == 0


def test_a_disk_that_is_full_in_the_middle_leaves_nothing_behind(checkout: Path, journeys: Journeys) -> None:
    before, before_folders = contents(checkout), set(folders(checkout))
    # Room for everything but what comes last: the list, which is longer by a line.
    room = (checkout / "workflows/enabled.py").stat().st_size
    refused = journeys("new", "Cart", "--pack", "shop", largest_file=room)
    assert refused.returncode == 1
    assert refused.stderr == "cannot write workflows/enabled.py: File too large; nothing was written\n"
    assert contents(checkout) == before
    assert set(folders(checkout)) == before_folders
    assert journeys("new", "Cart", "--pack", "shop").returncode == 0
