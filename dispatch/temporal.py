"""The connection to Temporal: its own environment configuration, pydantic payloads, encrypted if there are keys."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile

from dispatch.codec import data_converter


async def connect(*, lazy: bool = False) -> Client:
    """Connect as the environment says (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, TLS, API key, profiles).

    Args:
        lazy: Connect at the first call only, so that the process starts while Temporal is away.

    Raises:
        RuntimeError: Temporal cannot be reached.
        PayloadKeysWrong: The payload keys cannot be used.
    """
    profile = ClientConfigProfile.load()
    config = profile.to_client_connect_config()
    return await Client.connect(**config, data_converter=data_converter(), lazy=lazy)


LIVE_WITHIN = timedelta(seconds=2)


async def is_reachable(client: Client) -> bool:
    """Whether Temporal answers now."""
    try:
        return await client.service_client.check_health(timeout=LIVE_WITHIN)
    except Exception:
        return False
