"""The client's own site, as a person sees it who is signed in there: inbox, pop-up and banners of the product, live.

It plays the site's backend too: the key stays here, and the page talks to this side of it.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import httpx
from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from sandbox.gestures import follow
from sandbox.people import Person
from sandbox.world import TheWorld, World

router = APIRouter(prefix="/_sandbox/people/{key}", tags=["Site"])

SURFACE = "web"


class Deed(BaseModel):
    """What a person does with a message on the site."""

    model_config = ConfigDict(extra="forbid")

    deed: Literal["impressions", "seen", "clicked", "dismissed"]
    impression: str | None = None
    link: str | None = None


async def _visitor(key: str, world: TheWorld) -> Person:
    """A person who is signed in: the product knows them by their `user_id`."""
    person = world.people.registered(key)
    if person is None or person.user_id is None:
        raise HTTPException(409, "the person has no user_id, by which the product knows them")
    if world.configuration.site_key is None:
        raise HTTPException(409, "SANDBOX_SITE_KEY is not set: the site may not ask the product")
    return person


Visitor = Annotated[Person, Depends(_visitor)]


@router.get("/live")
async def live(person: Visitor, world: TheWorld) -> StreamingResponse:
    """What the product tells the person's page, as it comes."""
    given = await _ask(world, "POST", f"/v1/customers/{person.user_id}/pass", json={})
    request = world.callbacks.client.build_request(
        "GET",
        world.product(f"/v1/customers/{person.user_id}/inbox/live"),
        params={"surface": SURFACE, "pass": given["token"]},
        timeout=httpx.Timeout(15, read=None),
    )
    answer = await world.callbacks.client.send(request, stream=True)

    async def told() -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        except httpx.TransportError:
            return  # the product stopped; the page asks again
        finally:
            await answer.aclose()

    return StreamingResponse(told(), status_code=answer.status_code, media_type="text/event-stream")


@router.get("/inbox")
async def inbox(person: Visitor, world: TheWorld) -> Any:
    return await _ask(world, "GET", f"/v1/customers/{person.user_id}/inbox")


@router.get("/placements")
async def placements(person: Visitor, world: TheWorld) -> Any:
    path = f"/v1/customers/{person.user_id}/placements"
    return await _ask(world, "GET", path, params={"surface": SURFACE})


@router.post("/site/{message}")
async def do(message: str, deed: Deed, person: Visitor, world: TheWorld) -> dict[str, Any]:
    """Show, look at, click or put away a message; a click follows its tracked link where there is one."""
    if deed.deed == "clicked" and deed.link:
        followed = await follow(world, httpx.Request("GET", deed.link, headers={"User-Agent": "Mozilla/5.0"}))
        return {"link": followed.link, "status": followed.status, "location": followed.location}
    told: dict[str, str | None] = {"user_id": person.user_id}
    if deed.deed == "impressions":
        told |= {"impression": deed.impression, "surface": SURFACE}
    await _ask(world, "POST", f"/v1/inbox/{message}/{deed.deed}", json=told)
    return {}


@router.post("/browser")
async def subscribe(key: str, world: TheWorld) -> dict[str, Any]:
    """Let the person's browser take pushes; who has a `user_id` tells the product at once.

    The subscription that is returned is what a page would send to its backend.
    """
    person = world.people.registered(key) or Person(key=key)
    signed_in = person.user_id is not None and world.configuration.site_key is not None
    server_key = (await _ask(world, "GET", "/v1/web-push/key"))["public_key"] if signed_in else None
    subscription = world.browsers.subscribe(world.configuration.url, server_key)
    world.people.put(key, person.model_copy(update={"browser": subscription["endpoint"]}).behaviour)
    if signed_in:
        await _ask(world, "POST", f"/v1/customers/{person.user_id}/web-push/subscribe", json=subscription)
    return subscription


async def _ask(world: World, method: str, path: str, **asked: Any) -> Any:
    key = world.configuration.site_key
    assert key is not None
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"}
    try:
        answer = await world.callbacks.client.request(method, world.product(path), headers=headers, **asked)
    except httpx.TransportError as error:
        raise HTTPException(409, f"the product did not answer: {type(error).__name__}") from None
    if not answer.is_success:
        raise HTTPException(409, f"the product answered {answer.status_code}")
    return answer.json() if answer.content else None
