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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_assets.contracts import Contract
from pipeline_assets.engine.formats.csv.dialect import open_as_utf8
from pipeline_assets.engine.formats.csv.lenient_reader import read_leniently
from pipeline_assets.errors import RejectedObjectError, one_line
from pipeline_assets.pipeline.value import ListColumn

OTHER_VALUES = "_OTHER_VALUES"
_NOTED = 3  # examples in a note
_LONGEST_LITERAL = 100_000  # characters


def write_list_records(
    path: Path,
    record: Contract,
    declared: ListColumn,
    element: Contract,
    target: Path,
    bad_lines: Callable[[], Collection[int | None]],
) -> list[str]:
    """Write the elements in a file of `record`s to `target`, with the columns of `element`.

    If a record lists a key twice with different values, of which the last counts, its elements have a column
    `_OTHER_VALUES` with the others, which is kept in `_RESCUED`. `bad_lines` returns the lines of the records that
    break their contract; it is called only if several records have one key.

    Returns:
        A note with examples if a record lists a key twice with different values; else [].

    Raises:
        RejectedObjectError: the file cannot be read.
    """
    counting = _counting_of_repeated(path, record, bad_lines)
    contradictory = _write(path, record, declared, element, target, counting, with_others=False)
    if not contradictory:
        return []
    _write(path, record, declared, element, target, counting, with_others=True)
    examples = "; ".join(one_line(", ".join(map(str, key)))[:80] for key in list(contradictory)[:_NOTED])
    return [
        f"{len(contradictory)} of the {element.name} are listed twice with different values, of which the last counts, "
        f"for example {examples}."
    ]


def _write(
    path: Path,
    record: Contract,
    declared: ListColumn,
    element: Contract,
    target: Path,
    counting: Mapping[int, int],
    *,
    with_others: bool,
) -> list[tuple]:
    """Write the elements of the records that count; returns the keys that one record lists with different values."""
    own = [name for name in element.column_names if name in record.column_names]
    of_element = [name for name in element.column_names if name not in own]
    values = [name for name in of_element if name not in element.key]
    contradictory: dict[tuple, None] = {}
    with open(target, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # its line end is \r\n; if it were \n, values with \r would not be quoted
        writer.writerow([*element.column_names, *[OTHER_VALUES] * with_others])
        for line, fields in _records(path, record):
            if counting.get(_key_hash(fields, record), line) != line or not all(map(fields.get, record.key)):
                continue  # another record of its key counts, or it has none and is quarantined as a whole
            shared = {name: fields.get(name) for name in own}
            text, null_text = fields.get(declared.column), element.dialect.null_text
            elements = [shared | each for each in _elements(text, of_element, element.key, null_text)]
            listed: dict[tuple, dict[str, None]] = defaultdict(dict)  # the values of each key, in their order
            for each in elements:
                listed[_of(each, element.key)][_shown(each, values)] = None
            contradictory.update(dict.fromkeys(key for key, shown in listed.items() if len(shown) > 1))
            for each in elements:
                others = [shown for shown in listed[_of(each, element.key)] if shown != _shown(each, values)]
                row = _of(each, element.column_names) + ("; ".join(others),) * with_others
                writer.writerow(["" if value is None else value for value in row])
    return list(contradictory)


def _of(element: Mapping[str, str | None], names: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(element[name] for name in names)


def _shown(element: Mapping[str, str | None], names: Sequence[str]) -> str:
    return ", ".join(value or "" for value in _of(element, names))


def _counting_of_repeated(
    path: Path, record: Contract, bad_lines: Callable[[], Collection[int | None]]
) -> dict[int, int]:
    """By the hash of each key that several records have, the line of the one that counts: the last good one.

    If all are bad, it is the last: its elements wait in quarantine for it. It takes eight bytes of memory for each
    record.
    """
    import numpy as np

    hashes = array("q", (_key_hash(fields, record) for _, fields in _records(path, record)))
    numbers = np.frombuffer(hashes, dtype=np.int64) if hashes else np.empty(0, dtype=np.int64)
    values, counts = np.unique(numbers, return_counts=True)
    repeated = set(values[counts > 1].tolist())
    if not repeated:
        return {}
    bad, last, last_good = bad_lines(), {}, {}
    for line, fields in _records(path, record):
        if (key := _key_hash(fields, record)) in repeated:
            last[key] = line
            if line not in bad:
                last_good[key] = line
    return last | last_good


def _key_hash(fields: Mapping[str, str | None], record: Contract) -> int:
    return hash(tuple((fields.get(name) or "").strip() for name in record.key))


def _records(path: Path, contract: Contract) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The well-formed records of a file, without those that a `reasonCode` quarantines.

    With the line of each, as in `BadRecord`, and its columns in upper case.
    """
    limits = {column.name: column.accepted for column in contract.columns if column.reason_code and column.accepted}
    for line, fields in _every_record(path, contract):
        if all(not (text := (fields.get(name) or "").strip()) or text in limits[name] for name in limits):
            yield line, fields


def _every_record(path: Path, contract: Contract) -> Iterator[tuple[int, dict[str, str | None]]]:
    if path.suffix.lower() == ".parquet":
        yield from enumerate(_parquet_records(path), 1)
        return
    plain, dialect = open_as_utf8(path, contract.dialect, contract.column_names, path.with_suffix(".utf8"))
    for record in read_leniently(plain, dialect):
        if record.fields is not None:
            yield record.line, dict(zip(dialect.header, record.fields, strict=True))


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
