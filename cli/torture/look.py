"""Looking at what a torture has left: its data behind the API and Temporal's interface, and nobody who changes it."""

from pathlib import Path
from typing import NoReturn

from cli.stack import EmbeddedStack, Part, Programs, StackError
from cli.torture.stage import CONFIGURATION, SPEED
from cli.torture.storm import Tell


async def look(data: Path, tell: Tell) -> NoReturn:
    """Show kept data until a part dies or this is cancelled.

    No worker runs, so nothing is dispatched, decided or sent; no sandbox, so nothing is called back.

    Args:
        data: Where a torture with ``--keep`` has left it.

    Raises:
        StackError: There is nothing to see, or a part cannot start or died.
    """
    if not (data / "secrets.json").exists():
        raise StackError(f"{data} holds no data of a torture: only one with --keep leaves it.")
    parts = (Part.POSTGRES, Part.TEMPORAL, Part.API)
    programs = Programs(api="cli.torture.processes:create_app")
    environment = {"JOURNEYS_CONFIG": str(CONFIGURATION)}
    async with EmbeddedStack(data, parts=parts, speed=SPEED, environment=environment, programs=programs) as stack:
        tell(f"API                       {stack.api_url} (operator key {stack.operator_key})")
        tell(f"Temporal's web interface  {stack.ui_url}")
        tell(f"PostgreSQL                {stack.database_url}")
        tell(f"the providers' ledger     {stack.data / 'sandbox' / 'sandbox.db'} (SQLite)")
        tell("Ctrl-C stops everything.")
        raise await stack.failure()
