"""Speed of evidence: prints one JSON object. Run: python -m tests.bench.bench_evidence [leaves]."""

import json
import platform
import resource
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from archive_service import clock
from archive_service.digests import DigestAlgorithm, digest_bytes
from archive_service.evidence import merkle
from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.evidence.checkpoint import Checkpoint, generate_signer, sign_checkpoint
from archive_service.evidence.ers_asn1 import parse_evidence_record
from archive_service.evidence.evidence_record import HashTree, initial_record
from archive_service.evidence.evidence_record_verify import DataObject, verify_evidence_record
from archive_service.evidence.leaves import AipLeaf, leaf_bytes, prove, verify_log_proof
from archive_service.evidence.local_tsa import create_local_tsa
from archive_service.evidence.timestamps import parse_token

AT = datetime(2026, 11, 22, tzinfo=UTC)
SAMPLES = 2000


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = clock.monotonic_s()
    result = work()
    return clock.monotonic_s() - start, result


def leaves_of(count: int) -> list[bytes]:
    digest = digest_bytes(b"AIP")
    return [
        leaf_bytes(AipLeaf(record_id=UUID(int=number), version=1, aip_digest=digest, size_bytes=1_400_000))
        for number in range(count)
    ]


def log_figures(count: int) -> dict[str, float | int]:
    tiles: dict[tuple[int, int], bytes] = {}
    signer = generate_signer("bench.example/log")
    encode_s, leaves = timed(lambda: leaves_of(count))

    def seal() -> Any:
        appender = merkle.LogAppender(
            0, lambda _level, _index: b"", lambda level, index, h: tiles.update({(level, index): h})
        )
        appender.extend(map(merkle.leaf_hash, leaves))
        return sign_checkpoint(Checkpoint(origin=signer.name, size=count, root=appender.flush()), [signer])

    seal_s, checkpoint = timed(seal)
    log = merkle.LogReader(count, lambda level, index: tiles.get((level, index), b""))
    chosen = range(0, count, max(1, count // SAMPLES))
    prove_s, proofs = timed(lambda: [prove(leaves[index], index, log, checkpoint) for index in chosen])
    verify_s, _ = timed(lambda: [verify_log_proof(proof, [signer.key]) for proof in proofs])
    return {
        "leaves": count,
        "encode_leaves_s": round(encode_s, 3),
        "seal_s": round(seal_s, 3),
        "proof_us": round(prove_s / len(proofs) * 1e6, 1),
        "verify_proof_us": round(verify_s / len(proofs) * 1e6, 1),
        "tiles": len(tiles),
        "tile_bytes": sum(map(len, tiles.values())),
    }


def record_figures(count: int) -> dict[str, float | int]:
    tsa = create_local_tsa(valid_from=AT - timedelta(days=1))
    hashes = [digest_bytes(number.to_bytes(8, "big")).raw for number in range(count)]
    tree_s, tree = timed(lambda: HashTree(DigestAlgorithm.SHA_256, [(value,) for value in hashes]))
    token = parse_token(tsa.token(tree.root.raw, "sha256", at=AT, serial_number=1))
    chosen = range(0, count, max(1, count // SAMPLES))
    build_s, records = timed(lambda: [initial_record(tree, index, token) for index in chosen])
    policy = load_algorithm_policy()
    few = list(zip(chosen, records, strict=True))[:100]

    def check(index: int, record: bytes) -> Any:
        objects = [DataObject(name="AIP", digests={"sha256": hashes[index]})]
        return verify_evidence_record(record, objects, at=AT + timedelta(days=1), anchors=[tsa.root], policy=policy)

    check(*few[0])  # the first one imports the path validator
    verify_s, _ = timed(lambda: [check(index, record) for index, record in few])
    parse_s, _ = timed(lambda: [parse_evidence_record(record) for record in records[:500]])
    return {
        "records": count,
        "hash_tree_s": round(tree_s, 3),
        "build_record_us": round(build_s / len(records) * 1e6, 1),
        "record_bytes": len(records[0]),
        "parse_record_us": round(parse_s / min(500, len(records)) * 1e6, 1),
        "verify_record_ms": round(verify_s / len(few) * 1e3, 2),
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    figures = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "log": log_figures(count),
        "evidence_records": record_figures(count),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
