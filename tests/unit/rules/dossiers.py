"""A conforming dossier as a value, to be changed one field at a time."""

from datetime import datetime
from typing import Any

from archive_service.dossier import EARLIEST_YEAR, LATEST_YEAR, Dossier

AGENCY = "000.00.16.H56"
CODE = f"{AGENCY}-250314-0042"


def part(index: int, role: str, **changes: Any) -> dict[str, Any]:
    """Returns a component; every number has its own bytes, path and id."""
    return {
        "id": f"c{index}",
        "path": f"thanh-phan/{index:02d}.pdf",
        "role": role,
        "origin": "issued",
        "title": f"Tài liệu {index}",
        "type_code": "32",
        "sha256": f"{index:064x}",
        "size_bytes": 1000 + index,
        **changes,
    }


def parts() -> list[dict[str, Any]]:
    return [
        part(1, "application_form", origin="e_form"),
        part(2, "receipt"),
        part(3, "control_sheet"),
        part(4, "opinion"),
        part(5, "result", result_ordinal=1, type_code="02", number="15", symbol="QĐ-STNMT", issuer="Sở NN và MT"),
    ]


def step(name: str, at: str = "2025-03-20T08:00:00+07:00", **changes: Any) -> dict[str, Any]:
    return {"at": at, "actor": "Lê Thị Ánh", "position": None, "step": name, "opinion": None, **changes}


def members(**changes: Any) -> dict[str, Any]:
    return {
        "dossier_code": CODE,
        "procedure_code": "1.002891.000.00.00.H56",
        "procedure_name": "Đăng ký biến động quyền sử dụng đất",
        "field": "Đất đai",
        "title": "Hồ sơ đăng ký biến động đất đai của ông Đặng Quốc Ưng",
        "receiving_agency": AGENCY,
        "settling_agency": AGENCY,
        "archiving_agency": "H56.16",
        "applicant": {"name": "Đặng Quốc Ưng", "identifier": "038085001234", "kind": "citizen"},
        "received_at": "2025-03-14T08:30:00+07:00",
        "due_at": "2025-04-14T17:00:00+07:00",
        "closed_at": "2025-04-10T16:00:00+07:00",
        "outcome": "result_returned",
        "access_mode": "02",
        "declared_maintenance": None,
        "components": parts(),
        "process": [step("Tiếp nhận hồ sơ"), step("Thẩm định", opinion="Đủ điều kiện")],
        **changes,
    }


def dossier(**changes: Any) -> Dossier:
    """A dossier; times that the receiver would refuse are put in afterwards, because rules must not trust that it did."""
    odd = {
        name: datetime.fromisoformat(value)
        for name, value in changes.items()
        if name.endswith("_at") and isinstance(value, str) and not EARLIEST_YEAR <= int(value[:4]) <= LATEST_YEAR
    }
    sound = {name: value for name, value in changes.items() if name not in odd}
    return Dossier.model_validate(members(**sound)).model_copy(update=odd)
