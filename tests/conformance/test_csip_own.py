"""Our own packages before outside referees: official schemas, the machine-readable profiles, other ZIP readers.

`test_what_a_reference_validator_looks_at` holds what a widely used Java validator checks beyond the text of the specification, so
that a package which passes here passes there.
"""

import os
import re
import shutil
import subprocess
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from archive_service.packaging import layout
from archive_service.packaging.aip import BuiltAip, build_aip
from archive_service.packaging.content import CsipVersion
from archive_service.packaging.csip import Level, check_package
from archive_service.packaging.csip_header import AIP_PROFILE
from archive_service.packaging.package_view import open_package
from archive_service.packaging.xml_reader import own_schema
from tests.conftest import NotRun
from tests.unit.packaging.dossiers import AT, content_of, write_folder

ROOT = Path(__file__).resolve().parents[2]
CORPORA = Path(os.environ.get("ARCHIVE_CORPORA") or ROOT.parent / "shared" / "corpora")
SPEC = CORPORA / "eark-spec"
M = "{http://www.loc.gov/METS/}"
X = "{http://www.w3.org/1999/xlink}"
CSIP = "{https://DILCIS.eu/XML/METS/CSIPExtensionMETS}"


@pytest.fixture(name="version", params=list(CsipVersion))
def _version(request: pytest.FixtureRequest) -> CsipVersion:
    return request.param  # type: ignore[no-any-return]  # the fixture's own params


@pytest.fixture(name="package")
def _package(tmp_path: Path, version: CsipVersion) -> tuple[Path, BuiltAip]:
    folder = tmp_path / "dossier"
    folder.mkdir()
    content = content_of(folder, write_folder(folder, 5), csip_version=version, fonds_code="H40.16")
    path = tmp_path / "package.zip"
    with path.open("w+b") as target:
        return path, build_aip(content, target)


def documents(path: Path, name: str) -> list[Any]:
    with zipfile.ZipFile(path) as archive:
        return [etree.fromstring(archive.read(entry)) for entry in archive.namelist() if entry.endswith(name)]


def test_every_requirement_holds(package: tuple[Path, BuiltAip], version: CsipVersion) -> None:
    with open_package(package[0]) as view:
        report = check_package(view, version=version, at=AT)
    assert report.failed() == {}
    assert len(report.results) > 120


def test_unpacked_it_is_the_same_package(package: tuple[Path, BuiltAip], tmp_path: Path, version: CsipVersion) -> None:
    with zipfile.ZipFile(package[0]) as archive:
        archive.extractall(tmp_path / "out")
    with open_package(tmp_path / "out" / package[1].folder) as view:
        assert check_package(view, version=version, at=AT).failed() == {}


def test_own_schemas(package: tuple[Path, BuiltAip]) -> None:
    for name, schema in (
        ("METS.xml", "mets-subset.xsd"),
        ("PREMIS.xml", "premis-subset.xsd"),
        ("PREMIS_rep1.xml", "premis-subset.xsd"),
        ("EAD.xml", "ead.xsd"),
        ("EAD_doc_0000001.xml", "ead_doc.xsd"),
    ):
        for document in documents(package[0], name):
            own_schema(schema).assertValid(document)


class _Canonical(etree.Resolver):
    """Official schemas at their canonical addresses, from files."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def resolve(self, url: str | None, _: str | None, context: Any) -> Any:
        for end, path in self._files.items():
            if (url or "").endswith(end):
                return self.resolve_filename(str(path), context)
        return None


def official(text: bytes) -> etree.XMLSchema:
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(
        _Canonical(
            {
                "xlink.xsd": next((CORPORA / "eark-ip").glob("**/schemas/xlink.xsd")),
                "premis.xsd": next((CORPORA / "eark-ip").glob("**/schemas/premis-v3-0.xsd")),
                "mets.xsd": SPEC / "CSIP" / "schema" / "mets.xsd",
                "DILCISExtensionMETS.xsd": SPEC / "CSIP" / "schema" / "DILCISExtensionMETS.xsd",
            }
        )
    )
    return etree.XMLSchema(etree.fromstring(text, parser))


def test_official_schemas(package: tuple[Path, BuiltAip], not_run: NotRun) -> None:
    if not SPEC.is_dir() or not (CORPORA / "eark-ip").is_dir():
        not_run("E-ARK schemas", "no folder corpora/eark-spec beside the checkout (ARCHIVE_CORPORA)")
    imports = {
        "http://www.loc.gov/METS/": "mets.xsd",
        "https://DILCIS.eu/XML/METS/CSIPExtensionMETS": "DILCISExtensionMETS.xsd",
        "http://www.loc.gov/premis/v3": "premis.xsd",
    }
    lines = [f'<xs:import namespace="{name}" schemaLocation="{file}"/>' for name, file in imports.items()]
    text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{"".join(lines)}</xs:schema>'
    schema = official(text.encode())
    checked = 0
    for name in ("METS.xml", "PREMIS.xml", "PREMIS_rep1.xml"):
        for document in documents(package[0], name):
            schema.assertValid(document)
            checked += 1
    assert checked == 4


def test_rule_ids_and_levels_are_the_profiles(
    package: tuple[Path, BuiltAip], version: CsipVersion, not_run: NotRun
) -> None:
    if not SPEC.is_dir():
        not_run("E-ARK profiles", "no folder corpora/eark-spec beside the checkout (ARCHIVE_CORPORA)")
    files = [
        SPEC / "CSIP" / "profile" / f"E-ARK-CSIP-v{version.value.replace('.', '-')}.xml",
        SPEC / "AIP" / "profile" / "E-ARK-AIP-v2-2-0.xml",
    ]
    wanted = {
        item.get("ID"): Level(str(item.get("REQLEVEL")))
        for file in files
        for item in etree.parse(file).iter("{*}requirement")
        if re.fullmatch(r"(CSIP|AIPM)[0-9]+", item.get("ID") or "")
    }
    with open_package(package[0]) as view:
        report = check_package(view, version=version, at=AT)
    levels = {result.id: result.level for result in report.results}
    missing = {name: level for name, level in wanted.items() if name not in levels}
    # MAY-use of rights, of OWNERID and of ADMID on a group can be neither kept nor broken
    assert missing.keys() <= {"CSIP45", "CSIP61", "CSIP73"}
    assert set(missing.values()) <= {Level.MAY}
    assert {name: levels[name] for name in wanted if name in levels} == {
        name: level for name, level in wanted.items() if name in levels
    }


def test_what_a_reference_validator_looks_at(package: tuple[Path, BuiltAip]) -> None:
    path, aip = package
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        mets: dict[str, Any] = {
            name: etree.fromstring(archive.read(f"{aip.folder}/{name}")) for name in (layout.METS, layout.REP_METS)
        }
    identifiers: Counter[str] = Counter()
    for place, root in mets.items():
        base = f"{aip.folder}/{place.removesuffix('METS.xml')}"
        # elements are found by their names as written, so METS must be the default namespace
        assert root.prefix is None
        assert root.get("PROFILE") == AIP_PROFILE
        assert root.find(f"{M}metsHdr").get(f"{CSIP}OAISPACKAGETYPE") == "AIP"
        assert root.get("OBJID") == (aip.folder if place == layout.METS else layout.REP_ID)
        assert len([agent for agent in root.iter(f"{M}agent") if agent.get("OTHERTYPE") == "SOFTWARE"]) == 1
        for element in root.iter():
            if element.get("ID") is not None:
                identifiers[element.get("ID")] += 1
            if (
                element.get(f"{X}href") is not None
            ):  # paths are OBJID + "/" + URL-decoded href; "+" would become a space
                assert re.fullmatch(r"[A-Za-z0-9._/-]+", element.get(f"{X}href"))
                assert base + element.get(f"{X}href") in names
                assert element.get(f"{X}type") == "simple"
        for section in [*root.iter(f"{M}dmdSec"), *root.iter(f"{M}digiprovMD")]:
            assert section.find(f"{M}mdRef").get("ID")  # DMDID and ADMID are followed to the mdRef's ID
            assert section.get("STATUS") == "CURRENT"
        for file in root.iter(f"{M}file"):
            assert file.get("ID").startswith("ID")  # rule AIP9 of that validator
            assert len(file) == 1
            assert file[0].get("ID") is None
        for division in root.find(f"{M}structMap/{M}div"):
            folder = base + division.get("LABEL").lower()  # labels lead to folders, in lower case
            assert any(name.startswith(folder) for name in names)
        # a group "Representations" would ask for a folder of that name inside the representation
        assert "Representations" not in {group.get("USE") for group in root.iter(f"{M}fileGrp")}
    assert set(identifiers.values()) == {1}
    assert {name.partition("/")[0] for name in names} == {aip.folder}
    assert not any(name.endswith("/") for name in names)


READER = """
import java.io.*; import java.nio.file.*; import java.util.zip.*;
public class ReadZip {
  public static void main(String[] a) throws Exception {
    int n = 0; long bytes = 0;
    try (ZipInputStream in = new ZipInputStream(new BufferedInputStream(new FileInputStream(a[0])))) {
      for (ZipEntry e; (e = in.getNextEntry()) != null; n++) bytes += in.readAllBytes().length;
    }
    try (ZipFile f = new ZipFile(a[0])) { System.out.println(n + " " + f.size() + " " + bytes); }
  }
}
"""


def test_java_reads_it_as_stream_and_by_directory(
    package: tuple[Path, BuiltAip], tmp_path: Path, not_run: NotRun
) -> None:
    java = shutil.which("java") or not_run("java", "no java program found")
    if shutil.which("javac") is None:
        not_run("java", "no javac program found")
    source = tmp_path / "ReadZip.java"
    source.write_text(READER)
    done = subprocess.run([java, str(source), str(package[0])], capture_output=True, text=True, check=True, timeout=120)
    entries = package[1].entries
    assert done.stdout.split() == [str(len(entries)), str(len(entries)), str(sum(e.size_bytes for e in entries))]


def test_info_zip_reads_it(package: tuple[Path, BuiltAip], not_run: NotRun) -> None:
    unzip = shutil.which("unzip") or not_run("unzip", "no unzip program found")
    done = subprocess.run([unzip, "-tq", str(package[0])], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
