"""The instance of fakesnow 0.12 that a process keeps in memory, and its connections to database files.

A process attaches a file only while it holds the lock on it, and what is not in the file is removed with it: the next
transaction finds what a new process would find.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts.ddl import literal
from pipeline_assets.warehouse.emulator import replaced

if TYPE_CHECKING:
    import pyarrow as pa
    from fakesnow.instance import FakeSnow

# The state of an instance that is not in the database file; a new process does not have it.
_STATE_IN_MEMORY = ("_fs_tables_ext", "_fs_columns_ext", "_fs_stages", "_fs_file_formats")
_FORGET_STATE = "; ".join(
    ["BEGIN", *(f"DELETE FROM _fs_global._fs_information_schema.{name}" for name in _STATE_IN_MEMORY), "COMMIT"]
)
_CHANGES_STATE = re.compile(r"\s*INSERT (?:OR REPLACE )?INTO _fs_global\.", re.IGNORECASE)
_STAGES = "_fs_global._fs_information_schema._fs_stages"
_idle: list[FakeSnow] = []  # at most one instance
_set_up: set[Path] = set()  # database files in which fakesnow has created its views and macros
_LOAD_HISTORY = "_fs_information_schema._fs_load_history"  # its comment says which statements set the file up


@contextmanager
def emulated_connector(root: Path, database: str) -> Iterator[None]:
    """Let the Snowflake connector connect to the database file below `root`, for as long as this is open.

    fakesnow needs 0.1 s to set an instance up, more than most transactions take. So a process keeps one in memory, for
    any number of databases, and attaches the file only while it holds the lock on it.
    """
    import duckdb
    import snowflake.connector
    from fakesnow.conn import FakeSnowflakeConnection

    file = root / f"{database}.db"
    instance = _idle.pop() if _idle else _new_instance()
    attached = False
    if file.exists():
        with suppress(duckdb.Error):  # fakesnow attaches it again when it connects, where errors become ours
            instance.duck_conn.execute(f"ATTACH {literal(str(file))} AS {database}")
            attached = file in _set_up or _is_set_up(instance, database)
            if not attached:
                instance.duck_conn.execute(f"DETACH {database}")
    connections: list[_Connection] = []

    def connect(**kwargs: Any) -> Any:
        connections.append(_Connection(instance.duck_conn.cursor()))
        return FakeSnowflakeConnection(
            connections[-1],  # type: ignore[arg-type]
            instance.results_cache,
            create_database=not attached,  # a new file, or one in which another version of fakesnow has its views
            create_schema=not attached,
            db_path=root,
            **kwargs,
        )

    try:
        with _own_answers(), replaced(snowflake.connector, "connect", connect):
            yield
    finally:
        try:
            if not attached:
                note = f"COMMENT ON TABLE {database}.{_LOAD_HISTORY} IS '{_set_up_digest(database)}'"
                instance.duck_conn.execute(note)
            instance.duck_conn.execute(f"DETACH {database}")
            if any(connection.changed_state for connection in connections):
                instance.duck_conn.execute(_FORGET_STATE)
            instance.results_cache.clear()
        except duckdb.Error:  # nothing was attached, or a connection was left open
            _set_up.discard(file)
            instance.duck_conn.close()
        else:
            _set_up.add(file)
            _close_idle()
            _idle.append(instance)


class _Connection:
    """fakesnow's connection to DuckDB, without the statements by which it makes the answers of `_own_answers`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._answer: pa.Table | None = None
        self.changed_state = False

    def create_stage(self, database: str, name: str, url: str) -> None:
        """Do what CREATE STAGE IF NOT EXISTS does, which takes fakesnow 8 ms. `name` has its schema."""
        schema, stage = name.split(".")
        self._connection.execute(
            f"INSERT OR IGNORE INTO {_STAGES} (database_name, schema_name, name, url) VALUES (?, ?, ?, ?)",
            (database, schema, stage, url),
        )
        self.changed_state = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, params: Any = None) -> _Connection:
        self._answer = sql.table if isinstance(sql, _Answer) else None
        if self._answer is None:
            self.changed_state = self.changed_state or bool(_CHANGES_STATE.match(sql))
            self._connection.execute(sql, params)
        return self

    def to_arrow_table(self) -> pa.Table:
        return self._connection.to_arrow_table() if self._answer is None else self._answer


class _Answer(str):
    """A SELECT of constants, and its result."""

    __slots__ = ("__dict__",)

    @cached_property
    def table(self) -> pa.Table:
        import pyarrow as pa

        values = {
            name: pa.array([text]) if text else pa.array([int(number)], pa.int32() if int(number) < 2**31 else None)
            for text, number, name in re.findall(r"(?:'([^']+)'|(\d+)) as '([^']+)'", self)
        }
        return pa.table(values)


class _Answers(Template):
    """The SELECTs by which fakesnow answers with a count."""

    def substitute(self, *, count: int) -> _Answer:  # type: ignore[override]
        return _Answer(super().substitute(count=count))


@contextmanager
def _own_answers() -> Iterator[None]:
    """Let `_Connection` answer statements without rows: DuckDB takes longer for the answer than for a small INSERT."""
    import fakesnow.cursor

    answers: dict[str, Any] = {"SQL_SUCCESS": _Answer(fakesnow.cursor.SQL_SUCCESS)}
    for name in ("SQL_INSERTED_ROWS", "SQL_UPDATED_ROWS", "SQL_DELETED_ROWS"):
        answers[name] = _Answers(vars(fakesnow.cursor)[name].template)
    with ExitStack() as patches:
        for name, answer in answers.items():
            patches.enter_context(replaced(fakesnow.cursor, name, answer))
        yield


def _is_set_up(instance: FakeSnow, database: str) -> bool:
    """Whether this version of fakesnow has created its views and macros in an attached file, in whatever process."""
    schema, table = _LOAD_HISTORY.split(".")
    noted = instance.duck_conn.execute(
        "SELECT comment FROM duckdb_tables() WHERE (database_name, schema_name, table_name) = (?, ?, ?)",
        (database, schema, table),
    ).fetchone()
    return noted == (_set_up_digest(database),)


def _set_up_digest(database: str) -> str:
    from fakesnow import info_schema, macros

    statements = info_schema.per_db_creation_sql(database) + macros.creation_sql(database)
    return blake2b(statements.encode(), digest_size=16).hexdigest()


def _new_instance() -> FakeSnow:
    from fakesnow.instance import FakeSnow

    return FakeSnow()


def _close_idle() -> None:
    while _idle:
        _idle.pop().duck_conn.close()


atexit.register(_close_idle)  # DuckDB complains of objects that are left when the interpreter ends
os.register_at_fork(before=_close_idle)  # a child has none of its threads, and would fail when it ends
