"""`query`: one statement on the active warehouse, its rows in a format of choice."""

from __future__ import annotations

import csv
import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from pipeline_assets.commands.shared import open_platform, prepared_settings
from pipeline_assets.console import plain, print_table
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
    """Run one statement on the active warehouse."""
    with open_platform(prepared_settings()).warehouse.autocommit() as session:
        columns, rows = session.described(sql)
    if form is Format.json:
        if len(set(columns)) < len(columns) or any(len(row) != len(columns) for row in rows):
            raise ConfigurationError("Two columns have one name, which JSON cannot hold.", remedy="Name them with AS.")
        objects = [dict(zip(columns, map(plain, row), strict=True)) for row in rows]
        print(json.dumps(objects, ensure_ascii=False, allow_nan=False))
    elif form is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([["" if v is None else plain(v) for v in row] for row in rows])
    else:
        print_table(columns, rows)
