"""What is asked of `deliver`: a message, and how whoever asks for it wants it treated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from domain.clock import Clock
from domain.messages import DEFAULT_TOPIC, Channel, Content, DeliverRequest, MessageClass
from store.messages import Addressee, Proposal, Row
from workflows.audience import audience
from workflows.declaration import Declaration


@dataclass(frozen=True)
class Manner:
    """How whoever asks for a message wants it to be treated.

    Attributes:
        topic: What it writes about, one of the policy's.
        priority: 1 (most important) to 5.
        gives_way: Whether it is dropped where it would have to wait for a slot.
        audience: The segment it is for; None if it is for whoever it is asked for.
        leaves_alone: Journey time for which it leaves alone whoever a campaign has written to; None: for none.
        goal: Event of the customer after which it is not sent any more.
        held_out: Share of customers who get none, for comparison.
        says_once: Whether what the customer has seen of the stay by one channel is not sent by another.
        facts: SQL that gives the text a row each, by name.
        content: What is said, where no template says it: a person of ours has written it.
        number: The phone number it goes to, if not to the customer's own.
    """

    topic: str = DEFAULT_TOPIC
    priority: int = 3
    gives_way: bool = False
    audience: str | None = None
    leaves_alone: timedelta | None = None
    goal: str | None = None
    held_out: float = 0
    says_once: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    content: Content | None = None
    number: str | None = None


def of_journey(declaration: Declaration, trigger: Mapping[str, Any]) -> Manner:
    """Return the manner a journey declares.

    Args:
        trigger: Properties of the event the stay began with.
    """
    return Manner(
        topic=declaration.topic,
        priority=declaration.priority,
        gives_way=declaration.gives_way,
        audience=audience(declaration, trigger),
        says_once=declaration.says_once,
        facts=declaration.facts,
    )


@dataclass(frozen=True)
class Asked:
    """A message that is asked for, with its customer, whose row is locked.

    Attributes:
        row: What the outbox has of it; None if it was never decided about.
    """

    proposal: Proposal
    addressee: Addressee
    manner: Manner
    clock: Clock
    row: Row | None

    @property
    def request(self) -> DeliverRequest:
        """As the run asks, with the channel that was chosen."""
        return self.proposal.request

    @property
    def channel(self) -> Channel:
        """By which it goes."""
        return self.request.draft.channel

    @property
    def recipient(self) -> str | None:
        """Where the channel reaches the customer; None if it does not."""
        return self.addressee.person.address(self.channel)

    @property
    def is_marketing(self) -> bool:
        """Whether it needs consent, and a way out."""
        return self.request.draft.message_class is MessageClass.MARKETING
