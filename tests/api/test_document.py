"""The API keeps to its OpenAPI document, whatever it is asked: no 5xx, and no answer the document does not name.

``JOURNEYS_FUZZ=1000`` asks every operation that many times; `make test` asks less.
"""

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
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
from dispatch.temporal import connect
from domain.messages import Channel, Status
from policy.showing import impression
from segments import form as forms
from store import events, segments, whatsapp
from store.segments import NewVersion
from tests.api.conftest import application, client_of
from tests.api.fuzz import Credentials, FromEverywhere, Known
from tests.api.scene import Providers, Scene
from tests.channels.browser import Browser
from worker import build_campaigns_worker, delivering

EXAMPLES = int(os.environ.get("JOURNEYS_FUZZ", "10"))

ERASURE = "DELETE /v1/customers/{user_id}"
HALF_FULL = {"filled": 20, "total": 40}
BEGUN = {"application_id": "A-2", **HALF_FULL}

TEXT = "/v1/texts/{group}/{name}/{channel}/{locale}"
ABOUT_A_SEGMENT = (
    ("GET", ""),
    ("PUT", ""),
    ("POST", "/rollback"),
    ("GET", "/members"),
    ("GET", "/evaluations"),
)
ABOUT_A_CAMPAIGN = (
    *(("GET", rest, "written") for rest in ("", "/progress", "/dry", "/report")),
    ("PUT", "", "written"),
    ("DELETE", "", "forgotten"),
    ("POST", "/start", "started"),
)
FORM = {"has": "email"}
FORMED = (("POST", "/preview"), ("PUT", "/{name}"))
BROWSER = Browser("https://fcm.googleapis.com/fcm/send/anna")

SUCCESS = range(200, 300)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


async def seeded(scene: Scene) -> Known:
    """People in journeys, messages that were sent to them, events that are set aside."""
    people, to_erase = [await scene.person() for _ in range(4)], [await scene.person() for _ in range(3)]
    bystander, tester = f"u-{uuid4().hex}", f"u-{uuid4().hex}"
    for user_id in (bystander, tester, "client-4711"):
        await scene.tells("track", user_id, event="car_viewed")
    awaits = (Status.READ, Status.CLICKED, Status.REPLIED)
    sent = [
        await scene.sent(person, channel, awaits=awaits, links=["https://example.com/form"])
        for person in people
        for channel in Channel
    ]
    popup, letter = [await scene.sent(people[0], channel) for channel in (Channel.POPUP, Channel.INBOX)]
    await scene.batch({"type": "track", "messageId": uuid4().hex, "userId": bystander})
    async with scene.context.pool.acquire() as connection:
        # The number the document gives as its example.
        await whatsapp.block_sender(connection, "+14155550100", "63112", timedelta(hours=1))
    users, numbers, messages = (
        [person.user_id for person in people],
        [person.enrolment for person in people],
        [str(message) for message in sent],
    )
    tracked, leaving, choosing = (
        [address(message).rsplit("/", 1)[1] for message in sent]
        for address in (
            lambda message: scene.context.links.tracked(message, 0),
            scene.context.links.unsubscribe,
            scene.context.links.preferences,
        )
    )
    buyers = {"story": "Can be written to.", "form": {"has": "email"}, "confirm": True}
    await scene.as_operator("PUT", "/v1/segments/buyers", buyers)
    await scene.context.pool.execute("update segments set scanned_at = now() where name = 'buyers'")
    block = await scene.as_operator("POST", f"/v1/customers/{users[0]}/blocks", {"name": "complaint", "lasts": "P7D"})
    await segments_put(scene)
    text = {"group": "abandoned_application", "name": "partly_filled", "channel": "sms", "locale": "en"}
    texts = await texts_drafted(scene, f"/v1/texts/{'/'.join(text.values())}")
    talks = [await talk(scene) for _ in range(3)]
    await campaigns_put(scene)
    return Known(
        anywhere={
            "user_id": users,
            "userId": users,
            "previousId": ["before-1", "before-2"],
            "number": numbers,
            "message_id": messages,
            "messageId": [uuid4().hex for _ in range(100)],
            "mid": messages,
            "message": messages,
            "name": ["AbandonedApplication", "RefusedByBank"],
            "journey": ["AbandonedApplication", "RefusedByBank"],
            "From": [person.phone for person in people],
        },
        here={
            ERASURE: {"user_id": [person.user_id for person in to_erase]},
            "PUT /v1/customers/{user_id}/speed": {"user_id": [tester]},
            "DELETE /v1/customers/{user_id}/blocks/{id}": {"user_id": users[:1], "id": [block.json()["id"]]},
            **{
                f"{operation} /v1/conversations/{{number}}{deed}": {"number": numbers}
                for operation, deed, numbers in (
                    ("GET", "", talks[:2]),
                    ("POST", "/answers", talks[:2]),
                    ("POST", "/close", talks[2:]),
                )
            },
            "POST /v1/events/rejected/{id}/resend": {"id": [1], "event": ["car_viewed"]},
            "POST /v1/events/parked/{id}/retry": {"id": [await parked(scene, bystander)]},
            "POST /v1/enrolments/{number}/signals/{signal}": {"signal": ["form_progress"], "fields": [HALF_FULL]},
            **{f"{method} /v1/segments{rest}": {"form": [FORM], "confirm": [True]} for method, rest in FORMED},
            f"POST {TEXT}/versions": {"source": ["{{ company }}: {{ site }}"]},
            f"POST {TEXT}/versions/{{number}}/preview": {"user_id": users, "event": [BEGUN]},
            "POST /v1/journeys/{name}/enrolments": {"name": ["AbandonedApplication"], "properties": [BEGUN]},
            "GET /v1/customers/{user_id}/placements": {"surface": ["web"]},
            "GET /v1/customers/{user_id}/inbox/live": {"surface": ["web"]},
            "POST /v1/inbox/{message_id}/{deed}": {"message_id": [str(letter)], "user_id": users[:1]},
            "POST /v1/inbox/{message_id}/impressions": {
                "message_id": [str(popup)],
                "user_id": users[:1],
                "surface": ["web"],
                "impression": [str(impression(popup, 1))],
            },
            "POST /v1/customers/{user_id}/web-push/subscribe": {
                "endpoint": [BROWSER.endpoint],
                "p256dh": [BROWSER.keys.p256dh],
                "auth": [BROWSER.keys.auth],
            },
            "POST /v1/segments/{name}/audience": {"name": ["buyers"]},
            "GET /r/{token}": {"token": tracked},
            "GET /u/{token}": {"token": leaving},
            "POST /u/{token}": {"token": leaving},
            "GET /p/{token}": {"token": choosing},
            "POST /p/{token}": {
                "token": choosing[:1],
                "form": [scene.context.links.form(sent[0], datetime.now(UTC))],
            },
        },
        queries={
            "GET /v1/customers/{user_id}/decision": {"channel": "email", "journey": "AbandonedApplication"},
            **{f"{method} {TEXT}{rest}": {} for method, rest in texts},
        },
        paths={
            **{f"{method} {TEXT}{rest}": {**text, "number": number} for (method, rest), number in texts.items()},
            **{f"{method} /v1/segments/{{name}}{rest}": {"name": "reached"} for method, rest in ABOUT_A_SEGMENT},
            "GET /v1/segments/{name}/customers/{user_id}": {"name": "reached", "user_id": users[0]},
            "DELETE /v1/segments/{name}": {"name": "forgotten"},
            "POST /v1/segments/{name}/evaluate": {"name": "unscanned"},
            **{f"{method} /v1/campaigns/{{name}}{rest}": {"name": name} for method, rest, name in ABOUT_A_CAMPAIGN},
            "POST /v1/campaigns/{name}/{command}": {"name": "going", "command": "pause"},
        },
        bodies={
            "PUT /v1/campaigns/plan": {"campaigns": [a_campaign("planned")]},
            "PUT /v1/campaigns/{name}": a_campaign("written"),
            "POST /v1/campaigns/{name}/start": {"confirm": True},
        },
    )


def a_campaign(name: str) -> dict[str, Any]:
    """A campaign of days to come, so that it writes to nobody now."""
    return {
        "name": name,
        "segment": "buyers",
        "cascade": [{"channel": "sms", "template": "campaigns/tyres"}],
        "starts_at": "2100-01-11T10:00:00Z",
        "centre": "north",
    }


async def campaigns_put(scene: Scene) -> None:
    """A draft for whoever reads, another to be started and one to be forgotten; and one under way."""
    text = "/v1/texts/campaigns/tyres/sms/en/versions"
    (await scene.as_operator("POST", text, {"source": "---\n---\nWinter tyres are here."})).raise_for_status()
    (await scene.as_operator("POST", f"{text}/1/publish")).raise_for_status()
    for name in ("written", "forgotten", "started", "going"):
        (await scene.as_operator("PUT", f"/v1/campaigns/{name}", a_campaign(name))).raise_for_status()
    (await scene.as_operator("POST", "/v1/campaigns/going/start", {"confirm": True})).raise_for_status()


async def segments_put(scene: Scene) -> None:
    """Two segments, one of them to be forgotten; and one by which nobody has been looked at yet."""
    async with scene.context.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        await segments.put(connection, NewVersion("unscanned", "Unscanned.", forms.read(FORM), "api", "tests"))
    for name in ("reached", "forgotten"):
        body = {"story": "Reached.", "form": {"trait": "reached", "is": name}}
        (await scene.as_operator("PUT", f"/v1/segments/{name}", body)).raise_for_status()


async def texts_drafted(scene: Scene, path: str) -> dict[tuple[str, str], int]:
    """What texts are asked, and about which of the versions there are now: one in use, the others drafts."""
    source = "{{ company }}: {{ site }}/credit/application/{{ event.application_id }}"
    for _ in range(4):
        (await scene.as_operator("POST", f"{path}/versions", {"source": source})).raise_for_status()
    (await scene.as_operator("POST", f"{path}/versions/1/publish")).raise_for_status()
    return {
        ("GET", ""): 1,
        ("POST", "/versions"): 1,
        ("GET", "/versions/{number}"): 1,
        ("DELETE", "/versions/{number}"): 2,
        ("POST", "/versions/{number}/publish"): 3,
        ("POST", "/versions/{number}/preview"): 4,
        ("POST", "/rollback"): 1,
    }


async def talk(scene: Scene) -> int:
    """A conversation a customer has begun."""
    person = await scene.person()
    await scene.texts(f"whatsapp:{person.phone}", "Is it still there?")
    number: int = await scene.context.pool.fetchval(
        "select id from conversations where customer_id = $1", person.customer
    )
    return number


async def parked(scene: Scene, user_id: str) -> int:
    """An event that can never be dispatched."""
    properties = {"application_id": "A-1", "filled": 41, "total": 40}
    await scene.tells("track", user_id, event="credit_application_started", properties=properties)
    customer = await scene.customer_of(user_id)
    number: int = await scene.context.pool.fetchval("select max(id) from events where customer_id = $1", customer)
    async with scene.context.pool.acquire() as connection:
        await events.park(connection, number, "does not fit its declaration")
    return number


@pytest.fixture(scope="session")
async def seeds(stack: EmbeddedStack, providers: Providers) -> AsyncIterator[tuple[FastAPI, Known]]:
    """An application on a database of its own, with something in it, for an event loop of its own."""
    async with application(stack, providers, "document") as app:
        async with client_of(app) as client:
            known = await seeded(Scene(client, app.state.context, providers))
        yield working(create_app()), known


def working(app: FastAPI) -> FastAPI:
    """Let an application's campaigns run, and its events be dispatched as far as the database goes: no stays' runs."""
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
        async with serving(app), campaigning(app.state.context):
            dispatched = asyncio.create_task(dispatch(app.state.context))
            # A stream then says what there is, and ends.
            app.state.context.live.close()
            yield
            dispatched.cancel()

    app.router.lifespan_context = lifespan
    return app


@contextlib.asynccontextmanager
async def campaigning(context: Context) -> AsyncIterator[None]:
    """Run campaigns, as a worker does."""
    async with (
        delivering(context.pool, context.catalog, context.settings, context.deployment) as deliver,
        build_campaigns_worker(await connect(), deliver, context.pool),
    ):
        yield


@pytest.fixture
def document(seeds: tuple[FastAPI, Known]) -> Iterator[BaseSchema]:
    """What the document says, with the application behind it."""
    app, known = seeds
    schema = schemathesis.openapi.from_asgi("/openapi.json", FromEverywhere(app))

    def label(context: HookContext) -> str:
        assert context.operation is not None
        return context.operation.label

    schema.hooks.hook("map_path_parameters")(lambda context, given: known.path(label(context), given))
    schema.hooks.hook("map_query")(lambda context, given: known.query(label(context), given))
    schema.hooks.hook("map_body")(lambda context, given: known.body(label(context), given))
    yield schema
    shutdown_lifespans()


@pytest.mark.timeout(300 + 60 * EXAMPLES)
def test_every_answer_is_one_the_document_names(
    document: BaseSchema, providers: Providers, subtests: pytest.Subtests
) -> None:
    answered: dict[str, set[int]] = defaultdict(set)

    def ask(case: schemathesis.Case[Any]) -> None:
        statuses = answered[case.operation.label]
        # Whether a key is needed is tried by asking again without one: once will do.
        checks = CHECKS if statuses.intersection(SUCCESS) else [*CHECKS, ignored_auth]
        statuses.add(case.call_and_validate(checks=checks, auth=Credentials(providers)).status_code)

    modes = [HypothesisTestMode.EXAMPLES, HypothesisTestMode.COVERAGE, HypothesisTestMode.FUZZING]
    asked = settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    config = HypothesisTestConfig(project=document.config, modes=modes, explicit_settings=asked)
    operations = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    # Who is erased can be asked nothing more about.
    for operation in sorted(operations, key=lambda each: each.label == ERASURE):
        with subtests.test(operation.label):
            create_test(operation=operation, test_func=ask, config=config)()
            # The inside was reached, not only what guards it.
            assert min(answered[operation.label]) < 400
