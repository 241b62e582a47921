"""Decisions are found by the act they were taken in: its page follows hundreds of dossiers until they are stored.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.create_index('ix_decision_batch_id', 'decision', ['batch_id'], unique=False)


def downgrade() -> None:
    """Takes the index away; the decisions stay."""
    op.drop_index('ix_decision_batch_id', table_name='decision')
