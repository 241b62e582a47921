"""Evidence that outlives the server: Merkle log, signed checkpoints, time-stamps, Evidence Records (DESIGN D7).

Everything here is pure: functions over bytes, no database, no clock. Who keeps leaves and when sealing happens is
decided above.
"""
