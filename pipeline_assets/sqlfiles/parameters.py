"""Put values into the `${name}` places of a statement of the platform.

A value says what it is, and is checked or quoted by that: a name is a plain upper-case identifier or refused, text is
quoted, a type is one that contracts may have. So no value, whoever set it, can be more than one word of the statement.
Statements of the pipelines have no such places: their values are bound.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_assets.contracts.ddl import literal
from pipeline_assets.errors import ConfigurationError

_PLACE = re.compile(r"\$\{(\w+)\}")
_NAME = re.compile(r"[A-Z_][A-Z0-9_$]{0,254}(\.[A-Z_][A-Z0-9_$]{0,254}){0,2}")
_TYPE = re.compile(r"(VARCHAR|NUMBER|TIMESTAMP_NTZ|DATE|BOOLEAN|VARIANT)(\([0-9]{1,5}(,[0-9]{1,2})?\))?")


class Parameter(ABC):
    """A value for one place of a statement."""

    @abstractmethod
    def sql(self) -> str:
        """How it stands in the statement."""


@dataclass(frozen=True)
class Name(Parameter):
    """An unquoted identifier, with its schema and database if need be; upper case, as Snowflake keeps it."""

    name: str

    def sql(self) -> str:
        name = self.name.upper()
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{self.name!r} is no name of a Snowflake object.", remedy="Use letters, digits and _."
            )
        return name


@dataclass(frozen=True)
class Text(Parameter):
    """A string literal."""

    text: str

    def sql(self) -> str:
        return literal(self.text)


@dataclass(frozen=True)
class Texts(Parameter):
    """Several string literals, with commas between them."""

    texts: tuple[str, ...]

    def sql(self) -> str:
        return ", ".join(literal(text) for text in self.texts)


@dataclass(frozen=True)
class Number(Parameter):
    """A whole number."""

    number: int

    def sql(self) -> str:
        return str(int(self.number))


@dataclass(frozen=True)
class Kind(Parameter):
    """A type of a column."""

    kind: str

    def sql(self) -> str:
        if not _TYPE.fullmatch(self.kind):
            raise ConfigurationError(f"{self.kind!r} is no type that contracts have.")
        return self.kind


@dataclass(frozen=True)
class Null(Parameter):
    """NULL."""

    def sql(self) -> str:
        return "NULL"


def render(sql: str, parameters: Mapping[str, Parameter]) -> str:
    """The statement with each place filled.

    Raises:
        ConfigurationError: a place has no value, or a value is not what it says.
    """

    def fill(place: re.Match[str]) -> str:
        if place[1] not in parameters:
            raise ConfigurationError(f"Nothing was given for ${{{place[1]}}}.")
        return parameters[place[1]].sql()

    return _PLACE.sub(fill, sql)
