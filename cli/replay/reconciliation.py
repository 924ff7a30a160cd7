"""What came of a replay, and whether every number fits the others."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cli.replay.log import Log
from cli.replay.play import Sent
from domain.messages import OWN


class Counts(BaseModel, frozen=True):
    """What the installation itself has counted, see `GET /v1/reports/counts`.

    Attributes:
        slowest_dispatch: Longest way of an event to its runs, wall seconds.
        notes: What came of events, and of how many.
    """

    events: int
    undispatched: int
    parked: int
    rejected: int
    slowest_dispatch: float | None = None
    median_dispatch: float | None = None
    notes: dict[str, int] = {}
    enrolments: dict[str, dict[str, int]]
    messages: dict[str, dict[str, int]]


class Effects(BaseModel, frozen=True):
    """What the providers' sandbox has counted.

    Attributes:
        repeated: Messages that took effect more than once.
    """

    by_channel: dict[str, dict[str, int]]
    repeated: dict[str, int]


@dataclass(frozen=True)
class Reconciliation:
    """The numbers of a replay from everybody who counts.

    Attributes:
        effects: None where the providers are not ours to ask.
    """

    log: Log
    sent: Sent
    counts: Counts
    effects: Effects | None

    @property
    def enrolments(self) -> int:
        """Stays that were begun."""
        return sum(sum(by_state.values()) for by_state in self.counts.enrolments.values())

    def by_state(self, state: str) -> int:
        """Stays of all journeys with an outcome, or ``running``."""
        return sum(states.get(state, 0) for states in self.counts.enrolments.values())

    def faults(self) -> list[str]:
        """Return every sum that does not add up, in words; none if all do."""
        log, sent, counts = self.log, self.sent, self.counts
        rows = log.mapped + log.ignored.total() + len(log.unreadable) + log.left_out
        answered = sent.accepted + sent.duplicate + len(sent.rejected)
        faults = [
            _unequal("rows read", log.rows, "mapped + ignored + unreadable + left out", rows),
            _unequal("events made", len(log.happenings), "sent", sent.events),
            _unequal("events sent", sent.events, "accepted + duplicate + rejected", answered),
            *self._against_the_database(),
            f"{counts.undispatched} events have not reached their runs" if counts.undispatched else None,
            *self._against_the_events(),
            *self._against_the_providers(),
        ]
        return [fault for fault in faults if fault]

    def _against_the_database(self) -> list[str | None]:
        sent, counts = self.sent, self.counts
        # An answer may have been lost: then the repetition found our own events there.
        if not sent.accepted <= counts.events <= sent.accepted + sent.repeated:
            return [_unequal("events accepted", sent.accepted, "kept by the database", counts.events)]
        kept = len({(each.line, each.message_id) for each in sent.rejected if "erased" not in each.rule})
        return [_unequal("events rejected", kept, "kept aside by the database", counts.rejected)]

    def _against_the_events(self) -> list[str | None]:
        return [
            _unequal(
                f"enrolments in {journey}",
                sum(by_state.values()),
                "events that started one",
                self.counts.notes.get(f"started {journey}", 0),
            )
            for journey, by_state in self.counts.enrolments.items()
        ]

    def _against_the_providers(self) -> list[str | None]:
        if self.effects is None:
            return []
        faults: list[str | None] = [
            f"message {message} took effect {times} times" for message, times in self.effects.repeated.items()
        ]
        for channel, by_status in self.counts.messages.items():
            if channel in OWN:
                continue
            # What a provider refused has no effect; what failed later had one.
            left = sum(by_status.values()) - by_status.get("skipped", 0) - by_status.get("waiting", 0)
            effects = sum(self.effects.by_channel.get(channel, {}).values())
            if not left - by_status.get("failed", 0) <= effects <= left:
                faults.append(_unequal(f"{channel} messages that left", left, "taken by the provider", effects))
        return faults

    def summary(self) -> dict[str, Any]:
        """Return all the numbers by name."""
        log, sent = self.log, self.sent
        return {
            "rows": log.rows,
            "mapped": log.mapped,
            "ignored": dict(log.ignored),
            "unreadable": len(log.unreadable),
            "left_out": log.left_out,
            "customers": log.identified,
            "events": sent.events,
            "accepted": sent.accepted,
            "duplicate": sent.duplicate,
            "rejected": len(sent.rejected),
            "parked": self.counts.parked,
            "enrolments": self.enrolments,
            "outcomes": self.counts.enrolments,
            "came_of_events": self.counts.notes,
            "goals_reached": self.by_state("goal"),
            "still_waiting": self.by_state("running"),
            "messages": self.counts.messages,
            "dispatch_seconds": {"median": self.counts.median_dispatch, "slowest": self.counts.slowest_dispatch},
            "faults": self.faults(),
        }


def _unequal(what: str, number: int, whose: str, other: int) -> str | None:
    return None if number == other else f"{what}: {number}, but {whose}: {other}"
