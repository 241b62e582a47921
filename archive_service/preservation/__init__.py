"""Keeping what is stored: fixity and repair of copies, the sealed log and its evidence, rebuilding the database from storage."""
