"""Pure rules: retention, codes and dates, completeness.

Law is data here; no database, no clock, no network (DESIGN D10).
"""
