"""Archival information packages: building, reading, verifying; and safe reading of pushed dossiers.

The package kind is `AIP_hoso` of TT 05/2025 on E-ARK CSIP. Bytes and rules only: no database, no network, no clock. The
design note is README.md beside this file.
"""
