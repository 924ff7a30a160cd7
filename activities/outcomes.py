"""`record_outcome`: the one closing record of a run."""

from dataclasses import dataclass

from temporalio import activity

from activities.speechless import speechless
from domain.enrolments import Outcome
from store import enrolments
from store.database import Pool


@dataclass(frozen=True)
class Outcomes:
    """Records how runs ended; made once per worker."""

    pool: Pool

    @activity.defn
    async def record_outcome(self, enrolment: int, outcome: Outcome) -> None:
        """Record that a run has ended. Doing it again changes nothing."""
        with speechless():
            async with self.pool.acquire() as connection:
                await enrolments.record_end(connection, enrolment, outcome)
