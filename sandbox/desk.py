"""What the operators' desk has been told: each conversation as it was told last."""

import sqlite3
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel


class Line(BaseModel):
    """One line of a conversation, as far as the desk shows it."""

    at: datetime
    by: str
    text: str
    buttons: list[str] = []
    choice: str | None = None
    status: str | None = None
    reason: str | None = None


class Event(BaseModel):
    """Something the customer did lately."""

    at: datetime
    event: str
    properties: dict[str, Any] = {}


class Talk(BaseModel):
    """A conversation as the product tells it."""

    id: int
    user_id: str | None = None
    name: str | None = None
    channel: str
    address: str | None = None
    reason: str
    alerted: bool
    opened_at: datetime
    closed_at: datetime | None = None
    closed_by: str | None = None
    answer_until: datetime | None = None
    lines: list[Line] = []
    events: list[Event] = []


class Desk:
    """What the tool has been told, each conversation as it was told last."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, talk: Talk, *, alert: bool = False) -> None:
        """Keep a conversation; an alert stays until it is answered."""
        with self._connection:
            self._connection.execute(
                """insert into desk values (?, ?, ?, ?) on conflict do update
                set record = excluded.record, alert = max(desk.alert, excluded.alert), told = excluded.told""",
                (talk.id, talk.model_dump_json(), alert, datetime.now(UTC).timestamp()),
            )

    def seen(self, number: int) -> None:
        """Somebody has answered or closed it."""
        with self._connection:
            self._connection.execute("update desk set alert = 0 where id = ?", (number,))

    def erase(self, number: int) -> None:
        """Forget a conversation."""
        with self._connection:
            self._connection.execute("delete from desk where id = ?", (number,))

    def all(self) -> list[tuple[Talk, bool]]:
        """Every conversation and whether it alerts: those that alert first, then the newest."""
        rows = self._connection.execute("select record, alert from desk order by alert desc, told desc limit 200")
        return [(Talk.model_validate_json(record), bool(alert)) for record, alert in rows]

    def get(self, number: int) -> Talk | None:
        """One of them."""
        row = self._connection.execute("select record from desk where id = ?", (number,)).fetchone()
        return Talk.model_validate_json(row[0]) if row else None
