"""The index of words behind search by content: a tsvector with a GIN index on PostgreSQL, an FTS5 table on SQLite.

Neither engine splits or folds text here: `textfold` does, for both, so that both give the same answers. Every word is indexed in two forms:
folded, which a word typed without marks is looked up by, and as written, for a word typed with marks. Text is indexed in pieces, because
PostgreSQL keeps at most 256 places of a word, 16,383 places in all and 1 MB of words in one tsvector; neighbouring pieces overlap by one word
less than the longest phrase, so a phrase always stands whole in one of them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, cast, column, exists, literal_column, select, table, text
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session

from archive_service.models import TextPiece
from archive_service.textfold import Word, words_of

TABLE: Final = "text_index"
MAX_PIECE_WORDS: Final = 2000
"""Words of one piece: in both forms, at their longest, they stay below 1 MB."""
MAX_SAME_WORD: Final = 250
"""A piece ends before it holds more of one word than a tsvector keeps places for."""
MAX_PHRASE_WORDS: Final = 8
"""A longer phrase is looked for in parts."""
OVERLAP_WORDS: Final = MAX_PHRASE_WORDS - 1
MAX_TERMS: Final = 8
"""Terms of one search; further ones are left out."""

_QUOTED: Final = re.compile(r"[\"“”]([^\"“”]*)[\"“”]")
_WRITTEN: Final = "="
"""Begins the lexeme of a word as written; no word holds it."""
_INDEX: Final = table(TABLE, column("piece_id"), column("words"), column("rowid"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A word or a phrase to look for."""

    words: tuple[Word, ...]
    is_phrase: bool

    @property
    def as_written(self) -> bool:
        """Whether marks count: they do once one word was typed with marks."""
        return any(word.is_marked for word in self.words)

    @property
    def forms(self) -> tuple[str, ...]:
        """The words in the form they are looked up by."""
        return tuple(word.written if self.as_written else word.folded for word in self.words)


def terms_of(query: str) -> tuple[Term, ...]:
    """Reads what a person typed: words, each on its own, and phrases between quotation marks."""
    found: dict[tuple[str, ...], Term] = {}
    for is_phrase, part in _parts(query):
        words = tuple(words_of(part))
        step = MAX_PHRASE_WORDS if is_phrase else 1
        for start in range(0, len(words), step):
            chunk = words[start : start + step]
            # A phrase's last part takes in words before it, so that it is never weaker than a whole part.
            chunk = words[-step:] if is_phrase and len(words) > step and len(chunk) < step else chunk
            term = Term(words=chunk, is_phrase=len(chunk) > 1)
            found.setdefault(term.forms, term)
    return tuple(found.values())[:MAX_TERMS]


def _parts(query: str) -> Iterator[tuple[bool, str]]:
    end = 0
    for match in _QUOTED.finditer(query):
        yield False, query[end : match.start()]
        yield True, match[1]
        end = match.end()
    yield False, query[end:]


# ------------------------------------------------------------------ looking up


def available(session: Session) -> bool:
    """Returns whether there is an index: SQLite without FTS5 has none."""
    if not _is_sqlite(session):
        return True
    named = text("SELECT count(*) FROM sqlite_master WHERE name = :name")
    return bool(session.execute(named, {"name": TABLE}).scalar_one())


def pieces_with(session: Session, *terms: Term) -> Select[tuple[int]]:
    """Returns a query for the ids of pieces that hold any of the terms."""
    if _is_sqlite(session):
        matched: ColumnElement[bool] = literal_column(TABLE).op("MATCH")(" OR ".join(map(_fts5, terms)))
        return select(literal_column("rowid").label("id")).select_from(_INDEX).where(matched)
    wanted = cast(" | ".join(map(_tsquery, terms)), TSQUERY)
    return select(_INDEX.c.piece_id.label("id")).where(_INDEX.c.words.op("@@")(wanted))


def piece_holds(session: Session, *terms: Term) -> ColumnElement[bool]:
    """Returns the condition that the piece of a row holds any of the terms: for few pieces known beforehand, however frequent the terms."""
    if _is_sqlite(session):
        matched = literal_column(TABLE).op("MATCH")(" OR ".join(map(_fts5, terms)))
        return exists().where(literal_column(f"{TABLE}.rowid") == TextPiece.id, matched).select_from(_INDEX)
    wanted = cast(" | ".join(map(_tsquery, terms)), TSQUERY)
    return exists().where(_INDEX.c.piece_id == TextPiece.id, _INDEX.c.words.op("@@")(wanted))


def _fts5(term: Term) -> str:
    return f'{"written" if term.as_written else "folded"} : "{" ".join(term.forms)}"'


def _tsquery(term: Term) -> str:
    mark = _WRITTEN if term.as_written else ""
    return "(" + " <-> ".join(_quoted(mark + form) for form in term.forms) + ")"


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


# ------------------------------------------------------------------ filling


def pieces_of(content: str) -> Iterator[tuple[str, list[Word]]]:
    """Yields the pieces of a text with their words."""
    waiting: list[Word] = []
    counts: Counter[str] = Counter()
    for word in words_of(content):
        if len(waiting) == MAX_PIECE_WORDS or counts[word.folded] == MAX_SAME_WORD:
            yield _piece(content, waiting)
            waiting = waiting[-OVERLAP_WORDS:]
            counts = Counter(kept.folded for kept in waiting)
        waiting.append(word)
        counts[word.folded] += 1
    if waiting:
        yield _piece(content, waiting)


def _piece(content: str, words: list[Word]) -> tuple[str, list[Word]]:
    return content[words[0].start : words[-1].end], list(words)


def add_piece(session: Session, piece: TextPiece, words: Sequence[Word]) -> None:
    """Adds a piece and its words to the index; without an index only the piece."""
    session.add(piece)
    session.flush()
    if not available(session):
        return
    if _is_sqlite(session):
        statement = text(f"INSERT INTO {TABLE} (rowid, folded, written) VALUES (:id, :folded, :written)")  # noqa: S608 - a name of ours
        values: dict[str, Any] = {
            "folded": " ".join(word.folded for word in words),
            "written": " ".join(word.written for word in words),
        }
    else:
        statement = text(f"INSERT INTO {TABLE} (piece_id, words) VALUES (:id, CAST(:words AS tsvector))")  # noqa: S608 - a name of ours
        values = {"words": _tsvector(words)}
    session.execute(statement, {"id": piece.id, **values})


def _tsvector(words: Sequence[Word]) -> str:
    places: dict[str, list[str]] = {}
    for place, word in enumerate(words, start=1):
        places.setdefault(word.folded, []).append(str(place))
        places.setdefault(_WRITTEN + word.written, []).append(str(place))
    return " ".join(f"{_quoted(lexeme)}:{','.join(found)}" for lexeme, found in places.items())


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"
