"""Merkle tree hashing and proofs of RFC 6962 section 2.1 / RFC 9162 section 2.1, over SHA-256.

Hashes of a log are kept in *tiles* of up to 256 hashes (the layout of C2SP tlog-tiles, height 8): tile (0, n) holds
leaf hashes 256n..256n+255, tile (L, n) holds the roots of 256 full tiles one level below. A full tile never changes,
only the last tile of each level grows; so a log of ten million leaves is 39,217 rows of 8 KiB, and a proof reads a
handful of them.

Not here: where tiles are stored, what a leaf contains (leaves.py), who signs a root (checkpoint.py).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from hashlib import sha256
from typing import Final

from archive_service.evidence.errors import ProofInvalid, TilesIncomplete

LEAF_PREFIX: Final = b"\x00"
"""Domain separation of a leaf hash (RFC 6962 section 2.1)."""
NODE_PREFIX: Final = b"\x01"
"""Domain separation of an interior hash: without it a node could pose as a leaf."""
HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 section 2.1)."""
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_PROOF_HASHES: Final = 128
"""No proof in a tree of up to 2^63 leaves has more hashes; a longer one is refused before any hashing."""

TileReader = Callable[[int, int], bytes]
"""(level, index) -> the tile's hashes, joined; empty when there is none. It may hold more than the caller's size."""
TileWriter = Callable[[int, int, bytes], None]
"""Stores the hashes of tile (level, index) in place of a shorter version. Full tiles are written once."""


def leaf_hash(leaf: bytes) -> bytes:
    """Returns the hash of one leaf's canonical bytes."""
    return sha256(LEAF_PREFIX + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash of an interior node."""
    return sha256(NODE_PREFIX + left + right).digest()


class RunningRoot:
    """The root over leaf hashes that come one after the other, known at every size, in memory of log(n) hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        """Roots of perfect subtrees, largest first."""

    def append(self, leaf: bytes) -> None:
        """Takes the next leaf hash."""
        self._peaks.append(leaf)
        self.size += 1
        full = self.size
        while full % 2 == 0:
            right = self._peaks.pop()
            self._peaks[-1] = node_hash(self._peaks[-1], right)
            full //= 2

    def root(self) -> bytes:
        """Returns the root over all leaves so far."""
        return _fold(self._peaks) if self._peaks else EMPTY_ROOT


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """Returns the root over leaf hashes read once, in memory of log(n) hashes."""
    running = RunningRoot()
    for leaf in leaf_hashes:
        running.append(leaf)
    return running.root()


def _fold(peaks: Sequence[bytes]) -> bytes:
    """Joins the roots of perfect subtrees, largest first, into the root over all of them."""
    return reduce(lambda right, left: node_hash(left, right), reversed(peaks[:-1]), peaks[-1])


# ---------------------------------------------------------------- growing a log


class LogAppender:
    """Appends leaves to a log held in tiles; memory is one open tile per level.

    Life: create at the present size (the open tiles are read), `append` leaves, `flush` once to write the open tiles;
    the caller commits size, root and tiles in one transaction. Nothing before `flush` changes what a reader at the
    old size sees.

    Raises:
        TilesIncomplete: on creation, when an open tile lacks hashes for `size`.
    """

    def __init__(self, size: int, read_tile: TileReader, write_tile: TileWriter) -> None:
        self._write = write_tile
        self.size = size
        self._open: list[bytearray] = []
        count, level = size, 0
        while count:
            count, kept = divmod(count, TILE_WIDTH)
            self._open.append(bytearray(_read(read_tile, level, count, kept)) if kept else bytearray())
            level += 1

    def append(self, leaf: bytes) -> int:
        """Adds one leaf hash and returns its index."""
        index = self.size
        self.size += 1
        self._push(0, leaf)
        return index

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Adds leaf hashes in order."""
        for leaf in leaves:
            self.append(leaf)

    def _push(self, level: int, hashed: bytes) -> None:
        if level == len(self._open):
            self._open.append(bytearray())
        tile = self._open[level]
        tile += hashed
        if len(tile) == TILE_WIDTH * HASH_BYTES:
            full = bytes(tile)
            tile.clear()
            self._write(level, ((self.size >> (TILE_HEIGHT * level)) - 1) >> TILE_HEIGHT, full)
            self._push(level + 1, _layers(full)[TILE_HEIGHT][0])

    def flush(self) -> bytes:
        """Writes the open tiles and returns the root over all leaves."""
        for level, tile in enumerate(self._open):
            if tile:
                self._write(level, self.size >> (TILE_HEIGHT * (level + 1)), bytes(tile))
        return self.root()

    def root(self) -> bytes:
        """Returns the root over all leaves appended so far."""
        peaks: list[bytes] = []
        for tile in reversed(self._open):
            peaks.extend(_tile_peaks(bytes(tile)))
        return _fold(peaks) if peaks else EMPTY_ROOT


def _tile_peaks(tile: bytes) -> Iterator[bytes]:
    """Yields the roots of the largest perfect subtrees in an open tile, left to right."""
    layers = _layers(tile)
    start, count = 0, len(tile) // HASH_BYTES
    for height in range(TILE_HEIGHT, -1, -1):
        if count >> height & 1:
            yield layers[height][start >> height]
            start += 1 << height


def _layers(tile: bytes) -> list[list[bytes]]:
    """Returns the perfect nodes within a tile: layer 0 its hashes, layer 8 its root when full."""
    layers = [[tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]]
    for _ in range(TILE_HEIGHT):
        below = layers[-1]
        layers.append(
            [sha256(NODE_PREFIX + below[at] + below[at + 1]).digest() for at in range(0, len(below) - 1, 2)],
        )
    return layers


def _read(read_tile: TileReader, level: int, index: int, needed: int) -> bytes:
    tile = read_tile(level, index)
    if len(tile) % HASH_BYTES or not needed * HASH_BYTES <= len(tile) <= TILE_WIDTH * HASH_BYTES:
        raise TilesIncomplete(
            f"tile {level}/{index}: {needed} hashes of {HASH_BYTES} bytes needed, {len(tile)} bytes found",
            level=level,
            index=index,
        )
    return tile[: needed * HASH_BYTES]


# ---------------------------------------------------------------- reading a log


class LogReader:
    """Computes roots and proofs of a log held in tiles, for any size up to the present one.

    Keeps the last `CACHED_TILES` expanded tiles, so proofs for neighbouring leaves cost a list look-up. Not safe to
    share between threads.
    """

    CACHED_TILES: Final = 16
    """About 0.6 MB; consecutive proofs in a log of ten million leaves touch at most seven tiles."""

    def __init__(self, size: int, read_tile: TileReader) -> None:
        self.size = size
        self._read = read_tile
        self._cache: dict[tuple[int, int], list[list[bytes]]] = {}

    def root(self, size: int | None = None) -> bytes:
        """Returns the root at `size` (the whole log when omitted).

        Raises:
            ProofInvalid: `size` is not in 0..the log's size.
            TilesIncomplete: stored hashes are missing.
        """
        size = self.size if size is None else size
        self._require(0 <= size <= self.size, f"no root at size {size} in a log of {self.size}")
        return self._subtree(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Returns PATH(index, D[size]) of RFC 9162 section 2.1.3.1, from the leaf up.

        Raises:
            ProofInvalid: no such leaf at `size`.
            TilesIncomplete: stored hashes are missing.
        """
        size = self.size if size is None else size
        self._require(0 <= index < size <= self.size, f"no leaf {index} at size {size} in a log of {self.size}")
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            split = start + _split(end - start)
            if index < split:
                path.append(self._subtree(split, end))
                end = split
            else:
                path.append(self._subtree(start, split))
                start = split
        return tuple(reversed(path))

    def consistency_proof(self, first: int, second: int | None = None) -> tuple[bytes, ...]:
        """Returns PROOF(first, D[second]) of RFC 9162 section 2.1.4.1; empty when the sizes are equal or `first` is 0.

        Raises:
            ProofInvalid: not 0 <= first <= second <= the log's size.
            TilesIncomplete: stored hashes are missing.
        """
        second = self.size if second is None else second
        self._require(0 <= first <= second <= self.size, f"no proof from {first} to {second} in a log of {self.size}")
        if first in {0, second}:
            return ()
        path: list[bytes] = []
        start, end = 0, second
        while end != first:
            split = start + _split(end - start)
            if first <= split:
                path.append(self._subtree(split, end))
                end = split
            else:
                path.append(self._subtree(start, split))
                start = split
        if start:  # the old tree is not itself a perfect left part of the new one: its last subtree opens the proof
            path.append(self._subtree(start, end))
        return tuple(reversed(path))

    @staticmethod
    def _require(condition: bool, message: str) -> None:  # noqa: FBT001 - an assertion with a typed error
        if not condition:
            raise ProofInvalid(message)

    def _subtree(self, start: int, end: int) -> bytes:
        """Returns the root over leaves start..end-1, where start fits the next power of two of the length."""
        peaks: list[bytes] = []
        while start < end:
            height = (end - start).bit_length() - 1
            peaks.append(self._perfect(height, start >> height))
            start += 1 << height
        return _fold(peaks)

    def _perfect(self, height: int, index: int) -> bytes:
        """Returns the root of the perfect subtree of 2^height leaves beginning at leaf index * 2^height."""
        level, inner = divmod(height, TILE_HEIGHT)
        tile = index >> (TILE_HEIGHT - inner)
        return self._expanded(level, tile)[inner][index - (tile << (TILE_HEIGHT - inner))]

    def _expanded(self, level: int, index: int) -> list[list[bytes]]:
        key = (level, index)
        layers = self._cache.pop(key, None)
        if layers is None:
            known = (self.size >> (TILE_HEIGHT * level)) - (index << TILE_HEIGHT)
            layers = _layers(_read(self._read, level, index, min(known, TILE_WIDTH)))
            while len(self._cache) >= self.CACHED_TILES:
                del self._cache[next(iter(self._cache))]
        self._cache[key] = layers
        return layers


def _split(length: int) -> int:
    """Returns the largest power of two smaller than `length` (k of RFC 9162 section 2.1.1)."""
    return 1 << ((length - 1).bit_length() - 1)


# ---------------------------------------------------------------- verifying


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that leaf hash `leaf` stands at `index` in the tree of `size` leaves with `root` (RFC 9162 2.1.3.2).

    Raises:
        ProofInvalid: it does not, or the proof is malformed.
    """
    _require_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise ProofInvalid(f"leaf index {index} is outside a tree of {size}")
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid(f"inclusion proof for leaf {index} of {size} has {len(proof)} hashes, too many")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise ProofInvalid(f"inclusion proof for leaf {index} of {size} has {len(proof)} hashes, too few")
    _require_root(value, root, f"inclusion of leaf {index} in a tree of {size}")


def verify_consistency(
    *, first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Checks that the tree of `first` leaves is a prefix of the tree of `second` leaves (RFC 9162 section 2.1.4.2).

    Raises:
        ProofInvalid: it is not (the log was rewritten or forked), or the proof is malformed.
    """
    _require_hashes(first_root, second_root, *proof)
    if not 0 <= first <= second:
        raise ProofInvalid(f"sizes {first} and {second} are not in order")
    if first in {0, second}:
        if proof:
            raise ProofInvalid(f"consistency proof from {first} to {second} must be empty")
        _require_root(first_root, EMPTY_ROOT if first == 0 else second_root, f"root at size {first}")
        return
    path = list(proof) if first & (first - 1) else [first_root, *proof]
    if not path:
        raise ProofInvalid(f"consistency proof from {first} to {second} is empty")
    _consistency_walk(first, second, path, first_root, second_root)


def _consistency_walk(first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> None:
    position, last = first - 1, second - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid(f"consistency proof from {first} to {second} has too many hashes")
        if position & 1 or position == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise ProofInvalid(f"consistency proof from {first} to {second} has too few hashes")
    _require_root(old, first_root, f"consistency of the tree of {first}")
    _require_root(new, second_root, f"consistency of the tree of {second}")


def _require_hashes(*hashes: bytes) -> None:
    if len(hashes) > MAX_PROOF_HASHES or any(len(value) != HASH_BYTES for value in hashes):
        raise ProofInvalid(f"a proof has at most {MAX_PROOF_HASHES} hashes of {HASH_BYTES} bytes")


def _require_root(computed: bytes, expected: bytes, what: str) -> None:
    if computed != expected:
        raise ProofInvalid(f"{what}: computed root {computed.hex()}, expected {expected.hex()}")
