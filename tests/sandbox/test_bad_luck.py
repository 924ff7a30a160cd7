"""Faults on the wire, callbacks out of order, and a sandbox that is killed."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.sandbox.conftest import Product, Sandbox, new_sandbox

IN_ORDER = ["queued", "sent", "delivered"]


def fault(sandbox: Sandbox, address: str, kind: str, **fields: object) -> None:
    sandbox.put("faults", provider="twilio", address=address, kind=kind, **fields)


def test_a_call_that_times_out_took_effect(sandbox: Sandbox, phone: str, message_id: str) -> None:
    fault(sandbox, phone, "timeout_after_accept", seconds=60)
    sandbox.client.timeout = httpx.Timeout(20, read=0.5)
    try:
        with pytest.raises(httpx.ReadTimeout):
            sandbox.send_sms(phone, message_id)
    finally:
        sandbox.client.timeout = httpx.Timeout(20)
    assert sandbox.effect(message_id)["address"] == phone


def test_a_call_that_times_out_may_have_had_no_effect(sandbox: Sandbox, phone: str, message_id: str) -> None:
    fault(sandbox, phone, "timeout", seconds=60)
    sandbox.client.timeout = httpx.Timeout(20, read=0.5)
    try:
        with pytest.raises(httpx.ReadTimeout):
            sandbox.send_sms(phone, message_id)
    finally:
        sandbox.client.timeout = httpx.Timeout(20)
    assert sandbox.effects(message_id) == []


def test_a_fault_of_questions_strikes_no_message(sandbox: Sandbox, phone: str, message_id: str) -> None:
    fault(sandbox, phone, "status_503", operation="lookup")
    assert sandbox.send_sms(phone, message_id).status_code == 201
    assert sandbox.list_sms(phone).status_code == 503
    assert [each["to"] for each in sandbox.list_sms(phone).json()["messages"]] == [phone]


def test_a_fault_of_messages_strikes_no_question(sandbox: Sandbox, phone: str, message_id: str) -> None:
    fault(sandbox, phone, "status_503")
    assert sandbox.list_sms(phone).status_code == 200
    assert sandbox.send_sms(phone, message_id).status_code == 503


def test_a_reset_after_acceptance_took_effect(sandbox: Sandbox, phone: str, message_id: str) -> None:
    fault(sandbox, phone, "reset_after_accept")
    with pytest.raises(httpx.ReadError):
        sandbox.send_sms(phone, message_id)
    assert len(sandbox.effects(message_id)) == 1


def test_a_reset_connection_took_no_effect(sandbox: Sandbox, phone: str, message_id: str) -> None:
    fault(sandbox, phone, "connection_reset")
    with pytest.raises(httpx.ReadError):
        sandbox.send_sms(phone, message_id)
    assert sandbox.effects(message_id) == []
    assert sandbox.send_sms(phone, message_id).status_code == 201


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("status_429", 429, 20429), ("status_500", 500, 20500), ("status_503", 503, 20503)],
)
def test_a_fault_strikes_its_address_as_often_as_asked(
    sandbox: Sandbox, phone: str, message_id: str, kind: str, status: int, code: int
) -> None:
    fault(sandbox, phone, kind, times=2)
    assert sandbox.send_sms("+79160000000", message_id + "-other").status_code == 201
    for _ in range(2):
        refused = sandbox.send_sms(phone, message_id)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert sandbox.effects(message_id) == []
    assert sandbox.send_sms(phone, message_id).status_code == 201


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_may_be_told_although_it_took_effect(
    sandbox: Sandbox, phone: str, message_id: str, status: int
) -> None:
    kind = f"status_{status}_after_accept"
    before = sandbox.client.get("/_sandbox/faults/struck").json().get(kind, 0)
    fault(sandbox, phone, kind)
    assert sandbox.send_sms(phone, message_id).status_code == status
    assert len(sandbox.effects(message_id)) == 1
    assert sandbox.client.get("/_sandbox/faults/struck").json()[kind] == before + 1


def test_a_slow_provider_was_asked_before_it_acted(sandbox: Sandbox, phone: str, message_id: str) -> None:
    fault(sandbox, phone, "slow", seconds=0.2)
    sandbox.send_sms(phone, message_id)
    effect = sandbox.effect(message_id)
    took = datetime.fromisoformat(effect["at"]) - datetime.fromisoformat(effect["asked_at"])
    # Sleep is measured by another clock than the two times.
    assert took.total_seconds() > 0.1
    assert "asked_at" not in effect["details"]


def test_a_slow_provider_answers_in_the_end(sandbox: Sandbox, phone: str, message_id: str) -> None:
    fault(sandbox, phone, "slow", seconds=0.2)
    assert sandbox.send_sms(phone, message_id).elapsed.total_seconds() >= 0.2
    assert len(sandbox.effects(message_id)) == 1


def test_faults_can_be_seen_and_cleared(sandbox: Sandbox, phone: str) -> None:
    fault(sandbox, phone, "status_500", times=3)
    (left,) = sandbox.client.get("/_sandbox/faults").json()
    assert (left["kind"], left["times"]) == ("status_500", 3)
    sandbox.client.delete("/_sandbox/faults")
    assert sandbox.client.get("/_sandbox/faults").json() == []


def test_callbacks_can_come_before_the_answer(sandbox: Sandbox, product: Product, phone: str, message_id: str) -> None:
    sandbox.put("callbacks", before_answer=True)
    sandbox.send_sms(phone, message_id)
    arrived = [each.form["MessageStatus"] for each in product.received if message_id in each.url]
    assert arrived == IN_ORDER


def test_what_the_product_has_taken_is_told_with_when(
    sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    sandbox.put("callbacks", before_answer=True)
    earlier = sandbox.client.get("/_sandbox/callbacks/answered", params={"limit": 1000}).json()
    after = earlier[-1]["id"] if earlier else 0
    product.fail_next(1)
    before = datetime.now(UTC)
    sandbox.send_sms(phone, message_id)
    sandbox.client.post("/_sandbox/inbound", json={"from": phone, "to": "+14155550100", "text": "STOP"})
    answered = sandbox.client.get("/_sandbox/callbacks/answered", params={"after": after, "limit": 1000}).json()
    (stop,) = (each for each in answered if each["payload"].get("Body") == "STOP")
    assert before < datetime.fromisoformat(stop["at"]) <= datetime.now(UTC)
    statuses = [each["payload"]["MessageStatus"] for each in answered if each["payload"].get("To") == phone]
    # The first was not taken: Twilio does not try it again.
    assert statuses == IN_ORDER[1:]


def test_callbacks_can_come_twice(sandbox: Sandbox, product: Product, phone: str, message_id: str) -> None:
    sandbox.put("callbacks", duplicate=True)
    sandbox.send_sms(phone, message_id)
    arrived = [each.form["MessageStatus"] for each in product.statuses(message_id, 6)]
    assert sorted(arrived) == sorted(IN_ORDER * 2)


def test_callbacks_can_come_in_another_order(sandbox: Sandbox, product: Product, phone: str, message_id: str) -> None:
    sandbox.put("callbacks", shuffle=True)
    orders = []
    for number in range(8):
        sandbox.send_sms(phone, f"{message_id}-{number}")
        callbacks = product.statuses(f"{message_id}-{number}", 3)
        orders.append([each.form["MessageStatus"] for each in callbacks])
    assert all(sorted(order) == sorted(IN_ORDER) for order in orders)
    assert any(order != IN_ORDER for order in orders)
    assert sandbox.effect(f"{message_id}-0")["status"] == "delivered"


def test_nobody_hears_of_a_message_to_nowhere(sandbox: Sandbox, product: Product, phone: str, message_id: str) -> None:
    sandbox.put(f"people/{phone}", delivery="never")
    before = sandbox.client.get("/_sandbox/callbacks").json()
    sandbox.send_sms(phone, message_id)
    after = sandbox.client.get("/_sandbox/callbacks").json()
    planned = sum(after[state] - before[state] for state in ("waiting", "delivered", "given_up"))
    assert planned == 0
    assert sandbox.effect(message_id)["status"] == "queued"


def test_a_killed_sandbox_loses_nothing(product: Product, tmp_path: Path, phone: str, message_id: str) -> None:
    sandbox = new_sandbox(product, SANDBOX_DATABASE=str(tmp_path / "sandbox.db"), SANDBOX_SPEED="1")
    sandbox.start()
    sandbox.put("people/Anna", phone=phone)
    sandbox.put("callbacks", delay_seconds=3)
    sandbox.send_sms(phone, message_id)
    sandbox.kill()
    sandbox.start()
    try:
        assert len(sandbox.effects(message_id)) == 1
        assert sandbox.client.get("/_sandbox/people").json()[0]["phone"] == phone
        arrived = [each.form["MessageStatus"] for each in product.statuses(message_id, 3)]
        assert arrived == IN_ORDER
    finally:
        sandbox.stop()


def test_the_ledger_is_paged_and_counted(sandbox: Sandbox, phone: str, message_id: str) -> None:
    for number in (1, 2, 3):
        sandbox.send_sms(phone, f"{message_id}-{number}")
    sandbox.send_sms(phone, f"{message_id}-3")
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        parameters: dict[str, str | int] = {"address": phone, "after": after, "limit": 3}
        page = sandbox.client.get("/_sandbox/ledger", params=parameters).json()
        seen += [entry["message_id"] for entry in page["entries"]]
        after = page["next_after"]
    assert seen == [f"{message_id}-{number}" for number in (1, 2, 3, 3)]
    counts = sandbox.client.get("/_sandbox/counts").json()
    assert counts["repeated"][f"{message_id}-3"] == 2
    assert f"{message_id}-1" not in counts["repeated"]
