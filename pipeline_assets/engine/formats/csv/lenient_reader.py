"""Read any CSV file record by record and isolate the malformed ones, at about a million records per second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_assets.engine.formats.csv.dialect import FileDialect
from pipeline_assets.engine.formats.csv.record_parser import PushBack, parser


@dataclass(frozen=True)
class Record:
    """One record: `number` counts from 0 after the header, `line` from 1 with the header.

    `fields` is None when the record is malformed; `fault` is then the reason.
    """

    number: int
    line: int
    raw: str
    fields: tuple[str, ...] | None
    fault: str = ""


def read_leniently(path: Path, dialect: FileDialect) -> Iterator[Record]:
    """Every record of a file, malformed ones included, in constant memory."""
    one_record, width = parser(dialect.declared).one_record, len(dialect.header)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        lines = PushBack(text)
        number = -1
        while (line := lines.take()) is not None:
            start = lines.number
            if not line.strip("\r\n"):
                continue
            raw, fields, fault = one_record(line, lines, width)
            if number >= 0:
                yield Record(number, start - dialect.added, raw, fields, fault)
            number += 1


def find_records_leniently(path: Path, dialect: FileDialect, numbers: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """(line, raw, fault) of the records `numbers` of any file."""
    wanted = set(numbers)
    for record in read_leniently(path, dialect):
        if record.number in wanted:
            yield record.line, record.raw, record.fault
