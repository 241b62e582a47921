"""What a file's signatures need of its dossier: enough for every kind of signature, and no more for what has none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archive_service.signatures.reach import Reach, reach_of
from tests.unit.signatures.pki_fixtures import World, sign_cms

_SIGNED = b'<a><Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/></a>'
_MAIL = b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\nMII"


def given(content: bytes, chunk_bytes: int = 7) -> Callable[[], Iterator[bytes]]:
    return lambda: (content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes))


def never() -> Iterator[bytes]:
    raise AssertionError("it was read")


@pytest.mark.parametrize(
    ("mime", "name", "content", "reach"),
    [
        ("application/xml", "a.xml", _SIGNED, Reach.NEIGHBOURS),
        ("image/svg+xml", "a.svg", _SIGNED, Reach.NEIGHBOURS),
        ("application/xml", "a.xml", b"<a>" + b"x" * 500 + b"</a>", Reach.ITSELF),
        ("application/xml", "a.xml", _SIGNED.decode().encode("utf-16"), Reach.NEIGHBOURS),
        ("application/xml", "a.xml", b'<Signature xmlns="&#104;ttp://www.w3.org/"/>', Reach.NEIGHBOURS),
        ("text/xml", "a.xml", b'<!DOCTYPE a [<!ENTITY n "x">]><a xmlns="&n;"/>', Reach.NEIGHBOURS),
        ("text/plain", "a.txt", b"plain words\n" * 3000, Reach.NOTHING),
        ("text/plain", "a.txt", _MAIL, Reach.NEIGHBOURS),
        ("text/plain", "a.p7s", b"-----BEGIN PKCS7-----\nMII", Reach.NEIGHBOURS),
        ("application/octet-stream", "a.P7S", b"\x30\x82", Reach.NEIGHBOURS),
        ("application/octet-stream", "a.p7s", b"something else", Reach.NOTHING),
    ],
)
def test_content_decides_where_type_and_name_do_not(mime: str, name: str, content: bytes, reach: Reach) -> None:
    for chunk_bytes in (1, 7, 10_000):
        assert reach_of(mime, Path(name).suffix, given(content, chunk_bytes)) is reach


@pytest.mark.parametrize(
    ("mime", "name", "reach"),
    [
        ("application/pdf", "a.pdf", Reach.ITSELF),
        ("application/zip", "a.zip", Reach.ITSELF),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "a.docx", Reach.ITSELF),
        ("application/pkcs7-signature", "a", Reach.NEIGHBOURS),
        ("application/octet-stream", "a.bin", Reach.NOTHING),
        ("text/csv", "a.csv", Reach.NOTHING),
    ],
)
def test_what_type_and_name_decide_is_not_read(mime: str, name: str, reach: Reach) -> None:
    assert reach_of(mime, Path(name).suffix, never) is reach


def test_a_real_detached_signature_reaches_its_neighbours() -> None:
    content = sign_cms(World(), b"content")
    assert reach_of("application/octet-stream", ".p7s", given(content)) is Reach.NEIGHBOURS
