"""XML signatures made by the JDK: what another program takes for the canonical octets must be what we take for them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from archive_service.signatures import Indication
from tests.conftest import NotRun
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import World

DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<!-- trước gốc -->
<HoSo xml:lang="vi" xml:space="preserve" xmlns:ngoai="urn:ngoai" thu-tu="2" ngoai:a="1">
  <!-- trong gốc -->
  <NoiDung Id="data" xmlns:trong="urn:trong">Cấp &amp; đổi <!-- trong phần --><trong:m b="2" a='1'/>\t<e></e></NoiDung>
</HoSo>
<!-- sau gốc -->
"""
MODES = [
    "enveloped",
    "enveloped comments",
    "enveloped exclusive",
    "enveloped 11",
    "id",
    "id comments",
    "id pointer comments",
    "id exclusive",
    "id exclusive comments",
    "id 11",
    "filter",
    "xpath",
    "xpath exclusive",
]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory, not_run: NotRun) -> list[str]:
    """The command that signs, compiled once."""
    tools = {name: shutil.which(name) for name in ("java", "javac")}
    if not all(tools.values()):
        not_run("java", "no java and javac on the path")
    classes = tmp_path_factory.mktemp("classes")
    source = Path(__file__).parent / "java" / "SignXml.java"
    subprocess.run([str(tools["javac"]), "-d", classes, source], check=True, capture_output=True, timeout=120)
    return [str(tools["java"]), "-cp", str(classes), "SignXml"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_signatures_of_the_jdk_are_intact(tmp_path: Path, signer: list[str], mode: str) -> None:
    world = World(tag="java")
    (tmp_path / "key").write_bytes(world.plain.asn1_key.dump())
    (tmp_path / "certificate").write_bytes(world.plain.der)
    (tmp_path / "in.xml").write_text(DOCUMENT, encoding="utf-8")
    done = subprocess.run(
        [*signer, "key", "certificate", "in.xml", "out.xml", mode],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = (tmp_path / "out.xml").read_bytes()
    [report] = check(tmp_path, content, world, mime="application/xml").reports
    assert report.integrity == "intact", (report.as_text("en"), content)
    whole = not mode.startswith("id")
    assert report.indication is (Indication.TOTAL_PASSED if whole else Indication.INDETERMINATE)
    [forged] = check(tmp_path, content.replace("Cấp".encode(), "Huỷ".encode()), world, mime="application/xml").reports
    assert forged.indication is Indication.TOTAL_FAILED
