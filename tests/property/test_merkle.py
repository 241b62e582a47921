"""Properties of the log: every proof holds, nothing else does, and growth in steps equals growth at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_service.evidence import merkle
from archive_service.evidence.errors import ProofInvalid, TilesIncomplete

sizes = st.integers(min_value=1, max_value=700)


class Tiles:
    """Tiles in memory, refusing to shorten or alter one, as the database layer does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int) -> bytes:
        return self.rows.get((level, index), b"")

    def write(self, level: int, index: int, hashes: bytes) -> None:
        assert hashes.startswith(self.read(level, index))
        self.rows[level, index] = hashes


def leaf(number: int) -> bytes:
    return merkle.leaf_hash(number.to_bytes(8, "big"))


def grown(size: int, steps: list[int]) -> Tiles:
    tiles, present = Tiles(), 0
    for step in [*steps, size]:
        target = min(present + step, size)
        appender = merkle.LogAppender(present, tiles.read, tiles.write)
        appender.extend(leaf(number) for number in range(present, target))
        assert appender.flush() == merkle.root(leaf(number) for number in range(target))
        present = target
    return tiles


def reference_root(leaves: list[bytes]) -> bytes:
    """The recursive definition of RFC 6962 section 2.1."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else merkle.EMPTY_ROOT
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(reference_root(leaves[:split]), reference_root(leaves[split:]))


@settings(deadline=None)
@given(sizes)
def test_streaming_root_equals_the_definition(size: int) -> None:
    leaves = [leaf(number) for number in range(size)]
    assert merkle.root(leaves) == reference_root(leaves)


def test_a_running_root_is_right_at_every_size() -> None:
    leaves, running = [leaf(number) for number in range(70)], merkle.RunningRoot()
    for size in range(71):
        assert (running.size, running.root()) == (size, reference_root(leaves[:size]))
        if size < 70:
            running.append(leaves[size])


@settings(deadline=None)
@given(sizes, st.lists(st.integers(min_value=0, max_value=400), max_size=4), st.data())
def test_every_proof_verifies_after_growth_in_steps(size: int, steps: list[int], data: st.DataObject) -> None:
    log = merkle.LogReader(size, grown(size, steps).read)
    second = data.draw(st.integers(min_value=1, max_value=size))
    first = data.draw(st.integers(min_value=0, max_value=second))
    index = data.draw(st.integers(min_value=0, max_value=second - 1))
    merkle.verify_inclusion(
        leaf=leaf(index), index=index, size=second, proof=log.inclusion_proof(index, second), root=log.root(second)
    )
    merkle.verify_consistency(
        first=first,
        second=second,
        first_root=log.root(first),
        second_root=log.root(second),
        proof=log.consistency_proof(first, second),
    )


@settings(deadline=None)
@given(sizes, st.data())
def test_an_altered_inclusion_proof_fails(size: int, data: st.DataObject) -> None:
    log = merkle.LogReader(size, grown(size, []).read)
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    proof = list(log.inclusion_proof(index))
    fault = data.draw(st.sampled_from(["flip", "drop", "add", "index", "leaf", "root"]))
    claimed, hashed, root = index, leaf(index), log.root()
    if fault == "flip" and proof:
        at = data.draw(st.integers(min_value=0, max_value=len(proof) - 1))
        proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    elif fault == "drop" and proof:
        proof.pop(data.draw(st.integers(min_value=0, max_value=len(proof) - 1)))
    elif fault == "index":
        claimed = data.draw(st.integers(min_value=-1, max_value=size).filter(lambda value: value != index))
    elif fault == "leaf":
        hashed = leaf(size)
    elif fault == "root":
        root = leaf(size)
    else:
        proof.insert(data.draw(st.integers(min_value=0, max_value=len(proof))), leaf(size + 1))
    with pytest.raises(ProofInvalid):
        merkle.verify_inclusion(leaf=hashed, index=claimed, size=size, proof=proof, root=root)


@settings(deadline=None)
@given(st.integers(min_value=2, max_value=600), st.data())
def test_a_rewritten_log_is_detected(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(min_value=1, max_value=size - 1))
    changed = data.draw(st.integers(min_value=0, max_value=first - 1))
    honest = merkle.LogReader(size, grown(size, []).read)
    tiles = Tiles()
    appender = merkle.LogAppender(0, tiles.read, tiles.write)
    appender.extend(leaf(number + 10_000 if number == changed else number) for number in range(size))
    appender.flush()
    forged = merkle.LogReader(size, tiles.read)
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(
            first=first,
            second=size,
            first_root=honest.root(first),
            second_root=forged.root(size),
            proof=forged.consistency_proof(first, size),
        )


@settings(deadline=None)
@given(sizes, st.data())
def test_proofs_of_any_bytes_raise_only_proof_errors(size: int, data: st.DataObject) -> None:
    hashes = st.binary(min_size=31, max_size=33)
    proof = data.draw(st.lists(hashes, max_size=12))
    with pytest.raises(ProofInvalid):
        merkle.verify_inclusion(leaf=data.draw(hashes), index=0, size=size, proof=proof, root=leaf(1))
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(
            first=size, second=size + 1, first_root=leaf(0), second_root=data.draw(hashes), proof=proof
        )


@settings(deadline=None)
@given(sizes)
def test_a_missing_or_short_tile_is_reported(size: int) -> None:
    tiles = grown(size, [])
    for key in list(tiles.rows):
        kept = tiles.rows[key]
        tiles.rows[key] = kept[: -merkle.HASH_BYTES]
        with pytest.raises(TilesIncomplete):
            _read_all(size, tiles)
        tiles.rows[key] = kept


def _read_all(size: int, tiles: Tiles) -> None:
    merkle.LogAppender(size, tiles.read, tiles.write).flush()
    log = merkle.LogReader(size, tiles.read)
    for index in range(0, size, 100):
        log.inclusion_proof(index)


def test_no_proof_outside_the_log() -> None:
    log = merkle.LogReader(5, grown(5, []).read)
    for call in (
        lambda: log.root(6),
        lambda: log.root(-1),
        lambda: log.inclusion_proof(5),
        lambda: log.inclusion_proof(-1),
        lambda: log.inclusion_proof(3, 3),
        lambda: log.consistency_proof(4, 3),
        lambda: log.consistency_proof(2, 6),
    ):
        with pytest.raises(ProofInvalid):
            call()


def test_three_levels_of_tiles() -> None:
    size = 256 * 256 + 300
    tiles = grown(size, [65_000, 600])
    assert set(tiles.rows) >= {(0, 257), (1, 0), (1, 1), (2, 0)}
    log = merkle.LogReader(size, tiles.read)
    for index in (0, 255, 256, 65_535, 65_536, size - 1):
        merkle.verify_inclusion(
            leaf=leaf(index), index=index, size=size, proof=log.inclusion_proof(index), root=log.root()
        )
    for first in (1, 256, 65_535, 65_536, 65_537, size - 1):
        proof = log.consistency_proof(first)
        merkle.verify_consistency(
            first=first, second=size, first_root=log.root(first), second_root=log.root(), proof=proof
        )
