"""Records archive and retention service for administrative-procedure (TTHC) dossiers.

The way of a dossier: receive, check, approve, package, store, retain, dispose. Each stage is a sub-package; a module
imports only from stages before it (DESIGN section 4, held by import-linter).
"""

__version__ = "0.1.0"
