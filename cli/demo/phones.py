"""Phones and mailboxes: what reaches people, and their gestures, through the sandbox's control API."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from pydantic import AwareDatetime, BaseModel

from cli.demo.people import Person

_LOOK_EVERY = 0.25
"""Wall seconds between two looks at what is new."""


class Effect(BaseModel):
    """A message that took effect at a provider.

    Attributes:
        at: When, wall time.
    """

    id: int
    channel: str
    message_id: str | None
    address: str
    at: AwareDatetime
    text: str = ""
    details: dict[str, Any] = {}

    @property
    def buttons(self) -> list[str]:
        """Ids of the buttons under it."""
        return [button["id"] for button in self.details.get("buttons", [])]


class Phones:
    """Everybody's phones and mailboxes.

    Attributes:
        effects: Whatever took effect at the providers, in order.
    """

    def __init__(self, sandbox: httpx.AsyncClient) -> None:
        self._sandbox = sandbox
        self._received: dict[str, asyncio.Queue[Effect]] = {}
        self.effects: list[Effect] = []

    async def give(self, person: Person[Any]) -> None:
        """Give somebody a phone, a mailbox and a network."""
        received: asyncio.Queue[Effect] = asyncio.Queue()
        self._received.update(dict.fromkeys((person.email, person.phone, person.device), received))
        await self._order(
            "PUT",
            f"people/{person.user_id}",
            {
                "name": person.name,
                "email": person.email,
                "phone": person.phone,
                "device_token": person.device,
                "user_id": person.user_id,
                "delivery": person.kind.network,
            },
        )

    async def subscribe(self, person: Person[Any]) -> None:
        """Let somebody's browser take pushes; the product must know them already."""
        answer = await self._sandbox.post(f"/_sandbox/people/{person.user_id}/browser")
        self._received[answer.raise_for_status().json()["endpoint"]] = self._received[person.phone]

    async def messages(self, person: Person[Any]) -> AsyncIterator[Effect]:
        """Return what reaches somebody, whenever it does."""
        while True:
            yield await self._received[person.phone].get()

    async def deliver(self) -> None:
        """Pass on what is new, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY)

    async def look(self) -> None:
        """Pass on everything that has taken effect up to now."""
        more: int | None = self.effects[-1].id if self.effects else 0
        while more is not None:
            page = (await self._get("ledger", after=more, limit=1000)).json()
            for entry in page["entries"]:
                effect = Effect.model_validate(entry)
                self.effects.append(effect)
                if effect.address in self._received:
                    self._received[effect.address].put_nowait(effect)
            more = page["next_after"]

    async def open(self, effect: Effect) -> bool:
        """Look at a message; False if that cannot be."""
        return await self._gesture(f"messages/{effect.id}/open")

    async def click(self, effect: Effect) -> bool:
        """Follow a message's link; False if it did not arrive, or its link leads nowhere."""
        return await self._gesture(f"messages/{effect.id}/click")

    async def reply(self, effect: Effect, text: str) -> bool:
        """Write back; False if that cannot be."""
        return await self._gesture(f"messages/{effect.id}/reply", {"text": text})

    async def press(self, effect: Effect, button: str) -> bool:
        """Press a button; False if that cannot be."""
        return await self._gesture(f"messages/{effect.id}/button", {"payload": button})

    async def unsubscribe(self, effect: Effect) -> bool:
        """Press the mail program's unsubscribe button; False if the letter did not arrive."""
        return await self._gesture(f"messages/{effect.id}/unsubscribe")

    async def end_call(self, effect: Effect, result: str) -> bool:
        """End a call; False if it has ended already."""
        return await self._gesture(f"calls/{effect.id}/result", {"result": result})

    async def repeated(self) -> Mapping[str, int]:
        """Return the messages that took effect more than once."""
        counts: dict[str, Any] = (await self._get("counts")).json()
        repeated: dict[str, int] = counts["repeated"]
        return repeated

    async def callbacks_waiting(self) -> int:
        """Return how many reports of the providers are still on their way."""
        return int((await self._get("callbacks")).json()["waiting"])

    async def _gesture(self, path: str, order: Mapping[str, Any] | None = None) -> bool:
        answer = await self._sandbox.post(f"/_sandbox/{path}", json=order)
        # 409: a person cannot do this with this message, as with a letter that bounced.
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()
        return answer.is_success

    async def _order(self, method: str, path: str, order: Mapping[str, Any]) -> None:
        (await self._sandbox.request(method, f"/_sandbox/{path}", json=order)).raise_for_status()

    async def _get(self, path: str, **parameters: Any) -> httpx.Response:
        return (await self._sandbox.get(f"/_sandbox/{path}", params=parameters)).raise_for_status()
