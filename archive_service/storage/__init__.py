"""Write-once object storage: one port, two native backends, staging for uploads, and the only durable file writer.

Knows keys, bytes, digests, retention dates and holds; knows nothing of dossiers, records or the database (README.md
beside this file).
"""
