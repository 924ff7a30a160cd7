"""Nothing of anybody is in Temporal or in a log: marked people go every way there is, and no mark is found."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    QueryWorkflowRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from cli.payload_keys import payloads_of
from cli.stack import EmbeddedStack
from cli.stack.services import Programs
from tests.world import where_it_is

SPEED = 86_400.0
"""A day in a second."""

MARK = f"mark{uuid4().hex[:16]}"
"""In everything that is told of anybody or by anybody, and nowhere else."""

PROGRAMS = Programs(api="tests.guarantees.marked:create_app", worker=("-m", "tests.guarantees.marked"))


@dataclass
class Marked:
    """Somebody who has the mark wherever one can be had."""

    name: str
    phone: str = field(default_factory=lambda: f"+1415{uuid4().int % 10_000_000:07d}")
    browsers: list[str] = field(default_factory=list)
    """Names of their browsers' subscriptions: the ends of their endpoints."""

    @property
    def user_id(self) -> str:
        return f"{MARK}.{self.name}@example.com"

    @property
    def email(self) -> str:
        return f"{MARK}-{self.name}@example.com"

    @property
    def token(self) -> str:
        return f"{MARK}:{self.name}:token"

    @property
    def application(self) -> str:
        return f"{MARK}/{self.name}"


@dataclass
class Scenery:
    """A whole installation in processes of its own, and everybody in it."""

    stack: EmbeddedStack
    api: httpx.AsyncClient
    providers: httpx.AsyncClient
    pool: asyncpg.Pool
    temporal: Client
    people: dict[str, Marked] = field(default_factory=dict)

    # What the backend tells.

    async def person(self, name: str, **differently: Any) -> Marked:
        who = self.people[name] = Marked(name, **differently)
        await self.providers.put(f"/_sandbox/people/{who.email}", json={"name": who.user_id, "email": who.email})
        await self.tells(
            "identify",
            who,
            anonymousId=f"{MARK}-{name}-anonymous",
            traits={
                "email": who.email,
                "phone": who.phone,
                "timezone": where_it_is(10),
                "first_name": f"{MARK}-first",
                "last_name": f"{MARK}-last",
                f"{MARK}_trait": {"nested": [MARK]},
            },
            context={
                "ip": MARK,
                "page": {"url": f"https://example.com/{MARK}"},
                "device": {"token": who.token, "type": MARK},
            },
        )
        return who

    async def tells(self, call: str, who: Marked | None, **body: Any) -> httpx.Response:
        named = {"userId": who.user_id} if who else {}
        given = {"messageId": f"{MARK}-{uuid4().hex}", **named, **body}
        return await self.api.post(f"/v1/{call}", json=given, auth=(self.stack.write_key, ""))

    async def does(self, who: Marked, event: str, **properties: Any) -> None:
        told = {"application_id": who.application, "comment": MARK, f"{MARK}_property": MARK, **properties}
        assert (await self.tells("track", who, event=event, properties=told)).status_code == 200

    async def begins(self, who: Marked, **properties: Any) -> None:
        await self.does(who, "credit_application_started", **{"filled": 2, "total": 40, **properties})

    async def operator(self, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.stack.operator_key}"}
        return await self.api.request(method, path, json=body, headers=headers)

    # What happens at the providers.

    async def fault(self, provider: str, address: str, kind: str, times: int = 1) -> None:
        fault = {"provider": provider, "address": address, "kind": kind, "times": times, "seconds": 15}
        (await self.providers.put("/_sandbox/faults", json=fault)).raise_for_status()

    async def at_providers(self, method: str, path: str, body: object = None) -> Any:
        answer = await self.providers.request(method, f"/_sandbox/{path}", json=body)
        assert answer.is_success, f"{path}: {answer.text}"
        return answer.json() if answer.content else None

    async def writes(self, who: Marked, text: str) -> None:
        await self.at_providers("POST", "inbound", {"from": who.phone, "to": "+15550100", "text": text})

    async def arrived(self, who: Marked, channel: str) -> int:
        """Number of what has come to a phone, in the providers' ledger."""
        found: list[int] = []

        async def look() -> bool:
            ledger = (await self.providers.get("/_sandbox/ledger", params={"address": who.phone})).json()["entries"]
            found.extend(
                each["id"] for each in ledger if each["channel"] == channel and each["direction"] == "outbound"
            )
            return bool(found)

        await self.until(f"{channel} to {who.name}", look)
        return found[-1]

    # What is written without a release.

    async def publishes(self, text: str, channel: str, header: str) -> None:
        """Publish a text that says everything there is of a customer, in every language."""
        words = f"{MARK} to {{{{ customer.first_name }}}} of the house of {{{{ customer.last_name }}}}, good day."
        source = f"---\n{header}---\n{words}"
        for locale in ("en", "ru"):
            path = f"/v1/texts/campaigns/{text}/{channel}/{locale}/versions"
            drafted = await self.operator("POST", path, {"source": source})
            assert drafted.status_code == 201, drafted.text
            published = await self.operator("POST", f"{path}/{drafted.json()['number']}/publish")
            assert published.status_code == 200, published.text

    # What is to be seen.

    async def until(self, what: str, look: Callable[[], Awaitable[object]], within: float = 60) -> None:
        async with asyncio.timeout(within):
            while not await look():  # noqa: ASYNC110, only the processes know
                await asyncio.sleep(0.1)

    async def sees(self, sql: str, *arguments: Any, within: float = 60) -> None:
        """Wait until a query finds something."""
        try:
            await self.until(sql, lambda: self.pool.fetchval(f"select exists ({sql})", *arguments), within)
        except TimeoutError:
            rows = await self.pool.fetch(
                "select i.value, m.channel, m.template, m.status, m.reason from messages m join identities i using "
                "(customer_id) where i.kind = 'user' order by i.value, m.created_at"
            )
            notes = await self.pool.fetch("select name, note, dispatched_at from events order by id")
            raise AssertionError(f"never seen: {sql} {arguments}\n{rows}\n{notes}") from None

    async def sees_message(self, who: Marked, condition: str, within: float = 60) -> None:
        await self.sees(
            f"select from messages m join identities i using (customer_id) where i.value = $1 and {condition}",
            who.user_id,
            within=within,
        )

    async def run_of(self, who: Marked) -> str:
        found: str | None = None

        async def look() -> bool:
            nonlocal found
            found = await self.pool.fetchval(
                "select workflow_id from enrolments e join identities i using (customer_id) where i.value = $1 limit 1",
                who.user_id,
            )
            return found is not None

        await self.until(f"a run of {who.name}", look)
        assert found
        return found

    async def number_of(self, who: Marked) -> int:
        return int((await self.run_of(who)).rsplit("-e", 1)[1])


@pytest.fixture(scope="module")
async def scenery(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenery]:
    data = tmp_path_factory.mktemp("marked")
    environment = {"JOURNEYS_LOG_LEVEL": "DEBUG"}
    async with contextlib.AsyncExitStack() as resources:
        enter = resources.enter_async_context
        stack = await enter(EmbeddedStack(data, durable=False, speed=SPEED, environment=environment, programs=PROGRAMS))
        yield Scenery(
            stack,
            await enter(httpx.AsyncClient(base_url=stack.api_url, timeout=30)),
            await enter(httpx.AsyncClient(base_url=stack.sandbox_url, timeout=30)),
            await enter(asyncpg.create_pool(stack.database_url, min_size=1, max_size=4)),
            await Client.connect(stack.temporal_address),
        )


# Every way there is.


async def reaches_the_goal(scenery: Scenery) -> None:
    """Is called, gets a letter, an inbox message and an SMS, comes back in between, and submits."""
    who = await scenery.person("ada")
    await scenery.begins(who)
    await scenery.sees_message(who, "channel = 'call'")
    await scenery.does(who, "credit_application_progressed", filled=3, total=40)
    await scenery.sees_message(who, "channel = 'sms' and status = 'delivered'")
    await scenery.does(who, "credit_application_submitted", bank=MARK)
    await scenery.sees(
        "select from enrolments where workflow_id = $1 and outcome = 'goal' and ended_at is not null",
        await scenery.run_of(who),
    )


async def is_refused_everywhere(scenery: Scenery) -> None:
    """The device is dead, the letter bounces with a reason, the number is not one: providers quote them all."""
    who = await scenery.person("ben", phone="+15005550001")
    for address, delivery in ((who.token, "unregistered"), (who.email, "bounced")):
        (await scenery.providers.put(f"/_sandbox/people/{address}", json={"delivery": delivery})).raise_for_status()
    await scenery.does(who, "cascade_begun")
    for channel in ("push", "email", "sms"):
        await scenery.sees_message(who, f"channel = '{channel}' and status = 'failed'")


async def meets_bad_luck(scenery: Scenery) -> None:
    """Providers are away, refuse for their rates, answer nothing that can be relied on."""
    who = await scenery.person("cy")
    await scenery.fault("fcm", who.token, "status_429")
    await scenery.fault("sendgrid", who.email, "status_500")
    await scenery.fault("twilio", who.phone, "reset_after_accept")
    await scenery.does(who, "cascade_begun")
    await scenery.sees_message(who, "channel = 'push' and attempt > 1")
    await scenery.sees_message(who, "channel = 'sms' and evidence is not null")
    # Of this one nobody calls back, so Twilio is asked for what went to the number.
    other = await scenery.person("cyd")
    (await scenery.providers.put(f"/_sandbox/people/{other.phone}", json={"delivery": "never"})).raise_for_status()
    await scenery.fault("twilio", other.phone, "reset_after_accept")
    await scenery.does(other, "letter_begun", by="sms", urgent=True)
    await scenery.sees_message(other, "resolution = 'found'")


async def answers_in_words(scenery: Scenery) -> None:
    """Answers a question with everything they are called, and the run then tells all it knows."""
    who = await scenery.person("di")
    await scenery.does(who, "blurt_begun", bank="North", amount=17.5)
    await scenery.does(who, "overheard", bank="South")
    await scenery.sees_message(who, "channel = 'sms' and status = 'delivered'")
    await scenery.writes(who, f"My name is {MARK}, call {who.phone}")
    await scenery.sees_message(who, "channel = 'sms' and status = 'replied'")
    handle = scenery.temporal.get_workflow_handle(await scenery.run_of(who))

    async def stuck() -> bool:
        return (await handle.describe()).raw_description.pending_workflow_task.attempt > 2

    await scenery.until("the bug", stuck)
    await scenery.writes(who, f"STOP {MARK}")
    await scenery.writes(who, "STOP")


async def turn_out_to_be_one(scenery: Scenery) -> None:
    """Somebody anonymous and somebody known, both with an application, by a call with a name of its own."""
    who = await scenery.person("eve")
    await scenery.begins(who)
    stranger = {"anonymousId": f"{MARK}-stranger"}
    started = {"application_id": who.application, "filled": 2, "total": 40}
    await scenery.tells("track", None, event="credit_application_started", properties=started, **stranger)
    await scenery.sees(
        "select from enrolments e join identities i using (customer_id) where i.value = $1", stranger["anonymousId"]
    )
    await scenery.tells("track", who, event=f"{MARK} was seen with {MARK}", **stranger)
    await scenery.sees("select from enrolments where outcome = 'merged' and ended_at is not null")


async def is_erased(scenery: Scenery) -> None:
    who = await scenery.person("fay")
    await scenery.begins(who)
    await scenery.sees_message(who, "channel = 'email'")
    run = await scenery.run_of(who)
    assert (await scenery.operator("DELETE", f"/v1/customers/{who.user_id}")).status_code == 204
    await scenery.sees("select from enrolments where workflow_id = $1 and ended_at is not null", run)
    await scenery.sees("select from erasures where completed_at is not null")
    assert (await scenery.tells("track", who, event="car_viewed")).status_code == 410


async def runs_into_the_database(scenery: Scenery) -> None:
    """PostgreSQL's own errors quote the rows they refuse, to the worker and to the API."""
    who = await scenery.person("gil")
    await scenery.pool.execute(
        "alter table messages add constraint refused_here check (recipient not like '%gil%') not valid"
    )
    await scenery.does(who, "letter_begun", by="email")
    handle = scenery.temporal.get_workflow_handle(await scenery.run_of(who))

    async def failing() -> bool:
        try:
            pending = (await handle.describe()).raw_description.pending_activities
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False  # The row comes before the run.
        return bool(pending) and pending[0].attempt > 1 and pending[0].HasField("last_failure")

    await scenery.until("the error", failing)
    await scenery.pool.execute(
        "alter table events add constraint refused_here check (properties ->> 'refuse' is null) not valid"
    )
    told = {"refuse": MARK}
    assert (await scenery.tells("track", who, event=MARK, properties=told)).status_code >= 500
    await scenery.pool.execute("alter table devices rename to devices_elsewhere")
    assert (await scenery.operator("GET", f"/v1/customers/{who.user_id}")).status_code >= 500
    await scenery.pool.execute("alter table devices_elsewhere rename to devices")


async def is_told_of_wrongly(scenery: Scenery) -> None:
    who = await scenery.person("hal")
    await scenery.does(who, "credit_application_started", filled=MARK, total={MARK: MARK})
    await scenery.does(who, "blurt_begun", bank=f"{MARK} bank")
    await scenery.does(who, f"{MARK} happened")
    bad = [{"type": "track", "userId": who.user_id, "event": "", "messageId": MARK}, MARK, {"type": MARK}]
    await scenery.api.post("/v1/batch", json={"batch": bad}, auth=(scenery.stack.write_key, ""))
    await scenery.api.post("/v1/track", content=f'{{"{MARK}": ', auth=(MARK, MARK))
    await scenery.tells("identify", who, traits={"email": f"{MARK} no address", "phone": MARK, "timezone": MARK})
    await scenery.operator("GET", f"/v1/customers/{MARK}-nobody")
    await scenery.operator("POST", f"/v1/journeys/{MARK}/enrolments", {"user_id": MARK, MARK: MARK})
    await scenery.api.get(f"/{MARK}", headers={"Authorization": f"Bearer {MARK}"})
    for path in ("twilio/inbound", "twilio/status?mid=" + MARK, "sendgrid", "push", "call-centre"):
        await scenery.api.post(f"/webhooks/{path}", content=MARK)
    await scenery.sees("select from events where parked_at is not null")


async def is_looked_after(scenery: Scenery) -> None:
    """An operator pauses, talks, blocks, and stops."""
    who = await scenery.person("ivy")
    await scenery.begins(who, filled=40)
    number = await scenery.number_of(who)
    for command in ("pause", "pause", "resume", "skip_wait"):
        await scenery.operator("POST", f"/v1/enrolments/{number}/{command}")
    await scenery.operator("PUT", f"/v1/customers/{who.user_id}/dialogue")
    consent = {"channel": "sms", "topic": "*", "given": False, "source": "form", "proof": {MARK: MARK}}
    await scenery.operator("POST", f"/v1/customers/{who.user_id}/consents", consent)
    await scenery.operator("DELETE", f"/v1/customers/{who.user_id}/dialogue")
    await scenery.operator("POST", f"/v1/customers/{who.user_id}/blocks", {"name": "complaint", "lasts": "P1D"})
    await scenery.sees_message(who, "true")
    assert (await scenery.operator("POST", f"/v1/enrolments/{number}/stop")).status_code == 200
    await scenery.operator("GET", f"/v1/customers/{who.user_id}/export")


async def visits_the_site(scenery: Scenery) -> None:
    """Takes pushes in a browser, sees a pop-up and a banner live, and gets WhatsApp's template."""
    who = await scenery.person("kim")
    here = f"people/{MARK}-kim"
    await scenery.at_providers("PUT", here, {"user_id": who.user_id})
    for channel in ("web_push", "popup", "banner"):
        await scenery.publishes(
            "site", channel, "title: {{ customer.first_name }}\nlink: {{ site }}/?name={{ customer.last_name }}\n"
        )
    await scenery.publishes("site", "whatsapp", "category: marketing\nbutton: yes | Yes\n")
    submitted = await scenery.operator("POST", "/v1/whatsapp/templates/submit", {"template": "campaigns/site"})
    assert [each["problems"] for each in submitted.json()] == [[], []], submitted.text
    while not await scenery.pool.fetchval("select bool_and(status = 'approved') from whatsapp_templates"):
        await scenery.operator("POST", "/v1/whatsapp/templates/look")
        await asyncio.sleep(0.5)
    endpoint = (await scenery.at_providers("POST", f"{here}/browser"))["endpoint"]
    who.browsers.append(endpoint.rsplit("/", 1)[1])
    await scenery.does(who, "site_visited", text="site")
    for channel in ("web_push", "popup", "banner", "whatsapp"):
        await scenery.sees_message(who, f"channel = '{channel}' and status in ('delivered', 'read')")
    async with scenery.providers.stream("GET", f"/_sandbox/{here}/live") as live:
        async for line in live.aiter_lines():
            if MARK in line:
                break
    popup = (await scenery.at_providers("GET", f"{here}/placements"))["popup"]
    await scenery.at_providers(
        "POST", f"{here}/site/{popup['id']}", {"deed": "impressions", "impression": popup["impression"]}
    )
    await scenery.at_providers("POST", f"{here}/site/{popup['id']}", {"deed": "clicked", "link": popup["link"]})
    await scenery.sees_message(who, "channel = 'popup' and status = 'clicked'")
    number = await scenery.arrived(who, "whatsapp")
    await scenery.at_providers("POST", f"messages/{number}/button", {"payload": "yes", "text": "Yes"})
    await scenery.sees_message(who, "channel = 'whatsapp' and status = 'replied'")


async def talks_with_people_of_ours(scenery: Scenery) -> None:
    """Asks for somebody, whose tool is away at first, and hears from them."""
    who = await scenery.person("lou")
    await scenery.fault("operators", "*", "status_503")
    await scenery.writes(who, f"Hello, I am {MARK}, {who.email}")
    await scenery.sees(
        "select from operator_notices n join conversations v on v.id = conversation_id "
        "where v.address = $1 and n.done_at is not null",
        who.phone,
    )
    number = await scenery.pool.fetchval("select id from conversations where address = $1", who.phone)
    await scenery.at_providers("POST", f"desk/{number}/answers", {"text": f"Good day, {MARK}"})
    await scenery.sees(
        "select from conversation_lines where conversation_id = $1 and message_id is not null and done_at is not null",
        number,
    )
    await scenery.at_providers("POST", f"desk/{number}/close")


async def is_in_a_campaign(scenery: Scenery) -> None:
    """Is found by a segment that knows what only they have, and written to by a campaign."""
    who = await scenery.person("max")
    await scenery.tells("identify", who, traits={"audience": f"{MARK}-audience"})
    wanted = {
        "story": f"Everybody of {MARK}.",
        "form": {"trait": "audience", "is": f"{MARK}-audience"},
        "confirm": True,
    }
    assert (await scenery.operator("PUT", "/v1/segments/marked", wanted)).is_success
    await scenery.operator("GET", f"/v1/segments/marked/customers/{who.user_id}")
    await scenery.sees(
        "select from segment_members m join identities i using (customer_id) where i.value = $1", who.user_id
    )
    await scenery.publishes("tyres", "email", "subject: For {{ customer.first_name }}\n")
    form = {"name": "marked", "segment": "marked", "cascade": [{"channel": "email", "template": "campaigns/tyres"}]}
    assert (await scenery.operator("PUT", "/v1/campaigns/marked", form)).status_code == 200
    begun = await scenery.operator("POST", "/v1/campaigns/marked/start", {"confirm": True})
    assert begun.status_code == 200, begun.text
    await scenery.sees_message(who, "journey = 'campaign:marked' and status in ('delivered', 'read')")


async def is_called_by_a_machine(scenery: Scenery) -> None:
    """Takes the call, which is told of by Twilio, and presses a key in it."""
    await scenery.stack.kill("worker-1")
    await scenery.stack.start_part("worker-1", {"CALL_PROVIDER": "twilio", "TWILIO_VOICE_FROM": "+15005550006"})
    who = await scenery.person("noa")
    await scenery.at_providers("PUT", f"people/{who.phone}", {"call_result": "answered"})
    await scenery.does(who, "letter_begun", by="call", urgent=True)
    await scenery.sees_message(who, "channel = 'call' and status = 'read' and provider = 'twilio_voice'")
    row = await scenery.pool.fetchrow("select id, provider_id from messages where recipient = $1", who.phone)
    assert row is not None
    key = f"{scenery.stack.api_url}/webhooks/twilio/voice/key?mid={row['id']}"
    form = {"CallSid": row["provider_id"], "Digits": "1", "To": who.phone, "Caller": MARK}
    token = scenery.stack.environment["TWILIO_AUTH_TOKEN"]
    signed = {"X-Twilio-Signature": RequestValidator(token).compute_signature(key, form)}
    assert (await scenery.api.post(key, data=form, headers=signed)).is_success
    await scenery.sees_message(who, "channel = 'call' and status = 'replied'")


WAYS = (
    reaches_the_goal,
    is_refused_everywhere,
    meets_bad_luck,
    answers_in_words,
    turn_out_to_be_one,
    is_erased,
    is_told_of_wrongly,
    is_looked_after,
    visits_the_site,
    talks_with_people_of_ours,
    is_in_a_campaign,
)


# Looking.


class Search:
    """Looks for marks in bytes, also in base64, and tells where one was found."""

    def __init__(self, people: dict[str, Marked]) -> None:
        words = {MARK, *(who.phone.removeprefix("+") for who in people.values())}
        words |= {browser for who in people.values() for browser in who.browsers}
        self._wanted = {word.encode() for word in words} | {part for word in words for part in _in_base64(word)}
        self.found: list[str] = []
        self.looked_at = 0

    def at(self, where: str, raw: bytes) -> None:
        self.looked_at += len(raw)
        for wanted in self._wanted:
            for text in (raw, raw.lower()):
                place = text.find(wanted)
                if place >= 0:
                    self.found.append(f"{where}: …{raw[max(0, place - 120) : place + 60]!r}…")
                    return


def _in_base64(word: str) -> set[bytes]:
    """A word as base64 writes it in the middle of something, wherever it begins."""
    found = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + word.encode())
        found.add(encoded[-(-before * 8 // 6) + 1 : -4])
    return found


async def everything_in_temporal(scenery: Scenery) -> AsyncIterator[tuple[str, bytes]]:
    """Histories with every payload, what runs are at, what they say of themselves, what they are found by."""
    service, namespace = scenery.temporal.workflow_service, scenery.temporal.namespace
    listed = await service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace=namespace, page_size=1000))
    yield "the list of runs", listed.SerializeToString()
    for found in listed.executions:
        execution = WorkflowExecution(workflow_id=found.execution.workflow_id, run_id=found.execution.run_id)
        name = f"{found.type.name} {execution.workflow_id}"
        described = await service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        )
        yield f"{name} described", described.SerializeToString()
        handle = scenery.temporal.get_workflow_handle(execution.workflow_id, run_id=execution.run_id)
        async for event in handle.fetch_history_events():
            yield f"{name} event {event.event_id}", event.SerializeToString()
            for payload in payloads_of(event):
                yield f"{name} payload of event {event.event_id}", payload.data
        for query in ("standing", "__temporal_workflow_metadata", "__stack_trace"):
            with contextlib.suppress(RPCError):  # a run that cannot go on cannot answer
                answer = await service.query_workflow(
                    QueryWorkflowRequest(
                        namespace=namespace, execution=execution, query=WorkflowQuery(query_type=query)
                    ),
                    timeout=timedelta(seconds=5),
                )
                yield f"{name} asked for {query}", answer.SerializeToString()


def test_a_mark_is_found_however_it_is_written() -> None:
    for raw in (
        f"a {MARK} b".encode(),
        f"A {MARK.upper()} B".encode(),
        *(base64.b64encode(b"x" * before + f"{MARK} and more".encode()) for before in range(6)),
    ):
        search = Search({})
        search.at("here", raw)
        assert len(search.found) == 1, raw
    search = Search({"ada": Marked("ada", "+14155550123")})
    search.at("here", b'{"phone": "+14155550123"}')
    search.at("there", b"nothing of anybody")
    assert len(search.found) == 1


@pytest.mark.timeout(300)
async def test_no_mark_of_anybody_is_in_temporal_or_in_a_log(scenery: Scenery) -> None:
    await asyncio.gather(*(way(scenery) for way in WAYS))
    await is_called_by_a_machine(scenery)
    # Last, because it makes PostgreSQL refuse.
    await runs_into_the_database(scenery)

    search, kinds = Search(scenery.people), set[str]()
    async for where, raw in everything_in_temporal(scenery):
        search.at(where, raw)
        kinds.add(where.split()[0])
    # What was looked at can be read.
    assert kinds >= {"AbandonedApplication", "Cascade", "Blurt", "OneLetter", "EraseAtProviders", "ResolveSends"}
    assert kinds >= {"OnTheSite", "Converse", "ReviewTemplates", "Campaign", "SegmentScan"}
    assert search.looked_at > 100_000
    for log in ("api", "worker-1", "temporal", "postgres", "migrate", "keys"):
        search.at(f"{log}.log", scenery.stack.log(log).read_bytes())
    search.at("metrics", (await scenery.operator("GET", "/metrics")).content)
    told = scenery.stack.log("worker-1").read_text() + scenery.stack.log("api").read_text()
    for line in ("an activity failed", "event parked", "customer erased", "database failed", "callback refused"):
        assert line in told, line
    assert not search.found, "\n".join(search.found)
    # They were all there.
    assert await planted(scenery) >= PLANTED


PLANTED = {
    "callbacks.body",
    "conversation_lines.text",
    "consents.proof",
    "customers.email",
    "customers.traits",
    "devices.platform",
    "devices.token",
    "enrolments.key",
    "events.context",
    "events.message_id",
    "events.name",
    "events.properties",
    "identities.value",
    "messages.content",
    "messages.links",
    "messages.recipient",
    "rejected_events.body",
    "segment_versions.form",
    "suppressions.recipient",
    "texts.source",
    "whatsapp_templates.form",
}


async def planted(scenery: Scenery) -> set[str]:
    """Where the database holds the mark."""
    columns = await scenery.pool.fetch(
        "select table_name, column_name from information_schema.columns where table_schema = 'public'"
    )
    return {
        f"{table}.{column}"
        for table, column in columns
        if await scenery.pool.fetchval(
            f'select exists (select from "{table}" where strpos(lower("{column}"::text), $1) > 0)', MARK
        )
    }
