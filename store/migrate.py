"""Bring the database up to date: ``python -m store.migrate``. Safe to run again, and by several at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from settings import database_url


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade a database to the newest schema.

    Args:
        url: ``postgresql://user:password@host:port/database``.
        revision: How far, if not to the newest.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url.replace("postgresql://", "postgresql+asyncpg://", 1)
    command.upgrade(config, revision)


if __name__ == "__main__":
    migrate(database_url())
