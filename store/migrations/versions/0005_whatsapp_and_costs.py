"""WhatsApp's templates, conversations and senders; what messages cost."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    # `cost` is the estimate it was sent by, `price` what the provider says it took, each in its currency.
    """
    alter table messages add cost numeric, add currency text, add price numeric, add price_currency text
    """,
    "create index on messages (created_at) where cost is not null or price is not null",
    # A version is what its form hashes to, so the same words are submitted once. `look_after` is when Twilio is
    # asked next, or first told; wall time, like all times here.
    """
    create table whatsapp_templates (
        id bigint generated always as identity primary key,
        template text not null,
        locale text not null,
        edition text not null default '',
        version text not null,
        category text not null check (category in ('marketing', 'utility', 'authentication')),
        form jsonb not null,
        status text not null default 'requested' check (status in
            ('requested', 'submitted', 'pending', 'approved', 'rejected', 'paused', 'disabled')),
        reason text,
        content_sid text,
        requested_by text not null,
        requested_at timestamptz not null default now(),
        submitted_at timestamptz,
        approved_at timestamptz,
        changed_at timestamptz not null default now(),
        look_after timestamptz not null default now(),
        looks int not null default 0,
        submissions int not null default 1,
        unique (template, locale, edition, version)
    )
    """,
    "create index on whatsapp_templates (look_after)",
    "create index on whatsapp_templates (content_sid)",
    # A number of a customer's and a sender of ours: when the customer last wrote there, and we from there.
    """
    create table whatsapp_conversations (
        address text not null,
        sender text not null,
        wrote_at timestamptz,
        sent_at timestamptz,
        primary key (address, sender)
    )
    """,
    """
    create table sender_blocks (
        sender text primary key,
        code text not null,
        since timestamptz not null default now(),
        until timestamptz not null
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
