"""Segments, versions of texts, campaigns."""

from alembic import op

revision = "0003"
down_revision = "0002"

SEGMENTS = (
    # `scanned` tells by which meaning (its form and those it names) all customers were last looked at.
    """
    create table segments (
        id int generated always as identity primary key,
        name text not null unique,
        version int not null,
        created_at timestamptz not null default now(),
        scanned text,
        scanned_at timestamptz
    )
    """,
    # Never changed, only added to. `origin` is the code, or the API, where `author` is the name of the key.
    """
    create table segment_versions (
        segment_id int not null references segments on delete cascade,
        version int not null,
        story text not null,
        form jsonb not null,
        origin text not null check (origin in ('code', 'api')),
        author text not null,
        note text,
        created_at timestamptz not null default now(),
        primary key (segment_id, version)
    )
    """,
    """
    create table segment_members (
        segment_id int not null references segments on delete cascade,
        customer_id bigint not null references customers,
        entered_at timestamptz not null default now(),
        primary key (segment_id, customer_id)
    )
    """,
    "create index on segment_members (customer_id)",
    # A scan goes through all customers by one segment; `cursor` is the last customer it has done with. A look
    # goes through some of them by all segments.
    """
    create table segment_evaluations (
        id bigint generated always as identity primary key,
        segment_id int references segments on delete cascade,
        meaning text,
        asked_by text,
        started_at timestamptz not null default now(),
        finished_at timestamptz,
        cursor bigint not null default 0,
        examined bigint not null default 0,
        entered bigint not null default 0,
        departed bigint not null default 0,
        failed text
    )
    """,
    "create index on segment_evaluations (segment_id, id desc)",
    # What SQL in the code rests on, such as the fifths of all buyers.
    """
    create table segment_bases (
        key text primary key,
        value jsonb not null,
        worked_out_at timestamptz not null default now()
    )
    """,
    # Whose segments time alone may change, and when first (wall time). It refers to nobody: a scan must not
    # wait for the customers it only looks at.
    """
    create table segment_looks (
        customer_id bigint primary key,
        look_at timestamptz not null
    )
    """,
    "create index on segment_looks (look_at)",
    # To whom something has happened since they were last looked at. Rows are only added, whoever adds them: no
    # event waits for another one here, nor for whoever looks.
    """
    create table segment_touches (
        id bigint generated always as identity primary key,
        customer_id bigint not null
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)
    """,
    # What customers did, newest first, by name and all together.
    'create index on events (customer_id, name, "timestamp")',
    """
    create index activity on events (customer_id, "timestamp")
    where type in ('track', 'page', 'screen') and source not like 'operator:%'
    """,
    "create index on customers (id) where speed is not null",
    """
    create function customers_did() returns trigger language plpgsql as $$
    begin
        insert into segment_touches (customer_id)
        select distinct customer_id from added where type in ('track', 'page', 'screen');
        return null;
    end $$
    """,
    """
    create trigger customers_did after insert on events referencing new table as added
    for each statement execute function customers_did()
    """,
    """
    create function customer_changed() returns trigger language plpgsql as $$
    begin
        insert into segment_touches (customer_id) values (new.id);
        return null;
    end $$
    """,
    "create trigger customer_added after insert on customers for each row execute function customer_changed()",
    """
    create trigger customer_changed
    after update of email, phone, locale, time_zone, traits, speed, clock_origin on customers for each row
    when ((old.email, old.phone, old.locale, old.time_zone, old.traits, old.speed, old.clock_origin)
          is distinct from (new.email, new.phone, new.locale, new.time_zone, new.traits, new.speed, new.clock_origin))
    execute function customer_changed()
    """,
    # A token that moves to another customer is one of them more and of another less.
    """
    create function device_changed() returns trigger language plpgsql as $$
    begin
        if tg_op <> 'INSERT' then
            insert into segment_touches (customer_id) values (old.customer_id);
        end if;
        if tg_op <> 'DELETE' then
            insert into segment_touches (customer_id) values (new.customer_id);
        end if;
        return null;
    end $$
    """,
    """
    create trigger device_added after insert or delete on devices
    for each row execute function device_changed()
    """,
    """
    create trigger device_changed after update on devices for each row
    when ((old.customer_id, old.dead_at) is distinct from (new.customer_id, new.dead_at))
    execute function device_changed()
    """,
    # Another speed moves every window: all segments are scanned anew.
    """
    create function time_changed() returns trigger language plpgsql as $$
    begin
        update segments set scanned = null;
        return null;
    end $$
    """,
    """
    create trigger time_changed after update of origin, speed on installation
    for each row when ((old.origin, old.speed) is distinct from (new.origin, new.speed))
    execute function time_changed()
    """,
)

# Texts written without a release. A published one takes the place of the file of its name; an edition is
# for one month, and no file's. A version that was published once can be published again.
TEXTS = (
    """
    create table texts (
        id bigint generated always as identity primary key,
        template text not null,
        channel text not null,
        locale text not null,
        edition text not null default '',
        number int not null,
        source text not null,
        status text not null check (status in ('draft', 'published', 'retired')),
        note text,
        created_by text not null,
        created_at timestamptz not null default now(),
        published_by text,
        published_at timestamptz,
        replaced int,
        retired_by text,
        retired_at timestamptz,
        unique (template, channel, locale, edition, number)
    )
    """,
    "create unique index one_published on texts (template, channel, locale, edition) where status = 'published'",
)

# A campaign's `form` is never changed once it has begun. `cursor` is the last customer its planning has done with.
CAMPAIGNS = (
    """
    create table campaigns (
        id int generated always as identity primary key,
        name text not null unique,
        form jsonb not null,
        status text not null default 'draft' check (status in ('draft', 'running', 'paused', 'stopped', 'finished')),
        created_by text not null,
        created_at timestamptz not null default now(),
        started_by text,
        started_at timestamptz,
        cursor bigint not null default 0,
        excluded bigint not null default 0,
        planned_at timestamptz,
        ended_at timestamptz
    )
    """,
    "create index on campaigns (id) where status in ('running', 'paused', 'stopped') and ended_at is null",
    # `due_at` is wall time: customers may have journey times of their own.
    """
    create table campaign_recipients (
        campaign_id int not null references campaigns,
        customer_id bigint not null references customers,
        enrolment_id bigint not null unique references enrolments,
        variant text not null,
        step int not null default 0,
        occurrence int not null default 1,
        due_at timestamptz not null,
        expires_at timestamptz not null,
        failures int not null default 0,
        outcome text,
        primary key (campaign_id, customer_id)
    )
    """,
    "create index on campaign_recipients (campaign_id, due_at, customer_id) where outcome is null",
    "create index on campaign_recipients (customer_id)",
    # Whom a campaign has written to lately.
    """
    create index campaign_messages on messages (customer_id, journey_at) where starts_with(journey, 'campaign:')
    """,
)

STATEMENTS: tuple[str, ...] = (*SEGMENTS, *TEXTS, *CAMPAIGNS)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
