"""Storage locations with their history, moves, holds and locks.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')

NEVER_DELETED = ("hold", "hold_record")
_HELD = "SELECT 1 FROM hold_record JOIN hold ON hold.id = hold_record.hold_id WHERE hold.released_at IS NULL AND hold_record.record_id"
_OF_COPY = "(SELECT aip.record_id FROM aip WHERE aip.id = {row}.aip_id)"
GUARDS = (
    # name, table, what is refused, when, message
    ("record_held", "record", "UPDATE OF state",
     f"NEW.state IN ('DESTROYING', 'DESTROYED', 'HANDED_OVER') AND NEW.state <> OLD.state AND EXISTS ({_HELD} = NEW.id)",
     "the record is under legal hold"),
    ("aip_copy_held", "aip_copy", "UPDATE OF state",
     f"NEW.state = 'REMOVING' AND OLD.state <> 'REMOVING' AND EXISTS ({_HELD} = {_OF_COPY.format(row='NEW')})",
     "the record is under legal hold"),
    ("aip_copy_held_row", "aip_copy", "DELETE", f"EXISTS ({_HELD} = {_OF_COPY.format(row='OLD')})",
     "the record is under legal hold"),
    ("hold_final", "hold", "UPDATE", "OLD.released_at IS NOT NULL", "a released hold is final"),
    ("hold_record_final", "hold_record", "UPDATE", "NEW.hold_id IS NOT NULL", "hold_record refuses UPDATE"),
    *((f"{table}_kept", table, "DELETE", "OLD.rowid IS NOT NULL", f"{table} refuses DELETE") for table in NEVER_DELETED),
)
"""Refused by the database itself, so that not even a statement typed by hand removes what is held (LESSONS 3: 13)."""


def _guard_sqlite(name: str, table: str, action: str, when: str, message: str) -> None:
    op.execute(f"CREATE TRIGGER {name} BEFORE {action} ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, '{message}'); END")


def _guard_postgresql(name: str, table: str, action: str, when: str, message: str) -> None:
    # The condition stands in the function: a trigger's WHEN may hold no subquery, and inside it sees what others committed.
    condition = when.replace("OLD.rowid IS NOT NULL", "true")
    back = "OLD" if action == "DELETE" else "NEW"
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'restrict_violation'; END IF; "
        f"RETURN {back}; END $$"
    )
    op.execute(f"CREATE TRIGGER {name} BEFORE {action} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")


def _refuse_truncate(table: str) -> None:
    op.execute(
        f"CREATE FUNCTION {table}_no_truncate() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} refuses TRUNCATE' USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {table}_no_truncate()")


def upgrade() -> None:
    op.create_table('hold',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('agency', sa.String(length=40), nullable=False),
    sa.Column('reason', sa.String(length=2000), nullable=False),
    sa.Column('legal_basis', sa.String(length=1000), nullable=False),
    sa.Column('placed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('placed_by', sa.String(length=100), nullable=False),
    sa.Column('placed_by_name', sa.String(length=200), nullable=False),
    sa.Column('released_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('released_by', sa.String(length=100), nullable=True),
    sa.Column('released_by_name', sa.String(length=200), nullable=True),
    sa.Column('release_reason', sa.String(length=2000), nullable=True),
    sa.CheckConstraint('(released_at IS NULL) = (released_by IS NULL) AND (released_at IS NULL) = (release_reason IS NULL)', name=op.f('ck_hold_released')),
    sa.CheckConstraint('length(reason) > 0 AND length(legal_basis) > 0', name=op.f('ck_hold_stated')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_hold'))
    )
    op.create_index('ix_hold_agency_placed', 'hold', ['agency', 'placed_at', 'id'], unique=False)
    op.create_index('ix_hold_placed', 'hold', ['placed_at', 'id'], unique=False)
    op.create_table('reconciliation',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('location', sa.String(length=100), nullable=False),
    sa.Column('apply', sa.Boolean(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('step', sa.String(length=20), nullable=False),
    sa.Column('last_id', sa.Uuid(), nullable=True),
    sa.Column('last_key', sa.String(length=1024), nullable=True),
    sa.Column('copies', sa.BigInteger(), nullable=False),
    sa.Column('objects', sa.BigInteger(), nullable=False),
    sa.Column('not_checked', sa.BigInteger(), nullable=False),
    sa.Column('counts', _JSON, nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_reconciliation'))
    )
    op.create_index('ix_reconciliation_started', 'reconciliation', ['started_at', 'id'], unique=False)
    op.create_table('storage_location',
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('state', sa.Enum('FILLING', 'ACTIVE', 'RETIRING', 'RETIRED', 'EMPTIED', name='location_state', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), nullable=False),
    sa.Column('keep_until', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(state = 'RETIRED') = (keep_until IS NOT NULL)", name=op.f('ck_storage_location_kept_while_retired')),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_storage_location'))
    )
    op.create_table('storage_move',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('location', sa.String(length=100), nullable=False),
    sa.Column('purpose', sa.Enum('FILL', 'RETIRE', 'EMPTY', name='move_purpose', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('state', sa.Enum('RUNNING', 'PAUSED', 'DONE', 'STOPPED', name='move_state', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('started_by', sa.String(length=200), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('step', sa.String(length=20), nullable=False),
    sa.Column('last_id', sa.Uuid(), nullable=True),
    sa.Column('rounds', sa.Integer(), nullable=False),
    sa.Column('total', sa.BigInteger(), nullable=False),
    sa.Column('total_bytes', sa.BigInteger(), nullable=False),
    sa.Column('done', sa.BigInteger(), nullable=False),
    sa.Column('done_bytes', sa.BigInteger(), nullable=False),
    sa.Column('left_over', sa.BigInteger(), nullable=False),
    sa.Column('problems', _JSON, nullable=False),
    sa.Column('worked_s', sa.Float(), nullable=False),
    sa.CheckConstraint("(finished_at IS NULL) = (state IN ('RUNNING', 'PAUSED'))", name=op.f('ck_storage_move_finished')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_storage_move'))
    )
    op.create_index('ix_storage_move_started', 'storage_move', ['started_at', 'id'], unique=False)
    op.create_index('uq_storage_move_open', 'storage_move', ['location'], unique=True, sqlite_where=sa.text("state IN ('RUNNING', 'PAUSED')"), postgresql_where=sa.text("state IN ('RUNNING', 'PAUSED')"))
    op.create_table('hold_record',
    sa.Column('hold_id', sa.Uuid(), nullable=False),
    sa.Column('record_id', sa.Uuid(), nullable=False),
    sa.Column('dossier_code', sa.String(length=100), nullable=False),
    sa.ForeignKeyConstraint(['hold_id'], ['hold.id'], name=op.f('fk_hold_record_hold_id_hold'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('hold_id', 'record_id', name=op.f('pk_hold_record'))
    )
    op.create_index('ix_hold_record_record_id', 'hold_record', ['record_id', 'hold_id'], unique=False)
    op.create_table('storage_drift',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('reconciliation_id', sa.Uuid(), nullable=False),
    sa.Column('kind', sa.String(length=30), nullable=False),
    sa.Column('key', sa.String(length=1024), nullable=False),
    sa.Column('version_id', sa.String(length=300), nullable=False),
    sa.Column('record_id', sa.Uuid(), nullable=True),
    sa.Column('detail', sa.Text(), nullable=False),
    sa.Column('mended', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['reconciliation_id'], ['reconciliation.id'], name=op.f('fk_storage_drift_reconciliation_id_reconciliation'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_storage_drift')),
    sa.UniqueConstraint('reconciliation_id', 'key', 'kind', 'version_id', name=op.f('uq_storage_drift_reconciliation_id_key_kind_version_id'))
    )
    op.create_index('ix_storage_drift_reconciliation', 'storage_drift', ['reconciliation_id', 'id'], unique=False)
    op.add_column('aip_copy', sa.Column('locked_until', sa.Date(), nullable=True))

    sqlite = op.get_bind().dialect.name == "sqlite"
    for guard in GUARDS:
        (_guard_sqlite if sqlite else _guard_postgresql)(*guard)
    if not sqlite:
        for table in NEVER_DELETED:
            _refuse_truncate(table)


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name, *_ in GUARDS:
        op.execute(f"DROP TRIGGER {name}" if sqlite else f"DROP FUNCTION {name} CASCADE")
    op.drop_column('aip_copy', 'locked_until')
    for table in ('storage_drift', 'hold_record', 'storage_move', 'storage_location', 'reconciliation', 'hold'):
        op.drop_table(table)
        if not sqlite and table in NEVER_DELETED:
            op.execute(f"DROP FUNCTION {table}_no_truncate")
