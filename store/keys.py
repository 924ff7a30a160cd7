"""Keys of backends and operators: kept as hashes, each with its scopes.

``python -m store.keys ensure`` makes the keys of the variable `JOURNEYS_KEYS` exist: a JSON list of
``{"name": …, "scopes": […], "token": …}``.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

import asyncpg
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError

from settings import ConfigurationError, database_url
from store.database import Connection, open_pool


class Scope(StrEnum):
    """What a key may do."""

    INGEST = "ingest"
    """Send events, as the user name of Basic authentication (Segment's write key)."""
    OPERATE = "operate"
    """Look at journeys and customers and change them."""
    READ = "read"
    """Look at journeys and customers."""
    INBOX = "inbox"
    """Read a customer's inbox and report what they did with it."""


class GivenKey(BaseModel):
    """A key whose token somebody else chose."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[Scope] = Field(min_length=1)
    token: SecretStr = Field(min_length=20)


@dataclass(frozen=True)
class Key:
    """A key that was recognised."""

    name: str
    scopes: frozenset[Scope]


def hash_of(token: str) -> bytes:
    """Return what is kept of a token; tokens are random, so a plain hash gives nothing away."""
    return sha256(token.encode()).digest()


async def recognise(connection: Connection, token: str) -> Key | None:
    """Return the key a token belongs to, if it is one and not revoked."""
    row = await connection.fetchrow(
        "select name, scopes from api_keys where token_hash = $1 and revoked_at is null", hash_of(token)
    )
    return Key(row["name"], frozenset(map(Scope, row["scopes"]))) if row else None


async def ensure(connection: Connection, keys: Sequence[GivenKey]) -> None:
    """Make keys exist as given; one that exists under its name gets the token and scopes given."""
    for key in keys:
        await connection.execute(
            """
            insert into api_keys (name, token_hash, scopes) values ($1, $2, $3)
            on conflict (name) do update
            set token_hash = excluded.token_hash, scopes = excluded.scopes, revoked_at = null
            """,
            key.name,
            hash_of(key.token.get_secret_value()),
            key.scopes,
        )


async def create(connection: Connection, name: str, scopes: Sequence[Scope]) -> str | None:
    """Make a key and return its token; None if an unrevoked key has that name."""
    token = f"{name}_{secrets.token_urlsafe(32)}"
    made = await connection.fetchval(
        """
        insert into api_keys (name, token_hash, scopes) values ($1, $2, $3)
        on conflict (name) do update
        set token_hash = excluded.token_hash, scopes = excluded.scopes, created_at = now(), revoked_at = null
        where api_keys.revoked_at is not null
        returning name
        """,
        name,
        hash_of(token),
        list(dict.fromkeys(scopes)),
    )
    return token if made else None


async def every(connection: Connection) -> list[asyncpg.Record]:
    """Return all keys by name, without their tokens, which nobody has."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select name, scopes, created_at, revoked_at from api_keys order by name"
    )
    return rows


async def revoke(connection: Connection, name: str) -> bool:
    """Revoke a key; False if there is none of that name, or it is revoked."""
    done: str = await connection.execute(
        "update api_keys set revoked_at = now() where name = $1 and revoked_at is null", name
    )
    return done != "UPDATE 0"


async def _ensure_given() -> None:
    try:
        keys = TypeAdapter(list[GivenKey]).validate_json(os.environ.get("JOURNEYS_KEYS", ""))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ConfigurationError(f"JOURNEYS_KEYS: {wrong}") from None
    pool = await open_pool(database_url(), size=1)
    async with pool, pool.acquire() as connection:
        await ensure(connection, keys)


if __name__ == "__main__":
    if sys.argv[1:] != ["ensure"]:
        sys.exit("usage: python -m store.keys ensure")
    try:
        asyncio.run(_ensure_given())
    except ConfigurationError as error:
        sys.exit(str(error))
