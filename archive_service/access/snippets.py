"""Where a search by content hit: a few words of the document around the first hit, hits marked, as plain values that a page or JSON escapes."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import and_, func, select
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
    first = _first_pieces(session, record_ids, terms, principal)
    query = (
        select(TextPiece, ComponentText.component_id, Component.title)
        .join(ComponentText, ComponentText.id == TextPiece.text_id)
        .join(
            Component,
            (Component.aip_id == ComponentText.aip_id) & (Component.component_id == ComponentText.component_id),
        )
        .where(TextPiece.id.in_(first.values()))
    )
    return {
        piece.record_id: snippet_of(piece.content, terms, component_id=component_id, title=title)
        for piece, component_id, title in session.execute(query)
    }


def _first_pieces(
    session: Session, record_ids: Sequence[UUID], terms: Sequence[Term], principal: Principal
) -> dict[UUID, int]:
    """Returns for each record the first piece that holds all terms, else the first that holds any."""
    scope = in_scope(
        principal,
        Permission.RECORD_READ,
        Record.archiving_agency,
        Record.settling_agency,
        access_column=Record.access_mode,
    )
    found: dict[UUID, int] = {}
    conditions = [and_(*(text_index.piece_holds(session, term) for term in terms))]
    if len(terms) > 1:
        conditions.append(text_index.piece_holds(session, *terms))
    for held in conditions:
        left = [record_id for record_id in record_ids if record_id not in found]
        if not left:
            break
        query = (
            select(TextPiece.record_id, func.min(TextPiece.id))
            .join(Record, Record.id == TextPiece.record_id)
            .where(scope, TextPiece.record_id.in_(left), held)
            .group_by(TextPiece.record_id)
        )
        found.update((record_id, piece_id) for record_id, piece_id in session.execute(query))
    return found


def snippet_of(content: str, terms: Sequence[Term], *, component_id: str, title: str) -> Snippet:
    """Returns the run of a text where most of the terms stand together, hits marked."""
    words = list(words_of(content))
    begins = _begins(words, terms)
    hits = {place for start, length, _ in begins for place in range(start, start + length)}
    first = _densest(begins)
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


def _begins(words: Sequence[Word], terms: Sequence[Term]) -> list[tuple[int, int, int]]:
    """Returns where each hit begins, how many words it has, and which term it is, in order."""
    folded, written = [word.folded for word in words], [word.written for word in words]
    found = []
    for number, term in enumerate(terms):
        forms, length = list(term.forms), len(term.words)
        text = written if term.as_written else folded
        found += [
            (place, length, number)
            for place, form in enumerate(text)
            if form == forms[0] and (length == 1 or text[place : place + length] == forms)
        ]
    return sorted(found)


def _densest(begins: Sequence[tuple[int, int, int]]) -> int:
    """Returns the first place from which on most different terms stand within the words shown."""
    best, most = 0, 0
    for index, (start, _, _) in enumerate(begins):
        near = begins[index : bisect_left(begins, (start + WORDS_AFTER, 0, 0))]
        count = len({number for _, _, number in near})
        if count > most:
            best, most = start, count
    return best


def _plain(text: str) -> str:
    """Returns the text on one line, without characters that cannot be seen."""
    spaced = "".join(char if char.isprintable() else " " for char in text)
    return (" " if spaced[:1].isspace() else "") + " ".join(spaced.split()) + (" " if spaced[-1:].isspace() else "")
