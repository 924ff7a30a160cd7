"""The sandbox as a running process, and the product's side of it: a server that notes what is posted."""

import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright
from standardwebhooks import Webhook

from sandbox.credentials import generate
from tests.browser import ARGUMENTS, chromium

_ROOT = Path(__file__).parents[2]
_PATIENCE = 20  # seconds until a callback that does not come fails the test
LINK_TARGET = "https://bank.example/form"


@dataclass(frozen=True)
class Received:
    """One request that reached the product; `headers` by lower-case name."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Product:
    """Answers 204 to callbacks, redirects links, and lets a test wait for what it expects."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: dict[str, tuple[int, Any]] = {}
        self._news = threading.Condition()
        self._failures = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def fail_next(self, times: int) -> None:
        self._failures = times

    def wait_for(self, wanted: Callable[[Received], bool], count: int = 1) -> list[Received]:
        """The requests that are wanted, as soon as there are `count` of them."""

        def found() -> list[Received] | None:
            chosen = [request for request in self.received if wanted(request)]
            return chosen if len(chosen) >= count else None

        with self._news:
            chosen = self._news.wait_for(found, _PATIENCE)
        assert chosen, f"{count} expected, came: {[request.url for request in self.received]}"
        return chosen

    def statuses(self, message_id: str, count: int) -> list[Received]:
        """Twilio's status callbacks of a message."""
        return self.wait_for(lambda request: f"mid={message_id}" in request.url, count)

    def events(self, message_id: str, count: int) -> list[dict[str, Any]]:
        """SendGrid's events of a message."""

        def about_it(request: Received) -> list[dict[str, Any]]:
            if request.path != "/webhooks/sendgrid":
                return []
            return [event for event in request.json if event.get("message_id") == message_id]

        def all_events() -> list[dict[str, Any]] | None:
            events = [event for request in self.received for event in about_it(request)]
            return events if len(events) >= count else None

        with self._news:
            events = self._news.wait_for(all_events, _PATIENCE)
        assert events, f"{count} events expected of {message_id}"
        return events

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _note(self, request: Received) -> int:
        with self._news:
            self.received.append(request)
            self._news.notify_all()
            if request.path.startswith("/r/"):
                return 302
            if self._failures:
                self._failures -= 1
                return 500
            return 204

    def _handler(product) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._take()

            def do_POST(self) -> None:
                self._take()

            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = product._note(Received(self.command, product.url + self.path, headers, body))
                if answer := product.answers.get(f"{self.command} {self.path}"):
                    self.send_response(answer[0])
                    self.end_headers()
                    self.wfile.write(json.dumps(answer[1]).encode())
                    return
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", LINK_TARGET)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """A test's output is for failures."""

        return Handler


@dataclass
class Sandbox:
    """A sandbox process; `environment` holds the credentials of both sides."""

    environment: dict[str, str]
    url: str
    product: Product
    client: httpx.Client = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sandbox"], cwd=_ROOT, env=os.environ | self.environment
        )
        transport = httpx.HTTPTransport(retries=8)  # with growing pauses, half a minute in all
        with httpx.Client(transport=transport, trust_env=False, timeout=20) as patient:
            assert patient.get(f"{self.url}/_sandbox/ready").is_success

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def put(self, path: str, **fields: object) -> Any:
        answer = self.client.put(f"/_sandbox/{path}", json=fields)
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, path: str, **fields: object) -> httpx.Response:
        return self.client.post(f"/_sandbox/{path}", json=fields or None)

    def effects(self, message_id: str) -> list[dict[str, Any]]:
        answer = self.client.get("/_sandbox/ledger", params={"message_id": message_id})
        entries: list[dict[str, Any]] = answer.raise_for_status().json()["entries"]
        return entries

    def effect(self, message_id: str) -> dict[str, Any]:
        (entry,) = self.effects(message_id)
        return entry

    def send_sms(self, to: str, message_id: str, **fields: str) -> httpx.Response:
        """As any HTTP client would; the official library is what `test_twilio` uses."""
        account = self.environment["TWILIO_ACCOUNT_SID"]
        form = {
            "To": to,
            "From": self.environment["TWILIO_SMS_FROM"],
            "Body": "Hello",
            "StatusCallback": self.status_callback(message_id),
        }
        return self.client.post(
            f"/2010-04-01/Accounts/{account}/Messages.json",
            data=form | fields,
            auth=(account, self.environment["TWILIO_AUTH_TOKEN"]),
        )

    def list_sms(self, to: str) -> httpx.Response:
        account = self.environment["TWILIO_ACCOUNT_SID"]
        return self.client.get(
            f"/2010-04-01/Accounts/{account}/Messages.json",
            params={"To": to, "From": self.environment["TWILIO_SMS_FROM"]},
            auth=(account, self.environment["TWILIO_AUTH_TOKEN"]),
        )

    def status_callback(self, message_id: str) -> str:
        return f"{self.product.url}/webhooks/twilio/status?mid={message_id}"

    def order_call(self, phone: str, message_id: str) -> httpx.Response:
        body = json.dumps(
            {
                "id": message_id,
                "phone": phone,
                "locale": "en",
                "topic": "credit application",
                "script": "Ask what is missing.",
                "name": None,
            }
        )
        return self.client.post("/call-centre/calls", content=body, headers=self._signed(message_id, body))

    def ask_for_call(self, message_id: str, *, signed_for: str | None = None) -> httpx.Response:
        headers = self._signed(signed_for or message_id, "")
        return self.client.get(f"/call-centre/calls/{message_id}", headers=headers)

    def _signed(self, message_id: str, body: str) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.environment["CALL_CENTRE_SECRET"]).sign(message_id, now, body),
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def new_sandbox(product: Product, **settings: str) -> Sandbox:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = generate(url) | {
        "SANDBOX_PORT": str(port),
        "SANDBOX_CALLBACK_URL": product.url,
        "SANDBOX_SPEED": "20",
    }
    return Sandbox(environment | settings, url, product)


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    product = Product()
    yield product
    product.close()


@pytest.fixture(scope="session")
def running(product: Product) -> Iterator[Sandbox]:
    sandbox = new_sandbox(product)
    sandbox.start()
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    """The one running sandbox, with nothing wrong in it."""
    yield running
    running.put("callbacks")
    running.client.delete("/_sandbox/faults")


@pytest.fixture
def message_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def phone() -> str:
    """A number nobody else's test uses."""
    return f"+7916{uuid.uuid4().int % 10**7:07}"


@pytest.fixture
def address() -> str:
    return f"{uuid.uuid4().hex}@example.com"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # For one module only: while it is open, its own event loop keeps asynchronous tests from running.
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
