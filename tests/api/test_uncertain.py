"""Callbacks about messages of which nobody knew whether they left: each settles them, whoever reports what."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from domain.messages import Channel, Status
from tests.api.scene import Scene, email_event

Report = Callable[[Scene, UUID], Awaitable[Any]]


def twilio(status: str) -> Report:
    return lambda scene, message: scene.twilio_says(message, status, sid="SM1" + message.hex)


def sendgrid(event: str, **fields: object) -> Report:
    return lambda scene, message: scene.sendgrid_says(email_event(event, message, **fields))


def app(event: str) -> Report:
    return lambda scene, message: scene.app_says(
        {"message_id": str(message), "event": event, "at": datetime.now(UTC).isoformat()}
    )


def call(result: str) -> Report:
    return lambda scene, message: scene.call_centre_says(
        {"id": str(message), "result": result, "at": datetime.now(UTC).isoformat()}
    )


@pytest.mark.parametrize(
    ("channel", "report", "source", "became"),
    [
        (Channel.SMS, twilio("queued"), "twilio", "accepted"),
        (Channel.SMS, twilio("undelivered"), "twilio", "failed"),
        (Channel.WHATSAPP, twilio("read"), "twilio", "read"),
        (Channel.EMAIL, sendgrid("processed"), "sendgrid", "accepted"),
        (Channel.EMAIL, sendgrid("deferred", response="451 try again"), "sendgrid", "accepted"),
        (Channel.EMAIL, sendgrid("bounce", type="bounce", status="5.1.1"), "sendgrid", "failed"),
        (Channel.PUSH, app("received"), "push", "delivered"),
        (Channel.CALL, call("no_answer"), "call_centre", "failed"),
    ],
)
async def test_a_callback_settles_what_nobody_knew(
    scene: Scene, channel: Channel, report: Report, source: str, became: str
) -> None:
    person = await scene.person()
    message = await scene.sent(person, channel, status=Status.UNKNOWN)
    assert (await scene.row(message))["look_after"] is not None
    assert (await report(scene, message)).status_code == 204
    row = await scene.row(message)
    assert (row["status"], row["resolution"]) == (became, "callback")
    assert row["resolved_at"] is not None
    doubt, found = row["evidence"]
    assert (doubt["fact"], found["fact"], found["source"], found["status"]) == ("uncertain", "callback", source, became)
    assert found["id"]
    told = str(row["evidence"])
    assert [secret for secret in (person.phone, person.email, person.token) if secret in told] == []


async def test_a_callback_about_what_was_never_in_doubt_settles_nothing(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS)
    await scene.twilio_says(message, "delivered")
    row = await scene.row(message)
    assert (row["status"], row["resolution"], row["evidence"]) == ("delivered", None, None)
