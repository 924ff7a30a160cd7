"""Twilio's voice calls: a phone rings, somebody takes it or nobody does, what is said is heard, a key is pressed.

Shapes: twilio.com/docs/voice/api/call-resource, twilio.com/docs/voice/twiml,
twilio.com/docs/voice/answering-machine-detection.
"""

import re
import secrets
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import httpx
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from sandbox.callbacks import Step
from sandbox.ledger import Entry, NewEntry
from sandbox.people import CallResult
from sandbox.signatures import twilio_headers
from sandbox.twilio import (
    MAGIC_FROM,
    MAGIC_TO,
    NUMBER,
    authenticate,
    bad,
    is_http_url,
    not_found,
    refusal,
    refuse,
)
from sandbox.world import TheWorld, World

_TWIML_LIMIT = 4000
_EVENTS = {"initiated", "ringing", "answered", "completed"}
_RINGING = 5.0  # seconds until somebody takes it, or has not
_TALK = 20.0  # seconds a call lasts
_ENDED = {"completed", "busy", "no-answer", "failed", "canceled"}
# How a call ends, and who took it.
_FATES: dict[CallResult, tuple[str, str | None]] = {
    "answered": ("completed", "human"),
    "machine": ("completed", "machine_start"),
    "declined": ("busy", None),
    "busy": ("busy", None),
    "no_answer": ("no-answer", None),
    "wrong_number": ("failed", None),
}

router = APIRouter(dependencies=[Depends(authenticate)], tags=["Twilio"])
_CALLS = "/2010-04-01/Accounts/{account}/Calls"


@router.post(_CALLS + ".json", status_code=201)
async def create_call(request: Request, world: TheWorld) -> JSONResponse:
    form = await request.form()
    fields = {name: str(value) for name, value in form.items()}
    new = _new_call(fields, [str(value) for value in form.getlist("StatusCallbackEvent")])
    async with world.faults.around("twilio", [new.address], request, refuse):
        entry = world.ledger.record(new)
        world.callbacks.plan(entry, [_step(world, entry, "initiated", 0.1), _step(world, entry, "ringing", 0.5)])
        person = world.people.at(entry.address)
        if person.call_result and person.delivery != "never":
            world.callbacks.plan(entry, end_steps(world, entry, person.call_result, _RINGING))
        await world.callbacks.before_answer([entry])
        created = _resource(world, entry)
    return JSONResponse(created, status_code=201)


@router.get(_CALLS + ".json")
async def list_calls(request: Request, world: TheWorld) -> JSONResponse:
    query = dict(request.query_params)
    size, number = min(max(int(query.get("PageSize", 50)), 1), 1000), int(query.get("Page", 0))
    async with world.faults.around("twilio", [query.get("To", "")], request, refuse, "lookup"):
        chosen = [
            entry
            for entry in world.ledger.of_provider("twilio", query.get("To"))
            if entry.channel == "call"
            and not entry.details.get("deleted")
            and query.get("From") in (None, entry.sender)
        ]
    page, path = chosen[number * size : (number + 1) * size], request.url.path
    more = len(chosen) > (number + 1) * size
    following = f"{path}?{urlencode(query | {'PageSize': size, 'Page': number + 1})}"
    return JSONResponse(
        {
            "calls": [_resource(world, entry) for entry in page],
            "next_page_uri": following if more else None,
            "uri": f"{path}?{urlencode(query)}",
            "page": number,
            "page_size": size,
        }
    )


@router.delete(_CALLS + "/{sid}.json", status_code=204)
async def delete_call(sid: str, request: Request, world: TheWorld) -> Response:
    entry = world.ledger.by_provider_id("twilio", sid)
    if entry is None or entry.channel != "call" or entry.details.get("deleted"):
        raise not_found(request)
    async with world.faults.around("twilio", [entry.address], request, refuse):
        if entry.status not in _ENDED:
            raise refusal(409, 20009, "Cannot delete this resource before it is complete")
        world.ledger.redact(entry.id)
        world.ledger.amend(entry.id, deleted=True)
    return Response(status_code=204)


def end_steps(world: World, entry: Entry, result: CallResult, after: float = 0.0) -> list[Step]:
    """What Twilio posts when a call is taken, or is not."""
    ends_as, answered_by = _FATES[result]
    if answered_by is None:
        return [_step(world, entry, ends_as, after)]
    steps = [_step(world, entry, "in-progress", after)]
    if entry.details["amd_callback"]:
        heard = _form(world, entry) | {"AnsweredBy": answered_by, "MachineDetectionDuration": "2700"}
        steps.append(Step("twilio", entry.details["amd_callback"], heard, None, after + 3.0))
    return [*steps, _step(world, entry, ends_as, after + _TALK)]


async def press(world: World, entry: Entry, key: str) -> str | None:
    """Press a key while the text is spoken; returns the number one is connected with, if one is.

    The answer to a key is read at once, so it is not on the calendar of callbacks.
    """
    gather = ElementTree.fromstring(entry.details["twiml"]).find("Gather")
    action = gather.get("action") if gather is not None else None
    if not action:
        return None
    form = _form(world, entry) | {"CallStatus": "in-progress", "Digits": key, "msg": "Gather End"}
    token = world.configuration.twilio_auth_token.get_secret_value()
    answer = await world.callbacks.client.send(
        httpx.Request("POST", action, data=form, headers=twilio_headers(token, action, form))
    )
    return _dialled(answer.text) if answer.is_success else None


def _dialled(twiml: str) -> str | None:
    """The number TwiML connects with; what is no TwiML ends a call."""
    try:
        dial = ElementTree.fromstring(twiml).find("Dial")
    except ElementTree.ParseError:
        return None
    return dial.text if dial is not None else None


def _new_call(form: dict[str, str], events: list[str]) -> NewEntry:
    """Judge the form as Twilio does, the first fault refuses it."""
    to, sender, twiml = form.get("To", ""), form.get("From", ""), form.get("Twiml", "")
    if not to:
        raise bad(21201, "No 'To' number is specified")
    if not NUMBER.fullmatch(to):
        raise bad(21211, f"Invalid 'To' Phone Number: {to}")
    if not NUMBER.fullmatch(sender):
        raise bad(21212, f"Invalid 'From' Phone Number: {sender}")
    for magic, value in ((MAGIC_TO, to), (MAGIC_FROM, sender)):
        if value in magic:
            code, message = magic[value]
            raise bad(code, message.format(value))
    if not twiml or len(twiml) > _TWIML_LIMIT:
        raise bad(21218, "Twiml must be there, and not longer than 4000 characters")
    if unknown := set(events) - _EVENTS:
        raise bad(21626, f"Invalid StatusCallbackEvent: {min(unknown)}")
    for name in ("StatusCallback", "AsyncAmdStatusCallback"):
        if form.get(name) and not is_http_url(form[name]):
            raise bad(21609, f"The {name} URL is not a valid URL.")
    callback = form.get("StatusCallback")
    return NewEntry(
        provider="twilio",
        channel="call",
        provider_id="CA" + secrets.token_hex(16),
        message_id=httpx.URL(callback or "").params.get("mid"),
        address=to,
        sender=sender,
        status="accepted",
        subject="A machine calls",
        text=_heard(twiml),
        details={
            "twiml": twiml,
            "events": events or ["completed"],
            "status_callback": callback,
            "amd_callback": form.get("AsyncAmdStatusCallback") if form.get("MachineDetection") else None,
        },
    )


def _heard(twiml: str) -> str:
    """What somebody hears who takes the call."""
    try:
        response = ElementTree.fromstring(twiml)
    except ElementTree.ParseError:
        raise bad(12100, "Document parse failure") from None
    if response.tag != "Response":
        raise bad(12100, "TwiML must be a Response")
    return "\n".join(re.sub(r"\s+", " ", say.text or "").strip() for say in response.iter("Say"))


def _step(world: World, entry: Entry, status: str, after: float) -> Step:
    event = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"}.get(status, "completed")
    wanted = event in entry.details["events"]
    form = _form(world, entry) | {"CallStatus": status, "CallbackSource": "call-progress-events"}
    if status == "completed":
        form["CallDuration"] = str(int(_TALK))
    return Step("twilio", entry.details["status_callback"] if wanted else None, form, status, after)


def _form(world: World, entry: Entry) -> dict[str, str]:
    return {
        "CallSid": entry.provider_id,
        "AccountSid": world.configuration.twilio_account_sid,
        "ApiVersion": "2010-04-01",
        "Direction": "outbound-api",
        "From": entry.sender,
        "To": entry.address,
    }


def _resource(world: World, entry: Entry) -> dict[str, Any]:
    account = world.configuration.twilio_account_sid
    return {
        "sid": entry.provider_id,
        "account_sid": account,
        "api_version": "2010-04-01",
        "date_created": format_datetime(entry.at),
        "date_updated": format_datetime(entry.statuses[-1].at),
        "direction": "outbound-api",
        "from": entry.sender,
        "to": entry.address,
        "status": "queued" if entry.status in ("accepted", "initiated") else entry.status,
        "uri": f"/2010-04-01/Accounts/{account}/Calls/{entry.provider_id}.json",
    }
