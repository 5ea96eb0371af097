"""An embedded warehouse whose first connection is lost at a chosen statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline_assets.warehouse import EmbeddedWarehouse


class LossyWarehouse(EmbeddedWarehouse):
    """The first connection is lost at `statement`; those after it are sound.

    With `arrives` the statement is executed and only its reply gets lost.
    """

    def __init__(self, sound: EmbeddedWarehouse, statement: str, *, arrives: bool) -> None:
        super().__init__(sound.root, sound.database, sound.patience, sound._stage_url)
        self._statement, self._arrives, self._lossy = statement, arrives, True

    @contextmanager
    def connect(self, buckets: Any = ()) -> Iterator[Any]:
        lossy, self._lossy = self._lossy, False
        with super().connect(buckets) as connection:
            yield _Connection(connection, self._statement, self._arrives) if lossy else connection


class _Connection:
    def __init__(self, connection: Any, statement: str, arrives: bool) -> None:
        self._connection, self._statement, self._arrives = connection, statement, arrives

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection.cursor(), self._statement, self._arrives)


class _Cursor:
    def __init__(self, cursor: Any, statement: str, arrives: bool) -> None:
        self._cursor, self._statement, self._arrives = cursor, statement, arrives

    def execute(self, sql: str, *params: Any) -> Any:
        from snowflake.connector.errors import OperationalError

        if not sql.startswith(self._statement):
            return self._cursor.execute(sql, *params)
        if self._arrives:
            self._cursor.execute(sql, *params)
        raise OperationalError("250003: Failed to execute request: connection reset by peer")
