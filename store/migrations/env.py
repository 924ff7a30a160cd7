"""How Alembic reaches the database."""

import asyncio

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from store.audit import DONE, operating_system_user

MIGRATION_LOCK = 7_226_043_512
"""Several processes may start at once and each migrate first; an advisory lock lines them up."""


def _enter(ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object) -> None:
    """Enter each revision in the audit log, in the transaction that makes it; the log came with the second one."""
    assert ctx.connection is not None
    if inspect(ctx.connection).has_table("audit"):
        ctx.connection.execute(
            text(
                """
                with entry as (
                    insert into audit (actor, action, detail)
                    values (:actor, 'migrate', jsonb_build_object('revision', cast(:revision as text)))
                    returning id
                )
                insert into audit_answers (audit_id, answer) select id, :answer from entry
                """
            ),
            {"actor": operating_system_user(), "revision": step.up_revision_id, "answer": DONE},
        )


def _upgrade(connection: Connection) -> None:
    context.configure(connection=connection, on_version_apply=_enter)
    with context.begin_transaction():
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()


async def _main() -> None:
    engine = create_async_engine(context.config.attributes["url"], poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_upgrade)
    await engine.dispose()


asyncio.run(_main())
