"""A message moves on, by a provider's report or the customer's own deed; whoever waits for that hears of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from prometheus_client import Counter

from dispatch.plan import MESSAGE_REPLY, MESSAGE_STATUS
from domain.events import OF_MESSAGES
from domain.messages import Status
from domain.uncertain import Resolution
from store import events, messages, recipients
from store.database import Connection
from store.events import NewEvent

RESOLVED = Counter("journeys_resolutions_total", "Uncertain sends that were settled.", ["channel", "resolution"])


@dataclass(frozen=True)
class Report:
    """What somebody says of a message.

    Attributes:
        provider: Who says so.
        callback_id: Their id of the report; unique with the provider.
        at: When it happened, wall time.
        provider_id: The provider's id of the message, if the report names it.
        reason: A code, never a text, which may hold addresses.
        choice: Of a reply: the button chosen.
        resolution: What settles the message, if nobody knows whether it left.
    """

    provider: str
    callback_id: str
    at: datetime
    provider_id: str | None = None
    reason: str | None = None
    choice: str | None = None
    resolution: Resolution = Resolution.CALLBACK


async def move(connection: Connection, message: UUID, status: Status, report: Report) -> None:
    """Move a message forward, never back; its customer's row must be locked.

    Where its run waits for this, an event takes its place in the customer's order, so that dispatch
    signals the run for certain and in order.
    """
    now = datetime.now(UTC)
    at = min(report.at, now)
    moved = await messages.advance(
        connection,
        message,
        status,
        at,
        provider_id=report.provider_id,
        reason=report.reason,
        resolution=report.resolution,
        source=report.provider,
        callback_id=report.callback_id,
    )
    if moved and moved.resolved:
        RESOLVED.labels(moved.channel, moved.resolved).inc()
    if moved is None:
        return
    await recipients.look_again(connection, moved.enrolment, status)
    if not moved.awaited:
        return
    told = {"enrolment": moved.enrolment, "message": str(message)}
    is_reply = status is Status.REPLIED
    await events.keep(
        connection,
        [
            NewEvent(
                customer=moved.customer,
                source=f"webhook:{report.provider}",
                message_id=report.callback_id,
                type=MESSAGE_REPLY if is_reply else MESSAGE_STATUS,
                name=f"{OF_MESSAGES}{status}",
                properties={**told, "choice": report.choice} if is_reply else {**told, "status": status},
                context={},
                timestamp=at,
                received_at=now,
                concerns_a_run=True,
            )
        ],
    )
