"""Receiving dossiers (OAIS ingest): opening a submission, taking its files, and checking what was received."""
