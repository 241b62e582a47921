"""Dispute packages: one ZIP with everything that proves a record, checkable by a stranger with common tools (LESSONS 3.16)."""
