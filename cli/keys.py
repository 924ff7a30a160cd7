"""Commands on the database itself: its schema and the API's keys. They need `DATABASE_URL`, not the API."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

import settings
from cli.commands import fail
from settings import ConfigurationError
from store import keys as kept
from store.database import Connection, open_pool
from store.keys import Scope
from store.migrate import migrate as upgrade

T = TypeVar("T")

WHERE = "Works on the database DATABASE_URL names."

Name = Annotated[str, typer.Argument(help="Name of the key: who uses it.")]

keys = typer.Typer(help="Keys of backends and operators.", no_args_is_help=True, epilog=WHERE)
console = Console()


@keys.command(epilog=WHERE)
def create(
    name: Name,
    scopes: Annotated[
        list[Scope],
        typer.Option(
            "--scope", help="What it may do. ingest: send events; read: look; operate: look and change; inbox: inboxes."
        ),
    ],
) -> None:
    """Make a key and print its token, which is shown this once: only its hash is kept.

    Example: journeys keys create backend --scope ingest
    """
    token = _on_database(lambda connection: kept.create(connection, name, scopes))
    if token is None:
        fail(f"there is a key {name} already; revoke it first, or choose another name")
    console.print(token, highlight=False, soft_wrap=True)


@keys.command("list", epilog=WHERE)
def list_keys() -> None:
    """List the keys: name, what they may do, since when, revoked when. Their tokens are not kept.

    Example: journeys keys list
    """
    table = Table()
    for column in ("name", "scopes", "created", "revoked"):
        table.add_column(column, overflow="fold")
    for row in _on_database(kept.every):
        revoked = f"{row['revoked_at']:%Y-%m-%d %H:%M}" if row["revoked_at"] else ""
        table.add_row(row["name"], ", ".join(row["scopes"]), f"{row['created_at']:%Y-%m-%d %H:%M}", revoked)
    console.print(table)


@keys.command(epilog=WHERE)
def revoke(name: Name) -> None:
    """Revoke a key; within seconds it opens nothing any more.

    Example: journeys keys revoke backend
    """
    if not _on_database(lambda connection: kept.revoke(connection, name)):
        fail(f"there is no key {name} that is not revoked")
    console.print(f"Revoked: {name}", highlight=False, markup=False)


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


def _on_database(do: Callable[[Connection], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with await open_pool(settings.database_url(), size=1) as pool, pool.acquire() as connection:
            return await do(connection)

    try:
        return asyncio.run(connected())
    except ConfigurationError as error:
        fail(str(error))
    except asyncpg.UndefinedTableError:
        fail("the database has no schema yet: `journeys migrate` makes it")
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        # Their own words may hold the address with its password.
        fail(f"the database that DATABASE_URL names does not answer: {type(error).__name__}")
