"""How each part is checked, as commands of common tools: what the page prints is what a test runs.

Hash trees are unrolled into files: each holds the bytes that are hashed at one step, so that `openssl dgst` and `cmp` alone lead from a file's
digest to the signed root of the log (RFC 9162 2.1.3.2) and to what was time-stamped (RFC 4998 4.3).
"""

import hashlib
import shlex
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from archive_service.evidence.checkpoint import NoteKey, SignedCheckpoint
from archive_service.evidence.ers_asn1 import ArchiveTimeStamp, EvidenceRecord, parse_evidence_record
from archive_service.evidence.leaves import LogProof, parse_log_proof

MANIFEST: Final = "dispute.json"
PACKAGE_TYPE: Final = "archive-dispute/1"
CHECKPOINT: Final = "evidence/checkpoint.txt"
_BODY: Final = "evidence/checkpoint.body"
_SIGNATURE: Final = "evidence/checkpoint.sig"
KEY_PEM: Final = "keys/log.pem"
ANCHORS: Final = "trust/tsa-anchors.pem"
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to check."""

    vi: str
    en: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Files and the steps that check them."""

    files: dict[str, bytes] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()


def sums_step() -> Step:
    """The step that compares every file with its digest."""
    return Step(
        vi="Mọi tệp trong gói còn nguyên như lúc lập gói.",
        en="Every file of this package is as it was when the package was made.",
        commands=("sha256sum --quiet -c SHA256SUMS",),
    )


def original_step(aip: str, entries: Sequence[tuple[str, str]]) -> Step:
    """The step that compares originals with the archived package: (path in the package, path here)."""
    return Step(
        vi="Bản gốc ở đây đúng từng byte với tệp trong gói lưu trữ.",
        en="The originals here are byte for byte those in the archived package.",
        commands=tuple(
            f"unzip -p {shlex.quote(aip)} {shlex.quote(inside)} | cmp - {shlex.quote(outside)}"
            for inside, outside in entries
        ),
    )


# ------------------------------------------------------------------ the log


def checkpoint_part(checkpoint: SignedCheckpoint, keys: Sequence[NoteKey]) -> Part:
    """The signed head of the log and the step that verifies its signature."""
    text = checkpoint.to_text()
    files = {CHECKPOINT: text.encode()}
    signed = [(line, key) for line in checkpoint.note.signatures for key in keys if line.by(key)]
    if not signed:
        return Part(files=files)
    line, key = signed[0]
    body = checkpoint.note.text
    files |= {_BODY: body.encode(), _SIGNATURE: line.signature, KEY_PEM: _pem(key)}
    count = body.count("\n")
    at = count + 2 + checkpoint.note.signatures.index(line)
    key_id = "".join(f"\\{byte:03o}" for byte in line.key_id)
    shown = f"— {line.name} $({{ printf '{key_id}'; cat {_SIGNATURE}; }} | openssl base64 -A)"
    return Part(
        files=files,
        steps=(
            Step(
                vi="Đầu nhật ký được ký bằng khóa của hệ thống lưu trữ; hãy so khóa này với bản đã công bố nơi khác.",
                en="The head of the log is signed with the archive's key; compare that key with the one published elsewhere.",
                commands=(
                    f"head -n {count} {CHECKPOINT} | cmp - {_BODY}",
                    f'test "$(sed -n {at}p {CHECKPOINT})" = "{shown}"',
                    f"openssl pkeyutl -verify -pubin -inkey {KEY_PEM} -rawin -in {_BODY} -sigfile {_SIGNATURE}",
                ),
            ),
        ),
    )


def _pem(key: NoteKey) -> bytes:
    public = Ed25519PublicKey.from_public_bytes(key.public_key)
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def inclusion_part(folder: str, aip: str, encoded: bytes) -> Part:
    """The proof that an AIP's digest stands in the log, unrolled."""
    proof = parse_log_proof(encoded)
    blobs = _log_blobs(proof)
    names = [f"{folder}/log-{number}.bin" for number in range(1, len(blobs) + 1)]
    files = {name: blob for name, (blob, _) in zip(names, blobs, strict=True)}
    # the digest comes as a list of patterns: without one, because a file or a tool is missing, nothing is found
    commands = [f"sha256sum < {shlex.quote(aip)} | cut -c 1-64 | grep -a -q -F -f - {names[0]}"]
    commands += [
        _stands_in(below, above, offset) for below, above, (_, offset) in zip(names, names[1:], blobs[1:], strict=False)
    ]
    commands.append(
        f'test "$(openssl dgst -sha256 -binary {names[-1]} | openssl base64 -A)" = "$(sed -n 3p {CHECKPOINT})"'
    )
    files[f"{folder}/proof.tlog-proof"] = proof.to_tlog_proof().encode()
    return Part(
        files=files,
        steps=(
            Step(
                vi="Mã băm của gói lưu trữ nằm trong nhật ký chỉ ghi thêm: mỗi bước băm ra một phần của bước sau, bước cuối là gốc đã ký.",
                en="The package's digest stands in the append-only log: each step hashes to a part of the next, the last to the signed root.",
                commands=tuple(commands),
            ),
        ),
    )


def _log_blobs(proof: LogProof) -> list[tuple[bytes, int]]:
    """Returns what is hashed at each step from leaf to root, and where in it the step before stands (RFC 9162 2.1.3.2)."""
    blobs = [(b"\x00" + proof.leaf, 0)]
    at, last = proof.index, proof.tree_size - 1
    for sibling in proof.inclusion_proof:
        node = hashlib.sha256(blobs[-1][0]).digest()
        if at & 1 or at == last:
            blobs.append((b"\x01" + sibling + node, 1 + _HASH_BYTES))
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            blobs.append((b"\x01" + node + sibling, 1))
        at, last = at >> 1, last >> 1
    return blobs


def _stands_in(below: str, above: str, offset: int) -> str:
    return (
        f"openssl dgst -sha256 -binary {shlex.quote(below)} | cmp -n {_HASH_BYTES} -i 0:{offset} - {shlex.quote(above)}"
    )


# ------------------------------------------------------------------ time-stamps


def record_part(folder: str, aip: str, encoded: bytes, aip_digest: bytes, *, anchors: bool) -> Part:
    """The Evidence Record of an AIP, its first hash tree unrolled, and each time-stamp token."""
    record = parse_evidence_record(encoded)
    files = {f"{folder}/record.ers": encoded}
    stamps = [item for chain in record.chains for item in chain.timestamps]
    steps = []
    for number, item in enumerate(stamps, start=1):
        files[f"{folder}/timestamp-{number}.tst"] = item.token.encoded
    unrolled = _tree_blobs(record, aip_digest)
    if unrolled is not None:
        names = [f"{folder}/tree-{number}.bin" for number in range(1, len(unrolled) + 1)]
        files |= {name: blob for name, (blob, _) in zip(names, unrolled, strict=True)}
        chain = [aip, *names]
        commands = [
            _stands_in(below, above, offset)
            for below, above, (_, offset) in zip(chain, chain[1:], unrolled, strict=False)
        ]
        commands += (
            [_openssl(f"{folder}/timestamp-1.tst", stamps[0], f"-data {shlex.quote(chain[-1])}")] if anchors else []
        )
        steps.append(
            Step(
                vi=f"Gói lưu trữ đã có vào lúc {_time(stamps[0])}: mã băm của nó dẫn tới giá trị được cơ quan cấp dấu thời gian ký.",
                en=f"The package existed at {_time(stamps[0])}: its digest leads to what the time-stamp authority signed.",
                commands=tuple(commands),
            )
        )
    steps += _later(folder, stamps, anchors=anchors)
    return Part(files=files, steps=tuple(steps))


def _later(folder: str, stamps: Sequence[ArchiveTimeStamp], *, anchors: bool) -> list[Step]:
    if len(stamps) == 1 or not anchors:
        return []
    commands = tuple(
        _openssl(f"{folder}/timestamp-{number}.tst", item, f"-digest {item.token.imprint.hex()}")
        for number, item in enumerate(stamps, start=1)
    )
    return [
        Step(
            vi="Các dấu thời gian gia hạn được ký đúng; chúng bao trùm dấu trước thế nào thì lệnh `archive-service verify` kiểm tra.",
            en="The renewing time-stamps are properly signed; that each covers the one before is what `archive-service verify` checks.",
            commands=commands,
        )
    ]


def _openssl(token: str, item: ArchiveTimeStamp, what: str) -> str:
    at = int(item.token.gen_time.timestamp())
    return f"openssl ts -verify {what} -in {shlex.quote(token)} -token_in -CAfile {ANCHORS} -attime {at}"


def _time(item: ArchiveTimeStamp) -> str:
    return item.token.gen_time.isoformat()


def _tree_blobs(record: EvidenceRecord, digest: bytes) -> list[tuple[bytes, int]] | None:
    """Returns what is hashed at each step up to the time-stamped value; None when the record's first tree has another form than ours."""
    first = record.chains[0].timestamps[0]
    if first.hash_name != "sha256" or not first.tree:
        return None
    blobs: list[tuple[bytes, int]] = []
    node = digest
    for place, part in enumerate(first.tree):
        values = sorted(part if place == 0 else (*part, node))
        if node not in values:
            return None
        blobs.append((b"".join(values), values.index(node) * _HASH_BYTES))
        node = hashlib.sha256(blobs[-1][0]).digest()
    return blobs if node == first.token.imprint else None


def missing_part(version: int, problem: str) -> Part:
    """What is said where there is no time-stamp."""
    return Part(
        steps=(
            Step(
                vi=f"Phiên bản {version} chưa có dấu thời gian: {problem}.",
                en=f"Version {version} has no time-stamp: {problem}.",
            ),
        )
    )


def decoded(text: str) -> bytes:
    """Returns the bytes of a base64 text."""
    return b64decode(text, validate=True)
