"""What an event does: which journeys it starts, which runs hear of it. Decided under the customer's lock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import structlog
from pydantic import BaseModel, ValidationError

from domain.clock import Clock
from domain.enrolments import (
    DeliveryStatus,
    Departure,
    FormProgress,
    Outcome,
    Reply,
    SeenEvent,
)
from domain.events import CUSTOMER_ERASED, Event, FormProgressEvent
from domain.runs import Start
from store import customers, enrolments, events
from store.database import Connection
from store.enrolments import Stay
from store.events import KeptEvent
from workflows.audience import is_about
from workflows.catalog import Catalog
from workflows.declaration import Declaration, Role, Rule
from workflows.journey import EDITION

MESSAGE_STATUS = "message_status"
"""Type of the events we make of a provider's report that a run waits for."""
MESSAGE_REPLY = "message_reply"
"""Type of the events we make of a customer's answer."""


log = structlog.get_logger()

_HOPELESS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
)
"""What an event itself brings about; it would happen again."""


@dataclass(frozen=True)
class StartRun:
    """A run to start."""

    declaration: Declaration
    workflow_id: str
    start: Start


@dataclass(frozen=True)
class Signal:
    """A signal to send to a run."""

    workflow_id: str
    name: str
    argument: BaseModel


@dataclass
class Plan:
    """What is to be done about one event.

    Attributes:
        notes: What came of it, for whoever asks why.
        parked: Why it can never be dispatched as it is.
    """

    event: KeptEvent
    actions: list[StartRun | Signal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parked: str | None = None


async def plan(connection: Connection, catalog: Catalog, customer: int, now: datetime) -> list[Plan]:
    """Plan a customer's undispatched events, in order; enrols where one starts a journey.

    Args:
        now: Wall time.
    """
    async with connection.transaction():
        await customers.lock(connection, [customer])
        pending = await events.undispatched(connection, customer)
        if not pending:
            return []
        planner = _Planner(
            connection,
            catalog,
            await customers.clock_of(connection, customer),
            await enrolments.running(connection, customer),
            now,
        )
        return [await planner.plan(event) for event in pending]


@dataclass
class _Planner:
    connection: Connection
    catalog: Catalog
    clock: Clock
    stays: list[Stay]
    now: datetime

    async def plan(self, event: KeptEvent) -> Plan:
        """Plan one event; whatever it is that cannot be planned, it must not hold up its customer."""
        plan = Plan(event)
        try:
            async with self.connection.transaction():
                await self._read(plan)
        except _HOPELESS as error:
            log.exception("event cannot be planned", number=event.id)
            plan = Plan(event, parked=f"cannot be planned: {type(error).__name__}")
        self._depart(plan)
        return plan

    async def _read(self, plan: Plan) -> None:
        event = plan.event
        if event.type in (MESSAGE_STATUS, MESSAGE_REPLY):
            self._report(plan)
            return
        roles = self.catalog.roles.get(event.name, ())
        fields = self._fields(plan)
        if fields is not None:
            for declaration, role, rule in roles:
                if not is_about(rule, event.properties):
                    continue
                if role is Role.START:
                    await self._start(plan, declaration, rule, fields)
                elif role in (Role.RESTART, Role.HEARD):
                    self._tell(plan, declaration, role, fields)

    def _fields(self, plan: Plan) -> Event | None:
        """Read the declared fields; what does not fit its declaration can start or tell nothing."""
        model = self.catalog.event(plan.event.name)
        if model is None:
            return None
        try:
            return model.model_validate(plan.event.properties)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}" for e in error.errors(include_input=False)
            )
            plan.parked = f"does not fit its declaration {model.__name__}: {wrong}"
            return None

    def _seen(self, event: KeptEvent, fields: Event) -> SeenEvent:
        return SeenEvent(
            sequence=event.id,
            name=event.name,
            # Nothing is older than the installation's own time, nor newer than its arrival.
            at=self.clock.journey_time(max(min(event.timestamp, event.received_at), self.clock.origin)),
            fields=fields.model_dump(mode="json"),
        )

    def _hearing(self, event: KeptEvent) -> list[Stay]:
        """The stays that were under way when the event was accepted."""
        return [
            stay
            for stay in self.stays
            if stay.trigger_event < event.id and (stay.outcome is None or (stay.outcome_event or 0) >= event.id)
        ]

    def _depart(self, plan: Plan) -> None:
        for stay in self.stays:
            if stay.outcome is not None and stay.outcome_event == plan.event.id:
                departure = Departure(
                    sequence=plan.event.id, outcome=Outcome(stay.outcome), event=self._known_name(plan.event)
                )
                plan.actions.append(Signal(stay.workflow_id, "depart", departure))
                plan.notes.append(f"{stay.outcome} of {stay.workflow_id}")

    def _known_name(self, event: KeptEvent) -> str:
        """Return an event's name, unless only its sender knows it: any call may show that two customers are one."""
        return event.name if event.name == CUSTOMER_ERASED or event.name in self.catalog.roles else event.type

    def _tell(self, plan: Plan, declaration: Declaration, role: Role, fields: Event) -> None:
        key = declaration.key_of(plan.event.properties)
        if key is None and role is Role.RESTART:
            plan.notes.append(f"{declaration.name}: no property {declaration.key} that can be a key, restarts nothing")
            return
        for stay in self._hearing(plan.event):
            if stay.journey == declaration.name and key in (None, stay.key):
                plan.actions.append(self._told(stay, plan.event, fields))

    def _told(self, stay: Stay, event: KeptEvent, fields: Event) -> Signal:
        seen = self._seen(event, fields)
        if isinstance(fields, FormProgressEvent):
            progress = FormProgress(event=seen, filled=fields.filled, total=fields.total)
            return Signal(stay.workflow_id, "form_progress", progress)
        return Signal(stay.workflow_id, "event", seen)

    def _report(self, plan: Plan) -> None:
        """A message's status or reply goes to the run that sent it, if that still runs."""
        told = plan.event.properties
        for stay in self._hearing(plan.event):
            if stay.id == told["enrolment"]:
                argument: BaseModel = (
                    Reply(sequence=plan.event.id, message=told["message"], choice=told["choice"])
                    if plan.event.type == MESSAGE_REPLY
                    else DeliveryStatus(sequence=plan.event.id, message=told["message"], status=told["status"])
                )
                name = "reply" if plan.event.type == MESSAGE_REPLY else "delivery_status"
                plan.actions.append(Signal(stay.workflow_id, name, argument))

    async def _start(self, plan: Plan, declaration: Declaration, rule: Rule, fields: Event) -> None:
        made = (await enrolments.started_by(self.connection, plan.event.id)).get(declaration.name)
        if made is None:
            key = declaration.key_of(plan.event.properties)
            obstacle = await self._obstacle(declaration, rule, plan.event, key)
            if obstacle or key is None:
                plan.notes.append(f"{declaration.name}: {obstacle}")
                return
            made = await enrolments.enrol(
                self.connection,
                plan.event.customer,
                declaration.name,
                key,
                plan.event.id,
                self.clock.journey_time(self.now),
            )
            self.stays = await enrolments.running(self.connection, plan.event.customer)
        number, workflow_id = made
        start = Start(
            enrolment=number,
            customer=plan.event.customer,
            trigger=self._seen(plan.event, fields),
            parameters=declaration.parameters.model_dump(mode="json"),
            clock=self.clock,
            edition=EDITION,
        )
        plan.actions.append(StartRun(declaration, workflow_id, start))
        plan.notes.append(f"started {workflow_id}")

    async def _obstacle(self, declaration: Declaration, rule: Rule, event: KeptEvent, key: str | None) -> str | None:
        """Why an event does not start a journey, if it does not."""
        if key is None:
            return f"no property {declaration.key} that can be a key, starts nothing"
        if not rule.holds(event.properties, event.properties, in_doubt=False):
            return "its condition does not hold"
        for needed, wanted in ((rule.if_done, True), (rule.unless_done, False)):
            if needed and await events.done_before(self.connection, event, needed.event_name) is not wanted:
                return f"they have {'never' if wanted else 'already'} done {needed.event_name}"
        if any(stay.journey == declaration.name and stay.key == key and stay.outcome is None for stay in self.stays):
            return "already in it"
        if await self._reached_before(declaration, event, key):
            return "the goal was reached before it could start"
        return await self._too_soon(declaration, event.customer, key)

    async def _too_soon(self, declaration: Declaration, customer: int, key: str) -> str | None:
        if not declaration.reenter_after:
            return None
        together = self.catalog.limited_together(declaration)
        last = await enrolments.last_enrolled(
            self.connection, customer, together, None if declaration.limited_with else key
        )
        if last is None or self.clock.journey_time(self.now) >= last.at + declaration.reenter_after:
            return None
        journey = "" if last.journey == declaration.name else f"{last.journey} "
        return f"entered {journey}on {last.at:%Y-%m-%d}, may enter again {declaration.reenter_after.days} days later"

    async def _reached_before(self, declaration: Declaration, event: KeptEvent, key: str) -> bool:
        """Whether a goal or exit happened, or was accepted, after the trigger."""
        rules = (*declaration.ends_on, *declaration.exits_on)
        if not rules:
            return False
        facts = await enrolments.facts_since(
            self.connection, event.customer, [rule.event.event_name for rule in rules], event.id, event.timestamp
        )
        return any(
            name == rule.event.event_name
            and declaration.is_about(rule, properties, key)
            and rule.holds(event.properties, properties, in_doubt=True)
            for name, properties in facts
            for rule in rules
        )


def summarise(plans: Sequence[Plan]) -> dict[int, str | None]:
    """Return the note of each event that was dispatched."""
    return {plan.event.id: "; ".join(plan.notes) or None for plan in plans}
