"""The call centre takes each signed order once and reports how the call ended."""

from standardwebhooks import Webhook

from tests.sandbox.conftest import Product, Sandbox


def test_an_order_is_taken_once_and_its_result_comes_back_signed(
    sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    assert sandbox.order_call(phone, message_id).status_code == 202
    assert sandbox.order_call(phone, message_id).status_code == 409
    entry = sandbox.effect(message_id)["id"]

    assert sandbox.post(f"calls/{entry}/result", result="shouted").status_code == 422
    assert sandbox.post(f"calls/{entry}/result", result="declined").status_code == 202
    assert sandbox.post(f"calls/{entry}/result", result="answered").status_code == 409

    (request,) = product.wait_for(lambda each: each.path == "/webhooks/call-centre" and each.json["id"] == message_id)
    result = Webhook(sandbox.environment["CALL_CENTRE_SECRET"]).verify(request.body, dict(request.headers))
    assert result["result"] == "declined"
    assert sandbox.effect(message_id)["status"] == "declined"


def test_a_person_known_to_be_busy_is_busy(sandbox: Sandbox, product: Product, phone: str, message_id: str) -> None:
    sandbox.put(f"people/{phone}", call_result="busy")
    sandbox.order_call(phone, message_id)
    (request,) = product.wait_for(lambda each: each.path == "/webhooks/call-centre" and each.json["id"] == message_id)
    assert request.json["result"] == "busy"


def test_an_unsigned_order_is_refused(sandbox: Sandbox, message_id: str) -> None:
    answer = sandbox.client.post("/call-centre/calls", json={"id": message_id, "phone": "+79161234567"})
    assert answer.status_code == 401
    assert sandbox.effects(message_id) == []


def test_it_tells_what_became_of_an_order(sandbox: Sandbox, phone: str, message_id: str) -> None:
    unknown = sandbox.ask_for_call(message_id)
    assert (unknown.status_code, unknown.json()) == (404, {"id": message_id, "status": "unknown"})
    sandbox.order_call(phone, message_id)
    assert sandbox.ask_for_call(message_id).json() == {"id": message_id, "status": "accepted"}
    sandbox.post(f"calls/{sandbox.effect(message_id)['id']}/result", result="no_answer")
    assert sandbox.ask_for_call(message_id).json()["status"] == "no_answer"


def test_it_tells_nobody_else(sandbox: Sandbox, phone: str, message_id: str) -> None:
    sandbox.order_call(phone, message_id)
    assert sandbox.client.get(f"/call-centre/calls/{message_id}").status_code == 401
    assert sandbox.ask_for_call(message_id, signed_for="another").status_code == 422
