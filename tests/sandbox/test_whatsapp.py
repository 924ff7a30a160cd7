"""WhatsApp as the sandbox plays it: reviews, the customer-service window, blocked senders; and the reviewers' page."""

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.sandbox.conftest import Product, Sandbox


def asks(sandbox: Sandbox, method: str, path: str, body: object = None) -> Any:
    auth = (sandbox.environment["TWILIO_ACCOUNT_SID"], sandbox.environment["TWILIO_AUTH_TOKEN"])
    return sandbox.client.request(method, path, json=body, auth=auth)


def submitted(sandbox: Sandbox, name: str) -> str:
    """Make a template and have it reviewed; returns its SID."""
    content = {"friendly_name": name, "language": "en", "types": {"twilio/text": {"body": f"Dear {{{{1}}}}, {name}."}}}
    sid: str = asks(sandbox, "POST", "/v1/Content", content).raise_for_status().json()["sid"]
    order = {"name": name, "category": "MARKETING"}
    asked = asks(sandbox, "POST", f"/v1/Content/{sid}/ApprovalRequests/whatsapp", order)
    assert (asked.status_code, asked.json()["status"]) == (201, "received")
    return sid


def sends(sandbox: Sandbox, phone: str, message_id: str, **says: str) -> Any:
    account, sender = sandbox.environment["TWILIO_ACCOUNT_SID"], sandbox.environment["TWILIO_WHATSAPP_FROM"]
    form = {"To": f"whatsapp:{phone}", "From": sender, "StatusCallback": sandbox.status_callback(message_id), **says}
    auth = (account, sandbox.environment["TWILIO_AUTH_TOKEN"])
    return sandbox.client.post(f"/2010-04-01/Accounts/{account}/Messages.json", data=form, auth=auth)


def last(product: Product, message_id: str, count: int) -> tuple[str, str | None]:
    form = product.statuses(message_id, count)[-1].form
    return form["MessageStatus"], form.get("ErrorCode")


def test_free_text_fails_outside_the_window_and_arrives_inside(
    sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    assert sends(sandbox, phone, message_id, Body="Hello").status_code == 201
    assert last(product, message_id, 2) == ("failed", "63016")
    sender = sandbox.environment["TWILIO_WHATSAPP_FROM"].removeprefix("whatsapp:")
    sandbox.post("inbound", **{"from": phone, "to": sender, "text": "Hi", "channel": "whatsapp"})
    assert sends(sandbox, phone, f"{message_id}-2", Body="Hello").status_code == 201
    assert last(product, f"{message_id}-2", 3) == ("delivered", None)


@pytest.mark.parametrize(
    ("status", "code"), [("pending", "63016"), ("rejected", "63040"), ("paused", "63041"), ("disabled", "63042")]
)
def test_a_template_that_is_not_approved_fails_with_what_its_reviewers_say(
    sandbox: Sandbox, product: Product, phone: str, message_id: str, status: str, code: str
) -> None:
    sid = submitted(sandbox, f"t_{message_id.replace('-', '')}")
    reviewed = sandbox.post(f"whatsapp/templates/{sid}/review", status=status, reason="INVALID_FORMAT")
    assert reviewed.status_code == 200
    told = asks(sandbox, "GET", f"/v1/Content/{sid}/ApprovalRequests").json()["whatsapp"]
    assert (told["status"], told["rejection_reason"]) == (status, "INVALID_FORMAT")
    sends(sandbox, phone, message_id, ContentSid=sid, ContentVariables=json.dumps({"1": "Anna"}))
    assert last(product, message_id, 2) == ("failed", code)


def test_a_name_is_taken_once_and_a_wrong_category_is_refused(sandbox: Sandbox, message_id: str) -> None:
    name = f"t_{message_id.replace('-', '')}"
    sid = submitted(sandbox, name)
    path = f"/v1/Content/{sid}/ApprovalRequests/whatsapp"
    assert asks(sandbox, "POST", path, {"name": f"{name}_2", "category": "MARKETING"}).status_code == 400
    assert asks(sandbox, "POST", path, {"name": f"{name}_2", "category": "marketing"}).status_code == 400
    assert asks(sandbox, "GET", "/v1/Content/HX0/ApprovalRequests").status_code == 404


def test_a_blocked_sender_refuses_at_once_or_fails_later_until_it_is_freed(
    sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    sender = sandbox.environment["TWILIO_WHATSAPP_FROM"].removeprefix("whatsapp:")
    path = f"/_sandbox/whatsapp/senders/{sender}"
    assert sandbox.client.put(path, json={"error_code": 63018}).status_code == 204
    try:
        refused = sends(sandbox, phone, message_id, Body="Hello")
        assert (refused.status_code, refused.json()["code"]) == (400, 63018)
        assert sandbox.client.put(path, json={"error_code": 63112, "at_once": False}).status_code == 204
        assert sends(sandbox, phone, message_id, Body="Hello").status_code == 201
        assert last(product, message_id, 2) == ("failed", "63112")
    finally:
        assert sandbox.client.delete(path).status_code == 204
    assert sandbox.client.delete(path).status_code == 404


def test_somebody_reviews_templates_on_a_page(browser: Browser, sandbox: Sandbox, message_id: str) -> None:
    sandbox.put("whatsapp/reviews", by_itself=False)
    name = f"page_{message_id.replace('-', '')}"
    sid = submitted(sandbox, name)

    def status() -> str:
        told: str = asks(sandbox, "GET", f"/v1/Content/{sid}/ApprovalRequests").json()["whatsapp"]["status"]
        return told

    page = browser.new_page()
    page.goto(sandbox.url)
    page.get_by_role("link", name="WhatsApp's reviewers").click()
    template = page.locator(f"[data-message={sid}]")
    expect(template).to_contain_text(name)
    assert status() == "received"
    for button, becomes in (("Approve", "approved"), ("Pause", "paused"), ("Reject", "rejected")):
        template.get_by_role("button", name=button).click()
        expect(template.locator(".status")).to_have_text(becomes)
        assert status() == becomes
    sandbox.put("whatsapp/reviews", by_itself=True)
    page.close()
