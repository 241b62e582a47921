"""Access to archived records: search, reading, and bytes served straight from the package."""
