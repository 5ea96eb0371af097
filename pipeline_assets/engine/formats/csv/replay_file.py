"""Files of quarantined records that are replayed; they are read like landed files.

They are always UTF-8 and have a header, because columns of their object that are not in the contract are kept. The
records are written unchanged, with the delimiter and the escapes of their source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine.formats.csv.record_parser import written_record


def replay_dialect(declared: Dialect) -> Dialect:
    return replace(declared, header=True, encoding="utf-8")


def write_replay_file(path: Path, columns: Sequence[str], records: Iterable[str], declared: Dialect) -> None:
    """Write records of one object; `columns` is the header of their file, empty for JSON."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(written_record(columns, declared))
        file.writelines(record + "\n" for record in records)
