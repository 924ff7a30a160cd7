"""`journeys explain`: why did they (not) get it, in words an operator understands."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest

from cli.explain import Teller
from domain.clock import Clock
from tests.cli.conftest import Run
from tests.world import World, where_it_is

GONE = timedelta(minutes=31)
DAY = timedelta(days=1)

TELLER = Teller(Clock(), ZoneInfo("Europe/Berlin"))

EVENING = "2026-05-02T21:30:00+00:00"
MORNING = "2026-05-03T06:00:00+00:00"


def message(**facts: Any) -> dict[str, Any]:
    """A message as the timeline has it, asked for at half past eleven in the evening in Berlin."""
    moments = ("sending", "delivered", "read", "clicked", "replied", "dismissed", "failed", "unknown")
    return {
        "kind": "message",
        "at": EVENING,
        "channel": "sms",
        "template": "credit/finish_form",
        "status": "accepted",
        "reason": None,
        "resolution": None,
        "journey_at": EVENING,
        "decisions": [],
        **{f"{moment}_at": None for moment in moments},
        **facts,
    }


def decision(verdict: str, reason: str, **facts: Any) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "reason": reason,
        "says": None,
        "until": None,
        "first_at": EVENING,
        "last_at": EVENING,
        "cause": None,
        **facts,
    }


@pytest.mark.parametrize(
    ("told", "story"),
    [
        (
            message(
                decisions=[decision("delay", "quiet_hours", until=MORNING)],
                sending_at=MORNING,
                delivered_at="2026-05-03T06:01:00+00:00",
                status="delivered",
            ),
            "held back from 23:30 until 3 May 08:00: quiet_hours; sent 3 May 08:00; delivered 3 May 08:01",
        ),
        (
            message(
                status="skipped",
                decisions=[
                    decision(
                        "drop",
                        "no_consent:email/offers withdrawn, preference_page",
                        says="the customer did not agree, or forbade it",
                        cause={"at": "2026-04-30T10:00:00+00:00", "source": "preference_page", "until": None},
                    )
                ],
            ),
            "dropped 23:30: no_consent:email/offers withdrawn, preference_page, 30 Apr 12:00 "
            "(the customer did not agree, or forbade it)",
        ),
        (
            message(
                status="skipped",
                decisions=[
                    decision("drop", "suppressed:dead", cause={"at": EVENING, "source": "twilio:30005", "until": None})
                ],
            ),
            "dropped 23:30: suppressed:dead, 23:30 by twilio:30005",
        ),
        (
            message(
                status="waiting",
                decisions=[decision("delay", "provider:429", until=MORNING)],
            ),
            "held back from 23:30 until 3 May 08:00: provider:429; still waits",
        ),
        (
            message(sending_at=EVENING, failed_at=EVENING, status="failed", reason="30003"),
            "sent 23:30; failed 23:30, 30003",
        ),
        (
            message(sending_at=EVENING, unknown_at=EVENING, status="unknown"),
            "sent 23:30; uncertain whether it left: being looked into",
        ),
        (
            message(sending_at=EVENING, unknown_at=EVENING, resolution="assumed_sent", status="unknown"),
            "sent 23:30; uncertain whether it left: nobody can tell, so it was not sent again",
        ),
        (message(channel="inbox", status="read", read_at=MORNING), "in the inbox 23:30; read 3 May 08:00"),
        (message(status="skipped", reason="overtaken:goal"), "not sent: overtaken:goal"),
        # A provider that counts in whole seconds.
        (
            message(sending_at=EVENING, delivered_at="2026-05-02T21:29:59+00:00", status="delivered"),
            "sent 23:30; delivered 23:30",
        ),
    ],
)
def test_a_message_is_told_as_a_story(told: dict[str, Any], story: str) -> None:
    assert TELLER.tell(told) == ("2026-05-02 23:30", "sms finish_form".replace("sms", told["channel"]), story)


def test_a_faster_time_is_told_as_the_customer_lives_it() -> None:
    began = datetime(2026, 5, 2, 21, 30, tzinfo=UTC)
    hurried = Teller(Clock(origin=began, speed=3600), ZoneInfo("UTC"))
    sent = (began + timedelta(seconds=2)).isoformat()
    assert hurried.tell(message(sending_at=sent))[2] == "sent 23:30"
    assert "3600 times as fast" in hurried.pace


async def test_what_was_sent_held_back_and_dropped_is_told_with_its_reason(world: World, run: Run) -> None:
    person = await world.person(timezone=where_it_is(22))
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as operator:
        wish = {"channel": "email", "topic": "*", "given": False, "source": "crm"}
        (await operator.post(f"/v1/customers/{person.user_id}/consents", json=wish)).raise_for_status()
    await person.begins(filled=10)
    await person.does("credit_application_started", filled=1, total=40)
    await person.passes(GONE + DAY)
    told = (await run("explain", person.user_id)).said
    lines = {line.split("  ")[1].strip(): line for line in told.splitlines() if line.count("  ") > 1}
    assert "AbandonedApplication: no property application_id that can be a key, starts nothing" in told
    assert "forbade email about everything" in lines
    assert "dropped" in lines["email partly_filled"]
    assert "no_consent:email/offers withdrawn" in lines["email partly_filled"]
    assert "sent" in lines["push partly_filled"]
    assert "held back from" in lines["sms partly_filled"]
    assert "quiet_hours (not at this hour or on this day of the customer's); still waits" in lines["sms partly_filled"]
    assert "waits for sms abandoned_application/partly_filled: quiet_hours, until" in told
    assert f"/workflows/{(await person.run()).id}" in told


async def test_a_message_that_never_came_to_be_is_explained_by_its_journey(world: World, run: Run) -> None:
    person = await world.person()
    await person.begins(filled=10)
    await person.does("credit_application_submitted", application_id="A-1")
    await run("pause", str((await person.enrolments())[-1]["id"]))
    told = (await run("explain", person.user_id, "--message", "partly_filled")).said
    assert "goal by credit_application_submitted" in told
    assert "No journey has asked for partly_filled; AbandonedApplication would." in told
    assert "pause of stay" in told
    other = (await run("explain", person.user_id, "--journey", "RefusedByBank")).said
    assert "did credit_application_started" not in other
    assert "stay" not in other.replace("pause of stay", "")


async def test_what_did_nothing_is_told_only_if_everything_is_asked_for(world: World, run: Run) -> None:
    person = await world.person()
    await person.does("car_viewed")
    assert "car_viewed" not in (await run("explain", person.user_id)).said
    assert "did car_viewed" in (await run("explain", person.user_id, "--all")).said


async def test_nobody_is_explained_in_one_line(run: Run) -> None:
    refused = await run("explain", uuid4().hex)
    assert (refused.code, refused.complained) == (1, "there is no such customer\n")
