"""`query`: run one statement on the active warehouse and print its rows as a table, CSV or JSON.

No format changes, shifts or cuts off a value. In JSON decimals are texts, as most readers would round a number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from pipeline_assets.commands.shared import open_platform, prepared_settings
from pipeline_assets.console import csv_line, plain, print_table
from pipeline_assets.errors import ConfigurationError


class Format(StrEnum):
    """Output formats of `query`."""

    table = "table"
    csv = "csv"
    json = "json"


def query(
    sql: Annotated[str, typer.Argument(help="One statement of Snowflake SQL.")],
    form: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.table,
) -> None:
    """Run one statement on the active warehouse, with the rights of the pipelines.

    Any statement: DELETE, UPDATE and DROP are committed without asking. `run --reprocess` fills a table again from the
    files in the landing zones.
    """
    from pipeline_assets.warehouse.transaction import distinct

    try:
        sql = os.fsencode(sql).decode()  # the bytes as typed; Python decoded them by the locale
    except UnicodeDecodeError:
        raise ConfigurationError("The statement is not UTF-8.", remedy="Convert it, e.g. with iconv.") from None
    with open_platform(prepared_settings()).warehouse.autocommit() as session:
        columns, rows = session.described(sql)
    distinct(columns)
    print_rows(columns, rows, form)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[object]], form: Format) -> None:
    """Print rows to stdout; column names are distinct."""
    if form is Format.json:
        objects = [dict(zip(columns, map(plain, row), strict=True)) for row in rows]
        print(json.dumps(objects, ensure_ascii=False, allow_nan=False))
    elif form is Format.csv:
        for values in (columns, *rows):
            print(csv_line(values))
    else:
        print_table(columns, rows)
