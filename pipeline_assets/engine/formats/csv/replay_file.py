"""Files of records that wait in quarantine: written when they are to be read again, read like landed files.

They are always in UTF-8 and have a header, as columns of their object that the contract does not know are kept. The
records stand in them as they came, with the delimiter and the escapes of their source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine.formats.csv.record_parser import written_record


def waiting_dialect(declared: Dialect) -> Dialect:
    return replace(declared, header=True, encoding="utf-8")


def write_waiting(path: Path, columns: Sequence[str], records: Iterable[str], declared: Dialect) -> None:
    """Write records of one object; `columns` is the header that they stood under, empty for JSON."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(written_record(columns, declared))
        file.writelines(record + "\n" for record in records)
