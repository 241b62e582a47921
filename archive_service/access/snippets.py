"""Where a search by content hit: a few words of the document around the first hit, hits marked, as plain values that a page or JSON escapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from archive_service.access import text_index
from archive_service.access.text_index import Term
from archive_service.identity.permissions import Permission, Principal, in_scope
from archive_service.models import Component, ComponentText, Record, TextPiece
from archive_service.textfold import Word, words_of

WORDS_BEFORE: Final = 10
WORDS_AFTER: Final = 22
"""Words shown around the first hit: two lines on a wide screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A run of one component's text around a hit."""

    component_id: str
    title: str
    parts: tuple[tuple[str, bool], ...]
    """Text, and whether it is a hit; in order, whole."""
    begins_within: bool
    """Whether text was left out before."""
    ends_within: bool
    """Whether text was left out after."""


def find_snippets(
    session: Session, record_ids: Sequence[UUID], terms: Sequence[Term], principal: Principal
) -> dict[UUID, Snippet]:
    """Returns for each record the principal may read and whose documents hold one of the terms, where the first one stands."""
    if not record_ids or not terms or not principal.may(Permission.RECORD_READ) or not text_index.available(session):
        return {}
    scope = in_scope(
        principal,
        Permission.RECORD_READ,
        Record.archiving_agency,
        Record.settling_agency,
        access_column=Record.access_mode,
    )
    first = (
        select(func.min(TextPiece.id))
        .join(Record, Record.id == TextPiece.record_id)
        .where(scope, TextPiece.record_id.in_(record_ids), TextPiece.id.in_(text_index.pieces_with(session, *terms)))
        .group_by(TextPiece.record_id)
    )
    query = (
        select(TextPiece, ComponentText.component_id, Component.title)
        .join(ComponentText, ComponentText.id == TextPiece.text_id)
        .join(
            Component,
            (Component.aip_id == ComponentText.aip_id) & (Component.component_id == ComponentText.component_id),
        )
        .where(TextPiece.id.in_(first))
    )
    return {
        piece.record_id: snippet_of(piece.content, terms, component_id=component_id, title=title)
        for piece, component_id, title in session.execute(query)
    }


def snippet_of(content: str, terms: Sequence[Term], *, component_id: str, title: str) -> Snippet:
    """Returns the words around the first hit in a text, all hits among them marked."""
    words = list(words_of(content))
    hits = _hits(words, terms)
    first = min(hits, default=0)
    start, end = max(0, first - WORDS_BEFORE), min(len(words), first + WORDS_AFTER)
    parts: list[tuple[str, bool]] = []
    place = start
    while place < end:
        length = 1
        while place + length < end and (place + length in hits) == (place in hits):
            length += 1
        following = place + length
        # What stands between two words belongs to the run before, unless that one is a hit.
        until = words[following].start if following < end and place not in hits else words[following - 1].end
        begin = words[place].start if place == start or place in hits else words[place - 1].end
        parts.append((_plain(content[begin:until]), place in hits))
        place = following
    return Snippet(
        component_id=component_id,
        title=title,
        parts=tuple(parts),
        begins_within=start > 0,
        ends_within=end < len(words),
    )


def _hits(words: Sequence[Word], terms: Sequence[Term]) -> set[int]:
    """Returns the places of all words that are part of a hit."""
    found: set[int] = set()
    for place in range(len(words)):
        for term in terms:
            if term.begins_at(words, place):
                found.update(range(place, place + len(term.words)))
    return found


def _plain(text: str) -> str:
    """Returns the text on one line, without characters that cannot be seen."""
    spaced = "".join(char if char.isprintable() else " " for char in text)
    return (" " if spaced[:1].isspace() else "") + " ".join(spaced.split()) + (" " if spaced[-1:].isspace() else "")
