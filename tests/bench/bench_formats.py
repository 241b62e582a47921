"""What the format checks cost: CPU and wall milliseconds per file, as JSON. Run: python tests/bench/bench_formats.py."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pikepdf

from archive_service.formats.check import check_file
from archive_service.formats.identify import identify
from archive_service.formats.policy import DEFAULT_POLICY, load_policy
from tests.unit.formats import format_files as files

ROUNDS = 30


def cost(work: Callable[[], object]) -> dict[str, float]:
    work()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(ROUNDS):
        work()
    return {
        "cpu_ms": round((time.process_time() - cpu) / ROUNDS * 1000, 2),
        "wall_ms": round((time.perf_counter() - wall) / ROUNDS * 1000, 2),
    }


def text_pdf(pages: int) -> bytes:
    """A born-digital PDF with `pages` pages of text operators, about 150 KB for 40 pages."""

    def change(document: pikepdf.Pdf) -> None:
        font = document.make_indirect(
            pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
        )
        for number in range(pages):
            page = document.pages[0] if number == 0 else document.add_blank_page(page_size=(595, 842))
            page.obj.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=font))
            lines = b"".join(
                b"BT /F 10 Tf 50 %d Td (Dong %d trang %d) Tj ET\n" % (800 - n, n, number) for n in range(90)
            )
            page.obj.Contents = pikepdf.Stream(document, lines)

    return files.pdf(change, compress_streams=False)


def dossier() -> list[tuple[str, bytes]]:
    """Eight files of about 1.5 MB, as in an ordinary dossier."""
    scan = files.image("JPEG", size=(1240, 1754))
    return [
        *[(f"don-{number}.pdf", text_pdf(40)) for number in range(4)],
        ("scan-1.jpg", scan),
        ("scan-2.jpg", scan),
        ("phieu.docx", files.docx()),
        ("to-khai.xml", b'<?xml version="1.0"?><a>' + b"<b>1</b>" * 500 + b"</a>"),
    ]


def main() -> None:
    policy = load_policy(DEFAULT_POLICY, on=date(2026, 1, 1))
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = dossier()
        paths = [(name, files.write(Path(folder), name, content)) for name, content in made]
        for name, path in {path.suffix: (name, path) for name, path in paths}.values():
            entry: dict[str, object] = {"bytes": path.stat().st_size}
            entry["identify"] = cost(lambda path=path, name=name: identify(path, name=name))  # type: ignore[misc]
            for depth in ("identify", "standard", "full"):
                entry[depth] = cost(
                    lambda path=path, name=name, depth=depth: check_file(  # type: ignore[misc]
                        path, name=name, component=None, policy=policy, depth=depth
                    )
                )
            results[path.suffix[1:]] = entry
        results["dossier"] = {
            "files": len(paths),
            "bytes": sum(path.stat().st_size for _, path in paths),
            "standard": cost(lambda: [check_file(p, name=n, component=None, policy=policy) for n, p in paths]),
        }
    json.dump(results, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
