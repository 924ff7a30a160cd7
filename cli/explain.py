"""`journeys explain`: what happened to a customer and why, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table

from cli.commands import ask, console
from cli.installation import Installation
from domain.clock import Clock
from domain.messages import Channel
from domain.uncertain import Resolution

AT_ONCE = 500
"""Entries of one page; as many as are told without `--all`."""

REPORTED = {
    "delivered_at": "delivered",
    "read_at": "read",
    "clicked_at": "clicked",
    "replied_at": "answered",
    "dismissed_at": "put away",
    "failed_at": "failed",
}
"""What becomes of a message after it was sent: when, and the word for it."""

SETTLED = {
    Resolution.CALLBACK: "it did, by a report about it",
    Resolution.ANSWERED: "it did, by the provider's late answer",
    Resolution.FOUND: "the provider was asked and has it",
    Resolution.NOT_TAKEN: "the provider was asked and never took it",
    Resolution.SENT_AGAIN: "it was sent once more",
    Resolution.ASSUMED_SENT: "nobody can tell, so it was not sent again",
}
"""How it was settled whether a message left."""

OWN = ("message_status", "message_reply")
"""Types of the events we make of reports about messages; the messages tell of them."""

PLACES = {Channel.INBOX: "in the inbox", Channel.POPUP: "waits as a pop-up", Channel.BANNER: "waits as a banner"}
"""Where a message of our own channels is."""


def explain(
    customer: Annotated[str, typer.Argument(metavar="USER_ID", help="The customer's id in your backend.")],
    journey: Annotated[str | None, typer.Option(help="Only what concerns this journey.")] = None,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT|ID", help="Only this message, by its text's name or its id.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="From the very beginning, with events that did nothing and every report.")
    ] = False,
) -> None:
    """Tell why a customer did or did not get a message: what was sent, held back or dropped, and by which rule.

    Examples: journeys explain client-4711, journeys explain client-4711 --message partly_filled
    """
    told = ask(lambda installation: _read(installation, customer, journey, message, everything))
    zone = told.pop("time_zone")
    teller = Teller(Clock.model_validate(told["clock"]), ZoneInfo(zone) if zone else ZoneInfo("UTC"))
    shown = [each for each in reversed(told["entries"]) if everything or _matters(each)]
    console.print(
        f"[bold]{escape(customer)}[/bold], customer {told['customer_id']}; "
        f"times are {f'theirs, {zone}' if zone else 'UTC'}{teller.pace}",
        highlight=False,
    )
    if told["next"]:
        console.print("Older entries are left out; `--all` tells them too.")
    console.print(_table(teller, shown))
    if message and not any(each["kind"] == "message" for each in shown):
        by = f"; {', '.join(told['journeys'])} would" if told["journeys"] else " nor ever does"
        console.print(f"No journey has asked for {escape(message)}{by}.", highlight=False)
    for stay in (each for each in shown if each["kind"] == "enrolment"):
        _show_stay(teller, stay, told["standings"].get(stay["id"]))


@dataclass(frozen=True)
class Teller:
    """Puts entries of a timeline into words, in a customer's own time.

    Attributes:
        clock: Journey time, in which everything is told.
    """

    clock: Clock
    zone: tzinfo

    @property
    def pace(self) -> str:
        """How fast the customer's time runs, where it is not the wall's."""
        return "" if self.clock.speed == 1 else f"; journey time, {self.clock.speed:g} times as fast as the wall's"

    def tell(self, entry: dict[str, Any]) -> tuple[str, str, str]:
        """Say when something happened, what it was, and what came of it."""
        at = self.on_wall(entry["at"])
        match entry["kind"]:
            case "event":
                what, became = f"did {entry['name']}", _noted(entry)
            case "enrolment":
                what = f"stay {entry['id']}: {entry['journey']} {entry['key']}".rstrip()
                by = f" by {entry['ended_by']}" if entry["ended_by"] else ""
                became = f"{entry['outcome']}{by}" if entry["outcome"] else "under way"
            case "message":
                what = f"{entry['channel']} {entry['template'].rpartition('/')[2]}"
                became = "; ".join(self.story(entry))
            case "consent":
                what = f"{'allowed' if entry['given'] else 'forbade'} {_all(entry['channel'])} about "
                what += _all(entry["topic"])
                became = entry["source"]
            case "suppression":
                what, became = f"nothing goes by {entry['channel']} any more", f"{entry['reason']}, {entry['source']}"
            case "block":
                until = self.time(datetime.fromisoformat(entry["until"]), at)
                what, became = f"silence: {entry['name']}", f"until {until}, by {entry['source']}"
                if entry["lifted_at"]:
                    became += f"; lifted {self.time(self.on_wall(entry['lifted_at']), at)}"
            case "dialogue":
                closed = entry["closed_at"]
                what = "a person talks with them"
                became = f"{entry['source']}; " + (
                    f"until {self.time(datetime.fromisoformat(closed), at)}" if closed else "still open"
                )
            case _:
                what, became = f"{entry['actor']}: {_done(entry)}", f"answered {entry['answer'] or 'nothing'}"
        return f"{at.astimezone(self.zone):%Y-%m-%d %H:%M}", what, became

    def story(self, message: dict[str, Any]) -> Iterator[str]:
        """Tell what became of a message: held back, dropped, sent, reported on."""
        at = self.on_wall(message["at"])
        for decision in message["decisions"]:
            yield self._decided(decision, at)
        if message["status"] == "waiting":
            yield "still waits"
        if message["sending_at"] and message["channel"] not in PLACES:
            yield f"sent {self.time(self.on_wall(message['sending_at']), at)}"
        elif message["channel"] in PLACES and message["status"] not in ("waiting", "skipped"):
            yield f"{PLACES[message['channel']]} {self.time(datetime.fromisoformat(message['journey_at']), at)}"
        if message["unknown_at"]:
            settled = message["resolution"]
            yield f"uncertain whether it left: {SETTLED[Resolution(settled)] if settled else 'being looked into'}"
        # Reports have times by the provider's clock, and whole seconds.
        sent = self.on_wall(message["sending_at"] or message["at"])
        reports = [(max(self.on_wall(message[name]), sent), word) for name, word in REPORTED.items() if message[name]]
        for moment, word in sorted(reports, key=lambda report: report[0]):
            why = f", {message['reason']}" if word == "failed" and message["reason"] else ""
            yield f"{word} {self.time(moment, at)}{why}"
        if message["status"] == "skipped" and not any(each["verdict"] == "drop" for each in message["decisions"]):
            yield f"not sent: {message['reason']}"

    def _decided(self, decision: dict[str, Any], at: datetime) -> str:
        first, last = (datetime.fromisoformat(decision[name]) for name in ("first_at", "last_at"))
        words = f": {decision['reason']}"
        if cause := decision["cause"]:
            words += f", {self.time(self.on_wall(cause['at']), at)}"
            words += "" if cause["source"] in decision["reason"] else f" by {cause['source']}"
        if decision["says"]:
            words += f" ({decision['says']})"
        if decision["verdict"] == "drop":
            return f"dropped {self.time(last, at)}{words}"
        until = self.time(datetime.fromisoformat(decision["until"]), at)
        return f"held back from {self.time(first, at)} until {until}{words}"

    def on_wall(self, wall: str) -> datetime:
        """Return the journey time at a wall time."""
        return self.clock.journey_time(datetime.fromisoformat(wall))

    def time(self, moment: datetime, beside: datetime) -> str:
        """Say a journey time beside another one, without the day if that is the same."""
        there, here = moment.astimezone(self.zone), beside.astimezone(self.zone)
        return f"{there:%H:%M}" if there.date() == here.date() else f"{there.day} {there:%b %H:%M}"


async def _read(
    installation: Installation, customer: str, journey: str | None, message: str | None, everything: bool
) -> dict[str, Any]:
    """Read the timeline, page by page if everything is asked for, and how the stays under way stand."""
    path = f"/v1/customers/{quote(customer, safe='')}/timeline"
    told: dict[str, Any] = await installation.get(path, journey=journey, message=message, limit=AT_ONCE)
    while everything and told["next"]:
        older = await installation.get(path, journey=journey, message=message, limit=AT_ONCE, before=told["next"])
        told["entries"] += older["entries"]
        told["next"] = older["next"]
    under_way = [
        each["id"]
        for each in told["entries"]
        if each["kind"] == "enrolment" and each["ended_at"] is None and each["outcome"] is None
    ]
    told["standings"] = {
        number: (await installation.get(f"/v1/enrolments/{number}"))["standing"] for number in under_way
    }
    return told


def _matters(entry: dict[str, Any]) -> bool:
    """Whether an entry tells something that no other one does."""
    if entry["kind"] != "event":
        return True
    return entry["type"] not in OWN and (entry["note"] or entry["parked_at"] or not entry["dispatched_at"])


def _done(action: dict[str, Any]) -> str:
    """Say what an operator did."""
    about = action["subject"]
    if "command" in about:
        return f"{about['command'].replace('_', ' ')} of stay {about['number']}"
    if "signal" in about:
        return f"{about['signal'].replace('_', ' ')} to stay {about['number']}"
    return str(action["action"]).replace("_", " ")


def _noted(event: dict[str, Any]) -> str:
    if event["parked_at"]:
        return f"parked: {event['note']}"
    return event["note"] or ("" if event["dispatched_at"] else "not dispatched yet")


def _all(named: str) -> str:
    return "everything" if named == "*" else named


def _table(teller: Teller, entries: list[dict[str, Any]]) -> Table:
    # Without borders, which would take the width that the words need.
    table = Table(box=None, pad_edge=False)
    table.add_column("when", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("what came of it", overflow="fold", ratio=1)
    for entry in entries:
        table.add_row(*(escape(word) for word in teller.tell(entry)))
    return table


def _show_stay(teller: Teller, stay: dict[str, Any], standing: dict[str, Any] | None) -> None:
    now = teller.on_wall(datetime.now().astimezone().isoformat())
    if stay["outcome"]:
        state = stay["outcome"]
    elif standing is None:
        state = "its run does not answer now"
    else:
        waits = (
            f"waits for {wait['for']}, until {teller.time(datetime.fromisoformat(wait['until']), now)}"
            for wait in standing["waiting"]
        )
        state = "; ".join([*(["paused by an operator"] if standing["paused"] else []), *waits]) or "under way"
    console.print(f"Stay {stay['id']}: {escape(stay['journey'])}: {escape(state)}", highlight=False, soft_wrap=True)
    if stay["temporal_ui"]:
        console.print(f"  {stay['temporal_ui']}", highlight=False, soft_wrap=True)
