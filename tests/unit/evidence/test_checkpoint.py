"""Signed notes and checkpoints: round trips, strictness, witnesses."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_service.evidence.checkpoint import (
    COSIGNATURE_V1,
    Checkpoint,
    NoteSigner,
    generate_signer,
    parse_checkpoint,
    parse_note,
    parse_signature_lines,
    parse_skey,
    parse_vkey,
    sign_checkpoint,
    sign_note,
)
from archive_service.evidence.errors import CheckpointInvalid

AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
LOG = generate_signer("archive.example.vn/log")
WITNESS = generate_signer("witness.example/w1", signature_type=COSIGNATURE_V1)
HEAD = Checkpoint(origin=LOG.name, size=20852163, root=bytes(range(32)))
lines = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\n\x85\u2028\u2029"), min_size=1
)


def test_a_checkpoint_reads_as_the_format_says() -> None:
    text = sign_checkpoint(HEAD, [LOG]).to_text()
    origin, size, root, blank, signature, end = text.split("\n")
    assert (origin, size, root, blank, end) == (LOG.name, "20852163", base64.b64encode(HEAD.root).decode(), "", "")
    assert signature.startswith(f"— {LOG.name} ")
    assert base64.b64decode(signature.split(" ")[2])[:4] == LOG.key.key_id


@settings(deadline=None)
@given(
    lines,
    st.integers(min_value=0, max_value=2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(lines, max_size=3),
)
def test_round_trip(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    head = Checkpoint(origin=origin, size=size, root=root, extensions=tuple(extensions))
    signed = sign_checkpoint(head, [LOG, WITNESS], at=AT)
    again = parse_checkpoint(signed.to_text())
    assert again == signed
    assert again.checkpoint == head
    assert parse_checkpoint(signed.to_text().encode()) == signed


def test_keys_round_trip_and_stay_secret() -> None:
    for signer in (LOG, WITNESS):
        assert parse_vkey(signer.key.vkey()) == signer.key
        again = parse_skey(signer.skey())
        assert (again.key, again.skey()) == (signer.key, signer.skey())
        assert signer.skey() not in repr(signer)


def test_unknown_signatures_are_kept_and_never_count() -> None:
    stranger = generate_signer("stranger.example")
    signed = sign_checkpoint(HEAD, [stranger, LOG, WITNESS], at=AT)
    again = parse_checkpoint(signed.to_text())
    assert [line.name for line in again.note.signatures] == [stranger.name, LOG.name, WITNESS.name]
    found = again.verify([LOG.key, WITNESS.key])
    assert [(item.key.name, item.at) for item in found] == [(LOG.name, None), (WITNESS.name, AT)]
    with pytest.raises(CheckpointInvalid, match="no signature by a known key"):
        again.verify([generate_signer(LOG.name).key])


def test_a_witness_alone_does_not_make_a_checkpoint_the_logs() -> None:
    with pytest.raises(CheckpointInvalid, match="no signature by a known key of the log"):
        sign_checkpoint(HEAD, [WITNESS], at=AT).verify([WITNESS.key])


def test_a_witness_answer_is_added_once() -> None:
    signed = sign_checkpoint(HEAD, [LOG])
    answer = sign_checkpoint(HEAD, [WITNESS], at=AT).note.signatures[0].line()
    cosigned = signed.cosigned(parse_signature_lines(answer)).cosigned(parse_signature_lines(answer))
    assert len(cosigned.note.signatures) == 2
    cosigned.verify([LOG.key, WITNESS.key])


def test_one_false_signature_by_a_known_key_spoils_the_note() -> None:
    other = Checkpoint(origin=LOG.name, size=1, root=HEAD.root)
    stolen = sign_checkpoint(other, [WITNESS], at=AT).note.signatures
    with pytest.raises(CheckpointInvalid, match=r"signature by witness\.example/w1 .* is false"):
        sign_checkpoint(HEAD, [LOG]).cosigned(stolen).verify([LOG.key, WITNESS.key])


def test_a_cosignature_binds_its_time() -> None:
    line = sign_checkpoint(HEAD, [WITNESS], at=AT).note.signatures[0]
    later = type(line)(name=line.name, key_id=line.key_id, signature=line.signature[:7] + b"\x00" + line.signature[8:])
    with pytest.raises(CheckpointInvalid, match="is false"):
        sign_checkpoint(HEAD, [LOG]).cosigned([later]).verify([LOG.key, WITNESS.key])
    endless = type(line)(name=line.name, key_id=line.key_id, signature=b"\xff" * 8 + line.signature[8:])
    with pytest.raises(CheckpointInvalid, match="no such time"):
        sign_checkpoint(HEAD, [LOG]).cosigned([endless]).verify([LOG.key, WITNESS.key])
    with pytest.raises(CheckpointInvalid, match="states its time"):
        sign_checkpoint(HEAD, [WITNESS])


GOOD = sign_checkpoint(HEAD, [LOG]).to_text()
ROOT_LINE = base64.b64encode(HEAD.root).decode()


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "\n",
        "\n\n",
        GOOD[:-1],
        GOOD.replace("\n\n", "\n"),
        GOOD.replace("20852163", "020852163"),
        GOOD.replace("20852163", "+20852163"),
        GOOD.replace("20852163", "-1"),
        GOOD.replace("20852163", "２０"),
        GOOD.replace("20852163", "9223372036854775808"),
        GOOD.replace("20852163", "9" * 5000),
        GOOD.replace(ROOT_LINE, ROOT_LINE[:-1]),
        GOOD.replace(ROOT_LINE, "!" + ROOT_LINE[1:]),
        GOOD.replace(ROOT_LINE, ROOT_LINE[:-4]),
        GOOD.replace(ROOT_LINE, ROOT_LINE[:-2] + "9="),
        GOOD.replace("— ", "- "),
        GOOD.replace("— ", "—"),
        GOOD.replace("— " + LOG.name, "— "),
        GOOD.replace("— " + LOG.name, "— a+b"),
        GOOD.replace("— " + LOG.name, "— a\u00a0b"),
        GOOD.replace("\n\n", "\n\r\n"),
        GOOD.replace(LOG.name, "\x00"),
        GOOD[: GOOD.index("— ")] + "— log.example AAAA\n",
        GOOD[: GOOD.index("— ")] + "— log.example AAAAAA==\n",
        GOOD[: GOOD.index("— ")] + "— log.example é\n",
        GOOD + "\n",
        GOOD + "trailing\n",
        "\n" + GOOD[GOOD.index("20852163") :],
        GOOD.encode() + b"\xff\n",
        GOOD + "— x AAAAAAAA\n" * 100,
        "x" * 1_000_001,
        "\ud800" + GOOD,
    ],
)
def test_malformed_checkpoints_give_the_one_error(damaged: str | bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        parse_checkpoint(damaged)


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary(), st.text("—\n +=AB01é\x00 ")))
def test_any_input_gives_a_checkpoint_or_the_one_error(content: str | bytes) -> None:
    for parse in (parse_checkpoint, parse_note, parse_signature_lines):
        with pytest.raises(CheckpointInvalid):
            parse(content)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=len(GOOD) - 1), st.characters(exclude_categories=["Cs"]))
def test_no_altered_character_survives(at: int, char: str) -> None:
    damaged = GOOD[:at] + char + GOOD[at + 1 :]
    if damaged != GOOD:
        with pytest.raises(CheckpointInvalid):
            parse_checkpoint(damaged).verify([LOG.key])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        "name+00000000+",
        "name+00000000+####",
        "name+0000000g+AAAA",
        "+00000000+AAAA",
        LOG.key.vkey().replace("+A", "+B", 1),
        LOG.key.vkey()[:-4],
        LOG.key.vkey().replace(LOG.name, "other"),
        f"{LOG.name}+{LOG.key.key_id.hex()}+{base64.b64encode(bytes([2]) + LOG.key.public_key).decode()}",
    ],
    ids=[f"key{number}" for number in range(11)],  # the key is new in each process; test names must not be
)
def test_malformed_keys(text: str) -> None:
    with pytest.raises(CheckpointInvalid):
        parse_vkey(text)
    with pytest.raises(CheckpointInvalid):
        parse_skey(text)
    with pytest.raises(CheckpointInvalid):
        parse_skey(f"PRIVATE+KEY+{text}")


def test_names_and_texts_that_cannot_be_signed() -> None:
    for name in ("", "a b", "a+b", "a\u2003b", "a\nb"):
        with pytest.raises(CheckpointInvalid):
            generate_signer(name)
    for text in ("", "\n", "no newline", "tab\t\n", "\ud800\n"):
        with pytest.raises(CheckpointInvalid):
            sign_note(text, [LOG])
    for origin, extensions in (("", ()), ("a\nb", ()), ("a", ("",)), ("a", ("b\nc",))):
        with pytest.raises(CheckpointInvalid):
            Checkpoint(origin=origin, size=0, root=HEAD.root, extensions=extensions)
    for size, root in ((-1, HEAD.root), (2**63, HEAD.root), (0, b"")):
        with pytest.raises(CheckpointInvalid):
            Checkpoint(origin="a", size=size, root=root)


def test_a_signer_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(CheckpointInvalid, match="0x02"):
        NoteSigner(name="a", signature_type=2, private_key=LOG.private_key).key  # noqa: B018
