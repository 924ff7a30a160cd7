"""What a company does about its texts before its story begins: puts some in, and has WhatsApp's reviewers approve."""

import asyncio

from cli.installation import Installation

_REVIEWED_WITHIN = 120.0
"""Wall seconds the reviewers of the sandbox may take, which approve what they are asked about."""

_ASK_EVERY = 2.0


async def publish(installation: Installation, text: str, source: str, *, edition: str = "") -> None:
    """Put a text in and have it sent from now on.

    Args:
        text: ``group/name/channel/locale``.
        source: As its file would be written.
        edition: The month it is for, for a text that is written for each.
    """
    query = f"?edition={edition}" if edition else ""
    drafted = await installation.post(f"/v1/texts/{text}/versions{query}", {"source": source})
    await installation.post(f"/v1/texts/{text}/versions/{drafted['number']}/publish{query}")


async def have_whatsapp_reviewed(installation: Installation) -> None:
    """Submit every WhatsApp text, and wait until the reviewers have looked at all of them.

    Raises:
        TimeoutError: They have not.
    """
    await installation.post("/v1/whatsapp/templates/submit", {})
    async with asyncio.timeout(_REVIEWED_WITHIN):
        while under_review := await _under_review(installation):
            # Asking has everything looked at again, so only once all of it is with the reviewers, and not often.
            if "requested" not in under_review:
                await installation.post("/v1/whatsapp/templates/look")
            await asyncio.sleep(_ASK_EVERY)


async def _under_review(installation: Installation) -> set[str]:
    found = {each["status"] for each in await installation.get("/v1/whatsapp/templates")}
    return found & {"requested", "submitted", "pending"}
