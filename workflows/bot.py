"""A bot: it asks by buttons, hands over to a person who is called, and does not lose who falls silent."""

from datetime import timedelta

import typing_extensions
from pydantic import Field

from domain.conversations import OPERATOR
from domain.messages import Draft, MessageClass, Status
from workflows.declaration import Parameters
from workflows.drafts import whatsapp
from workflows.journey import Journey


class Patience(Parameters):
    """What every bot may be told; journey time."""

    silent_after: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0))


B = typing_extensions.TypeVar("B", bound=Patience, default=Patience)


class _Ended(Exception):
    """The talk is over before its end."""


class _FellSilent(_Ended):
    """Nobody pressed a button in time."""


class _TakenOver(_Ended):
    """A person of ours talks with the customer from now on."""


class _Unreachable(_Ended):
    """What the bot says does not arrive."""


class Bot(Journey[B]):
    """The class bots are built on: an author writes `talk()`, and `fell_silent()` for who leaves it.

    Words of the customer's own get one hint; who goes on writing, or presses "Call an operator", is handed over,
    and the bot says no more. What it says is an answer to the customer, so it passes quiet hours and caps.
    """

    _parameters_model = Patience

    async def talk(self) -> None:
        """Lead the talk. Ends the journey when it returns."""
        raise NotImplementedError

    async def fell_silent(self) -> None:
        """Decide about who left the talk without an end."""

    async def steps(self) -> None:
        """Lead the talk to one of its ends."""
        try:
            await self.talk()
        except _FellSilent:
            await self.fell_silent()
        except _Ended:
            return

    async def choose(self, question: Draft) -> str:
        """Ask by buttons, and return the id of the one that was pressed."""
        while True:
            reply = await self.ask(_at_once(question), within=self.parameters.silent_after)
            if reply is None:
                raise _FellSilent if self._arrived(question) else _Unreachable
            if reply.choice == OPERATOR:
                raise _TakenOver
            if reply.choice is not None:
                return reply.choice
            # Whoever writes again is given to an operator where the words come in: they stay in PostgreSQL.
            await self.send(_at_once(whatsapp("bot/hint")))

    async def say(self, *drafts: Draft) -> None:
        """Say something that asks nothing."""
        await self.send(*map(_at_once, drafts))

    def _arrived(self, question: Draft) -> bool:
        delivery = self._deliveries[question.step]
        return delivery.gone and self._statuses.get(str(delivery.message)) is not Status.FAILED


def _at_once(draft: Draft) -> Draft:
    """A bot answers when it is spoken to, and says the same thing again where the talk comes back to it."""
    return draft.model_copy(update={"message_class": MessageClass.TRANSACTIONAL, "again": True})
