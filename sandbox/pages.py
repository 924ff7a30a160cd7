"""The pages: everybody who got something, and one person's phone, mailbox and calls."""

import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from liquid import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sandbox.credentials import WHATSAPP_SENDER
from sandbox.desk import Talk
from sandbox.gestures import RINGING, links
from sandbox.ledger import Entry
from sandbox.people import Person
from sandbox.twilio import NUMBER
from sandbox.world import TheWorld, World

_HERE = Path(__file__).parent
_PEOPLE_A_PAGE = 60
# Letters are shown as they came, but must neither run code nor fetch anything.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'"
)
_GOOD = {"delivered", "received", "read", "open", "opened", "click", "answered", "in-progress", "completed"}
_BAD = {
    "undelivered",
    "failed",
    "bounce",
    "dropped",
    "spamreport",
    "unsubscribe",
    "declined",
    "wrong_number",
}
_CALL_RESULTS = [
    {"result": "answered", "title": "Answer"},
    {"result": "machine", "title": "Answering machine"},
    {"result": "declined", "title": "Decline"},
    {"result": "busy", "title": "Busy"},
    {"result": "no_answer", "title": "Do not pick up"},
    {"result": "wrong_number", "title": "Wrong number"},
]
_REASONS = {
    "wrote": "wrote on their own",
    "called_operator": "called an operator",
    "words_to_bot": "wrote to a bot, again",
    "pressed_old_button": "pressed a button of an old message",
    "operator": "begun by an operator",
}
_NUMBERED = re.compile(r"^(\d{1,2})(?: [—–-] |[.)] ).+$", re.MULTILINE)

router = APIRouter(include_in_schema=False)
static_files = StaticFiles(directory=_HERE / "static")
_templates = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined)


@router.get("/")
async def people(world: TheWorld, q: str = "", page: int = 1) -> HTMLResponse:
    found = [person for person in _everybody(world) if q.lower() in person["searched"]]
    page = max(page, 1)
    shown = found[(page - 1) * _PEOPLE_A_PAGE : page * _PEOPLE_A_PAGE]
    more = len(found) > page * _PEOPLE_A_PAGE
    return render(
        "people.html",
        title="People",
        people=shown,
        q=q,
        number=len(found),
        totals=world.ledger.counts().by_provider,
        earlier=f"/?{urlencode({'q': q, 'page': page - 1})}" if page > 1 else None,
        later=f"/?{urlencode({'q': q, 'page': page + 1})}" if more else None,
    )


@router.get("/people/{key}")
async def person(key: str, world: TheWorld, mail: int | None = None) -> Response:
    owner = world.people.registered(key) or Person(key=key)
    if owner.addresses == [key] and (named := world.people.owner(key)) and named.key != key:
        return RedirectResponse(_path(named.key) + (f"?mail={mail}" if mail else ""))
    entries = world.ledger.of_addresses(owner.addresses)
    emails = [_shown(world, entry) for entry in reversed(entries) if entry.channel == "email"]
    opened = next((email for email in emails if email["id"] == mail), None)
    return render(
        "person.html",
        title=owner.title,
        person=owner.model_dump() | {"title": owner.title, "path": _path(owner.key)},
        visits=f"/_sandbox/people/{quote(owner.key, safe='@+')}",
        addresses=owner.addresses,
        pushes=[_shown(world, entry) for entry in reversed(entries) if _on_screen(entry)],
        threads=_threads(world, entries) or [_not_begun(each) for each in owner.addresses if NUMBER.fullmatch(each)],
        emails=emails,
        mail=opened,
        mail_id=mail or 0,
        calls=[_shown(world, entry) for entry in reversed(entries) if entry.channel == "call"],
        call_results=_CALL_RESULTS,
    )


@router.get("/operators")
async def desk(world: TheWorld, talk: int | None = None) -> HTMLResponse:
    talks = world.desk.all()
    chosen = next((each for each, _ in talks if each.id == talk), None)
    return render(
        "operators.html",
        title="Operators",
        talks=[_listed_talk(each, alert, talk) for each, alert in talks],
        talk=_shown_talk(chosen) if chosen else None,
    )


def _listed_talk(talk: Talk, alert: bool, chosen: int | None) -> dict[str, Any]:
    last = talk.lines[-1] if talk.lines else None
    return {
        "id": talk.id,
        "title": talk.name or talk.address or talk.user_id,
        "channel": talk.channel,
        "last": last.text if last else "",
        "time": (last.at if last else talk.opened_at).strftime("%H:%M"),
        "alert": alert,
        "open": talk.closed_at is None,
        "current": talk.id == chosen,
    }


def _shown_talk(talk: Talk) -> dict[str, Any]:
    return {
        "id": talk.id,
        "title": talk.name or talk.address or talk.user_id,
        "user_id": talk.user_id,
        "address": talk.address,
        "person": _path(talk.address) if talk.address else None,
        "channel": talk.channel,
        "reason": _REASONS.get(talk.reason, talk.reason),
        "open": talk.closed_at is None,
        "closed": f"{talk.closed_at:%d %b, %H:%M} UTC by {talk.closed_by}" if talk.closed_at else None,
        "until": f"{talk.answer_until:%d %b, %H:%M} UTC" if talk.answer_until else None,
        "too_late": talk.answer_until is not None and talk.answer_until < datetime.now(UTC),
        "lines": [
            {
                "side": "inbound" if line.by == "customer" else "ours" if line.by.startswith("operator:") else "bot",
                "by": line.by.removeprefix("operator:"),
                "text": line.text,
                "buttons": line.buttons,
                "pressed": line.choice is not None,
                "status": line.status,
                "reason": line.reason,
                "mood": "good" if line.status in _GOOD else "bad" if line.status in ("failed", "skipped") else "",
                "time": line.at.strftime("%H:%M"),
                "moment": line.at.strftime("%d %b %Y, %H:%M:%S UTC"),
            }
            for line in talk.lines
        ],
        "events": [
            {
                "name": event.event.replace("_", " "),
                "moment": event.at.strftime("%d %b, %H:%M"),
                "properties": [f"{name.replace('_', ' ')}: {value}" for name, value in event.properties.items()],
            }
            for event in talk.events
        ],
    }


def render(template: str, *, title: str, **shown: Any) -> HTMLResponse:
    main = _templates.get_template(template).render(**shown)
    page = _templates.get_template("layout.html").render(title=title, main=Markup(main))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def _everybody(world: World) -> list[dict[str, Any]]:
    """Everybody known, who got something last first."""
    totals = world.ledger.totals_by_address()
    recency = {address: place for place, address in enumerate(totals)}
    registered = {person.key: person for person in world.people.all()}
    claimed = {address for person in registered.values() for address in person.addresses if address != person.key}
    strangers = [Person(key=address) for address in totals if address not in registered]
    everybody = [person for person in (*registered.values(), *strangers) if person.key not in claimed]
    everybody.sort(
        key=lambda person: max(recency.get(address, -1) for address in person.addresses),
        reverse=True,
    )
    return [_listed(person, totals) for person in everybody]


def _listed(person: Person, totals: dict[str, dict[Any, int]]) -> dict[str, Any]:
    by_channel: dict[str, int] = defaultdict(int)
    for address in person.addresses:
        for channel, number in totals.get(address, {}).items():
            by_channel[channel] += number
    return {
        "title": person.title,
        "initial": person.title.lstrip("+")[:1].upper(),
        "path": _path(person.key),
        "addresses": [address for address in person.addresses if address != person.title],
        "delivery": person.delivery,
        "counts": [
            {"channel": channel, "number": by_channel[channel]}
            for channel in ("email", "sms", "whatsapp", "push", "web_push", "call")
            if by_channel[channel]
        ],
        "searched": " ".join((person.title, person.key, *person.addresses)).lower(),
    }


def _threads(world: World, entries: list[Entry]) -> list[dict[str, Any]]:
    """The conversations of the phone: one per channel and sender, the latest first."""
    threads: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.channel in ("sms", "whatsapp"):
            threads[entry.channel, entry.sender, entry.address].append(entry)
    latest_first = sorted(threads.items(), key=lambda item: item[1][-1].id, reverse=True)
    return [
        {
            "channel": channel,
            "sender": sender,
            "address": address,
            "stopped": channel == "sms" and world.people.blocked("twilio", address, sender) is not None,
            "messages": [_shown(world, entry) for entry in messages],
        }
        for (channel, sender, address), messages in latest_first
    ]


def _not_begun(number: str) -> dict[str, Any]:
    """A phone on which nothing was written: whoever it is may write first."""
    sender = WHATSAPP_SENDER.removeprefix("whatsapp:")
    return {"channel": "whatsapp", "sender": sender, "address": number, "stopped": False, "messages": []}


def _on_screen(entry: Entry) -> bool:
    return entry.channel in ("push", "web_push") and entry.status not in ("replaced", "dismissed")


def _shown(world: World, entry: Entry) -> dict[str, Any]:
    outbound = entry.direction == "outbound"
    return {
        "id": entry.id,
        "direction": entry.direction,
        "sender": entry.sender,
        "from_name": entry.details.get("from_name"),
        "address": entry.address,
        "subject": entry.subject,
        # What is shown as buttons need not be read twice.
        "text": _NUMBERED.sub("", entry.text).strip() if outbound and entry.channel != "email" else entry.text,
        "html": entry.html,
        "erased": entry.details.get("erased", False),
        "status": entry.status,
        "mood": "good" if entry.status in _GOOD else "bad" if entry.status in _BAD else "",
        "history": " → ".join(step.status for step in entry.statuses),
        "seen": any(entry.reached(status) for status in ("open", "opened", "read", "click")),
        "over": entry.status not in RINGING,
        "waits_for_key": entry.status == "in-progress" and "<Gather" in entry.details.get("twiml", ""),
        "channel": entry.channel,
        "time": entry.at.strftime("%H:%M"),
        "moment": entry.at.strftime("%d %b %Y, %H:%M:%S UTC"),
        "links": links(world, entry) if outbound else [],
        "buttons": entry.details.get("buttons", []),
        "media": entry.details.get("media", []),
        "options": _options(entry.text) if outbound else [],
        "message_id": entry.message_id,
    }


def _options(text: str) -> list[dict[str, str]]:
    """The numbered lines of a text that asks to be answered by a number."""
    return [{"number": found[1], "line": found[0]} for found in _NUMBERED.finditer(text)]


def _path(key: str) -> str:
    return f"/people/{quote(key, safe='@+')}"
