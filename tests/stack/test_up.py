"""`journeys up`, from the command to its end."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from cli.stack.ports import free_port
from cli.stack.processes import PROJECT, clean_environment


def _up(data: Path, **ports: int) -> subprocess.Popen[str]:
    variables = {f"JOURNEYS_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "up", "--data-dir", str(data), "--workers", "2"],
        cwd=PROJECT,
        env={**clean_environment(), "COLUMNS": "200", "PYTHONUNBUFFERED": "1", **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _told(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return the table it prints when everything runs."""
    assert process.stdout
    told: dict[str, str] = {}
    for line in process.stdout:
        if line.startswith("Ctrl-C"):
            return told
        if found := re.fullmatch(r"\s+(.+?)\s{2,}(\S+)\s*", line):
            told[found[1]] = found[2]
    raise AssertionError(process.communicate()[1])


def test_up_serves_every_address_it_prints_and_ends_tidily(tmp_path: Path) -> None:
    ports = {"api": free_port(), "ui": free_port(), "sandbox": free_port()}
    first = _up(tmp_path, **ports)
    told = _told(first)
    everything = psutil.Process(first.pid).children(recursive=True)
    for name, port in {
        "API": ports["api"],
        "Temporal's web interface": ports["ui"],
        "Phones and mailboxes": ports["sandbox"],
    }.items():
        assert told[name] == f"http://127.0.0.1:{port}"
    for name in ("API documentation", "Temporal's web interface", "Phones and mailboxes"):
        assert httpx.get(told[name], follow_redirects=True, timeout=30).is_success
    tracked = {"event": "seen", "userId": "1", "messageId": "1"}
    accepted = httpx.post(f"{told['API']}/v1/track", json=tracked, auth=(told["Write key (sends events)"], ""))
    assert accepted.status_code == httpx.codes.OK

    first.send_signal(signal.SIGTERM)
    assert first.wait(90) == 0
    assert [one for one in everything if one.is_running()] == []

    second = _up(tmp_path, **ports)
    again = _told(second)
    assert again["Operator key (Bearer)"] == told["Operator key (Bearer)"]
    os.kill(second.pid, signal.SIGINT)
    assert second.wait(90) == 0


@pytest.mark.parametrize(
    ("name", "option"), [("api", "--api-port"), ("ui", "--ui-port"), ("sandbox", "--sandbox-port")]
)
def test_up_names_a_taken_port_and_what_moves_it(tmp_path: Path, name: str, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"api": free_port(), "ui": free_port(), "sandbox": free_port()} | {name: taken.getsockname()[1]}
        process = _up(tmp_path, **ports)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert str(ports[name]) in error
    assert f"{option} or JOURNEYS_{name.upper()}_PORT" in error
