"""Two languages: Vietnamese texts are the keys, English comes from a gettext catalogue (R138: nothing is fetched, nothing is compiled).

Texts in templates and code are written in Vietnamese and wrapped in `_()`; here, tokens of the vocabularies (states, roles, events …) get
their Vietnamese names, marked with `N_` so that extraction sees them. A test holds that every text has an English one.
"""

import gettext
import io
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from archive_service.clock import LEGAL_ZONE, require_aware

LANGUAGES: Final = ("vi", "en")
DEFAULT_LANGUAGE: Final = "vi"
LOCALE_DIR: Final = Path(__file__).parent / "locale"


def N_(text: str) -> str:  # noqa: N802 - the name gettext tools look for
    """Returns `text` unchanged; marks it for the catalogue."""
    return text


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Returns the texts of a language; Vietnamese is the language of the keys and needs no catalogue."""
    path = LOCALE_DIR / language / "LC_MESSAGES" / "messages.po"
    if language == DEFAULT_LANGUAGE or language not in LANGUAGES:
        return gettext.NullTranslations()
    with path.open("rb") as source:
        catalogue = read_po(source, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def translate(text: str, language: str) -> str:
    """Returns a Vietnamese text in `language`; the text itself where there is no other."""
    return translations(language).gettext(text) if text else text


def choose_language(cookie: str | None) -> str:
    """Returns the language of a request: what the person chose, else Vietnamese.

    The browser's own preference does not count: an office computer is often set up in English, and its user still works in Vietnamese.
    """
    return cookie if cookie in LANGUAGES and cookie is not None else DEFAULT_LANGUAGE


# ------------------------------------------------------------------ dates, sizes


def format_datetime(at: datetime | None, *, seconds: bool = False) -> str:
    """Returns `dd/MM/yyyy HH:mm` in Vietnamese time, the same in both languages; with seconds where order matters."""
    return (
        f"{require_aware(at).astimezone(LEGAL_ZONE):{'%d/%m/%Y %H:%M:%S' if seconds else '%d/%m/%Y %H:%M'}}"
        if at
        else ""
    )


def format_date(on: date | None) -> str:
    """Returns `dd/MM/yyyy`; a moment is shown as its Vietnamese civil date."""
    if isinstance(on, datetime):
        on = require_aware(on).astimezone(LEGAL_ZONE).date()
    return f"{on:%d/%m/%Y}" if on else ""


def format_size(size_bytes: int | None, language: str) -> str:
    """Returns a size with decimal prefix and the language's decimal mark."""
    if size_bytes is None:
        return ""
    value = float(size_bytes)
    unit = "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":  # noqa: PLR2004 - decimal prefixes
            break
        value /= 1000
    text = f"{value:.0f}" if unit == "B" else f"{value:.1f}"
    return f"{text.replace('.', ',') if language == DEFAULT_LANGUAGE else text} {unit}"


def format_number(number: int, language: str) -> str:
    """Returns an integer with the language's mark between thousands."""
    text = f"{number:,}"
    return text.replace(",", ".") if language == DEFAULT_LANGUAGE else text


def format_wait(seconds: int, language: str) -> str:
    """Returns how long to wait, never less than it is."""
    if seconds <= 90:  # noqa: PLR2004 - longer waits are told in minutes
        return translate(N_("%(n)s giây"), language) % {"n": seconds}
    return translate(N_("%(n)s phút"), language) % {"n": format_number(-(-seconds // 60), language)}


def format_age(age: timedelta, language: str) -> str:
    """Returns how long something waits, in its largest unit."""
    minutes = max(0, int(age.total_seconds() // 60))
    for size, text in ((1440, N_("%(n)s ngày")), (60, N_("%(n)s giờ")), (1, N_("%(n)s phút"))):
        if minutes >= size:
            return translate(text, language) % {"n": format_number(minutes // size, language)}
    return translate(N_("vừa xong"), language)


# ------------------------------------------------------------------ names of tokens

NAMES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "state": {
            "RECEIVING": N_("Đang tiếp nhận"),
            "CHECKING": N_("Đang kiểm tra"),
            "REJECTED": N_("Đã từ chối"),
            "AWAITING_APPROVAL": N_("Chờ duyệt"),
            "RETURNED": N_("Đã trả lại"),
            "APPROVED": N_("Đã duyệt, đang lưu"),
            "STORED": N_("Đã lưu trữ"),
            "UNDER_REVIEW": N_("Đang xét giá trị"),
            "DESTROYING": N_("Đang hủy"),
            "DESTROYED": N_("Đã hủy"),
            "HANDED_OVER": N_("Đã giao nộp"),
        },
        "copy_state": {
            "INTACT": N_("Nguyên vẹn"),
            "DAMAGED": N_("Hỏng"),
            "MISSING": N_("Mất"),
            "UNREAD": N_("Chưa đọc lại"),
            "REMOVING": N_("Đang gỡ"),
            "REMOVED": N_("Đã gỡ"),
        },
        "role_name": {
            "submitter": N_("Hệ thống nộp"),
            "archivist": N_("Lưu trữ viên"),
            "records_head": N_("Phụ trách lưu trữ"),
            "council": N_("Hội đồng xét hủy"),
            "officer": N_("Cán bộ khai thác"),
            "copy_officer": N_("Cán bộ sao y"),
            "auditor": N_("Kiểm tra viên"),
            "admin": N_("Quản trị"),
        },
        "component_role": {
            "application_form": N_("Đơn, tờ khai"),
            "submitted": N_("Giấy tờ nộp kèm"),
            "digitised": N_("Giấy tờ số hóa"),
            "receipt": N_("Giấy tiếp nhận"),
            "supplement_request": N_("Yêu cầu bổ sung"),
            "refusal": N_("Từ chối tiếp nhận"),
            "apology": N_("Xin lỗi"),
            "stop_notice": N_("Dừng giải quyết"),
            "control_sheet": N_("Phiếu kiểm soát"),
            "opinion": N_("Ý kiến"),
            "result": N_("Kết quả"),
            "other": N_("Khác"),
        },
        "outcome": {
            "result_returned": N_("Đã trả kết quả"),
            "refused": N_("Từ chối giải quyết"),
            "withdrawn": N_("Công dân rút"),
            "stopped": N_("Dừng giải quyết"),
        },
        "access_mode": {
            "01": N_("Công khai"),
            "02": N_("Tiếp cận có điều kiện"),
            "03": N_("Chứa bí mật nhà nước"),
        },
        "record_status": {
            "NEW": N_("Hồ sơ mới"),
            "SUPPLEMENT": N_("Bổ sung"),
            "REPLACEMENT": N_("Thay thế"),
        },
        "decision": {
            "approve": N_("Duyệt"),
            "return": N_("Trả lại"),
            "reject": N_("Từ chối"),
            "withdrawn": N_("Bên gửi rút lại"),
        },
        "copy_form": {
            "SAO_Y": N_("Sao y"),
            "SAO_LUC": N_("Sao lục"),
            "TRICH_SAO": N_("Trích sao"),
        },
        "severity": {
            "error": N_("Lỗi"),
            "warning": N_("Cảnh báo"),
            "info": N_("Thông tin"),
        },
        "severity_count": {
            "error": N_("lỗi"),
            "warning": N_("cảnh báo"),
            "info": N_("thông tin"),
        },
        "retention_kind": {
            "PERMANENT": N_("Vĩnh viễn"),
            "YEARS": N_("Có thời hạn"),
            "UNMATCHED": N_("Chưa xác định"),
        },
        "indication": {
            "TOTAL-PASSED": N_("Hợp lệ"),
            "INDETERMINATE": N_("Chưa kết luận được"),
            "TOTAL-FAILED": N_("Không hợp lệ"),
        },
        "indication_count": {
            "TOTAL-PASSED": N_("chữ ký hợp lệ"),
            "INDETERMINATE": N_("chữ ký chưa kết luận được"),
            "TOTAL-FAILED": N_("chữ ký không hợp lệ"),
        },
        "time_source": {
            "claimed": N_("người ký tự khai"),
            "timestamp": N_("dấu thời gian"),
            "known_poe": N_("bằng chứng của kho lưu trữ"),
        },
        "changes": {
            "none": N_("không có"),
            "validation_material": N_("chỉ thêm dữ liệu xác thực hoặc thông tin mô tả tệp"),
            "form_or_signature": N_("điền biểu mẫu hoặc thêm chữ ký"),
            "annotations": N_("thêm ghi chú"),
            "suspicious": N_("nội dung bị sửa sau khi ký"),
            "not_checked": N_("chưa kiểm tra"),
            "not_applicable": N_("không áp dụng"),
        },
        "revocation": {
            "good": N_("còn hiệu lực"),
            "revoked": N_("đã bị thu hồi"),
            "unknown": N_("không rõ"),
            "not_declared": N_("chứng thư không nêu nơi tra cứu"),
        },
        "trust_scheme": {
            "public_service": N_("Chứng thực chuyên dùng công vụ"),
            "national": N_("Chứng thực công cộng quốc gia"),
            "foreign": N_("Nước ngoài được công nhận"),
            "timestamp": N_("Dấu thời gian"),
            "test": N_("Thử nghiệm"),
            "default": N_("Mặc định"),
        },
        "worst": {
            "error": N_("Có lỗi"),
            "warning": N_("Có cảnh báo"),
            "none": N_("Không có vấn đề"),
        },
        "incident_found": {
            "DAMAGED": N_("Hỏng"),
            "MISSING": N_("Mất"),
            "UNREADABLE": N_("Không đọc được nhiều lần"),
        },
        "incident_status": {
            "OPEN": N_("Đang xử lý"),
            "REPAIRED": N_("Đã sửa"),
            "RECOVERED": N_("Tự hết"),
            "NO_GOOD_COPY": N_("Không còn bản nào tốt"),
            "REFUSED": N_("Nơi lưu không cho sửa"),
        },
        "location_state": {
            "FILLING": N_("Đang được chuyển vào"),
            "ACTIVE": N_("Đang dùng"),
            "RETIRING": N_("Đang chuyển đi"),
            "RETIRED": N_("Thôi dùng, còn giữ"),
            "EMPTIED": N_("Đã dọn sạch"),
        },
        "run_end": {
            "all-read": N_("đã đọc hết"),
            "budget": N_("hết hạn mức đọc"),
            "time": N_("hết giờ"),
            "location-silent": N_("nơi lưu không trả lời"),
        },
        "text_status": {
            "EXTRACTED": N_("tìm được theo nội dung"),
            "NO_TEXT": N_("không có lớp văn bản"),
            "NOT_CHECKED": N_("chưa đọc được nội dung"),
        },
        "job_kind": {
            "check-submission": N_("Kiểm tra hồ sơ"),
            "store-submission": N_("Đóng gói và lưu"),
            "discard-staging": N_("Dọn tệp tạm của hồ sơ"),
            "sweep-staging": N_("Dọn vùng tạm"),
            "review-retention": N_("Rà soát thời hạn"),
            "prune-jobs": N_("Dọn hàng đợi"),
            "check-fixity": N_("Kiểm tra toàn vẹn"),
            "repair-copy": N_("Sửa bản lưu"),
            "make-renditions": N_("Tạo bản chuyển đổi PDF/A"),
            "extract-text": N_("Đọc chữ để tìm kiếm"),
            "make-backup": N_("Sao lưu"),
            "drill-restore": N_("Diễn tập khôi phục"),
            "copy-package": N_("Tạo bản lưu ở kho sau"),
            "move-copies": N_("Chuyển bản lưu"),
            "apply-locks": N_("Đặt khóa đối tượng"),
            "apply-hold": N_("Đặt lệnh giữ nguyên ở kho"),
            "reconcile-storage": N_("Đối chiếu với kho"),
            "keep-storage": N_("Việc định kỳ của kho"),
            "seal-log": N_("Niêm phong nhật ký"),
            "renew-evidence": N_("Gia hạn chứng cứ"),
            "repair-object": N_("Sửa tệp kèm theo"),
        },
        "job_state": {
            "READY": N_("Chờ chạy"),
            "RUNNING": N_("Đang chạy"),
            "DONE": N_("Xong"),
            "PARKED": N_("Dừng, cần xem"),
        },
        "pdfa_checker": {
            "own structural checks": N_("các bước kiểm tra cấu trúc của hệ thống"),
        },
        "no_rendition": {
            "renditions are turned off": N_("việc tạo bản PDF/A đang tắt"),
            "LibreOffice is not installed here": N_("máy này chưa cài LibreOffice"),
        },
        "subject_kind": {
            "submission": N_("Lượt nộp"),
            "record": N_("Hồ sơ lưu trữ"),
            "account": N_("Tài khoản"),
            "token": N_("Mã truy cập"),
            "job": N_("Công việc nền"),
            "location": N_("Kho"),
            "incident": N_("Sự cố"),
            "hold": N_("Lệnh giữ nguyên"),
            "archive": N_("Hệ thống"),
            "backup": N_("Bản sao lưu"),
            "trust-anchor": N_("Chứng thư gốc"),
            "review": N_("Lần rà soát"),
        },
        "event": {
            "submission.opened": N_("Bắt đầu nhận hồ sơ"),
            "submission.completed": N_("Nhận đủ tệp"),
            "submission.withdrawn": N_("Rút hồ sơ đang nộp"),
            "submission.rejected": N_("Tự động từ chối sau kiểm tra"),
            "submission.checked": N_("Kiểm tra xong"),
            "submission.approved": N_("Duyệt nhận vào lưu trữ"),
            "submission.returned": N_("Trả lại nơi nộp"),
            "submission.refused": N_("Từ chối nhận"),
            "submission.stored": N_("Lưu xong và đọc lại khớp"),
            "submission.file-read": N_("Mở tệp trước khi duyệt"),
            "record.accessioned": N_("Vào kho lưu trữ"),
            "record.version-added": N_("Thêm phiên bản gói"),
            "record.review-started": N_("Bắt đầu xét giá trị"),
            "record.review-ended": N_("Kết thúc xét giá trị"),
            "record.destruction-started": N_("Bắt đầu hủy"),
            "record.destroyed": N_("Đã hủy"),
            "record.handed-over": N_("Giao nộp lưu trữ lịch sử"),
            "record.retention-assigned": N_("Gán thời hạn bảo quản"),
            "record.fell-due": N_("Đến hạn xem xét"),
            "record.viewed": N_("Xem hồ sơ"),
            "record.component-read": N_("Đọc tài liệu"),
            "record.package-read": N_("Tải gói lưu trữ"),
            "record.dispute-package-read": N_("Xuất gói chứng cứ"),
            "record.copy-verified": N_("Đọc lại bản lưu, khớp"),
            "record.copy-damaged": N_("Phát hiện bản lưu hỏng"),
            "record.copy-added": N_("Thêm bản lưu ở kho khác"),
            "record.copy-removed": N_("Gỡ bản lưu ở kho thôi dùng"),
            "record.held": N_("Giữ nguyên theo quyết định"),
            "record.hold-released": N_("Thôi giữ nguyên"),
            "hold.placed": N_("Đã ra lệnh giữ nguyên"),
            "hold.released": N_("Đã bỏ lệnh giữ nguyên"),
            "location.added": N_("Đưa kho vào sử dụng"),
            "location.filled": N_("Kho đã đủ bản lưu"),
            "location.retirement-begun": N_("Bắt đầu thôi dùng kho"),
            "location.retired": N_("Kho đã thôi dùng"),
            "location.put-back": N_("Dùng lại kho"),
            "location.removal-begun": N_("Bắt đầu gỡ bản lưu khỏi kho"),
            "location.emptied": N_("Kho đã gỡ hết bản lưu"),
            "location.move-paused": N_("Tạm dừng chuyển bản lưu"),
            "location.move-resumed": N_("Tiếp tục chuyển bản lưu"),
            "location.locks-renewed": N_("Gia hạn khóa đối tượng"),
            "location.reconciled": N_("Đối chiếu cơ sở dữ liệu với kho"),
            "copy.issued": N_("Đã cấp bản sao y"),
            "copy.read": N_("Mở bản sao y"),
            "copy.cancelled": N_("Đã hủy bản sao y"),
            "account.created": N_("Tạo tài khoản"),
            "account.changed": N_("Đổi tài khoản"),
            "account.signed-in": N_("Đăng nhập"),
            "account.sign-in-failed": N_("Đăng nhập không thành công"),
            "account.signed-out": N_("Đăng xuất"),
            "account.locked": N_("Tạm khóa tài khoản"),
            "token.created": N_("Tạo mã truy cập"),
            "token.revoked": N_("Thu hồi mã truy cập"),
            "job.parked": N_("Công việc nền dừng"),
            "job.requeued": N_("Chạy lại công việc nền"),
            "review.listed": N_("Lập danh sách đến hạn"),
            "fixity.checked": N_("Kiểm tra toàn vẹn"),
            "incident.opened": N_("Mở sự cố"),
            "incident.repaired": N_("Đã sửa sự cố"),
            "incident.recovered": N_("Sự cố tự hết"),
            "incident.unrepairable": N_("Sự cố không sửa được"),
            "submission.quarantined": N_("Cách ly vì mã độc"),
            "submission.quarantine-ended": N_("Hết cách ly"),
            "trust-anchor.added": N_("Thêm chứng thư gốc tin cậy"),
            "trust-anchor.retired": N_("Ngừng tin chứng thư gốc"),
            "record.rendition-made": N_("Tạo bản chuyển đổi PDF/A"),
            "archive.rebuilt": N_("Dựng lại cơ sở dữ liệu từ kho"),
            "archive.restored": N_("Khôi phục từ bản sao lưu"),
            "backup.made": N_("Đã sao lưu"),
            "backup.drilled": N_("Đã diễn tập khôi phục"),
            "evidence.renewed": N_("Đã gia hạn chứng cứ"),
            "evidence.renewal-delayed": N_("Gia hạn chứng cứ bị chậm"),
            "log.key-rotated": N_("Đổi khóa nhật ký"),
        },
    }
)
"""Vietnamese names by vocabulary and token; a test compares them with the enums they name."""


def name_of(vocabulary: str, token: str | None, language: str) -> str:
    """Returns the name of a token in `language`; a token without a name (from a newer version) is shown as it is.

    Raises:
        KeyError: no such vocabulary.
    """
    if token is None:
        return ""
    return translate(NAMES[vocabulary].get(token, token), language)


ERROR_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "NOT_FOUND": N_("Không tìm thấy, hoặc bạn không có quyền xem."),
        "NOT_PERMITTED": N_("Bạn không có quyền làm việc này."),
        "NOT_SIGNED_IN": N_("Bạn cần đăng nhập."),
        "FORM_STALE": N_(
            "Biểu mẫu đã cũ hoặc không thuộc phiên làm việc này: chưa có gì được thực hiện. Xin tải lại trang rồi gửi lại."
        ),
        "BAD_REQUEST": N_("Thông tin gửi lên chưa đúng hoặc còn thiếu."),
        "CONFLICT": N_("Việc này trái với dữ liệu đang có."),
        "ILLEGAL_TRANSITION": N_("Hồ sơ không còn ở trạng thái cho phép làm việc này; có thể người khác đã xử lý."),
        "STORE_UNAVAILABLE": N_("Kho lưu trữ tạm thời không dùng được; xin thử lại sau."),
        "STORED_OBJECT_MISSING": N_("Không tìm thấy tệp trong kho; người vận hành cần xem ngay."),
        "STORE_FULL": N_("Kho lưu trữ đã đầy."),
        "COPY_NOT_POSSIBLE": N_("Không lập được bản sao giấy từ tài liệu này."),
        "CONTENT_SEARCH_UNAVAILABLE": N_("Cơ sở dữ liệu này không tìm được theo nội dung tài liệu."),
        "TOO_MANY_SIGN_INS": N_("Sai mật khẩu quá nhiều lần; xin chờ rồi thử lại."),
        "TOO_LARGE": N_("Dữ liệu gửi lên quá lớn."),
        "DATABASE_UNAVAILABLE": N_("Cơ sở dữ liệu tạm thời không dùng được; xin thử lại."),
        "DIGEST_MISMATCH": N_("Tệp trong kho không khớp mã băm; người vận hành cần xem ngay."),
    }
)
"""What people are told about an error, by its code."""


def error_text(code: str, language: str) -> str:
    """Returns the text for an error code."""
    return translate(ERROR_TEXTS.get(code, N_("Không thực hiện được.")), language)
