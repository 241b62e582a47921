"""Content with its digest, and keys that no other test uses."""

import io
import random
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import BinaryIO
from uuid import UUID, uuid4

from archive_service.digests import Digest, digest_bytes
from archive_service.storage.port import ReadBack, Store, StoredObject, StoreKey, read_back, store_key

DISPOSITION = UUID("0b9d4f1e-58a2-4c57-9d6a-2f0d8f2c7e11")
LARGE_BYTES = 17 * 1024 * 1024 + 5
"""More than one S3 part, and not a round number."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes with what is announced of them."""

    bytes_: bytes

    @property
    def digest(self) -> Digest:
        return digest_bytes(self.bytes_)

    @property
    def size_bytes(self) -> int:
        return len(self.bytes_)

    def source(self) -> BinaryIO:
        return io.BytesIO(self.bytes_)


@lru_cache(maxsize=8)
def content(size_bytes: int = 70_000, *, seed: int = 1) -> Content:
    return Content(random.Random(seed).randbytes(size_bytes))  # noqa: S311 - repeatable, not secret


def put(store: Store, key: StoreKey, what: Content, *, retain_until: datetime | None = None) -> StoredObject:
    return store.put(key, what.source(), expected=what.digest, size_bytes=what.size_bytes, retain_until=retain_until)


def check(store: Store, key: StoreKey, what: Content, *, version_id: str | None = None) -> ReadBack:
    return read_back(store, key, expected=what.digest, size_bytes=what.size_bytes, version_id=version_id)


def fresh_key(suffix: str = "1.zip") -> StoreKey:
    return store_key(f"aip/{uuid4()}/{suffix}")
