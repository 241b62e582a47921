"""Retention over time: which records fell due, listed by a scheduled review. What becomes of them is for people (DESIGN D11)."""
