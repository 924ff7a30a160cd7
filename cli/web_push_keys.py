"""`journeys web-push-keys`: the pair by which push services know this installation (VAPID, RFC 8292)."""

import typer
from rich.console import Console

from channels.web_push import new_private_key, public_key_of


def web_push_keys() -> None:
    """Make the pair of keys by which browsers' push services know you.

    The private one is a secret of the workers and the API. Keep it: every subscription is bound to its public one, and
    with another pair all browsers would have to subscribe anew.
    """
    private = new_private_key()
    typer.echo(f"WEB_PUSH_PRIVATE_KEY={private}")
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"Pages subscribe with its public key, which GET /v1/web-push/key tells too: {public_key_of(private)}"
    )
