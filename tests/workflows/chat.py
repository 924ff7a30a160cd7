"""How the tests of bots and conversations speak: a person's chat, and the people of ours at its other end."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from activities.conversations import Conversations
from activities.whatsapp import Senders
from api.hearing import Written, hear
from domain.conversations import Conversation
from domain.messages import Channel
from store import callbacks, consents, conversations, whatsapp
from tests.world import Person, World


@dataclass
class Chat:
    """A person's chat with us."""

    world: World
    person: Person
    channel: Channel = Channel.WHATSAPP

    async def presses(self, button: str, under: str | None = None) -> int | None:
        """Press a button under the newest message, or the newest of a text that is named."""
        message = [row for row in await self.shown() if under in (None, row["template"].split("/")[-1])][-1]
        titles = {each["id"]: each["title"] for each in (message["content"] or {}).get("buttons", [])}
        assert button in titles, f"{message['template']} has no button {button}: {titles}"
        return await self._comes(titles[button], button=button, about=message["id"])

    async def writes(self, text: str) -> int | None:
        """Write words."""
        return await self._comes(text)

    async def shown(self) -> list[asyncpg.Record]:
        """What is on the person's screen."""
        return [
            row
            for row in await self.world.messages_of(self.person, self.channel)
            if row["status"] not in ("waiting", "skipped", "failed")
        ]

    async def says(self) -> list[str]:
        """The texts we have sent by the channel, by name."""
        return [row["template"].split("/")[-1] for row in await self.shown() if row["journey"] != "conversation"]

    async def _comes(self, text: str, *, button: str = "", about: UUID | None = None) -> int | None:
        written = Written(self.channel, self.person.phone, text, button, "", quotes=about is not None, sid=uuid4().hex)
        if self.channel is Channel.WHATSAPP:
            # WhatsApp knows of it as we do: free text is taken from now on.
            order = {"from": self.person.phone, "to": self._sender(), "text": text, "channel": "whatsapp"}
            told = await self.world.providers.post("/_sandbox/inbound", json={**order, "told": False})
            told.raise_for_status()
        async with self.world.pool.acquire() as connection, connection.transaction():
            message = about or await callbacks.answered(connection, self.channel, self.person.phone, None)
            await consents.lock(connection, message=message, address=self.person.phone)
            if self.channel is Channel.WHATSAPP:
                await whatsapp.heard(connection, self.person.phone, self._sender())
            subject = await callbacks.subject(connection, message, (self.channel,))
            conversation = await hear(connection, self.world.terms, written, subject)
        await self.world.dispatch(self.person)
        return conversation

    def _sender(self) -> str:
        """The number of ours they write to."""
        provider = self.world.deliver.channels[Channel.WHATSAPP]
        assert isinstance(provider, Senders)
        return provider.senders[0]

    # The other end.

    async def conversation(self, number: int) -> Conversation:
        """A conversation as operators see it."""
        async with self.world.pool.acquire() as connection:
            found = await conversations.read(connection, number)
        assert found is not None
        return found

    async def notices(self, number: int) -> list[tuple[str, bool]]:
        """What the operators' tool is to be told of a conversation: what, and whether it alerts."""
        rows = await self.world.pool.fetch(
            "select kind, alert from operator_notices where conversation_id = $1 order by place", number
        )
        return [(row["kind"].removeprefix("conversation."), row["alert"]) for row in rows]


def activities(world: World, operators: Any = None) -> Conversations:
    """What the worker does about conversations."""
    return Conversations(world.pool, world.deliver, operators)
