"""The lifecycle as data: every state, every allowed pair, and the event type each pair is recorded as (STYLE 7).

A submission goes from RECEIVING to STORED (or is refused on the way); the record it becomes starts at STORED. A missing pair is an error,
never a default; a test walks all pairs.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """States of a submission and of the record it becomes."""

    RECEIVING = "RECEIVING"
    CHECKING = "CHECKING"
    REJECTED = "REJECTED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    RETURNED = "RETURNED"
    APPROVED = "APPROVED"
    STORED = "STORED"
    UNDER_REVIEW = "UNDER_REVIEW"
    DESTROYING = "DESTROYING"
    DESTROYED = "DESTROYED"
    HANDED_OVER = "HANDED_OVER"


class EventType(StrEnum):
    """Event types, grammar `subject.past-participle`; stored values never change."""

    SUBMISSION_OPENED = "submission.opened"
    SUBMISSION_COMPLETED = "submission.completed"
    SUBMISSION_WITHDRAWN = "submission.withdrawn"
    SUBMISSION_REJECTED = "submission.rejected"
    SUBMISSION_CHECKED = "submission.checked"
    SUBMISSION_APPROVED = "submission.approved"
    SUBMISSION_RETURNED = "submission.returned"
    SUBMISSION_REFUSED = "submission.refused"
    SUBMISSION_STORED = "submission.stored"
    SUBMISSION_FILE_READ = "submission.file-read"
    SUBMISSION_QUARANTINED = "submission.quarantined"
    SUBMISSION_QUARANTINE_ENDED = "submission.quarantine-ended"
    RECORD_ACCESSIONED = "record.accessioned"
    RECORD_VERSION_ADDED = "record.version-added"
    RECORD_REVIEW_STARTED = "record.review-started"
    RECORD_REVIEW_ENDED = "record.review-ended"
    RECORD_DESTRUCTION_STARTED = "record.destruction-started"
    RECORD_DESTROYED = "record.destroyed"
    RECORD_HANDED_OVER = "record.handed-over"
    RECORD_RETENTION_ASSIGNED = "record.retention-assigned"
    RECORD_FELL_DUE = "record.fell-due"
    RECORD_VIEWED = "record.viewed"
    RECORD_COMPONENT_READ = "record.component-read"
    RECORD_PACKAGE_READ = "record.package-read"
    RECORD_DISPUTE_PACKAGE_READ = "record.dispute-package-read"
    RECORD_RENDITION_MADE = "record.rendition-made"
    RECORD_COPY_VERIFIED = "record.copy-verified"
    RECORD_COPY_DAMAGED = "record.copy-damaged"
    RECORD_COPY_ADDED = "record.copy-added"
    RECORD_COPY_REMOVED = "record.copy-removed"
    RECORD_HELD = "record.held"
    RECORD_HOLD_RELEASED = "record.hold-released"
    HOLD_PLACED = "hold.placed"
    HOLD_RELEASED = "hold.released"
    LOCATION_ADDED = "location.added"
    LOCATION_FILLED = "location.filled"
    LOCATION_RETIREMENT_BEGUN = "location.retirement-begun"
    LOCATION_RETIRED = "location.retired"
    LOCATION_PUT_BACK = "location.put-back"
    LOCATION_REMOVAL_BEGUN = "location.removal-begun"
    LOCATION_EMPTIED = "location.emptied"
    LOCATION_MOVE_PAUSED = "location.move-paused"
    LOCATION_MOVE_RESUMED = "location.move-resumed"
    LOCATION_LOCKS_RENEWED = "location.locks-renewed"
    LOCATION_RECONCILED = "location.reconciled"
    COPY_ISSUED = "copy.issued"
    COPY_READ = "copy.read"
    COPY_CANCELLED = "copy.cancelled"
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_CHANGED = "account.changed"
    ACCOUNT_SIGNED_IN = "account.signed-in"
    ACCOUNT_SIGN_IN_FAILED = "account.sign-in-failed"
    ACCOUNT_SIGNED_OUT = "account.signed-out"
    ACCOUNT_LOCKED = "account.locked"
    TOKEN_CREATED = "token.created"  # noqa: S105 - an event name
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - an event name
    TRUST_ANCHOR_ADDED = "trust-anchor.added"
    TRUST_ANCHOR_RETIRED = "trust-anchor.retired"
    JOB_PARKED = "job.parked"
    JOB_REQUEUED = "job.requeued"
    REVIEW_LISTED = "review.listed"
    FIXITY_CHECKED = "fixity.checked"
    INCIDENT_OPENED = "incident.opened"
    INCIDENT_REPAIRED = "incident.repaired"
    INCIDENT_RECOVERED = "incident.recovered"
    INCIDENT_UNREPAIRABLE = "incident.unrepairable"
    ARCHIVE_REBUILT = "archive.rebuilt"
    ARCHIVE_RESTORED = "archive.restored"
    BACKUP_MADE = "backup.made"
    BACKUP_DRILLED = "backup.drilled"
    EVIDENCE_RENEWED = "evidence.renewed"
    EVIDENCE_RENEWAL_DELAYED = "evidence.renewal-delayed"
    LOG_KEY_ROTATED = "log.key-rotated"


TRANSITIONS: Final[Mapping[tuple[State, State], EventType]] = MappingProxyType(
    {
        (State.RECEIVING, State.CHECKING): EventType.SUBMISSION_COMPLETED,
        (State.RECEIVING, State.REJECTED): EventType.SUBMISSION_WITHDRAWN,
        (State.CHECKING, State.REJECTED): EventType.SUBMISSION_REJECTED,
        (State.CHECKING, State.AWAITING_APPROVAL): EventType.SUBMISSION_CHECKED,
        (State.AWAITING_APPROVAL, State.APPROVED): EventType.SUBMISSION_APPROVED,
        (State.AWAITING_APPROVAL, State.RETURNED): EventType.SUBMISSION_RETURNED,
        (State.AWAITING_APPROVAL, State.REJECTED): EventType.SUBMISSION_REFUSED,
        (State.APPROVED, State.STORED): EventType.SUBMISSION_STORED,
        (State.STORED, State.UNDER_REVIEW): EventType.RECORD_REVIEW_STARTED,
        (State.UNDER_REVIEW, State.STORED): EventType.RECORD_REVIEW_ENDED,
        (State.UNDER_REVIEW, State.DESTROYING): EventType.RECORD_DESTRUCTION_STARTED,
        (State.DESTROYING, State.DESTROYED): EventType.RECORD_DESTROYED,
        (State.UNDER_REVIEW, State.HANDED_OVER): EventType.RECORD_HANDED_OVER,
    }
)

SUBMISSION_STATES: Final = frozenset(
    {
        State.RECEIVING,
        State.CHECKING,
        State.REJECTED,
        State.AWAITING_APPROVAL,
        State.RETURNED,
        State.APPROVED,
        State.STORED,
    }
)
RECORD_STATES: Final = frozenset(set(State) - SUBMISSION_STATES | {State.STORED})
IN_FLIGHT: Final = (State.RECEIVING, State.CHECKING, State.AWAITING_APPROVAL, State.APPROVED)
"""Submission states in which the dossier code is taken."""
REFUSED: Final = (State.REJECTED, State.RETURNED)
"""Submission states after which the same code may be pushed again with other content."""
