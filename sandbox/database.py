"""The sandbox's memory: one SQLite database, in a file or, for a passing run, in memory."""

import sqlite3
from pathlib import Path

SCHEMA = """
create table if not exists ledger (
    id integer primary key autoincrement,
    provider text not null,
    channel text not null,
    direction text not null,
    provider_id text not null,
    message_id text,
    address text not null,
    sender text not null,
    status text not null,
    statuses text not null,
    subject text,
    text text not null,
    html text,
    details text not null,
    at real not null
);
create index if not exists ledger_by_message on ledger (message_id);
create index if not exists ledger_by_address on ledger (address);
create index if not exists ledger_by_provider_id on ledger (provider, provider_id);

create table if not exists people (
    key text primary key,
    record text not null
);

create table if not exists blocks (
    provider text not null,
    address text not null,
    sender text not null,
    reason text not null,
    primary key (provider, address, sender)
);

create table if not exists faults (
    id integer primary key autoincrement,
    provider text not null,
    address text not null,
    left integer not null,
    record text not null
);

create table if not exists struck (
    kind text primary key,
    calls integer not null
);

create table if not exists callbacks (
    id integer primary key autoincrement,
    ledger_id integer not null references ledger (id),
    kind text not null,
    url text,
    status text,
    payload text not null,
    token text not null,
    due real not null,
    attempts integer not null default 0,
    state text not null default 'waiting',
    answer text
);
create index if not exists callbacks_waiting on callbacks (due) where state = 'waiting';

create table if not exists browsers (
    endpoint text primary key,
    private_key text not null,
    auth text not null,
    server_key text
);

create table if not exists desk (
    id integer primary key,
    record text not null,
    alert integer not null,
    told real not null
);

create table if not exists whatsapp_templates (
    sid text primary key,
    record text not null
);
"""


def connect(path: Path | None) -> sqlite3.Connection:
    """Open the database and its tables; `None` keeps it in memory.

    WAL with synchronous=NORMAL outlives a kill -9 of the process, which is what a test does to it.
    """
    connection = sqlite3.connect(path or ":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    connection.executescript(SCHEMA)
    return connection
