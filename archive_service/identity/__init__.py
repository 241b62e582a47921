"""Who may do what (D14, R130-R136): accounts, tokens, browser sessions, first administrator, roles and agency scope."""

from archive_service.identity.permissions import ALL, AllAgencies, Grant, Permission, Principal, in_scope, operator
from archive_service.identity.sessions import SessionLimits, SignedIn, authenticate_session
from archive_service.identity.tokens import authenticate_token, create_token

__all__ = [
    "ALL",
    "AllAgencies",
    "Grant",
    "Permission",
    "Principal",
    "SessionLimits",
    "SignedIn",
    "authenticate_session",
    "authenticate_token",
    "create_token",
    "in_scope",
    "operator",
]
