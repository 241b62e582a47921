"""Realistic sample dossiers, good and bad, byte-identical for the same seed and time."""

import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archive_service.samples.pki import TestPki
from archive_service.samples.small import (
    SampleDossier,
    eight_file_dossier,
    generate_bulk,
    minimal_dossier,
    write_dossier,
)

if TYPE_CHECKING:  # pyHanko, typst and Pillow take a second to load: only when dossiers are really made
    from archive_service.samples.components import Studio
    from archive_service.samples.facts import Case

__all__ = ["SampleDossier", "eight_file_dossier", "generate", "generate_bulk", "minimal_dossier"]

ALL_FAULTS_FROM: Final = 24
"""From this many dossiers on every kind of fault of the first group occurs; below, every third dossier is bad."""
_EVERY_FAULT_FROM: Final = 32
"""From here on also the rarer faults of ZIP files."""
_RARE_FAULTS: Final = 2
_ZIP_EVERY: Final = 5

Progress = Callable[[int, int], None]
"""Told how many dossiers are done, and of how many."""


def generate(
    target: Path,
    *,
    count: int = 24,
    seed: int = 2025,
    at: datetime,
    pki: TestPki | None = None,
    progress: Progress | None = None,
) -> list[SampleDossier]:
    """Writes `count` dossiers below `target` and returns what they are, in the order in which to hand them over.

    They closed in the months before `at`. A dossier that repeats the code of another one comes after it. Signers'
    certificates come from `pki`, which is made from `seed` and `at` when none is given; a checker needs its roots
    (`TestPki.write_trust`), written after this call, because revoked certificates get onto its lists during it.

    Raises:
        ValueError: `count` is negative, or `at` is naive.
    """
    from archive_service.samples.components import Studio
    from archive_service.samples.facts import draw_case
    from archive_service.samples.papers import Typesetter

    if count < 0:
        raise ValueError(f"{count} dossiers cannot be made")
    authority = pki or TestPki.create(seed, at=at)
    made: list[SampleDossier] = []
    with Typesetter() as typesetter:
        for number, fault in enumerate(_plan(count)):
            drawn = 0 if fault == "duplicate" else number  # the first dossier once more
            rng = random.Random(f"dossier {seed} {drawn}")  # noqa: S311 - samples, not secrets
            studio = Studio(pki=authority, typesetter=typesetter, rng=rng)
            outcome, supplemented, overdue = _course(drawn, fault)
            case = draw_case(drawn, seed=seed, at=at, outcome=outcome, supplemented=supplemented, overdue=overdue)
            made.append(_made(target, number, fault, case, studio))
            if progress is not None:
                progress(number + 1, count)
    return made


def _plan(count: int) -> list[str | None]:
    """The fault of each dossier; None for good ones, which are spread between."""
    from archive_service.samples.faults import EXPECTED_CODES

    kinds = list(EXPECTED_CODES)
    if count < ALL_FAULTS_FROM:
        kinds = kinds[: count // 3]
    elif count < _EVERY_FAULT_FROM:
        kinds = kinds[:-_RARE_FAULTS]
    plan: list[str | None] = [None] * count
    for position, kind in enumerate(kinds):
        plan[1 + position * (count - 1) // len(kinds)] = kind
    return plan


def _course(number: int, fault: str | None) -> tuple[str, bool, bool]:
    """Outcome, whether a supplement was asked for, whether the dossier is overdue."""
    if fault is not None:
        return "result_returned", fault == "missing_supplement_request", False
    variants = (
        ("result_returned", False, False),
        ("result_returned", True, False),
        ("refused", False, False),
        ("result_returned", False, True),
        ("result_returned", False, False),
        ("withdrawn", False, False),
        ("stopped", True, False),
        ("result_returned", True, True),
    )
    return variants[number // 2 % len(variants)]


def _made(target: Path, number: int, fault: str | None, case: "Case", studio: "Studio") -> SampleDossier:
    from archive_service.samples.components import case_files
    from archive_service.samples.faults import EXPECTED_CODES, ZIP_FAULTS, spoil, write_zip

    files = case_files(case, studio)
    if fault is not None:
        files = spoil(fault, case, studio, files)
    folder = target / "-".join(filter(None, (f"{number + 1:03}", case.procedure.key, fault)))
    write_dossier(folder, _head(case), files)
    zipped = fault in ZIP_FAULTS or (fault is None and number % _ZIP_EVERY == _ZIP_EVERY - 1)
    zip_path = folder.with_name(folder.name + ".zip") if zipped else None
    if zip_path is not None:
        write_zip(folder, zip_path, fault=fault)
    return SampleDossier(
        folder=folder,
        dossier_code=case.dossier_code,
        title=case.title,
        kind=case.procedure.key,
        good=fault is None,
        fault=fault,
        expected_codes=EXPECTED_CODES[fault] if fault else frozenset(),
        form="zip" if zipped else "folder",
        zip_path=zip_path,
    )


def _head(case: "Case") -> dict[str, Any]:  # the JSON members beside the components
    from archive_service.samples.components import process_steps

    procedure, organisation = case.procedure, case.procedure.organisation
    applicant = case.applicant
    business = f"{'Công ty TNHH' if procedure.unit == 'environment' else 'Hộ kinh doanh'} {case.facts['business']}"
    return {
        "dossier_code": case.dossier_code,
        "procedure_code": f"{procedure.code}.000.00.00.{case.province.code}",
        "procedure_name": procedure.name,
        "field": procedure.field,
        "title": case.title,
        "receiving_agency": case.agency.legacy_code,
        "settling_agency": case.agency.code,
        "archiving_agency": case.agency.code,
        "applicant": {
            "name": business if organisation else applicant.name,
            "identifier": case.facts["tax"] if organisation else applicant.identifier,
            "kind": "organisation" if organisation else "citizen",
        },
        "received_at": case.received_at.isoformat(),
        "due_at": case.due_at.isoformat(),
        "closed_at": case.closed_at.isoformat(),
        "outcome": case.outcome,
        "access_mode": "02",
        "declared_maintenance": procedure.maintenance,
        "record_status": "NEW",
        "process": process_steps(case),
        "source_system": {
            "name": f"Hệ thống thông tin giải quyết TTHC tỉnh {case.province.name} (mẫu)",
            "version": "3.2",
        },
    }
