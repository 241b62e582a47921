"""Our evidence judged by other software, and theirs by us: OpenSSL, Bouncy Castle, the EU DSS test records."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import serialization

from archive_service import clock
from archive_service.digests import digest_bytes
from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.evidence.checks import Indication
from archive_service.evidence.errors import EvidenceRecordInvalid
from archive_service.evidence.ers_asn1 import EvidenceRecord, parse_evidence_record
from archive_service.evidence.evidence_record_verify import (
    DataObject,
    EvidenceRecordVerification,
    read_data_object,
    verify_evidence_record,
)
from archive_service.evidence.local_tsa import POLICY, LocalTsa, create_local_tsa
from archive_service.evidence.timestamps import new_request, parse_reply
from tests.conftest import NotRun
from tests.unit.evidence.sealing import renewed_timestamps, renewed_trees, seal

ROOT = Path(__file__).resolve().parents[2]
T0 = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
YEAR = timedelta(days=365)


def tool(name: str, not_run: NotRun) -> str:
    found = shutil.which(name)
    return found or not_run(name, f"no {name} program found")


# ---------------------------------------------------------------- OpenSSL


def write_pem(path: Path, *certificates) -> Path:
    path.write_bytes(b"".join(pem.armor("CERTIFICATE", item.dump()) for item in certificates))
    return path


def openssl_verify(openssl: str, folder: Path, at: datetime, *extra: str) -> subprocess.CompletedProcess[str]:
    command = [openssl, "ts", "-verify", "-in", "reply.tsr", "-CAfile", "root.pem", "-untrusted", "tsa.pem"]
    return subprocess.run(
        [*command, "-attime", str(int(at.timestamp())), *extra],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_openssl_accepts_our_replies_and_refuses_others(tmp_path: Path, not_run: NotRun) -> None:
    openssl = tool("openssl", not_run)
    tsa = create_local_tsa(valid_from=T0 - timedelta(days=1))
    request = new_request(digest_bytes(b"root of a seal"))
    (tmp_path / "query.tsq").write_bytes(request.to_der())
    (tmp_path / "reply.tsr").write_bytes(tsa.reply(request.to_der(), at=T0, serial_number=1))
    (tmp_path / "data").write_bytes(b"root of a seal")
    write_pem(tmp_path / "root.pem", tsa.root)
    write_pem(tmp_path / "tsa.pem", tsa.certificate)
    for way in (["-data", "data"], ["-queryfile", "query.tsq"]):
        done = openssl_verify(openssl, tmp_path, T0, *way)
        assert done.returncode == 0, done.stderr
        assert "Verification: OK" in done.stdout + done.stderr
    (tmp_path / "data").write_bytes(b"root of another")
    assert openssl_verify(openssl, tmp_path, T0, "-data", "data").returncode != 0


TSA_CONFIGURATION = """
[tsa]
default_tsa = own
[own]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
certs = root.pem
signer_key = key.pem
signer_digest = sha256
default_policy = {policy}
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = yes
ess_cert_id_alg = sha256
"""


def test_we_accept_openssls_replies_and_renew_over_them(tmp_path: Path, not_run: NotRun) -> None:
    openssl = tool("openssl", not_run)
    now = clock.now()
    tsa = create_local_tsa(valid_from=now - timedelta(days=1))
    write_pem(tmp_path / "root.pem", tsa.root)
    write_pem(tmp_path / "tsa.pem", tsa.certificate)
    key = tsa.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "serial").write_text("01\n")
    (tmp_path / "tsa.cnf").write_text(TSA_CONFIGURATION.format(policy=POLICY))
    request = new_request(digest_bytes(b"root of a seal"))
    (tmp_path / "query.tsq").write_bytes(request.to_der())
    command = [openssl, "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "reply.tsr"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=30)
    token = parse_reply((tmp_path / "reply.tsr").read_bytes(), request, at=now)
    assert token.imprint == request.digest.raw
    assert token.policy == POLICY


# ---------------------------------------------------------------- Bouncy Castle


JARS = ("bcprov.jar", "bcpkix.jar", "bcutil.jar")


@pytest.fixture(scope="module")
def bouncy_castle(tmp_path_factory: pytest.TempPathFactory, not_run: NotRun) -> list[str]:
    """The command that runs the verifier, compiled once."""
    return compiled("VerifyEvidenceRecord", tmp_path_factory.mktemp("classes"), not_run)


def compiled(name: str, classes: Path, not_run: NotRun) -> list[str]:
    """Returns the command that runs a program of ours over Bouncy Castle."""
    folder = Path(os.environ.get("ARCHIVE_TEST_JARS", "/usr/share/java"))
    jars = [folder / name for name in JARS]
    if not all(jar.is_file() for jar in jars):
        not_run("bouncycastle", f"no {', '.join(JARS)} in {folder} (Debian package libbcpkix-java)")
    java, javac = tool("java", not_run), tool("javac", not_run)
    class_path = os.pathsep.join([*map(str, jars), str(classes)])
    source = Path(__file__).parent / "java" / f"{name}.java"
    subprocess.run([javac, "-cp", class_path, "-d", classes, source], check=True, capture_output=True, timeout=120)
    return [java, "-cp", class_path, name]


def judged(command: list[str], folder: Path, record: EvidenceRecord, tsa: LocalTsa, group: Sequence[bytes]) -> str:
    (folder / "record.ers").write_bytes(record.encoded)
    (folder / "tsa.cer").write_bytes(tsa.certificate.dump())
    files = []
    for number, content in enumerate(group):
        (folder / f"data{number}").write_bytes(content)
        files.append(f"data{number}")
    at = str(int(record.last.token.gen_time.timestamp()))
    done = subprocess.run(
        [*command, "record.ers", "tsa.cer", at, *files],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


GROUPS = [[b"AIP %d" % number] for number in range(11)] + [[b"document", b"signature", b"report"]]


@pytest.mark.slow
def test_bouncy_castle_accepts_our_records(tmp_path: Path, bouncy_castle: list[str]) -> None:
    tsa = create_local_tsa(valid_from=T0 - timedelta(days=1))
    initial = seal(GROUPS, tsa, T0)
    once = renewed_timestamps(initial, tsa, T0 + YEAR)
    twice = renewed_timestamps(once, tsa, T0 + 2 * YEAR)
    rehashed = renewed_trees(twice, GROUPS, tsa, T0 + 3 * YEAR)
    last = renewed_timestamps(rehashed, tsa, T0 + 4 * YEAR)
    for records in (initial, once, twice, rehashed, last):
        for at in (10, 11):
            assert judged(bouncy_castle, tmp_path, records[at], tsa, GROUPS[at]) == "accepted"
    alone = seal([[b"AIP"]], tsa, T0)
    assert judged(bouncy_castle, tmp_path, alone[0], tsa, [b"AIP"]) == "accepted"


@pytest.mark.slow
def test_bouncy_castle_refuses_what_we_refuse(tmp_path: Path, bouncy_castle: list[str]) -> None:
    tsa = create_local_tsa(valid_from=T0 - timedelta(days=1))
    record = renewed_trees(seal(GROUPS, tsa, T0), GROUPS, tsa, T0 + YEAR)[3]
    assert judged(bouncy_castle, tmp_path, record, tsa, [b"not archived"]).startswith("refused")


UNITS = ["AIP 0", "AIP 1", "document+signature+report", "AIP 3", "letter+seal"]
KEYS = [("EC", "256", "SHA256withECDSA"), ("RSA", "3072", "SHA512withRSAandMGF1"), ("EC", "384", "SHA3-256withECDSA")]


@pytest.mark.slow
@pytest.mark.parametrize("keys", KEYS, ids=[key[2] for key in KEYS])
def test_we_accept_bouncy_castles_records_for_their_data_only(
    tmp_path: Path, not_run: NotRun, keys: tuple[str, str, str]
) -> None:
    command = compiled("MakeEvidenceRecords", tmp_path, not_run)
    start = datetime(2024, 5, 6, tzinfo=UTC)
    subprocess.run(
        [*command, tmp_path, *keys, str(int(start.timestamp())), *UNITS], check=True, capture_output=True, timeout=120
    )
    anchors = [asn1_x509.Certificate.load((tmp_path / "root.cer").read_bytes())]
    records = sorted(tmp_path.glob("*.ers"))
    assert len(records) == len(UNITS) * 5
    for path in records:
        content, members = path.read_bytes(), UNITS[int(path.name[0])].split("+")
        for given, expected in ((members, Indication.PASSED), ([*members[1:], "forged"], Indication.FAILED)):
            objects = [
                DataObject(
                    name=item,
                    digests={name: hashlib.new(name, item.encode()).digest() for name in ("sha256", "sha512")},
                )
                for item in given
            ]
            result = verify_evidence_record(
                content,
                objects,
                at=start + 5 * YEAR,
                anchors=anchors,
                policy=load_algorithm_policy(),
                whole_group=len(members) > 1,
            )
            assert (path.name, result.indication, result.integrity) == (path.name, expected, expected), codes(result)


# ---------------------------------------------------------------- EU DSS


@pytest.fixture
def records(not_run: NotRun) -> Path:
    folder = Path(os.environ.get("ARCHIVE_CORPORA", ROOT.parent / "shared" / "corpora")) / "ers"
    if not folder.is_dir():
        not_run("evidence record corpus", "no folder corpora/ers beside the checkout (ARCHIVE_CORPORA)")
    return folder


DO_1, DO_2 = "ER-2Chains3ATS1.bin", "ER-2Chains3ATS2.bin"


def verified(records: Path, name: str, files: Sequence[str], **options) -> EvidenceRecordVerification:
    content = (records / name).read_bytes()
    try:
        record = parse_evidence_record(content)
        names, chains = record.hash_names, record.chains
    except EvidenceRecordInvalid:
        names, chains = ("sha256",), ()
    objects = []
    for file in files:
        with (records / file).open("rb") as source:
            objects.append(read_data_object(file, source, names))
    tokens = [item.token for chain in chains for item in chain.timestamps]
    # each record's own root, so that path building is exercised; whom to trust is not what these records are about
    anchors = [item for token in tokens for item in token.certificates if item.self_issued]
    at = tokens[-1].gen_time + timedelta(days=1) if tokens else T0
    arguments: dict[str, Any] = {"anchors": anchors, "policy": load_algorithm_policy()} | options
    return verify_evidence_record(content, objects, at=at, **arguments)


def codes(result: EvidenceRecordVerification) -> set[str]:
    return {reason.code for reason in result.reasons}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("BIN-1_ER.ers", ["BIN-1.bin"]),
        ("ER-2Chains3ATS.ers", [DO_1, DO_2]),
        ("ER-2Chains3ATS.ers", [DO_1]),
        ("er-asn1-tst-renewal.ers", [DO_1, DO_2]),
    ],
)
def test_good_records(records: Path, name: str, files: list[str]) -> None:
    result = verified(records, name, files)
    assert codes(result) == set()
    assert result.indication is Indication.PASSED
    without = verified(records, name, files, anchors=())
    assert codes(without) == {"EVIDENCE_TSA_NO_ANCHOR"}
    assert (without.indication, without.integrity) == (Indication.INDETERMINATE, Indication.PASSED)


def test_a_record_checked_by_digest_only(records: Path) -> None:
    content = (records / "er-asn1-simple.ers").read_bytes()
    # the record's data files are not in the corpus: its own first list stands for their digests
    tree = parse_evidence_record(content).chains[0].timestamps[0].tree
    assert tree is not None
    objects = [DataObject(name=f"doc{number}", digests={"sha512": value}) for number, value in enumerate(tree[0], 1)]
    result = verify_evidence_record(content, objects, at=T0, whole_group=True)
    assert result.integrity is Indication.PASSED
    wrong = [DataObject(name="doc", digests={"sha512": hashlib.sha512(b"another").digest()})]
    assert "EVIDENCE_RECORD_OBJECT_NOT_COVERED" in codes(verify_evidence_record(content, wrong, at=T0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BIN-1_ER_malformed.ers", {"EVIDENCE_RECORD_MALFORMED"}),
        ("er-asn1-simple-invalid.ers", {"EVIDENCE_RECORD_ROOT_DIFFERS", "EVIDENCE_RECORD_OBJECT_NOT_COVERED"}),
        (
            "er-asn1-tst-renewal-invalid.ers",
            {"EVIDENCE_RECORD_ROOT_DIFFERS", "EVIDENCE_RECORD_TIMESTAMP_NOT_COVERED"},
        ),
    ],
)
def test_bad_records(records: Path, name: str, expected: set[str]) -> None:
    result = verified(records, name, [DO_1, DO_2])
    assert codes(result) == expected
    assert result.indication is result.integrity is Indication.FAILED


def test_good_records_with_other_data(records: Path) -> None:
    for name in ("BIN-1_ER.ers", "ER-2Chains3ATS.ers", "er-asn1-tst-renewal.ers"):
        result = verified(records, name, ["er-asn1-simple.ers"])
        assert codes(result) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}
        assert result.integrity is Indication.FAILED


def test_we_renew_other_softwares_records(records: Path) -> None:
    """Both renewals on top of foreign records keep their proof and every byte of them."""
    tsa = create_local_tsa(valid_from=T0 - timedelta(days=1))
    content = (records / "er-asn1-tst-renewal.ers").read_bytes()
    group = [(records / name).read_bytes() for name in (DO_1, DO_2)]
    renewed = renewed_timestamps([parse_evidence_record(content)], tsa, T0)
    rehashed = renewed_trees(renewed, [group], tsa, T0 + YEAR)[0]
    objects = [
        DataObject(name=str(number), digests={name: hashlib.new(name, data).digest() for name in ("sha256", "sha512")})
        for number, data in enumerate(group)
    ]
    result = verify_evidence_record(rehashed.encoded, objects, at=T0 + 2 * YEAR)
    assert result.integrity is Indication.PASSED
    assert len(result.timestamps) == 4
