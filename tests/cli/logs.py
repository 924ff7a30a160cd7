"""Small logs, and the mapping that goes with them."""

import csv
import gzip
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

MAPPING = """
title = "A shop's applications"

[columns]
time = "at"
case = "case"

[customer]
user_id = "{who}"
device = "phone-of-{who}"

[customer.traits]
email = "{who}@example.com"
phone = "+1212555{case:0>4}"
limit = { number = "{sum}" }

[[events]]
when = { what = "opened" }
event = "credit_application_started"
properties = { application_id = "{case}", filled = 2, total = 40, sum = { number = "{sum}" } }

[[events]]
when = { what = ["signed", "sent"] }
event = "credit_application_submitted"
properties = { application_id = "{case}" }

[[events]]
when = { what = "sent" }
event = "credit_issued"
properties = { application_id = "{case}" }

[[ignored]]
when = { what = "filed" }
because = "the clerks' work"
"""

COLUMNS = ("at", "case", "what", "sum", "who")
NOON = datetime(2012, 3, 1, 12, tzinfo=UTC)

Row = Sequence[str]


def row(after: float, case: str, what: str, *, sum: str = "1000", who: str | None = None) -> Row:
    """A row so many seconds after noon."""
    return ((NOON + timedelta(seconds=after)).isoformat(), case, what, sum, who or f"client-{case}")


def text(*rows: Row) -> str:
    """A log as CSV."""
    written = io.StringIO()
    csv.writer(written).writerows([COLUMNS, *rows])
    return written.getvalue()


def written(folder: Path, content: str | bytes, *, mapping: str = MAPPING, packed: bool = False) -> tuple[Path, Path]:
    """Write a log and a mapping, and return where they are."""
    raw = content if isinstance(content, bytes) else content.encode()
    log = folder / ("log.csv.gz" if packed else "log.csv")
    log.write_bytes(gzip.compress(raw) if packed else raw)
    (folder / "mapping.toml").write_text(mapping)
    return log, folder / "mapping.toml"
