"""Folding Vietnamese text for search: NFC, casefold, đ as d, marks stripped (STANDARDS 1.15).

Neither SQLite's FTS5 nor PostgreSQL's unaccent folds đ in a way an index can use, so both engines index what this module makes: each word
folded, and each word as written, so that "nguyen" finds Nguyễn and "nguyễn" does not find Nguyên first.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple

TERM_LENGTH: Final = 60
"""Longest term kept; longer words are cut, on indexing and searching alike."""
MAX_TERMS: Final = 64
"""Most terms kept for one record: a title of 1000 characters never floods the index."""

_WORD = re.compile(r"\w+", re.UNICODE)


def lowered(text: str) -> str:
    """Returns the text in NFC and casefolded, marks kept."""
    return unicodedata.normalize("NFC", text).casefold()


def folded(text: str) -> str:
    """Returns the text without case and marks, đ as d."""
    decomposed = unicodedata.normalize("NFD", lowered(text).replace("đ", "d"))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def index_terms(*texts: str) -> tuple[str, ...]:
    """Returns the distinct terms to index for a record, folded and as written, in order of appearance."""
    terms: dict[str, None] = {}
    for text in texts:
        for form in (folded(text), lowered(text)):
            terms.update(dict.fromkeys(word[:TERM_LENGTH] for word in _WORD.findall(form)))
    return tuple(terms)[:MAX_TERMS]


def query_terms(text: str) -> tuple[str, ...]:
    """Returns the terms to look up for a query: as written where the writer gave marks, else folded; the caller matches prefixes."""
    return tuple(dict.fromkeys(word[:TERM_LENGTH] for word in _WORD.findall(lowered(text))))[:8]


class Word(NamedTuple):
    """One word of a text, in the two forms it is searched by, and where it stands; a tuple, because a text has so many of them."""

    folded: str
    written: str
    start: int
    end: int

    @property
    def is_marked(self) -> bool:
        """Whether it was written with marks, and so means exactly this word."""
        return self.folded != self.written


def words_of(text: str) -> Iterator[Word]:
    """Yields the words of an NFC text in order; words longer than `TERM_LENGTH` are cut."""
    forms: dict[str, tuple[str, str]] = {}
    for match in _WORD.finditer(text):
        form = forms.get(match[0])
        if form is None:
            form = forms[match[0]] = folded(match[0])[:TERM_LENGTH], lowered(match[0])[:TERM_LENGTH]
        yield Word(*form, match.start(), match.end())
