"""Signature checks of a worker: across processes, and with live fetching only where the operator switched it on."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archive_service import clock
from archive_service.ingest.policies import CheckPolicies, load_policies
from archive_service.jobs.checkers import LimitedCheckers, signature_process_count
from archive_service.settings import Settings
from archive_service.signatures.report import Indication, SignatureCheck
from tests.unit.signatures.checking import trust_of
from tests.unit.signatures.pki_fixtures import SIGNED_AT, Party, World, sign_pdf

AT = SIGNED_AT + timedelta(hours=1)


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="limited")


@pytest.fixture
def policies(tmp_path: Path, world: World) -> CheckPolicies:
    settings = Settings(data_dir=tmp_path)
    return replace(load_policies(settings, on=clock.civil_date(AT)), trust=trust_of(world))


@pytest.fixture(scope="module")
def responder(world: World) -> Iterator[tuple[Party, list[str]]]:
    """An OCSP service, and what it was asked."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            content = world.ocsp(party, SIGNED_AT)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{running.server_port}"
        party = world.make("Có dịch vụ", world.issuing, pointers=True, base_url=base)
        yield party, asked
        running.shutdown()


def _checked(settings: Settings, path: Path, policies: CheckPolicies) -> SignatureCheck:
    checkers = LimitedCheckers(settings)
    try:
        return checkers.submit_signatures(path, "application/pdf", policies, at=AT, siblings={}).result(timeout=120)
    finally:
        checkers.close()


def test_live_fetching_is_off_unless_switched_on_and_then_said(
    tmp_path: Path, world: World, policies: CheckPolicies, responder: tuple[Party, list[str]]
) -> None:
    party, asked = responder
    path = tmp_path / "a.pdf"
    path.write_bytes(sign_pdf(world, party=party))
    offline = _checked(Settings(data_dir=tmp_path), path, policies)
    assert (offline.indication, asked) == (Indication.INDETERMINATE, [])
    on = Settings(data_dir=tmp_path, live_fetching=True)
    refused = _checked(on, path, policies)
    assert refused.indication is Indication.INDETERMINATE
    assert any("not public" in note for note in refused.not_checked)
    assert asked == []
    fetched = _checked(on.model_copy(update={"live_fetching_hosts": "ocsp.invalid, 127.0.0.1"}), path, policies)
    assert fetched.indication is Indication.TOTAL_PASSED
    assert asked
    [mark] = [remark for remark in fetched.reports[0].remarks if remark.code == "FETCHED_LIVE"]
    assert any(name in mark.params["files"] for name in fetched.material)
    assert "tải trực tuyến" in fetched.reports[0].as_text("vi")
    assert "over the network" in fetched.reports[0].as_text("en")


def test_a_dossier_of_many_components_is_validated_across_processes(
    tmp_path: Path, world: World, policies: CheckPolicies
) -> None:
    content = sign_pdf(world, level="LT")
    paths = [tmp_path / f"{number}.pdf" for number in range(12)]
    for path in paths:
        path.write_bytes(content)
    settings = Settings(data_dir=tmp_path, signature_workers=2)
    assert signature_process_count(settings) == 2
    assert signature_process_count(Settings(data_dir=tmp_path, workers=1000)) == 1
    checkers = LimitedCheckers(settings)
    try:
        waiting = [checkers.submit_signatures(path, "application/pdf", policies, at=AT, siblings={}) for path in paths]
        pictures = checkers.submit_signatures(paths[0], "image/png", policies, at=AT, siblings={})
        assert {check.result(timeout=120).indication for check in waiting} == {Indication.TOTAL_PASSED}
        assert pictures.result() == SignatureCheck()
    finally:
        checkers.close()
