"""Two small contracts, and what it takes to land files for an engine session and to look at what became of them.

Results are read through `Session.write`, as a pipeline reads them, so that another engine can take the same tests.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from pipeline_assets.contracts import Column, Contract, Reference
from pipeline_assets.engine import BadRecord, Engine, FileOutcome, RejectPolicy, Session, SourceFile
from pipeline_assets.engine.duckdb.engine import DuckDBEngine
from pipeline_assets.lake import LandedObject

START = datetime(2026, 1, 1, tzinfo=UTC)
NEVER = RejectPolicy(share=1.0)
USUAL = RejectPolicy()
PEOPLE = Contract(
    "people",
    "PEOPLE",
    "1",
    "shop",
    "",
    "one row per person",
    "",
    (
        Column("ID", "string", "VARCHAR(8)", required=True, key=True, max_length=8),
        Column("NAME", "string", "VARCHAR(200)", max_length=200, classification="personal"),
        Column("NOTE", "string", "VARCHAR", keep_blanks=True),
    ),
)
VISITS = Contract(
    "visits",
    "VISITS",
    "1",
    "shop",
    "",
    "one row per visit",
    "",
    (
        Column("ID", "string", "VARCHAR(8)", required=True, key=True, max_length=8),
        Column("PERSON_ID", "string", "VARCHAR", required=True, reference=Reference("people", "ID", "orphan_visit")),
        Column("DAY", "date", "DATE", input_formats=("DD-MM-YYYY", "YYYY-MM-DD")),
        Column("AMOUNT", "number", "NUMBER(18,4)", required=True),
    ),
)


def landed(path: Path, content: str | bytes, *, days: int = 0, waiting: Sequence[tuple[str, int | None]] = ()):
    """Land bytes as one version of the object that the path names; `days` is how new it is."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    uri = f"lake://bucket/raw/{path.name}"
    return SourceFile(
        path, LandedObject(uri, "etag", path.stat().st_size, START + timedelta(days=days)), tuple(waiting)
    )


# The engine that sessions are opened on; `on_engine` puts another one on top for as long as a test needs it.
_ENGINES: list[Engine] = [DuckDBEngine(threads=2)]


@contextmanager
def on_engine(engine: Engine) -> Iterator[None]:
    """Have every session in the block opened on `engine`."""
    _ENGINES.append(engine)
    try:
        yield
    finally:
        _ENGINES.pop()


@contextmanager
def opened(policy: RejectPolicy = NEVER) -> Iterator[Session]:
    """A session with its own scratch folder."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        _ENGINES[-1].session(Path(scratch), policy) as session,
    ):
        yield session


def rows(session: Session, select: str) -> list[tuple]:
    """The rows of a SELECT, sorted."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        written = session.write(select, path, "parquet")
        counted = written.rows
        found = [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
    assert counted == len(found)
    return sorted(found, key=repr)


def reported(session: Session, name: str) -> list[tuple[int | None, str | None, str]]:
    """(line, raw, code) of the bad records, as a rule is judged by."""
    return [(bad.line, bad.raw, bad.code) for bad in session.bad_records(name)]


def read(
    contract: Contract, *files: SourceFile, policy: RejectPolicy = USUAL
) -> tuple[list[tuple], list[BadRecord], list[FileOutcome]]:
    """Read and deduplicate files that stand alone: (rows of contract columns, bad records, outcomes)."""
    with opened(policy) as session:
        session.read(contract.name, contract, files)
        session.deduplicate(contract.name)
        found = rows(session, f"SELECT {', '.join(contract.column_names)} FROM {contract.name}")
        return found, list(session.bad_records(contract.name)), session.outcomes(contract.name)
