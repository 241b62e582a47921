"""Trust stores on disk, dated anchors, policies, findings."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archive_service.dossier import Component, Origin, Role
from archive_service.errors import ConfigurationInvalid, Conflict, NotFound
from archive_service.findings import Severity, catalogue
from archive_service.signatures import Indication, SignatureCheck, TrustStore, findings_for, load_policy, trust
from archive_service.signatures import texts as signature_texts
from archive_service.signatures.policy import SignaturePolicy, policies
from archive_service.signatures.report import SubIndication
from tests.unit.signatures.checking import POLICY, check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, add_page_text, rsa_key, sign_pdf

LATE = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="trust")


def component(role: Role = Role.RESULT, origin: Origin = Origin.ISSUED) -> Component:
    return Component(
        id="kq-1",
        path="kq.pdf",
        role=role,
        origin=origin,
        title="Kết quả",
        type_code="01",
        sha256="0" * 64,
        size_bytes=1,
    )


def test_flat_folder_in_every_encoding(tmp_path: Path, world: World) -> None:
    from asn1crypto import pem

    (tmp_path / "a.pem").write_bytes(pem.armor("CERTIFICATE", world.root.der))
    (tmp_path / "b.crt").write_bytes(world.issuing.der)
    (tmp_path / "c.der").write_bytes(b"not a certificate")
    (tmp_path / "README.txt").write_text("ignored", encoding="utf-8")
    store = TrustStore.load(tmp_path)
    assert {entry.der for entry in store.anchors} == {world.root.der, world.issuing.der}
    assert [name.split(":")[0] for name in store.unreadable] == ["c.der"]


def test_store_is_read_again_only_when_it_changed(tmp_path: Path, world: World) -> None:
    (tmp_path / "a.der").write_bytes(world.root.der)
    first = TrustStore.load(tmp_path)
    assert TrustStore.load(tmp_path) is first
    (tmp_path / "b.der").write_bytes(world.issuing.der)
    second = TrustStore.load(tmp_path)
    assert second.digest != first.digest


def test_add_and_retire_keep_the_past_judgeable(tmp_path: Path, world: World) -> None:
    [entry] = trust.add(tmp_path, world.root.der, scheme="national", effective_from=datetime(2016, 1, 1, tzinfo=UTC))
    with pytest.raises(Conflict):
        trust.add(tmp_path, world.root.der, scheme="national")
    before = TrustStore.load(tmp_path)
    retired = trust.retire(tmp_path, entry.sha256, at=SIGNED_AT + timedelta(days=10), reason='đóng "cửa"')
    store = TrustStore.load(tmp_path)
    assert store.digest != before.digest
    assert store.anchors[0].reason == retired.reason
    assert store.anchors[0].effective_from == datetime(2016, 1, 1, tzinfo=UTC)
    with pytest.raises(Conflict):
        trust.retire(tmp_path, entry.sha256, at=LATE, reason="again")
    with pytest.raises(NotFound):
        trust.retire(tmp_path, "00" * 32, at=LATE, reason="nobody")
    signed = sign_pdf(world, level="LT")
    folder = tmp_path / "work"
    folder.mkdir()
    assert check(folder, signed, world, at=SIGNED_AT, trust=store).indication is Indication.TOTAL_PASSED
    [untrusted] = check(folder, sign_pdf(world, party=world.plain), world, at=LATE, trust=store).reports
    assert untrusted.reasons[0].code == "ANCHOR_NOT_EFFECTIVE"


@pytest.mark.parametrize("scheme", ["../x", "intermediates", "revocation", ""])
def test_scheme_names_are_plain(tmp_path: Path, world: World, scheme: str) -> None:
    with pytest.raises(ConfigurationInvalid):
        trust.add(tmp_path, world.root.der, scheme=scheme)


def test_malformed_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid):
        trust.add(tmp_path, b"rubbish", scheme="national")
    with pytest.raises(ConfigurationInvalid):
        TrustStore.load(tmp_path / "missing")
    (tmp_path / "store.toml").write_text("[[anchor]]\nretired_at = 3\n", encoding="utf-8")
    with pytest.raises(ConfigurationInvalid):
        TrustStore.load(tmp_path)


def test_intermediates_and_revocation_folders(tmp_path: Path, world: World) -> None:
    for name, content in (
        ("national/root.der", world.root.der),
        ("intermediates/ca.der", world.issuing.der),
        ("revocation/a.crl", world.crl(world.issuing, SIGNED_AT)),
        ("revocation/b.ocsp", world.ocsp(world.person, SIGNED_AT)),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    store = TrustStore.load(tmp_path)
    assert (len(store.anchors), len(store.intermediates), len(store.crls), len(store.ocsps)) == (1, 1, 1, 1)
    assert store.scheme_of(world.root.der) == "national"


def test_policies_load_and_name_only_known_findings() -> None:
    known = set(catalogue())
    for policy in policies():
        assert policy.legal_basis
        assert {requirement.finding for requirement in policy.requirements} <= known
        assert set(policy.severity) <= known
        assert all(requirement.basis and requirement.mark for requirement in policy.requirements)
    with pytest.raises(ConfigurationInvalid):
        load_policy("no-such-policy")


def test_malformed_policy(tmp_path: Path) -> None:
    path = tmp_path / "1.toml"
    path.write_text('id = "x"', encoding="utf-8")
    with pytest.raises(ConfigurationInvalid, match=r"1\.toml"):
        SignaturePolicy.load(path)


def test_every_text_has_both_languages_and_every_row_renders() -> None:
    for code, entry in signature_texts.catalogue().items():
        assert entry["vi"].strip(), code
        assert entry["en"].strip(), code
    with pytest.raises(ConfigurationInvalid):
        signature_texts.render("NO_SUCH_CODE", {})


def _codes(
    result: SignatureCheck, part: Component | None = None, policy: SignaturePolicy = POLICY
) -> dict[str, Severity]:
    return {f.code: f.severity for f in findings_for(result, component=part, policy=policy)}


def test_findings_one_fault_each(tmp_path: Path) -> None:
    world = World(tag="findings")
    good = sign_pdf(world, party=world.plain)
    assert _codes(check(tmp_path, good, world), component(Role.SUBMITTED, Origin.UPLOADED_SIGNED)) == {}
    forged = check(tmp_path, good.replace(b"595", b"596", 1), world)
    assert _codes(forged) == {"SIGNATURE_FORGED": Severity.ERROR}
    assert _codes(check(tmp_path, add_page_text(good), world)) == {"SIGNATURE_CONTENT_CHANGED_AFTER": Severity.ERROR}
    assert _codes(check(tmp_path, good, world, at=LATE)) == {"SIGNATURE_EXPIRED": Severity.ERROR}
    assert _codes(check(tmp_path, good, world, trust=TrustStore.empty())) == {"SIGNATURE_UNTRUSTED": Severity.WARNING}
    status_unknown = check(tmp_path, sign_pdf(world), world)
    assert _codes(status_unknown) == {"SIGNATURE_REVOCATION_UNKNOWN": Severity.WARNING}
    provable = check(tmp_path, sign_pdf(world, level="LT"), world, at=LATE)
    assert _codes(provable) == {"SIGNATURE_EXPIRED_PROVABLE": Severity.INFO}
    strict = replace(POLICY, accept_expired_but_provable=False)
    assert _codes(provable, policy=strict) == {"SIGNATURE_EXPIRED_PROVABLE": Severity.ERROR}
    weak = world.make("Khóa nhỏ", world.issuing, key=rsa_key("weak", 1024))
    assert set(_codes(check(tmp_path, sign_pdf(world, party=weak), world))) == {"SIGNATURE_ALGORITHM_WEAK"}
    world.revoked[world.person.certificate.serial_number] = SIGNED_AT - timedelta(days=1)
    store = TrustStore.of([world.root.der]).with_material(
        intermediates=[], crls=[world.crl(world.issuing, SIGNED_AT)], ocsps=[]
    )
    revoked = check(tmp_path, sign_pdf(world), world, trust=store)
    assert _codes(revoked) == {"SIGNATURE_CERTIFICATE_REVOKED": Severity.ERROR}


def test_not_yet_valid_falls_under_indeterminate(tmp_path: Path, world: World) -> None:
    result = check(tmp_path, sign_pdf(world, party=world.plain), world, at=datetime(2019, 1, 1, tzinfo=UTC))
    assert result.reports[0].sub_indication is SubIndication.NOT_YET_VALID
    assert _codes(result) == {"SIGNATURE_INDETERMINATE": Severity.ERROR}


def test_roles_that_must_be_signed() -> None:
    nothing = SignatureCheck()
    assert _codes(nothing, component()) == {"SIGNATURE_MISSING_ON_RESULT": Severity.ERROR}
    assert _codes(nothing, component(Role.SUBMITTED, Origin.UPLOADED_SIGNED)) == {"SIGNATURE_MISSING": Severity.WARNING}
    assert _codes(nothing, component(Role.SUBMITTED, Origin.UPLOADED_SCAN)) == {}


def test_forged_signature_does_not_count_as_one(tmp_path: Path, world: World) -> None:
    forged = sign_pdf(world, party=world.plain).replace(b"595", b"596", 1)
    codes = _codes(check(tmp_path, forged, world), component())
    assert set(codes) == {"SIGNATURE_FORGED", "SIGNATURE_MISSING_ON_RESULT"}


def test_a_result_signed_by_a_stranger_counts_as_unsigned(tmp_path: Path, world: World) -> None:
    signed = sign_pdf(world, party=world.plain)
    codes = _codes(check(tmp_path, signed, world, trust=TrustStore.of([World(tag="b").root.der])), component())
    assert codes == {"SIGNATURE_UNTRUSTED": Severity.WARNING, "SIGNATURE_MISSING_ON_RESULT": Severity.ERROR}


def test_without_any_anchor_nobody_is_called_a_stranger(tmp_path: Path, world: World) -> None:
    agency = world.make("UBND xã Hòa Bình", world.issuing, organisation="UBND xã Hòa Bình")
    codes = _codes(check(tmp_path, sign_pdf(world, party=agency), world, trust=TrustStore.empty()), component())
    assert codes == {"SIGNATURE_UNTRUSTED": Severity.WARNING, "SIGNATURE_OF_OFFICER_MISSING": Severity.INFO}


def test_what_could_not_be_checked_is_said() -> None:
    assert _codes(SignatureCheck(not_checked=("PDF_ENCRYPTED",))) == {"SIGNATURE_NOT_CHECKED": Severity.WARNING}


def test_finding_texts_render_in_both_languages(tmp_path: Path, world: World) -> None:
    result = check(tmp_path, sign_pdf(world, party=world.plain), world, at=LATE)
    for finding in findings_for(result, component=None, policy=POLICY):
        for language in ("vi", "en"):
            assert "{" not in finding.message(language)


def test_each_language_has_its_own_words(tmp_path: Path, world: World) -> None:
    """No Vietnamese in the English text; other programs' words only as a technical note in the Vietnamese one."""
    result = check(tmp_path, sign_pdf(world, party=world.plain), world, trust=TrustStore.empty())
    stopped = SignatureCheck(
        not_checked=(
            "PROCESS_KILLED: longer than 3 s",
            "TOO_MANY_SIGNATURES: 100",
            "COULD_NOT_ANALYSE: odd",
            "PDF_ENCRYPTED",
        )
    )
    found = [
        *findings_for(result, component=None, policy=POLICY),
        *findings_for(stopped, component=None, policy=POLICY),
    ]
    assert {finding.code for finding in found} >= {"SIGNATURE_UNTRUSTED", "SIGNATURE_CHECK_STOPPED"}
    for finding in found:
        english = finding.message("en").replace(world.plain.asn1.subject.native["common_name"], "")
        assert english.isascii(), english
        assert "longer than" not in finding.message("vi").split("ghi chú kỹ thuật")[0]
        assert finding.message("vi") != finding.message("en")
