"""The audit log over HTTP."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from api.context import Db, Reader
from api.customers import TEXT
from api.problems import documented
from store import audit

router = APIRouter(tags=["operations"])

Name = Annotated[str | None, Query(max_length=255, pattern=TEXT)]


class AuditEntry(BaseModel):
    """What somebody did as an operator or an administrator."""

    id: int
    at: datetime = Field(description="Wall time at which it was entered, before it was done.")
    actor: str = Field(description="Name of the key; or `cli:` and the user of the machine.", examples=["desk"])
    action: str = Field(description="Operation of this API, or command.", examples=["command_enrolment"])
    subject: dict[str, Any] = Field(
        description="What it was done to. Customers are named by our number; `unknown` is somebody or something "
        "there is not.",
        examples=[{"number": 42, "command": "pause"}],
    )
    detail: dict[str, Any] = Field(description="Facts about it; never what somebody wrote.")
    answer: str | None = Field(
        description="Status of the HTTP answer, or `done`. None: the process ended before it could tell, so it may "
        "have been done.",
        examples=["200"],
    )
    answered_at: datetime | None


class AuditLog(BaseModel):
    """Entries of the audit log, the newest first."""

    entries: list[AuditEntry]
    next: int | None = Field(description="Give it as `before` for what is older; None at the end.")


@router.get("/v1/audit", responses=documented(422))
async def read_audit(
    _: Reader,
    db: Db,
    actor: Name = None,
    action: Name = None,
    customer: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="Only what was done to a customer, by our number.")
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="Only from then on, wall time.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only before then, wall time.")] = None,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Only what is older than this entry.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> AuditLog:
    """Read who did what as an operator or an administrator, and what came of it.

    Entries are made before their action and are never changed or removed. Reading them is not entered.
    """
    rows = await audit.page(
        db,
        actor=actor,
        action=action,
        customer=customer,
        since=since,
        until=until,
        before=before,
        limit=limit + 1,
    )
    entries = [AuditEntry.model_validate(dict(row)) for row in rows[:limit]]
    return AuditLog(entries=entries, next=entries[-1].id if len(rows) > limit else None)
