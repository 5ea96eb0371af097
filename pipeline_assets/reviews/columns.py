"""Columns of a source table as they are in the warehouse, learnt from its database or from a file that landed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceColumn:
    """A column. `source_type` is as its database writes it, or the Parquet type; `physical_type` is Snowflake's.

    `is_sized` says that the source declares a length or precision, which a later one may widen and not narrow.
    """

    name: str
    source_type: str
    physical_type: str
    nullable: bool = True
    is_sized: bool = True
