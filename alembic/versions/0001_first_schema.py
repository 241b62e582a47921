"""First schema: every table, and the triggers that make history append-only on both engines.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


APPEND_ONLY = ("event", "decision", "retention_assignment")
"""Tables whose rows are only ever added."""
NEVER_DELETED = ("record", "aip", "certified_copy", "submission")
"""Tables whose rows outlive what they describe (a destroyed record keeps its row)."""


def _sqlite_refuse(table: str, action: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} refuses {action}'); END"
    )


def _postgresql_refuse(table: str, actions: str) -> None:
    name = f"{table}_refuses"
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} refuses %', TG_OP USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(f"CREATE TRIGGER {name}_row BEFORE {actions} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")
    op.execute(f"CREATE TRIGGER {name}_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()")


def _refuse_changes() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table in APPEND_ONLY:
        if sqlite:
            _sqlite_refuse(table, "UPDATE")
            _sqlite_refuse(table, "DELETE")
        else:
            _postgresql_refuse(table, "UPDATE OR DELETE")
    for table in NEVER_DELETED:
        if sqlite:
            _sqlite_refuse(table, "DELETE")
        else:
            _postgresql_refuse(table, "DELETE")


def upgrade() -> None:
    op.create_table('account',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('username', sa.String(length=100), nullable=False),
    sa.Column('display_name', sa.String(length=200), nullable=False),
    sa.Column('position', sa.String(length=200), nullable=True),
    sa.Column('password_hash', sa.String(length=300), nullable=False),
    sa.Column('must_change_password', sa.Boolean(), nullable=False),
    sa.Column('disabled', sa.Boolean(), nullable=False),
    sa.Column('failed_sign_ins', sa.Integer(), nullable=False),
    sa.Column('locked_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_signed_in_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_account')),
    sa.UniqueConstraint('username', name=op.f('uq_account_username'))
    )
    op.create_table('api_token',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.String(length=200), nullable=False),
    sa.Column('token_sha256', sa.String(length=64), nullable=False),
    sa.Column('role', sa.Enum('submitter', 'archivist', 'records_head', 'council', 'officer', 'copy_officer', 'auditor', 'admin', name='token_role', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('agency', sa.String(length=40), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('length(token_sha256) = 64', name=op.f('ck_api_token_token_sha256')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_token')),
    sa.UniqueConstraint('token_sha256', name=op.f('uq_api_token_token_sha256'))
    )
    op.create_table('event',
    sa.Column('seq', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('type', sa.Enum('submission.opened', 'submission.completed', 'submission.withdrawn', 'submission.rejected', 'submission.checked', 'submission.approved', 'submission.returned', 'submission.refused', 'submission.stored', 'record.accessioned', 'record.version-added', 'record.review-started', 'record.review-ended', 'record.destruction-started', 'record.destroyed', 'record.handed-over', 'record.retention-assigned', 'record.fell-due', 'record.viewed', 'record.component-read', 'record.package-read', 'record.copy-verified', 'record.copy-damaged', 'copy.issued', 'copy.read', 'copy.cancelled', 'account.created', 'account.changed', 'account.signed-in', 'account.sign-in-failed', 'account.signed-out', 'account.locked', 'token.created', 'token.revoked', 'job.parked', 'job.requeued', 'review.listed', name='event_type', native_enum=False, length=40), nullable=False),
    sa.Column('subject_kind', sa.String(length=40), nullable=False),
    sa.Column('subject_id', sa.String(length=100), nullable=False),
    sa.Column('agency', sa.String(length=40), nullable=True),
    sa.Column('agent_id', sa.String(length=100), nullable=False),
    sa.Column('agent_name', sa.String(length=200), nullable=False),
    sa.Column('detail', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=False),
    sa.PrimaryKeyConstraint('seq', name=op.f('pk_event')),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('event', schema=None) as batch_op:
        batch_op.create_index('ix_event_agency_seq', ['agency', 'seq'], unique=False)
        batch_op.create_index('ix_event_at', ['at', 'seq'], unique=False)
        batch_op.create_index('ix_event_subject', ['subject_kind', 'subject_id', 'seq'], unique=False)

    op.create_table('job',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('kind', sa.Enum('check-submission', 'store-submission', 'discard-staging', 'sweep-staging', 'review-retention', 'prune-jobs', name='job_kind', native_enum=False, length=40), nullable=False),
    sa.Column('subject', sa.String(length=200), nullable=False),
    sa.Column('payload', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=False),
    sa.Column('state', sa.Enum('READY', 'RUNNING', 'DONE', 'PARKED', name='job_state', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('run_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('lease_owner', sa.String(length=200), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_error', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(state = 'RUNNING') = (lease_until IS NOT NULL)", name=op.f('ck_job_lease_when_running')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_job'))
    )
    with op.batch_alter_table('job', schema=None) as batch_op:
        batch_op.create_index('ix_job_claim', ['state', 'run_at', 'id'], unique=False)
        batch_op.create_index('uq_job_open', ['kind', 'subject'], unique=True, sqlite_where=sa.text("state IN ('READY', 'RUNNING')"), postgresql_where=sa.text("state IN ('READY', 'RUNNING')"))

    op.create_table('record',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('state', sa.Enum('RECEIVING', 'CHECKING', 'REJECTED', 'AWAITING_APPROVAL', 'RETURNED', 'APPROVED', 'STORED', 'UNDER_REVIEW', 'DESTROYING', 'DESTROYED', 'HANDED_OVER', name='record_state', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('dossier_code', sa.String(length=100), nullable=False),
    sa.Column('archive_file_code', sa.String(length=200), nullable=False),
    sa.Column('archiving_agency', sa.String(length=40), nullable=False),
    sa.Column('settling_agency', sa.String(length=40), nullable=False),
    sa.Column('receiving_agency', sa.String(length=40), nullable=False),
    sa.Column('procedure_code', sa.String(length=100), nullable=False),
    sa.Column('procedure_name', sa.String(length=1000), nullable=False),
    sa.Column('field', sa.String(length=1000), nullable=False),
    sa.Column('title', sa.String(length=1000), nullable=False),
    sa.Column('applicant_name', sa.String(length=1000), nullable=False),
    sa.Column('outcome', sa.String(length=40), nullable=False),
    sa.Column('access_mode', sa.String(length=2), nullable=False),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('stored_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('current_version', sa.Integer(), nullable=False),
    sa.Column('component_count', sa.Integer(), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('retention_kind', sa.String(length=20), nullable=False),
    sa.Column('retention_due_on', sa.Date(), nullable=True),
    sa.CheckConstraint("retention_kind <> 'YEARS' OR retention_due_on IS NOT NULL", name=op.f('ck_record_due_when_years')),
    sa.CheckConstraint("retention_kind = 'YEARS' OR retention_due_on IS NULL", name=op.f('ck_record_no_due_unless_years')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_record')),
    sa.UniqueConstraint('archiving_agency', 'dossier_code', name=op.f('uq_record_archiving_agency_dossier_code'))
    )
    with op.batch_alter_table('record', schema=None) as batch_op:
        batch_op.create_index('ix_record_agency_stored', ['archiving_agency', 'stored_at', 'id'], unique=False)
        batch_op.create_index('ix_record_due', ['retention_due_on', 'id'], unique=False)
        batch_op.create_index('ix_record_state_stored', ['state', 'stored_at', 'id'], unique=False)
        batch_op.create_index('ix_record_stored', ['stored_at', 'id'], unique=False)

    op.create_table('retention_review',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('on', sa.Date(), nullable=False),
    sa.Column('made_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('due_count', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_retention_review')),
    sa.UniqueConstraint('on', name=op.f('uq_retention_review_on'))
    )
    op.create_table('scheduled_run',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('task', sa.String(length=100), nullable=False),
    sa.Column('scheduled_for', sa.DateTime(timezone=True), nullable=False),
    sa.Column('job_id', sa.Uuid(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_scheduled_run')),
    sa.UniqueConstraint('task', 'scheduled_for', name=op.f('uq_scheduled_run_task_scheduled_for'))
    )
    op.create_table('setup_link',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('secret_sha256', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_setup_link')),
    sa.UniqueConstraint('secret_sha256', name=op.f('uq_setup_link_secret_sha256'))
    )
    op.create_table('submission',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('state', sa.Enum('RECEIVING', 'CHECKING', 'REJECTED', 'AWAITING_APPROVAL', 'RETURNED', 'APPROVED', 'STORED', 'UNDER_REVIEW', 'DESTROYING', 'DESTROYED', 'HANDED_OVER', name='submission_state', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('form', sa.String(length=20), nullable=False),
    sa.Column('dossier_code', sa.String(length=100), nullable=True),
    sa.Column('archiving_agency', sa.String(length=40), nullable=True),
    sa.Column('settling_agency', sa.String(length=40), nullable=True),
    sa.Column('receiving_agency', sa.String(length=40), nullable=True),
    sa.Column('procedure_code', sa.String(length=100), nullable=True),
    sa.Column('procedure_name', sa.String(length=1000), nullable=True),
    sa.Column('field', sa.String(length=1000), nullable=True),
    sa.Column('title', sa.String(length=1000), nullable=True),
    sa.Column('applicant_name', sa.String(length=1000), nullable=True),
    sa.Column('outcome', sa.String(length=40), nullable=True),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('access_mode', sa.String(length=2), nullable=True),
    sa.Column('record_status', sa.Enum('NEW', 'SUPPLEMENT', 'REPLACEMENT', name='submission_record_status', native_enum=False, create_constraint=True, length=40), nullable=True),
    sa.Column('content_sha256', sa.String(length=64), nullable=True),
    sa.Column('source_system', sa.String(length=200), nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('opened_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('completed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('stored_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('component_count', sa.Integer(), nullable=False),
    sa.Column('received_count', sa.Integer(), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('error_count', sa.Integer(), nullable=False),
    sa.Column('warning_count', sa.Integer(), nullable=False),
    sa.Column('policies', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=False),
    sa.Column('retention', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=True),
    sa.Column('record_id', sa.Uuid(), nullable=True),
    sa.CheckConstraint('content_sha256 IS NULL OR length(content_sha256) = 64', name=op.f('ck_submission_content_sha256')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_submission'))
    )
    with op.batch_alter_table('submission', schema=None) as batch_op:
        batch_op.create_index('ix_submission_agency_state_opened', ['archiving_agency', 'state', 'opened_at', 'id'], unique=False)
        batch_op.create_index('ix_submission_content', ['content_sha256'], unique=False)
        batch_op.create_index('ix_submission_dossier_code', ['dossier_code', 'archiving_agency'], unique=False)
        batch_op.create_index('ix_submission_state_opened', ['state', 'opened_at', 'id'], unique=False)
        batch_op.create_index('uq_submission_in_flight', ['archiving_agency', 'dossier_code'], unique=True, sqlite_where=sa.text("state IN ('RECEIVING', 'CHECKING', 'AWAITING_APPROVAL', 'APPROVED') AND dossier_code IS NOT NULL"), postgresql_where=sa.text("state IN ('RECEIVING', 'CHECKING', 'AWAITING_APPROVAL', 'APPROVED') AND dossier_code IS NOT NULL"))
        batch_op.create_index('uq_submission_new', ['archiving_agency', 'dossier_code'], unique=True, sqlite_where=sa.text("state NOT IN ('REJECTED', 'RETURNED') AND record_status = 'NEW' AND dossier_code IS NOT NULL"), postgresql_where=sa.text("state NOT IN ('REJECTED', 'RETURNED') AND record_status = 'NEW' AND dossier_code IS NOT NULL"))

    op.create_table('aip',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('record_id', sa.Uuid(), nullable=False),
    sa.Column('submission_id', sa.Uuid(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('objid', sa.String(length=200), nullable=False),
    sa.Column('store_key', sa.String(length=500), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('csip_version', sa.String(length=10), nullable=False),
    sa.Column('packaged_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('length(sha256) = 64', name=op.f('ck_aip_sha256')),
    sa.ForeignKeyConstraint(['record_id'], ['record.id'], name=op.f('fk_aip_record_id_record'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['submission_id'], ['submission.id'], name=op.f('fk_aip_submission_id_submission'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_aip')),
    sa.UniqueConstraint('record_id', 'version', name=op.f('uq_aip_record_id_version')),
    sa.UniqueConstraint('submission_id', name=op.f('uq_aip_submission_id'))
    )
    op.create_table('browser_session',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('cookie_sha256', sa.String(length=64), nullable=False),
    sa.Column('account_id', sa.Uuid(), nullable=False),
    sa.Column('csrf_token', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_browser_session_account_id_account'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_browser_session')),
    sa.UniqueConstraint('cookie_sha256', name=op.f('uq_browser_session_cookie_sha256'))
    )
    with op.batch_alter_table('browser_session', schema=None) as batch_op:
        batch_op.create_index('ix_browser_session_expires_at', ['expires_at'], unique=False)

    op.create_table('decision',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('submission_id', sa.Uuid(), nullable=False),
    sa.Column('kind', sa.String(length=10), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('agent_id', sa.String(length=100), nullable=False),
    sa.Column('agent_name', sa.String(length=200), nullable=False),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('batch_id', sa.Uuid(), nullable=True),
    sa.CheckConstraint("kind = 'approve' OR length(reason) > 0", name=op.f('ck_decision_reason')),
    sa.CheckConstraint("kind IN ('approve', 'return', 'reject')", name=op.f('ck_decision_kind')),
    sa.ForeignKeyConstraint(['submission_id'], ['submission.id'], name=op.f('fk_decision_submission_id_submission'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_decision')),
    sa.UniqueConstraint('submission_id', name=op.f('uq_decision_submission_id'))
    )
    op.create_table('record_term',
    sa.Column('term', sa.String(length=100, collation='C').with_variant(sa.String(length=100), 'sqlite'), nullable=False),
    sa.Column('record_id', sa.Uuid(), nullable=False),
    sa.ForeignKeyConstraint(['record_id'], ['record.id'], name=op.f('fk_record_term_record_id_record'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('term', 'record_id', name=op.f('pk_record_term'))
    )
    op.create_table('retention_assignment',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('record_id', sa.Uuid(), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('due_on', sa.Date(), nullable=True),
    sa.Column('assigned_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('assignment', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=False),
    sa.ForeignKeyConstraint(['record_id'], ['record.id'], name=op.f('fk_retention_assignment_record_id_record'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_retention_assignment')),
    sa.UniqueConstraint('record_id', 'ordinal', name=op.f('uq_retention_assignment_record_id_ordinal'))
    )
    op.create_table('retention_review_item',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('review_id', sa.Uuid(), nullable=False),
    sa.Column('record_id', sa.Uuid(), nullable=False),
    sa.Column('due_on', sa.Date(), nullable=False),
    sa.ForeignKeyConstraint(['record_id'], ['record.id'], name=op.f('fk_retention_review_item_record_id_record'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['review_id'], ['retention_review.id'], name=op.f('fk_retention_review_item_review_id_retention_review'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_retention_review_item')),
    sa.UniqueConstraint('record_id', 'due_on', name=op.f('uq_retention_review_item_record_id_due_on'))
    )
    with op.batch_alter_table('retention_review_item', schema=None) as batch_op:
        batch_op.create_index('ix_retention_review_item_review_id', ['review_id', 'record_id'], unique=False)

    op.create_table('role_grant',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('account_id', sa.Uuid(), nullable=False),
    sa.Column('role', sa.Enum('submitter', 'archivist', 'records_head', 'council', 'officer', 'copy_officer', 'auditor', 'admin', name='role', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('agency', sa.String(length=40), nullable=True),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_role_grant_account_id_account'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_role_grant')),
    sa.UniqueConstraint('account_id', 'role', 'agency', name=op.f('uq_role_grant_account_id_role_agency'))
    )
    with op.batch_alter_table('role_grant', schema=None) as batch_op:
        batch_op.create_index('ix_role_grant_account_id', ['account_id'], unique=False)

    op.create_table('signature_verdict',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('submission_id', sa.Uuid(), nullable=False),
    sa.Column('component_id', sa.String(length=100), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('indication', sa.String(length=20), nullable=False),
    sa.Column('sub_indication', sa.String(length=60), nullable=True),
    sa.Column('level', sa.String(length=10), nullable=True),
    sa.Column('signer', sa.String(length=500), nullable=True),
    sa.Column('signing_time', sa.DateTime(timezone=True), nullable=True),
    sa.Column('report', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=False),
    sa.ForeignKeyConstraint(['submission_id'], ['submission.id'], name=op.f('fk_signature_verdict_submission_id_submission'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_signature_verdict')),
    sa.UniqueConstraint('submission_id', 'component_id', 'ordinal', name=op.f('uq_signature_verdict_submission_id_component_id_ordinal'))
    )
    op.create_table('submission_finding',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('submission_id', sa.Uuid(), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('code', sa.String(length=100), nullable=False),
    sa.Column('severity', sa.Enum('error', 'warning', 'info', name='finding_severity', native_enum=False, create_constraint=True, length=40), nullable=False),
    sa.Column('location', sa.String(length=1200), nullable=False),
    sa.Column('params', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=False),
    sa.ForeignKeyConstraint(['submission_id'], ['submission.id'], name=op.f('fk_submission_finding_submission_id_submission'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_submission_finding')),
    sa.UniqueConstraint('submission_id', 'ordinal', name=op.f('uq_submission_finding_submission_id_ordinal'))
    )
    op.create_table('aip_copy',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('aip_id', sa.Uuid(), nullable=False),
    sa.Column('location', sa.String(length=100), nullable=False),
    sa.Column('version_id', sa.String(length=300), nullable=True),
    sa.Column('read_back_sha256', sa.String(length=64), nullable=False),
    sa.Column('verified_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.ForeignKeyConstraint(['aip_id'], ['aip.id'], name=op.f('fk_aip_copy_aip_id_aip'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_aip_copy')),
    sa.UniqueConstraint('aip_id', 'location', name=op.f('uq_aip_copy_aip_id_location'))
    )
    with op.batch_alter_table('aip_copy', schema=None) as batch_op:
        batch_op.create_index('ix_aip_copy_location_verified', ['location', 'verified_at'], unique=False)

    op.create_table('certified_copy',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('verify_code', sa.String(length=40), nullable=False),
    sa.Column('agency', sa.String(length=40), nullable=False),
    sa.Column('year', sa.Integer(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('form', sa.String(length=20), nullable=False),
    sa.Column('record_id', sa.Uuid(), nullable=False),
    sa.Column('aip_id', sa.Uuid(), nullable=False),
    sa.Column('component_id', sa.String(length=100), nullable=False),
    sa.Column('original_sha256', sa.String(length=64), nullable=False),
    sa.Column('purpose', sa.String(length=1000), nullable=False),
    sa.Column('recipient', sa.String(length=1000), nullable=False),
    sa.Column('place', sa.String(length=200), nullable=False),
    sa.Column('issued_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('issued_by', sa.String(length=100), nullable=False),
    sa.Column('issuer_name', sa.String(length=200), nullable=False),
    sa.Column('issuer_position', sa.String(length=200), nullable=False),
    sa.Column('completed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('page_count', sa.Integer(), nullable=True),
    sa.Column('pdf_sha256', sa.String(length=64), nullable=True),
    sa.Column('pdf_size_bytes', sa.BigInteger(), nullable=True),
    sa.Column('store_key', sa.String(length=500), nullable=True),
    sa.Column('cancelled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('cancel_reason', sa.String(length=1000), nullable=True),
    sa.CheckConstraint('(cancelled_at IS NULL) = (cancel_reason IS NULL)', name=op.f('ck_certified_copy_cancelled')),
    sa.CheckConstraint('(completed_at IS NULL) = (pdf_sha256 IS NULL)', name=op.f('ck_certified_copy_completed')),
    sa.ForeignKeyConstraint(['aip_id'], ['aip.id'], name=op.f('fk_certified_copy_aip_id_aip'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['record_id'], ['record.id'], name=op.f('fk_certified_copy_record_id_record'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_certified_copy')),
    sa.UniqueConstraint('agency', 'year', 'number', name=op.f('uq_certified_copy_agency_year_number')),
    sa.UniqueConstraint('verify_code', name=op.f('uq_certified_copy_verify_code'))
    )
    with op.batch_alter_table('certified_copy', schema=None) as batch_op:
        batch_op.create_index('ix_certified_copy_issued', ['issued_at', 'id'], unique=False)
        batch_op.create_index('ix_certified_copy_record_id', ['record_id', 'issued_at'], unique=False)

    op.create_table('component',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('submission_id', sa.Uuid(), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('component_id', sa.String(length=100), nullable=False),
    sa.Column('path', sa.String(length=1000), nullable=False),
    sa.Column('role', sa.String(length=40), nullable=False),
    sa.Column('origin', sa.String(length=40), nullable=False),
    sa.Column('title', sa.String(length=1000), nullable=False),
    sa.Column('declared_sha256', sa.String(length=64), nullable=False),
    sa.Column('declared_size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('crc32', sa.BigInteger(), nullable=True),
    sa.Column('mime', sa.String(length=200), nullable=True),
    sa.Column('puid', sa.String(length=40), nullable=True),
    sa.Column('format_name', sa.String(length=300), nullable=True),
    sa.Column('format_version', sa.String(length=60), nullable=True),
    sa.Column('facts', sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), 'postgresql'), nullable=True),
    sa.Column('aip_id', sa.Uuid(), nullable=True),
    sa.Column('entry_path', sa.String(length=1200), nullable=True),
    sa.Column('entry_offset', sa.BigInteger(), nullable=True),
    sa.CheckConstraint('length(declared_sha256) = 64', name=op.f('ck_component_declared_sha256')),
    sa.ForeignKeyConstraint(['aip_id'], ['aip.id'], name=op.f('fk_component_aip_id_aip'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['submission_id'], ['submission.id'], name=op.f('fk_component_submission_id_submission'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_component')),
    sa.UniqueConstraint('submission_id', 'component_id', name=op.f('uq_component_submission_id_component_id')),
    sa.UniqueConstraint('submission_id', 'ordinal', name=op.f('uq_component_submission_id_ordinal'))
    )
    with op.batch_alter_table('component', schema=None) as batch_op:
        batch_op.create_index('ix_component_aip_id', ['aip_id', 'ordinal'], unique=False)


    _refuse_changes()


def downgrade() -> None:
    raise RuntimeError("the first schema is not taken down: that would delete the archive's history")
