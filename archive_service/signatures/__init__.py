"""Electronic signatures: validation with a report that settles disputes, trust stores, policies (DESIGN D8)."""
