"""The callbacks to the product: planned together with the effect, then posted, signed, retried."""

import asyncio
import json
import random
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
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


class Callbacks:
    """Plans survive a restart; what was under way when the process died is posted again."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger, configuration: Configuration) -> None:
        self._connection = connection
        self._ledger = ledger
        self._configuration = configuration
        self._random = random.Random(configuration.seed)
        # No proxies from the environment: callbacks go to the product on this machine.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False)
        self._news = asyncio.Event()
        self._answering: set[int] = set()
        self._under_way: dict[str, asyncio.Task[None]] = {}
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
            self._answering.add(entry.id)
            try:
                for callback in self._waiting("ledger_id = ? order by due, id", entry.id):
                    await self._post([callback])
            finally:
                self._answering.remove(entry.id)
        self._news.set()  # what was not taken is to be tried again

    async def run(self) -> None:
        """Post what falls due, until cancelled."""
        async with self._client, asyncio.TaskGroup() as posting:
            while True:
                self._news.clear()
                # One moment for both questions, or what falls due between them would be overlooked.
                now = time.time()
                for lane, callbacks in self._due(now).items():
                    if lane not in self._under_way:
                        self._under_way[lane] = posting.create_task(self._work(lane, callbacks))
                await self._next_due(now)

    def state(self) -> CallbackState:
        numbers = dict(self._connection.execute("select state, count(*) from callbacks group by 1").fetchall())
        return CallbackState(
            **self.options.model_dump(),
            waiting=numbers.get("waiting", 0),
            delivered=numbers.get("delivered", 0),
            given_up=numbers.get("given_up", 0),
        )

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

    def _waiting(self, condition: str, *values: object) -> list[_Callback]:
        rows = self._connection.execute(
            f"""select id, ledger_id, kind, url, status, payload, token, attempts
            from callbacks where state = 'waiting' and {condition}""",
            values,
        )
        return [_Callback(**{**dict(row), "payload": json.loads(row["payload"])}) for row in rows]

    def _due(self, now: float) -> dict[str, list[_Callback]]:
        """What is due, by lane: a message's callbacks go one after the other, SendGrid's together."""
        lanes: dict[str, list[_Callback]] = defaultdict(list)
        for callback in self._waiting("due <= ? order by due, id limit ?", now, _AT_ONCE):
            if callback.ledger_id in self._answering:
                continue
            lane = "sendgrid" if callback.kind == "sendgrid" else str(callback.ledger_id)
            lanes[lane].append(callback)
        return lanes

    async def _next_due(self, now: float) -> None:
        (due,) = self._connection.execute(
            "select min(due) from callbacks where state = 'waiting' and due > ?", (now,)
        ).fetchone()
        patience = _IDLE if due is None else max(0.0, due - time.time())
        try:
            async with asyncio.timeout(patience):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _work(self, lane: str, callbacks: list[_Callback]) -> None:
        try:
            for batch in _batches(callbacks):
                await self._post(batch)
        finally:
            del self._under_way[lane]
            self._news.set()  # the lane may have filled up again meanwhile

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
            answer = await self._client.send(request)
        except httpx.TransportError as error:
            self._again_or_give_up(batch, type(error).__name__, connected=False)
        else:
            if answer.is_success:
                self._note(batch, "delivered", str(answer.status_code))
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
