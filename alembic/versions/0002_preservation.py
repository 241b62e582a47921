"""Preservation: minutes of fixity runs, incidents, the sealed log with its tiles and evidence, progress of a rebuild.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


NEVER_DELETED = ("fixity_run", "incident", "log_seal", "aip_evidence")
"""Minutes, incidents and evidence outlive what they speak of."""


def _refuse_deletion(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} refuses DELETE'); END"
        )
        return
    name = f"{table}_refuses"
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} refuses %', TG_OP USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(f"CREATE TRIGGER {name}_row BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")
    op.execute(f"CREATE TRIGGER {name}_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()")


def upgrade() -> None:
    op.create_table('fixity_run',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('location', sa.String(length=100), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('budget_bytes', sa.BigInteger(), nullable=True),
    sa.Column('bytes_read', sa.BigInteger(), nullable=False),
    sa.Column('intact', sa.Integer(), nullable=False),
    sa.Column('damaged', sa.Integer(), nullable=False),
    sa.Column('missing', sa.Integer(), nullable=False),
    sa.Column('not_checked', sa.Integer(), nullable=False),
    sa.Column('ended_because', sa.String(length=40), nullable=False),
    sa.Column('problems', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_fixity_run'))
    )
    with op.batch_alter_table('fixity_run', schema=None) as batch_op:
        batch_op.create_index('ix_fixity_run_location_started', ['location', 'started_at'], unique=False)

    op.create_table('log_seal',
    sa.Column('ordinal', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('state', sa.String(length=10), nullable=False),
    sa.Column('first_seq', sa.BigInteger(), nullable=False),
    sa.Column('last_seq', sa.BigInteger(), nullable=False),
    sa.Column('tree_size_before', sa.BigInteger(), nullable=False),
    sa.Column('tree_size', sa.BigInteger(), nullable=True),
    sa.Column('root', sa.String(length=64), nullable=True),
    sa.Column('checkpoint', sa.Text(), nullable=True),
    sa.Column('note', sa.Text(), nullable=True),
    sa.Column('timestamp', sa.LargeBinary(), nullable=True),
    sa.Column('timestamp_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('timestamp_problem', sa.Text(), nullable=True),
    sa.Column('prepared_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('sealed_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("state = 'PREPARED' OR (checkpoint IS NOT NULL AND note IS NOT NULL)", name=op.f('ck_log_seal_sealed')),
    sa.CheckConstraint("state IN ('PREPARED', 'SEALED')", name=op.f('ck_log_seal_state')),
    sa.PrimaryKeyConstraint('ordinal', name=op.f('pk_log_seal')),
    sa.UniqueConstraint('first_seq', name=op.f('uq_log_seal_first_seq'))
    )
    with op.batch_alter_table('log_seal', schema=None) as batch_op:
        batch_op.create_index('uq_log_seal_prepared', ['state'], unique=True, sqlite_where=sa.text("state = 'PREPARED'"), postgresql_where=sa.text("state = 'PREPARED'"))

    op.create_table('log_tile',
    sa.Column('level', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('number', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('hashes', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('level', 'number', name=op.f('pk_log_tile'))
    )
    op.create_table('rebuild',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('location', sa.String(length=100), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('seals_done', sa.Integer(), nullable=False),
    sa.Column('last_key', sa.String(length=500), nullable=True),
    sa.Column('objects_done', sa.Integer(), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('report', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rebuild'))
    )
    op.create_table('aip_evidence',
    sa.Column('aip_id', sa.Uuid(), nullable=False),
    sa.Column('leaf_index', sa.BigInteger(), nullable=False),
    sa.Column('leaf', sa.LargeBinary(), nullable=False),
    sa.Column('seal', sa.Integer(), nullable=False),
    sa.Column('stamped_by', sa.Integer(), nullable=True),
    sa.Column('evidence_record', sa.LargeBinary(), nullable=True),
    sa.ForeignKeyConstraint(['aip_id'], ['aip.id'], name=op.f('fk_aip_evidence_aip_id_aip'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['seal'], ['log_seal.ordinal'], name=op.f('fk_aip_evidence_seal_log_seal'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['stamped_by'], ['log_seal.ordinal'], name=op.f('fk_aip_evidence_stamped_by_log_seal'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('aip_id', name=op.f('pk_aip_evidence')),
    sa.UniqueConstraint('leaf_index', name=op.f('uq_aip_evidence_leaf_index'))
    )
    with op.batch_alter_table('aip_evidence', schema=None) as batch_op:
        batch_op.create_index('ix_aip_evidence_stamped', ['stamped_by', 'leaf_index'], unique=False)

    op.create_table('incident',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('copy_id', sa.Uuid(), nullable=False),
    sa.Column('aip_id', sa.Uuid(), nullable=False),
    sa.Column('location', sa.String(length=100), nullable=False),
    sa.Column('found', sa.String(length=20), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('notice', sa.Text(), nullable=False),
    sa.Column('cause', sa.Text(), nullable=False),
    sa.Column('remedy', sa.Text(), nullable=False),
    sa.Column('source_location', sa.String(length=100), nullable=True),
    sa.Column('quarantine_key', sa.String(length=500), nullable=True),
    sa.Column('opened_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(closed_at IS NULL) = (status NOT IN ('REPAIRED', 'RECOVERED'))", name=op.f('ck_incident_closed')),
    sa.CheckConstraint("status IN ('OPEN', 'REPAIRED', 'RECOVERED', 'NO_GOOD_COPY', 'REFUSED')", name=op.f('ck_incident_status')),
    sa.ForeignKeyConstraint(['aip_id'], ['aip.id'], name=op.f('fk_incident_aip_id_aip'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['copy_id'], ['aip_copy.id'], name=op.f('fk_incident_copy_id_aip_copy'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_incident'))
    )
    with op.batch_alter_table('incident', schema=None) as batch_op:
        batch_op.create_index('ix_incident_opened', ['opened_at', 'id'], unique=False)
        batch_op.create_index('uq_incident_open', ['copy_id'], unique=True, sqlite_where=sa.text('closed_at IS NULL'), postgresql_where=sa.text('closed_at IS NULL'))
    for table in NEVER_DELETED:
        _refuse_deletion(table)


def downgrade() -> None:
    raise RuntimeError("not taken down: that would delete minutes, incidents and evidence")
