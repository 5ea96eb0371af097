"""Put values into the `${name}` placeholders of a platform statement.

Each value has a kind, and is checked or quoted by it: a name must be a plain upper-case identifier, text is quoted, a
type must be one that contracts may have. So a value can never add anything else to the statement. Statements of the
pipelines have no placeholders: their values are bound.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_assets.contracts.ddl import literal
from pipeline_assets.errors import ConfigurationError

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_PART = r"""([A-Z_][A-Z0-9_$]{0,254}|"([^"\0]|""){1,255}")"""
_NAME = re.compile(rf"{_PART}(\.{_PART}){{0,2}}")
_TYPE = re.compile(r"(VARCHAR|NUMBER|TIMESTAMP_NTZ|FLOAT|DATE|BOOLEAN|VARIANT)(\([0-9]{1,5}(,[0-9]{1,2})?\))?")


class Parameter(ABC):
    """A value for one placeholder of a statement."""

    @abstractmethod
    def sql(self) -> str:
        """The SQL text of the value."""


@dataclass(frozen=True)
class Name(Parameter):
    """An identifier, with its schema and database if need be; upper case, as Snowflake keeps those without quotes."""

    name: str

    def sql(self) -> str:
        name = self.name.upper()
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{self.name!r} is not a name of a Snowflake object.", remedy="Use letters, digits and _."
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
            raise ConfigurationError(f"{self.kind!r} is not a type that contracts may have.")
        return self.kind


@dataclass(frozen=True)
class Null(Parameter):
    """NULL."""

    def sql(self) -> str:
        return "NULL"


def render(sql: str, parameters: Mapping[str, Parameter]) -> str:
    """The statement with each placeholder replaced by its value.

    Raises:
        ConfigurationError: a placeholder has no value, or a value is not of its kind.
    """

    def fill(placeholder: re.Match[str]) -> str:
        if placeholder[1] not in parameters:
            raise ConfigurationError(f"Nothing was given for ${{{placeholder[1]}}}.")
        return parameters[placeholder[1]].sql()

    return _PLACEHOLDER.sub(fill, sql)
