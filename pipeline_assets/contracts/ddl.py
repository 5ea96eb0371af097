"""Snowflake DDL derived from contracts: tables, and the staging tables that COPY fills.

A staging table has the same columns without constraints: a later statement checks them with a better message, so COPY
must not fail on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline_assets.contracts.model import Column, Contract
from pipeline_assets.contracts.names import sql_name, sql_names

PROVENANCE = {
    "_BATCH_ID": ("VARCHAR(64)", "Batch that wrote the row; see OPS.BATCHES."),
    "_SOURCE_URI": ("VARCHAR", "Where the row came from: an object or, for a mart, the tables that it reads."),
    "_SOURCE_MODIFIED_AT": (
        "TIMESTAMP_NTZ(6)",
        "When that source was last modified, by its store's clock, UTC.",
    ),
    "_LOADED_AT": ("TIMESTAMP_NTZ(6)", "When the batch was published, UTC."),
    "_RESCUED": ("VARIANT", "Columns that the contract does not know, as JSON."),
}


@dataclass(frozen=True)
class Table:
    """The definition of a warehouse table: (name, type, not null, comment) per column, in order."""

    schema: str
    name: str
    comment: str
    columns: tuple[tuple[str, str, bool, str], ...]
    key: tuple[str, ...] = ()

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{sql_name(self.name)}"

    def create(self) -> str:
        """The statement that creates the table unless it exists."""
        return f"CREATE TABLE IF NOT EXISTS {self._definition()} COMMENT = {literal(self.comment)}"

    def create_anew(self) -> str:
        """The statement that replaces a table without rows; grants stay, masks and tags of columns do not."""
        return f"CREATE OR REPLACE TABLE {self._definition()} COPY GRANTS COMMENT = {literal(self.comment)}"

    def _definition(self) -> str:
        lines = [
            f"    {sql_name(name)} {kind}{' NOT NULL' if required else ''} COMMENT {literal(comment)}"
            for name, kind, required, comment in self.columns
        ]
        if self.key:
            lines.append(f"    PRIMARY KEY ({sql_names(self.key)})")
        body = ",\n".join(lines)
        return f"{self.qualified} (\n{body}\n)"


@dataclass(frozen=True)
class View:
    """The definition of a warehouse view: (name, comment) per column, in the order of its SELECT."""

    schema: str
    name: str
    comment: str
    columns: tuple[tuple[str, str], ...]
    select: str

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{sql_name(self.name)}"

    def create(self) -> str:
        """The statement that creates the view, or replaces it; grants stay."""
        columns = ",\n".join(f"    {sql_name(name)} COMMENT {literal(comment)}" for name, comment in self.columns)
        return (
            f"CREATE OR REPLACE VIEW {self.qualified} (\n{columns}\n) COPY GRANTS COMMENT = {literal(self.comment)} "
            f"AS\n{self.select}"
        )


def literal(text: str) -> str:
    """Quote a string for Snowflake, where a backslash escapes too."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


_EXACT_TEXTS = {
    "string": "{name}",
    "date": "TO_VARCHAR(DATEDIFF(DAY, TO_DATE('1970-01-01'), {name}))",
    "timestamp": "TO_VARCHAR(DATE_PART(EPOCH_MICROSECOND, {name}))",
}


def exact_text(column: Column) -> str:
    """The value of a column as text, different for different values on every engine and in every session.

    Not for floats, which have no exact text.
    """
    return _EXACT_TEXTS.get(column.logical_type, "TO_VARCHAR({name})").replace("{name}", sql_name(column.name))


def null_columns(contract: Contract) -> str:
    """The columns of a contract as NULLs of their types, for a SELECT."""
    return ", ".join(f"CAST(NULL AS {c.physical_type}) AS {sql_name(c.name)}" for c in contract.columns)


KEEPS_SUPERSEDED = ("append", "append_distinct")  # write modes of tables that have every accepted record
SOURCE_ETAG = ("_SOURCE_ETAG", "VARCHAR", False, "Version of that source.")


# What identifies a row of a table with write mode append_distinct.
DISTINCT_ROW = (
    ("_ROW_HASH", "VARCHAR(32)", False, "MD5 of the values of the row, floats left out."),
    ("_OCCURRENCE", "NUMBER(18,0)", False, "Number of the row among the equal ones of an object, from 1."),
)


def distinct_key(contract: Contract) -> tuple[str, ...]:
    """The columns that identify a row by its values; floats are compared themselves, as they have no exact text."""
    return (*(name for name, *_ in DISTINCT_ROW), *(column.name for column in contract.columns if column.is_float))


def observation_key(contract: Contract) -> tuple[str, ...]:
    """The columns that identify a row of an appended table, if its contract has a key.

    The time is one of them: bytes that are put back at a key are the same object, and observed again.
    """
    return (*contract.key, "_SOURCE_URI", "_SOURCE_ETAG", "_SOURCE_MODIFIED_AT") if contract.key else ()


def table_for_write_mode(contract: Contract, write: str = "upsert") -> Table:
    """The table that analysts query, for a write mode; appended rows are not identified by a key."""
    table = target_table(contract)
    if write == "append":
        return replace(table, columns=(*table.columns, SOURCE_ETAG), key=())
    if write == "append_distinct":
        return replace(table, columns=(*table.columns, *DISTINCT_ROW), key=())
    return table


def target_table(contract: Contract) -> Table:
    """The table that analysts query, with a row per key."""
    columns = [(c.name, c.physical_type, c.required, c.description) for c in contract.columns]
    columns += [(name, kind, False, comment) for name, (kind, comment) in PROVENANCE.items()]
    return Table(
        contract.domain.upper(),
        contract.table,
        contract.grain or contract.description,
        tuple(columns),
        contract.key,
    )


def view_of(contract: Contract, select: str) -> View:
    """The view of a contract over a SELECT of its columns, in any order."""
    return View(
        contract.domain.upper(),
        contract.table,
        contract.grain or contract.description,
        tuple((column.name, column.description) for column in contract.columns),
        f"SELECT {sql_names(contract.column_names)} FROM (\n{select}\n) AS MADE",
    )


def staging_table(contract: Contract, write: str = "upsert") -> Table:
    """The table that COPY fills with the rows of one batch, for the statements of the same transaction."""
    columns = [(c.name, c.physical_type, False, "") for c in contract.columns]
    columns += [("_SOURCE_URI", "VARCHAR", False, ""), ("_SOURCE_MODIFIED_AT", "TIMESTAMP_NTZ(6)", False, "")]
    columns += [("_RESCUED", "VARCHAR", False, "")]
    columns += [SOURCE_ETAG] if write in KEEPS_SUPERSEDED else []
    name = f"STAGE_{contract.domain}_{contract.name}".upper()
    return Table("OPS", name, f"Rows of one batch on their way to {contract.table}.", tuple(columns))
