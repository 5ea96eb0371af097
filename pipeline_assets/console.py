"""How commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline_assets.doctor.installation import CheckResult


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


def print_run(summary: dict[str, Any]) -> None:
    objects, rows = summary["objects"], summary["rows"]
    if not summary["success"]:
        say(f"{summary['pipeline']} failed after {summary['seconds']} s: {summary['error']}")
        say(f"No batch is half published; run again to finish. Run {summary['run_id']} in the UI has the details.")
        return
    taken = f"{objects['new']} new objects ({objects['loaded']} loaded, {objects['rejected']} rejected)"
    added_up = f"{rows['loaded']:,} loaded + {rows['superseded']:,} superseded + {rows['quarantined']:,} quarantined"
    print(
        f"{summary['pipeline']}: {taken}, {objects['known']} known; "
        f"{rows['read']:,} rows read = {added_up}; {summary['seconds']} s"
    )
    for note in summary.get("notes", []):
        print(f"  {note}")
    for check in summary["checks"]:
        if not check["passed"]:
            print(f"  {check['severity']}: {check['name']} on {check['asset']}")


def print_check_results(check_results: Iterable[CheckResult]) -> int:
    """A line each, as soon as it is known: some take seconds. Returns how many failed."""
    failed = 0
    for found in check_results:
        mark = "WARN" if found.warns else {True: "ok  ", False: "FAIL", None: "-   "}[found.passed]
        print(f"{mark} {found.what}: {'not tried: ' if found.passed is None else ''}{found.detail}", flush=True)
        failed += found.passed is False
    return failed


def say(text: str) -> None:
    print(text, file=sys.stderr)
