"""Encrypted backups of database, configuration, keys and staging; restoring them, and drills that prove it (R122, R123)."""
