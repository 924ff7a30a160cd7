"""SendGrid's official library against the sandbox, and its verifier as judge of the events."""

from typing import Any

import httpx
import pytest
from sendgrid import SendGridAPIClient
from sendgrid.helpers.eventwebhook import EventWebhook
from sendgrid.helpers.mail import Content, CustomArg, Header, Mail, Personalization, To

from tests.sandbox.conftest import LINK_TARGET, Product, Sandbox


def letter(sandbox: Sandbox, address: str, message_id: str) -> Mail:
    link = f"{sandbox.product.url}/r/{message_id}"
    mail = Mail(from_email="bank@example.com", subject="Your application")
    personalization = Personalization()
    personalization.add_to(To(address))
    personalization.add_custom_arg(CustomArg("message_id", message_id))
    mail.add_personalization(personalization)
    mail.add_content(Content("text/plain", f"Finish it: {link}"))
    mail.add_content(Content("text/html", f'<p>Finish it <a href="{link}">here</a></p>'))
    mail.add_header(Header("List-Unsubscribe", f"<{sandbox.product.url}/u/{message_id}>"))
    mail.add_header(Header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return mail


def send(sandbox: Sandbox, address: str, message_id: str) -> Any:
    client = SendGridAPIClient(sandbox.environment["SENDGRID_API_KEY"], host=sandbox.url)
    return client.send(letter(sandbox, address, message_id))


def post(sandbox: Sandbox, body: object, key: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or sandbox.environment['SENDGRID_API_KEY']}"}
    return sandbox.client.post("/v3/mail/send", json=body, headers=headers)


def test_a_mail_is_accepted_and_its_events_come_back_signed(
    sandbox: Sandbox, product: Product, address: str, message_id: str
) -> None:
    answer = send(sandbox, address, message_id)
    assert (answer.status_code, answer.body) == (202, b"")
    events = product.events(message_id, 2)
    assert [event["event"] for event in events] == ["processed", "delivered"]
    assert len({event["sg_event_id"] for event in events}) == 2
    for event in events:
        assert event["email"] == address
        assert event["sg_message_id"].startswith(answer.headers["X-Message-Id"] + ".")
    judge = EventWebhook(sandbox.environment["SENDGRID_WEBHOOK_PUBLIC_KEY"])
    posted = [request for request in product.received if request.path == "/webhooks/sendgrid"]
    for request in posted:
        assert request.body.endswith(b"\r\n")
        assert judge.verify_signature(
            request.body.decode(),
            request.headers["x-twilio-email-event-webhook-signature"],
            request.headers["x-twilio-email-event-webhook-timestamp"],
        )


def test_a_bounced_address_is_dropped_from_then_on(
    sandbox: Sandbox, product: Product, address: str, message_id: str
) -> None:
    sandbox.put(f"people/{address}", delivery="bounced")
    send(sandbox, address, message_id)
    bounce = product.events(message_id, 2)[-1]
    assert (bounce["event"], bounce["type"], bounce["status"]) == ("bounce", "bounce", "5.1.1")
    again = message_id + "-again"
    send(sandbox, address, again)
    (dropped,) = product.events(again, 1)
    assert (dropped["event"], dropped["reason"]) == ("dropped", "Bounced Address")


def test_events_are_posted_again_until_taken(sandbox: Sandbox, product: Product, address: str, message_id: str) -> None:
    product.fail_next(1)
    send(sandbox, address, message_id)
    first, second, third = product.events(message_id, 3)
    assert first["sg_event_id"] in (second["sg_event_id"], third["sg_event_id"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": [{}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "nobody"}]}]}, "personalizations.0.to.0.email"),
        ({"from": {}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        (
            {
                "content": [
                    {"type": "text/html", "value": "a"},
                    {"type": "text/plain", "value": "a"},
                ]
            },
            "content",
        ),
        ({"headers": {"Subject": "another"}}, "headers.Subject"),
        ({"headers": "none"}, "headers"),
        ({"categories": [str(n) for n in range(11)]}, "categories"),
        ({"custom_args": {"long": "x" * 10_000}}, "personalizations.0.custom_args"),
    ],
)
def test_a_wrong_mail_is_refused_naming_the_field(
    sandbox: Sandbox, address: str, message_id: str, change: dict[str, Any], field: str
) -> None:
    mail = letter(sandbox, address, message_id).get() | change
    answer = post(sandbox, mail)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert error["message"]
    assert set(error) == {"message", "field", "help"}
    assert sandbox.effects(message_id) == []


def test_keys_and_senders_are_checked(sandbox: Sandbox, address: str, message_id: str) -> None:
    mail = letter(sandbox, address, message_id).get()
    assert post(sandbox, mail, key="SG.wrong").status_code == 401
    assert sandbox.client.post("/v3/mail/send", json=mail).status_code == 401
    unverified = mail | {"from": {"email": "bank@unverified.example"}}
    refused = post(sandbox, unverified)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (403, "from")
    assert sandbox.effects(message_id) == []


def test_too_large_a_mail_is_refused_in_html(sandbox: Sandbox, address: str, message_id: str) -> None:
    mail = letter(sandbox, address, message_id).get()
    mail["content"][0]["value"] = "x" * (30 * 1024 * 1024)
    answer = post(sandbox, mail)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"].startswith("text/html")


def test_sandbox_mode_has_no_effect(sandbox: Sandbox, address: str, message_id: str) -> None:
    mail = letter(sandbox, address, message_id).get()
    mail["mail_settings"] = {"sandbox_mode": {"enable": True}}
    assert post(sandbox, mail).status_code == 200
    assert sandbox.effects(message_id) == []


def test_the_rate_limit_tells_when_it_ends(sandbox: Sandbox, address: str, message_id: str) -> None:
    sandbox.put("faults", provider="sendgrid", address=address, kind="status_429", retry_after=7)
    mail = letter(sandbox, address, message_id).get()
    refused = post(sandbox, mail)
    assert refused.status_code == 429
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert int(refused.headers["X-RateLimit-Reset"]) > 0
    assert sandbox.effects(message_id) == []
    assert post(sandbox, mail).status_code == 202


def test_a_person_opens_clicks_and_complains(sandbox: Sandbox, product: Product, address: str, message_id: str) -> None:
    send(sandbox, address, message_id)
    product.events(message_id, 2)
    entry = sandbox.effect(message_id)["id"]

    assert sandbox.post(f"messages/{entry}/open").status_code == 202
    clicked = sandbox.post(f"messages/{entry}/click").json()
    link = f"{product.url}/r/{message_id}"
    assert clicked == {"link": link, "status": 302, "location": LINK_TARGET}
    assert sandbox.post(f"messages/{entry}/spam").status_code == 202

    events = {event["event"]: event for event in product.events(message_id, 5)}
    assert set(events) == {"processed", "delivered", "open", "click", "spamreport"}
    assert events["click"]["url"] == link
    assert [each.method for each in product.received if each.path == f"/r/{message_id}"] == ["GET"]


def test_unsubscribing_is_one_click(sandbox: Sandbox, product: Product, address: str, message_id: str) -> None:
    send(sandbox, address, message_id)
    entry = sandbox.effect(message_id)["id"]
    assert sandbox.post(f"messages/{entry}/unsubscribe").json()["status"] == 204
    (request,) = product.wait_for(lambda each: each.path == f"/u/{message_id}")
    assert (request.method, request.body) == ("POST", b"List-Unsubscribe=One-Click")


def test_a_letter_cannot_make_this_machine_call_the_world(sandbox: Sandbox, address: str, message_id: str) -> None:
    mail = letter(sandbox, address, message_id).get()
    mail["content"] = [{"type": "text/plain", "value": "See https://elsewhere.example/page."}]
    post(sandbox, mail)
    entry = sandbox.effect(message_id)["id"]
    followed = sandbox.post(f"messages/{entry}/click").json()
    assert followed == {"link": "https://elsewhere.example/page", "status": None, "location": None}


def test_recipients_are_erased_but_stay_counted(sandbox: Sandbox, address: str, message_id: str) -> None:
    client = SendGridAPIClient(sandbox.environment["SENDGRID_API_KEY"], host=sandbox.url)
    send(sandbox, address, message_id)
    send(sandbox, f"other-{address}", f"{message_id}-other")
    answer = client.client.recipients.erasejob.post(request_body={"email_addresses": [address.upper()]})
    assert answer.status_code == 202
    assert answer.to_dict["job_id"]
    erased = sandbox.effect(message_id)
    assert (erased["text"], erased["html"], erased["subject"]) == ("", None, None)
    assert "Finish it" in sandbox.effect(f"{message_id}-other")["text"]
    page = sandbox.client.get(f"/people/{address}").text
    assert "erased at the provider" in page
    assert "Your application" not in page


@pytest.mark.parametrize("addresses", [None, [], ["nobody"], ["a@example.com", "a@example.com"]])
def test_an_erasure_of_nobody_is_refused(sandbox: Sandbox, addresses: object) -> None:
    headers = {"Authorization": f"Bearer {sandbox.environment['SENDGRID_API_KEY']}"}
    answer = sandbox.client.post("/v3/recipients/erasejob", json={"email_addresses": addresses}, headers=headers)
    assert answer.status_code == 400
