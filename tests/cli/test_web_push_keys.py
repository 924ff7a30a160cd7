"""`journeys web-push-keys`."""

import pytest
from typer.testing import CliRunner

from channels.web_push import WebPushSettings
from cli.main import app


def test_the_key_is_one_the_product_takes_and_the_public_one_is_told_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [CliRunner().invoke(app, ["web-push-keys"]) for _ in range(2)]
    assert [each.exit_code for each in made] == [0, 0]
    first, second = (each.stdout.strip() for each in made)
    assert first != second
    name, _, value = first.partition("=")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEB_PUSH_CONTACT", "mailto:push@cars.example")
    assert WebPushSettings().public_key in made[0].stderr
