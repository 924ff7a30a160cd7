"""The callbacks to the product: planned together with the effect, then posted, signed, retried."""

import asyncio
import json
import random
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field

from sandbox.configuration import Configuration
from sandbox.ledger import Entry, Ledger
from sandbox.signatures import sendgrid_headers, standard_headers, twilio_headers

Kind = Literal["twilio", "sendgrid", "call_centre", "push"]

_TIMEOUT = httpx.Timeout(15, pool=None)  # seconds; Twilio's own limit for a webhook
_JITTER = 0.2  # a delay varies by this share of itself
_CONNECTIONS = 20  # to the product at a time
_AT_ONCE = 500  # callbacks taken from the calendar in one go
_TWILIO_RETRY = 1.0  # seconds until the one retry after a failed connection
_BACKOFF = 5.0  # seconds until the first retry of the others, doubled each time …
_SHORTEST_BACKOFF = 0.5  # … but not shorter than this, whatever the speed
_ATTEMPTS = 15  # 5 s doubled 14 times is SendGrid's 24 hours
_IDLE = 60.0  # seconds; nothing depends on it, every plan wakes the courier


class CallbackOptions(BaseModel):
    """How callbacks behave; delays in real seconds, not divided by the speed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    duplicate: bool = Field(False, description="every callback is posted twice")
    shuffle: bool = Field(False, description="a message's callbacks come in another order")
    delay_seconds: float = Field(0, ge=0, description="added to every callback")
    before_answer: bool = Field(False, description="all status callbacks arrive before the provider's own answer")


class CallbackState(CallbackOptions):
    """The options in force, and how many callbacks are in which state."""

    waiting: int
    delivered: int
    given_up: int


class AnsweredCallback(BaseModel):
    """A callback the product has taken; `at` (UTC) is when its answer came."""

    id: int
    kind: Kind
    payload: dict[str, Any]
    at: datetime


@dataclass(frozen=True)
class Step:
    """One thing that will happen to a message `after` so many seconds, and what is posted then.

    Without a `url` nobody is told, but the message's status still moves on.
    """

    kind: Kind
    url: str | None
    payload: dict[str, Any]
    status: str | None = None
    after: float = 0.0


@dataclass(frozen=True)
class _Callback:
    id: int
    ledger_id: int
    kind: Kind
    url: str | None
    status: str | None
    payload: dict[str, Any]
    token: str
    attempts: int
    due: float

    @property
    def lane(self) -> str:
        """A message's callbacks go one after the other, SendGrid's events all together."""
        return "sendgrid" if self.kind == "sendgrid" else str(self.ledger_id)


class Callbacks:
    """Plans survive a restart; what was under way when the process died is posted again."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger, configuration: Configuration) -> None:
        self._connection = connection
        self._ledger = ledger
        self._configuration = configuration
        self._random = random.Random(configuration.seed)
        # No proxies from the environment: callbacks go to the product on this machine.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False)
        # httpx goes through its whole queue at every answer; so it is never given one.
        self._connections = asyncio.Semaphore(_CONNECTIONS)
        self._news = asyncio.Event()
        self._lanes: dict[str, list[_Callback]] = defaultdict(list)
        self._under_way: set[str] = set()
        self.options = CallbackOptions()

    @property
    def client(self) -> httpx.AsyncClient:
        return self._client

    def plan(self, entry: Entry, steps: Sequence[Step]) -> None:
        """Put the steps on the calendar, as the options say."""
        now = time.time()
        dues = [now + self._delay(step.after) for step in steps]
        if self.options.shuffle:
            self._random.shuffle(dues)
        for step, due in zip(steps, dues, strict=True):
            token = str(uuid.uuid4())
            self._insert(entry.id, step, token, due)
            if self.options.duplicate and step.url:
                self._insert(entry.id, step, token, due + self._delay(step.after))
        self._connection.commit()
        self._news.set()

    async def before_answer(self, entries: Iterable[Entry]) -> None:
        """If the options ask for it, post everything planned for these entries now."""
        if not self.options.before_answer:
            return
        for entry in entries:
            for callback in self._take("ledger_id = ?", entry.id):
                await self._post([callback])
        self._news.set()  # what was not taken by the product is to be tried again

    async def run(self) -> None:
        """Post what falls due, until cancelled."""
        with self._connection:  # what was under way when the process ended
            self._connection.execute("update callbacks set state = 'waiting' where state = 'posting'")
        async with self._client, asyncio.TaskGroup() as posting:
            while True:
                self._news.clear()
                for callback in self._take("due <= ? order by due limit ?", time.time(), _AT_ONCE):
                    self._lanes[callback.lane].append(callback)
                for lane in self._lanes.keys() - self._under_way:
                    self._under_way.add(lane)
                    posting.create_task(self._work(lane))
                await self._next_due()

    def state(self) -> CallbackState:
        numbers = dict(self._connection.execute("select state, count(*) from callbacks group by 1").fetchall())
        return CallbackState(
            **self.options.model_dump(),
            waiting=numbers.get("waiting", 0) + numbers.get("posting", 0),
            delivered=numbers.get("delivered", 0),
            given_up=numbers.get("given_up", 0),
        )

    def answered(self, after: int, limit: int) -> list[AnsweredCallback]:
        """What the product has taken, from the callback after `after` on, in the order in which they were planned."""
        rows = self._connection.execute(
            """select id, kind, payload, due from callbacks
            where state = 'delivered' and url is not null and id > ? order by id limit ?""",
            (after, limit),
        )
        return [
            AnsweredCallback(id=id, kind=kind, payload=json.loads(payload), at=datetime.fromtimestamp(at, UTC))
            for id, kind, payload, at in rows
        ]

    def _delay(self, seconds: float) -> float:
        varied = seconds * (1 + self._random.uniform(-_JITTER, _JITTER))
        return varied / self._configuration.speed + self.options.delay_seconds

    def _insert(self, ledger_id: int, step: Step, token: str, due: float) -> None:
        happens = {"timestamp": int(due)} if step.kind == "sendgrid" else {}
        payload = json.dumps(step.payload | happens)
        self._connection.execute(
            """insert into callbacks (ledger_id, kind, url, status, payload, token, due)
            values (?, ?, ?, ?, ?, ?, ?)""",
            (ledger_id, step.kind, step.url, step.status, payload, token, due),
        )

    def _take(self, condition: str, *values: object) -> list[_Callback]:
        """Waiting callbacks, earliest first; from here on nobody else takes them."""
        with self._connection:
            rows = self._connection.execute(
                f"""update callbacks set state = 'posting' where id in
                (select id from callbacks where state = 'waiting' and {condition})
                returning id, ledger_id, kind, url, status, payload, token, attempts, due""",
                values,
            ).fetchall()
        rows.sort(key=lambda row: (row["due"], row["id"]))
        return [_Callback(**{**dict(row), "payload": json.loads(row["payload"])}) for row in rows]

    async def _next_due(self) -> None:
        (due,) = self._connection.execute("select min(due) from callbacks where state = 'waiting'").fetchone()
        patience = _IDLE if due is None else max(0.0, due - time.time())
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._news.wait()

    async def _work(self, lane: str) -> None:
        """Post one after the other what is or comes into the lane."""
        while callbacks := self._lanes.pop(lane, None):
            for batch in _batches(callbacks):
                await self._post(batch)
        self._under_way.remove(lane)

    async def _post(self, batch: list[_Callback]) -> None:
        """Post one request: one callback, or a batch of SendGrid's events."""
        for callback in batch:
            if callback.status and not callback.attempts:
                self._ledger.advance(callback.ledger_id, callback.status)
        if batch[0].url is None:
            self._note(batch, "delivered", "nobody asked to be told")
            return
        request = self._request(batch, batch[0].url)
        try:
            async with self._connections:
                answer = await self._client.send(request)
        except httpx.RequestError as error:
            connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            self._again_or_give_up(batch, type(error).__name__, connected=connected)
        else:
            if answer.is_success:
                # Nothing is due any more; when it was done is worth more.
                self._note(batch, "delivered", str(answer.status_code), due=time.time())
            else:
                self._again_or_give_up(batch, str(answer.status_code), connected=True)

    def _again_or_give_up(self, batch: list[_Callback], answer: str, *, connected: bool) -> None:
        """Twilio tries once more if it could not connect; the others for a day."""
        for callback in batch:
            if callback.kind == "twilio":
                again = not connected and callback.attempts == 0
                pause = _TWILIO_RETRY / self._configuration.speed
            else:
                again = callback.attempts + 1 < _ATTEMPTS
                pause = max(
                    _SHORTEST_BACKOFF,
                    _BACKOFF * 2**callback.attempts / self._configuration.speed,
                )
            self._note([callback], "waiting" if again else "given_up", answer, due=time.time() + pause)
        self._news.set()

    def _note(self, batch: list[_Callback], state: str, answer: str, due: float | None = None) -> None:
        with self._connection:
            self._connection.executemany(
                """update callbacks set state = ?, answer = ?, attempts = attempts + 1,
                due = coalesce(?, due) where id = ?""",
                [(state, answer, due, callback.id) for callback in batch],
            )

    def _request(self, batch: list[_Callback], url: str) -> httpx.Request:
        configuration, now = self._configuration, datetime.now(UTC)
        first = batch[0]
        match first.kind:
            case "twilio":
                return self._client.build_request(
                    "POST",
                    url,
                    data=first.payload,
                    headers=twilio_headers(configuration.twilio_auth_token.get_secret_value(), url, first.payload)
                    | {
                        "User-Agent": "TwilioProxy/1.1",
                        "I-Twilio-Idempotency-Token": first.token,
                    },
                )
            case "sendgrid":
                # Theirs has line breaks of this kind, and the signature covers them.
                events = ",\r\n".join(json.dumps(callback.payload) for callback in batch)
                body = f"[{events}]\r\n".encode()
                return self._client.build_request(
                    "POST",
                    url,
                    content=body,
                    headers=sendgrid_headers(configuration.sendgrid_signing_key, body, now)
                    | {"Content-Type": "application/json", "User-Agent": "SendGrid Event API"},
                )
            case "call_centre" | "push":
                secret = (
                    configuration.call_centre_secret
                    if first.kind == "call_centre"
                    else configuration.app_webhook_secret
                )
                text = json.dumps(first.payload)
                return self._client.build_request(
                    "POST",
                    url,
                    content=text,
                    headers=standard_headers(secret.get_secret_value(), first.token, text, now)
                    | {"Content-Type": "application/json"},
                )


def _batches(callbacks: list[_Callback]) -> list[list[_Callback]]:
    """SendGrid's events go together, a repeated event never in the same batch as itself."""
    if callbacks[0].kind != "sendgrid":
        return [[callback] for callback in callbacks]
    first = {callback.token: callback for callback in reversed(callbacks)}
    once = [callback for callback in callbacks if first[callback.token] is callback]
    again = [callback for callback in callbacks if first[callback.token] is not callback]
    return [batch for batch in (once, again) if batch]
