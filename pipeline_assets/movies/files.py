"""A file of movies (JSON, CSV, Parquet), or the answers of an API, read by DuckDB as the table `movies`.

A SELECT in DuckDB's SQL maps them to the 26 columns of a movie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline_assets.errors import ConfigurationError, one_line
from pipeline_assets.movies.columns import Row, row_builder
from pipeline_assets.movies.source import Snapshot, without_values

ROWS_AT_A_TIME = 5_000
# One record may be a long text with many lists, and records of one array have different keys and types.
_JSON = "read_json($path, sample_size = -1, maximum_object_size = 268435456, union_by_name = true)"
_READERS = {
    ".json": _JSON,
    ".jsonl": _JSON,
    ".ndjson": _JSON,
    ".csv": "read_csv($path, header = true, all_varchar = true)",
    ".parquet": "read_parquet($path)",
}
_READ_FILE = re.compile(r" in file a value,?")


def path_of(url: str) -> Path:
    """The path in a URL `file:///folder/movies.json`.

    Raises:
        ConfigurationError: the file does not exist, or its format is not one of those that can be read.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute():
        raise ConfigurationError(
            "PIPELINE_MOVIES_SOURCE_URL names no local file.", remedy="Write three slashes: file:///folder/movies.json."
        )
    if _format(path) not in _READERS:
        raise ConfigurationError(
            f"{path.name}: no file of movies has this ending.", remedy=f"Use one of {', '.join(_READERS)}, or with .gz."
        )
    if not path.is_file():
        raise ConfigurationError(
            f"The file {path} of PIPELINE_MOVIES_SOURCE_URL does not exist.", remedy="Correct the path."
        )
    return path


@contextmanager
def open_file(path: Path, select: str, *, memory_limit: str, scratch: Path) -> Iterator[Snapshot]:
    """A snapshot of a file; without SELECT all its columns, which must be columns of a movie.

    Raises:
        ConfigurationError: the file cannot be read, or the SELECT fails or yields other columns.
    """
    created_at = datetime.now(UTC)
    with selected(path, select, memory_limit=memory_limit, scratch=scratch) as rows:
        yield Snapshot(f"file:{path.name}", created_at, rows)


@contextmanager
def selected(path: Path, select: str, *, memory_limit: str, scratch: Path) -> Iterator[Iterator[Row]]:
    """The rows of a SELECT over a file as the table `movies`.

    Raises:
        ConfigurationError: as `open_file`.
    """
    import duckdb

    _require_whole(path)
    reader = _READERS[_format(path)].replace("$path", "'" + str(path).replace("'", "''") + "'")
    connection = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(scratch / "duckdb")})
    try:
        with _errors(path.name):
            connection.execute(f"CREATE VIEW movies AS SELECT * FROM {reader}")
            result = connection.execute(select or "SELECT * FROM movies")
        described = result.description or []
        build = row_builder([column[0] for column in described])
        json_columns = [at for at, column in enumerate(described) if str(column[1]) == "JSON"]

        def rows() -> Iterator[Row]:
            with _errors(path.name):
                while chunk := result.fetchmany(ROWS_AT_A_TIME):
                    for values in chunk:
                        yield build(_without_quotes(values, json_columns) if json_columns else values)

        yield rows()
    finally:
        connection.close()


@contextmanager
def _errors(name: str) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        # Later lines show the place in the SELECT, or values of the file.
        message = one_line(str(error).partition("\n")[0])[:300].rstrip(".!")
        if isinstance(error, duckdb.InvalidInputException | duckdb.IOException):
            raise ConfigurationError(
                f"The file {name} of movies cannot be read: {_READ_FILE.sub('', without_values(message))}.",
                remedy="Write it again in the format that its name ends with.",
            ) from None
        if not isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ParserException):
            message = without_values(message)
        raise ConfigurationError(
            f"The SELECT of movies over {name} fails: {message}.",
            remedy="Correct PIPELINE_MOVIES_SELECT; its table is named movies.",
        ) from None


def _without_quotes(values: tuple, json_columns: list[int]) -> tuple:
    """The values of a row, JSON strings as plain texts: DuckDB gives a column of texts and numbers the type JSON."""
    changed = list(values)
    for at in json_columns:
        if changed[at] is not None and isinstance(parsed := json.loads(changed[at]), str):
            changed[at] = parsed
    return tuple(changed)


def _format(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _require_whole(path: Path) -> None:
    """Refuse a JSON array that was cut after a comma, which DuckDB reads without an error."""
    if path.suffix.lower() != ".json":
        return
    with path.open("rb") as file:
        first = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        file.seek(max(0, path.stat().st_size - 4096))
        last = file.read().rstrip()[-1:]
    if first == b"[" and last != b"]":
        raise ConfigurationError(f"{path.name} is cut off: its JSON array has no end.", remedy="Copy the file again.")
