"""The components of one sample dossier: every paper made, signed and described.

Who signs what: the applicant the form and own documents (PAdES B-B), the one-stop officer what was digitised
(NĐ 107/2021 Điều 21a), the head and then the agency the result (NĐ 30/2020 Điều 5), time-stamped and with revocation
evidence (B-T, B-LT).
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from xml.sax.saxutils import escape

from archive_service.clock import LEGAL_ZONE
from archive_service.samples.facts import Agency, Case, Lines, PaperKind, Person, in_office_hours
from archive_service.samples.papers import Typesetter, qr, scribble
from archive_service.samples.pki import Identity, TestPki
from archive_service.samples.scans import identity_card, scanned_page, site_photograph
from archive_service.samples.signing import Level, Signing, sign_pdf
from archive_service.samples.small import SampleFile

Paper = dict[str, Any]
"""What `paper.typ` takes: a JSON object."""

COPIES_TO: Final = ("Như trên;", "Trung tâm Phục vụ hành chính công;", "Lưu: VT, hồ sơ TTHC.")
_CLOSING_WORDS: Final = "Văn bản này được lập để sử dụng trong hồ sơ thủ tục hành chính theo quy định."
_OTHER_TYPE: Final = "32"
_DECISION: Final = "02"
_NOTICE: Final = "07"


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """What papers are made with."""

    pki: TestPki
    typesetter: Typesetter
    rng: random.Random


def case_files(case: Case, studio: Studio) -> list[SampleFile]:
    """Returns all components that the case calls for, in the order in which they came to be, numbered from c01 on."""
    files = [
        application_form(case, studio),
        *(_submitted(case, studio, paper) for paper in case.procedure.papers),
        receipt(case, studio),
        *(_supplement(case, studio) if case.supplemented else ()),
        *_settlement(case, studio),
        control_sheet(case, studio),
    ]
    return numbered(files)


def numbered(files: Iterable[SampleFile]) -> list[SampleFile]:
    """Returns the files with ids c01, c02 and so on, and the paths that go with them."""
    return [
        replace(file, id=f"c{number:02}", path=f"{number:02}-{file.path}") for number, file in enumerate(files, start=1)
    ]


# ------------------------------------------------------------------ what the applicant brings


def application_form(case: Case, studio: Studio) -> SampleFile:
    """The form, filled on the portal and signed by the applicant."""
    at = case.received_at - timedelta(minutes=12)
    paper: Paper = {
        "layout": "form",
        "title": case.text(case.procedure.form_title),
        "author": case.applicant.name,
        "heading": case.procedure.form_title,
        "corner": case.procedure.form_code,
        "to": case.agency.name,
        "body": _filled(case, case.procedure.form),
        "signer": {
            "title": "Người làm đơn",
            "hint": "(Ký số)",
            "name": case.applicant.name,
            "scribble": scribble(case.applicant.name),
        },
        "place_and_date_below": _dated(case.agency.place, at),
    }
    content = _by_applicant(case, studio, studio.typesetter.pdf(paper, at=at), at)
    title = case.procedure.form_title.capitalize()
    return replace(
        _file("don.pdf", "application_form", "e_form", title, content, issued=at), issuer=case.applicant.name
    )


def _submitted(case: Case, studio: Studio, kind: PaperKind) -> SampleFile:
    at = case.received_at - timedelta(minutes=8)
    title = case.text(kind.title)
    if kind.form == "eform":
        content = eform_xml(case)
        return replace(_file("to-khai.xml", "submitted", "e_form", title, content, issued=at), pages=None)
    if kind.form == "photo":
        holder = case.other if kind.holder == "2" else case.applicant
        content = _photograph(case, studio, kind, holder)
        return _file("anh.jpg", "submitted", "uploaded_scan", title, content, issued=at)
    paper = _outside_paper(case, studio, kind, title)
    if kind.form == "scan":
        return digitised(case, studio, paper)
    content = studio.typesetter.pdf(paper, at=at)
    if kind.form == "signed":
        content = _by_applicant(case, studio, content, at)
        return replace(
            _file("tai-lieu.pdf", "submitted", "uploaded_signed", title, content, issued=at), issuer=case.applicant.name
        )
    return _file("tai-lieu.pdf", "submitted", "uploaded_scan", title, content, issued=at)


def _photograph(case: Case, studio: Studio, kind: PaperKind, holder: Person) -> bytes:
    if kind.kind == "card":
        address = case.facts["address"] if holder is case.applicant else case.facts["commune"]
        born = f"{holder.born:%d/%m/%Y}"
        return identity_card(holder.name, holder.identifier, born, address, rng=studio.rng)
    caption = f"{case.received_at - timedelta(days=3):%d/%m/%Y %H:%M}  {case.facts['village']}, {case.facts['commune']}"
    return site_photograph(caption, rng=studio.rng)


def _outside_paper(case: Case, studio: Studio, kind: PaperKind, title: str) -> Paper:
    """A paper that some other body or the applicant made some time before."""
    at = case.received_at - timedelta(days=20 + studio.rng.randrange(700))
    private = kind.kind in {"contract", "drawing"}
    signer = case.other if private else case.settler
    mark: dict[str, str] = {
        "title": "Đại diện các bên" if private else "Thủ trưởng đơn vị",
        "name": signer.name,
        "scribble": scribble(signer.name),
    }
    if not private:
        mark["seal"] = studio.typesetter.seal(case.agency.name, _place(case.agency))
    paper: Paper = {
        "layout": "form" if private else "official",
        "title": title,
        "author": signer.name,
        "parent": _place(case.agency),
        "agency": "Cơ quan, đơn vị cấp giấy tờ",
        "number": f"{studio.rng.randrange(10, 900)}/XN",
        "place_and_date": _dated(case.agency.place, at),
        "heading": title.split(" của ", maxsplit=1)[0].upper(),
        "body": [*_filled(case, kind.body), _CLOSING_WORDS],
        "signer": mark,
    }
    if private:
        paper["place_and_date_below"] = _dated(case.agency.place, at)
    return paper


def digitised(case: Case, studio: Studio, paper: Paper) -> SampleFile:
    """A paper scanned at the one-stop desk: two-layer PDF/A, mark of conversion, officer's signature (R022-R024)."""
    at = case.received_at + timedelta(minutes=14)
    jpeg = scanned_page(studio.typesetter, paper, rng=studio.rng)
    sheet: Paper = {
        "layout": "image",
        "title": paper["title"],
        "author": case.agency.name,
        "image": studio.typesetter.picture(jpeg),
        "body": [paper["heading"], *paper["body"]],
        "conversion": [
            f"BẢN SỐ HÓA TỪ VĂN BẢN GIẤY – {case.agency.name}",
            f"Người số hóa: {case.clerk.name} – {at.astimezone(LEGAL_ZONE).isoformat(timespec='seconds')}",
        ],
    }
    signing = Signing(identity=clerk(case, studio.pki), at=at, field="NguoiSoHoa", reason="Số hóa thành phần hồ sơ")
    content = sign_pdf(studio.typesetter.pdf(sheet, at=at), [signing], pki=studio.pki)
    return replace(
        _file("so-hoa.pdf", "digitised", "digitised", paper["title"], content, issued=at), issuer=case.agency.name
    )


def eform_xml(case: Case, *, doctype: str = "", first: str = "") -> bytes:
    """Returns the data of the electronic form as XML; `doctype` and `first` let a faulty one be made."""
    fields = [(entry[0], entry[1]) for entry in _filled(case, case.procedure.form) if isinstance(entry, list)]
    rows = "".join(f'  <truong ten="{escape(name)}">{escape(value)}</truong>\n' for name, value in fields)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{doctype}'
        f'<toKhai xmlns="urn:tthc:to-khai:1" maHoSo="{case.dossier_code}" '
        f'maThuTuc="{case.procedure.code}">\n{first}{rows}</toKhai>\n'
    ).encode()


# ------------------------------------------------------------------ what the agency issues


def receipt(case: Case, studio: Studio) -> SampleFile:
    """Giấy tiếp nhận hồ sơ và hẹn trả kết quả (TT 03/2025 mẫu 01)."""
    papers = "; ".join(case.text(paper.title) for paper in case.procedure.papers)
    body = [
        ["Mã hồ sơ", case.dossier_code],
        ["Tiếp nhận hồ sơ của", case.applicant.name],
        ["Địa chỉ", case.facts["address"]],
        ["Nội dung yêu cầu giải quyết", case.procedure.name],
        ["Thành phần hồ sơ", f"{case.procedure.form_title.capitalize()}; {papers}"],
        ["Thời gian nhận hồ sơ", _clock(case.received_at)],
        ["Thời gian trả kết quả", _clock(case.due_at)],
        ["Đăng ký nhận kết quả", "Bản điện tử trên Cổng dịch vụ công quốc gia"],
    ]
    heading = "GIẤY TIẾP NHẬN HỒ SƠ VÀ HẸN TRẢ KẾT QUẢ"
    paper = _issued(case, studio, heading, body, at=case.received_at, number="TNHS", signer=case.clerk)
    content = studio.typesetter.pdf(paper, at=case.received_at)
    return _official(
        case, _file("tiep-nhan.pdf", "receipt", "issued", heading.capitalize(), content, issued=case.received_at), paper
    )


def control_sheet(case: Case, studio: Studio) -> SampleFile:
    """Phiếu kiểm soát quá trình giải quyết hồ sơ (TT 03/2025 mẫu 06), with every step."""
    heading = "PHIẾU KIỂM SOÁT QUÁ TRÌNH GIẢI QUYẾT HỒ SƠ"
    body = [["Mã hồ sơ", case.dossier_code], ["Cơ quan giải quyết", case.agency.name]]
    paper = _issued(case, studio, heading, body, at=case.closed_at, number="PKS", signer=case.clerk)
    paper["steps"] = [
        {
            "step": step["step"],
            "at": f"{datetime.fromisoformat(step['at']):%H:%M %d/%m/%Y}",
            "actor": step["actor"],
            "position": step["position"],
            "opinion": step["opinion"] or "",
        }
        for step in process_steps(case)
    ]
    content = studio.typesetter.pdf(paper, at=case.closed_at)
    return _official(
        case,
        _file("kiem-soat.pdf", "control_sheet", "issued", heading.capitalize(), content, issued=case.closed_at),
        paper,
    )


def _supplement(case: Case, studio: Studio) -> Iterator[SampleFile]:
    at = case.received_at + timedelta(days=1, hours=2)
    body = [
        ["Mã hồ sơ", case.dossier_code],
        f"Đề nghị {case.applicant.address_form} {case.applicant.name} hoàn thiện hồ sơ gồm những nội dung sau:",
        f"1. {case.text(case.procedure.supplement)}",
        "Lý do: để bảo đảm thành phần hồ sơ theo quy định.",
        "Trong quá trình hoàn thiện hồ sơ, nếu có vướng mắc xin liên hệ với bộ phận một cửa để được hướng dẫn.",
    ]
    heading = "PHIẾU YÊU CẦU BỔ SUNG, HOÀN THIỆN HỒ SƠ"
    yield _signed_letter(case, studio, "bo-sung", "supplement_request", heading, body, at=at, level=Level.B_B)


def _settlement(case: Case, studio: Studio) -> Iterator[SampleFile]:
    if case.outcome in {"result_returned", "refused"} and case.procedure.unit != "commune":
        yield _opinion(case, studio)
    if case.overdue:
        yield _apology(case, studio)
    if case.outcome == "result_returned":
        yield result(case, studio, result_signings(case, studio.pki))
    if case.outcome == "refused":
        body = [
            ["Mã hồ sơ", case.dossier_code],
            f"Từ chối giải quyết hồ sơ với lý do: {case.text(case.procedure.refusal)}",
        ]
        heading = "PHIẾU TỪ CHỐI TIẾP NHẬN, GIẢI QUYẾT HỒ SƠ"
        yield _signed_letter(case, studio, "tu-choi", "refusal", heading, body, at=_decided(case), level=Level.B_T)
    if case.outcome == "stopped":
        body = [
            ["Mã hồ sơ", case.dossier_code],
            "Dừng giải quyết hồ sơ do quá thời hạn bổ sung mà không nhận được hồ sơ hoàn thiện.",
        ]
        heading = "THÔNG BÁO DỪNG GIẢI QUYẾT HỒ SƠ"
        yield _signed_letter(case, studio, "dung", "stop_notice", heading, body, at=_decided(case), level=Level.B_T)


def _opinion(case: Case, studio: Studio) -> SampleFile:
    at = _decided(case) - timedelta(hours=1)
    paragraphs = [
        "Căn cứ hồ sơ và kết quả kiểm tra, bộ phận chuyên môn có ý kiến như sau:",
        case.text(case.procedure.opinion),
    ]
    body: list[str | list[str]] = [["Mã hồ sơ", case.dossier_code], *paragraphs]
    paper = _issued(case, studio, "Ý KIẾN THẨM ĐỊNH HỒ SƠ", body, at=at, number="YKTĐ", signer=case.settler)
    identity = studio.pki.officer(case.settler.name, title="Chuyên viên", agency=case.agency.name)
    signing = Signing(identity=identity, at=at, field="NguoiThamDinh")
    content = sign_pdf(studio.typesetter.pdf(paper, at=at), [signing], pki=studio.pki)
    return _official(
        case, _file("tham-dinh.pdf", "opinion", "issued", "Ý kiến thẩm định hồ sơ", content, issued=at), paper
    )


def _apology(case: Case, studio: Studio) -> SampleFile:
    body = [
        ["Mã hồ sơ", case.dossier_code],
        f"{case.agency.name} xin lỗi {case.applicant.address_form} {case.applicant.name} vì chưa trả kết quả đúng hẹn.",
        ["Thời gian trả kết quả mới", _clock(case.closed_at)],
    ]
    heading = "PHIẾU XIN LỖI VÀ HẸN LẠI NGÀY TRẢ KẾT QUẢ"
    at = case.due_at - timedelta(hours=1)
    return _signed_letter(case, studio, "xin-loi", "apology", heading, body, at=at, level=Level.B_B)


def result(case: Case, studio: Studio, signings: list[Signing]) -> SampleFile:
    """The result, with the signatures asked for."""
    at, procedure = _decided(case), case.procedure
    paper = _issued(
        case,
        studio,
        procedure.result_title,
        _filled(case, procedure.result),
        at=at,
        number=procedure.result_symbol,
        signer=case.head,
    )
    decision = procedure.result_type == _DECISION
    paper["layout"] = "official" if decision else "certificate"
    paper["signer"] |= {
        "title": case.agency.head,
        "scribble": scribble(case.head.name),
        "seal": studio.typesetter.seal(case.agency.name, _place(case.agency)),
    }
    if procedure.result_subject:
        paper["subject"] = case.text(procedure.result_subject)
    content = sign_pdf(studio.typesetter.pdf(paper, at=at), signings, pki=studio.pki)
    title = paper.get("subject") or procedure.result_title.capitalize()
    file = _file("ket-qua.pdf", "result", "issued", title, content, issued=at)
    return replace(_official(case, file, paper), type_code=procedure.result_type, result_ordinal=1)


def result_signings(
    case: Case, pki: TestPki, *, head: Identity | None = None, level: Level = Level.B_LT
) -> list[Signing]:
    """Returns the two signatures of a result: the head's, then the agency's."""
    at = _decided(case)
    person = head or pki.officer(case.head.name, title=case.agency.head, agency=case.agency.name)
    agency = pki.agency(case.agency.name, code=case.agency.code)
    return [
        Signing(identity=person, at=at, field="NguoiKy", level=Level.B_T if head is None else level),
        Signing(identity=agency, at=at + timedelta(minutes=9), field="CoQuan", level=level, location=case.agency.place),
    ]


def clerk(case: Case, pki: TestPki) -> Identity:
    """Returns the certificate of the one-stop officer."""
    return pki.officer(case.clerk.name, title="Công chức một cửa", agency=case.agency.name)


def _signed_letter(
    case: Case, studio: Studio, path: str, role: str, heading: str, body: list[Any], *, at: datetime, level: Level
) -> SampleFile:
    paper = _issued(case, studio, heading, body, at=at, number="TB", signer=case.head)
    paper["signer"] |= {"title": case.agency.head, "scribble": scribble(case.head.name)}
    head = studio.pki.officer(case.head.name, title=case.agency.head, agency=case.agency.name)
    content = studio.typesetter.pdf(paper, at=at)
    content = sign_pdf(content, [Signing(identity=head, at=at, field="NguoiKy", level=level)], pki=studio.pki)
    file = _file(f"{path}.pdf", role, "issued", heading.capitalize(), content, issued=at)
    return replace(_official(case, file, paper), type_code=_NOTICE)


# ------------------------------------------------------------------ what happened


def process_steps(case: Case) -> list[dict[str, Any]]:  # JSON
    """Returns the steps of the case as dossier.json carries them, in order of time."""
    plan: list[tuple[str, Person, str, str | None]] = [
        ("Tiếp nhận hồ sơ", case.clerk, "Công chức một cửa", "Hồ sơ đầy đủ thành phần, tiếp nhận và số hóa."),
    ]
    if case.supplemented:
        plan += [
            ("Yêu cầu bổ sung, hoàn thiện hồ sơ", case.settler, "Chuyên viên", case.text(case.procedure.supplement)),
            ("Tiếp nhận hồ sơ bổ sung", case.clerk, "Công chức một cửa", None),
        ]
    plan.append(("Chuyển hồ sơ đến bộ phận chuyên môn", case.clerk, "Công chức một cửa", None))
    endings = {
        "result_returned": ("Phê duyệt, ký số kết quả", "Đồng ý."),
        "refused": ("Từ chối giải quyết hồ sơ", case.text(case.procedure.refusal)),
        "stopped": ("Dừng giải quyết hồ sơ", "Quá thời hạn bổ sung."),
        "withdrawn": ("Rút hồ sơ theo đề nghị của người nộp", "Đồng ý cho rút hồ sơ."),
    }
    if case.outcome in {"result_returned", "refused"}:
        plan.append(("Thẩm định hồ sơ", case.settler, "Chuyên viên", case.text(case.procedure.opinion)))
    if case.overdue:
        plan.append(("Xin lỗi và hẹn lại ngày trả kết quả", case.head, case.agency.head, None))
    ending, opinion = endings[case.outcome]
    plan.append((ending, case.head, case.agency.head, opinion))
    last = "Trả kết quả" if case.outcome == "result_returned" else "Thông báo cho người nộp và kết thúc hồ sơ"
    plan.append((last, case.clerk, "Công chức một cửa", None))
    span = (case.closed_at - case.received_at) / (len(plan) - 1)
    return [
        {
            "at": in_office_hours(case.received_at + span * number, order=number).isoformat(),
            "actor": person.name,
            "position": position,
            "step": step,
            "opinion": opinion,
        }
        for number, (step, person, position, opinion) in enumerate(plan)
    ]


# ------------------------------------------------------------------ shared parts


def _issued(
    case: Case, studio: Studio, heading: str, body: list[Any], *, at: datetime, number: str, signer: Person
) -> Paper:  # body: paragraphs and pairs
    return {
        "layout": "official",
        "title": heading.capitalize(),
        "author": case.agency.name,
        "parent": case.agency.parent,
        "agency": case.agency.name,
        "number": f"{studio.rng.randrange(3, 980)}/{case.text(number)}",
        "place_and_date": _dated(case.agency.place, at),
        "heading": heading,
        "body": body,
        "qr": qr(case.dossier_code, case.procedure.code, case.applicant.identifier, heading.capitalize()),
        "copies_to": list(COPIES_TO),
        "signer": {"title": "Người tiếp nhận" if signer is case.clerk else "Người thẩm định", "name": signer.name},
    }


def _official(case: Case, file: SampleFile, paper: Paper) -> SampleFile:
    """Adds what a paper of the agency has: issuer, number, symbol."""
    number, symbol = paper["number"].split("/", 1)
    return replace(file, issuer=case.agency.name, number=number, symbol=symbol)


def _file(path: str, role: str, origin: str, title: str, content: bytes, *, issued: datetime) -> SampleFile:
    return SampleFile(
        id="c00",  # until `numbered`
        path=path,
        role=role,
        origin=origin,
        title=title,
        content=content,
        type_code=_OTHER_TYPE,
        issued_on=issued.astimezone(LEGAL_ZONE).date().isoformat(),
    )


def _by_applicant(case: Case, studio: Studio, content: bytes, at: datetime) -> bytes:
    identity = studio.pki.citizen(case.applicant.name, identifier=case.applicant.identifier)
    return sign_pdf(content, [Signing(identity=identity, at=at, field="NguoiNop")], pki=studio.pki)


def _filled(case: Case, lines: Lines) -> list[Any]:
    """Paragraphs and pairs with the facts filled in, as JSON takes them."""
    return [case.text(line) if isinstance(line, str) else [case.text(part) for part in line] for line in lines]


def _decided(case: Case) -> datetime:
    return case.closed_at - timedelta(hours=1)


def _place(agency: Agency) -> str:
    return agency.parent


def _dated(place: str, at: datetime) -> str:
    day = at.astimezone(LEGAL_ZONE)
    return f"{place}, ngày {day:%d} tháng {day:%m} năm {day:%Y}"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(LEGAL_ZONE):%H giờ %M phút, ngày %d/%m/%Y}"
