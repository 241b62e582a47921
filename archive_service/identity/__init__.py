"""Who may do what (D14, R130-R136): accounts, tokens, browser sessions, the first administrator, roles and agency scope."""

from archive_service.identity.permissions import ALL, AllAgencies, Grant, Permission, Principal, in_scope, operator

__all__ = ["ALL", "AllAgencies", "Grant", "Permission", "Principal", "in_scope", "operator"]
