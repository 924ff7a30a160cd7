"""The `journeys` command."""

import typer

from cli import commands
from cli.audit import audit
from cli.authors import check, draw_journey
from cli.bench import bench
from cli.campaigns import campaigns
from cli.costs import costs
from cli.demo.command import demo
from cli.explain import explain
from cli.export import export
from cli.keys import keys, migrate
from cli.new import new
from cli.payload_keys import WHERE, payload_keys
from cli.replay.command import replay
from cli.reports import attribution, effect
from cli.segments import segments
from cli.templates import templates
from cli.torture.command import torture
from cli.up import up
from cli.web_push_keys import web_push_keys
from cli.whatsapp import whatsapp

app = typer.Typer(
    help="Customer journeys as durable Temporal workflows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)

HERE = "On this machine"
app.command(rich_help_panel=HERE)(up)
app.command(rich_help_panel=HERE)(demo)
app.command(rich_help_panel=HERE)(replay)
app.command(rich_help_panel=HERE)(bench)
app.command(rich_help_panel=HERE)(torture)

WRITING = "Writing journeys, without a server"
app.command(rich_help_panel=WRITING)(new)
app.command(rich_help_panel=WRITING)(check)
app.command("draw", rich_help_panel=WRITING)(draw_journey)

RUNNING = "A running installation"
app.command("list", rich_help_panel=RUNNING, epilog=commands.WHERE)(commands.list_journeys)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(commands.show)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(explain)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(commands.start)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(commands.pause)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(commands.resume)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(commands.stop)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(commands.skip_wait)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(commands.events)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(export)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(costs)
app.command("payload-keys", rich_help_panel=RUNNING, epilog=WHERE)(payload_keys)
app.command("web-push-keys", rich_help_panel=RUNNING)(web_push_keys)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(audit)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(attribution)
app.command(rich_help_panel=RUNNING, epilog=commands.WHERE)(effect)
app.add_typer(templates, name="templates", rich_help_panel=RUNNING)
app.add_typer(segments, name="segments", rich_help_panel=RUNNING)
app.add_typer(whatsapp, name="whatsapp", rich_help_panel=RUNNING)
app.add_typer(campaigns, name="campaigns", rich_help_panel=RUNNING)

DATABASE = "Its database"
app.add_typer(keys, name="keys", rich_help_panel=DATABASE)
app.command(rich_help_panel=DATABASE)(migrate)


@app.callback()
def journeys() -> None:
    """Customer journeys as durable Temporal workflows."""


if __name__ == "__main__":
    app()
