"""How often each bank approves, kept up to date by the events that tell of its decisions; and every click."""

from alembic import op

revision = "0007"
down_revision = "0006"

DECISIONS = """
    select left(v.properties ->> 'bank', 200) as bank, left(coalesce(c.traits ->> 'region', ''), 200) as region,
           count(*) filter (where v.name = 'credit_issued') as approved,
           count(*) filter (where v.name = 'credit_application_refused') as refused
    from {0} v join customers c on c.id = v.customer_id
    where v.name in ('credit_issued', 'credit_application_refused') and v.properties ->> 'bank' is not null
    group by 1, 2 order by 1, 2
"""

STATEMENTS = (
    # Customers' region when the bank decided; "" where it is not known.
    """
    create table bank_rates (
        bank text not null,
        region text not null,
        approved bigint not null,
        refused bigint not null,
        primary key (bank, region)
    )
    """,
    f"insert into bank_rates (bank, region, approved, refused) {DECISIONS.format('events')}",
    # In the order of the key, after the customers' rows: transactions never wait for each other in a circle.
    f"""
    create function bank_decided() returns trigger language plpgsql as $$
    begin
        insert into bank_rates (bank, region, approved, refused) {DECISIONS.format("added")}
        on conflict (bank, region) do update set
            approved = bank_rates.approved + excluded.approved, refused = bank_rates.refused + excluded.refused;
        return null;
    end $$
    """,
    """
    create trigger bank_decided after insert on events referencing new table as added
    for each statement execute function bank_decided()
    """,
    # `messages.clicked_at` is the first click of each; the last click before something happened may be a later one.
    """
    create table clicks (
        message_id uuid not null references messages on delete cascade,
        place int not null,
        at timestamptz not null default now()
    )
    """,
    "create index on clicks (message_id, at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
