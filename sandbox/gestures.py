"""What a person does with what they got: open, click, answer, write back, complain."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser

import httpx

from sandbox import voice
from sandbox.call_centre import result_step
from sandbox.callbacks import Step
from sandbox.fcm import app_step
from sandbox.ledger import Entry
from sandbox.people import CallResult
from sandbox.sendgrid import event_step, suppress
from sandbox.twilio import MessagingChannel, read_callback, write_back
from sandbox.world import World

_BROWSER = "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Mobile"
_PUSHES = ("push", "web_push")
RINGING = ("accepted", "initiated", "ringing")
_URL = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]")


class Impossible(Exception):
    """A person cannot do this with this message; the text says why."""


@dataclass(frozen=True)
class Followed:
    """What a link answered, or `status=None` where it leads out of the product and was left alone."""

    link: str
    status: int | None
    location: str | None = None


async def open_message(world: World, entry: Entry) -> None:
    """Look at a message: email and push report it, WhatsApp sends a read receipt."""
    _must_be_received(entry)
    match entry.channel:
        case "email" if entry.details["tracks_opens"] and entry.html:
            opened = event_step(
                world,
                entry,
                "open",
                useragent=_BROWSER,
                ip="127.0.0.1",
                sg_content_type="html",
                sg_machine_open=False,
            )
            await _tell(world, entry, opened)
        case "email":
            world.ledger.advance(entry.id, "open")
        case "whatsapp":
            await _tell(world, entry, read_callback(world, entry))
        case "push" | "web_push":
            await _tell(world, entry, app_step(world, entry, "opened"))
        case _:
            raise Impossible(f"nobody learns that an {entry.channel} was opened")


async def click(world: World, entry: Entry, link: str | None) -> Followed:
    """Follow a link of the message as far as the product's own first answer.

    Raises:
        Impossible: the message has no such link, or the product did not answer.
    """
    _must_be_received(entry)
    known = links(world, entry)
    if not known:
        raise Impossible("the message has no link")
    if link is not None and link not in known:
        raise Impossible("the message has no such link")
    followed = await _get(world, link or known[0])
    match entry.channel:
        case "email" if entry.details["tracks_clicks"]:
            clicked = event_step(world, entry, "click", url=followed.link, useragent=_BROWSER, ip="127.0.0.1")
            await _tell(world, entry, clicked)
        case "push" | "web_push" if not entry.reached("opened"):
            await _tell(world, entry, app_step(world, entry, "opened"))
    world.ledger.advance(entry.id, "click")
    return followed


def links(world: World, entry: Entry) -> list[str]:
    """The http links of a message; those tracked by the product come first."""
    found = [entry.details["data"].get("link", "")] if entry.channel in _PUSHES else []
    if entry.html:
        found += _hrefs(entry.html)
    found += _URL.findall(entry.text)
    tracked = world.product("/r/")
    once = [link for link in dict.fromkeys(found) if _URL.fullmatch(link)]
    return sorted(once, key=lambda link: not link.startswith(tracked))


async def reply(world: World, entry: Entry, text: str) -> Entry:
    """Write back to whom the SMS or WhatsApp message came from."""
    if entry.channel not in ("sms", "whatsapp"):
        raise Impossible(f"one cannot write back to a {entry.channel}")
    _must_be_received(entry)
    return await write(
        world,
        entry.address,
        entry.sender,
        text,
        "whatsapp" if entry.channel == "whatsapp" else "sms",
        replied_to=entry.provider_id,
    )


async def press_button(world: World, entry: Entry, payload: str, text: str | None) -> Entry:
    """Press a quick-reply button under a WhatsApp message."""
    if entry.channel != "whatsapp":
        raise Impossible(f"a {entry.channel} has no buttons")
    _must_be_received(entry)
    titles = {button["id"]: button["title"] for button in entry.details.get("buttons", [])}
    if titles and payload not in titles:
        raise Impossible("the message has no such button")
    return await write(
        world,
        entry.address,
        entry.sender,
        text or titles.get(payload, payload),
        "whatsapp",
        replied_to=entry.provider_id,
        payload=payload,
    )


async def dismiss(world: World, entry: Entry) -> None:
    """Wipe a push notification away."""
    if entry.channel not in _PUSHES:
        raise Impossible(f"only a push can be dismissed, this is an {entry.channel}")
    await _tell(world, entry, app_step(world, entry, "dismissed"))


async def end_call(world: World, entry: Entry, result: CallResult) -> None:
    """End a call; a call ends once."""
    if entry.channel != "call":
        raise Impossible("only a call has a result")
    if entry.status not in RINGING:
        raise Impossible(f"the call has already ended: {entry.status}")
    if entry.provider == "call_centre":
        await _tell(world, entry, result_step(world, entry, result))
        return
    steps = voice.end_steps(world, entry, result)
    assert steps[0].status is not None
    world.ledger.advance(entry.id, steps[0].status)
    world.callbacks.plan(entry, steps)
    await world.callbacks.before_answer([entry])


async def press_key(world: World, entry: Entry, key: str) -> str | None:
    """Press a key in a call by a machine; returns the number one is connected with, if one is."""
    if entry.provider != "twilio" or entry.channel != "call":
        raise Impossible("only a machine waits for a key")
    if entry.status != "in-progress":
        raise Impossible(f"nobody is in this call: {entry.status}")
    try:
        return await voice.press(world, entry, key)
    except httpx.TransportError as error:
        raise Impossible(f"the product did not answer: {type(error).__name__}") from None


async def unsubscribe(world: World, entry: Entry) -> Followed | None:
    """Press the mail program's unsubscribe button.

    One click (RFC 8058) where the letter has the headers for it; otherwise the link SendGrid's
    subscription tracking would have put there, and then nothing is followed.
    """
    _must_be_email(entry)
    headers = {name.lower(): value for name, value in entry.details["headers"].items()}
    addresses = re.findall(r"<(https?://[^>]+)>", headers.get("list-unsubscribe", ""))
    if addresses and headers.get("list-unsubscribe-post") == "List-Unsubscribe=One-Click":
        return await _post_one_click(world, addresses[0])
    suppress(world, entry.address, "Unsubscribed Address")
    await _tell(world, entry, event_step(world, entry, "unsubscribe"))
    return None


async def complain(world: World, entry: Entry) -> None:
    """Press the mail program's spam button."""
    _must_be_email(entry)
    suppress(world, entry.address, "Spam Reporting Address")
    await _tell(world, entry, event_step(world, entry, "spamreport"))


async def _tell(world: World, entry: Entry, step: Step) -> None:
    """The gesture shows at once; the callback goes its usual way."""
    assert step.status is not None
    world.ledger.advance(entry.id, step.status)
    world.callbacks.plan(entry, [step])
    await world.callbacks.before_answer([entry])


async def write(
    world: World,
    person: str,
    to: str,
    text: str,
    channel: MessagingChannel,
    *,
    replied_to: str | None = None,
    payload: str | None = None,
    picture: str | None = None,
    told: bool = True,
) -> Entry:
    """Write to a sender; see `sandbox.twilio.write_back`."""
    entry = write_back(
        world, person, to, text, channel, replied_to=replied_to, payload=payload, picture=picture, told=told
    )
    await world.callbacks.before_answer([entry])
    return entry


def _must_be_received(entry: Entry) -> None:
    if entry.direction != "outbound":
        raise Impossible("the person wrote this themselves, or the provider did")
    if entry.status in ("bounce", "dropped", "undelivered", "failed", "replaced"):
        raise Impossible(f"the message did not reach the person: {entry.status}")


def _must_be_email(entry: Entry) -> None:
    if entry.channel != "email":
        raise Impossible(f"only email has this button, this is an {entry.channel}")
    _must_be_received(entry)


async def _get(world: World, link: str) -> Followed:
    return await follow(world, httpx.Request("GET", link, headers={"User-Agent": _BROWSER}))


async def _post_one_click(world: World, link: str) -> Followed:
    form = {"List-Unsubscribe": "One-Click"}
    return await follow(world, httpx.Request("POST", link, data=form))


async def follow(world: World, request: httpx.Request) -> Followed:
    """Only the product is called: a letter must not make this machine call the world."""
    link = str(request.url)
    if not link.startswith(world.product("/")):
        return Followed(link, None)
    try:
        answer = await world.callbacks.client.send(request, follow_redirects=False)
    except httpx.TransportError as error:
        raise Impossible(f"the product did not answer: {type(error).__name__}") from None
    return Followed(link, answer.status_code, answer.headers.get("Location"))


def _hrefs(html: str) -> list[str]:
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value for name, value in attrs if tag == "a" and name == "href" and value)

    Links().feed(html)
    return found
