"""Commands on the database itself: its schema and the API's keys. They need `DATABASE_URL`, not the API."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

import settings
from cli.commands import fail
from settings import ConfigurationError
from store import keys as kept
from store.audit import operating_system_user
from store.database import Connection, open_pool
from store.keys import BURST, MOST, NAME, RATE, Rate, Scope
from store.migrate import migrate as upgrade

T = TypeVar("T")

WHERE = "Works on the database DATABASE_URL names; there is no HTTP interface for it. Each use is in the audit log."

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(given: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhd])", given)
    if not match:
        raise typer.BadParameter(f"{given}: must be a number of s, m, h or d, such as 24h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _name(given: str) -> str:
    if not re.fullmatch(NAME, given):
        raise typer.BadParameter(f"{given}: must be letters, digits, dots, dashes and underscores, at most 100")
    return given


Name = Annotated[str, typer.Argument(help="Name of the key: who uses it.")]
Lifetime = Annotated[
    timedelta | None,
    typer.Option("--expires-in", parser=_duration, metavar="TIME", help="The token ends by itself: 90d."),
]

keys = typer.Typer(help="Keys of backends and operators.", no_args_is_help=True, epilog=WHERE)
console = Console()


@keys.command(epilog=WHERE)
def create(
    name: Annotated[str, typer.Argument(callback=_name, help="Name of the key: who uses it.")],
    scopes: Annotated[
        list[Scope],
        typer.Option(
            "--scope", help="What it may do. ingest: send events; read: look; operate: look and change; inbox: inboxes."
        ),
    ],
    rate: Annotated[
        int, typer.Option(min=1, max=MOST, help="Events, or requests, a second, in each API process.")
    ] = RATE,
    burst: Annotated[int, typer.Option(min=1, max=MOST, help="How many of them at once.")] = BURST,
    expires_in: Lifetime = None,
) -> None:
    """Make a key and print its token, which is shown this once: only its hash is kept.

    Example: journeys keys create backend --scope ingest
    """
    token = _on_database(
        lambda connection, by: kept.create(connection, by, name, scopes, rate=Rate(rate, burst), lifetime=expires_in)
    )
    if token is None:
        fail(f"there is a key {name} already; rotate or revoke it, or choose another name")
    console.print(token, highlight=False, soft_wrap=True)


@keys.command("list", epilog=WHERE)
def list_keys() -> None:
    """List the keys and their tokens by number: what they may do and how much, last used when (to the minute, UTC).

    The tokens themselves are not kept.

    Example: journeys keys list
    """
    table = Table()
    for column in ("name", "scopes", "rate", "token", "created", "last used", "ends"):
        table.add_column(column, overflow="fold")
    for row in _on_database(lambda connection, by: kept.every(connection)):
        table.add_row(
            row["name"],
            ", ".join(row["scopes"]),
            f"{row['rate']}/s, {row['burst']} at once",
            str(row["token"]),
            _moment(row["created_at"]),
            _moment(row["last_used_at"]) or "never",
            f"revoked {_moment(row['revoked_at'])}" if row["revoked_at"] else _moment(row["expires_at"]),
        )
    console.print(table)


@keys.command(epilog=WHERE)
def rotate(
    name: Name,
    overlap: Annotated[
        timedelta,
        typer.Option(parser=_duration, metavar="TIME", help="How long the tokens it has go on working: 24h, 0s."),
    ],
    expires_in: Lifetime = None,
) -> None:
    """Give a key a new token and print it; its other tokens end after the overlap.

    Example: journeys keys rotate backend --overlap 24h
    """
    token = _on_database(lambda connection, by: kept.rotate(connection, by, name, overlap, lifetime=expires_in))
    if token is None:
        fail(f"there is no key {name} that is not revoked")
    console.print(token, highlight=False, soft_wrap=True)


@keys.command(epilog=WHERE)
def revoke(
    name: Name,
    token: Annotated[
        int | None, typer.Option(min=1, help="Only this token, by its number in `journeys keys list`.")
    ] = None,
) -> None:
    """Revoke a key with all its tokens, or one of them. It opens nothing any more from now on.

    Every API process hears of it at once; one that is cut off from the database trusts what it knew for 10 seconds.

    Example: journeys keys revoke backend
    """
    if token is None:
        if not _on_database(lambda connection, by: kept.revoke(connection, by, name)):
            fail(f"there is no key {name} that is not revoked")
        console.print(f"Revoked: {name}", highlight=False, markup=False)
    else:
        if not _on_database(lambda connection, by: kept.revoke_token(connection, by, name, token)):
            fail(f"the key {name} has no token {token} that is not revoked")
        console.print(f"Revoked: token {token} of {name}", highlight=False, markup=False)


def migrate() -> None:
    """Bring the schema of the database DATABASE_URL names up to date. Safe to run again, and by several at once.

    Example: DATABASE_URL=postgresql://… journeys migrate
    """
    try:
        upgrade(settings.database_url())
    except ConfigurationError as error:
        fail(str(error))
    except (asyncpg.PostgresError, OSError) as error:
        fail(f"the database that DATABASE_URL names does not do it: {type(error).__name__}")
    console.print("The schema is up to date.")


def _on_database(do: Callable[[Connection, str], Awaitable[T]]) -> T:
    """Do something on the database, as whoever the operating system says is doing it."""

    async def connected() -> T:
        async with await open_pool(settings.database_url(), size=1) as pool, pool.acquire() as connection:
            return await do(connection, operating_system_user())

    try:
        return asyncio.run(connected())
    except ConfigurationError as error:
        fail(str(error))
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        fail("the database has no schema yet, or an old one: `journeys migrate` makes it")
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        # Their own words may hold the address with its password.
        fail(f"the database that DATABASE_URL names does not answer: {type(error).__name__}")


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""
