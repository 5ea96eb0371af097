"""Write the elements of the lists in a column of a file as records of a CSV file.

An element in quarantine shows the line of that file. What is not a list of objects becomes one record with the
text in its last column; it breaks the contract and is quarantined.
"""

from __future__ import annotations

import ast
import csv
import json
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_assets.contracts import Contract
from pipeline_assets.engine.formats.csv.dialect import open_as_utf8
from pipeline_assets.engine.formats.csv.lenient_reader import read_leniently
from pipeline_assets.errors import RejectedObjectError, one_line
from pipeline_assets.pipeline.value import ListColumn

_NOTED = 3  # examples in a note
_LONGEST_LITERAL = 100_000  # characters


def write_list_records(
    path: Path, record: Contract, declared: ListColumn, element: Contract, target: Path
) -> list[str]:
    """Write the elements in a file of `record`s to `target`, with the columns of `element`.

    Returns:
        A note with examples if a record lists a key twice with different values, of which the last counts; else [].

    Raises:
        RejectedObjectError: the file cannot be read.
    """
    own = [name for name in element.column_names if name in record.column_names]
    of_element = [name for name in element.column_names if name not in own]
    last = _last_of_repeated(path, record)
    contradictory: dict[tuple, None] = {}
    with open(target, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # its line end is \r\n; if it were \n, values with \r would not be quoted
        writer.writerow(element.column_names)
        for number, fields in enumerate(_records(path, record)):
            if last.get(_key_hash(fields, record), number) != number or not all(map(fields.get, record.key)):
                continue  # a later record of its key counts, or it has none and is quarantined as a whole
            shared = {name: fields.get(name) for name in own}
            rows: dict[tuple, set[tuple]] = defaultdict(set)
            text, null_text = fields.get(declared.column), element.dialect.null_text
            for each in _elements(text, of_element, element.key, null_text):
                row = tuple((shared | each)[name] for name in element.column_names)
                key = tuple((shared | each)[name] for name in element.key)
                rows[key].add(row)
                writer.writerow(["" if value is None else value for value in row])
            contradictory.update(dict.fromkeys(key for key, values in rows.items() if len(values) > 1))
    if not contradictory:
        return []
    examples = "; ".join(one_line(", ".join(map(str, key)))[:80] for key in list(contradictory)[:_NOTED])
    return [
        f"{len(contradictory)} of the {element.name} are listed twice with different values, of which the last counts, "
        f"for example {examples}."
    ]


def _last_of_repeated(path: Path, record: Contract) -> dict[int, int]:
    """The number of the last record of each key that several records have, by the key's hash.

    It takes eight bytes of memory for each record.
    """
    import numpy as np

    hashes = array("q", (_key_hash(fields, record) for fields in _records(path, record)))
    numbers = np.frombuffer(hashes, dtype=np.int64) if hashes else np.empty(0, dtype=np.int64)
    values, counts = np.unique(numbers, return_counts=True)
    repeated = np.isin(numbers, values[counts > 1])
    return {int(numbers[number]): int(number) for number in np.flatnonzero(repeated)}


def _key_hash(fields: Mapping[str, str | None], record: Contract) -> int:
    return hash(tuple((fields.get(name) or "").strip() for name in record.key))


def _records(path: Path, contract: Contract) -> Iterator[dict[str, str | None]]:
    """The well-formed records of a file by column name, upper case, without those that a `reasonCode` quarantines."""
    limits = {column.name: column.accepted for column in contract.columns if column.reason_code and column.accepted}
    for fields in _every_record(path, contract):
        if all(not (text := (fields.get(name) or "").strip()) or text in limits[name] for name in limits):
            yield fields


def _every_record(path: Path, contract: Contract) -> Iterator[dict[str, str | None]]:
    if path.suffix.lower() == ".parquet":
        yield from _parquet_records(path)
        return
    plain, dialect = open_as_utf8(path, contract.dialect, contract.column_names, path.with_suffix(".utf8"))
    for record in read_leniently(plain, dialect):
        if record.fields is not None:
            yield dict(zip(dialect.header, record.fields, strict=True))


def _parquet_records(path: Path) -> Iterator[dict[str, str | None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield {
                        name.upper(): value
                        if value is None or isinstance(value, str)
                        else json.dumps(value, default=str)
                        for name, value in row.items()
                    }
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # of pages, texts and times in it
        raise RejectedObjectError(
            f"{path.name} is not a readable Parquet file ({str(error).splitlines()[0][:100]}).",
            code="unreadable_object",
            remedy="Deliver the archive again.",
        ) from None


def _elements(
    text: str | None, names: list[str], keys: Sequence[str], null_text: str | None
) -> Iterator[dict[str, str | None]]:
    """The elements of the list in a text; one without a value beside its key is left out."""
    if text is None or text.strip() in ("", null_text):
        return
    for parse in (json.loads, _python_literal):
        try:
            elements = [_texts(each, names) for each in _as_list(parse(text))]
            break
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the text is from outside
            continue
    else:
        yield dict.fromkeys(names[:-1]) | {names[-1]: text}
        return
    for texts in elements:
        if any(text and text.strip() not in ("", null_text) for name, text in texts.items() if name not in keys):
            yield texts


def _python_literal(text: str) -> Any:
    """What Python prints, without running it. Its parser takes 250 bytes for each character, so the text is limited."""
    if len(text) > _LONGEST_LITERAL:
        raise ValueError("too long")
    return ast.literal_eval(text.strip())


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _texts(element: Any, names: Sequence[str]) -> dict[str, str | None]:
    if not isinstance(element, Mapping):
        raise ValueError("not an object")
    values = {str(name).upper(): value for name, value in element.items()}
    return {name: _as_text(values.get(name)) for name in names}


def _as_text(value: Any) -> str | None:
    """Half a surrogate pair, which UTF-8 does not have, becomes its escape sequence."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
