"""Keys of backends and operators: what each may do and how much, and the tokens that open them, kept as hashes.

Keys are administered on the database itself, with the `journeys keys` command or, at the start of an installation,
with ``python -m store.keys ensure``: it makes the keys of the variable `JOURNEYS_KEYS` exist, a JSON list of
``{"name": …, "scopes": […], "token": …}``, with ``rate`` and ``burst`` if they are not the usual ones. There is no
HTTP interface for it, so no key opens the way to another one.
"""

import asyncio
import hmac
import os
import re
import secrets
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Annotated

import asyncpg
from pydantic import AfterValidator, BaseModel, Field, SecretStr, TypeAdapter, ValidationError

from settings import ConfigurationError, database_url
from store import audit
from store.database import Connection, open_pool

CHANNEL = "keys"
"""NOTIFY channel: some key or token is not what it was. The database itself tells, whoever changes it."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""A key's name is the source of its events and the user of its audit entries. Sources of ours have a colon,
``webhook:twilio``: no key can pose as one."""

RATE = 1000
"""Events or requests a second of a key that has no rate of its own, in each API process."""
BURST = 5000
"""How many at once: two of the largest batches."""
MOST = 1_000_000
"""No key may do more, and on a machine of one's own none needs to do less."""


def _sendable(token: SecretStr) -> SecretStr:
    # It is sent as a header, and as the user name of Basic authentication, which ends with the first colon.
    if not re.fullmatch(r"[!-9;-~]+", token.get_secret_value()):
        raise ValueError("must be of letters, digits and signs of ASCII, without spaces and colons")
    return token


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
    CONVERSE = "converse"
    """Read and answer conversations, for the operators' tool."""
    DECODE = "decode"
    """Read what payload keys have encrypted in Temporal."""


@dataclass(frozen=True)
class Rate:
    """How much a key may do: requests, or events where it sends events.

    Attributes:
        per_second: In the long run.
        burst: At once, after it was quiet.
    """

    per_second: float = RATE
    burst: float = BURST


class GivenKey(BaseModel, frozen=True):
    """A key whose token somebody else chose; the same name may come again with another token."""

    name: str = Field(pattern=NAME)
    scopes: list[Scope] = Field(min_length=1)
    token: Annotated[SecretStr, Field(min_length=20, max_length=200), AfterValidator(_sendable)]
    rate: int = Field(default=RATE, ge=1, le=MOST)
    burst: int = Field(default=BURST, ge=1, le=MOST)


@dataclass(frozen=True)
class Key:
    """A key that was recognised."""

    name: str
    scopes: frozenset[Scope]
    rate: Rate = Rate()


@dataclass(frozen=True)
class Token:
    """A token that opens its key now."""

    id: int
    hash: bytes
    key: Key
    expires_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether it has not ended by then (wall time)."""
        return self.expires_at is None or now < self.expires_at


_LIVE = """
    select t.id, t.token_hash, t.expires_at, k.name, k.scopes, k.rate, k.burst
    from api_tokens t join api_keys k on k.name = t.key
    where t.revoked_at is null and k.revoked_at is null and (t.expires_at is null or t.expires_at > now())
"""


def hash_of(token: str) -> bytes:
    """Return what is kept of a token; tokens are random, so a plain hash gives nothing away."""
    return sha256(token.encode()).digest()


async def recognise(connection: Connection, hashed: bytes) -> Token | None:
    """Return the token with a hash, if there is one that opens its key now.

    It is found by the hash, in an index: how long that takes can depend on the hash, but tells nothing of use,
    since nobody can choose a token by the beginning of its hash. What is found is compared in constant time all the
    same, so that nothing rests on how PostgreSQL compares.
    """
    row = await connection.fetchrow(f"{_LIVE} and t.token_hash = $1", hashed)
    if row is None or not hmac.compare_digest(row["token_hash"], hashed):
        return None
    return _token(row)


async def live(connection: Connection) -> dict[bytes, Token]:
    """Return all tokens that open their keys now, by hash."""
    return {row["token_hash"]: _token(row) for row in await connection.fetch(_LIVE)}


def _token(row: asyncpg.Record) -> Token:
    key = Key(row["name"], frozenset(map(Scope, row["scopes"])), Rate(row["rate"], row["burst"]))
    return Token(row["id"], row["token_hash"], key, row["expires_at"])


async def used(connection: Connection, at: Mapping[int, datetime]) -> None:
    """Keep when tokens were last used, once a minute at most, however many processes say so."""
    await connection.execute(
        """
        update api_tokens set last_used_at = used.at from unnest($1::bigint[], $2::timestamptz[]) used(id, at)
        where api_tokens.id = used.id
          and (last_used_at is null or last_used_at <= used.at - interval '1 minute')
        """,
        list(at),
        list(at.values()),
    )


async def create(
    connection: Connection,
    by: str,
    name: str,
    scopes: Sequence[Scope],
    *,
    rate: Rate = Rate(),
    lifetime: timedelta | None = None,
) -> str | None:
    """Make a key and return its first token; None if an unrevoked key has that name.

    Args:
        by: Whoever does it, for the audit log.
        lifetime: How long (wall) the token opens the key; for ever if None.
    """
    async with connection.transaction():
        made = await connection.fetchval(
            """
            insert into api_keys (name, scopes, rate, burst) values ($1, $2, $3, $4)
            on conflict (name) do update
            set scopes = excluded.scopes, rate = excluded.rate, burst = excluded.burst,
                created_at = now(), revoked_at = null
            where api_keys.revoked_at is not null
            returning name
            """,
            name,
            list(dict.fromkeys(scopes)),
            rate.per_second,
            rate.burst,
        )
        if made is None:
            return None
        detail = {"scopes": sorted(set(scopes)), "rate": rate.per_second, "burst": rate.burst}
        await audit.record(connection, by, "keys.create", {"key": name}, {**detail, **_lasting(lifetime)})
        return await _add_token(connection, name, lifetime)


async def rotate(
    connection: Connection, by: str, name: str, overlap: timedelta, *, lifetime: timedelta | None = None
) -> str | None:
    """Make a new token for a key and return it; None if there is no unrevoked key of that name.

    The tokens it has open it for the overlap, or until their own end if that is nearer.

    Args:
        by: Whoever does it, for the audit log.
        overlap: Wall time.
        lifetime: How long (wall) the new token opens the key; for ever if None.
    """
    async with connection.transaction():
        if not await _is_open(connection, name):
            return None
        detail = {"overlap": str(overlap), **_lasting(lifetime)}
        await audit.record(connection, by, "keys.rotate", {"key": name}, detail)
        await connection.execute(
            """
            update api_tokens set expires_at = least(expires_at, now() + $2::interval)
            where key = $1 and revoked_at is null
            """,
            name,
            overlap,
        )
        return await _add_token(connection, name, lifetime)


async def revoke(connection: Connection, by: str, name: str) -> bool:
    """Revoke a key with all its tokens; False if there is none of that name, or it is revoked."""
    async with connection.transaction():
        if not await _is_open(connection, name):
            return False
        await audit.record(connection, by, "keys.revoke", {"key": name})
        await connection.execute("update api_tokens set revoked_at = now() where key = $1 and revoked_at is null", name)
        await connection.execute("update api_keys set revoked_at = now() where name = $1", name)
        return True


async def revoke_token(connection: Connection, by: str, name: str, token: int) -> bool:
    """Revoke one token of a key; False if the key has none of that number, or it is revoked."""
    async with connection.transaction():
        done: str = await connection.execute(
            "update api_tokens set revoked_at = now() where key = $1 and id = $2 and revoked_at is null", name, token
        )
        if done == "UPDATE 0":
            return False
        await audit.record(connection, by, "keys.revoke", {"key": name, "token": token})
        return True


async def ensure(connection: Connection, by: str, given: Sequence[GivenKey]) -> list[str]:
    """Make keys exist as given.

    A key that exists under its name gets the scopes, rate and tokens given; a token that was given before and is
    not any more ends now, those made by `create` and `rotate` stay. What was revoked or has expired stays ended
    though it is given again: an old configuration must not open what somebody closed.

    Args:
        by: Whoever does it, for the audit log.

    Returns:
        The keys of which such a token was given.
    """
    tokens: dict[str, list[bytes]] = defaultdict(list)
    for key in given:
        tokens[key.name].append(hash_of(key.token.get_secret_value()))
    ended = []
    async with connection.transaction():
        for key in {key.name: key for key in given}.values():
            before = await _state(connection, key.name)
            if not await _ensure_key(connection, key, tokens[key.name]):
                ended.append(key.name)
            if await _state(connection, key.name) != before:
                detail = {"scopes": sorted(set(key.scopes)), "rate": key.rate, "burst": key.burst}
                await audit.record(connection, by, "keys.ensure", {"key": key.name}, detail)
    return ended


async def _ensure_key(connection: Connection, key: GivenKey, hashes: Sequence[bytes]) -> bool:
    """Make one key exist with these tokens; False if one of them has ended, and stays so."""
    await connection.execute(
        """
        insert into api_keys (name, scopes, rate, burst) values ($1, $2, $3, $4)
        on conflict (name) do update set scopes = excluded.scopes, rate = excluded.rate, burst = excluded.burst
        """,
        key.name,
        list(dict.fromkeys(key.scopes)),
        key.rate,
        key.burst,
    )
    await connection.execute(
        """
        update api_tokens set revoked_at = now()
        where key = $1 and configured and revoked_at is null and token_hash <> all($2)
        """,
        key.name,
        hashes,
    )
    added: str = await connection.execute(
        """
        insert into api_tokens (key, token_hash, configured) select $1, unnest($2::bytea[]), true
        on conflict (token_hash) do nothing
        """,
        key.name,
        hashes,
    )
    await connection.execute(
        "update api_tokens set configured = true where key = $1 and token_hash = any($2) and not configured",
        key.name,
        hashes,
    )
    if added != "INSERT 0 0":
        await connection.execute("update api_keys set revoked_at = null where name = $1", key.name)
    opening: int = await connection.fetchval(
        f"select count(*) from ({_LIVE}) live where name = $1 and token_hash = any($2)", key.name, hashes
    )
    return opening == len(set(hashes))


async def every(connection: Connection) -> list[asyncpg.Record]:
    """Return all keys by name, each with its tokens' numbers and times, but without the tokens, which nobody has."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select k.name, k.scopes, k.rate, k.burst, t.id as token, t.created_at, t.expires_at, t.last_used_at,
               coalesce(t.revoked_at, k.revoked_at) as revoked_at
        from api_keys k join api_tokens t on t.key = k.name order by k.name, t.id
        """
    )
    return rows


async def _add_token(connection: Connection, name: str, lifetime: timedelta | None) -> str:
    # The name in front tells whoever finds a token in a wrong place whose it is.
    token = f"{name}_{secrets.token_urlsafe(32)}"
    await connection.execute(
        "insert into api_tokens (key, token_hash, expires_at) values ($1, $2, now() + $3::interval)",
        name,
        hash_of(token),
        lifetime,
    )
    return token


async def _is_open(connection: Connection, name: str) -> bool:
    """Whether there is an unrevoked key of a name; it is locked until the transaction ends."""
    found = await connection.fetchval(
        "select true from api_keys where name = $1 and revoked_at is null for update", name
    )
    return found is not None


async def _state(connection: Connection, name: str) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select k.scopes, k.rate, k.burst, k.revoked_at, t.id, t.revoked_at
        from api_keys k left join api_tokens t on t.key = k.name where k.name = $1 order by t.id
        """,
        name,
    )
    return rows


def _lasting(lifetime: timedelta | None) -> dict[str, str]:
    return {} if lifetime is None else {"lifetime": str(lifetime)}


async def _ensure_given() -> None:
    try:
        given = TypeAdapter(list[GivenKey]).validate_json(os.environ.get("JOURNEYS_KEYS", ""))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ConfigurationError(f"JOURNEYS_KEYS: {wrong}") from None
    pool = await open_pool(database_url(), size=1)
    async with pool, pool.acquire() as connection:
        ended = await ensure(connection, audit.operating_system_user(), given)
    for name in ended:
        sys.stderr.write(f"JOURNEYS_KEYS: a token of {name} has ended and opens nothing; give another one\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["ensure"]:
        sys.exit("usage: python -m store.keys ensure")
    try:
        asyncio.run(_ensure_given())
    except ConfigurationError as error:
        sys.exit(str(error))
