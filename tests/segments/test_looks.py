"""Looking at some is as good as looking at all: whatever happens to customers, in whatever order, at whatever time."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.segments.conftest import Base
from tests.segments.forms import TRAITS, deeds, forms, humans, jsons, leaves
from tests.segments.model import ORIGIN, Deed, Human, holds

THOROUGH = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

who = st.integers(0, 9)
ages = st.sampled_from([0, 0, 1, 11, 12, 24, 30 * 24])
steps = st.one_of(
    st.tuples(st.just("passes"), st.sampled_from([1, 11, 12, 13, 24, 47, 48, 7 * 24, 30 * 24, 400 * 24])),
    st.tuples(st.just("does"), who, deeds, ages),
    st.tuples(st.just("is told to be"), who, st.sampled_from(TRAITS), jsons.filter(lambda each: each is not None)),
    st.tuples(st.just("gets a device"), who),
    st.tuples(st.just("loses a device"), who),
    st.tuples(st.just("comes"), humans),
    st.tuples(st.just("is"), who, who),
    st.tuples(st.just("is erased"), who),
    st.tuples(st.just("means"), st.sampled_from(["one", "other"]), forms),
)


@dataclass
class Life:
    """The same customers in PostgreSQL and in plain Python, at one time."""

    base: Base
    now: datetime
    speed: float
    people: dict[int, Human] = field(default_factory=dict)
    forms: dict[str, Any] = field(default_factory=dict)
    accepted: int = 0

    async def step(self, kind: str, *told: Any) -> None:
        """Let something happen."""
        match kind, *told:
            case "passes", int(hours):
                self.now += timedelta(hours=hours)
            case "comes", Human() as human:
                past = [replace(deed, at=min(deed.at, self.now)) for deed in human.deeds]
                await self.comes(replace(human, created_at=self.now, deeds=past))
            case "means", str(name), form:
                await self.means(name, form)
            case _, int(place), *rest if self.people:
                await self.happens(kind, self._chosen(place), rest)

    async def happens(self, kind: str, number: int, told: list[Any]) -> None:
        """Let something happen to one customer."""
        human, pool = self.people[number], self.base.pool
        match kind, *told:
            case "does", Deed() as deed, int(age):
                done = self._accepted(replace(deed, at=self.now - timedelta(hours=age)))
                human.deeds.append(done)
                await self.base.does(number, [done])
            case "is told to be", str(trait), value:
                human.traits[trait] = value
                await pool.execute("update customers set traits = $2 where id = $1", number, human.traits)
            case "gets a device", *_:
                human.devices += 1
                await pool.execute("insert into devices (token, customer_id) values ($1, $2)", uuid4().hex, number)
            case "loses a device", *_:
                human.devices = 0
                await pool.execute("update devices set dead_at = now() where customer_id = $1", number)
            case "is erased", *_:
                del self.people[number]
                await self.base.erases(number)
            case "is", int(place) if (other := self._chosen(place)) != number:
                gone = self.people.pop(number)
                stays = self.people[other]
                stays.deeds = sorted([*stays.deeds, *gone.deeds], key=lambda deed: deed.place)
                for name in ("email", "phone", "locale", "time_zone"):
                    setattr(stays, name, getattr(stays, name) or getattr(gone, name))
                stays.traits = {**gone.traits, **stays.traits}
                stays.created_at = min(stays.created_at, gone.created_at)
                stays.devices += gone.devices
                await self.base.merges(number, other)

    async def comes(self, human: Human) -> None:
        """Somebody new."""
        human = replace(human, traits=dict(human.traits), deeds=[self._accepted(deed) for deed in human.deeds])
        self.people[await self.base.meets(human)] = human

    async def means(self, name: str, form: dict[str, Any]) -> None:
        """A segment is put, and everybody is looked at by all that mean something else by it."""
        self.forms[name] = form
        await self.base.defines(name, form)
        for each in ("one", "other"):
            if each in self.forms:
                await self.base.scans(each, self.now)

    def wanted(self, name: str) -> set[int]:
        """Who ought to be in."""
        return {
            number
            for number, human in self.people.items()
            if holds(self.forms[name], human, self.now, self.speed, self.forms)
        }

    def _chosen(self, place: int) -> int:
        return list(self.people)[place % len(self.people)]

    def _accepted(self, deed: Deed) -> Deed:
        self.accepted += 1
        return replace(deed, place=self.accepted)


@THOROUGH
@given(
    one=forms,
    leaf=leaves,
    people=st.lists(humans, min_size=1, max_size=3),
    speed=st.sampled_from([1.0, 1.0, 24.0]),
    steps=st.lists(steps, min_size=1, max_size=8),
    limit=st.sampled_from([1, 2, 1000]),
)
async def test_looking_at_some_finds_what_looking_at_all_would(
    own_base: Base,
    one: dict[str, Any],
    leaf: dict[str, Any],
    people: list[Human],
    speed: float,
    steps: list[tuple[Any, ...]],
    limit: int,
) -> None:
    await own_base.begin(speed)
    life = Life(own_base, ORIGIN + timedelta(days=41), speed)
    for human in people:
        await life.step("comes", human)
    await life.means("one", one)
    await life.means("other", {"all": [leaf, {"not": {"segment": "one"}}]})
    for step in steps:
        await life.step(*step)
        await own_base.looks(life.now, limit)
        for name in ("one", "other"):
            assert await own_base.members(name) == life.wanted(name), step
    # Looking at everybody finds nothing that was missed, and everybody was told what became of them.
    for name in ("one", "other"):
        assert await own_base.scans(name, life.now, limit) == (len(life.people), 0, 0)
    for number in life.people:
        await told_truly(own_base, number)


async def told_truly(base: Base, number: int) -> None:
    """Entering and leaving take turns, and the last of them is what holds."""
    told = await base.told(number)
    for name in ("one", "other"):
        mine = [what for what, segment in told if segment == name]
        within = number in await base.members(name)
        if mine:
            assert mine[-1] == ("entered" if within else "left")
        else:
            assert not within
