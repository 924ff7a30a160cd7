"""Who was merged into a customer is found without reading everybody; open pages hear of what silences a customer."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    "create index on customers (merged_into) where merged_into is not null",
    # Pop-ups go and come back at once: the function is of migration 0004.
    """
    create trigger shown_changed after insert on consents
    for each row when (new.customer_id is not null) execute function shown_changed()
    """,
    "create trigger shown_changed after insert or update on blocks for each row execute function shown_changed()",
    "create trigger shown_changed after insert or update on dialogues for each row execute function shown_changed()",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
