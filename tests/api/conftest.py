"""The API in the tests' own process, on a database of its own, with keys the tests can sign with."""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from google.protobuf.duration_pb2 import Duration
from pydantic import SecretStr
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from api.app import create_app
from cli.stack import EmbeddedStack
from cli.stack.temporal import SEARCH_ATTRIBUTES
from store import keys
from store.keys import GivenKey, Scope
from store.migrate import migrate
from tests.api.scene import DECODER, INBOX, OPERATOR, PUBLIC, READER, WRITER, Providers, Scene

PUSH_SERVICE = "fcm.googleapis.com"


@pytest.fixture(scope="session")
def providers() -> Providers:
    """Whoever calls back, with their keys."""
    return Providers(
        twilio_auth_token=secrets.token_hex(16),
        sendgrid_key=ec.generate_private_key(ec.SECP256R1()),
        call_centre_secret=_whsec(),
        app_secret=_whsec(),
    )


@pytest.fixture(scope="session")
async def app(stack: EmbeddedStack, providers: Providers) -> AsyncIterator[FastAPI]:
    """The product's application."""
    async with application(stack, providers, "api") as app:
        yield app


@contextlib.asynccontextmanager
async def application(stack: EmbeddedStack, providers: Providers, database: str) -> AsyncIterator[FastAPI]:
    """Run the product's application on a database and a namespace of its own; so is the environment meanwhile.

    Its runs would be taken up by workers of other databases otherwise, which know its conversations and campaigns by
    the same numbers.
    """
    url = await stack.create_database(database)
    await _create_namespace(stack, database)
    await asyncio.to_thread(migrate, url)
    public_key = providers.sendgrid_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **stack.environment,
            "DATABASE_URL": url,
            "JOURNEYS_PUBLIC_URL": PUBLIC,
            "JOURNEYS_UI_URL": "https://temporal.example.com/",
            "TWILIO_AUTH_TOKEN": providers.twilio_auth_token,
            "SENDGRID_WEBHOOK_PUBLIC_KEY": base64.b64encode(public_key).decode(),
            "CALL_CENTRE_SECRET": providers.call_centre_secret,
            "APP_WEBHOOK_SECRET": providers.app_secret,
            "WEB_PUSH_SERVICES": PUSH_SERVICE,
            "TEMPORAL_NAMESPACE": database,
            "JOURNEYS_PAYLOAD_KEYS": f"a:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        }.items():
            patch.setenv(name, value)
        app = create_app()
        async with app.router.lifespan_context(app):
            async with app.state.context.pool.acquire() as connection:
                await keys.ensure(connection, "cli:tests", _given_keys())
            async with client_of(app) as client:
                # The keys are read with the first callback.
                assert (await client.post("/webhooks/push")).status_code == 403
            yield app


@pytest.fixture
async def scene(app: FastAPI, providers: Providers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """Customers, messages and what becomes of them, as a test speaks of them."""
    # Read with every subscription; tests that use the stack set it as the stack has it.
    monkeypatch.setenv("WEB_PUSH_SERVICES", PUSH_SERVICE)
    async with client_of(app) as client:
        yield Scene(client, app.state.context, providers)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client that asks an application in this process."""
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def _create_namespace(stack: EmbeddedStack, name: str) -> None:
    client = await Client.connect(stack.temporal_address)
    retention = Duration(seconds=86_400)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )
    attributes = dict.fromkeys(SEARCH_ATTRIBUTES, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=name, search_attributes=attributes)
    )


def _given_keys() -> list[GivenKey]:
    tokens = {
        WRITER: Scope.INGEST,
        OPERATOR: Scope.OPERATE,
        READER: Scope.READ,
        INBOX: Scope.INBOX,
        DECODER: Scope.DECODE,
    }
    return [GivenKey(name=scope, scopes=[scope], token=SecretStr(token)) for token, scope in tokens.items()]


def _whsec() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
