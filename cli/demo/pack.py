"""A pack's story: its people, how long it takes, and what it should show."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic

from cli.demo.backend import Told
from cli.demo.lives import Life, Town
from cli.demo.people import K, Person
from cli.demo.promises import Stay
from cli.installation import Installation


@dataclass(frozen=True)
class Figure:
    """A number of the story, as it was observed.

    Attributes:
        what: What is counted, in words.
        part: How many, or how much.
        of: Of how many; None for what is no share.
        story: What the company's own story says, in its words.
    """

    what: str
    part: float
    of: int | None = None
    story: str = ""

    @property
    def share(self) -> float | None:
        """`part` of `of`; None where there is nothing to be a share of."""
        return self.part / self.of if self.of else None

    @property
    def observed(self) -> str:
        """What was observed, in words."""
        if self.of is None:
            return f"{self.part:,.6g}"
        return f"{self.part:g} of {self.of}" + (f", {self.share:.1%}" if self.share is not None else "")

    def as_json(self) -> dict[str, Any]:
        """Return it for ``summary.json``."""
        return {"what": self.what, "observed": self.part, "of": self.of, "share": self.share, "story": self.story}


@dataclass(frozen=True)
class Outcome(Generic[K]):
    """What there is to count when a story is over."""

    installation: Installation
    people: Sequence[Person[K]]
    told: Sequence[Told]
    stays: Sequence[Stay]

    def did(self, event: str) -> set[str]:
        """Return who did something since the story began or before, as the backend told it."""
        return {each.user_id for each in self.told if each.event == event}

    def of(self, journey: str) -> list[Stay]:
        """Return the stays in a journey."""
        return [stay for stay in self.stays if stay.journey == journey]


async def _nothing_before(_: Installation) -> None:
    """Most companies have nothing to prepare."""


async def _no_figures(_: Outcome[Any]) -> list[Figure]:
    """A story may be shown for its journeys alone."""
    return []


async def _nothing_meanwhile(_: Town) -> None:
    """Most companies leave everything to their journeys."""


@dataclass(frozen=True)
class Pack(Generic[K]):
    """One company's demonstration.

    Attributes:
        name: Of the pack of journeys.
        story: Journey time it takes.
        speed: Journey seconds per wall second, unless another is asked for.
        customers: How many take part, unless another number is asked for.
        kinds: The people, with shares of 100.
        life: How they live.
        figures: What the story should show, beside what was observed.
        prepare: What the company does before anybody comes, such as having its WhatsApp templates approved.
        meanwhile: What the company does by hand while its customers live, such as a campaign.
        deployment: Its file, in place of the one `JOURNEYS_CONFIG` names.
    """

    name: str
    story: timedelta
    speed: float
    customers: int
    kinds: tuple[K, ...]
    life: type[Life[K]]
    figures: Callable[[Outcome[K]], Awaitable[list[Figure]]] = field(default=_no_figures)
    prepare: Callable[[Installation], Awaitable[None]] = field(default=_nothing_before)
    meanwhile: Callable[[Town], Coroutine[Any, Any, None]] = field(default=_nothing_meanwhile)
    deployment: Path | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for the stack's processes."""
        return {"JOURNEYS_CONFIG": str(self.deployment)} if self.deployment else {}
