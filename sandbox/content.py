"""Twilio's Content API: templates of WhatsApp's, made, submitted and reviewed.

Shapes: twilio.com/docs/content/content-api-resources.
"""

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

from sandbox.twilio import authenticate, bad, not_found
from sandbox.whatsapp_templates import StoredTemplate, WhatsAppTemplate
from sandbox.world import TheWorld, World

router = APIRouter(dependencies=[Depends(authenticate)], tags=["Twilio"])


@router.post("/v1/Content", status_code=201)
async def create_content(request: Request, world: TheWorld) -> JSONResponse:
    try:
        template = WhatsAppTemplate.model_validate_json(await request.body())
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise bad(20001, f"Invalid content: {place}: {error.errors()[0]['msg']}") from None
    return JSONResponse(_content(world, world.templates.add(template)), status_code=201)


@router.get("/v1/Content")
async def list_contents(request: Request, world: TheWorld) -> JSONResponse:
    contents = [_content(world, template) for template in world.templates.all()]
    url = str(request.url)
    return JSONResponse(
        {
            "contents": contents,
            "meta": {
                "page": 0,
                "page_size": max(50, len(contents)),
                "first_page_url": url,
                "previous_page_url": None,
                "next_page_url": None,
                "url": url,
                "key": "contents",
            },
        }
    )


@router.get("/v1/Content/{sid}")
async def fetch_content(sid: str, request: Request, world: TheWorld) -> JSONResponse:
    template = world.templates.get(sid)
    if template is None:
        raise not_found(request)
    return JSONResponse(_content(world, template))


@router.post("/v1/Content/{sid}/ApprovalRequests/whatsapp", status_code=201)
async def ask_for_approval(sid: str, request: Request, world: TheWorld) -> JSONResponse:
    """Have a template reviewed, under a name that no other has."""
    template = _template(world, sid, request)
    try:
        asked = _ApprovalRequest.model_validate_json(await request.body())
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise bad(20001, f"Invalid approval request: {place}: {error.errors()[0]['msg']}") from None
    if template.status != "unsubmitted" or any(each.name == asked.name for each in world.templates.all()):
        raise bad(20001, "The template was submitted before, or its name is taken")
    changed = world.templates.change(sid, status="received", name=asked.name, category=asked.category)
    assert changed is not None
    return JSONResponse({**_approval(changed), "allow_category_change": True}, status_code=201)


@router.get("/v1/Content/{sid}/ApprovalRequests")
async def fetch_approval(sid: str, request: Request, world: TheWorld) -> JSONResponse:
    template = _template(world, sid, request)
    if template.status == "received" and world.templates.reviewed_by_itself:
        template = world.templates.change(sid, status="approved") or template
    return JSONResponse(
        {
            "sid": sid,
            "account_sid": world.configuration.twilio_account_sid,
            "whatsapp": {"type": "whatsapp", **_approval(template), "allow_category_change": True},
            "url": f"https://content.twilio.com/v1/Content/{sid}/ApprovalRequests",
        }
    )


class _ApprovalRequest(BaseModel):
    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$")
    category: Literal["UTILITY", "MARKETING", "AUTHENTICATION"]


def _approval(template: StoredTemplate) -> dict[str, Any]:
    return {
        "name": template.name or "",
        "category": template.category or "",
        "content_type": next(iter(template.types)),
        "status": template.status,
        "rejection_reason": template.rejection_reason,
    }


def _template(world: World, sid: str, request: Request) -> StoredTemplate:
    template = world.templates.get(sid)
    if template is None:
        raise not_found(request)
    return template


def _content(world: World, template: StoredTemplate) -> dict[str, Any]:
    url = f"https://content.twilio.com/v1/Content/{template.sid}"
    created = template.date_created.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        **template.model_dump(include={"sid", "friendly_name", "language", "variables", "types"}),
        "account_sid": world.configuration.twilio_account_sid,
        "date_created": created,
        "date_updated": created,
        "url": url,
        "links": {
            "approval_create": f"{url}/ApprovalRequests/whatsapp",
            "approval_fetch": f"{url}/ApprovalRequests",
        },
    }
