"""Uncertain sends and their settling, the contact policy's facts and decisions, consent, privacy, audit."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    # `sequence` is drawn from the events' own: a claim has a place among its customer's facts.
    # `decided_after` is the newest event the run knew of; `not_before` is set while the policy or the
    # provider holds the message back. `unknown_at` is when the first call was made of which nobody knows the
    # end, `look_after` when somebody is to look into it; `resolution` and `evidence` tell how it was settled.
    """
    alter table messages
        add column journey text,
        add column priority int not null default 3,
        add column sequence bigint,
        add column decided_after bigint,
        add column not_before timestamptz,
        add column expires_at timestamptz,
        add column policy_version text,
        add column unknown_at timestamptz,
        add column lookups int not null default 0,
        add column look_after timestamptz,
        add column sent_again_at timestamptz,
        add column resolution text,
        add column evidence jsonb,
        add column resolved_at timestamptz
    """,
    "update messages m set journey = e.journey from enrolments e where e.id = m.enrolment_id",
    # What earlier releases left open has had its time.
    """
    update messages set unknown_at = sending_at, resolution = 'assumed_sent', resolved_at = now()
    where status = 'unknown'
    """,
    "create index on messages (customer_id, journey_at)",
    "create index on messages (customer_id) where status = 'waiting'",
    "drop index messages_status_idx",
    "create index on messages (status) where status in ('sending', 'waiting')",
    "create index on messages (look_after) where status = 'unknown' and resolved_at is null",
    # The policies this installation has decided by.
    """
    create table policies (
        version text primary key,
        body jsonb not null,
        first_used_at timestamptz not null default now()
    )
    """,
    # Why a message was held back or dropped, each reason once with how often and until when. Times are
    # journey time, `decided_at` is the wall's.
    """
    create table decisions (
        id bigint generated always as identity primary key,
        message_id uuid not null references messages,
        verdict text not null check (verdict in ('delay', 'drop')),
        rule text not null,
        reason text not null,
        until timestamptz,
        policy_version text,
        first_at timestamptz not null,
        last_at timestamptz not null,
        times int not null default 1,
        decided_at timestamptz not null default now(),
        unique (message_id, verdict, rule, reason)
    )
    """,
    # What customers allowed and forbade: never changed, only added to. '*' covers every channel or topic;
    # the newest entry that covers a channel and a topic holds. `address` is set where the wish is about an
    # address, whoever is reached there.
    """
    create table consents (
        id bigint generated always as identity primary key,
        customer_id bigint references customers,
        address text,
        channel text not null,
        topic text not null,
        given boolean not null,
        source text not null,
        proof jsonb not null default '{}',
        at timestamptz not null default now(),
        check (customer_id is not null or address is not null)
    )
    """,
    "create index on consents (customer_id, id desc)",
    "create index on consents (address, id desc) where address is not null",
    # What happened stays as it was: a merge may give it to another customer, an erasure may hide whose it was
    # and empty its proof.
    """
    create function consents_are_only_added() returns trigger language plpgsql as $$
    begin
        if tg_op = 'UPDATE' then
            if (new.channel, new.topic, new.given, new.source, new.at, new.id)
               is not distinct from (old.channel, old.topic, old.given, old.source, old.at, old.id)
               and new.proof in (old.proof, '{}') then
                return new;
            end if;
        end if;
        raise exception 'consents are only added, never changed';
    end $$
    """,
    """
    create trigger consents_are_only_added before update or delete on consents
    for each row execute function consents_are_only_added()
    """,
    """
    create trigger consents_are_not_emptied before truncate on consents
    for each statement execute function consents_are_only_added()
    """,
    # Times of silence: by a rule of the policy (source is its event), or by an operator. Journey time.
    """
    create table blocks (
        id bigint generated always as identity primary key,
        customer_id bigint not null references customers,
        name text not null,
        source text not null,
        begins_at timestamptz not null,
        until timestamptz not null,
        event_id bigint references events on update cascade,
        lifted_at timestamptz,
        created_at timestamptz not null default now()
    )
    """,
    "create index on blocks (customer_id, until)",
    "create index on blocks (event_id) where event_id is not null",
    # A person of ours talks with the customer. Journey time.
    """
    create table dialogues (
        id bigint generated always as identity primary key,
        customer_id bigint not null references customers,
        source text not null,
        opened_at timestamptz not null,
        closed_at timestamptz,
        created_at timestamptz not null default now()
    )
    """,
    "create unique index one_dialogue on dialogues (customer_id) where closed_at is null",
    # Who was merged keeps nothing of their own, so that an erasure finds everything.
    "update customers set locale = null, time_zone = null where merged_into is not null",
    # That somebody was erased, by whom, and what is still to be erased at the providers. `asked_at` is when a
    # run last set out to ask them.
    """
    create table erasures (
        customer_id bigint primary key references customers,
        requested_by text not null,
        requested_at timestamptz not null default now(),
        asked_at timestamptz,
        completed_at timestamptz
    )
    """,
    "create index on erasures (requested_at) where completed_at is null",
    # `subject` is what the provider knows it by; it is forgotten when the provider has answered. `answer` is
    # the newest one, of whoever still has to be asked again too.
    """
    create table provider_erasures (
        id bigint generated always as identity primary key,
        customer_id bigint not null references erasures,
        provider text not null,
        kind text not null,
        message_id uuid unique references messages,
        subject text,
        attempts int not null default 0,
        answer text,
        done_at timestamptz,
        check (done_at is null or subject is null)
    )
    """,
    "create index on provider_erasures (customer_id)",
    # How an address is kept: as its hash, once somebody who was reached there was erased, until they are
    # to be written to again.
    """
    create function kept_address(address text) returns text language sql stable as $$
        select case when exists (select from suppressions where recipient = address_hash(address))
                    then address_hash(address) else lower(address) end
    $$
    """,
    # Who did what as an operator or an administrator: written before it is done, what was answered after it.
    # `subject` holds numbers and names of ours, never an id of a backend nor an address.
    """
    create table audit (
        id bigint generated always as identity primary key,
        at timestamptz not null default clock_timestamp(),
        actor text not null,
        action text not null,
        subject jsonb not null default '{}',
        detail jsonb not null default '{}'
    )
    """,
    "create index on audit (actor, id)",
    "create index on audit (action, id)",
    "create index on audit using gin (subject jsonb_path_ops)",
    """
    create table audit_answers (
        audit_id bigint primary key references audit,
        at timestamptz not null default clock_timestamp(),
        answer text not null,
        detail jsonb not null default '{}'
    )
    """,
    "create index on audit_answers using gin (detail jsonb_path_ops)",
    """
    create function audit_is_only_added() returns trigger language plpgsql as $$
    begin
        raise exception 'the audit log is only added to, never changed';
    end $$
    """,
    """
    create trigger audit_is_only_added before update or delete or truncate on audit
    for each statement execute function audit_is_only_added()
    """,
    """
    create trigger audit_is_only_added before update or delete or truncate on audit_answers
    for each statement execute function audit_is_only_added()
    """,
    # A key is opened by any of its tokens, each with an end of its own. `rate` is events or requests a second,
    # `burst` how many at once. `configured` tokens are those JOURNEYS_KEYS has named.
    """
    create table api_tokens (
        id bigint generated always as identity primary key,
        key text not null references api_keys,
        token_hash bytea not null unique,
        configured boolean not null default false,
        created_at timestamptz not null default now(),
        expires_at timestamptz,
        revoked_at timestamptz,
        last_used_at timestamptz
    )
    """,
    "create index on api_tokens (key)",
    """
    insert into api_tokens (key, token_hash, created_at, revoked_at)
    select name, token_hash, created_at, revoked_at from api_keys order by created_at
    """,
    """
    alter table api_keys
        drop column token_hash,
        add column rate int not null default 1000 check (rate > 0),
        add column burst int not null default 5000 check (burst > 0)
    """,
    # Every API process hears of it at once, whoever makes the change.
    """
    create function keys_changed() returns trigger language plpgsql as $$
    begin
        perform pg_notify('keys', '');
        return null;
    end $$
    """,
    """
    create trigger keys_changed after insert or delete or update of scopes, rate, burst, revoked_at on api_keys
    for each statement execute function keys_changed()
    """,
    """
    create trigger keys_changed after insert or delete or update of key, token_hash, expires_at, revoked_at
    on api_tokens for each statement execute function keys_changed()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
