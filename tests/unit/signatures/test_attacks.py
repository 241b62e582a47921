"""Attack families on signed PDFs never pass; honest files that look like them are never called forged."""

from datetime import timedelta
from pathlib import Path

import pytest
from pyhanko.sign import fields

from archive_service.signatures import Indication
from tests.unit.signatures import pdf_attacks as attacks
from tests.unit.signatures import pdf_honest
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, sign_pdf

AT = SIGNED_AT + timedelta(hours=1)
PERMISSIONS = {
    "approval": None,
    "certified 1": fields.MDPPerm.NO_CHANGES,
    "certified 2": fields.MDPPerm.FILL_FORMS,
    "certified 3": fields.MDPPerm.ANNOTATE,
}


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="attack")


def never_passes(folder: Path, world: World, pdf: bytes) -> None:
    result = check(folder, pdf, world, at=AT)
    assert result.reports or result.not_checked  # nothing is passed over in silence
    assert result.indication is not Indication.TOTAL_PASSED, [report.as_text("en") for report in result.reports]


@pytest.mark.parametrize("attack", attacks.INCREMENTAL)
@pytest.mark.parametrize("level", ["B", "LTA"])
def test_incremental_saving(tmp_path: Path, world: World, attack: str, level: str) -> None:
    pdf = attacks.signed(world) if level == "B" else sign_pdf(world, level=level)
    never_passes(tmp_path, world, attacks.INCREMENTAL[attack](pdf))


@pytest.mark.parametrize("attack", attacks.WRAPPING)
def test_wrapping(tmp_path: Path, world: World, attack: str) -> None:
    never_passes(tmp_path, world, attacks.WRAPPING[attack](attacks.signed(world)))


@pytest.mark.parametrize("value", attacks.FORGED_VALUES)
@pytest.mark.parametrize("ranges", attacks.FORGED_RANGES)
def test_universal_forgery(tmp_path: Path, world: World, value: str, ranges: str) -> None:
    never_passes(tmp_path, world, attacks.forged(attacks.signed(world), value, ranges))


@pytest.mark.parametrize("attack", attacks.SHADOW)
@pytest.mark.parametrize("permission", PERMISSIONS)
def test_shadow(tmp_path: Path, world: World, attack: str, permission: str) -> None:
    pdf = attacks.signed(world, pdf=attacks.shadow_pdf(), certify=PERMISSIONS[permission])
    assert check(tmp_path, pdf, world, at=AT).indication is Indication.TOTAL_PASSED
    never_passes(tmp_path, world, attacks.SHADOW[attack](pdf))


@pytest.mark.parametrize("attack", attacks.CERTIFIED)
@pytest.mark.parametrize("permission", sorted(set(PERMISSIONS) - {"certified 1"}))
def test_certified(tmp_path: Path, world: World, attack: str, permission: str) -> None:
    pdf = attacks.signed(world, pdf=attacks.shadow_pdf(), certify=PERMISSIONS[permission])
    never_passes(tmp_path, world, attacks.CERTIFIED[attack](pdf))


@pytest.mark.parametrize("name", pdf_honest.HONEST)
def test_honest(tmp_path: Path, world: World, name: str) -> None:
    result = check(tmp_path, pdf_honest.HONEST[name](world), world, at=AT)
    assert result.indication is Indication.TOTAL_PASSED, [report.as_text("en") for report in result.reports]


def test_honest_file_stamped_later_is_never_forged(tmp_path: Path, world: World) -> None:
    result = check(tmp_path, pdf_honest.STAMPED(world), world, at=AT)
    assert Indication.TOTAL_FAILED not in [report.indication for report in result.reports]
