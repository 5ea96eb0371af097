"""A rollback: a connection that is gone hides no error, and an error of ours is never taken for a lost connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import duckdb
import pytest
import snowflake.connector.errors

from pipeline_assets.errors import ConfigurationError, WarehouseError
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets.warehouse.transaction import Transaction


def counted(warehouse: EmbeddedWarehouse) -> int:
    with warehouse.read_only() as transaction:
        return int(transaction.scalar("SELECT N FROM OPS.COUNTER"))


class _BrokenRollback(EmbeddedWarehouse):
    """Each ROLLBACK raises an error, and is not sent."""

    def __init__(self, sound: EmbeddedWarehouse, error: Exception) -> None:
        super().__init__(sound.root, sound.database, sound.patience, sound._stage_url)
        self.error = error

    @contextmanager
    def connect(self, buckets: Sequence[str] = ()) -> Iterator[Any]:
        with super().connect(buckets) as connection:
            yield _Rolling(connection, self.error)


class _Rolling:
    def __init__(self, connection: Any, error: Exception) -> None:
        self.connection, self.error = connection, error

    def cursor(self) -> Self:
        return self

    def execute(self, sql: str, *params: Any) -> Any:
        if sql == "ROLLBACK":
            raise self.error
        return self.connection.cursor().execute(sql, *params)


OURS = [KeyError("ours"), AttributeError("ours"), ValueError("ours"), OSError("ours"), ConfigurationError("ours")]
DRIVERS = [snowflake.connector.errors.OperationalError("250003"), duckdb.Error("gone"), duckdb.TransactionException("")]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", ["transaction", "read_only"])
def test_an_error_of_ours_in_a_rollback_is_not_kept_quiet(
    warehouse: EmbeddedWarehouse, way: str, error: Exception
) -> None:
    """Of the connection only its loss may be expected; anything else is a fault that somebody has to hear of."""
    first = RuntimeError("the first error")

    with pytest.raises(type(error), match="ours") as raised, getattr(_BrokenRollback(warehouse, error), way)():
        raise first

    assert raised.value.__context__ is first
    assert counted(warehouse) == 0


@pytest.mark.parametrize("error", DRIVERS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", ["transaction", "read_only"])
@pytest.mark.parametrize("first", [RuntimeError, WarehouseError, KeyboardInterrupt])
def test_a_connection_that_is_gone_hides_no_error(
    warehouse: EmbeddedWarehouse, way: str, error: Exception, first: type[BaseException]
) -> None:
    with pytest.raises(first, match="the first error"), getattr(_BrokenRollback(warehouse, error), way)():
        raise first("the first error")

    assert counted(warehouse) == 0


@pytest.mark.parametrize("error", DRIVERS, ids=lambda error: type(error).__name__)
def test_a_look_whose_connection_is_gone_at_the_end_has_been_a_look(
    warehouse: EmbeddedWarehouse, error: Exception
) -> None:
    with _BrokenRollback(warehouse, error).read_only() as transaction:
        assert transaction.scalar("SELECT N FROM OPS.COUNTER") == 0


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_an_error_of_ours_in_a_statement_stays_what_it_is(error: Exception) -> None:
    """Only what the driver says is the warehouse's refusal."""

    class Broken:
        def cursor(self) -> Any:
            raise error

    with pytest.raises(type(error), match="ours") as raised:
        Transaction(Broken()).execute("SELECT 1")

    assert raised.value is error
