"""Certified paper copies of archived documents: rendering, register, verification (DESIGN D12)."""
