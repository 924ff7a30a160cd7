"""A person's phone and mailbox, in a real browser."""

import httpx
from playwright.sync_api import Browser, expect

from tests.sandbox.conftest import Product, Sandbox
from tests.sandbox.test_sendgrid import letter, post


def test_a_person_reads_clicks_answers_and_stops(
    browser: Browser,
    sandbox: Sandbox,
    product: Product,
    address: str,
    phone: str,
    message_id: str,
) -> None:
    name = f"Anna {message_id[:8]}"
    sandbox.put(f"people/{name}", email=address, phone=phone)
    mail = letter(sandbox, address, f"{message_id}-mail").get()
    mail["content"][1]["value"] += "<script>parent.document.title = 'taken over'</script>"
    assert post(sandbox, mail).status_code == 202
    sandbox.send_sms(phone, message_id, Body=f"Two fields are left: {product.url}/r/{message_id}")

    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{sandbox.url}/?q={message_id[:8]}")
    page.get_by_role("link", name=name).click()

    sms = page.get_by_role("region", name="sms")
    sms.get_by_role("button", name="Open link").click()
    product.wait_for(lambda each: each.path == f"/r/{message_id}")
    expect(page.get_by_role("status")).to_contain_text("302")

    page.get_by_role("region", name="Mailbox").get_by_text("Your application").click()
    expect(page.frame_locator("iframe").get_by_text("Finish it")).to_be_visible()
    expect(page.locator("iframe")).to_have_attribute("sandbox", "")
    assert page.title().startswith(name)
    assert product.events(f"{message_id}-mail", 3)[-1]["event"] == "open"

    box = sms.get_by_role("textbox")
    box.fill("half a sent")
    sandbox.order_call(phone, f"{message_id}-call")
    page.get_by_role("button", name="Decline").click()
    expect(page.get_by_text("declined")).to_be_visible()
    expect(box).to_have_value("half a sent")
    box.fill("Thank you")
    sms.get_by_role("button", name="Send").click()
    expect(sms.get_by_text("Thank you")).to_be_visible()
    sms.get_by_role("button", name="STOP").click()
    expect(sms.get_by_text("stopped")).to_be_visible()

    written = product.wait_for(lambda each: each.path == "/webhooks/twilio/inbound" and each.form["From"] == phone, 2)
    assert [each.form["Body"] for each in written] == ["Thank you", "STOP"]
    assert sandbox.send_sms(phone, f"{message_id}-late").json()["code"] == 21610
    assert faults == []
    page.close()


def test_a_question_is_answered_by_one_press(
    browser: Browser, sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    sandbox.send_sms(phone, message_id, Body="Shall we call?\n1 — Yes, today\n2 — No, thank you")
    page = browser.new_page()
    page.goto(f"{sandbox.url}/people/{phone}")
    page.get_by_role("button", name="2 — No, thank you").click()
    (answer,) = product.wait_for(lambda each: each.path == "/webhooks/twilio/inbound" and each.form["From"] == phone)
    assert answer.form["Body"] == "2"
    page.close()


def test_a_person_writes_first(browser: Browser, sandbox: Sandbox, product: Product, phone: str) -> None:
    page = browser.new_page()
    page.goto(f"{sandbox.url}/people/{phone}")
    chat = page.get_by_role("region", name="whatsapp")
    chat.get_by_role("textbox").fill("quiz")
    chat.get_by_role("button", name="Send").click()
    form = {"From": f"whatsapp:{phone}", "To": "whatsapp:+14155238886", "Body": "quiz"}
    (written,) = product.wait_for(lambda each: each.path == "/webhooks/twilio/inbound" and each.form["Body"] == "quiz")
    assert form.items() <= written.form.items()
    expect(chat.get_by_text("quiz")).to_be_visible()
    page.close()


def test_an_address_leads_to_its_person_and_texts_are_escaped(sandbox: Sandbox, phone: str, message_id: str) -> None:
    name = f"Boris {message_id[:8]}"
    sandbox.put(f"people/{name}", phone=phone, name="<b>Boris</b>")
    sandbox.send_sms(phone, message_id, Body="<script>alert(1)</script>")
    page = httpx.get(f"{sandbox.url}/people/{phone}", follow_redirects=True, trust_env=False)
    assert page.url.path == f"/people/{name}"
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert(1)" not in page.text
    assert "<b>Boris" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
