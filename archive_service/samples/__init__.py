"""Sample dossiers and a test public-key infrastructure, made the same way every time from a seed.

For the demo, for tests and for trying the service out. Nothing here is used on real dossiers, and no key made here
protects anything.
"""
