"""Keeps a stack as `journeys up` does, with the two parts that need nothing of the product.

Its first line of output is the process ids of the parts as JSON.
"""

import json
import sys
from pathlib import Path

from cli import signals
from cli.stack import EmbeddedStack, Part, StackError


async def keep(data: Path) -> None:
    async with EmbeddedStack(data, parts={Part.POSTGRES, Part.TEMPORAL}) as stack:
        print(json.dumps({"url": stack.database_url, "pids": stack.pids}), flush=True)
        raise await stack.failure()


if __name__ == "__main__":
    try:
        signals.run(keep(Path(sys.argv[1])))
    except signals.Interrupted:
        pass
    except StackError as error:
        sys.exit(str(error))
