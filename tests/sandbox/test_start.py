"""The sandbox starts only with everything it needs, and stands on its own."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.configuration import Configuration, NotConfigured
from sandbox.credentials import generate

ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:8025"
COMPLETE = generate(URL) | {"SANDBOX_CALLBACK_URL": "http://127.0.0.1:8000"}
NEEDED = [
    "SANDBOX_CALLBACK_URL",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "SENDGRID_API_KEY",
    "SANDBOX_SENDGRID_PRIVATE_KEY",
    "SANDBOX_FCM_PUBLIC_KEY",
    "CALL_CENTRE_SECRET",
    "APP_WEBHOOK_SECRET",
]


def test_without_credentials_it_refuses_to_start_and_names_them_all() -> None:
    bare = {name: value for name, value in os.environ.items() if name not in COMPLETE}
    ended = subprocess.run(
        [sys.executable, "-m", "sandbox"], cwd=ROOT, env=bare, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert all(name in ended.stderr for name in NEEDED)
    assert "Traceback" not in ended.stderr


# Of an auth token and an API key only the absence can be seen, any text may be one.
RECOGNISABLE = [name for name in NEEDED if name not in ("TWILIO_AUTH_TOKEN", "SENDGRID_API_KEY")]


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, "") for name in NEEDED] + [(name, "wr*ng") for name in RECOGNISABLE],
)
def test_a_setting_that_is_missing_or_wrong_is_named_but_not_shown(name: str, value: str) -> None:
    with pytest.raises(NotConfigured, match=name) as refusal:
        Configuration.from_environment(COMPLETE | {name: value})
    assert "wr*ng" not in str(refusal.value)


def test_the_settings_do_not_show_their_secrets() -> None:
    shown = repr(Configuration.from_environment(COMPLETE))
    for name in NEEDED[2:5] + NEEDED[6:]:
        assert COMPLETE[name] not in shown


def test_credentials_can_be_printed() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "sandbox", "credentials", "--url", URL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    credentials = json.loads(printed.stdout)
    assert credentials.keys() == generate(URL).keys()
    assert json.loads(credentials["FCM_SERVICE_ACCOUNT"])["token_uri"] == f"{URL}/token"
    Configuration.from_environment(credentials | {"SANDBOX_CALLBACK_URL": URL})


def test_it_imports_nothing_of_the_product() -> None:
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()} | {"settings", "worker"}
    for path in (ROOT / "sandbox").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            foreign = {module.split(".")[0] for module in modules} & ours - {"sandbox"}
            assert not foreign, f"{path.name} imports {foreign}"
