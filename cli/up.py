"""`journeys up`: the embedded stack, until Ctrl-C."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli import signals

if TYPE_CHECKING:
    from cli.stack import EmbeddedStack


def up(
    data_dir: Annotated[Path, typer.Option(help="Where data, secrets and logs are kept between starts.")] = Path(
        "var/up"
    ),
    api_port: Annotated[
        int, typer.Option(envvar="JOURNEYS_API_PORT", min=1, max=65535, help="Port of the API.")
    ] = 8000,
    ui_port: Annotated[
        int, typer.Option(envvar="JOURNEYS_UI_PORT", min=1, max=65535, help="Port of Temporal's web interface.")
    ] = 8233,
    sandbox_port: Annotated[
        int, typer.Option(envvar="JOURNEYS_SANDBOX_PORT", min=1, max=65535, help="Port of the providers' sandbox.")
    ] = 8025,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes.")] = 1,
    speed: Annotated[
        float, typer.Option(min=0.001, max=10_000_000, help="Journey seconds per second: 86400 lets a day pass in one.")
    ] = 1.0,
) -> None:
    """Start everything on this machine and keep it running until Ctrl-C.

    PostgreSQL, Temporal with its web interface, a sandbox that plays the providers, the API and the
    workers, all on 127.0.0.1. The next start goes on with the same data. What Temporal keeps is encrypted
    if JOURNEYS_PAYLOAD_KEYS is set.
    """
    # Not at the top: production images have the `journeys` command without the embedded wheels.
    from cli.stack import EmbeddedStack, Ports, StackError
    from dispatch.codec import VARIABLE as PAYLOAD_KEYS

    console = Console()
    given = os.environ.get(PAYLOAD_KEYS)
    stack = EmbeddedStack(
        data_dir,
        workers=workers,
        speed=speed,
        ports=Ports(api=api_port, ui=ui_port, sandbox=sandbox_port),
        environment={PAYLOAD_KEYS: given} if given else None,
    )
    try:
        signals.run(_stay(stack, console))
    except signals.Interrupted:
        console.print("Stopped. The next start goes on with the same data.")
    except StackError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


async def _stay(stack: "EmbeddedStack", console: Console) -> None:
    """Run the stack until a part of it dies.

    Raises:
        PartDied: Which one.
    """
    console.print("Starting PostgreSQL, Temporal, the sandbox, the API and the workers …")
    async with stack:
        for name, value in _addresses(stack).items():
            # Never folded: a key that is broken over two lines cannot be copied.
            console.print(f"  [bold]{name:<26}[/bold] {value}", soft_wrap=True, highlight=False)
        console.print("Ctrl-C stops everything.")
        raise await stack.failure()


def _addresses(stack: "EmbeddedStack") -> dict[str, str]:
    return {
        "API": stack.api_url,
        "API documentation": f"{stack.api_url}/docs",
        "Journeys as pictures": f"{stack.api_url}/journeys (the operator key is the password)",
        "Temporal's web interface": stack.ui_url,
        **({"… and its codec": stack.codec_url} if stack.codec_url else {}),
        "Phones and mailboxes": stack.sandbox_url,
        "Temporal (gRPC)": stack.temporal_address,
        "PostgreSQL": stack.database_url,
        "Write key (sends events)": stack.write_key,
        "Operator key (Bearer)": stack.operator_key,
        "Data and logs": str(stack.data),
    }
