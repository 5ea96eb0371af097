"""Read a sample file with the engine's readers, so that proposals match what a run will read."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pipeline_assets.errors import ConfigurationError, RejectedObjectError
from pipeline_assets.new.names import is_column_name

if TYPE_CHECKING:
    from pipeline_assets.engine.formats.csv.dialect import FileDialect

MOST_RECORDS = 100_000
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
Form = Literal["csv", "json", "parquet"]


class Number(str):
    """A JSON number, as written."""

    __slots__ = ()


@dataclass(frozen=True)
class Sample:
    """The records of a sample, at most `MOST_RECORDS`.

    A record maps header names (upper case), or JSON keys, to values; CSV values are text, and None where empty. Those
    of Parquet are the texts that a run reads; `types` are their types in DuckDB.
    """

    path: Path
    form: Form
    records: list[dict[str, Any]] = field(repr=False)
    whole: bool
    delimiter: str = ","
    types: dict[str, str] = field(default_factory=dict)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes of the files that the pipeline will read."""
        if self.form == "json":
            return (".json", ".ndjson", ".jsonl")
        if self.form == "parquet":
            return (".parquet",)
        return (".csv",) if self.delimiter == "," else (".csv", ".tsv", ".txt")


def read_sample(path: Path, form: str | None) -> Sample:
    """Read a file, compressed or not.

    Raises:
        ConfigurationError: it cannot be read as CSV, JSON or Parquet, or has no records.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder.", remedy="Name one file in it.")
    try:
        with TemporaryDirectory(prefix="sample-") as folder:
            return _read(path, Path(folder), form)
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file {path}.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except RejectedObjectError as error:
        raise ConfigurationError(f"{path.name}: {error.message}", remedy="Take another sample.") from None


def _read(path: Path, folder: Path, form: str | None) -> Sample:
    from pipeline_assets.engine.formats.csv.dialect import decompressed

    plain = decompressed(path, folder / "sample")
    detected = _form_of(path, plain)
    if form and form != detected:
        raise ConfigurationError(f"{path.name} looks like {_LOOKS[detected]}.", remedy=f"Leave --form {form} out.")
    delimiter = ","
    types: dict[str, str] = {}
    if detected == "csv":
        delimiter, records = _csv_records(path, plain)
    elif detected == "json":
        records = _json_records(plain, folder)
    else:
        types, records = _parquet_records(path, plain)
    if not records:
        raise ConfigurationError(f"{path.name} has no rows.", remedy="Take a sample with rows, the more the better.")
    is_whole = len(records) <= MOST_RECORDS
    return Sample(path, detected, records[:MOST_RECORDS], is_whole, delimiter, types)


_LOOKS = {
    "json": "JSON: it starts with [ or {",
    "csv": "CSV: it starts with neither [ nor {",
    "parquet": "Parquet: its name ends in .parquet",
}


def _form_of(path: Path, plain: Path) -> Form:
    from pipeline_assets.engine.formats.parquet.typed_file import PARQUET_NAME

    if PARQUET_NAME.search(path.name):
        return "parquet"
    _require_text(path, plain)
    return "json" if _starts_as_json(plain) else "csv"


def _require_text(path: Path, plain: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(plain, "rb") as file:
        try:
            while chunk := file.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            raise ConfigurationError(
                f"{path.name} is not UTF-8.",
                remedy="Save the sample as CSV or JSON in UTF-8, or as Parquet with a name in .parquet.",
            ) from None


def _starts_as_json(plain: Path) -> bool:
    with open(plain, encoding="utf-8-sig") as file:
        while chunk := file.read(1 << 16):
            if text := chunk.lstrip():
                return text[0] in "[{"
    return False


def _detected_dialect(plain: Path) -> FileDialect:
    """The dialect with the delimiter that splits the header into several column names; at most one does."""
    from pipeline_assets.contracts.model import Dialect
    from pipeline_assets.engine.formats.csv.dialect import detect_dialect

    for delimiter in DELIMITERS:
        try:
            dialect = detect_dialect(plain, Dialect(delimiter=delimiter))
        except RejectedObjectError as error:
            if error.code == "malformed_header":  # it splits the header, into names of which two are the same
                raise
            continue  # with this delimiter the quotes are wrong
        if len(dialect.header) > 1 and all(map(is_column_name, dialect.header)):
            return dialect
    return detect_dialect(plain)


def _csv_records(path: Path, plain: Path) -> tuple[str, list[dict[str, Any]]]:
    """The delimiter and the records."""
    from pipeline_assets.engine.formats.csv.lenient_reader import read_leniently

    dialect = _detected_dialect(plain)
    _require_column_names(path, dialect.header, f", separated by {', '.join(DELIMITERS.values())}")
    records = (record for record in read_leniently(plain, dialect) if record.fields is not None)
    return dialect.delimiter, [
        {name: text if text.strip(" ") else None for name, text in zip(dialect.header, record.fields, strict=True)}
        for record in islice(records, MOST_RECORDS + 1)
        if record.fields is not None
    ]


def _require_column_names(path: Path, header: Sequence[str], further: str = "") -> None:
    if invalid := [name for name in header if not is_column_name(name)]:
        raise ConfigurationError(
            f"{path.name}: the header names {', '.join(map(repr, invalid[:5]))}, which cannot be a column name.",
            remedy="Let its producer write names of letters, digits and _, a letter first, no reserved word of SQL"
            f"{further}.",
        )


def _parquet_records(path: Path, plain: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The types of the columns in DuckDB, and the records with the texts that a run reads."""
    import duckdb

    from pipeline_assets.engine.formats.parquet.record_sql import records_of, text_of
    from pipeline_assets.engine.formats.parquet.typed_file import TypedFileOpener

    with duckdb.connect() as connection:
        columns, _ = TypedFileOpener(connection).examine(plain, ())
        names = [column.name for column in columns]
        _require_column_names(path, names)
        texts = ", ".join(text_of(f"X{number}", column.type) for number, column in enumerate(columns))
        rows = connection.execute(
            f"SELECT {texts} FROM {records_of([plain], columns)} LIMIT {MOST_RECORDS + 1}"
        ).fetchall()
    filled = ([text if text and text.strip(" ") else None for text in row] for row in rows)
    return {column.name: column.type for column in columns}, [dict(zip(names, row, strict=True)) for row in filled]


def _json_records(plain: Path, folder: Path) -> list[dict[str, Any]]:
    import duckdb

    from pipeline_assets.engine.duckdb.json_reader import open_document
    from pipeline_assets.engine.formats.json.documents import parser_message
    from pipeline_assets.engine.formats.json.record_sql import scan

    opened = open_document(plain, folder / "sample.json", waiting=False)
    if opened is None:
        return []
    query = f"SELECT json::VARCHAR FROM {scan([opened[0]], opened[1])} LIMIT {MOST_RECORDS + 1}"
    try:
        with duckdb.connect() as connection:
            texts = connection.execute(query).fetchall()
    except duckdb.Error as error:
        reason = f"The JSON is malformed: {parser_message(error)}."
        raise RejectedObjectError(reason, code="unreadable_object") from None
    values = [_value(text) for (text,) in texts if text is not None]
    return [value for value in values if isinstance(value, dict)]


def _value(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=Number)
