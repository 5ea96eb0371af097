"""Output of the commands: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import one_line

if TYPE_CHECKING:
    from pipeline_assets.doctor.installation import CheckResult


def plain(value: object) -> object:
    """A value for JSON and CSV: decimals stay exact, dates and times are ISO 8601, bytes hexadecimal."""
    if isinstance(value, Decimal):
        # Not str(), which writes 0E-10 for a zero with ten decimal places.
        return int(value) if value.as_tuple().exponent == 0 else f"{value:f}"
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


# As RFC 4180 requires; also what readers trim or skip unless it is quoted: outer spaces, a byte order mark.
_QUOTED = re.compile(r'[",\r\n\ufeff]|^\s|\s$|^$')


def csv_line(values: Sequence[object]) -> str:
    """A line of CSV: an empty field is NULL, `""` an empty text, which Python's csv module cannot write."""

    def field(value: object) -> str:
        if value is None:
            return ""
        text = str(plain(value))
        return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text

    return ",".join(map(field, values))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print every value whole: as a table or, if that is wider than the terminal, a line for each value of a record.

    Where there is no terminal, its width is taken as 200 characters. NULL is printed as NULL.
    """
    from rich.cells import cell_len  # some characters take two columns, some none

    def padded(text: str, width: int) -> str:
        return text + " " * (width - cell_len(text))

    names = [visible(name) for name in columns]
    records = [["NULL" if value is None else visible(str(plain(value))) for value in row] for row in rows]
    widths = [max(map(cell_len, cells)) for cells in zip(names, *records, strict=True)]
    terminal = shutil.get_terminal_size((200, 0)).columns
    if records and sum(widths) + 3 * len(widths) - 1 > terminal:
        width = max(*map(cell_len, names), len(f"━ {len(records)}"))
        for number, record in enumerate(records, 1):
            print(f"━━ {number} ".ljust(width + 2, "━") + "┯".ljust(8, "━"))
            for name, value in zip(names, record, strict=True):
                print(f" {padded(name, width)} │ {value}")
        return

    def line(cells: Sequence[str], separator: str) -> str:
        return separator.join(f" {padded(text, width)} " for text, width in zip(cells, widths, strict=True))

    print(line(names, "┃"), "╇".join("━" * (width + 2) for width in widths), sep="\n")
    for record in records:
        print(line(record, "│"))


_PICTURES = {chr(code): chr(0x2400 + code) for code in range(32)} | {"\x7f": "␡"}


def visible(text: str) -> str:
    """A text on one line: control characters as their Unicode pictures (␊ ␉), others that do not print as <U+202E>.

    A picture, or `<U+`, that the text itself contains is written as <U+…> too, so that no two texts look alike.
    """
    if text.isprintable() and text.isascii() and "<U+" not in text:
        return text
    text = text.replace("<U+", "<U+003C>U+")
    return "".join(
        _PICTURES.get(c) or (f"<U+{ord(c):04X}>" if not _prints(c) or c in _PICTURES.values() else c) for c in text
    )


def _prints(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"  # spaces, of any width


def print_run(summary: dict[str, Any], *, with_checks: bool = True) -> None:
    """Print the summary of a run: counts, notes, and the checks that did not pass, each with the next command."""
    objects, rows = summary["objects"], summary["rows"]
    if not summary["success"]:
        say(f"{summary['pipeline']} failed after {summary['seconds']} s: {summary['error']}")
        say(f"No batch is half published. Run {summary['run_id']} in the UI has the details.")
        return
    object_counts = f"{objects['new']} new objects ({objects['loaded']} loaded, {objects['rejected']} rejected)"
    row_counts = f"{rows['loaded']:,} loaded + {rows['superseded']:,} superseded + {rows['quarantined']:,} quarantined"
    print(
        f"{summary['pipeline']}: {object_counts}, {objects['known']} known; "
        f"{rows['read']:,} rows read = {row_counts}; {summary['seconds']} s"
    )
    for note in summary.get("notes", []):
        print(f"  {note}")
    if "released" in summary:
        print(f"  {summary['released']} records were released from quarantine and loaded")
    for check in summary["checks"] if with_checks else ():
        if not check["passed"]:
            print(f"  {_finding(check)}")
            if command := check.get("next_command"):
                print(f"    {command}")


def print_run_json(summary: dict[str, Any]) -> None:
    """Print the summary of a run as one JSON object, whose checks have no descriptions."""
    checks = [{name: value for name, value in c.items() if name != "description"} for c in summary["checks"]]
    print(json.dumps(summary | {"checks": checks}))


def _finding(check: dict[str, Any]) -> str:
    """One line about a check that did not pass."""
    description = f": {one_line(check['description'])}" if check.get("description") else ""
    return f"{check['severity']}: {check['name']} on {check['asset']}{description}"


# What a check finds in the samples, which are dirty on purpose.
_EXPECTED_IN_SAMPLES = {
    "unknown_columns": "columns that no contract has are kept as JSON in _RESCUED",
    "quarantine": "bad records wait in quarantine, each with its reason",
    "contradictory_lists": "a record lists a key with several values, of which the last counts",
    "rejected_objects": "a broken file was rejected whole, the others loaded",
    "lateness": "nothing has landed since an earlier demo",
}


def print_sample_findings(checks: Sequence[dict[str, Any]], others: Mapping[tuple[str, str], str | None]) -> None:
    """Print the checks of a demo: first findings that the dirty samples cause, then all others.

    `others` are the descriptions, by asset and check, of findings about objects that are not samples.
    """
    failed = [check for check in checks if not check["passed"]]
    expected = [
        check
        for check in failed
        if (check["asset"], check["name"]) not in others
        and (check["name"] in _EXPECTED_IN_SAMPLES or check["severity"] == "WARN")
    ]
    print(
        f"{len(checks)} checks: {len(checks) - len(failed)} passed, "
        f"{len(expected)} found what the samples contain on purpose, "
        f"{len(failed) - len(expected)} found something else."
    )
    for name in dict.fromkeys(check["name"] for check in expected):
        assets = ", ".join(check["asset"] for check in expected if check["name"] == name)
        print(
            f"  {name}: {_EXPECTED_IN_SAMPLES.get(name, 'a rule of a contract that real deliveries break')} ({assets})"
        )
    for check in failed:
        if check not in expected:
            description = others.get((check["asset"], check["name"]), check["description"])
            print(f"  {_finding(check | {'description': description})}")


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
