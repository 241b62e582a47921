"""Realistic sample dossiers, good and bad, with the small ones beside them."""

from archive_service.samples.small import (
    SampleDossier,
    eight_file_dossier,
    generate_bulk,
    minimal_dossier,
)

__all__ = ["SampleDossier", "eight_file_dossier", "generate_bulk", "minimal_dossier"]
