"""Who was merged into a customer is found without reading everybody."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("create index on customers (merged_into) where merged_into is not null")
