"""Declarative base: constraint names by convention, so that code and migrations can name them."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Enum, Integer, MetaData, String, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

JsonColumn = JSON().with_variant(JSONB(), "postgresql")
SerialColumn = BigInteger().with_variant(Integer(), "sqlite")
TermColumn = String(100, collation="C").with_variant(String(100), "sqlite")
"""Text compared byte by byte on both engines, so that a prefix search is an index range."""


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {UUID: Uuid(as_uuid=True), dict[str, Any]: JsonColumn, list[Any]: JsonColumn}  # noqa: RUF012 - SQLAlchemy reads it from the class


def token(values: type[StrEnum], name: str, *, closed: bool = True) -> Enum:
    """Returns a column type for an enum stored as its standard token.

    A closed vocabulary gets a CHECK constraint named `name`. One that grows with every feature (event types, job kinds) is checked by
    this code alone, because on SQLite a new member would mean copying the whole table.
    """
    return Enum(
        values,
        name=name,
        native_enum=False,
        create_constraint=closed,
        length=40,
        values_callable=lambda members: [member.value for member in members],
        validate_strings=True,
    )
