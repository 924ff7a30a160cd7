"""What runs record of themselves: how they ended, and what was done to them straight in Temporal."""

from dataclasses import dataclass

from temporalio import activity

from activities.speechless import speechless
from domain.enrolments import Outcome
from store import audit, enrolments
from store.database import Pool


@dataclass(frozen=True)
class Outcomes:
    """Records in our own tables what runs tell; made once per worker."""

    pool: Pool

    @activity.defn
    async def record_outcome(self, enrolment: int, outcome: Outcome) -> None:
        """Record that a run has ended. Doing it again changes nothing."""
        with speechless():
            async with self.pool.acquire() as connection:
                await enrolments.record_end(connection, enrolment, outcome)

    @activity.defn
    async def record_command(self, enrolment: int, command: str, update: str) -> None:
        """Enter in the audit log what was done straight in Temporal. Doing it again changes nothing.

        Args:
            update: Id of the update, by which the run's history tells who sent it.
        """
        with speechless():
            async with self.pool.acquire() as connection, connection.transaction():
                await audit.record_once(
                    connection, "temporal", "command_enrolment", {"number": enrolment, "command": command}, update
                )
