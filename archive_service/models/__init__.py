"""The tables: what the database defends. State names and the lifecycle table stand in `states`; nothing here has behaviour."""

from archive_service.models.base import Base
from archive_service.models.event import Event
from archive_service.models.identity import Account, ApiToken, BrowserSession, RoleGrant, RoleName, SetupLink
from archive_service.models.job import Job, JobKind, JobState, ScheduledRun
from archive_service.models.preservation import AipEvidence, FixityRun, Incident, LogSeal, LogTile, Rebuild
from archive_service.models.record import (
    Aip,
    AipCopy,
    CertifiedCopy,
    Record,
    RecordTerm,
    RetentionAssignment,
    RetentionReview,
    RetentionReviewItem,
)
from archive_service.models.rendition import Rendition
from archive_service.models.states import TRANSITIONS, EventType, State
from archive_service.models.storage import (
    Hold,
    HoldRecord,
    LocationState,
    MovePurpose,
    MoveState,
    Reconciliation,
    StorageDrift,
    StorageLocation,
    StorageMove,
)
from archive_service.models.submission import Component, Decision, SignatureVerdict, Submission, SubmissionFinding

__all__ = [
    "TRANSITIONS",
    "Account",
    "Aip",
    "AipCopy",
    "AipEvidence",
    "ApiToken",
    "Base",
    "BrowserSession",
    "CertifiedCopy",
    "Component",
    "Decision",
    "Event",
    "EventType",
    "FixityRun",
    "Hold",
    "HoldRecord",
    "Incident",
    "Job",
    "JobKind",
    "JobState",
    "LocationState",
    "LogSeal",
    "LogTile",
    "MovePurpose",
    "MoveState",
    "Rebuild",
    "Reconciliation",
    "Record",
    "RecordTerm",
    "Rendition",
    "RetentionAssignment",
    "RetentionReview",
    "RetentionReviewItem",
    "RoleGrant",
    "RoleName",
    "ScheduledRun",
    "SetupLink",
    "SignatureVerdict",
    "State",
    "StorageDrift",
    "StorageLocation",
    "StorageMove",
    "Submission",
    "SubmissionFinding",
]
