"""The queue of all states is read by time: an index begins with it, so that a page costs the same wherever it lies.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.create_index('ix_submission_opened', 'submission', ['opened_at', 'id'], unique=False)


def downgrade() -> None:
    """Takes the index away; the submissions stay."""
    op.drop_index('ix_submission_opened', table_name='submission')
