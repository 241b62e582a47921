"""Pieces of a text for the index of words: nothing is lost, every phrase stands whole in one of them, limits of the engines are kept."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_service.access import text_index
from archive_service.access.snippets import snippet_of
from archive_service.access.text_index import MAX_PHRASE_WORDS, MAX_TERMS, pieces_of, terms_of
from archive_service.textfold import TERM_LENGTH, words_of

WORDS = st.lists(st.sampled_from(["giấy", "Giấy", "giay", "chứng", "đất", "x1", "a_b", "ß", "İ", "ngày"]), max_size=120)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that short texts meet them."""
    monkeypatch.setattr(text_index, "MAX_PIECE_WORDS", 20)
    monkeypatch.setattr(text_index, "MAX_SAME_WORD", 9)


@settings(max_examples=200, deadline=None)
@given(words=WORDS, length=st.integers(1, MAX_PHRASE_WORDS))
def test_every_phrase_stands_whole_in_one_piece(words: list[str], length: int) -> None:
    pieces = [[word.written for word in found] for _, found in pieces_of(" ".join(words))]
    whole = [word.written for word in words_of(" ".join(words))]
    assert [word for piece in pieces for word in piece] == whole or len(pieces) > 1
    for start in range(len(whole) - length + 1):
        phrase = whole[start : start + length]
        assert any(piece[at : at + length] == phrase for piece in pieces for at in range(len(piece)))


@settings(max_examples=200, deadline=None)
@given(words=WORDS)
def test_no_piece_is_more_than_an_index_takes(words: list[str]) -> None:
    for content, found in pieces_of(" ".join(words)):
        assert len(found) <= text_index.MAX_PIECE_WORDS
        assert max(Counter(word.folded for word in found).values()) <= text_index.MAX_SAME_WORD
        assert [word.written for word in words_of(content)] == [word.written for word in found]


@given(text=st.text(max_size=300))
def test_any_text_has_words_an_index_can_hold(text: str) -> None:
    for word in words_of(text):
        for form in (word.folded, word.written):
            assert 0 < len(form) <= TERM_LENGTH
            assert not set(form) & set(" \t\n\0'\"\\")
        assert text[word.start : word.end]


@given(query=st.text(alphabet='aă "“”1-', max_size=80))
def test_any_query_is_read(query: str) -> None:
    terms = terms_of(query)
    assert len(terms) <= MAX_TERMS
    assert all(1 <= len(term.words) <= MAX_PHRASE_WORDS for term in terms)
    assert len({term.forms for term in terms}) == len(terms)


@settings(deadline=None)
@given(words=WORDS, query=WORDS)
def test_what_is_shown_is_what_stands_there(words: list[str], query: list[str]) -> None:
    content = ", ".join(words)
    snippet = snippet_of(content, terms_of(" ".join(query)), component_id="c01", title="t")
    shown = "".join(text for text, _ in snippet.parts)
    assert shown in content
    assert not any(hit for _, hit in snippet.parts) or any(term.forms for term in terms_of(" ".join(query)))
    assert all(text for text, _ in snippet.parts)


def test_a_long_phrase_is_looked_for_in_whole_parts() -> None:
    words = [f"t{number}" for number in range(11)]
    first, second = terms_of(f'"{" ".join(words)}"')
    assert first.forms == tuple(words[:8])
    assert second.forms == tuple(words[3:])
