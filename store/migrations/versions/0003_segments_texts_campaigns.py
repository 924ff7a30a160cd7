"""Segments, versions of texts, campaigns."""

from alembic import op

revision = "0003"
down_revision = "0002"

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
        retired_by text,
        retired_at timestamptz,
        unique (template, channel, locale, edition, number)
    )
    """,
    "create unique index one_published on texts (template, channel, locale, edition) where status = 'published'",
)

STATEMENTS: tuple[str, ...] = TEXTS


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
