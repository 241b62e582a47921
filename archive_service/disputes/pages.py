"""The plain-language page: what is in the package, and how a stranger checks each part. Vietnamese first, then English; text and HTML."""

import html
from collections.abc import Sequence

from archive_service.disputes.steps import Step

COMMAND_MARK = "    $ "
"""Begins every line of the text page that is a command."""

_INTRO = {
    "vi": (
        "GÓI CHỨNG CỨ CỦA MỘT HỒ SƠ LƯU TRỮ",
        (
            "Gói này chứa bản gốc, báo cáo kiểm tra, bằng chứng và quá trình lưu giữ của hồ sơ. Không cần tin máy chủ đã lập gói: mỗi phần"
            " dưới đây tự kiểm tra được bằng công cụ thông dụng (sha256sum, cmp, unzip, openssl 3) trên Linux, macOS hoặc WSL."
        ),
        (
            "Giải nén bằng bất kỳ chương trình ZIP nào, mở cửa sổ lệnh tại thư mục đã giải nén và chạy từng lệnh. Lệnh đúng thì in ra OK ở"
            " cuối; sai dù một byte thì không in OK."
        ),
    ),
    "en": (
        "DISPUTE PACKAGE OF AN ARCHIVED RECORD",
        (
            "This package holds the originals, the validation reports, the evidence and the chain of custody of a record. The server that made"
            " it need not be trusted: each part below can be checked with common tools (sha256sum, cmp, unzip, openssl 3) on Linux, macOS, WSL."
        ),
        (
            "Unpack with any ZIP program, open a command window in the unpacked folder and run each command. A command that holds prints OK at"
            " its end; if a single byte is wrong it does not."
        ),
    ),
}
_CONTENTS = {
    "vi": (
        ("originals/", "bản gốc đúng như đã tiếp nhận"),
        ("aip/", "gói lưu trữ nguyên vẹn (mỗi phiên bản một tệp ZIP)"),
        ("reports/", "kết quả kiểm tra định dạng và chữ ký số lúc tiếp nhận"),
        ("evidence/", "bằng chứng: nhật ký chỉ ghi thêm, dấu thời gian, Evidence Record (RFC 4998)"),
        ("custody/", "quá trình lưu giữ: PREMIS (XML) và bản đọc (PDF)"),
        ("keys/, trust/", "khóa công khai và chứng thư gốc: hãy so với bản công bố ở nơi khác"),
    ),
    "en": (
        ("originals/", "the originals exactly as received"),
        ("aip/", "the archived packages, whole (one ZIP per version)"),
        ("reports/", "what the checks of formats and signatures found on receipt"),
        ("evidence/", "evidence: append-only log, time-stamps, Evidence Record (RFC 4998)"),
        ("custody/", "chain of custody: PREMIS (XML) and a readable page (PDF)"),
        ("keys/, trust/", "public keys and root certificates: compare them with what is published elsewhere"),
    ),
}
_TRUST = {
    "vi": "Khóa và chứng thư gốc đi kèm chỉ để tiện dùng. Ai làm giả cả gói cũng làm giả được chúng: hãy lấy chúng từ nơi anh/chị tin cậy.",
    "en": "The keys and root certificates enclosed are a convenience. Whoever forged the whole package could forge them too: take them"
    " from where you trust.",
}
_PROGRAM = {
    "vi": "Kiểm tra tất cả một lần, có cả chữ ký số (phần mềm mã nguồn mở archive-service, không cần mạng):",
    "en": "Everything at once, digital signatures included (open-source program archive-service, no network needed):",
}
_STYLE = (
    "body{font:16px/1.5 'Noto Serif',Georgia,serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}pre{background:#f3f1ea;padding:.6rem .8rem;overflow-x:auto;font-size:.82rem}"
    "dt{font-weight:bold}dl.facts{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem}dd{margin:0}.trust{border-left:4px solid #8a2b2b;"
    "padding-left:.8rem}hr{margin:3rem 0}"
)


def text_page(facts: Sequence[tuple[str, str]], steps: Sequence[Step], file_name: str) -> str:
    """Returns README.txt."""
    parts: list[str] = []
    for language in ("vi", "en"):
        title, *paragraphs = _INTRO[language]
        parts += [title, "=" * len(title), "", *paragraphs, ""]
        parts += [f"{name.split(' / ')[language == 'en']}: {value}" for name, value in facts] + [""]
        parts += [f"{name:<15} {what}" for name, what in _CONTENTS[language]] + [""]
        for number, step in enumerate(steps, start=1):
            parts += [f"{number}. {step.vi if language == 'vi' else step.en}", ""]
            parts += [f"{COMMAND_MARK}{_said(command)}" for command in step.commands]
            parts.append("")
        parts += [_TRUST[language], "", _PROGRAM[language], "", f"    archive-service verify {file_name}", "", ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def _said(command: str) -> str:
    """Returns the command so that its success is seen: `test` and `grep -q` say nothing either way."""
    return f"{command} && echo OK"


def html_page(facts: Sequence[tuple[str, str]], steps: Sequence[Step], file_name: str) -> str:
    """Returns README.html: one file, no script, nothing from elsewhere."""
    sections = [_section(language, facts, steps, file_name) for language in ("vi", "en")]
    title = html.escape(_INTRO["vi"][0])
    return (
        f'<!doctype html>\n<html lang="vi"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>\n<body>\n'
        + "\n<hr>\n".join(sections)
        + "\n</body></html>\n"
    )


def _section(language: str, facts: Sequence[tuple[str, str]], steps: Sequence[Step], file_name: str) -> str:
    title, *paragraphs = _INTRO[language]
    parts = [f'<section lang="{language}">', f"<h1>{html.escape(title)}</h1>"]
    parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs]
    shown = [(name.split(" / ")[language == "en"], value) for name, value in facts]
    parts.append(
        '<dl class="facts">'
        + "".join(f"<dt>{html.escape(n)}</dt><dd>{html.escape(v)}</dd>" for n, v in shown)
        + "</dl>"
    )
    items = "".join(
        f"<li><code>{html.escape(name)}</code> {html.escape(what)}</li>" for name, what in _CONTENTS[language]
    )
    parts.append(f"<ul>{items}</ul>")
    for number, step in enumerate(steps, start=1):
        parts.append(f"<h2>{number}. {html.escape(step.vi if language == 'vi' else step.en)}</h2>")
        if step.commands:
            parts.append("<pre>" + "\n".join(html.escape(_said(command)) for command in step.commands) + "</pre>")
    parts.append(f'<p class="trust">{html.escape(_TRUST[language])}</p>')
    parts.append(
        f"<p>{html.escape(_PROGRAM[language])}</p><pre>archive-service verify {html.escape(file_name)}</pre></section>"
    )
    return "\n".join(parts)
