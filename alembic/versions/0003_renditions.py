"""Renditions: PDF/A made from Office and image components after storing.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')


def upgrade() -> None:
    op.create_table('rendition',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('aip_id', sa.Uuid(), nullable=False),
    sa.Column('component_id', sa.String(length=100), nullable=False),
    sa.Column('store_key', sa.String(length=500), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('flavour', sa.String(length=10), nullable=False),
    sa.Column('conforms', sa.Boolean(), nullable=False),
    sa.Column('checker', sa.String(length=200), nullable=False),
    sa.Column('problems', _JSON, nullable=False),
    sa.Column('page_count', sa.Integer(), nullable=False),
    sa.Column('copies', _JSON, nullable=False),
    sa.Column('made_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("length(sha256) = 64", name=op.f('ck_rendition_sha256')),
    sa.ForeignKeyConstraint(['aip_id'], ['aip.id'], name=op.f('fk_rendition_aip_id_aip'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rendition')),
    sa.UniqueConstraint('aip_id', 'component_id', name=op.f('uq_rendition_aip_id_component_id'))
    )


def downgrade() -> None:
    op.drop_table('rendition')
