"""Secrets of a data directory that was made by an earlier release."""

from pathlib import Path

from cli.stack import secrets

URL = "http://127.0.0.1:8025"


def test_what_an_earlier_release_did_not_need_is_added_and_nothing_else_changes(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    new = secrets.keep(file, URL, durable=True)
    later = ("WEB_PUSH_PRIVATE_KEY", "WEB_PUSH_CONTACT", "WEB_PUSH_SERVICES", "SANDBOX_SITE_KEY")
    old = {name: value for name, value in new.providers.items() if name not in later}
    file.write_text(new.model_copy(update={"providers": old}).model_dump_json())
    kept = secrets.keep(file, "http://127.0.0.1:8026", durable=True)
    assert kept.providers.keys() == new.providers.keys()
    assert kept.providers["TWILIO_AUTH_TOKEN"] == old["TWILIO_AUTH_TOKEN"]
    assert kept.providers["WEB_PUSH_SERVICES"] == "http://127.0.0.1:8026"
    assert secrets.keep(file, "http://127.0.0.1:8026", durable=True) == kept
