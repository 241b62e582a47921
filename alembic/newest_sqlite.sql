CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE account (
	id CHAR(32) NOT NULL, 
	username VARCHAR(100) NOT NULL, 
	display_name VARCHAR(200) NOT NULL, 
	position VARCHAR(200), 
	password_hash VARCHAR(300) NOT NULL, 
	must_change_password BOOLEAN NOT NULL, 
	disabled BOOLEAN NOT NULL, 
	failed_sign_ins INTEGER NOT NULL, 
	locked_until DATETIME, 
	created_at DATETIME NOT NULL, 
	last_signed_in_at DATETIME, last_failed_at DATETIME, 
	CONSTRAINT pk_account PRIMARY KEY (id), 
	CONSTRAINT uq_account_username UNIQUE (username)
);
CREATE TABLE api_token (
	id CHAR(32) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	token_sha256 VARCHAR(64) NOT NULL, 
	role VARCHAR(40) NOT NULL, 
	agency VARCHAR(40), 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME, 
	revoked_at DATETIME, 
	CONSTRAINT pk_api_token PRIMARY KEY (id), 
	CONSTRAINT ck_api_token_token_sha256 CHECK (length(token_sha256) = 64), 
	CONSTRAINT uq_api_token_token_sha256 UNIQUE (token_sha256), 
	CONSTRAINT ck_api_token_token_role CHECK (role IN ('submitter', 'archivist', 'records_head', 'council', 'officer', 'copy_officer', 'auditor', 'admin'))
);
CREATE TABLE event (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at DATETIME NOT NULL, 
	type VARCHAR(40) NOT NULL, 
	subject_kind VARCHAR(40) NOT NULL, 
	subject_id VARCHAR(100) NOT NULL, 
	agency VARCHAR(40), 
	agent_id VARCHAR(100) NOT NULL, 
	agent_name VARCHAR(200) NOT NULL, 
	detail JSON NOT NULL
);
CREATE INDEX ix_event_agency_seq ON event (agency, seq);
CREATE INDEX ix_event_at ON event (at, seq);
CREATE INDEX ix_event_subject ON event (subject_kind, subject_id, seq);
CREATE TABLE job (
	id CHAR(32) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	subject VARCHAR(200) NOT NULL, 
	payload JSON NOT NULL, 
	state VARCHAR(40) NOT NULL, 
	run_at DATETIME NOT NULL, 
	attempts INTEGER NOT NULL, 
	lease_owner VARCHAR(200), 
	lease_until DATETIME, 
	last_error TEXT, 
	created_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	CONSTRAINT pk_job PRIMARY KEY (id), 
	CONSTRAINT ck_job_lease_when_running CHECK ((state = 'RUNNING') = (lease_until IS NOT NULL)), 
	CONSTRAINT ck_job_job_state CHECK (state IN ('READY', 'RUNNING', 'DONE', 'PARKED'))
);
CREATE INDEX ix_job_claim ON job (state, run_at, id);
CREATE UNIQUE INDEX uq_job_open ON job (kind, subject) WHERE state IN ('READY', 'RUNNING');
CREATE TABLE record (
	id CHAR(32) NOT NULL, 
	state VARCHAR(40) NOT NULL, 
	dossier_code VARCHAR(100) NOT NULL, 
	archive_file_code VARCHAR(200) NOT NULL, 
	archiving_agency VARCHAR(40) NOT NULL, 
	settling_agency VARCHAR(40) NOT NULL, 
	receiving_agency VARCHAR(40) NOT NULL, 
	procedure_code VARCHAR(100) NOT NULL, 
	procedure_name VARCHAR(1000) NOT NULL, 
	field VARCHAR(1000) NOT NULL, 
	title VARCHAR(1000) NOT NULL, 
	applicant_name VARCHAR(1000) NOT NULL, 
	outcome VARCHAR(40) NOT NULL, 
	access_mode VARCHAR(2) NOT NULL, 
	closed_at DATETIME NOT NULL, 
	stored_at DATETIME NOT NULL, 
	current_version INTEGER NOT NULL, 
	component_count INTEGER NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	retention_kind VARCHAR(20) NOT NULL, 
	retention_due_on DATE, 
	CONSTRAINT pk_record PRIMARY KEY (id), 
	CONSTRAINT ck_record_due_when_years CHECK (retention_kind <> 'YEARS' OR retention_due_on IS NOT NULL), 
	CONSTRAINT ck_record_no_due_unless_years CHECK (retention_kind = 'YEARS' OR retention_due_on IS NULL), 
	CONSTRAINT uq_record_archiving_agency_dossier_code UNIQUE (archiving_agency, dossier_code), 
	CONSTRAINT ck_record_record_state CHECK (state IN ('RECEIVING', 'CHECKING', 'REJECTED', 'AWAITING_APPROVAL', 'RETURNED', 'APPROVED', 'STORED', 'UNDER_REVIEW', 'DESTROYING', 'DESTROYED', 'HANDED_OVER'))
);
CREATE INDEX ix_record_agency_stored ON record (archiving_agency, stored_at, id);
CREATE INDEX ix_record_due ON record (retention_due_on, id);
CREATE INDEX ix_record_state_stored ON record (state, stored_at, id);
CREATE INDEX ix_record_stored ON record (stored_at, id);
CREATE TABLE retention_review (
	id CHAR(32) NOT NULL, 
	"on" DATE NOT NULL, 
	made_at DATETIME NOT NULL, 
	due_count INTEGER NOT NULL, 
	CONSTRAINT pk_retention_review PRIMARY KEY (id), 
	CONSTRAINT uq_retention_review_on UNIQUE ("on")
);
CREATE TABLE scheduled_run (
	id INTEGER NOT NULL, 
	task VARCHAR(100) NOT NULL, 
	scheduled_for DATETIME NOT NULL, 
	job_id CHAR(32) NOT NULL, 
	CONSTRAINT pk_scheduled_run PRIMARY KEY (id), 
	CONSTRAINT uq_scheduled_run_task_scheduled_for UNIQUE (task, scheduled_for)
);
CREATE TABLE setup_link (
	id CHAR(32) NOT NULL, 
	secret_sha256 VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	used_at DATETIME, 
	CONSTRAINT pk_setup_link PRIMARY KEY (id), 
	CONSTRAINT uq_setup_link_secret_sha256 UNIQUE (secret_sha256)
);
CREATE TABLE submission (
	id CHAR(32) NOT NULL, 
	state VARCHAR(40) NOT NULL, 
	form VARCHAR(20) NOT NULL, 
	dossier_code VARCHAR(100), 
	archiving_agency VARCHAR(40), 
	settling_agency VARCHAR(40), 
	receiving_agency VARCHAR(40), 
	procedure_code VARCHAR(100), 
	procedure_name VARCHAR(1000), 
	field VARCHAR(1000), 
	title VARCHAR(1000), 
	applicant_name VARCHAR(1000), 
	outcome VARCHAR(40), 
	closed_at DATETIME, 
	access_mode VARCHAR(2), 
	record_status VARCHAR(40), 
	content_sha256 VARCHAR(64), 
	source_system VARCHAR(200) NOT NULL, 
	sent_at DATETIME, 
	opened_at DATETIME NOT NULL, 
	completed_at DATETIME, 
	checked_at DATETIME, 
	decided_at DATETIME, 
	stored_at DATETIME, 
	component_count INTEGER NOT NULL, 
	received_count INTEGER NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	error_count INTEGER NOT NULL, 
	warning_count INTEGER NOT NULL, 
	policies JSON NOT NULL, 
	retention JSON, 
	record_id CHAR(32), worst_severity INTEGER NOT NULL GENERATED ALWAYS AS (CASE WHEN error_count > 0 THEN 2 WHEN warning_count > 0 THEN 1 ELSE 0 END) VIRTUAL, 
	CONSTRAINT pk_submission PRIMARY KEY (id), 
	CONSTRAINT ck_submission_content_sha256 CHECK (content_sha256 IS NULL OR length(content_sha256) = 64), 
	CONSTRAINT ck_submission_submission_state CHECK (state IN ('RECEIVING', 'CHECKING', 'REJECTED', 'AWAITING_APPROVAL', 'RETURNED', 'APPROVED', 'STORED', 'UNDER_REVIEW', 'DESTROYING', 'DESTROYED', 'HANDED_OVER')), 
	CONSTRAINT ck_submission_submission_record_status CHECK (record_status IN ('NEW', 'SUPPLEMENT', 'REPLACEMENT'))
);
CREATE INDEX ix_submission_agency_state_opened ON submission (archiving_agency, state, opened_at, id);
CREATE INDEX ix_submission_content ON submission (content_sha256);
CREATE INDEX ix_submission_dossier_code ON submission (dossier_code, archiving_agency);
CREATE INDEX ix_submission_state_opened ON submission (state, opened_at, id);
CREATE UNIQUE INDEX uq_submission_in_flight ON submission (archiving_agency, dossier_code) WHERE state IN ('RECEIVING', 'CHECKING', 'AWAITING_APPROVAL', 'APPROVED') AND dossier_code IS NOT NULL;
CREATE UNIQUE INDEX uq_submission_new ON submission (archiving_agency, dossier_code) WHERE state NOT IN ('REJECTED', 'RETURNED') AND record_status = 'NEW' AND dossier_code IS NOT NULL;
CREATE TABLE aip (
	id CHAR(32) NOT NULL, 
	record_id CHAR(32) NOT NULL, 
	submission_id CHAR(32) NOT NULL, 
	version INTEGER NOT NULL, 
	objid VARCHAR(200) NOT NULL, 
	store_key VARCHAR(500) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	csip_version VARCHAR(10) NOT NULL, 
	packaged_at DATETIME NOT NULL, 
	CONSTRAINT pk_aip PRIMARY KEY (id), 
	CONSTRAINT ck_aip_sha256 CHECK (length(sha256) = 64), 
	CONSTRAINT fk_aip_record_id_record FOREIGN KEY(record_id) REFERENCES record (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_aip_submission_id_submission FOREIGN KEY(submission_id) REFERENCES submission (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_aip_record_id_version UNIQUE (record_id, version), 
	CONSTRAINT uq_aip_submission_id UNIQUE (submission_id)
);
CREATE TABLE browser_session (
	id CHAR(32) NOT NULL, 
	cookie_sha256 VARCHAR(64) NOT NULL, 
	account_id CHAR(32) NOT NULL, 
	csrf_token VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	CONSTRAINT pk_browser_session PRIMARY KEY (id), 
	CONSTRAINT fk_browser_session_account_id_account FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_browser_session_cookie_sha256 UNIQUE (cookie_sha256)
);
CREATE INDEX ix_browser_session_expires_at ON browser_session (expires_at);
CREATE TABLE decision (
	id CHAR(32) NOT NULL, 
	submission_id CHAR(32) NOT NULL, 
	kind VARCHAR(10) NOT NULL, 
	reason TEXT NOT NULL, 
	agent_id VARCHAR(100) NOT NULL, 
	agent_name VARCHAR(200) NOT NULL, 
	decided_at DATETIME NOT NULL, 
	batch_id CHAR(32), 
	CONSTRAINT pk_decision PRIMARY KEY (id), 
	CONSTRAINT ck_decision_reason CHECK (kind = 'approve' OR length(reason) > 0), 
	CONSTRAINT ck_decision_kind CHECK (kind IN ('approve', 'return', 'reject')), 
	CONSTRAINT fk_decision_submission_id_submission FOREIGN KEY(submission_id) REFERENCES submission (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_decision_submission_id UNIQUE (submission_id)
);
CREATE TABLE record_term (
	term VARCHAR(100) NOT NULL, 
	record_id CHAR(32) NOT NULL, 
	CONSTRAINT pk_record_term PRIMARY KEY (term, record_id), 
	CONSTRAINT fk_record_term_record_id_record FOREIGN KEY(record_id) REFERENCES record (id) ON DELETE RESTRICT
);
CREATE TABLE retention_assignment (
	id INTEGER NOT NULL, 
	record_id CHAR(32) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	due_on DATE, 
	assigned_at DATETIME NOT NULL, 
	assignment JSON NOT NULL, 
	CONSTRAINT pk_retention_assignment PRIMARY KEY (id), 
	CONSTRAINT fk_retention_assignment_record_id_record FOREIGN KEY(record_id) REFERENCES record (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_retention_assignment_record_id_ordinal UNIQUE (record_id, ordinal)
);
CREATE TABLE retention_review_item (
	id INTEGER NOT NULL, 
	review_id CHAR(32) NOT NULL, 
	record_id CHAR(32) NOT NULL, 
	due_on DATE NOT NULL, 
	CONSTRAINT pk_retention_review_item PRIMARY KEY (id), 
	CONSTRAINT fk_retention_review_item_record_id_record FOREIGN KEY(record_id) REFERENCES record (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_retention_review_item_review_id_retention_review FOREIGN KEY(review_id) REFERENCES retention_review (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_retention_review_item_record_id_due_on UNIQUE (record_id, due_on)
);
CREATE INDEX ix_retention_review_item_review_id ON retention_review_item (review_id, record_id);
CREATE TABLE role_grant (
	id INTEGER NOT NULL, 
	account_id CHAR(32) NOT NULL, 
	role VARCHAR(40) NOT NULL, 
	agency VARCHAR(40), 
	CONSTRAINT pk_role_grant PRIMARY KEY (id), 
	CONSTRAINT fk_role_grant_account_id_account FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_role_grant_account_id_role_agency UNIQUE (account_id, role, agency), 
	CONSTRAINT ck_role_grant_role CHECK (role IN ('submitter', 'archivist', 'records_head', 'council', 'officer', 'copy_officer', 'auditor', 'admin'))
);
CREATE INDEX ix_role_grant_account_id ON role_grant (account_id);
CREATE TABLE signature_verdict (
	id INTEGER NOT NULL, 
	submission_id CHAR(32) NOT NULL, 
	component_id VARCHAR(100) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	indication VARCHAR(20) NOT NULL, 
	sub_indication VARCHAR(60), 
	level VARCHAR(10), 
	signer VARCHAR(500), 
	signing_time DATETIME, 
	report JSON NOT NULL, 
	CONSTRAINT pk_signature_verdict PRIMARY KEY (id), 
	CONSTRAINT fk_signature_verdict_submission_id_submission FOREIGN KEY(submission_id) REFERENCES submission (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_signature_verdict_submission_id_component_id_ordinal UNIQUE (submission_id, component_id, ordinal)
);
CREATE TABLE submission_finding (
	id INTEGER NOT NULL, 
	submission_id CHAR(32) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	code VARCHAR(100) NOT NULL, 
	severity VARCHAR(40) NOT NULL, 
	location VARCHAR(1200) NOT NULL, 
	params JSON NOT NULL, 
	CONSTRAINT pk_submission_finding PRIMARY KEY (id), 
	CONSTRAINT fk_submission_finding_submission_id_submission FOREIGN KEY(submission_id) REFERENCES submission (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_submission_finding_submission_id_ordinal UNIQUE (submission_id, ordinal), 
	CONSTRAINT ck_submission_finding_finding_severity CHECK (severity IN ('error', 'warning', 'info'))
);
CREATE TABLE aip_copy (
	id CHAR(32) NOT NULL, 
	aip_id CHAR(32) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	version_id VARCHAR(300), 
	read_back_sha256 VARCHAR(64) NOT NULL, 
	verified_at DATETIME NOT NULL, 
	state VARCHAR(20) NOT NULL, locked_until DATE, 
	CONSTRAINT pk_aip_copy PRIMARY KEY (id), 
	CONSTRAINT fk_aip_copy_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_aip_copy_aip_id_location UNIQUE (aip_id, location)
);
CREATE INDEX ix_aip_copy_location_verified ON aip_copy (location, verified_at);
CREATE TABLE certified_copy (
	id CHAR(32) NOT NULL, 
	verify_code VARCHAR(40) NOT NULL, 
	agency VARCHAR(40) NOT NULL, 
	year INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	form VARCHAR(20) NOT NULL, 
	record_id CHAR(32) NOT NULL, 
	aip_id CHAR(32) NOT NULL, 
	component_id VARCHAR(100) NOT NULL, 
	original_sha256 VARCHAR(64) NOT NULL, 
	purpose VARCHAR(1000) NOT NULL, 
	recipient VARCHAR(1000) NOT NULL, 
	place VARCHAR(200) NOT NULL, 
	issued_at DATETIME NOT NULL, 
	issued_by VARCHAR(100) NOT NULL, 
	issuer_name VARCHAR(200) NOT NULL, 
	issuer_position VARCHAR(200) NOT NULL, 
	completed_at DATETIME, 
	page_count INTEGER, 
	pdf_sha256 VARCHAR(64), 
	pdf_size_bytes BIGINT, 
	store_key VARCHAR(500), 
	cancelled_at DATETIME, 
	cancel_reason VARCHAR(1000), 
	CONSTRAINT pk_certified_copy PRIMARY KEY (id), 
	CONSTRAINT ck_certified_copy_cancelled CHECK ((cancelled_at IS NULL) = (cancel_reason IS NULL)), 
	CONSTRAINT ck_certified_copy_completed CHECK ((completed_at IS NULL) = (pdf_sha256 IS NULL)), 
	CONSTRAINT fk_certified_copy_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_certified_copy_record_id_record FOREIGN KEY(record_id) REFERENCES record (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_certified_copy_agency_year_number UNIQUE (agency, year, number), 
	CONSTRAINT uq_certified_copy_verify_code UNIQUE (verify_code)
);
CREATE INDEX ix_certified_copy_issued ON certified_copy (issued_at, id);
CREATE INDEX ix_certified_copy_record_id ON certified_copy (record_id, issued_at);
CREATE TABLE component (
	id INTEGER NOT NULL, 
	submission_id CHAR(32) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	component_id VARCHAR(100) NOT NULL, 
	path VARCHAR(1000) NOT NULL, 
	role VARCHAR(40) NOT NULL, 
	origin VARCHAR(40) NOT NULL, 
	title VARCHAR(1000) NOT NULL, 
	declared_sha256 VARCHAR(64) NOT NULL, 
	declared_size_bytes BIGINT NOT NULL, 
	received_at DATETIME, 
	crc32 BIGINT, 
	mime VARCHAR(200), 
	puid VARCHAR(40), 
	format_name VARCHAR(300), 
	format_version VARCHAR(60), 
	facts JSON, 
	aip_id CHAR(32), 
	entry_path VARCHAR(1200), 
	entry_offset BIGINT, 
	CONSTRAINT pk_component PRIMARY KEY (id), 
	CONSTRAINT ck_component_declared_sha256 CHECK (length(declared_sha256) = 64), 
	CONSTRAINT fk_component_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_component_submission_id_submission FOREIGN KEY(submission_id) REFERENCES submission (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_component_submission_id_component_id UNIQUE (submission_id, component_id), 
	CONSTRAINT uq_component_submission_id_ordinal UNIQUE (submission_id, ordinal)
);
CREATE INDEX ix_component_aip_id ON component (aip_id, ordinal);
CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'event refuses UPDATE'); END;
CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'event refuses DELETE'); END;
CREATE TRIGGER decision_no_update BEFORE UPDATE ON decision BEGIN SELECT RAISE(ABORT, 'decision refuses UPDATE'); END;
CREATE TRIGGER decision_no_delete BEFORE DELETE ON decision BEGIN SELECT RAISE(ABORT, 'decision refuses DELETE'); END;
CREATE TRIGGER retention_assignment_no_update BEFORE UPDATE ON retention_assignment BEGIN SELECT RAISE(ABORT, 'retention_assignment refuses UPDATE'); END;
CREATE TRIGGER retention_assignment_no_delete BEFORE DELETE ON retention_assignment BEGIN SELECT RAISE(ABORT, 'retention_assignment refuses DELETE'); END;
CREATE TRIGGER record_no_delete BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'record refuses DELETE'); END;
CREATE TRIGGER aip_no_delete BEFORE DELETE ON aip BEGIN SELECT RAISE(ABORT, 'aip refuses DELETE'); END;
CREATE TRIGGER certified_copy_no_delete BEFORE DELETE ON certified_copy BEGIN SELECT RAISE(ABORT, 'certified_copy refuses DELETE'); END;
CREATE TRIGGER submission_no_delete BEFORE DELETE ON submission BEGIN SELECT RAISE(ABORT, 'submission refuses DELETE'); END;
CREATE TABLE fixity_run (
	id CHAR(32) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	budget_bytes BIGINT, 
	bytes_read BIGINT NOT NULL, 
	intact INTEGER NOT NULL, 
	damaged INTEGER NOT NULL, 
	missing INTEGER NOT NULL, 
	not_checked INTEGER NOT NULL, 
	ended_because VARCHAR(40) NOT NULL, 
	problems JSON NOT NULL, 
	CONSTRAINT pk_fixity_run PRIMARY KEY (id)
);
CREATE INDEX ix_fixity_run_location_started ON fixity_run (location, started_at);
CREATE TABLE log_seal (
	ordinal INTEGER NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	first_seq BIGINT NOT NULL, 
	last_seq BIGINT NOT NULL, 
	tree_size_before BIGINT NOT NULL, 
	tree_size BIGINT, 
	root VARCHAR(64), 
	checkpoint TEXT, 
	note TEXT, 
	timestamp BLOB, 
	timestamp_at DATETIME, 
	timestamp_problem TEXT, 
	prepared_at DATETIME NOT NULL, 
	sealed_at DATETIME, 
	CONSTRAINT pk_log_seal PRIMARY KEY (ordinal), 
	CONSTRAINT ck_log_seal_sealed CHECK (state = 'PREPARED' OR (checkpoint IS NOT NULL AND note IS NOT NULL)), 
	CONSTRAINT ck_log_seal_state CHECK (state IN ('PREPARED', 'SEALED')), 
	CONSTRAINT uq_log_seal_first_seq UNIQUE (first_seq)
);
CREATE UNIQUE INDEX uq_log_seal_prepared ON log_seal (state) WHERE state = 'PREPARED';
CREATE TABLE log_tile (
	level INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	hashes BLOB NOT NULL, 
	CONSTRAINT pk_log_tile PRIMARY KEY (level, number)
);
CREATE TABLE rebuild (
	id CHAR(32) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	started_at DATETIME NOT NULL, 
	seals_done INTEGER NOT NULL, 
	last_key VARCHAR(500), 
	objects_done INTEGER NOT NULL, 
	finished_at DATETIME, 
	report JSON NOT NULL, 
	CONSTRAINT pk_rebuild PRIMARY KEY (id)
);
CREATE TABLE aip_evidence (
	aip_id CHAR(32) NOT NULL, 
	leaf_index BIGINT NOT NULL, 
	leaf BLOB NOT NULL, 
	seal INTEGER NOT NULL, 
	stamped_by INTEGER, 
	evidence_record BLOB, 
	CONSTRAINT pk_aip_evidence PRIMARY KEY (aip_id), 
	CONSTRAINT fk_aip_evidence_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_aip_evidence_seal_log_seal FOREIGN KEY(seal) REFERENCES log_seal (ordinal) ON DELETE RESTRICT, 
	CONSTRAINT fk_aip_evidence_stamped_by_log_seal FOREIGN KEY(stamped_by) REFERENCES log_seal (ordinal) ON DELETE RESTRICT, 
	CONSTRAINT uq_aip_evidence_leaf_index UNIQUE (leaf_index)
);
CREATE INDEX ix_aip_evidence_stamped ON aip_evidence (stamped_by, leaf_index);
CREATE TRIGGER fixity_run_no_delete BEFORE DELETE ON fixity_run BEGIN SELECT RAISE(ABORT, 'fixity_run refuses DELETE'); END;
CREATE TRIGGER log_seal_no_delete BEFORE DELETE ON log_seal BEGIN SELECT RAISE(ABORT, 'log_seal refuses DELETE'); END;
CREATE TRIGGER aip_evidence_no_delete BEFORE DELETE ON aip_evidence BEGIN SELECT RAISE(ABORT, 'aip_evidence refuses DELETE'); END;
CREATE TABLE rendition (
	id CHAR(32) NOT NULL, 
	aip_id CHAR(32) NOT NULL, 
	component_id VARCHAR(100) NOT NULL, 
	store_key VARCHAR(500) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	flavour VARCHAR(10) NOT NULL, 
	conforms BOOLEAN NOT NULL, 
	checker VARCHAR(200) NOT NULL, 
	problems JSON NOT NULL, 
	page_count INTEGER NOT NULL, 
	copies JSON NOT NULL, 
	made_at DATETIME NOT NULL, 
	CONSTRAINT pk_rendition PRIMARY KEY (id), 
	CONSTRAINT ck_rendition_sha256 CHECK (length(sha256) = 64), 
	CONSTRAINT fk_rendition_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_rendition_aip_id_component_id UNIQUE (aip_id, component_id)
);
CREATE TABLE hold (
	id CHAR(32) NOT NULL, 
	agency VARCHAR(40) NOT NULL, 
	reason VARCHAR(2000) NOT NULL, 
	legal_basis VARCHAR(1000) NOT NULL, 
	placed_at DATETIME NOT NULL, 
	placed_by VARCHAR(100) NOT NULL, 
	placed_by_name VARCHAR(200) NOT NULL, 
	released_at DATETIME, 
	released_by VARCHAR(100), 
	released_by_name VARCHAR(200), 
	release_reason VARCHAR(2000), 
	CONSTRAINT pk_hold PRIMARY KEY (id), 
	CONSTRAINT ck_hold_released CHECK ((released_at IS NULL) = (released_by IS NULL) AND (released_at IS NULL) = (release_reason IS NULL)), 
	CONSTRAINT ck_hold_stated CHECK (length(reason) > 0 AND length(legal_basis) > 0)
);
CREATE INDEX ix_hold_agency_placed ON hold (agency, placed_at, id);
CREATE INDEX ix_hold_placed ON hold (placed_at, id);
CREATE TABLE reconciliation (
	id CHAR(32) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	apply BOOLEAN NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	step VARCHAR(20) NOT NULL, 
	last_id CHAR(32), 
	last_key VARCHAR(1024), 
	copies BIGINT NOT NULL, 
	objects BIGINT NOT NULL, 
	not_checked BIGINT NOT NULL, 
	counts JSON NOT NULL, 
	CONSTRAINT pk_reconciliation PRIMARY KEY (id)
);
CREATE INDEX ix_reconciliation_started ON reconciliation (started_at, id);
CREATE TABLE storage_location (
	name VARCHAR(100) NOT NULL, 
	state VARCHAR(40) NOT NULL, 
	since DATETIME NOT NULL, 
	keep_until DATETIME, 
	CONSTRAINT pk_storage_location PRIMARY KEY (name), 
	CONSTRAINT ck_storage_location_kept_while_retired CHECK ((state = 'RETIRED') = (keep_until IS NOT NULL)), 
	CONSTRAINT ck_storage_location_location_state CHECK (state IN ('FILLING', 'ACTIVE', 'RETIRING', 'RETIRED', 'EMPTIED'))
);
CREATE TABLE storage_move (
	id CHAR(32) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	purpose VARCHAR(40) NOT NULL, 
	state VARCHAR(40) NOT NULL, 
	started_at DATETIME NOT NULL, 
	started_by VARCHAR(200) NOT NULL, 
	finished_at DATETIME, 
	step VARCHAR(20) NOT NULL, 
	last_id CHAR(32), 
	rounds INTEGER NOT NULL, 
	total BIGINT NOT NULL, 
	total_bytes BIGINT NOT NULL, 
	done BIGINT NOT NULL, 
	done_bytes BIGINT NOT NULL, 
	left_over BIGINT NOT NULL, 
	problems JSON NOT NULL, 
	worked_s FLOAT NOT NULL, 
	CONSTRAINT pk_storage_move PRIMARY KEY (id), 
	CONSTRAINT ck_storage_move_finished CHECK ((finished_at IS NULL) = (state IN ('RUNNING', 'PAUSED'))), 
	CONSTRAINT ck_storage_move_move_purpose CHECK (purpose IN ('FILL', 'RETIRE', 'EMPTY')), 
	CONSTRAINT ck_storage_move_move_state CHECK (state IN ('RUNNING', 'PAUSED', 'DONE', 'STOPPED'))
);
CREATE INDEX ix_storage_move_started ON storage_move (started_at, id);
CREATE UNIQUE INDEX uq_storage_move_open ON storage_move (location) WHERE state IN ('RUNNING', 'PAUSED');
CREATE TABLE hold_record (
	hold_id CHAR(32) NOT NULL, 
	record_id CHAR(32) NOT NULL, 
	dossier_code VARCHAR(100) NOT NULL, 
	CONSTRAINT pk_hold_record PRIMARY KEY (hold_id, record_id), 
	CONSTRAINT fk_hold_record_hold_id_hold FOREIGN KEY(hold_id) REFERENCES hold (id) ON DELETE RESTRICT
);
CREATE INDEX ix_hold_record_record_id ON hold_record (record_id, hold_id);
CREATE TABLE storage_drift (
	id INTEGER NOT NULL, 
	reconciliation_id CHAR(32) NOT NULL, 
	kind VARCHAR(30) NOT NULL, 
	"key" VARCHAR(1024) NOT NULL, 
	version_id VARCHAR(300) NOT NULL, 
	record_id CHAR(32), 
	detail TEXT NOT NULL, 
	mended BOOLEAN NOT NULL, 
	CONSTRAINT pk_storage_drift PRIMARY KEY (id), 
	CONSTRAINT fk_storage_drift_reconciliation_id_reconciliation FOREIGN KEY(reconciliation_id) REFERENCES reconciliation (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_storage_drift_reconciliation_id_key_kind_version_id UNIQUE (reconciliation_id, "key", kind, version_id)
);
CREATE INDEX ix_storage_drift_reconciliation ON storage_drift (reconciliation_id, id);
CREATE TRIGGER record_held BEFORE UPDATE OF state ON record WHEN NEW.state IN ('DESTROYING', 'DESTROYED', 'HANDED_OVER') AND NEW.state <> OLD.state AND EXISTS (SELECT 1 FROM hold_record JOIN hold ON hold.id = hold_record.hold_id WHERE hold.released_at IS NULL AND hold_record.record_id = NEW.id) BEGIN SELECT RAISE(ABORT, 'the record is under legal hold'); END;
CREATE TRIGGER aip_copy_held BEFORE UPDATE OF state ON aip_copy WHEN NEW.state = 'REMOVING' AND OLD.state <> 'REMOVING' AND EXISTS (SELECT 1 FROM hold_record JOIN hold ON hold.id = hold_record.hold_id WHERE hold.released_at IS NULL AND hold_record.record_id = (SELECT aip.record_id FROM aip WHERE aip.id = NEW.aip_id)) BEGIN SELECT RAISE(ABORT, 'the record is under legal hold'); END;
CREATE TRIGGER aip_copy_held_row BEFORE DELETE ON aip_copy WHEN EXISTS (SELECT 1 FROM hold_record JOIN hold ON hold.id = hold_record.hold_id WHERE hold.released_at IS NULL AND hold_record.record_id = (SELECT aip.record_id FROM aip WHERE aip.id = OLD.aip_id)) BEGIN SELECT RAISE(ABORT, 'the record is under legal hold'); END;
CREATE TRIGGER hold_final BEFORE UPDATE ON hold WHEN OLD.released_at IS NOT NULL BEGIN SELECT RAISE(ABORT, 'a released hold is final'); END;
CREATE TRIGGER hold_record_final BEFORE UPDATE ON hold_record WHEN NEW.hold_id IS NOT NULL BEGIN SELECT RAISE(ABORT, 'hold_record refuses UPDATE'); END;
CREATE TRIGGER hold_kept BEFORE DELETE ON hold WHEN OLD.rowid IS NOT NULL BEGIN SELECT RAISE(ABORT, 'hold refuses DELETE'); END;
CREATE TRIGGER hold_record_kept BEFORE DELETE ON hold_record WHEN OLD.rowid IS NOT NULL BEGIN SELECT RAISE(ABORT, 'hold_record refuses DELETE'); END;
CREATE TABLE component_text (
	id INTEGER NOT NULL, 
	aip_id CHAR(32) NOT NULL, 
	component_id VARCHAR(100) NOT NULL, 
	status VARCHAR(40) NOT NULL, 
	reason VARCHAR(500) NOT NULL, 
	characters INTEGER NOT NULL, 
	complete BOOLEAN NOT NULL, 
	extracted_at DATETIME NOT NULL, 
	CONSTRAINT pk_component_text PRIMARY KEY (id), 
	CONSTRAINT fk_component_text_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_component_text_aip_id_component_id UNIQUE (aip_id, component_id), 
	CONSTRAINT ck_component_text_component_text_status CHECK (status IN ('EXTRACTED', 'NO_TEXT', 'NOT_CHECKED'))
);
CREATE TABLE text_piece (
	id INTEGER NOT NULL, 
	text_id INTEGER NOT NULL, 
	record_id CHAR(32) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	content TEXT NOT NULL, 
	CONSTRAINT pk_text_piece PRIMARY KEY (id), 
	CONSTRAINT ck_text_piece_ordinal CHECK (ordinal >= 1), 
	CONSTRAINT fk_text_piece_record_id_record FOREIGN KEY(record_id) REFERENCES record (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_text_piece_text_id_component_text FOREIGN KEY(text_id) REFERENCES component_text (id) ON DELETE CASCADE, 
	CONSTRAINT uq_text_piece_text_id_ordinal UNIQUE (text_id, ordinal)
);
CREATE INDEX ix_text_piece_record ON text_piece (record_id, id);
CREATE VIRTUAL TABLE text_index USING fts5 (folded, written, content='', tokenize="ascii tokenchars '_'");
CREATE TABLE rendition_failure (
	aip_id CHAR(32) NOT NULL, 
	component_id VARCHAR(100) NOT NULL, 
	reason VARCHAR(500) NOT NULL, 
	failed_at DATETIME NOT NULL, 
	CONSTRAINT pk_rendition_failure PRIMARY KEY (aip_id, component_id), 
	CONSTRAINT fk_rendition_failure_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT
);
CREATE INDEX ix_submission_worst_state_opened ON submission (worst_severity, state, opened_at, id);
CREATE INDEX ix_submission_field_state_opened ON submission (field, state, opened_at, id);
CREATE TABLE object_copy (
	id CHAR(32) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	subject_id CHAR(32) NOT NULL, 
	aip_id CHAR(32) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	version_id VARCHAR(300), 
	store_key VARCHAR(500) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	verified_at DATETIME NOT NULL, 
	CONSTRAINT pk_object_copy PRIMARY KEY (id), 
	CONSTRAINT ck_object_copy_kind CHECK (kind IN ('rendition', 'certified-copy')), 
	CONSTRAINT fk_object_copy_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_object_copy_store_key_location UNIQUE (store_key, location)
);
CREATE INDEX ix_object_copy_location_verified ON object_copy (location, verified_at);
CREATE TABLE copy_silence (
	copy_id CHAR(32) NOT NULL, 
	since DATETIME NOT NULL, 
	runs INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_copy_silence PRIMARY KEY (copy_id)
);
CREATE TABLE evidence_batch (
	source VARCHAR(10) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	token BLOB NOT NULL, 
	appended BLOB NOT NULL, 
	renewed_by INTEGER, 
	retired_by INTEGER, 
	stamped_at DATETIME NOT NULL, 
	hash_name VARCHAR(20) NOT NULL, 
	expires_at DATETIME, 
	key_algorithm VARCHAR(40), 
	key_bits INTEGER, 
	signature_hash_name VARCHAR(20) NOT NULL, 
	CONSTRAINT pk_evidence_batch PRIMARY KEY (source, ordinal), 
	CONSTRAINT ck_evidence_batch_source CHECK (source IN ('seal', 'renewal'))
);
CREATE TABLE evidence_renewal (
	ordinal INTEGER NOT NULL, 
	kind VARCHAR(30) NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	hash_name VARCHAR(20) NOT NULL, 
	batches JSON NOT NULL, 
	token BLOB, 
	authority VARCHAR(500), 
	problem TEXT, 
	urgency VARCHAR(10) NOT NULL, 
	ends_at DATETIME NOT NULL, 
	object_sha256 VARCHAR(64), 
	prepared_at DATETIME NOT NULL, 
	done_at DATETIME, 
	CONSTRAINT pk_evidence_renewal PRIMARY KEY (ordinal), 
	CONSTRAINT ck_evidence_renewal_kind CHECK (kind IN ('timestamp-renewal', 'hash-tree-renewal')), 
	CONSTRAINT ck_evidence_renewal_done CHECK (state = 'PREPARED' OR object_sha256 IS NOT NULL), 
	CONSTRAINT ck_evidence_renewal_state CHECK (state IN ('PREPARED', 'DONE'))
);
CREATE UNIQUE INDEX uq_evidence_renewal_prepared ON evidence_renewal (state) WHERE state = 'PREPARED';
CREATE TABLE renewed_record (
	renewal INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	aip_id CHAR(32), 
	seal INTEGER, 
	digest VARCHAR(128), 
	left_out TEXT, 
	record BLOB, 
	CONSTRAINT pk_renewed_record PRIMARY KEY (renewal, position), 
	CONSTRAINT ck_renewed_record_subject CHECK ((aip_id IS NULL) <> (seal IS NULL)), 
	CONSTRAINT fk_renewed_record_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_renewed_record_renewal_evidence_renewal FOREIGN KEY(renewal) REFERENCES evidence_renewal (ordinal) ON DELETE RESTRICT, 
	CONSTRAINT fk_renewed_record_seal_log_seal FOREIGN KEY(seal) REFERENCES log_seal (ordinal) ON DELETE RESTRICT
);
CREATE INDEX ix_renewed_record_aip ON renewed_record (aip_id, renewal);
CREATE INDEX ix_renewed_record_seal ON renewed_record (seal, renewal);
CREATE TABLE "incident" (
	id CHAR(32) NOT NULL, 
	copy_id CHAR(32), 
	aip_id CHAR(32) NOT NULL, 
	location VARCHAR(100) NOT NULL, 
	found VARCHAR(20) NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	notice TEXT NOT NULL, 
	cause TEXT NOT NULL, 
	remedy TEXT NOT NULL, 
	source_location VARCHAR(100), 
	quarantine_key VARCHAR(500), 
	opened_at DATETIME NOT NULL, 
	closed_at DATETIME, 
	object_copy_id CHAR(32), 
	CONSTRAINT pk_incident PRIMARY KEY (id), 
	CONSTRAINT ck_incident_status CHECK (status IN ('OPEN', 'REPAIRED', 'RECOVERED', 'NO_GOOD_COPY', 'REFUSED')), 
	CONSTRAINT fk_incident_copy_id_aip_copy FOREIGN KEY(copy_id) REFERENCES aip_copy (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_incident_aip_id_aip FOREIGN KEY(aip_id) REFERENCES aip (id) ON DELETE RESTRICT, 
	CONSTRAINT ck_incident_closed CHECK ((closed_at IS NULL) = (status NOT IN ('REPAIRED', 'RECOVERED'))), 
	CONSTRAINT fk_incident_object_copy_id_object_copy FOREIGN KEY(object_copy_id) REFERENCES object_copy (id) ON DELETE RESTRICT, 
	CONSTRAINT ck_incident_subject CHECK ((copy_id IS NULL) <> (object_copy_id IS NULL))
);
CREATE INDEX ix_incident_opened ON incident (opened_at, id);
CREATE UNIQUE INDEX uq_incident_open ON incident (copy_id) WHERE closed_at IS NULL;
CREATE UNIQUE INDEX uq_incident_object_open ON incident (object_copy_id) WHERE closed_at IS NULL;
CREATE TRIGGER incident_no_delete BEFORE DELETE ON incident BEGIN SELECT RAISE(ABORT, 'incident refuses DELETE'); END;
CREATE TABLE sign_in_brake (
	"key" VARCHAR(100) NOT NULL, 
	failed_sign_ins INTEGER NOT NULL, 
	locked_until DATETIME, 
	last_failed_at DATETIME NOT NULL, 
	CONSTRAINT pk_sign_in_brake PRIMARY KEY ("key")
);
CREATE INDEX ix_sign_in_brake_last_failed_at ON sign_in_brake (last_failed_at);
CREATE TRIGGER evidence_renewal_no_delete BEFORE DELETE ON evidence_renewal BEGIN SELECT RAISE(ABORT, 'evidence_renewal refuses DELETE'); END;
CREATE TRIGGER renewed_record_no_delete BEFORE DELETE ON renewed_record BEGIN SELECT RAISE(ABORT, 'renewed_record refuses DELETE'); END;
CREATE INDEX ix_decision_batch_id ON decision (batch_id);
CREATE INDEX ix_submission_opened ON submission (opened_at, id);
INSERT INTO alembic_version (version_num) VALUES ('0008');
