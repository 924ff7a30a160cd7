"""What is decided about WhatsApp at Meta's: templates are reviewed, senders blocked; over HTTP and on a page."""

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from sandbox.pages import render
from sandbox.twilio import sender_block
from sandbox.whatsapp_templates import StoredTemplate
from sandbox.world import TheWorld

router = APIRouter(tags=["Sandbox"])

Number = Annotated[str, Path(pattern=r"^\+[1-9]\d{6,14}$")]


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Review(_Order):
    status: Literal["pending", "approved", "rejected", "paused", "disabled"]
    reason: str = Field("", max_length=500)


class Reviews(_Order):
    by_itself: bool = Field(description="whether what is submitted is approved when it is next asked about")


class SenderBlock(_Order):
    error_code: int = Field(63112, ge=10000, le=99999)
    at_once: bool = Field(True, description="whether a message is refused, or taken and fails later")


@router.get("/_sandbox/whatsapp/templates")
async def list_templates(world: TheWorld) -> list[StoredTemplate]:
    return world.templates.all()


@router.post("/_sandbox/whatsapp/templates/{sid}/review")
async def review(sid: str, order: Review, world: TheWorld) -> StoredTemplate:
    """Say what a reviewer says."""
    known = world.templates.get(sid)
    if known is None:
        raise HTTPException(404, "there is no such template")
    if known.status == "unsubmitted":
        raise HTTPException(409, "the template was not submitted")
    changed = world.templates.change(sid, status=order.status, rejection_reason=order.reason)
    assert changed is not None
    return changed


@router.put("/_sandbox/whatsapp/reviews")
async def put_reviews(order: Reviews, world: TheWorld) -> Reviews:
    """Decide whether templates are approved by themselves (the default) or wait for somebody here."""
    world.templates.reviewed_by_itself = order.by_itself
    return order


@router.put("/_sandbox/whatsapp/senders/{number}", status_code=204)
async def block_sender(number: Number, order: SenderBlock, world: TheWorld) -> None:
    """Block a sender until it is freed."""
    world.people.block(
        "whatsapp_senders", "*", number, f"{order.error_code}:{'refused' if order.at_once else 'failed'}"
    )


@router.delete("/_sandbox/whatsapp/senders/{number}", status_code=204)
async def free_sender(number: Number, world: TheWorld) -> None:
    if sender_block(world, number) is None:
        raise HTTPException(404, "this sender is not blocked")
    world.people.unblock("whatsapp_senders", "*", number)


@router.get("/whatsapp", include_in_schema=False)
async def page(world: TheWorld) -> HTMLResponse:
    return render(
        "whatsapp.html",
        title="WhatsApp's reviewers",
        by_itself=world.templates.reviewed_by_itself,
        templates=[
            {
                **template.model_dump(include={"sid", "status", "category", "language", "rejection_reason"}),
                "name": template.name or template.friendly_name or template.sid,
                "text": template.text({}),
                "buttons": template.buttons({}),
                "media": template.media,
                "mood": {"approved": "good", "rejected": "bad", "paused": "bad", "disabled": "bad"}.get(
                    template.status, ""
                ),
            }
            for template in reversed(world.templates.all())
        ],
    )
