"""Text of components for search, failed renditions, and what the approval queue is filtered by.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    """Text of components for search, failed renditions, and what the approval queue is filtered by."""
    op.create_table('component_text',
    sa.Column('id', _SERIAL, autoincrement=True, nullable=False),
    sa.Column('aip_id', sa.Uuid(), nullable=False),
    sa.Column('component_id', sa.String(length=100), nullable=False),
    sa.Column('status', sa.Enum('EXTRACTED', 'NO_TEXT', 'NOT_CHECKED', name='component_text_status', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('reason', sa.String(length=500), nullable=False),
    sa.Column('characters', sa.Integer(), nullable=False),
    sa.Column('complete', sa.Boolean(), nullable=False),
    sa.Column('extracted_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['aip_id'], ['aip.id'], name=op.f('fk_component_text_aip_id_aip'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_component_text')),
    sa.UniqueConstraint('aip_id', 'component_id', name=op.f('uq_component_text_aip_id_component_id'))
    )
    op.create_table('text_piece',
    sa.Column('id', _SERIAL, autoincrement=True, nullable=False),
    sa.Column('text_id', _SERIAL, nullable=False),
    sa.Column('record_id', sa.Uuid(), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('content', sa.Text(), nullable=False),
    sa.CheckConstraint('ordinal >= 1', name=op.f('ck_text_piece_ordinal')),
    sa.ForeignKeyConstraint(['record_id'], ['record.id'], name=op.f('fk_text_piece_record_id_record'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['text_id'], ['component_text.id'], name=op.f('fk_text_piece_text_id_component_text'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_text_piece')),
    sa.UniqueConstraint('text_id', 'ordinal', name=op.f('uq_text_piece_text_id_ordinal'))
    )
    op.create_index('ix_text_piece_record', 'text_piece', ['record_id', 'id'])
    _create_word_index()
    op.create_table('rendition_failure',
    sa.Column('aip_id', sa.Uuid(), nullable=False),
    sa.Column('component_id', sa.String(length=100), nullable=False),
    sa.Column('reason', sa.String(length=500), nullable=False),
    sa.Column('failed_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['aip_id'], ['aip.id'], name=op.f('fk_rendition_failure_aip_id_aip'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('aip_id', 'component_id', name=op.f('pk_rendition_failure'))
    )
    op.add_column('submission', sa.Column('worst_severity', sa.Integer(), sa.Computed('CASE WHEN error_count > 0 THEN 2 WHEN warning_count > 0 THEN 1 ELSE 0 END', persisted=op.get_bind().dialect.name == 'postgresql'), nullable=False))
    op.create_index('ix_submission_worst_state_opened', 'submission', ['worst_severity', 'state', 'opened_at', 'id'])
    op.create_index('ix_submission_field_state_opened', 'submission', ['field', 'state', 'opened_at', 'id'])


def _create_word_index() -> None:
    """The words of each piece, in what each engine has for that; the tables are no part of the models."""
    if op.get_bind().dialect.name == 'postgresql':
        op.execute('CREATE TABLE text_index (piece_id bigint PRIMARY KEY REFERENCES text_piece (id) ON DELETE CASCADE, words tsvector NOT NULL)')
        op.execute('CREATE INDEX ix_text_index_words ON text_index USING gin (words)')
        return
    fts5 = op.get_bind().exec_driver_sql("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'").scalar_one()
    if fts5:
        op.execute("CREATE VIRTUAL TABLE text_index USING fts5 (folded, written, content='', tokenize=\"ascii tokenchars '_'\")")


def downgrade() -> None:
    op.drop_index('ix_submission_field_state_opened', 'submission')
    op.drop_index('ix_submission_worst_state_opened', 'submission')
    op.drop_column('submission', 'worst_severity')
    op.drop_table('rendition_failure')
    op.execute('DROP TABLE IF EXISTS text_index')
    op.drop_table('text_piece')
    op.drop_table('component_text')
