"""Verification: a sound package passes every check, each kind of damage fails exactly the checks it touches."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive_service.digests import digest_bytes
from archive_service.packaging.aip import BuiltAip, build_aip
from archive_service.packaging.aip_reader import read_metadata
from archive_service.packaging.content import AipContent
from archive_service.packaging.verify import CheckResult, OpenedAip, Outcome, VerificationReport, verify_aip
from archive_service.packaging.zip_reader import read_index
from archive_service.packaging.zip_writer import ZipWriter
from tests.unit.packaging.dossiers import AT, CODE, content_of, write_folder


@pytest.fixture(name="content")
def _content(tmp_path: Path) -> AipContent:
    folder = tmp_path / "dossier"
    folder.mkdir()
    return content_of(folder, write_folder(folder, 3))


def built(content: AipContent, path: Path) -> BuiltAip:
    with path.open("w+b") as target:
        return build_aip(content, target)


def failed(report: VerificationReport) -> list[str]:
    return [check.name for check in report.checks if check.outcome is Outcome.FAILED]


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None], **added: bytes) -> None:
    """Writes the package again in its own archive form with some files changed, so that only the content is wrong."""
    with zipfile.ZipFile(source) as archive, target.open("w+b") as output:
        writer = ZipWriter(output, at=AT)
        for name in archive.namelist():
            body = change(name.partition("/")[2], archive.read(name))
            if body is not None:
                writer.add_bytes(name, body)
        for name, body in added.items():
            writer.add_bytes(f"{archive.namelist()[0].partition('/')[0]}/{name}", body)
        writer.finish()


def swap(path: str, old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    def change(name: str, body: bytes) -> bytes:
        if name != path:
            return body
        assert old in body
        return body.replace(old, new)

    return change


def test_sound_package_passes(content: AipContent, tmp_path: Path) -> None:
    aip = built(content, tmp_path / "a.zip")
    report = verify_aip(tmp_path / "a.zip")
    assert [check.reasons for check in report.checks if check.reasons] == []
    assert report.outcome is Outcome.PASSED
    assert report.digest == aip.digest == digest_bytes((tmp_path / "a.zip").read_bytes())
    assert (report.objid, report.dossier_code) == (aip.objid, CODE)
    assert json.loads(json.dumps(report.as_json()))["outcome"] == "PASSED"


def test_metadata_reads_back_what_went_in(content: AipContent, tmp_path: Path) -> None:
    aip = built(content, tmp_path / "a.zip")
    metadata = read_metadata(tmp_path / "a.zip")
    assert metadata.dossier == content.dossier
    assert metadata.dossier_json == content.dossier_json
    with (tmp_path / "a.zip").open("rb") as archive:
        found = [(member.name, member.data_offset, member.size_bytes) for member in read_index(archive).members]
    assert found == [(entry.path, entry.offset, entry.size_bytes) for entry in aip.entries]
    assert metadata.events[:-1] == content.events
    assert metadata.events[-1].type == "information package creation"
    assert metadata.agents[:-1] == content.agents
    assert metadata.findings == content.findings
    assert metadata.signature_reports == content.signature_reports
    assert metadata.retention == content.retention
    assert metadata.intake == content.intake
    assert metadata.at == content.at
    assert [(item.component_id, item.digest, item.size_bytes, item.mime, item.puid) for item in metadata.files] == [
        (item.component.id, item.digest, item.size_bytes, item.mime, item.puid) for item in content.files
    ]
    assert [item.original_name for item in metadata.files] == [item.path for item in content.dossier.components]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        held = {given: archive.read(f"{aip.folder}/{path}") for given, path in metadata.validation_material.items()}
    assert held == content.validation_material


EAD = "metadata/descriptive/EAD.xml"
DATA = f"representations/rep1/data/{CODE}.002.pdf"
PREMIS = "metadata/preservation/PREMIS.xml"
REP_PREMIS = "representations/rep1/metadata/preservation/PREMIS_rep1.xml"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (swap(DATA, b"%PDF", b"%pdf"), ["mets_fixity", "premis_fixity", "dossier", "csip"]),
        (swap(EAD, b"02</mode>", b"03</mode>"), ["mets_fixity", "csip"]),
        (swap(EAD, b"<mode>02</mode>", b"<mode>09</mode>"), ["mets_fixity", "ead", "csip"]),
        (swap(PREMIS, b"virus check", b"virus chick"), ["mets_fixity", "csip"]),
        (swap(PREMIS, b"<premis:eventType>information package creation", b"<premis:eventType>something else"),
         ["mets_fixity", "provenance", "csip"]),
        (swap(REP_PREMIS, b"%d</premis:size>" % 2000, b"%d</premis:size>" % 2001),
         ["mets_fixity", "premis_fixity", "dossier", "csip"]),
        (swap("METS.xml", b'OBJID="urn', b'OBJID="UrN'), ["csip"]),
        (swap("METS.xml", b' STATUS="CURRENT"', b""), ["documents", "mets_fixity", "completeness"]),
        (swap("METS.xml", b'CREATEDATE="2', b'CREATEDATE="1'), ["identity"]),
        (swap("METS.xml", b"<name>archive-service</name>", b"<name>archive_service</name>"), ["identity"]),
        (swap("METS.xml", b"</mets>\n", b"</mets>\n<!-- later -->\n"), ["identity"]),
        (swap("metadata/other/retention.json", b'"basis"', b'"besis"'), ["mets_fixity", "retention", "csip"]),
        (swap("metadata/other/dossier.json", b"2025-03-20T", b"2025-03-19T"), ["mets_fixity", "identity", "csip"]),
        (swap("metadata/other/package.json", b'"version":1', b'"version":2'), ["mets_fixity", "identity", "csip"]),
    ],
)  # fmt: skip
def test_a_changed_file_fails_the_checks_that_it_touches(
    content: AipContent, tmp_path: Path, change: Callable[[str, bytes], bytes], expected: list[str]
) -> None:
    built(content, tmp_path / "a.zip")
    rewritten(tmp_path / "a.zip", tmp_path / "b.zip", change)
    found = failed(verify_aip(tmp_path / "b.zip"))
    assert [name for name in found if name in expected] == expected, found
    assert set(found) <= set(expected)


def test_missing_and_surplus_files(content: AipContent, tmp_path: Path) -> None:
    built(content, tmp_path / "a.zip")
    rewritten(tmp_path / "a.zip", tmp_path / "b.zip", lambda name, body: None if name == DATA else body)
    assert {"mets_fixity", "premis_fixity", "dossier"} <= set(failed(verify_aip(tmp_path / "b.zip")))
    rewritten(
        tmp_path / "a.zip", tmp_path / "c.zip", lambda _, body: body, **{"representations/rep1/data/more.txt": b"x"}
    )
    assert failed(verify_aip(tmp_path / "c.zip")) == ["completeness", "premis_fixity"]


@pytest.mark.parametrize("name", ["METS.xml", "metadata/other/package.json", REP_PREMIS, PREMIS, EAD])
@pytest.mark.parametrize(
    "body", [b"", b"<", b"[1]", b"null", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"\xff" * 99]
)
def test_malformed_documents_never_raise(content: AipContent, tmp_path: Path, name: str, body: bytes) -> None:
    built(content, tmp_path / "a.zip")
    rewritten(tmp_path / "a.zip", tmp_path / "b.zip", lambda path, old: body if path == name else old)
    assert verify_aip(tmp_path / "b.zip").outcome is Outcome.FAILED


def test_an_external_entity_is_refused_and_not_fetched(content: AipContent, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("top secret")
    built(content, tmp_path / "a.zip")

    def attack(name: str, body: bytes) -> bytes:
        if name != EAD:
            return body
        doctype = f'<!DOCTYPE simpledc [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'.encode()
        return body.replace(b"<simpledc", doctype + b"<simpledc", 1).replace(b"<title>", b"<title>&x;")

    rewritten(tmp_path / "a.zip", tmp_path / "b.zip", attack)
    report = verify_aip(tmp_path / "b.zip")
    assert "ead" in failed(report)
    assert "top secret" not in json.dumps(report.as_json())


@pytest.mark.parametrize("content_bytes", [b"", b"PK\3\4", b"no zip" * 50])
def test_what_is_no_archive(tmp_path: Path, content_bytes: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content_bytes)
    report = verify_aip(tmp_path / "x.zip")
    assert report.checks[0].outcome is Outcome.FAILED
    assert {check.outcome for check in report.checks[1:]} == {Outcome.INDETERMINATE}
    assert report.outcome is Outcome.FAILED


def test_a_compressed_package_is_not_unpacked(content: AipContent, tmp_path: Path) -> None:
    built(content, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as old, zipfile.ZipFile(tmp_path / "b.zip", "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert failed(verify_aip(tmp_path / "b.zip")) == ["zip_structure"]


def test_bytes_before_between_and_after_are_found(content: AipContent, tmp_path: Path) -> None:
    built(content, tmp_path / "a.zip")
    sound = (tmp_path / "a.zip").read_bytes()
    target = io.BytesIO(sound)
    with zipfile.ZipFile(target, "a") as archive:
        archive.comment = b"hello"
    for number, wrong in enumerate([sound + b"\0", b"\0" + sound, target.getvalue()]):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(wrong)
        assert failed(verify_aip(path)) == ["zip_structure"]


def test_an_added_folder_entry_is_told_in_words(content: AipContent, tmp_path: Path) -> None:
    built(content, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/empty/", b"")
    report = verify_aip(tmp_path / "a.zip")
    assert "zip_structure" in failed(report)
    reasons = [reason for check in report.checks for reason in check.reasons]
    assert any(reason.endswith("/empty/: its header is not of this archive form") for reason in reasons), reasons
    assert not any("KeyError" in reason for reason in reasons), reasons


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    report = verify_aip(tmp_path / "absent.zip")
    assert report.outcome is Outcome.INDETERMINATE


def test_checks_of_the_caller_run_on_the_opened_package(content: AipContent, tmp_path: Path) -> None:
    aip = built(content, tmp_path / "a.zip")
    seen: list[Any] = []

    def check(opened: OpenedAip) -> CheckResult:
        seen.append(
            (opened.digest, opened.metadata is not None, b"".join(opened.view.read("metadata/other/dossier.json")))
        )
        return CheckResult(name="evidence", outcome=Outcome.INDETERMINATE, reasons=["no evidence record"])

    report = verify_aip(tmp_path / "a.zip", extra_checks=[check])
    assert seen == [(aip.digest, True, content.dossier_json)]
    assert report.outcome is Outcome.INDETERMINATE
    assert report.checks[-1].name == "evidence"
