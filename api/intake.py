"""Accepts events: one transaction in which every fact about a customer takes its place in their order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import ValidationError

from domain.calls import Call, CallType
from domain.enrolments import Outcome
from policy.configuration import Policy
from store import customers, enrolments, events, silences
from store.customers import Identity, Tombstones
from store.database import Connection
from store.enrolments import Stay
from store.events import NewEvent
from workflows.catalog import Catalog
from workflows.declaration import Declaration, Role, Rule


@dataclass(frozen=True)
class Terms:
    """What it takes to judge an event: the journeys, the contact policy, who was erased."""

    catalog: Catalog
    policy: Policy
    tombstones: Tombstones


@dataclass(frozen=True)
class Accepted:
    """The call is kept.

    Attributes:
        event: Its place in the order of events.
    """

    customer: int
    event: int


@dataclass(frozen=True)
class Duplicate:
    """A call with this id was accepted before."""


@dataclass(frozen=True)
class Erased:
    """The customer was erased; nothing about them is kept any more."""


Answer = Accepted | Duplicate | Erased


@dataclass
class _People:
    """Whom the identities of some calls mean, kept up to date while the calls are gone through."""

    connection: Connection
    by_identity: dict[Identity, int]
    merged: dict[int, int] = field(default_factory=dict)

    def find(self, identity: Identity) -> int | None:
        number = self.by_identity.get(identity)
        return None if number is None else self.current(number)

    def current(self, number: int) -> int:
        while number in self.merged:
            number = self.merged[number]
        return number

    async def get(self, identity: Identity) -> int:
        number = self.find(identity)
        if number is None:
            number = await customers.create(self.connection, identity)
            self.by_identity[identity] = number
        return number

    async def attach(self, identity: Identity, number: int) -> None:
        await customers.attach(self.connection, identity, number)
        self.by_identity[identity] = number

    async def merge(self, loser: int, winner: int) -> list[int]:
        self.merged[loser] = winner
        return await customers.merge(self.connection, loser, winner)


async def accept(
    connection: Connection,
    terms: Terms,
    source: str,
    calls: Sequence[Call],
    received_at: datetime,
) -> list[Answer]:
    """Accept calls, in their order, all or none.

    When this returns, every call is kept and every goal, exit, restart and block among them counts:
    no message is claimed against it any more. The runs hear of it from dispatch.

    Args:
        source: Name of the write key; message ids are idempotent within it.
        received_at: Wall time of arrival.

    Returns:
        An answer for each call, in order.
    """
    async with connection.transaction():
        calls = await _with_who_wrote_first(connection, calls)
        people, erased = await _meet(connection, terms.tombstones, calls)
        known = await events.known(connection, source, [call.message_id for call in calls])
        fresh: list[tuple[int, Call, int, list[int] | None]] = []
        answers: list[Answer | None] = [None] * len(calls)
        for index, call in enumerate(calls):
            if call.user_id and ("user", call.user_id) not in erased and ("anonymous", call.anonymous_id) in erased:
                # The device of somebody who was erased, used by somebody else: it means nobody any more.
                call = call.model_copy(update={"anonymous_id": None})
            if erased & set(_identities(call)):
                answers[index] = Erased()
            elif call.message_id in known:
                answers[index] = Duplicate()
            else:
                known.add(call.message_id)
                customer, ended = await _apply(people, call)
                fresh.append((index, call, customer, ended))
        kept = await events.keep(
            connection,
            [
                _event(terms.catalog, people.current(customer), source, call, received_at, ended)
                for _, call, customer, ended in fresh
            ],
        )
        facts = []
        merges: list[tuple[int, int]] = []
        for index, call, customer, ended in fresh:
            event = kept.get(call.message_id)
            if event is None:
                answers[index] = Duplicate()
                continue
            answers[index] = Accepted(people.current(customer), event)
            if ended is not None:
                merges.append((people.current(customer), event))
            if ended:
                await enrolments.attribute_merge(connection, ended, event)
            facts.append((people.current(customer), event, call))
        await _decide(connection, terms.catalog, facts)
        await _block(connection, terms, facts, received_at)
        for customer, event in merges:
            await _decide_past(connection, terms.catalog, customer, event)
        return [answer for answer in answers if answer is not None]


def known_by(number: str) -> Identity:
    """Return what somebody is known by of whom there is a number (E.164) alone: they wrote to us first."""
    return "anonymous", f"phone:{number}"


async def _with_who_wrote_first(connection: Connection, calls: Sequence[Call]) -> list[Call]:
    """Let whoever tells of a user's number mean also who wrote from it before anybody knew them.

    Else a goal or a block of the one would not count for the other, who has the same phone.
    """
    told = {
        call.message_id: known_by(call.profile.phone)
        for call in calls
        if call.user_id and not call.anonymous_id and call.profile and call.profile.phone
    }
    met = await customers.find(connection, set(told.values())) if told else {}
    return [
        call.model_copy(update={"anonymous_id": told[call.message_id][1]}) if told.get(call.message_id) in met else call
        for call in calls
    ]


async def _meet(connection: Connection, tombstones: Tombstones, calls: Sequence[Call]) -> tuple[_People, set[Identity]]:
    """Find and lock everybody the calls are about."""
    identities = {identity for call in calls for identity in _identities(call)}
    found = await customers.find(connection, identities)
    while True:
        unknown = identities - found.keys()
        if unknown:
            await customers.lock_unknown(connection, unknown)
        await customers.hold_dispatch(connection, _to_be_merged(calls, found))
        changed = await customers.lock(connection, found.values())
        if not unknown and not changed:
            return _People(connection, found), set()
        # Somebody else may have created, merged or erased them while we waited for the locks.
        again = await customers.find(connection, identities)
        if again == found:
            return _People(connection, found), await customers.erased(connection, sorted(unknown), tombstones)
        found = again


def _to_be_merged(calls: Sequence[Call], found: dict[Identity, int]) -> set[int]:
    """Return the customers that calls may show to be one: those that name several of them."""
    together = ({found[each] for each in _identities(call) if each in found} for call in calls)
    return {number for numbers in together if len(numbers) > 1 for number in numbers}


def _identities(call: Call) -> list[Identity]:
    named: list[tuple[str, str | None]] = [("user", call.user_id), ("anonymous", call.anonymous_id)]
    identities: list[Identity] = [(kind, value) for kind, value in named if value]  # type: ignore[misc]
    if call.previous_id:
        identities += [("user", call.previous_id), ("anonymous", call.previous_id)]
    return identities


async def _apply(people: _People, call: Call) -> tuple[int, list[int] | None]:
    """Find the customer a call is about, and learn what it says of them.

    Returns:
        The customer; and if two customers turned out to be one, the stays that end by that.
    """
    if call.type is CallType.ALIAS:
        customer, ended = await _alias(people, call)
    else:
        customer, ended = await _recognise(people, call)
    if call.profile:
        await customers.describe(people.connection, customer, call.profile, call.timestamp)
    if call.device:
        await customers.add_device(people.connection, customer, call.device)
    return customer, ended


async def _recognise(people: _People, call: Call) -> tuple[int, list[int] | None]:
    """Whoever was anonymous and now has a user id becomes that user.

    A device that already belongs to another user keeps its past: it only means the new one from now on.
    """
    anonymous: Identity | None = ("anonymous", call.anonymous_id) if call.anonymous_id else None
    if call.user_id is None:
        assert anonymous is not None
        return await people.get(anonymous), None
    user: Identity = ("user", call.user_id)
    stranger = people.find(anonymous) if anonymous else None
    customer = people.find(user)
    if anonymous is None or stranger == customer:
        customer = await people.get(user)
        if anonymous and stranger is None:
            await people.attach(anonymous, customer)
        return customer, None
    if stranger is None or await customers.has_user_id(people.connection, stranger):
        customer = await people.get(user)
        await people.attach(anonymous, customer)
        return customer, None
    if customer is None:
        await people.attach(user, stranger)
        return stranger, None
    return customer, await people.merge(stranger, customer)


async def _alias(people: _People, call: Call) -> tuple[int, list[int] | None]:
    assert call.user_id is not None
    assert call.previous_id is not None
    user: Identity = ("user", call.user_id)
    previous = people.find(("user", call.previous_id)) or people.find(("anonymous", call.previous_id))
    customer = people.find(user)
    if previous is None:
        customer = await people.get(user)
        await people.attach(("anonymous", call.previous_id), customer)
        return customer, None
    if customer is None:
        await people.attach(user, previous)
        return previous, None
    return customer, None if previous == customer else await people.merge(previous, customer)


def _event(
    catalog: Catalog, customer: int, source: str, call: Call, received_at: datetime, ended: list[int] | None
) -> NewEvent:
    return NewEvent(
        customer=customer,
        source=source,
        message_id=call.message_id,
        type=call.type,
        name=call.name,
        # What identify says is kept with the customer, where it can be erased.
        properties=call.properties,
        context={name: value for name, value in call.context.items() if name not in ("device", "traits")},
        timestamp=call.timestamp,
        received_at=received_at,
        concerns_a_run=ended is not None or call.name in catalog.roles,
    )


async def _decide(connection: Connection, catalog: Catalog, facts: Sequence[tuple[int, int, Call]]) -> None:
    """Let goals, exits and restarts count from this transaction on."""
    deciding = [
        (customer, event, call, declaration, role, rule)
        for customer, event, call in facts
        for declaration, role, rule in catalog.roles.get(call.name, ())
        if role in (Role.GOAL, Role.EXIT, Role.RESTART)
    ]
    if not deciding:
        return
    stays = await enrolments.undecided(
        connection, {customer for customer, *_ in deciding}, {declaration.name for *_, declaration, _, _ in deciding}
    )
    for customer, event, call, declaration, role, rule in deciding:
        concerned = [
            stay.id
            for stay in stays
            if stay.customer == customer
            and stay.trigger_event < event
            and concerns(stay, declaration, role, rule, call)
        ]
        if not concerned:
            continue
        if role is Role.RESTART:
            await enrolments.note_restart(connection, concerned, event)
        else:
            await enrolments.decide_outcome(connection, concerned, Outcome(role.value), event)
            stays = [stay for stay in stays if stay.id not in concerned]


async def _block(
    connection: Connection, terms: Terms, facts: Sequence[tuple[int, int, Call]], received_at: datetime
) -> None:
    """Let events after which a customer hears nothing count from this transaction on."""
    for customer, event, call in facts:
        for name, lasts in _blocks(terms, call):
            clock = await customers.clock_of(connection, customer)
            begins = clock.journey_time(max(min(call.timestamp, received_at), clock.origin))
            await silences.block(connection, customer, name, call.name, begins, begins + lasts, event)


def _blocks(terms: Terms, call: Call) -> Iterator[tuple[str, timedelta]]:
    """Return what an event lets a customer hear nothing by: rules of the policy, and journeys that say so."""
    for name, block in terms.policy.blocks.items():
        if block.on == call.name:
            yield name, block.lasts
    for declaration, role, rule in terms.catalog.roles.get(call.name, ()):
        if (
            role is Role.START
            and declaration.blocks_for
            and rule.holds(call.properties, call.properties, in_doubt=True)
        ):
            yield declaration.name, getattr(declaration.parameters, declaration.blocks_for)


def concerns(stay: Stay, declaration: Declaration, role: Role, rule: Rule, call: Call) -> bool:
    """Whether an event plays its role for a stay.

    A goal or exit without its key ends all of the customer's stays in that journey: better silent
    than wrong. A restart must say which stay it means, and must be well-formed.
    """
    if stay.journey != declaration.name:
        return False
    if role is Role.RESTART:
        return declaration.key_of(call.properties) == stay.key and _well_formed(rule, call)
    if not declaration.is_about(rule, call.properties, stay.key):
        return False
    return rule.holds(stay.trigger, call.properties, in_doubt=True)


def _well_formed(rule: Rule, call: Call) -> bool:
    try:
        rule.event.model_validate(call.properties)
    except ValidationError:
        return False
    return True


async def _decide_past(connection: Connection, catalog: Catalog, customer: int, event: int) -> None:
    """Let the goals and exits count that two customers had reached before they turned out to be one."""
    for stay in await enrolments.undecided(connection, [customer], catalog.journeys):
        declaration = catalog.journeys[stay.journey]
        for role, rules in ((Role.GOAL, declaration.ends_on), (Role.EXIT, declaration.exits_on)):
            names = [rule.event.event_name for rule in rules]
            past = await enrolments.facts_after(connection, customer, names, stay.trigger_event)
            if any(
                name == rule.event.event_name
                and declaration.is_about(rule, properties, stay.key)
                and rule.holds(stay.trigger, properties, in_doubt=True)
                for name, properties in past
                for rule in rules
            ):
                await enrolments.decide_outcome(connection, [stay.id], Outcome(role.value), event)
