"""Statements of the ways every dossier takes: compiled once for each engine and given straight to the driver.

SQLAlchemy runs a statement through some hundred functions. Between two files that were hashed none of them is in the processor's caches, and
running a statement then costs ten times what the database does for it. A `Prepared` statement is written with SQLAlchemy as any other; what
its columns' types make of values is kept, and the rest is the driver's `execute`. It runs in whatever transaction is open: a session, its
connection, or a `db.Transaction`, which is opened more cheaply too. Errors are SQLAlchemy's.

For statements that run for every dossier; everything else is better off with a session.
"""

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Column, Delete, Dialect, Insert, Select, Update
from sqlalchemy.sql.schema import ScalarElementColumnDefault
from sqlalchemy.sql.type_api import TypeEngine

from archive_service.db import Work, driver_of

_Convert = Callable[[Any], Any]
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as one engine takes it."""

    sql: str
    names: tuple[str, ...]
    """Parameters in the order of the text."""
    known: tuple[Any, ...]
    """In the same order, as the driver takes them, those whose values the statement itself holds; None for the others."""
    asked: tuple[tuple[int, str, _Convert | None], ...]
    """The others: place, name, and what its type makes of a value; None where the value is given as it is."""
    positional: bool

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """Returns what the driver takes.

        Raises:
            KeyError: a value is missing.
        """
        made = list(self.known)
        for place, name, convert in self.asked:
            value = values[name]
            made[place] = value if convert is None else convert(value)
        return made if self.positional else dict(zip(self.names, made, strict=True))


class Prepared:
    """One statement; see the module. Values are given by the names of its bound parameters, of an insert by its columns."""

    def __init__(self, statement: Select[*tuple[Any, ...]] | Insert | Update | Delete) -> None:
        self._statement = statement
        self._is_insert = isinstance(statement, Insert)
        self._forms: dict[tuple[str, tuple[str, ...]], _Form] = {}
        self._readers: dict[str, Callable[[Any], Any]] = {}

    def rows(self, work: Work, values: Mapping[str, Any] = _NOTHING) -> list[Any]:
        """Runs it and returns its rows, as named tuples."""
        driver = driver_of(work)
        form = self._form(driver.dialect, values)
        cursor = driver.execute(form.sql, form.parameters(values))
        found = cursor.fetchall()
        if not found:
            return []
        read = self._readers.get(driver.dialect.name) or self._reader(driver.dialect, cursor.description)
        return [read(row) for row in found]

    def first(self, work: Work, values: Mapping[str, Any] = _NOTHING) -> Any:
        """Runs it and returns its first row, None when there is none: for statements that find at most one."""
        rows = self.rows(work, values)
        return rows[0] if rows else None

    def run(self, work: Work, values: Mapping[str, Any]) -> int:
        """Runs it and returns how many rows it changed."""
        driver = driver_of(work)
        form = self._form(driver.dialect, values)
        return driver.execute(form.sql, form.parameters(values)).rowcount

    def run_each(self, work: Work, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs it for each of the values, which all have the same names; nothing for none."""
        if rows:
            driver = driver_of(work)
            form = self._form(driver.dialect, rows[0])
            driver.execute_each(form.sql, [form.parameters(values) for values in rows])

    def _form(self, dialect: Dialect, values: Mapping[str, Any]) -> _Form:
        known = (dialect.name, tuple(values) if self._is_insert else ())
        form = self._forms.get(known)
        if form is None:
            form = self._forms[known] = self._compiled(dialect, list(values) if self._is_insert else None)
        return form

    def _compiled(self, dialect: Dialect, columns: list[str] | None) -> _Form:
        compiled = self._statement.compile(dialect=dialect, column_keys=columns)
        if compiled.post_compile_params:
            raise TypeError("IN takes bound parameters here, not values: how many they are is compiled")
        names = tuple(compiled.positiontup or compiled.binds)
        converts = {name: _bound(compiled.binds[name].type, dialect) for name in names}
        constants = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
        constants |= _defaults(compiled.insert_prefetch, columns or ())
        return _Form(
            sql=compiled.string,
            names=names,
            known=tuple(_made(constants[name], converts[name]) if name in constants else None for name in names),
            asked=tuple((place, name, converts[name]) for place, name in enumerate(names) if name not in constants),
            positional=dialect.positional,
        )

    def _reader(self, dialect: Dialect, description: Sequence[Sequence[Any]]) -> Callable[[Any], Any]:
        """Returns what makes a row of this statement of the driver's."""
        columns = self._statement.exported_columns
        row_type = namedtuple("Row", [column.key for column in columns])  # type: ignore[misc] # noqa: PYI024
        converts = [
            (place, convert)
            for place, (column, described) in enumerate(zip(columns, description, strict=True))
            if (convert := column.type.dialect_impl(dialect).result_processor(dialect, described[1])) is not None
        ]

        def read(row: Sequence[Any]) -> Any:
            values = list(row)
            for place, convert in converts:
                values[place] = convert(values[place])
            return row_type._make(values)

        self._readers[dialect.name] = read
        return read


def _defaults(prefetched: Iterable[Column[Any]], given: Collection[str]) -> dict[str, Any]:
    """Returns the values of columns that an insert is not given; ids and the like, which Python makes for each row, must be given."""
    left = [column for column in prefetched if column.key not in given]
    made = sorted(column.key for column in left if not (column.default and column.default.is_scalar))
    if made:
        raise TypeError(f"values that Python makes must be given: {', '.join(made)}")
    return {column.key: column.default.arg for column in left if isinstance(column.default, ScalarElementColumnDefault)}


def _bound(column_type: TypeEngine[Any], dialect: Dialect) -> _Convert | None:
    return column_type.dialect_impl(dialect).bind_processor(dialect)


def _made(value: Any, convert: _Convert | None) -> Any:
    return value if convert is None else convert(value)
