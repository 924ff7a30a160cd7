"""The operators' desk: told by a signed webhook, seen in a browser, answers through the product."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from playwright.sync_api import Browser, expect
from standardwebhooks import Webhook

from tests.sandbox.conftest import Product, Sandbox


def conversation(number: int, phone: str, *texts: str, **fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": number,
        "user_id": f"client-{number}",
        "name": f"Vera {number}",
        "channel": "whatsapp",
        "address": phone,
        "reason": "called_operator",
        "alerted": True,
        "opened_at": now.isoformat(),
        "answer_until": (now + timedelta(hours=24)).isoformat(),
        "lines": [
            {"at": now.isoformat(), "by": "CarQuiz", "text": "Which car suits you?", "buttons": ["City", "Family"]},
            *({"at": now.isoformat(), "by": "customer", "text": text} for text in texts),
        ],
        "events": [{"at": now.isoformat(), "event": "quiz_opened", "properties": {"link": "november"}}],
        **fields,
    }


def tell(sandbox: Sandbox, kind: str, told: dict[str, Any], *, alert: bool = True, secret: str = "") -> httpx.Response:
    body = json.dumps({"type": f"conversation.{kind}", "data": {"alert": alert, "conversation": told}})
    our_id, now = str(uuid4()), datetime.now(UTC)
    headers = {
        "webhook-id": our_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret or sandbox.environment["OPERATORS_SECRET"]).sign(our_id, now, body),
    }
    return sandbox.client.post("/operators/webhooks", content=body, headers=headers)


def test_somebody_at_the_desk_reads_answers_and_closes(
    browser: Browser, sandbox: Sandbox, product: Product, phone: str
) -> None:
    number = int(phone[-6:])
    told = conversation(number, phone, "A red one, please <b>now</b>")
    assert tell(sandbox, "opened", told).status_code == 204
    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{sandbox.url}/operators")
    entry = page.get_by_role("link", name=f"Vera {number}")
    expect(entry).to_contain_text("waits for you")
    entry.click()
    talk = page.get_by_role("region", name="Conversation")
    expect(talk).to_contain_text("A red one, please <b>now</b>")
    expect(talk).to_contain_text("Family")
    context = page.get_by_role("complementary", name="Context")
    expect(context).to_contain_text("called an operator")
    expect(context).to_contain_text("link: november")

    path = f"/v1/conversations/{number}"
    answered = conversation(number, phone, "A red one, please")
    answered["lines"].append(
        {"at": datetime.now(UTC).isoformat(), "by": "operator:desk", "text": "Tomorrow?", "status": "waiting"}
    )
    product.answers = {
        f"POST {path}/answers": (409, {"message": "WhatsApp takes free text within 24 hours"}),
        f"GET {path}": (200, answered),
    }
    box = page.get_by_role("textbox", name="Answer")
    box.fill("Tomorrow?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_contain_text("WhatsApp takes free text within 24 hours")
    product.answers[f"POST {path}/answers"] = (202, {"message": str(uuid4())})
    box.fill("Tomorrow?")
    page.get_by_role("button", name="Send").click()
    expect(talk).to_contain_text("desk")
    expect(entry).not_to_contain_text("waits for you")
    asked = product.wait_for(lambda each: each.path == f"{path}/answers", 2)[-1]
    assert asked.json["text"] == "Tomorrow?"
    assert asked.headers["authorization"] == f"Bearer {sandbox.environment['SANDBOX_OPERATORS_KEY']}"

    closed = {**answered, "closed_at": datetime.now(UTC).isoformat(), "closed_by": "operator:desk"}
    product.answers = {f"POST {path}/close": (200, closed), f"GET {path}": (200, closed)}
    page.get_by_role("button", name="Close the conversation").click()
    expect(talk).to_contain_text("Closed")
    expect(box).to_have_count(0)
    assert faults == []
    page.close()


def test_after_the_window_the_desk_offers_no_answer(browser: Browser, sandbox: Sandbox, phone: str) -> None:
    number = int(phone[-6:])
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    tell(sandbox, "opened", conversation(number, phone, "Hello?", answer_until=past))
    page = browser.new_page()
    page.goto(f"{sandbox.url}/operators?talk={number}")
    expect(page.get_by_text("24 hours have passed since they wrote")).to_be_visible()
    page.close()


def test_only_what_is_signed_is_believed_and_what_is_erased_is_gone(sandbox: Sandbox, phone: str) -> None:
    number = int(phone[-6:])
    told = conversation(number, phone, "Hello?")
    other = "whsec_" + "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC1vdGhlcg=="
    assert tell(sandbox, "opened", told, secret=other).status_code == 401
    assert tell(sandbox, "opened", {"id": number}).status_code == 422
    assert number not in known(sandbox)
    assert tell(sandbox, "opened", told).status_code == 204
    assert tell(sandbox, "opened", told).status_code == 204
    assert known(sandbox).count(number) == 1
    assert tell(sandbox, "erased", {"id": number}).status_code == 204
    assert number not in known(sandbox)


def known(sandbox: Sandbox) -> list[int]:
    return [each["id"] for each in sandbox.client.get("/_sandbox/desk").json()]
