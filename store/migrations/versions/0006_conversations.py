"""Conversations: what customers and people of ours write to each other, and what the operators' tool is told of it."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    # `enrolment_id` is the stay the operators' answers belong to, as every message belongs to one. `address` is the
    # number the customer writes from. Wall time throughout: the provider's window is.
    """
    create table conversations (
        id bigint generated always as identity primary key,
        customer_id bigint not null references customers,
        channel text not null check (channel in ('sms', 'whatsapp')),
        address text,
        enrolment_id bigint not null references enrolments,
        reason text not null,
        opened_by text not null,
        opened_at timestamptz not null default now(),
        alerted_at timestamptz,
        closed_by text,
        closed_at timestamptz
    )
    """,
    "create unique index one_conversation on conversations (customer_id, channel) where closed_at is null",
    "create index on conversations (customer_id)",
    # What a customer wrote by a channel (`author` is null), whoever it was for, and what operators answered.
    # `answers` is the message of ours it answers; `message_id` the one that carries it. Of an answer: `done_at` is
    # when it had left or never will (`refused`).
    """
    create table conversation_lines (
        id bigint generated always as identity primary key,
        customer_id bigint not null references customers,
        conversation_id bigint references conversations,
        channel text not null,
        author text,
        text text not null,
        choice text,
        answers uuid references messages,
        message_id uuid,
        request_id uuid,
        at timestamptz not null default now(),
        done_at timestamptz,
        refused text
    )
    """,
    "create index on conversation_lines (customer_id, channel, at)",
    "create index on conversation_lines (answers)",
    "create unique index on conversation_lines (conversation_id, request_id)",
    "create unique index on conversation_lines (message_id)",
    """
    create index lines_to_send on conversation_lines (conversation_id)
    where message_id is not null and done_at is null
    """,
    # What the operators' tool is to be told. The words are added when it is told, so none are kept here.
    """
    create table operator_notices (
        id uuid primary key default gen_random_uuid(),
        place bigint generated always as identity,
        conversation_id bigint not null references conversations,
        kind text not null,
        line_id bigint references conversation_lines on delete cascade,
        alert boolean not null default false,
        created_at timestamptz not null default now(),
        attempts int not null default 0,
        answer text,
        done_at timestamptz
    )
    """,
    "create index on operator_notices (conversation_id, place)",
    "create index notices_to_tell on operator_notices (conversation_id) where done_at is null",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
