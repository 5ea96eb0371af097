"""Files in every dialect that a contract can declare, with what must be found in them, worked out by hand or by model.

A case is a list of records: a tuple of values is written as the dialect has it, a text stands as it is, with `,` for
the delimiter.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine import SourceFile
from pipeline_assets_tests.support.engine_session import landed

LINES = Contract(
    "lines",
    "LINES",
    "1",
    "shop",
    "",
    "one row per line",
    "",
    (
        Column("ID", "string", "VARCHAR(8)", required=True, max_length=8),
        Column("NAME", "string", "VARCHAR(200)"),
        Column("NOTE", "string", "VARCHAR", keep_blanks=True),
    ),
)
NAMES = LINES.column_names
BOM = b"\xef\xbb\xbf"
DIALECTS = {
    "usual": Dialect(),
    "without header": Dialect(header=False),
    "semicolons": Dialect(delimiter=";"),
    "tabs without header": Dialect(header=False, delimiter="\t"),
    "backslashes": Dialect(escape="\\"),
    "backslashes without header": Dialect(header=False, escape="\\", delimiter="|", null_text="\\N"),
    "windows-1252": Dialect(encoding="windows-1252", null_text="n/a"),
    "latin-1 without header": Dialect(header=False, delimiter=";", encoding="latin-1", null_text="NULL"),
    "UTF-16": Dialect(encoding="utf-16"),
    "a delimiter of two bytes": Dialect(header=False, delimiter="¦"),
}
# Those whose files are read in parts; quotes or characters of the others cannot be counted from any byte on.
IN_PARTS = (
    *("usual", "without header", "semicolons", "tabs without header", "windows-1252"),
    "latin-1 without header",
)
CASES: dict[str, list[tuple[str, str, str] | str]] = {
    "plain": [("1", "Ada", "x"), ("2", "Bob", "")],
    "quotes": [("1", 'say "hi"', '"'), ("2", '""', 'a"b'), ("3", '5" disk', '\\"')],
    "bare quotes": ["1,5' disk,x", '2,5" disk,x', "3,a,b"],
    "line ends in quotes": [("1", "two\nlines", "x\n\ny"), ("too long a key", "after", ""), ("2", "a\nb", "")],
    "returns in quotes": [("1", "two\r\nlines", "\r\n"), ("too long a key", "after", ""), ("2", "a\rb", "")],
    "delimiters in quotes": [("1", ",;|\t¦", ";"), ("2", "|", "¦,¦")],
    "blank lines": ["", ("1", "Ada", "x"), "", "", ("", "no key", "x"), ""],
    "other counts of fields": [("1", "Ada", "x"), "2,few", "3,a,b,many", "4", ("5", "Bob", "x")],
    "other counts of fields over lines": [("1", "Ada", "x"), '2,"few\nfew"', ("5", "Bob", "x")],
    "an open quote": [("1", "Ada", "x"), '2,"open,x', ("3", "Cy", "y"), ("4", "D", "z")],
    "wrong quotes": ['1,"a"b,x', ("2", "Bob", "")],
    "backslashes": [("1", "C:\\new\\", "\\"), ("2", "\\N", "\\n\\t"), ("3", 'a\\"b', "\\\\")],
    "backslashes as they stand": ["1,C:\\new\\,\\", '2,\\N,"\\N"', '3,"a\\nb",x'],
    "blanks": [("  1 ", " Ada ", "  kept  "), ("2", "", " ")],
    "umlauts": [("1", "Zoë Müller", "naïve"), ("éééééééé", "eight", ""), ("ééééééééé", "nine", "")],
    "texts for nothing": [("1", "NULL", "\\N"), ("2", " n/a ", " NULL "), ("3", "null", "n/a"), "4,NULL,NULL"],
    "no value for the key": ["NULL,a,b", "\\N,a,b", "n/a,a,b", " NULL ,a,b"],
    "nothing": [],
}


@dataclass(frozen=True)
class Written:
    """A file and what is in it: good rows, and (line, raw text) of the bad ones."""

    content: bytes
    rows: list[tuple]
    bad: list[tuple[int, str]]


def contract(name: str) -> Contract:
    """A contract of its own for each dialect."""
    return replace(LINES, name=f"lines_{list(DIALECTS).index(name)}", dialect=DIALECTS[name])


def declared(dialect: Dialect, base: Contract = LINES) -> Contract:
    return replace(base, dialect=dialect)


def field(value: str, dialect: Dialect, quoted: bool) -> str:
    """A value as the dialect writes it."""
    if not quoted and not re.search(f'["\r\n{re.escape(dialect.delimiter or ",")}]', value):
        return value
    doubled = dialect.escape == '"'
    inner = value.replace('"', '""') if doubled else value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def record(values: Sequence[str], dialect: Dialect, quoted: bool = False) -> str:
    return (dialect.delimiter or ",").join(field(value, dialect, quoted) for value in values)


def written(
    case: Sequence[tuple | str], dialect: Dialect, *, end: str = "\n", final: bool = True, quoted: bool = False,
    uploaded: bool = False,
) -> Written:  # fmt: skip
    """A case as a file; `uploaded` puts a header where the dialect has none."""
    text = record(NAMES, dialect) + end if dialect.header else ""
    text += record([f" {name.lower()}" for name in NAMES], dialect) + end if uploaded else ""
    rows, bad = [], []
    for entry in case:
        line = len(re.findall("\r\n|\r|\n", text)) + 1
        raw = (
            record(entry, dialect, quoted)
            if isinstance(entry, tuple)
            else entry.replace(",", dialect.delimiter or ",").replace("\n", end)
        )
        text += raw + end
        values = entry if isinstance(entry, tuple) else AS_THEY_STAND.get(entry)
        if raw:
            row = values and typed(values, dialect)
            if row:
                rows.append(row)
            elif not values and len(re.findall("\r\n|\n", raw)):
                # A record over lines that is malformed costs each of its lines.
                bad += [(line + number, part) for number, part in enumerate(re.split("\r\n|\n", raw))]
            else:
                bad.append((line, raw))
    text = text if final else text.removesuffix(end)
    return Written(text.encode(dialect.encoding), rows, bad)


AS_THEY_STAND = {
    "1,5' disk,x": ("1", "5' disk", "x"),
    '2,5" disk,x': ("2", '5" disk', "x"),
    "3,a,b": ("3", "a", "b"),
    "1,C:\\new\\,\\": ("1", "C:\\new\\", "\\"),
    '2,\\N,"\\N"': ("2", "\\N", "\\N"),
    '3,"a\\nb",x': ("3", "a\\nb", "x"),
    "4,NULL,NULL": ("4", "NULL", "NULL"),
    "NULL,a,b": ("NULL", "a", "b"),
    "\\N,a,b": ("\\N", "a", "b"),
    "n/a,a,b": ("n/a", "a", "b"),
    " NULL ,a,b": (" NULL ", "a", "b"),
}


def typed(values: Sequence[str], dialect: Dialect) -> tuple | None:
    """What the contract makes of values, or None where it sets them aside."""
    key, name, note = values[0].strip(" "), values[1].strip(" "), values[2]
    found = tuple(None if value in ("", dialect.null_text) else value for value in (key, name, note))
    return None if found[0] is None or len(found[0]) > 8 else found


def variants(dialect: Dialect) -> Iterator[dict]:
    yield {}
    yield {"end": "\r\n", "quoted": True}
    yield {"final": False}
    if not dialect.header:
        yield {"uploaded": True, "end": "\r\n"}


def all_files(dialect: Dialect, folder: Path, only: int | None = None) -> dict[str, tuple[SourceFile, Written]]:
    """Every case in every form, or in one by turns from `only`; some with a byte order mark, some compressed."""
    found = {}
    folder.mkdir(parents=True, exist_ok=True)
    forms = list(enumerate(variants(dialect)))
    for turn, (name, case) in enumerate(CASES.items(), only or 0):
        for number, form in forms if only is None else [forms[turn % len(forms)]]:
            made = written(case, dialect, **form)
            content = made.content
            if dialect.encoding == "utf-8" and number != 1:
                content = BOM + content
            if number == 2 and len(name) % 2:
                content = gzip.compress(content)
            path = folder / f"{name.replace(' ', '-')}-{number}"
            found[path.name] = (landed(path, content), made)
    return found
