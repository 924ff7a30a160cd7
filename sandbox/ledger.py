"""The ledger: every provider call that took effect, and what people wrote back, one row each."""

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ASKED_AT: ContextVar[float | None] = ContextVar("asked_at", default=None)
"""When the call arrived that has the effect being recorded, where a fault may come between (seconds since 1970)."""

Provider = Literal["twilio", "sendgrid", "fcm", "web_push", "call_centre", "operators"]
Channel = Literal["sms", "whatsapp", "email", "push", "web_push", "call"]
# outbound: the product's effect. inbound: a person wrote. automatic: the provider itself wrote.
Direction = Literal["outbound", "inbound", "automatic"]

# A later status never gives way to an earlier one, in whatever order callbacks go out.
_RANK = {
    status: rank
    for rank, statuses in enumerate(
        [
            ("accepted",),
            ("queued", "processed", "initiated"),
            ("sent", "deferred", "ringing"),
            ("delivered", "received", "in-progress"),
            ("undelivered", "failed", "bounce", "dropped", "replaced"),
            ("read", "open", "opened", "dismissed"),
            ("click", "clicked"),
            ("unsubscribe", "spamreport"),
            ("answered", "no_answer", "busy", "declined", "wrong_number", "completed", "no-answer", "canceled"),
        ]
    )
    for status in statuses
}


class StatusAt(BaseModel):
    """A status and the moment (UTC) the provider's side reached it."""

    status: str
    at: datetime


class NewEntry(BaseModel):
    """What is written down about one effect."""

    model_config = ConfigDict(frozen=True)

    provider: Provider
    channel: Channel
    direction: Direction = "outbound"
    provider_id: str
    message_id: str | None = None
    address: str
    sender: str
    status: str
    subject: str | None = None
    text: str
    html: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class Entry(NewEntry):
    """One row of the ledger; `at` is the moment (UTC) of the effect, `asked_at` that of the call."""

    id: int
    statuses: list[StatusAt]
    at: datetime
    asked_at: datetime

    def reached(self, status: str) -> bool:
        return any(step.status == status for step in self.statuses)


class Counts(BaseModel):
    """How many effects there were; `repeated` maps a message id to its effects where not one."""

    total: int
    by_provider: dict[str, int]
    by_channel: dict[str, dict[str, int]]
    message_ids: int
    repeated: dict[str, int]


class Ledger:
    """Rows are never removed: an erased message keeps its row, without its text."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def record(self, new: NewEntry) -> Entry:
        now = time.time()
        row = new.model_dump() | {
            "statuses": json.dumps([{"status": new.status, "at": now}]),
            "details": json.dumps(new.details | {"asked_at": ASKED_AT.get() or now}),
            "at": now,
        }
        columns = ", ".join(row)
        values = ", ".join(f":{column}" for column in row)
        with self._connection:
            cursor = self._connection.execute(f"insert into ledger ({columns}) values ({values})", row)
        assert cursor.lastrowid is not None
        return self.get(cursor.lastrowid)

    def get(self, entry_id: int) -> Entry:
        """Raises LookupError where there is no such row."""
        for entry in self._select("where id = ?", (entry_id,)):
            return entry
        raise LookupError(f"no ledger entry {entry_id}")

    def by_provider_id(self, provider: Provider, provider_id: str) -> Entry | None:
        found = self._select("where provider = ? and provider_id = ? limit 1", (provider, provider_id))
        return next(found, None)

    def page(
        self,
        provider: Provider | None = None,
        message_id: str | None = None,
        address: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[Entry]:
        """Outbound effects in the order they happened, from the row after `after` on."""
        return list(
            self._select(
                """where direction = 'outbound' and id > :after
                and (:provider is null or provider = :provider)
                and (:message_id is null or message_id = :message_id)
                and (:address is null or address = :address)
                order by id limit :limit""",
                {
                    "provider": provider,
                    "message_id": message_id,
                    "address": address,
                    "after": after,
                    "limit": limit,
                },
            )
        )

    def of_addresses(self, addresses: list[str], limit: int = 500) -> list[Entry]:
        """The newest `limit` entries of these addresses in all directions, oldest first."""
        marks = ", ".join("?" for _ in addresses)
        newest = self._select(f"where address in ({marks}) order by id desc limit ?", (*addresses, limit))
        return list(newest)[::-1]

    def of_provider(self, provider: Provider, address: str | None = None) -> Iterator[Entry]:
        """All entries of one provider, or those of one address, in all directions, newest first."""
        if address is None:
            return self._select("where provider = ? order by id desc", (provider,))
        return self._select("where provider = ? and address = ? order by id desc", (provider, address))

    def replace(self, entry_id: int, provider_id: str) -> Entry:
        """Note that the same message was handed over again and took its own place: no second effect."""
        now = time.time()
        again = {"provider_id": provider_id, "at": now, "asked_at": ASKED_AT.get() or now}
        self.amend(entry_id, replacements=[*self.get(entry_id).details.get("replacements", []), again])
        return self.get(entry_id)

    def advance(self, entry_id: int, status: str) -> None:
        """Note that a status was reached; the entry's own status only moves forward."""
        entry = self.get(entry_id)
        steps = [{"status": step.status, "at": step.at.timestamp()} for step in entry.statuses]
        if not entry.reached(status):
            steps.append({"status": status, "at": time.time()})
        current = max(status, entry.status, key=lambda each: _RANK[each])
        with self._connection:
            self._connection.execute(
                "update ledger set status = ?, statuses = ? where id = ?",
                (current, json.dumps(steps), entry_id),
            )

    def amend(self, entry_id: int, **details: Any) -> None:
        """Set fields of the entry's details."""
        entry = self.get(entry_id)
        known = entry.details | details | {"asked_at": entry.asked_at.timestamp()}
        with self._connection:
            self._connection.execute("update ledger set details = ? where id = ?", (json.dumps(known), entry_id))

    def redact(self, entry_id: int) -> None:
        """Forget what was said, keep the row."""
        details = self.get(entry_id).details
        said = {name: type(details[name])() for name in ("buttons", "content_variables") if name in details}
        self.amend(entry_id, **said, erased=True)
        with self._connection:
            self._connection.execute(
                "update ledger set text = '', html = null, subject = null where id = ?",
                (entry_id,),
            )

    def redact_addresses(self, provider: Provider, addresses: list[str]) -> None:
        """Forget the texts of everything a provider has carried to some addresses, whatever their case."""
        wanted = {address.lower() for address in addresses}
        for entry in self.of_provider(provider):
            if entry.address.lower() in wanted:
                self.redact(entry.id)

    def counts(self) -> Counts:
        by_provider: dict[str, int] = defaultdict(int)
        by_channel: dict[str, dict[str, int]] = defaultdict(dict)
        for provider, channel, status, number in self._connection.execute(
            """select provider, channel, status, count(*) from ledger
            where direction = 'outbound' group by 1, 2, 3"""
        ):
            by_provider[provider] += number
            by_channel[channel][status] = number
        (message_ids,) = self._connection.execute(
            "select count(distinct message_id) from ledger where direction = 'outbound'"
        ).fetchone()
        repeated = self._connection.execute(
            """select message_id, count(*) from ledger
            where direction = 'outbound' and message_id is not null
            group by 1 having count(*) > 1"""
        )
        return Counts(
            total=sum(by_provider.values()),
            by_provider=dict(by_provider),
            by_channel=dict(by_channel),
            message_ids=message_ids,
            repeated=dict(repeated.fetchall()),
        )

    def totals_by_address(self) -> dict[str, dict[Channel, int]]:
        """How many messages each address got, by channel; newest address last."""
        totals: dict[str, dict[Channel, int]] = defaultdict(dict)
        for address, channel, number in self._connection.execute(
            """select address, channel, sum(direction = 'outbound') from ledger
            group by 1, 2 order by max(id)"""
        ):
            totals[address][channel] = number
        return dict(totals)

    def _select(self, condition: str, values: tuple[object, ...] | dict[str, object]) -> Iterator[Entry]:
        for row in self._connection.execute(f"select * from ledger {condition}", values):
            details = json.loads(row["details"])
            yield Entry(
                **{
                    **dict(row),
                    "statuses": [
                        StatusAt(status=step["status"], at=datetime.fromtimestamp(step["at"], UTC))
                        for step in json.loads(row["statuses"])
                    ],
                    "asked_at": datetime.fromtimestamp(details.pop("asked_at", row["at"]), UTC),
                    "details": details,
                    "at": datetime.fromtimestamp(row["at"], UTC),
                }
            )
