"""Material kept and judged again offline; live fetching against a real HTTP server; what signatures look like."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archive_service.digests import digest_bytes
from archive_service.errors import DigestMismatch
from archive_service.signatures import Indication, KnownExistence, TrustStore
from archive_service.signatures.appearance import appearance_findings, appearances
from archive_service.signatures.fetch import Fetcher, validate_with_fetching
from archive_service.signatures.material import proven_material, read_material, revalidate, write_material
from tests.unit.signatures.checking import POLICY, check, trust_of
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, sign_pdf


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="fetch")


def test_kept_material_settles_the_question_years_later(tmp_path: Path, world: World) -> None:
    """At intake the status came from outside; twenty years on only the archive's files remain."""
    crls, ocsps = world.revocation(SIGNED_AT)
    online = trust_of(world).with_material(intermediates=[], crls=crls, ocsps=ocsps)
    pdf = sign_pdf(world)
    first = check(tmp_path, pdf, world, trust=online, name="a.pdf")
    assert first.indication is Indication.TOTAL_PASSED
    write_material(tmp_path / "material", first.material)
    kept = read_material(tmp_path / "material")
    assert kept == dict(first.material)
    proofs = (
        KnownExistence(digest=digest_bytes(pdf), at=SIGNED_AT, source="receipt"),
        *proven_material(kept, SIGNED_AT, "receipt"),
    )
    late = datetime(2036, 1, 1, tzinfo=UTC)
    arguments = {"mime": "application/pdf", "trust": TrustStore.of([world.root.der]), "at": late, "policy": POLICY}
    again = revalidate(tmp_path / "a.pdf", material=kept, known_poes=proofs, **arguments)  # type: ignore[arg-type]
    assert again.indication is Indication.TOTAL_PASSED
    assert again.reports[0].expired_since
    without = revalidate(tmp_path / "a.pdf", material={}, known_poes=proofs, **arguments)  # type: ignore[arg-type]
    assert without.indication is Indication.INDETERMINATE


def test_changed_material_is_noticed(tmp_path: Path, world: World) -> None:
    write_material(tmp_path, check(tmp_path, sign_pdf(world), world, name="a.pdf").material)
    victim = next(tmp_path.glob("*.cer"))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(DigestMismatch):
        read_material(tmp_path)


ANSWERS: dict[str, bytes] = {}
"""What the server says, by path; a test fills in what it needs."""


@pytest.fixture
def server() -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(ANSWERS.get(self.path, b"x" * 5000))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(ANSWERS.get(self.path, b""))

        def _answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("kind", ["/ocsp", "/crl"])
def test_missing_status_is_fetched_and_marked(tmp_path: Path, world: World, server: str, kind: str) -> None:
    party = world.make("Có địa chỉ thật", world.issuing, pointers=True, base_url=server)
    ANSWERS.clear()
    ANSWERS[kind] = world.ocsp(party, SIGNED_AT) if kind == "/ocsp" else world.crl(world.issuing, SIGNED_AT)
    path = tmp_path / "a.pdf"
    path.write_bytes(sign_pdf(world, party=party))
    arguments = {
        "mime": "application/pdf",
        "trust": trust_of(world),
        "at": SIGNED_AT + timedelta(hours=1),
        "policy": POLICY,
    }
    refused = validate_with_fetching(path, fetcher=Fetcher(), **arguments)  # type: ignore[arg-type]
    assert refused.indication is Indication.INDETERMINATE
    assert any("not public" in note for note in refused.not_checked)
    allowed = Fetcher(allowed_hosts=frozenset({"127.0.0.1"}))
    result = validate_with_fetching(path, fetcher=allowed, **arguments)  # type: ignore[arg-type]
    assert result.indication is Indication.TOTAL_PASSED
    assert any(note.startswith("FETCHED: ") for note in result.not_checked)


def test_answers_over_the_limit_and_odd_schemes_are_refused(server: str) -> None:
    fetcher = Fetcher(allowed_hosts=frozenset({"127.0.0.1"}), max_bytes=1000)
    assert fetcher.get(f"{server}/large") is None
    assert fetcher.get("file:///etc/passwd") is None
    assert fetcher.get("http://[::1/") is None
    assert len(fetcher.failures) == 3


def test_invisible_signature_is_said(tmp_path: Path, world: World) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(sign_pdf(world, party=world.plain))
    [shown] = appearances(path)
    assert not shown.visible
    assert [finding.code for finding in appearance_findings(path)] == ["SIGNATURE_APPEARANCE"]


def test_visible_signature_is_described(tmp_path: Path, world: World) -> None:
    from io import BytesIO

    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import fields

    from tests.unit.signatures.pki_fixtures import blank_pdf

    writer = IncrementalPdfFileWriter(BytesIO(blank_pdf()))
    fields.append_signature_field(writer, fields.SigFieldSpec("Sig1", box=(100, 100, 300, 180)))
    out = BytesIO()
    writer.write(out)  # type: ignore[no-untyped-call]
    path = tmp_path / "a.pdf"
    path.write_bytes(sign_pdf(world, out.getvalue(), party=world.plain))
    [shown] = appearances(path)
    assert (shown.visible, shown.width_pt, shown.height_pt) == (True, 200, 80)
    assert shown.has_text
    assert appearance_findings(path) == ()
