"""Output of the commands: results to stdout, everything else to stderr."""

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
    """A value for JSON and CSV: decimals stay exact, dates and times are ISO 8601."""
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


def print_run(summary: dict[str, Any], *, with_checks: bool = True) -> None:
    """Print the summary of a run: counts, notes, and the checks that did not pass."""
    objects, rows = summary["objects"], summary["rows"]
    if not summary["success"]:
        say(f"{summary['pipeline']} failed after {summary['seconds']} s: {summary['error']}")
        say(f"No batch is half published; run again to finish. Run {summary['run_id']} in the UI has the details.")
        return
    object_counts = f"{objects['new']} new objects ({objects['loaded']} loaded, {objects['rejected']} rejected)"
    row_counts = f"{rows['loaded']:,} loaded + {rows['superseded']:,} superseded + {rows['quarantined']:,} quarantined"
    print(
        f"{summary['pipeline']}: {object_counts}, {objects['known']} known; "
        f"{rows['read']:,} rows read = {row_counts}; {summary['seconds']} s"
    )
    for note in summary.get("notes", []):
        print(f"  {note}")
    for check in summary["checks"] if with_checks else ():
        if not check["passed"]:
            print(f"  {check['severity']}: {check['name']} on {check['asset']}")


# What a check finds in the samples, which are dirty on purpose.
_EXPECTED_IN_SAMPLES = {
    "unknown_columns": "columns that no contract has are kept as JSON in _RESCUED",
    "quarantine": "bad records wait in quarantine, each with its reason",
    "rejected_objects": "a broken file was rejected whole, the others loaded",
    "lateness": "nothing has landed since an earlier demo",
}


def print_sample_findings(checks: Sequence[dict[str, Any]]) -> None:
    """Print the checks of a demo: what was to be found in the samples, apart from what was not."""
    failed = [check for check in checks if not check["passed"]]
    expected = [c for c in failed if c["name"] in _EXPECTED_IN_SAMPLES or c["severity"] == "WARN"]
    print(
        f"{len(checks)} checks: {len(checks) - len(failed)} passed, "
        f"{len(expected)} found what the samples contain on purpose, {len(failed) - len(expected)} found anything else."
    )
    for name in dict.fromkeys(check["name"] for check in expected):
        assets = ", ".join(check["asset"] for check in expected if check["name"] == name)
        print(
            f"  {name}: {_EXPECTED_IN_SAMPLES.get(name, 'a rule of a contract that real deliveries break')} ({assets})"
        )
    for check in failed:
        if check not in expected:
            print(f"  {check['severity']}: {check['name']} on {check['asset']}")


def print_check_results(check_results: Iterable[CheckResult]) -> int:
    """Print a line for each result as soon as it arrives; returns the number of failures."""
    failed = 0
    for result in check_results:
        mark = "WARN" if result.warns else {True: "ok  ", False: "FAIL", None: "-   "}[result.passed]
        print(f"{mark} {result.what}: {'not tried: ' if result.passed is None else ''}{result.detail}", flush=True)
        failed += result.passed is False
    return failed


def say(text: str) -> None:
    print(text, file=sys.stderr)
