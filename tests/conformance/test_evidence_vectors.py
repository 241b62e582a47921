"""Published test vectors: Certificate Transparency's reference tree and golang.org/x/mod/sumdb/note's signed note."""

import pytest

from archive_service.evidence import merkle
from archive_service.evidence.checkpoint import parse_note, parse_skey, parse_vkey, sign_note
from archive_service.evidence.errors import CheckpointInvalid

# certificate-transparency cpp/merkletree/merkle_tree_test.cc, also transparency-dev/merkle testonly
LEAVES = tuple(
    bytes.fromhex(value)
    for value in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
)
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
N01 = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
N23 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
N45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
N67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
N0123 = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
N4567 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
L0 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
L1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
L4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
L6 = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"

INCLUSION = [
    (0, 1, []),
    (1, 2, [L0]),
    (0, 8, [L1, N23, N4567]),
    (5, 8, [L4, N67, N0123]),
    (2, 3, [N01]),
    (1, 5, [L0, N23, L4]),
]
CONSISTENCY = [
    (1, 1, []),
    (1, 8, [L1, N23, N4567]),
    (6, 8, [N45, N67, N0123]),
    (2, 5, [N23, L4]),
    (6, 7, [N45, L6, N0123]),
]


@pytest.fixture
def log() -> merkle.LogReader:
    tiles: dict[tuple[int, int], bytes] = {}
    appender = merkle.LogAppender(
        0, lambda _level, _index: b"", lambda level, index, h: tiles.update({(level, index): h})
    )
    appender.extend(map(merkle.leaf_hash, LEAVES))
    appender.flush()
    return merkle.LogReader(len(LEAVES), lambda level, index: tiles.get((level, index), b""))


@pytest.mark.parametrize("size", range(9))
def test_roots(log: merkle.LogReader, size: int) -> None:
    assert merkle.root(map(merkle.leaf_hash, LEAVES[:size])).hex() == ROOTS[size]
    assert log.root(size).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "expected"), INCLUSION)
def test_inclusion_proofs(log: merkle.LogReader, index: int, size: int, expected: list[str]) -> None:
    proof = log.inclusion_proof(index, size)
    assert [value.hex() for value in proof] == expected
    merkle.verify_inclusion(
        leaf=merkle.leaf_hash(LEAVES[index]), index=index, size=size, proof=proof, root=bytes.fromhex(ROOTS[size])
    )


@pytest.mark.parametrize(("first", "second", "expected"), CONSISTENCY)
def test_consistency_proofs(log: merkle.LogReader, first: int, second: int, expected: list[str]) -> None:
    proof = log.consistency_proof(first, second)
    assert [value.hex() for value in proof] == expected
    merkle.verify_consistency(
        first=first,
        second=second,
        first_root=bytes.fromhex(ROOTS[first]),
        second_root=bytes.fromhex(ROOTS[second]),
        proof=proof,
    )


# golang.org/x/mod/sumdb/note/note_test.go
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_go_signed_note_verifies_and_signs_the_same() -> None:
    note = parse_note(PETER_NOTE)
    (found,) = note.verify([parse_vkey(PETER_VKEY)])
    assert found.key.name == "PeterNeumann"
    signer = parse_skey(PETER_SKEY)
    assert signer.key.vkey() == PETER_VKEY
    assert signer.skey() == PETER_SKEY
    assert sign_note(note.text, [signer]).to_text() == PETER_NOTE


def test_c2sp_example_note_verifies() -> None:
    key = parse_vkey("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    signature = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    parse_note(f"This is an example message.\n\n— example.com/foo {signature}\n").verify([key])
    with pytest.raises(CheckpointInvalid):
        parse_note(f"This is an example massage.\n\n— example.com/foo {signature}\n").verify([key])
