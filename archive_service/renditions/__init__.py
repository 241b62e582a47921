"""Renditions: PDF/A made after storing, as jobs; never instead of the original and never in its way."""
