"""Browsers that take pushes, and what is shown on the client's own site and app."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    # Of a browser's subscription the token is its endpoint; these two are what is encrypted to (RFC 8291).
    """
    alter table devices
        add column p256dh text,
        add column auth text,
        add constraint both_keys check ((p256dh is null) = (auth is null))
    """,
    # `number` counts the showings of one message, `journey_at` is journey time.
    """
    create table impressions (
        message_id uuid not null references messages,
        number int not null check (number > 0),
        surface text not null,
        at timestamptz not null default now(),
        journey_at timestamptz not null,
        primary key (message_id, number)
    )
    """,
    "create index on messages (customer_id, sequence) where channel in ('inbox', 'popup', 'banner')",
    # Whoever shows a customer's messages live looks again: something came, was put away, or is over.
    """
    create function shown_changed() returns trigger language plpgsql as $$
    begin
        perform pg_notify('shown', new.customer_id::text);
        return null;
    end $$
    """,
    """
    create trigger shown_changed after insert or update of status, content, dismissed_at, customer_id on messages
    for each row when (new.channel in ('inbox', 'popup', 'banner')) execute function shown_changed()
    """,
    """
    create function shown_is_over() returns trigger language plpgsql as $$
    begin
        if exists (select from messages where enrolment_id = new.id and channel in ('popup', 'banner')) then
            perform pg_notify('shown', new.customer_id::text);
        end if;
        return null;
    end $$
    """,
    """
    create trigger shown_is_over after update of outcome on enrolments
    for each row when (old.outcome is null and new.outcome is not null) execute function shown_is_over()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
