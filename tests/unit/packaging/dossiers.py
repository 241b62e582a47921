"""Small dossiers on disk for the packaging tests: made from bytes, no samples of others."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from archive_service.digests import digest_bytes, sha256
from archive_service.dossier import parse_dossier, parse_json
from archive_service.packaging.content import AipContent, PackagedFile, PremisAgent, PremisEvent

AT = datetime(2025, 3, 22, 1, 2, 3, 456789, tzinfo=UTC)
CODE = "000.00.16.H40-250314-0042"


def component(number: int, body: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"c{number}",
        "path": f"giấy tờ/Đơn số {number}.PDF",
        "role": "application_form" if number == 0 else "submitted",
        "origin": "digitised" if number % 2 else "issued",
        "title": f'Đơn <đề nghị> & "{number}"',
        "type_code": "32",
        "number": "12",
        "symbol": "QĐ-UBND",
        "issued_on": "2025-03-14",
        "issuer": "UBND tỉnh Nam Định",
        "pages": 2,
        "sha256": digest_bytes(body).hex,
        "size_bytes": len(body),
        "x_unknown": {"kept": True},
    } | changes


def dossier_value(components: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "dossier_code": CODE,
        "procedure_code": "1.002891.000.00.00.H40",
        "procedure_name": "Cấp giấy chứng nhận quyền sử dụng đất",
        "field": "Đất đai",
        "title": "Hồ sơ của ông Nguyễn Văn Ả & bà Đỗ Thị Ơ",
        "receiving_agency": "000.00.16.H40",
        "settling_agency": "000.00.16.H40",
        "archiving_agency": "H40.16",
        "applicant": {"name": "Nguyễn Văn Ả", "identifier": "001234567890", "kind": "citizen"},
        "received_at": "2025-03-14T08:00:00+07:00",
        "closed_at": "2025-03-20T16:30:00+07:00",
        "outcome": "result_returned",
        "access_mode": "02",
        "components": components,
        "process": [{"at": "2025-03-14T08:00:00+07:00", "actor": "Trần B", "step": "Tiếp nhận"}],
    } | changes


def body_of(number: int, size_bytes: int = 2000) -> bytes:
    return (b"%PDF-1.7 " + str(number).encode() + bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes]


def write_folder(folder: Path, count: int = 3, size_bytes: int = 2000, **changes: Any) -> list[Path]:
    """Writes a dossier folder; returns the component files in order."""
    components = []
    paths = []
    for number in range(count):
        body = body_of(number, size_bytes)
        described = component(number, body)
        path = folder / described["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        components.append(described)
        paths.append(path)
    text = json.dumps(dossier_value(components, **changes), ensure_ascii=False, indent=1)
    (folder / "dossier.json").write_text(text, encoding="utf-8")
    return paths


def content_of(folder: Path, paths: list[Path], **changes: Any) -> AipContent:
    """Returns builder input for a folder written by `write_folder`."""
    received = (folder / "dossier.json").read_bytes()
    value, findings = parse_json(received)
    dossier, more = parse_dossier(value)
    assert dossier is not None
    assert not findings
    assert not more
    files = [
        PackagedFile(
            component=item,
            source=path,
            digest=sha256(item.sha256),
            size_bytes=path.stat().st_size,
            mime="application/pdf",
            puid="fmt/276",
            format_name="Acrobat PDF 1.7",
            format_version="1.7",
        )
        for item, path in zip(dossier.components, paths, strict=True)
    ]
    fields: dict[str, Any] = {
        "dossier": dossier,
        "dossier_json": received,
        "archive_code": "H40.16",
        "fonds_code": None,
        "version": 1,
        "previous_objid": None,
        "files": files,
        "findings": [{"code": "SOME_NOTE", "severity": "info", "location": "c0", "params": {}}],
        "signature_reports": {
            dossier.components[0].id: [
                {
                    "kind": "PAdES",
                    "indication": "TOTAL-PASSED",
                    "sub_indication": None,
                    "level": "B-LT",
                    "signer": "CN=Nguyễn <A>, O=UBND",
                    "signing_time": "2025-03-19T02:00:00Z",
                    "covers_whole_file": True,
                }
            ]
        },
        "validation_material": {"root ca.cer": b"\x30\x03abc", "Root CA.cer": b"\x30\x03abd", "list.crl": b"\x30\x00"},
        "retention": {
            "kind": "YEARS",
            "years": 20,
            "start_year": 2025,
            "due_on": "2046-01-01",
            "maintenance_code": "05",
            "deciding_rule_id": "tthc-land",
            "basis": "Quyết định số 1",
            "rule_set_id": "sample",
            "rule_set_version": "1",
            "rule_set_digest": "SHA-256:" + "0" * 64,
            "formula": [],
        },
        "intake": {"source_system": "TTHC", "received_at": "2025-03-21T00:00:00Z", "submission_id": str(UUID(int=7))},
        "events": [
            PremisEvent(
                id=UUID(int=5),
                type="virus check",
                at=datetime(2025, 3, 21, 3, 4, 5, 678, tzinfo=UTC),
                detail="clamd 1.4 & more",
                outcome="pass",
                note="lý do: <đủ> & “đúng”\r\n\tdòng hai",
                agent_id="user:7",
                linked=(dossier.components[0].id,),
            )
        ],
        "agents": [PremisAgent(id="user:7", name="Cán bộ Lê Văn C", type="person")],
        "at": AT,
        "software_version": "0.1.0",
    }
    return AipContent(**(fields | changes))
