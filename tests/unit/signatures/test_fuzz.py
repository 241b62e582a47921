"""Mutated files: no exception, no verdict better than the original's, no long run, bounded memory."""

# mypy: disable-error-code="attr-defined"

import re
import resource
import tempfile
import time
from datetime import timedelta
from functools import cache
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from signxml import SignatureMethod, XMLSigner, methods

from archive_service.signatures import Indication, SignatureCheck
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, sign_cms, sign_pdf

TIME_LIMIT_S = 10.0
MEMORY_LIMIT_BYTES = 500 * 1024 * 1024
AT = SIGNED_AT + timedelta(hours=1)

FUZZ = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@cache
def world() -> World:
    return World(tag="fuzz")


@cache
def seed(kind: str) -> tuple[bytes, str]:
    if kind == "cms":
        return sign_cms(
            world(), b"noi dung", detached=False, party=world().plain, stamped=True
        ), "application/pkcs7-mime"
    if kind == "xml":
        signer = XMLSigner(method=methods.enveloped, signature_algorithm=SignatureMethod.ECDSA_SHA256)
        root = etree.fromstring("<a xmlns='urn:x'><b Id='b'>chữ</b></a>")
        party = world().plain
        signed = signer.sign(root, key=party.key, cert=[party.certificate])
        return etree.tostring(signed), "application/xml"
    return sign_pdf(world(), level=kind, party=None if kind == "LTA" else world().plain), "application/pdf"


edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "copy", "zero"]),
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def mutate(content: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    data = bytearray(content)
    for kind, first, second, piece in changes:
        start, length = int(first * len(data)), int(second * 64) + 1
        if kind == "flip":
            data[start : start + len(piece)] = piece
        elif kind == "cut":
            del data[start : start + length]
        elif kind == "insert":
            data[start:start] = piece
        elif kind == "copy":
            data[start:start] = data[int(second * len(data)) :][:200]
        else:
            data[start : start + length] = bytes(min(length, len(data) - start))
        if not data:
            return b"\0"
    return bytes(data)


def judged(content: bytes, mime: str) -> SignatureCheck:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = check(Path(folder), content, world(), at=AT, mime=mime)
        assert time.perf_counter() - started < TIME_LIMIT_S
    return result


@pytest.mark.parametrize("kind", ["B", "LTA", "cms", "xml"])
def test_seed_is_readable(kind: str) -> None:
    content, mime = seed(kind)
    assert judged(content, mime).reports[0].integrity == "intact"


@pytest.mark.parametrize("kind", ["B", "LTA", "cms", "xml"])
@FUZZ
@given(changes=edits)
def test_mutated_files_neither_crash_nor_pass_changed(
    kind: str, changes: list[tuple[str, float, float, bytes]]
) -> None:
    content, mime = seed(kind)
    mutated = mutate(content, changes)
    peak_before, in_use_before = _peak_bytes(), psutil.Process().memory_info().rss
    result = judged(mutated, mime)
    if mime == "application/pdf" and result.indication is Indication.TOTAL_PASSED:
        # what may change unnoticed: the unused part of a signature value, and what follows the last signed byte
        # (validation material, held to that by difference analysis)
        signed = _outside_values(content[: _last_signed_byte(content)])
        assert _outside_values(mutated).startswith(signed)
    # The process may have grown in earlier tests: what counts is what this file added to what was in use before it.
    assert _peak_bytes() <= max(peak_before, in_use_before + MEMORY_LIMIT_BYTES)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _last_signed_byte(pdf: bytes) -> int:
    ranges = [found.split() for found in re.findall(rb"/ByteRange \[([^]]*)\]", pdf)]
    return max(int(values[2]) + int(values[3]) for values in ranges)


def _outside_values(pdf: bytes) -> bytes:
    """The file without its signature values, which no signature covers."""
    return re.sub(rb"/Contents <[^>]*>", b"", pdf)


@FUZZ
@given(
    content=st.binary(max_size=400),
    mime=st.sampled_from(["application/pdf", "application/xml", "application/pkcs7-mime"]),
)
def test_random_bytes(content: bytes, mime: str) -> None:
    assert judged(content, mime).indication in {None, Indication.INDETERMINATE}
