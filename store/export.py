"""Everything that is held on a customer, for the customer to see: GDPR, articles 15 and 20.

Each section is a table; what of it is left out, and why, is in `WITHHELD`. A test holds both against
the catalogue of the database, so a new column is either here or there.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from store import held
from store.database import Connection

FORMAT = 1
"""Changes when what was exported before would be read wrongly."""

AT_ONCE = 200
"""Rows in memory at a time."""


@dataclass(frozen=True)
class Section:
    """A part of an export.

    Attributes:
        where: Which rows are the customer's: SQL over `held.WHO`.
    """

    table: str
    says: str
    columns: tuple[str, ...]
    where: str
    order: str = "id"


SECTIONS: dict[str, Section] = {
    "profile": Section(
        "customers",
        "Who they are; more than one entry if they were several customers that turned out to be one.",
        (
            "id",
            "created_at",
            "email",
            "phone",
            "locale",
            "time_zone",
            "traits",
            "speed",
            "clock_origin",
            "identified_at",
            "merged_into",
        ),
        "id in (with recursive whole as (select who.customer as id "
        "union select c.id from customers c join whole w on c.merged_into = w.id) select id from whole)",
        "merged_into nulls first, id",
    ),
    "identities": Section(
        "identities", "Ids by which your calls name them.", ("kind", "value"), held.MINE, "kind, value"
    ),
    "devices": Section(
        "devices",
        "Apps and browsers that take or took pushes.",
        ("token", "platform", "p256dh", "auth", "added_at", "dead_at"),
        held.MINE,
        "added_at, token",
    ),
    "events": Section(
        "events",
        "What they did, and what providers reported that a journey waited for.",
        (
            "id",
            "source",
            "message_id",
            "type",
            "name",
            "properties",
            "context",
            "timestamp",
            "received_at",
            "dispatched_at",
            "parked_at",
            "note",
        ),
        held.MINE,
    ),
    "rejected_events": Section(
        "rejected_events",
        "Calls about them that were not accepted.",
        ("id", "source", "received_at", "message_id", "field", "rule", "body", "resent_at"),
        held.REJECTED,
    ),
    "enrolments": Section(
        "enrolments",
        "Their stays in journeys; `enrolled_at` is journey time.",
        (
            "id",
            "journey",
            "key",
            "workflow_id",
            "trigger_event_id",
            "enrolled_at",
            "created_at",
            "outcome",
            "outcome_event_id",
            "restart_event_id",
            "ended_at",
        ),
        held.MINE,
    ),
    "segments": Section(
        "segment_members",
        "Numbers of the segments they are in, as last looked at.",
        ("segment_id", "entered_at"),
        held.MINE,
        "segment_id",
    ),
    "campaigns": Section(
        "campaign_recipients",
        "Campaigns they were chosen for.",
        ("campaign_id", "enrolment_id", "variant", "due_at", "expires_at", "outcome"),
        held.MINE,
        "campaign_id",
    ),
    "messages": Section(
        "messages",
        "Every message to them that was decided about, with its text; `journey_at`, `not_before` and `expires_at` are "
        "journey time.",
        (
            "id",
            "enrolment_id",
            "journey",
            "step",
            "occurrence",
            "channel",
            "template",
            "template_version",
            "locale",
            "message_class",
            "priority",
            "recipient",
            "content",
            "links",
            "status",
            "reason",
            "attempt",
            "provider",
            "provider_id",
            "resolution",
            "evidence",
            "policy_version",
            "journey_at",
            "not_before",
            "expires_at",
            "created_at",
            "sending_at",
            "accepted_at",
            "delivered_at",
            "read_at",
            "clicked_at",
            "replied_at",
            "failed_at",
            "dismissed_at",
            "unknown_at",
            "resolved_at",
            "sent_again_at",
        ),
        held.MINE,
        "created_at, id",
    ),
    "impressions": Section(
        "impressions",
        "How often pop-ups and banners were shown to them; `journey_at` is journey time.",
        ("message_id", "number", "surface", "at", "journey_at"),
        held.OF_MY_MESSAGES,
        "at, message_id",
    ),
    "decisions": Section(
        "decisions",
        "Why messages were held back or dropped; `until`, `first_at` and `last_at` are journey time.",
        (
            "id",
            "message_id",
            "verdict",
            "rule",
            "reason",
            "until",
            "policy_version",
            "first_at",
            "last_at",
            "times",
            "decided_at",
        ),
        held.OF_MY_MESSAGES,
    ),
    "clicks": Section(
        "clicks",
        "When they followed which link of a message; the links are the message's, by place.",
        ("message_id", "place", "at"),
        held.OF_MY_MESSAGES,
        "at, message_id, place",
    ),
    "consents": Section(
        "consents",
        "What they allowed and forbade, and what was said for the addresses they are reached at.",
        ("id", "customer_id", "address", "channel", "topic", "given", "source", "proof", "at"),
        f"({held.MINE} or (customer_id is null and (address = any(who.addresses) "
        "or address in (select address_hash(each) from unnest(who.addresses) each))))",
    ),
    "suppressions": Section(
        "suppressions",
        "Where nothing at all is sent, and why.",
        ("channel", "recipient", "reason", "source", "created_at"),
        "(recipient = any(who.addresses) or recipient in (select address_hash(each) from unnest(who.addresses) each))",
        "created_at, channel, recipient",
    ),
    "blocks": Section(
        "blocks",
        "Times in which they were left alone; `begins_at` and `until` are journey time.",
        ("id", "name", "source", "begins_at", "until", "event_id", "lifted_at", "created_at"),
        held.MINE,
    ),
    "dialogues": Section(
        "dialogues",
        "Times in which a person of yours talked with them, journey time.",
        ("id", "source", "opened_at", "closed_at", "created_at"),
        held.MINE,
    ),
    "conversations": Section(
        "conversations",
        "Conversations people of yours had with them.",
        ("id", "channel", "address", "reason", "opened_by", "opened_at", "alerted_at", "closed_by", "closed_at"),
        held.MINE,
    ),
    "conversation_lines": Section(
        "conversation_lines",
        "What they wrote by SMS and WhatsApp, and what was answered.",
        (
            "id",
            "conversation_id",
            "channel",
            "author",
            "text",
            "choice",
            "answers",
            "message_id",
            "at",
            "done_at",
            "refused",
        ),
        held.MINE,
    ),
    "callbacks": Section(
        "callbacks",
        "What providers reported and what they wrote back, as it came.",
        ("provider", "callback_id", "message_id", "address", "received_at", "body"),
        held.CALLBACKS,
        "received_at, provider, callback_id",
    ),
    "whatsapp_conversations": Section(
        "whatsapp_conversations",
        "Which of our numbers they wrote to by WhatsApp, and which wrote to them, and when last.",
        ("address", "sender", "wrote_at", "sent_at"),
        held.CONVERSATIONS,
        "sender",
    ),
    "audit": Section(
        "audit",
        "What operators did about them.",
        ("id", "at", "actor", "action", "subject", "detail"),
        "subject @> jsonb_build_object('customer', who.customer)",
    ),
}

_OURS = "says nothing of a customer"
_DEAD = "exists only of the erased, of whom nothing can be exported"
_PAID = "what sending costs us"

_NEXT_LOOK = "when they are to be looked at again"

WITHHELD: dict[str, str] = {
    "alembic_version": _OURS,
    "api_keys": _OURS,
    "bank_rates": _OURS,
    "api_tokens": _OURS,
    "installation": _OURS,
    "policies": _OURS,
    "segments": _OURS,
    "segment_versions": _OURS,
    "segment_evaluations": _OURS,
    "segment_bases": "is of all customers together",
    "segment_looks": _NEXT_LOOK,
    "segment_touches": _NEXT_LOOK,
    "segment_members.customer_id": "is the profile's id",
    "texts": _OURS,
    "campaigns": _OURS,
    "campaign_recipients.customer_id": "is the profile's id",
    "campaign_recipients.step": "how far the sending has come",
    "campaign_recipients.occurrence": "how far the sending has come",
    "campaign_recipients.failures": "how far the sending has come",
    "audit_answers": "HTTP statuses of what is under audit",
    "erasures": _DEAD,
    "provider_erasures": _DEAD,
    "tombstones": _DEAD,
    "customers.erased_at": _DEAD,
    "identities.customer_id": "is the profile's id",
    "devices.customer_id": "is the profile's id",
    "events.customer_id": "is the profile's id",
    "enrolments.customer_id": "is the profile's id",
    "messages.customer_id": "is the profile's id",
    "blocks.customer_id": "is the profile's id",
    "dialogues.customer_id": "is the profile's id",
    "conversations.customer_id": "is the profile's id",
    "conversations.enrolment_id": "the stay its answers belong to",
    "conversation_lines.customer_id": "is the profile's id",
    "conversation_lines.request_id": "an id the operators' tool gives its request",
    "operator_notices": "what the operators' tool was told, by number; the words are in the conversations",
    "messages.awaits": "which statuses a run listens to",
    "messages.sequence": "a place in an order of ours",
    "messages.decided_after": "a place in an order of ours",
    "messages.lookups": "how often a provider was asked",
    "messages.look_after": "when a provider is asked next",
    "messages.cost": _PAID,
    "messages.currency": _PAID,
    "messages.price": _PAID,
    "messages.price_currency": _PAID,
    "whatsapp_templates": _OURS,
    "sender_blocks": _OURS,
}
"""Tables and columns that are in no section, and why."""


async def write(connection: Connection, customer: int) -> AsyncIterator[bytes]:
    """Yield an export as JSON, piece by piece, all of it as it is at one moment.

    The layout: ``format``, ``exported_at``, ``customer`` (our number), then a list of objects for each of `SECTIONS`.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        whose = await held.whose(connection, customer)
        head = {"format": FORMAT, "exported_at": datetime.now(UTC), "customer": customer}
        yield orjson.dumps(head).removesuffix(b"}")
        for name, section in SECTIONS.items():
            yield b"," + orjson.dumps(name) + b":["
            between = b""
            async for row in connection.cursor(_query(section), *whose.arguments, prefetch=AT_ONCE):
                # asyncpg's UUIDs are of a class of their own.
                yield between + orjson.dumps(dict(row), default=str)
                between = b","
            yield b"]"
    yield b"}\n"


def _query(section: Section) -> str:
    columns = ", ".join(f't."{column}"' for column in section.columns)
    return (
        f"with {held.WHO} select {columns} from (select t.* from {section.table} t, who where {section.where}) t "
        f"order by {section.order}"
    )


def layout() -> dict[str, Any]:
    """Return the JSON schema of an export."""
    sections = {
        name: {
            "type": "array",
            "description": section.says,
            "items": {"type": "object", "properties": {column: {} for column in section.columns}},
        }
        for name, section in SECTIONS.items()
    }
    head = {
        "format": {"type": "integer", "description": "Version of this layout.", "const": FORMAT},
        "exported_at": {"type": "string", "format": "date-time"},
        "customer": {"type": "integer", "description": "Our number of the customer."},
    }
    return {"type": "object", "properties": {**head, **sections}, "required": [*head, *sections]}
