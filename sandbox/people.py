"""Who is behind an address, and how their network behaves."""

import sqlite3
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Delivery = Literal[
    "delivered",  # everything arrives
    "deferred",  # email: first put off, then delivered
    "bounced",  # email: refused for good by the receiving server
    "dropped",  # email: SendGrid itself does not send it on
    "undelivered",  # SMS, WhatsApp: sent, but did not arrive (30003 unless error_code says)
    "failed",  # SMS, WhatsApp: could not be sent (30006 unless error_code says)
    "unregistered",  # push, web push: the app or the subscription is gone, 404 UNREGISTERED, 410
    "never",  # accepted, and no callback ever comes
]
CallResult = Literal["answered", "machine", "no_answer", "busy", "declined", "wrong_number"]
# "machine": an answering machine takes it; a call centre's people count that as no answer.


class Behaviour(BaseModel):
    """What a person is known to be like; what `delivery` says concerns the channels it names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(None, max_length=200)
    email: str | None = Field(None, max_length=320)
    phone: str | None = Field(None, pattern=r"^\+[1-9]\d{6,14}$")
    device_token: str | None = Field(None, max_length=4096)
    browser: str | None = Field(None, max_length=4096, description="the endpoint of their browser's subscription")
    user_id: str | None = Field(None, max_length=255, description="who they are to the product, on its own site")
    delivery: Delivery = "delivered"
    error_code: int | None = Field(None, ge=10000, le=99999)
    call_result: CallResult | None = None


class Person(Behaviour):
    """A person by the key they were registered with: one of their addresses, or a name."""

    key: str

    @property
    def addresses(self) -> list[str]:
        own = [each for each in (self.email, self.phone, self.device_token, self.browser) if each]
        return own or [self.key]

    @property
    def behaviour(self) -> Behaviour:
        return Behaviour(**self.model_dump(exclude={"key"}))

    @property
    def title(self) -> str:
        return self.name or self.key


class People:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, key: str, behaviour: Behaviour) -> Person:
        """Register a person or replace what was known; their earlier bounces are forgotten."""
        person = Person(key=key, **behaviour.model_dump())
        with self._connection:
            self._connection.execute(
                "insert into people values (?, ?) on conflict do update set record = excluded.record",
                (key, person.model_dump_json()),
            )
            for address in person.addresses:
                self._connection.execute("delete from blocks where provider = 'sendgrid' and address = ?", (address,))
        return person

    def all(self) -> list[Person]:
        rows = self._connection.execute("select record from people order by key")
        return [Person.model_validate_json(record) for (record,) in rows]

    def registered(self, key: str) -> Person | None:
        row = self._connection.execute("select record from people where key = ?", (key,)).fetchone()
        return Person.model_validate_json(row[0]) if row else None

    def at(self, address: str) -> Person:
        """Who answers at an address: the address's own record, else who names it, else a stranger."""
        return self.registered(address) or self.owner(address) or Person(key=address)

    def owner(self, address: str) -> Person | None:
        """The person who was registered as having this address, if any; the first by key."""
        row = self._connection.execute(
            """select record from people where ? in
            (json_extract(record, '$.email'), json_extract(record, '$.phone'),
                json_extract(record, '$.device_token'), json_extract(record, '$.browser'))
            order by key limit 1""",
            (address,),
        ).fetchone()
        return Person.model_validate_json(row[0]) if row else None

    def block(self, provider: str, address: str, sender: str, reason: str) -> None:
        """From now on the provider refuses what this sender ('*': any) has for the address."""
        with self._connection:
            self._connection.execute(
                "insert or replace into blocks values (?, ?, ?, ?)",
                (provider, address, sender, reason),
            )

    def unblock(self, provider: str, address: str, sender: str) -> None:
        with self._connection:
            self._connection.execute(
                "delete from blocks where provider = ? and address = ? and sender = ?",
                (provider, address, sender),
            )

    def blocked(self, provider: str, address: str, sender: str) -> str | None:
        """Why the provider refuses, or None if it does not."""
        row = self._connection.execute(
            """select reason from blocks
            where provider = ? and address = ? and sender in (?, '*')""",
            (provider, address, sender),
        ).fetchone()
        return row[0] if row else None
