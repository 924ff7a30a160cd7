"""What the parts of one stack know of each other and nobody else should, kept from start to start."""

import os
import secrets
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cli.stack.errors import StackError
from sandbox import credentials


class Secrets(BaseModel, frozen=True):
    """Generated at the first start of a data directory.

    Attributes:
        durable: Whether the directory holds data that must outlast the stack.
        database_password: Of the one PostgreSQL role.
        link_secret: Signs links and salts hashes (`JOURNEYS_SECRET`).
        write_key: For the backend: sends events.
        operator_key: For people: journeys, customers, reports.
        sandbox_url: Where the sandbox was when `providers` was written.
        providers: Environment variables with which product and sandbox trust each other.
    """

    durable: bool
    database_password: str
    link_secret: str
    write_key: str
    operator_key: str
    sandbox_url: str
    providers: dict[str, str]

    def completed(self) -> "Secrets":
        """Return the same secrets with those that were not needed when they were written."""
        return self.model_copy(update={"providers": credentials.generate(self.sandbox_url) | self.providers})

    def at(self, sandbox_url: str) -> "Secrets":
        """Return the same secrets for a sandbox that has moved to another address."""
        moved = {name: value.replace(self.sandbox_url, sandbox_url) for name, value in self.providers.items()}
        return self.model_copy(update={"sandbox_url": sandbox_url, "providers": moved})


def keep(path: Path, sandbox_url: str, *, durable: bool) -> Secrets:
    """Return the secrets of a data directory, made now if it has none.

    Args:
        path: The file, readable by its owner only.
        sandbox_url: Where the sandbox is this time.
        durable: Kept with new secrets.

    Raises:
        StackError: The file is there and cannot be understood.
    """
    known = load(path)
    kept = known.completed().at(sandbox_url) if known else _generate(sandbox_url, durable)
    if kept != known:
        _write(path, kept.model_dump_json(indent=2))
    return kept


def load(path: Path) -> Secrets | None:
    """Return the secrets kept in a file, or None if there is none.

    Raises:
        StackError: The file cannot be understood.
    """
    if not path.exists():
        return None
    try:
        return Secrets.model_validate_json(path.read_bytes())
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, fault["loc"])) or "JSON" for fault in error.errors())
        raise StackError(
            f"{path} is damaged ({wrong}). It holds the password of the data beside it: restore it, "
            "or remove the whole directory to begin anew."
        ) from None


def _generate(sandbox_url: str, durable: bool) -> Secrets:
    return Secrets(
        durable=durable,
        database_password=secrets.token_hex(24),
        link_secret=secrets.token_hex(32),
        write_key=f"write_{secrets.token_hex(20)}",
        operator_key=f"operator_{secrets.token_hex(20)}",
        sandbox_url=sandbox_url,
        providers=credentials.generate(sandbox_url),
    )


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole: a crash leaves the old one or the new one."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
