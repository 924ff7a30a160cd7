"""The API keeps to its OpenAPI document, whatever it is asked: no 5xx, and no answer the document does not name.

``JOURNEYS_FUZZ=1000`` asks every operation that many times; `make test` asks less.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test
from schemathesis.hooks import HookContext
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.context import Context
from cli.stack import EmbeddedStack
from dispatch.plan import plan, summarise
from domain.messages import Channel, Status
from store import events
from tests.api.conftest import application, client_of
from tests.api.fuzz import Credentials, FromEverywhere, Known
from tests.api.scene import Providers, Scene

EXAMPLES = int(os.environ.get("JOURNEYS_FUZZ", "15"))

ERASURE = "DELETE /v1/customers/{user_id}"

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
]


async def seeded(scene: Scene) -> Known:
    """People in journeys, messages that were sent to them, events that are set aside."""
    people = [await scene.person() for _ in range(4)]
    sent = []
    for person in people:
        for channel in Channel:
            awaits = (Status.READ, Status.CLICKED, Status.REPLIED)
            sent.append(await scene.sent(person, channel, awaits=awaits, links=["https://example.com/form"]))
    links = scene.context.links
    for _ in range(3):
        await scene.batch({"type": "track", "messageId": uuid4().hex, "userId": people[0].user_id})
    tokens = [
        address.rsplit("/", 1)[1]
        for message in sent
        for address in (links.tracked(message, 0), links.unsubscribe(message), links.preferences(message))
    ]
    numbers = [person.enrolment for person in people]
    return Known(
        to_erase=[(await scene.person()).user_id for _ in range(3)],
        values={
            "user_id": [person.user_id for person in people],
            "userId": [person.user_id for person in people],
            "number": numbers,
            "id": [1, 2, 3],
            "message_id": [str(message) for message in sent],
            "messageId": [str(message) for message in sent],
            "mid": [str(message) for message in sent],
            "message": [str(message) for message in sent],
            "token": tokens,
            "name": ["AbandonedApplication", "RefusedByBank"],
            "journey": ["AbandonedApplication", "RefusedByBank"],
            "signal": ["form_progress", "event"],
            "event": ["credit_application_started", "credit_application_submitted"],
            "From": [person.phone for person in people],
        },
    )


@pytest.fixture(scope="session")
async def seeds(stack: EmbeddedStack, providers: Providers) -> AsyncIterator[tuple[FastAPI, Known]]:
    """An application on a database of its own, with something in it, for an event loop of its own."""
    async with application(stack, providers, "document") as app:
        async with client_of(app) as client:
            known = await seeded(Scene(client, app.state.context, providers))
        yield dispatching(create_app()), known


def dispatching(app: FastAPI) -> FastAPI:
    """Let an application's events be dispatched as far as the database goes: it starts no runs."""
    serving = app.router.lifespan_context

    async def dispatch(context: Context) -> None:
        while True:
            async with context.pool.acquire() as connection:
                for customer in await events.waiting_customers(connection):
                    plans = await plan(connection, context.catalog, customer, datetime.now(UTC))
                    await events.mark_dispatched(connection, summarise(plans))
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with serving(app):
            dispatched = asyncio.create_task(dispatch(app.state.context))
            yield
            dispatched.cancel()

    app.router.lifespan_context = lifespan
    return app


@pytest.fixture
def document(seeds: tuple[FastAPI, Known]) -> Iterator[BaseSchema]:
    """What the document says, with the application behind it."""
    app, known = seeds
    schema = schemathesis.openapi.from_asgi("/openapi.json", FromEverywhere(app))

    def instead(context: HookContext, given: Any) -> Any:
        assert context.operation is not None
        return known.instead(given, erasing=context.operation.label == ERASURE)

    for part in ("path_parameters", "query", "body"):
        schema.hooks.hook(f"map_{part}")(instead)
    yield schema
    shutdown_lifespans()


def test_every_answer_is_one_the_document_names(
    document: BaseSchema, providers: Providers, subtests: pytest.Subtests
) -> None:
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS, auth=Credentials(providers))

    modes = [HypothesisTestMode.EXAMPLES, HypothesisTestMode.COVERAGE, HypothesisTestMode.FUZZING]
    asked = settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    config = HypothesisTestConfig(project=document.config, modes=modes, explicit_settings=asked)
    for found in document.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        with subtests.test(operation.label):
            create_test(operation=operation, test_func=ask, config=config)()
