"""How commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline_assets.doctor.installation import Finding


def plain(value: object) -> object:
    """A value for JSON and CSV: decimals stay exact, moments are ISO 8601."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else str(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(plain(value)) for value in row), style=None)
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def print_run(answer: dict[str, Any]) -> None:
    objects, rows = answer["objects"], answer["rows"]
    if not answer["success"]:
        say(f"{answer['pipeline']} failed after {answer['seconds']} s: {answer['error']}")
        say(f"No batch is half published; run again to finish. Run {answer['run_id']} in the UI has the details.")
        return
    taken = f"{objects['new']} new objects ({objects['loaded']} loaded, {objects['rejected']} rejected)"
    added_up = f"{rows['loaded']:,} loaded + {rows['superseded']:,} superseded + {rows['quarantined']:,} quarantined"
    print(
        f"{answer['pipeline']}: {taken}, {objects['known']} known; "
        f"{rows['read']:,} rows read = {added_up}; {answer['seconds']} s"
    )
    for note in answer.get("notes", []):
        print(f"  {note}")
    for check in answer["checks"]:
        if not check["passed"]:
            print(f"  {check['severity']}: {check['name']} on {check['asset']}")


def print_findings(findings: Iterable[Finding]) -> int:
    """A line each, as soon as it is known: some take seconds. Returns how many failed."""
    failed = 0
    for found in findings:
        mark = "WARN" if found.warns else {True: "ok  ", False: "FAIL", None: "-   "}[found.passed]
        print(f"{mark} {found.what}: {'not tried: ' if found.passed is None else ''}{found.detail}", flush=True)
        failed += found.passed is False
    return failed


def say(text: str) -> None:
    print(text, file=sys.stderr)
