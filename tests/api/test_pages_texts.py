"""Texts of the pages: every one has an English form, every token a name, and no template holds a text that cannot be translated."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import archive_service
from archive_service import i18n
from archive_service.audit import software
from archive_service.copies.marks import CopyForm
from archive_service.dossier import Outcome, RecordStatus, Role
from archive_service.findings import Severity
from archive_service.formats import pdfa
from archive_service.identity.permissions import ACCESS_MODES
from archive_service.models import Event, EventType, JobKind, JobState, RoleName, State
from archive_service.renditions import standing
from archive_service.rules.retention import PeriodKind
from archive_service.signatures.report import ChangesAfterSigning, Indication, RevocationState, SigningTimeSource
from archive_service.transfer.decisions import DecisionKind
from archive_service.web.templating import TEMPLATE_DIR, masked, moment
from archive_service.web.timeline import timeline
from archive_service.web.visitors import local_path

PACKAGE = Path(archive_service.__file__).parent
_PLACES = re.compile(r"%\(\w+\)s|\{\w+\}")


def _texts() -> Iterator[str]:
    for path in sorted(TEMPLATE_DIR.glob("*.html")):
        with path.open("rb") as source:
            options = {"extensions": "jinja2.ext.i18n", "trim_blocks": "true"}
            for _, text, _, _ in extract("jinja2.ext:babel_extract", source, keywords={"_": None}, options=options):
                yield str(text)
    for path in (PACKAGE / "i18n.py", *sorted((PACKAGE / "web").glob("*.py"))):
        with path.open("rb") as source:
            for _, text, _, _ in extract("python", source, keywords={"N_": None}):
                yield str(text)


def _catalogue() -> dict[str, str]:
    with (i18n.LOCALE_DIR / "en" / "LC_MESSAGES" / "messages.po").open("rb") as source:
        return {str(message.id): str(message.string) for message in read_po(source, locale="en") if message.id}


def test_every_text_has_an_english_one_with_the_same_places() -> None:
    texts, english = set(_texts()), _catalogue()
    assert len(texts) > 300, "the extraction is broken"
    assert {text for text in texts if not english.get(text)} == set()
    assert set(english) - texts == set(), "texts that nothing uses any more"
    differing = {text for text in texts if sorted(_PLACES.findall(text)) != sorted(_PLACES.findall(english[text]))}
    assert differing == set()


@pytest.mark.parametrize("path", sorted(TEMPLATE_DIR.glob("*.html")), ids=lambda path: path.name)
def test_no_template_holds_a_text_that_cannot_be_translated(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\{#.*?#\}|<!DOCTYPE[^>]*>", "", text, flags=re.DOTALL)
    spoken = re.findall(r"(?:aria-label|title|placeholder|alt)=\"([^\"{]+)\"", text)
    text = re.sub(r"\{% block body_class %\}[a-z ]*\{% endblock %\}", "", text)
    bare = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", text, flags=re.DOTALL)
    bare = re.sub(r"<[^>]*>", " ", bare)
    words = [word for word in re.findall(r"[^\W\d_]{2,}", bare) if word not in {"SHA", "CSIP"}]
    assert words + spoken == []


@pytest.mark.parametrize(
    ("vocabulary", "tokens"),
    [
        ("state", State),
        ("role_name", RoleName),
        ("component_role", Role),
        ("outcome", Outcome),
        ("record_status", RecordStatus),
        ("decision", DecisionKind),
        ("copy_form", CopyForm),
        ("severity", Severity),
        ("severity_count", Severity),
        ("retention_kind", PeriodKind),
        ("indication", Indication),
        ("indication_count", Indication),
        ("time_source", SigningTimeSource),
        ("changes", ChangesAfterSigning),
        ("revocation", RevocationState),
        ("job_kind", JobKind),
        ("job_state", JobState),
        ("event", EventType),
        ("access_mode", ACCESS_MODES),
    ],
)
def test_every_token_has_a_name(vocabulary: str, tokens: object) -> None:
    assert {str(token) for token in tokens} <= set(i18n.NAMES[vocabulary])  # type: ignore[attr-defined] # enums and sets


def test_what_other_parts_say_in_english_is_shown_in_vietnamese() -> None:
    assert i18n.name_of("pdfa_checker", pdfa.OWN, "vi") == "các bước kiểm tra cấu trúc của hệ thống"
    assert set(i18n.NAMES["no_rendition"]) == {standing.TURNED_OFF, standing.NO_LIBREOFFICE}


def test_a_token_of_a_newer_version_is_shown_as_it_is() -> None:
    assert i18n.name_of("state", "FROZEN", "vi") == "FROZEN"
    assert i18n.name_of("state", None, "vi") == ""
    assert i18n.name_of("state", "STORED", "en") == "Archived"


@pytest.mark.parametrize(("cookie", "language"), [(None, "vi"), ("en", "en"), ("vi", "vi"), ("de", "vi"), ("", "vi")])
def test_the_language_of_a_request(cookie: str | None, language: str) -> None:
    assert i18n.choose_language(cookie) == language


def test_times_are_vietnamese_and_sizes_read_well() -> None:
    late = datetime(2026, 12, 31, 20, 5, tzinfo=UTC)
    assert i18n.format_datetime(late) == "01/01/2027 03:05"
    assert i18n.format_date(late) == i18n.format_date(date(2027, 1, 1)) == "01/01/2027"
    assert i18n.format_datetime(None) == i18n.format_date(None) == i18n.format_size(None, "vi") == ""
    assert [i18n.format_size(size, "vi") for size in (0, 999, 1500, 2_000_000)] == ["0 B", "999 B", "1,5 KB", "2,0 MB"]
    assert i18n.format_size(5 * 10**15, "en") == "5000.0 TB"
    assert (i18n.format_number(1234567, "vi"), i18n.format_number(1234567, "en")) == ("1.234.567", "1,234,567")
    assert i18n.format_age(timedelta(days=3, hours=5), "vi") == "3 ngày"
    assert i18n.format_age(timedelta(minutes=61), "en") == "1 h"
    assert i18n.format_age(timedelta(seconds=-5), "vi") == "vừa xong"
    with pytest.raises(ValueError, match="naive"):
        i18n.format_datetime(datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def test_identity_numbers_are_masked_and_codes_are_not() -> None:
    assert masked("UID=CCCD:019089526866, C=VN") == "UID=CCCD:•••••••••866, C=VN"
    assert masked("CMND 012345678.") == "CMND ••••••678."
    for text in ("000.00.16.H56-260518-0001", "1.012756.000.00.00.H56", "2026-11-22T17:28:46Z", "a" * 64):
        assert masked(text) == text


def test_a_report_time_that_cannot_be_read_is_shown() -> None:
    assert moment("2026-04-26T13:00:00Z") == "26/04/2026 20:00"
    assert moment("bao giờ") == "bao giờ"
    assert moment(None) == ""


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, "/"),
        ("/records?q=đất&state=STORED", "/records?q=%C4%91%E1%BA%A5t&state=STORED"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/api/v1/records", "/"),
        ("/a\tb", "/"),
        ("records", "/"),
    ],
)
def test_only_our_own_pages_are_gone_to(given: str | None, kept: str) -> None:
    assert local_path(given) == kept


def test_an_event_is_told_with_its_facts() -> None:
    event = Event(
        seq=1,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        type=EventType.SUBMISSION_RETURNED,
        subject_kind="submission",
        subject_id="x",
        agent_id="account:1",
        agent_name=software("tests").name,
        detail={
            "reason": "Thiếu tờ khai",
            "errors": 0,
            "warnings": 2,
            "copies": [{"location": "kho-1"}],
            "purpose": "",
        },
    )
    (entry,) = timeline([event], "vi")
    assert entry.tone == "bad"
    assert entry.notes == ("Lý do: Thiếu tờ khai", "0 lỗi, 2 cảnh báo", "Đã đọc lại 1 bản: kho-1")
