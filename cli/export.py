"""`journeys export`: everything that is held on a customer."""

import os
import sys
from pathlib import Path
from typing import Annotated, BinaryIO
from urllib.parse import quote

import typer
from rich.console import Console

from cli.commands import ask, fail
from cli.installation import Installation

console = Console(stderr=True)


def export(
    user_id: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id in your backend.")],
    to: Annotated[
        Path | None, typer.Option(help="A file that is not there yet; only its owner may read it. Else it is printed.")
    ] = None,
) -> None:
    """Write everything that is held on a customer, as JSON: who they are, what they did, what they were sent and why.

    Example: journeys export client-4711 --to client-4711.json
    """
    if to is None:
        ask(lambda installation: _download(installation, user_id, sys.stdout.buffer))
        return
    try:
        file = os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        fail(f"{to}: {os.strerror(error.errno or 0)}")
    try:
        with file:
            ask(lambda installation: _download(installation, user_id, file))
    except BaseException:
        # Whole, or not at all.
        to.unlink()
        raise
    console.print(f"Written: {to}", highlight=False, markup=False)


async def _download(installation: Installation, user_id: str, file: BinaryIO) -> None:
    async for piece in installation.download(f"/v1/customers/{quote(user_id, safe='')}/export"):
        file.write(piece)
    file.flush()
