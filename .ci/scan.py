"""Looks every locked dependency up in a database of known vulnerabilities: ``python .ci/scan.py FILE…``

It asks PyPI's advisories or, where those cannot be reached, OSV's. Exit code 1 for a known vulnerability. Where no
database can be reached nothing is pretended: it says NOT SCANNED, and with `JOURNEYS_REQUIRE_SCAN=1` that is
exit code 1 too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Service:
    """A database of vulnerabilities, as pip-audit names it."""

    name: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What a database says.

    Attributes:
        vulnerable: A line for each dependency with a known vulnerability.
        unknown: Dependencies it could not tell about.
        looked_up: How many it could tell about.
    """

    vulnerable: tuple[str, ...]
    unknown: tuple[str, ...]
    looked_up: int


class Unreachable(Exception):
    """A database does not answer; the message says how that showed."""


def look_up(service: Service, files: Sequence[Path]) -> Findings:
    """Look up what some requirement files pin.

    Raises:
        Unreachable: The database does not answer, or knows none of them: that is somebody else answering for it.
    """
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service.name, *service.options]
    command += ["--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    for file in files:
        command += ["--requirement", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(run.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise Unreachable(run.stderr.strip().rpartition("\n")[2][:100] or f"exit code {run.returncode}") from None
    told = [each for each in found if "skip_reason" not in each]
    if not told:
        raise Unreachable("it knows none of the packages")
    return Findings(
        vulnerable=tuple(
            f"{each['name']} {each['version']}: {vulnerability['id']}, mended in "
            f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
            for each in told
            for vulnerability in each["vulns"]
        ),
        unknown=tuple(each["name"] for each in found if "skip_reason" in each),
        looked_up=len(told),
    )


def first_of(file: Path) -> str:
    """Return the first pin of a requirement file with its hashes, to find out quickly who answers."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    end = next((place for place, line in enumerate(lines) if not line.rstrip().endswith("\\")), len(lines) - 1)
    return "\n".join(lines[: end + 1]) + "\n"


def scan(services: Sequence[Service], files: Sequence[Path]) -> Findings:
    """Look up everything in the first database that answers.

    Raises:
        Unreachable: None does.
    """
    silent = []
    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory) / "probe.txt"
        probe.write_text(first_of(files[0]))
        for service in services:
            try:
                look_up(service, [probe])
                return look_up(service, files)
            except Unreachable as error:
                silent.append(f"{service.name}: {error}")
    raise Unreachable("; ".join(silent))


def main() -> int:
    """Scan, say what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--osv-url", help="Ask only this mirror of OSV's interface.")
    given = parser.parse_args()
    services = [Service("osv", ("--osv-url", given.osv_url))] if given.osv_url else [Service("pypi"), Service("osv")]
    required = os.environ.get("JOURNEYS_REQUIRE_SCAN") == "1"
    try:
        findings = scan(services, given.files)
    except Unreachable as error:
        print(f"NOT SCANNED: no database of vulnerabilities can be reached from here ({error}).")
        print("Whether a dependency has a known vulnerability is NOT known. JOURNEYS_REQUIRE_SCAN=1 makes this fail.")
        return int(required)
    for line in findings.vulnerable:
        print(f"VULNERABLE: {line}")
    if findings.unknown:
        print(f"NOT SCANNED: {', '.join(findings.unknown)}; the database does not know them.")
    print(f"Scanned {findings.looked_up} dependencies, found {len(findings.vulnerable)} vulnerabilities.")
    return int(bool(findings.vulnerable) or (required and bool(findings.unknown)))


if __name__ == "__main__":
    sys.exit(main())
