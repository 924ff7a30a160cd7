"""Audiences over HTTP: a segment as a file for an advertising cabinet, and how many are in it."""

from base64 import b64encode
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.auditing import Audited
from api.context import Db, Operator
from api.problems import Problem, documented
from api.segments import Name
from domain.advertising import Cabinet, audience
from store import advertising, segments

router = APIRouter(tags=["segments"])

_COUNT = {"schema": {"type": "integer"}}


@router.post(
    "/v1/segments/{name}/audience",
    response_class=Response,
    responses={
        200: {
            "description": "CSV: hashes of email and phone, a person a line after the header.",
            "content": {"text/csv": {"schema": {"type": "string"}}},
            "headers": {
                "Audience-Members": {"description": "Members of the segment, as last looked at.", **_COUNT},
                "Audience-Exported": {"description": "Lines of the file after the header.", **_COUNT},
                "Audience-Forbidden": {"description": "Left out: they do not want to hear of us at all.", **_COUNT},
                "Audience-Unmatchable": {"description": "Left out: neither email nor phone is known.", **_COUNT},
                "Content-Digest": {
                    "description": "SHA-256 of the file (RFC 9530): what arrives whole has it.",
                    "schema": {"type": "string"},
                },
            },
        },
        **documented(401, 403, 404, 409, 422, 503),
    },
)
async def export_audience(
    name: Name,
    cabinet: Annotated[Cabinet, Query(description="Whose rules of normalising and hashing the file follows.")],
    db: Db,
    _: Operator,
    audited: Audited,
) -> Response:
    """Write a segment as a file for an advertising cabinet, which matches people by hashed email and phone.

    Every member is in the file or counted with the reason why not, so that what the cabinet says it received can be
    compared. Make sure that you may use these data for advertising.
    """
    known = await segments.overview(db, name)
    if not known:
        raise Problem(404, "not_found", f"there is no segment {name}; see GET /v1/segments")
    if known[0]["scanned_at"] is None:
        raise Problem(409, "conflict", f"nobody has been looked at by {name} yet; that takes about a minute")
    found = await advertising.members(db, name)
    body = audience(cabinet, found.people)
    audited.facts.update(segment=name, cabinet=str(cabinet), members=found.total, exported=len(found.people))
    return Response(
        body,
        media_type="text/csv; charset=utf-8",
        headers={
            "Audience-Members": str(found.total),
            "Audience-Exported": str(len(found.people)),
            "Audience-Forbidden": str(found.forbidden),
            "Audience-Unmatchable": str(found.unmatchable),
            "Content-Digest": f"sha-256=:{b64encode(sha256(body).digest()).decode()}:",
            "Content-Disposition": f'attachment; filename="{name}.{cabinet}.csv"',
            "Cache-Control": "no-store",
        },
    )
