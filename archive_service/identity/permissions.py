"""Who may do what, where: permissions, roles as data, and the one place that makes a WHERE clause of them (D14, R130).

An agency scope is one agency code compared exactly. It never covers codes below or beside it: a grant for `H40` (a
province) says nothing about `000.00.16.H40` (one of its offices), because agencies are merged, split and renamed and
a prefix would silently widen with them. A grant for all agencies is written as agency None. A row without an agency
(a package not opened yet) is seen only by those with a grant for all agencies.

What concerns the installation as a whole (`INSTALLATION_WIDE`: jobs, locations, minutes of checks, trust, accounts)
belongs to no agency; a grant within an agency never gives it, whatever its role.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, false, or_, true

from archive_service.audit import Agent
from archive_service.errors import NotPermitted
from archive_service.models import RoleName


class Permission(StrEnum):
    """What can be asked of the service, grammar `subject.verb`; stored nowhere, so it may be split further."""

    SUBMISSION_PUSH = "submission.push"
    SUBMISSION_READ = "submission.read"
    SUBMISSION_DECIDE = "submission.decide"
    RECORD_SEARCH = "record.search"
    RECORD_READ = "record.read"
    COPY_ISSUE = "copy.issue"
    COPY_READ = "copy.read"
    COPY_CANCEL = "copy.cancel"
    RETENTION_READ = "retention.read"
    RETENTION_REVIEW = "retention.review"
    HOLD_READ = "hold.read"
    HOLD_PLACE = "hold.place"
    STORAGE_MANAGE = "storage.manage"
    AUDIT_READ = "audit.read"
    INCIDENT_READ = "incident.read"
    JOB_READ = "job.read"
    JOB_REQUEUE = "job.requeue"
    TRUST_MANAGE = "trust.manage"
    ACCOUNT_MANAGE = "account.manage"
    TOKEN_MANAGE = "token.manage"  # noqa: S105 - a permission, not a secret


INSTALLATION_WIDE: Final = frozenset(
    {
        Permission.JOB_READ,
        Permission.JOB_REQUEUE,
        Permission.STORAGE_MANAGE,
        Permission.TRUST_MANAGE,
        Permission.ACCOUNT_MANAGE,
        Permission.TOKEN_MANAGE,
    }
)
"""Permissions over what belongs to no agency: only a grant for all agencies gives them. JOB_READ covers whatever tells how the
installation runs: jobs, storage locations and moves, minutes of fixity checks, seals and renewals."""


class AllAgencies(Enum):
    """The scope of a grant without agency; a type of its own, so that it cannot be mistaken for a set of codes."""

    ALL = "all"


ALL: Final = AllAgencies.ALL

_READER: Final = frozenset(
    {Permission.SUBMISSION_READ, Permission.RECORD_SEARCH, Permission.RECORD_READ, Permission.COPY_READ}
)

ROLE_PERMISSIONS: Final[Mapping[RoleName, frozenset[Permission]]] = MappingProxyType(
    {
        RoleName.SUBMITTER: frozenset({Permission.SUBMISSION_PUSH, Permission.SUBMISSION_READ}),
        RoleName.ARCHIVIST: _READER
        | {
            Permission.SUBMISSION_DECIDE,
            Permission.RETENTION_READ,
            Permission.HOLD_READ,
            Permission.INCIDENT_READ,
            Permission.JOB_READ,
        },
        RoleName.RECORDS_HEAD: _READER
        | {
            Permission.SUBMISSION_DECIDE,
            Permission.RETENTION_READ,
            Permission.RETENTION_REVIEW,
            Permission.HOLD_READ,
            Permission.HOLD_PLACE,
            Permission.COPY_CANCEL,
            Permission.AUDIT_READ,
            Permission.INCIDENT_READ,
            Permission.JOB_READ,
        },
        RoleName.COUNCIL: frozenset(
            {Permission.RECORD_SEARCH, Permission.RECORD_READ, Permission.RETENTION_READ, Permission.HOLD_READ}
        ),
        RoleName.OFFICER: frozenset({Permission.RECORD_SEARCH, Permission.RECORD_READ, Permission.COPY_READ}),
        RoleName.COPY_OFFICER: frozenset(
            {
                Permission.RECORD_SEARCH,
                Permission.RECORD_READ,
                Permission.COPY_ISSUE,
                Permission.COPY_READ,
                Permission.COPY_CANCEL,
            }
        ),
        RoleName.AUDITOR: frozenset(
            {
                Permission.AUDIT_READ,
                Permission.SUBMISSION_READ,
                Permission.RECORD_SEARCH,
                Permission.COPY_READ,
                Permission.RETENTION_READ,
                Permission.HOLD_READ,
                Permission.INCIDENT_READ,
                Permission.JOB_READ,
            }
        ),
        RoleName.ADMIN: frozenset(
            {
                Permission.ACCOUNT_MANAGE,
                Permission.TOKEN_MANAGE,
                Permission.TRUST_MANAGE,
                Permission.STORAGE_MANAGE,
                Permission.AUDIT_READ,
                Permission.INCIDENT_READ,
                Permission.JOB_READ,
                Permission.JOB_REQUEUE,
            }
        ),
    }
)
"""What each role may do. The administrator runs the system and decides nothing about records (segregation of duties,
R132)."""

ACCESS_MODES: Final = frozenset({"01", "02", "03"})
"""Access modes of TT 05/2025: 01 public, 02 conditional use, 03 secret."""

ROLE_ACCESS: Final[Mapping[RoleName, frozenset[str]]] = MappingProxyType(
    {
        role: ACCESS_MODES
        if role in {RoleName.ARCHIVIST, RoleName.RECORDS_HEAD, RoleName.COUNCIL}
        else ACCESS_MODES - {"03"}
        for role in RoleName
    }
)
"""Access modes of the records each role may see (R130). Who keeps or decides on a record sees it; everybody else
needs it to be open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One role in one agency."""

    role: RoleName
    agency: str | None
    """Agency code, compared exactly; None for all agencies."""

    def gives(self, permission: Permission) -> bool:
        """Returns whether the grant gives `permission` anywhere."""
        return permission in ROLE_PERMISSIONS[self.role] and (
            self.agency is None or permission not in INSTALLATION_WIDE
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking: a signed-in person, a system with a token, or the operator at the command line."""

    id: str
    """Same as the agent's id: `account:<uuid>`, `token:<uuid>` or `software:<part>`."""
    name: str
    agent: Agent
    grants: tuple[Grant, ...]
    access: frozenset[str] = ACCESS_MODES
    """Ceiling on the access modes of records this principal may see, on top of what the roles say."""

    def agencies(self, permission: Permission) -> frozenset[str] | AllAgencies:
        """Returns the agencies in which the principal has `permission`, or `ALL`."""
        codes = {grant.agency for grant in self.grants if grant.gives(permission)}
        if None in codes:
            return ALL
        return frozenset(code for code in codes if code is not None)

    def may(self, permission: Permission, *agencies: str | None, access_mode: str | None = None) -> bool:
        """Returns whether `require` would pass; for showing or hiding what a page offers.

        Args:
            permission: What is asked.
            agencies: Agencies of the row; a grant in any of them is enough. None given: any grant will do.
            access_mode: Access mode of the record, where there is one.
        """
        if access_mode is not None and access_mode not in self.access:
            return False
        return any(
            grant.gives(permission)
            and (grant.agency is None or not agencies or grant.agency in agencies)
            and (access_mode is None or access_mode in ROLE_ACCESS[grant.role])
            for grant in self.grants
        )

    def require(self, permission: Permission, *agencies: str | None, access_mode: str | None = None) -> None:
        """Refuses unless the principal has `permission` in one of `agencies`, or in any agency when none is given.

        A row whose agency is not known yet is passed as None: only a grant for all agencies covers it.

        Raises:
            NotPermitted: no role gives it. The message does not say which role would.
        """
        if not self.may(permission, *agencies, access_mode=access_mode):
            where = f" in agency {', '.join(str(code) for code in agencies)}" if agencies else ""
            raise NotPermitted(f"{self.name} may not {permission}{where}", permission=permission.value)


def operator(agent: Agent) -> Principal:
    """Returns the principal of the command line on the server: who holds the data folder may do everything."""
    grants = tuple(Grant(role=role, agency=None) for role in RoleName)
    return Principal(id=agent.id, name=agent.name, agent=agent, grants=grants)


def in_scope(
    principal: Principal,
    permission: Permission,
    *agency_columns: Any,  # mapped columns: their type differs between nullable and not
    access_column: Any | None = None,
) -> ColumnElement[bool]:
    """Returns the WHERE clause that keeps a query to the rows the principal may see. Every list query uses it.

    Agrees with `Principal.may` row by row (a test compares the two on both engines).

    Args:
        principal: Who asks.
        permission: For what.
        agency_columns: Columns holding agency codes; a row is in scope when any of them is one of the principal's
            agencies.
        access_column: Column holding the record's access mode, where rows have one; NULL counts as not classified yet
            and is
            left to the agency scope alone.
    """
    clauses: list[ColumnElement[bool]] = []
    for grant in principal.grants:
        if not grant.gives(permission):
            continue
        clause = (
            true() if grant.agency is None else or_(false(), *(column == grant.agency for column in agency_columns))
        )
        modes = ROLE_ACCESS[grant.role] & principal.access
        if access_column is not None and modes != ACCESS_MODES:
            clause = clause & (access_column.is_(None) | access_column.in_(sorted(modes)))
        clauses.append(clause)
    return or_(false(), *clauses)
