"""HTTP interface under /api/v1: thin endpoints that open a transaction, call one function of a stage, and answer JSON."""
