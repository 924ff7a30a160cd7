"""How the tests of the API speak: somebody gets a message, a provider calls back, what does their run hear."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from api.context import Context
from dispatch.plan import Signal, StartRun, plan
from domain.messages import OWN, Channel, DeliverRequest, Draft, Status
from store import events, messages
from store.messages import Proposal

PUBLIC = "https://journeys.example.com"
WRITER = "write-key-write-key-write-key"
OPERATOR = "operator-key-operator-key"
READER = "reader-key-reader-key-reader"
DECODER = "decode-key-decode-key-decode"
INBOX = "inbox-key-inbox-key-inbox-key"

CONTENTS: dict[Channel, dict[str, Any]] = {
    Channel.EMAIL: {"channel": "email", "subject": "Finish", "html": "<p>Finish</p>", "text": "Finish"},
    Channel.SMS: {"channel": "sms", "text": "Finish"},
    Channel.WHATSAPP: {
        "channel": "whatsapp",
        "text": "Call you?",
        "buttons": [{"id": "now", "title": "Right now"}, {"id": "never", "title": "Не звонить"}],
    },
    Channel.PUSH: {"channel": "push", "title": "Finish", "body": "It takes a minute", "link": None},
    Channel.WEB_PUSH: {"channel": "web_push", "title": "Finish", "body": "It takes a minute", "link": None},
    Channel.POPUP: {"channel": "popup", "title": "Spend it", "body": "Until Friday", "link": f"{PUBLIC}/r/x"},
    Channel.BANNER: {"channel": "banner", "title": "Spend it", "body": "Until Friday", "link": f"{PUBLIC}/r/x"},
    Channel.CALL: {"channel": "call", "topic": "Form", "script": "Ask", "name": None},
    Channel.INBOX: {"channel": "inbox", "title": "Finish", "body": "It takes a minute", "link": f"{PUBLIC}/r/x"},
}


@dataclass(frozen=True)
class Providers:
    """Whoever calls back, and how each signs."""

    twilio_auth_token: str
    sendgrid_key: ec.EllipticCurvePrivateKey
    call_centre_secret: str
    app_secret: str

    def twilio(self, path: str, form: Sequence[tuple[str, str]]) -> dict[str, str]:
        grouped: dict[str, list[str]] = {}
        for name, value in form:
            grouped.setdefault(name, []).append(value)
        signature = RequestValidator(self.twilio_auth_token).compute_signature(f"{PUBLIC}{path}", _Repeated(grouped))
        return {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}

    def sendgrid(self, body: bytes, at: datetime) -> dict[str, str]:
        timestamp = str(int(at.timestamp()))
        signature = self.sendgrid_key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }


class _Repeated(dict[str, list[str]]):
    """A form as the official validator reads it."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


@dataclass(frozen=True)
class Person:
    """A customer in a journey."""

    user_id: str
    customer: int
    enrolment: int
    email: str
    phone: str
    token: str


@dataclass
class Scene:
    """The API over HTTP, and the product's own code for what workers do."""

    http: httpx.AsyncClient
    context: Context
    providers: Providers

    # Customers and messages.

    async def person(self, *, phone: str | None = None, **traits: Any) -> Person:
        """A customer who has just come into a journey."""
        number = uuid4().int % 10_000_000
        user_id, email, token = f"u-{uuid4().hex}", f"Person{number}@example.com", f"token-{uuid4().hex}"
        phone = phone or f"+1415{number:07d}"
        known = {"email": email, "phone": phone, "timezone": "Etc/UTC", "locale": "en", **traits}
        await self.tells("identify", user_id, traits=known, context={"device": {"token": token}})
        application = uuid4().hex
        started = {"application_id": application, "filled": 4, "total": 40}
        await self.tells("track", user_id, event="credit_application_started", properties=started)
        customer = await self.customer_of(user_id)
        assert customer is not None
        (start,) = (action for action in await self.dispatched(customer) if isinstance(action, StartRun))
        return Person(user_id, customer, start.start.enrolment, email, phone, token)

    async def tells(self, call: str, user_id: str, **body: Any) -> httpx.Response:
        """The backend tells of a customer."""
        given = {"messageId": uuid4().hex, "userId": user_id, **body}
        return await self.http.post(f"/v1/{call}", json=given, auth=(WRITER, ""))

    async def batch(self, *calls: object) -> httpx.Response:
        """The backend tells of several things at once."""
        return await self.http.post("/v1/batch", json={"batch": calls}, auth=(WRITER, ""))

    async def customer_of(self, user_id: str) -> int | None:
        number: int | None = await self.context.pool.fetchval(
            "select customer_id from identities where value = $1", user_id
        )
        return number

    async def sent(
        self,
        person: Person,
        channel: Channel,
        *,
        awaits: Sequence[Status] = (),
        links: Sequence[str] = (),
        locale: str = "en",
        status: Status = Status.ACCEPTED,
        provider: str = "test",
        provider_id: str | None = None,
        content: Mapping[str, Any] | None = None,
        priority: int = 3,
        expires_at: datetime | None = None,
    ) -> UUID:
        """A message has left for somebody, or is on its way."""
        recipient = {
            Channel.EMAIL: person.email,
            Channel.PUSH: person.token,
            **{each: str(person.customer) for each in OWN},
        }.get(channel, person.phone)
        request = self._request(person, channel, awaits, expires_at)
        proposal = Proposal(
            message=uuid4(),
            customer=person.customer,
            journey="AbandonedApplication",
            priority=priority,
            request=request,
            policy_version=self.context.policy.version,
            now=datetime.now(UTC),
        )
        async with self.context.pool.acquire() as connection:
            attempt = await messages.claim(
                connection,
                proposal,
                status=Status.DELIVERED if channel in OWN else Status.SENDING,
                recipient=recipient,
                locale=locale,
                version="1",
                content=dict(content or CONTENTS[channel]),
                links=links,
                provider=provider,
            )
            if channel not in OWN:
                await messages.settle(connection, proposal.message, attempt, status, provider_id=provider_id)
        return proposal.message

    def _request(
        self, person: Person, channel: Channel, awaits: Sequence[Status], expires_at: datetime | None
    ) -> DeliverRequest:
        draft = Draft(channel=channel, template="abandoned_application/almost_empty")
        return DeliverRequest(
            enrolment=person.enrolment, draft=draft, decided_after=0, awaits=tuple(awaits), expires_at=expires_at
        )

    async def row(self, message: UUID) -> asyncpg.Record:
        row = await self.context.pool.fetchrow("select * from messages where id = $1", message)
        assert row is not None
        return row

    async def status(self, message: UUID) -> str:
        status: str = (await self.row(message))["status"]
        return status

    async def suppressed(self, channel: Channel, address: str) -> str | None:
        """Why nothing is sent there, if so."""
        reason: str | None = await self.context.pool.fetchval(
            "select reason from suppressions where channel = $1 and recipient in (lower($2), address_hash($2))",
            channel,
            address,
        )
        return reason

    async def ledger(self, person: Person) -> list[dict[str, Any]]:
        """What is kept of somebody's wishes, the newest first."""
        entries: list[dict[str, Any]] = (await self.get(f"/v1/customers/{person.user_id}/consents")).json()["entries"]
        return entries

    async def allows(self, person: Person, channel: Channel, topic: str = "offers") -> tuple[bool, str]:
        """Whether marketing may come to somebody, and why."""
        found = (await self.get(f"/v1/customers/{person.user_id}/subscriptions")).json()["subscriptions"]
        (row,) = (row for row in found if (row["channel"], row["topic"]) == (channel, topic))
        return row["allowed"], row["why"]

    async def dispatched(self, customer: int) -> list[StartRun | Signal]:
        """What dispatch does next for a customer."""
        async with self.context.pool.acquire() as connection:
            plans = await plan(connection, self.context.catalog, customer, datetime.now(UTC))
            await events.mark_dispatched(connection, {each.event.id: None for each in plans})
        return [action for each in plans for action in each.actions]

    async def heard(self, person: Person) -> list[tuple[str, Any]]:
        """What a person's run is signalled next: name, and the status or choice or outcome."""
        return [
            (action.name, next(value for name, value in action.argument if name in ("status", "choice", "outcome")))
            for action in await self.dispatched(person.customer)
            if isinstance(action, Signal)
        ]

    async def callbacks(self, provider: str, callback_id: str) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.context.pool.fetch(
            "select * from callbacks where provider = $1 and callback_id = $2", provider, callback_id
        )
        return rows

    # Callbacks.

    async def twilio(self, path: str, form: Sequence[tuple[str, str]], **headers: str) -> httpx.Response:
        """Twilio posts a form."""
        signed = {**self.providers.twilio(path, form), **headers}
        return await self.http.post(path, content=urlencode(form), headers=signed)

    async def twilio_says(self, message: UUID | str, status: str, sid: str = "", **fields: str) -> httpx.Response:
        """Twilio reports a status."""
        form = [("MessageSid", sid or f"SM{uuid4().hex}"), ("MessageStatus", status), *fields.items()]
        return await self.twilio(f"/webhooks/twilio/status?mid={message}", form)

    async def texts(self, number: str, text: str, sid: str = "", **fields: str) -> httpx.Response:
        """Somebody writes to us; WhatsApp numbers begin with `whatsapp:`."""
        form = [("MessageSid", sid or f"SM{uuid4().hex}"), ("From", number), ("To", "+14155550100"), ("Body", text)]
        return await self.twilio("/webhooks/twilio/inbound", [*form, *fields.items()])

    async def sendgrid_says(self, *reports: object, at: datetime | None = None) -> httpx.Response:
        """SendGrid posts a batch of events."""
        return await self.sendgrid(json.dumps(reports).encode() + b"\r\n", at or datetime.now(UTC))

    async def sendgrid(self, body: bytes, at: datetime) -> httpx.Response:
        return await self.http.post("/webhooks/sendgrid", content=body, headers=self.providers.sendgrid(body, at))

    async def app_says(self, body: object, *, callback_id: str = "", at: datetime | None = None) -> httpx.Response:
        """The app's backend reports what happened to a push."""
        return await self.standard("/webhooks/push", self.providers.app_secret, body, callback_id, at)

    async def call_centre_says(
        self, body: object, *, callback_id: str = "", at: datetime | None = None
    ) -> httpx.Response:
        """The call centre reports how a call ended."""
        return await self.standard("/webhooks/call-centre", self.providers.call_centre_secret, body, callback_id, at)

    async def standard(
        self, path: str, secret: str, body: object, callback_id: str = "", at: datetime | None = None
    ) -> httpx.Response:
        """Somebody posts a Standard Webhook."""
        text, moment, name = json.dumps(body), at or datetime.now(UTC), callback_id or uuid4().hex
        headers = {
            "webhook-id": name,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(secret).sign(name, moment, text),
        }
        return await self.http.post(path, content=text, headers=headers)

    # Keys.

    async def get(self, path: str, key: str = READER) -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {key}"})

    async def as_operator(self, method: str, path: str, body: object = None) -> httpx.Response:
        return await self.http.request(method, path, json=body, headers={"Authorization": f"Bearer {OPERATOR}"})

    async def does(self, user_id: str, message: UUID, deed: str) -> httpx.Response:
        """The client's site tells what a customer did in their inbox."""
        headers = {"Authorization": f"Bearer {INBOX}"}
        return await self.http.post(f"/v1/inbox/{message}/{deed}", json={"user_id": user_id}, headers=headers)


def email_event(event: str, message: UUID | None = None, **fields: Any) -> dict[str, Any]:
    """An event as SendGrid posts it."""
    named = {"message_id": str(message)} if message else {}
    now = int(datetime.now(UTC).timestamp())
    return {"event": event, "timestamp": now, "sg_event_id": uuid4().hex, "email": "a@example.com", **named, **fields}
