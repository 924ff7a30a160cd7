"""The sandbox's own HTTP: the ledger, the people, bad luck, and what people do."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from sandbox import gestures
from sandbox.callbacks import AnsweredCallback, CallbackOptions, CallbackState
from sandbox.faults import Fault, FaultKind
from sandbox.ledger import Counts, Entry, Provider
from sandbox.people import Behaviour, CallResult, Person
from sandbox.world import TheWorld

router = APIRouter(prefix="/_sandbox", tags=["Sandbox"])


class LedgerPage(BaseModel):
    """`next_after` is the `after` of the next page, null on the last."""

    entries: list[Entry]
    next_after: int | None


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Click(_Order):
    link: str | None = Field(None, description="one of the message's; the tracked one if omitted")


class Reply(_Order):
    text: str = Field(min_length=1, max_length=1600)


class Press(_Order):
    payload: str = Field(min_length=1, description="the button's id")
    text: str | None = Field(None, description="the button's title, if the sandbox cannot know it")


class Result(_Order):
    result: CallResult


class Key(_Order):
    key: str = Field(pattern=r"^[0-9*#]$")


class Inbound(_Order):
    """Somebody writes to one of the senders, without answering to a message."""

    from_: str = Field(alias="from", pattern=r"^\+[1-9]\d{6,14}$")
    to: str = Field(pattern=r"^\+?[1-9]\d{2,14}$")
    text: str = Field(min_length=1, max_length=1600)
    channel: Literal["sms", "whatsapp"] = "sms"
    picture: str | None = Field(None, pattern=r"^https?://\S+$", description="address of a picture sent along")
    told: bool = Field(True, description="whether the product's webhook is called")


async def _entry(ledger_id: int, world: TheWorld) -> Entry:
    try:
        return world.ledger.get(ledger_id)
    except LookupError as error:
        raise HTTPException(404, str(error)) from None


TheEntry = Annotated[Entry, Depends(_entry)]


@router.get("/ready")
async def ready() -> dict[str, str]:
    return {"status": "ready"}


@router.get("/ledger")
async def read_ledger(
    world: TheWorld,
    provider: Provider | None = None,
    message_id: str | None = None,
    address: str | None = None,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> LedgerPage:
    """The provider calls that took effect, in the order they did."""
    entries = world.ledger.page(provider, message_id, address, after, limit + 1)
    more = len(entries) > limit
    return LedgerPage(entries=entries[:limit], next_after=entries[limit - 1].id if more else None)


@router.get("/counts")
async def read_counts(world: TheWorld) -> Counts:
    return world.ledger.counts()


@router.get("/people")
async def list_people(world: TheWorld) -> list[Person]:
    return world.people.all()


@router.put("/people/{key}")
async def put_person(key: str, behaviour: Behaviour, world: TheWorld) -> Person:
    """Register a person by name or address, in place of what was known under this key."""
    return world.people.put(key, behaviour)


@router.get("/faults")
async def list_faults(world: TheWorld) -> list[Fault]:
    """The faults that are still to strike, and how often."""
    return world.faults.left()


@router.put("/faults", status_code=201)
async def put_fault(fault: Fault, world: TheWorld) -> Fault:
    world.faults.put(fault)
    return fault


@router.delete("/faults", status_code=204)
async def clear_faults(world: TheWorld) -> None:
    world.faults.clear()


@router.get("/faults/struck")
async def count_struck(world: TheWorld) -> dict[FaultKind, int]:
    """How many provider calls each kind of fault has struck so far."""
    return world.faults.struck()


@router.get("/callbacks")
async def read_callbacks(world: TheWorld) -> CallbackState:
    return world.callbacks.state()


@router.put("/callbacks")
async def put_callbacks(options: CallbackOptions, world: TheWorld) -> CallbackState:
    """Holds for callbacks planned from now on, until the sandbox is restarted."""
    world.callbacks.options = options
    return world.callbacks.state()


@router.get("/callbacks/answered")
async def list_answered_callbacks(
    world: TheWorld,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AnsweredCallback]:
    """What the product was told and has taken, by the sandbox's clock."""
    return world.callbacks.answered(after, limit)


@router.post("/messages/{ledger_id}/open", status_code=202)
async def open_message(entry: TheEntry, world: TheWorld) -> None:
    await gestures.open_message(world, entry)


@router.post("/messages/{ledger_id}/click")
async def click(entry: TheEntry, world: TheWorld, order: Click | None = None) -> dict[str, Any]:
    return asdict(await gestures.click(world, entry, order.link if order else None))


@router.post("/messages/{ledger_id}/reply", status_code=202)
async def reply(entry: TheEntry, order: Reply, world: TheWorld) -> Entry:
    return await gestures.reply(world, entry, order.text)


@router.post("/messages/{ledger_id}/button", status_code=202)
async def press_button(entry: TheEntry, order: Press, world: TheWorld) -> Entry:
    return await gestures.press_button(world, entry, order.payload, order.text)


@router.post("/messages/{ledger_id}/dismiss", status_code=202)
async def dismiss(entry: TheEntry, world: TheWorld) -> None:
    await gestures.dismiss(world, entry)


@router.post("/messages/{ledger_id}/unsubscribe")
async def unsubscribe(entry: TheEntry, world: TheWorld) -> dict[str, Any] | None:
    followed = await gestures.unsubscribe(world, entry)
    return asdict(followed) if followed else None


@router.post("/messages/{ledger_id}/spam", status_code=202)
async def complain(entry: TheEntry, world: TheWorld) -> None:
    await gestures.complain(world, entry)


@router.post("/calls/{ledger_id}/result", status_code=202)
async def end_call(entry: TheEntry, order: Result, world: TheWorld) -> None:
    await gestures.end_call(world, entry, order.result)


@router.post("/calls/{ledger_id}/key")
async def press_key(entry: TheEntry, order: Key, world: TheWorld) -> dict[str, str | None]:
    """Press a key in a call by a machine."""
    return {"connected_with": await gestures.press_key(world, entry, order.key)}


@router.post("/inbound", status_code=202)
async def write(order: Inbound, world: TheWorld) -> Entry:
    return await gestures.write(
        world, order.from_, order.to, order.text, order.channel, picture=order.picture, told=order.told
    )
