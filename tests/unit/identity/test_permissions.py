"""Roles as data, and the questions a principal answers."""

import pytest

from archive_service.audit import software
from archive_service.errors import NotPermitted
from archive_service.identity.permissions import (
    ALL,
    INSTALLATION_WIDE,
    ROLE_ACCESS,
    ROLE_PERMISSIONS,
    Grant,
    Permission,
    Principal,
    operator,
)
from archive_service.models import RoleName

AGENT = software("tests")


def _principal(*grants: Grant) -> Principal:
    return Principal(id=AGENT.id, name="Lan", agent=AGENT, grants=grants)


def test_every_role_has_permissions_and_every_permission_a_role() -> None:
    assert set(ROLE_PERMISSIONS) == set(ROLE_ACCESS) == set(RoleName)
    assert frozenset().union(*ROLE_PERMISSIONS.values()) == set(Permission)


def test_who_runs_the_system_decides_nothing_about_records() -> None:
    assert not {
        name for name in ROLE_PERMISSIONS[RoleName.ADMIN] if name.startswith(("record.", "submission.", "copy."))
    }
    deciders = {role for role, may in ROLE_PERMISSIONS.items() if Permission.SUBMISSION_DECIDE in may}
    pushers = {role for role, may in ROLE_PERMISSIONS.items() if Permission.SUBMISSION_PUSH in may}
    assert deciders == {RoleName.ARCHIVIST, RoleName.RECORDS_HEAD}
    assert not deciders & pushers, "who hands over does not accept"


def test_agencies_of_a_permission() -> None:
    principal = _principal(
        Grant(role=RoleName.OFFICER, agency="A"),
        Grant(role=RoleName.ARCHIVIST, agency="B"),
        Grant(role=RoleName.AUDITOR, agency=None),
    )
    assert principal.agencies(Permission.RECORD_READ) == frozenset({"A", "B"})
    assert principal.agencies(Permission.SUBMISSION_DECIDE) == frozenset({"B"})
    assert principal.agencies(Permission.AUDIT_READ) is ALL
    assert principal.agencies(Permission.TOKEN_MANAGE) == frozenset()


@pytest.mark.parametrize("permission", sorted(INSTALLATION_WIDE))
def test_what_belongs_to_no_agency_is_given_by_no_grant_within_one(permission: Permission) -> None:
    within = _principal(*(Grant(role=role, agency="A") for role in RoleName))
    assert not within.may(permission)
    assert not within.may(permission, "A")
    assert within.agencies(permission) == frozenset()
    everywhere = _principal(*(Grant(role=role, agency=None) for role in RoleName))
    assert everywhere.may(permission)
    assert everywhere.agencies(permission) is ALL


@pytest.mark.parametrize(
    ("agencies", "allowed"), [((), True), (("A",), True), (("B",), False), (("B", "A"), True), ((None,), False)]
)
def test_require(agencies: tuple[str | None, ...], allowed: bool) -> None:  # noqa: FBT001 - a table of expectations
    principal = _principal(Grant(role=RoleName.OFFICER, agency="A"))
    if allowed:
        principal.require(Permission.RECORD_READ, *agencies)
    else:
        with pytest.raises(NotPermitted, match=r"Lan may not record\.read in agency") as refused:
            principal.require(Permission.RECORD_READ, *agencies)
        assert refused.value.fields == {"permission": "record.read"}


def test_a_secret_record_needs_a_role_for_it_in_that_agency() -> None:
    principal = _principal(Grant(role=RoleName.OFFICER, agency="A"), Grant(role=RoleName.ARCHIVIST, agency="B"))
    assert principal.may(Permission.RECORD_READ, "A", access_mode="02")
    assert not principal.may(Permission.RECORD_READ, "A", access_mode="03")
    assert principal.may(Permission.RECORD_READ, "B", access_mode="03")


def test_the_command_line_may_everything() -> None:
    assert all(operator(AGENT).agencies(permission) is ALL for permission in Permission)
