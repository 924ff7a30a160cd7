"""The `journeys` command."""

import typer

from cli.up import up

app = typer.Typer(
    help="Customer journeys as durable Temporal workflows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command()(up)


@app.callback()
def journeys() -> None:
    """Customer journeys as durable Temporal workflows."""


if __name__ == "__main__":
    app()
