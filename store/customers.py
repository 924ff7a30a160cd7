"""Customers: who they are by which identity, what is known of them, merging two that are one."""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from domain.calls import Device, Profile
from domain.clock import Clock
from domain.enrolments import Outcome
from store import membership, recipients
from store.database import Connection

Identity = tuple[Literal["user", "anonymous"], str]

IDENTITY_LOCKS = 1
"""First half of the advisory locks under which unknown identities get their customer."""


@dataclass(frozen=True)
class Tombstones:
    """Recognises the identities of erased customers by a salted hash."""

    salt: bytes

    def hash(self, identity: Identity) -> bytes:
        return hmac.digest(self.salt, f"erased:{identity[0]}:{identity[1]}".encode(), sha256)


async def find(connection: Connection, identities: Iterable[Identity]) -> dict[Identity, int]:
    """Return the customers some identities belong to; unknown identities are left out."""
    wanted = list(identities)
    rows = await connection.fetch(
        """
        select kind, value, customer_id from identities
        where (kind, value) in (select * from unnest($1::text[], $2::text[]))
        """,
        [kind for kind, _ in wanted],
        [value for _, value in wanted],
    )
    return {(row["kind"], row["value"]): row["customer_id"] for row in rows}


async def lock_unknown(connection: Connection, identities: Iterable[Identity]) -> None:
    """Let one transaction at a time give these identities a customer, whichever comes first."""
    await connection.execute(
        """
        select pg_advisory_xact_lock($1, hashtext(each))
        from (select distinct each from unnest($2::text[]) each order by each) s
        """,
        IDENTITY_LOCKS,
        sorted(f"{kind}:{value}" for kind, value in identities),
    )


async def erased(connection: Connection, identities: Sequence[Identity], tombstones: Tombstones) -> set[Identity]:
    """Return which of these identities belong to customers that were erased."""
    by_hash = {tombstones.hash(identity): identity for identity in identities}
    rows = await connection.fetch("select identity_hash from tombstones where identity_hash = any($1)", list(by_hash))
    return {by_hash[row["identity_hash"]] for row in rows}


async def create(connection: Connection, identity: Identity) -> int:
    """Create a customer known by one identity."""
    number: int = await connection.fetchval("insert into customers default values returning id")
    await attach(connection, identity, number)
    return number


async def attach(connection: Connection, identity: Identity, customer: int) -> None:
    """Let an identity mean a customer."""
    await connection.execute(
        """
        insert into identities (kind, value, customer_id) values ($1, $2, $3)
        on conflict (kind, value) do update set customer_id = excluded.customer_id
        """,
        *identity,
        customer,
    )


async def has_user_id(connection: Connection, customer: int) -> bool:
    """Whether a customer is known by a user id, not only by anonymous ones."""
    found: bool = await connection.fetchval(
        "select exists (select from identities where customer_id = $1 and kind = 'user')", customer
    )
    return found


async def lock(connection: Connection, customers: Iterable[int]) -> dict[int, int | None]:
    """Lock customers' rows, in sorted order.

    Returns:
        Those who are not there any more: whom each was merged into, None for the erased.
    """
    rows = await connection.fetch(
        "select id, merged_into, erased_at from customers where id = any($1) order by id for update",
        sorted(set(customers)),
    )
    return {row["id"]: row["merged_into"] for row in rows if row["merged_into"] or row["erased_at"]}


async def hold_dispatch(connection: Connection, customers: Iterable[int]) -> None:
    """Wait until no dispatcher is at work on customers, and keep them off until this transaction ends.

    To be called before their rows are locked, in the order in which a dispatcher takes both.
    """
    await connection.execute(
        "select pg_advisory_xact_lock(id) from (select unnest($1::bigint[]) as id order by 1) s", sorted(set(customers))
    )


async def describe(connection: Connection, customer: int, profile: Profile, at: datetime) -> None:
    """Keep what an identify call says; one that is older than the newest only fills gaps."""
    gone = [name for name, value in profile.traits.items() if value is None]
    traits = {name: value for name, value in profile.traits.items() if value is not None}
    await connection.execute(
        """
        update customers set
            email = case when fresh then coalesce($2, email) else coalesce(email, $2) end,
            phone = case when fresh then coalesce($3, phone) else coalesce(phone, $3) end,
            time_zone = case when fresh then coalesce($4, time_zone) else coalesce(time_zone, $4) end,
            locale = case when fresh then coalesce($5, locale) else coalesce(locale, $5) end,
            traits = case when fresh then (traits || $6) - $7::text[] else $6 || traits end,
            identified_at = greatest(identified_at, $8)
        from (select coalesce($8 >= identified_at, true) as fresh from customers where id = $1) s
        where id = $1
        """,
        customer,
        profile.email,
        profile.phone,
        profile.time_zone,
        profile.locale,
        traits,
        gone,
        at,
    )


async def add_device(connection: Connection, customer: int, device: Device) -> None:
    """Keep a push token; a token belongs to whoever used it last, and one in use is alive."""
    await connection.execute(
        """
        insert into devices (token, customer_id, platform, p256dh, auth) values ($1, $2, $3, $4, $5)
        on conflict (token) do update set customer_id = excluded.customer_id, platform = excluded.platform,
            p256dh = excluded.p256dh, auth = excluded.auth,
            added_at = case when devices.dead_at is null then devices.added_at else now() end, dead_at = null
        """,
        device.token,
        customer,
        device.platform,
        device.keys.p256dh if device.keys else None,
        device.keys.auth if device.keys else None,
    )


async def forget_device(connection: Connection, customer: int, token: str) -> bool:
    """Push to a device of a customer's no more, because they said so; False if they have no such device."""
    done: str = await connection.execute(
        "update devices set dead_at = coalesce(dead_at, now()) where token = $1 and customer_id = $2", token, customer
    )
    return done != "UPDATE 0"


async def merge(connection: Connection, loser: int, winner: int) -> list[int]:
    """Make two customers one; both rows must be locked.

    Everything of the loser becomes the winner's; the winner's own profile has precedence. Events
    not yet dispatched get new places in the winner's order, behind what its runs have seen. Where
    both are in the same journey with the same key, the loser's stay ends.

    Returns:
        The enrolments that end by this; the caller sets the deciding event with `end_merged`.
    """
    await recipients.merge(connection, loser, winner)
    doubled = await connection.fetch(
        """
        update enrolments l set outcome = $3 from enrolments w
        where l.customer_id = $1 and w.customer_id = $2 and l.outcome is null and w.outcome is null
          and l.journey = w.journey and l.key = w.key
        returning l.id
        """,
        loser,
        winner,
        Outcome.MERGED,
    )
    # Whoever talks with the one talks with the other: one dialogue stays open.
    await connection.execute(
        """
        update dialogues l set closed_at = w.opened_at from dialogues w
        where l.customer_id = $1 and w.customer_id = $2 and l.closed_at is null and w.closed_at is null
        """,
        loser,
        winner,
    )
    await connection.execute(
        """
        update conversations l set closed_at = now(), closed_by = 'merged' from conversations w
        where l.customer_id = $1 and w.customer_id = $2 and l.channel = w.channel
          and l.closed_at is null and w.closed_at is null
        """,
        loser,
        winner,
    )
    for table in (
        "identities",
        "devices",
        "enrolments",
        "messages",
        "blocks",
        "dialogues",
        "conversations",
        "conversation_lines",
        "consents",
    ):
        await connection.execute(f"update {table} set customer_id = $2 where customer_id = $1", loser, winner)
    await renumber(
        connection,
        "select id from events where customer_id = $1 and dispatched_at is null and parked_at is null",
        loser,
    )
    await connection.execute("update events set customer_id = $2 where customer_id = $1", loser, winner)
    await membership.move(connection, loser, winner)
    await connection.execute(
        """
        update customers w set
            email = coalesce(w.email, l.email), phone = coalesce(w.phone, l.phone),
            time_zone = coalesce(w.time_zone, l.time_zone), locale = coalesce(w.locale, l.locale),
            traits = l.traits || w.traits, identified_at = greatest(w.identified_at, l.identified_at),
            created_at = least(w.created_at, l.created_at)
        from customers l where l.id = $1 and w.id = $2
        """,
        loser,
        winner,
    )
    await connection.execute(
        """
        update customers
        set merged_into = $2, email = null, phone = null, locale = null, time_zone = null, traits = '{}' where id = $1
        """,
        loser,
        winner,
    )
    return [row["id"] for row in doubled]


async def renumber(connection: Connection, selection: str, *arguments: Any) -> None:
    """Give events new places at the end of the order, keeping the order among themselves.

    Args:
        selection: SQL that selects the events' ids.
    """
    await connection.execute(
        f"""
        with chosen as materialized ({selection} order by id),
        numbered as materialized (
            select id, nextval(pg_get_serial_sequence('events', 'id')) as place from chosen
        )
        update events set id = place from numbered where events.id = numbered.id
        """,
        *arguments,
    )


async def clock_of(connection: Connection, customer: int) -> Clock:
    """Return a customer's journey time: their own, if they are a test customer, or the installation's."""
    row = await connection.fetchrow(
        """
        select coalesce(c.clock_origin, i.origin) as origin, coalesce(c.speed, i.speed) as speed
        from customers c cross join installation i where c.id = $1
        """,
        customer,
    )
    assert row is not None
    return Clock(origin=row["origin"], speed=row["speed"])


async def any_identity(connection: Connection, customer: int) -> dict[str, str]:
    """Return one identity of a customer as a call names it, a user id if there is one."""
    row = await connection.fetchrow(
        "select kind, value from identities where customer_id = $1 order by kind desc limit 1", customer
    )
    if row is None:
        return {}
    return {"userId" if row["kind"] == "user" else "anonymousId": row["value"]}


async def known_as(connection: Connection, customers: Sequence[int]) -> dict[int, str]:
    """Return an id by which calls name each customer: a user id if there is one, else an anonymous one."""
    rows = await connection.fetch(
        """
        select distinct on (customer_id) customer_id, value from identities where customer_id = any($1)
        order by customer_id, kind desc, value
        """,
        customers,
    )
    return {row["customer_id"]: row["value"] for row in rows}


async def profile(connection: Connection, customer: int) -> dict[str, Any]:
    """Return what is known of a customer, with identities, live devices and suppressions."""
    row = await connection.fetchrow(
        """
        select id, email, phone, locale, time_zone, traits, created_at, identified_at, speed,
               (select count(*) from devices d where d.customer_id = c.id and d.dead_at is null) as devices
        from customers c where id = $1
        """,
        customer,
    )
    assert row is not None
    identities = await connection.fetch(
        "select kind, value from identities where customer_id = $1 order by kind desc, value", customer
    )
    suppressions = await connection.fetch(
        """
        select channel, reason, source, created_at from suppressions
        where recipient in (lower($1), $2, address_hash($1), address_hash($2)) order by created_at
        """,
        row["email"],
        row["phone"],
    )
    return {
        **row,
        "identities": [dict(each) for each in identities],
        "suppressions": [dict(each) for each in suppressions],
    }


async def set_speed(connection: Connection, customer: int, speed: float) -> bool:
    """Give a test customer a journey time of their own from now on; their row must be locked.

    Args:
        speed: Journey seconds per wall second.

    Returns:
        False if they are in a journey, whose time cannot be changed under way.
    """
    done: str = await connection.execute(
        """
        update customers c set speed = $2, clock_origin = now()
        where id = $1 and not exists (select from enrolments e where e.customer_id = c.id and e.ended_at is null)
        """,
        customer,
        speed,
    )
    return done != "UPDATE 0"
