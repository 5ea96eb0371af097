"""Units of work: all or nothing, closed whatever happens, and no kinder than Snowflake."""

# ruff: noqa: PT012 - what is expected to raise is a transaction with statements in it

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts.ddl import Table
from pipeline_assets.errors import ConfigurationError, WarehouseBusyError, WarehouseError
from pipeline_assets.lake import LocalLake
from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets.warehouse.transaction import COPY_FILES_LIMIT, Transaction
from pipeline_assets_tests.support.lost_connections import LossyWarehouse
from pipeline_assets_tests.support.shop_warehouse import BUCKET, COUNTER
from pipeline_assets_tests.support.warehouse_fixtures import open_warehouse


@pytest.fixture
def counter(warehouse: EmbeddedWarehouse) -> EmbeddedWarehouse:
    """A warehouse with one row, N = 0, in OPS.COUNTER."""
    return warehouse


def counted(warehouse: EmbeddedWarehouse) -> int:
    with warehouse.read_only() as transaction:
        return int(transaction.scalar("SELECT N FROM OPS.COUNTER"))


def is_free(warehouse: EmbeddedWarehouse) -> bool:
    """Whether the next process could open the warehouse at once."""
    lock = FileLock(warehouse.root / ".lock")
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        return False
    lock.release()
    return True


# --- transactions ------------------------------------------------------------------------------------------


def test_a_unit_is_committed_at_its_end(counter: EmbeddedWarehouse) -> None:
    with counter.transaction() as transaction:
        assert transaction.execute("UPDATE OPS.COUNTER SET N = %s", (7,)) == 1
        assert not is_free(counter)

    assert is_free(counter)
    assert counted(counter) == 7


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, WarehouseError, SystemExit])
def test_a_body_that_raises_is_rolled_back_and_its_connection_closed(
    counter: EmbeddedWarehouse, error: type[BaseException]
) -> None:
    """dagster_snowflake's own context manager (0.29.27) does neither."""
    with pytest.raises(error), counter.transaction() as transaction:
        transaction.execute("UPDATE OPS.COUNTER SET N = 7")
        raise error("boom")

    with pytest.raises(WarehouseError, match=r"[Cc]losed"):
        transaction.rows("SELECT 1")
    assert is_free(counter)
    assert counted(counter) == 0


def test_a_statement_that_fails_undoes_those_before_it(counter: EmbeddedWarehouse) -> None:
    with (
        pytest.raises(WarehouseError, match=r"^The warehouse refused `SELECT \* FROM OPS\.ABSENT`") as refused,
        counter.transaction() as transaction,
    ):
        transaction.execute("UPDATE OPS.COUNTER SET N = 7")
        transaction.rows("SELECT * FROM OPS.ABSENT")

    assert "\n" not in str(refused.value)
    assert counted(counter) == 0


def test_a_look_leaves_no_trace(counter: EmbeddedWarehouse) -> None:
    with counter.read_only() as transaction:
        transaction.execute("UPDATE OPS.COUNTER SET N = 7")
        assert transaction.scalar("SELECT N FROM OPS.COUNTER") == 7

    assert counted(counter) == 0


def test_a_unit_inside_another_is_refused_instead_of_waiting_for_itself(counter: EmbeddedWarehouse) -> None:
    with pytest.raises(WarehouseError, match="inside another one"), counter.transaction(), counter.read_only():
        pass

    assert counted(counter) == 0


class _Recorder:
    """A connection that keeps what it is sent and answers with one row, as COPY of one file does."""

    def __init__(self) -> None:
        self.executed: list[str] = []

    def cursor(self) -> _Recorder:
        return self

    def execute(self, sql: str, values: Sequence[str] = ()) -> _Recorder:
        self.executed.append(sql)
        return self

    def fetchall(self) -> list[tuple[str, str, int, int]]:
        return [("1.parquet", "LOADED", 1, 1)]


# --- what Snowflake would do -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE OPS.X (A NUMBER(1,0))",
        "create temporary table OPS.X (A NUMBER(1,0))",
        "-- a comment first\nCREATE OR REPLACE TABLE OPS.COUNTER AS SELECT 1 AS N",
        "ALTER TABLE OPS.COUNTER ADD COLUMN X NUMBER(1,0)",
        "DROP TABLE OPS.COUNTER",
        "UNDROP TABLE OPS.COUNTER",
        "TRUNCATE TABLE OPS.COUNTER",
        "/* a comment */ TRUNCATE OPS.COUNTER;",
        "COMMENT ON TABLE OPS.COUNTER IS 'x'",
        "GRANT SELECT ON TABLE OPS.COUNTER TO ROLE X",
        "REVOKE SELECT ON TABLE OPS.COUNTER FROM ROLE X",
        "EXECUTE IMMEDIATE 'DROP TABLE OPS.COUNTER'",
        "CALL A_PROCEDURE()",
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "ROLLBACK",
    ],
)
def test_a_statement_that_would_end_the_transaction_is_not_even_sent(sql: str) -> None:
    """The stand-in would keep the transaction; Snowflake would commit half of it."""
    connection = _Recorder()

    with pytest.raises(WarehouseError, match="inside a transaction") as refused:
        Transaction(connection).execute(sql)

    assert refused.value.remedy
    assert connection.executed == []


def test_ddl_inside_a_unit_commits_nothing(counter: EmbeddedWarehouse) -> None:
    with pytest.raises(WarehouseError, match="inside a transaction"), counter.transaction() as transaction:
        transaction.execute("UPDATE OPS.COUNTER SET N = 7")
        transaction.execute("CREATE TABLE OPS.X (A NUMBER(1,0))")

    assert counted(counter) == 0
    with pytest.raises(WarehouseError, match=r"OPS\.X|X does not exist"), counter.read_only() as transaction:
        transaction.rows("SELECT * FROM OPS.X")


def test_ddl_is_run_between_units(counter: EmbeddedWarehouse) -> None:
    with counter.autocommit() as session:
        session.execute("TRUNCATE TABLE OPS.COUNTER")

    with counter.read_only() as transaction:
        assert transaction.scalar("SELECT COUNT(*) FROM OPS.COUNTER") == 0


def test_several_statements_in_one_call_are_refused(counter: EmbeddedWarehouse) -> None:
    """FAULTS 31."""
    with pytest.raises(ConfigurationError, match="One statement at a time"), counter.transaction() as transaction:
        transaction.execute("UPDATE OPS.COUNTER SET N = 7; DROP TABLE OPS.COUNTER")

    assert counted(counter) == 0


def test_data_is_never_sql(counter: EmbeddedWarehouse) -> None:
    """FAULTS 31."""
    nasty = "'; DROP TABLE OPS.COUNTER; -- \\' %s"

    with counter.read_only() as transaction:
        assert transaction.scalar("SELECT %s", (nasty,)) == nasty
        assert transaction.scalar("SELECT N FROM OPS.COUNTER") == 0


def test_statements_that_ran_are_kept_for_the_metadata(counter: EmbeddedWarehouse) -> None:
    with counter.read_only() as transaction:
        transaction.rows("SELECT 1 AS ONE")
        transaction.scalar("SELECT 2 AS TWO")

    assert transaction.statements == ["SELECT 1 AS ONE", "SELECT 2 AS TWO"]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.decimals(min_value=-(10**13), max_value=10**13, places=4, allow_nan=False), min_size=1, max_size=8))
def test_a_sum_of_money_is_exact(money: EmbeddedWarehouse, amounts: list[Decimal]) -> None:
    """fakesnow 0.12 sums in DOUBLE: 67406.55999999223."""
    with money.read_only() as transaction:
        values = ", ".join(f"({amount:f})" for amount in amounts)
        transaction.execute(f"INSERT INTO OPS.MONEY (AMOUNT) VALUES {values}")
        assert transaction.scalar("SELECT SUM(AMOUNT) FROM OPS.MONEY") == sum(amounts)


@pytest.fixture(scope="module")
def money(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedWarehouse:
    root = tmp_path_factory.mktemp("money")
    warehouse = open_warehouse(root, LocalLake(root))
    warehouse.prepare([Table("OPS", "MONEY", "", (("AMOUNT", "NUMBER(18,4)", False, ""),))])
    return warehouse


def test_sql_that_the_emulator_cannot_rewrite_is_refused_in_one_line(money: EmbeddedWarehouse) -> None:
    """fakesnow 0.12 asserts that an object is made of pairs; Snowflake makes one of all columns."""
    with money.read_only() as transaction, pytest.raises(WarehouseError, match="cannot run this SQL") as raised:
        transaction.rows("SELECT {*} FROM OPS.MONEY")
    assert "\n" not in str(raised.value)


def test_aggregates_have_the_names_that_snowflake_gives_them(money: EmbeddedWarehouse) -> None:
    with money.read_only() as transaction:
        names, rows = transaction.described("SELECT COUNT(*), SUM(AMOUNT), COUNT(*) AS HOW_MANY FROM OPS.MONEY")

    assert names == ["COUNT(*)", "SUM(AMOUNT)", "HOW_MANY"]
    assert rows == [(0, None, 0)]


# --- files -------------------------------------------------------------------------------------------------


def test_copy_counts_what_it_loaded_from_each_file(warehouse: EmbeddedWarehouse, shop_lake: LocalLake) -> None:
    keys = []
    for number, rows in enumerate((3, 0, 2)):
        key = f"staging/it's {number}.parquet"
        path = shop_lake.root / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"SALE_ID": ["k"] * rows, "SHOP": ["v"] * rows}), path)
        keys.append(key)

    with warehouse.read_only([BUCKET]) as transaction:
        loaded = transaction.copy("OPS.STAGE_SHOP_SALES", warehouse.stage(BUCKET), keys)
        assert loaded == transaction.scalar("SELECT COUNT(*) FROM OPS.STAGE_SHOP_SALES") == 5


def test_copy_names_no_more_files_at_once_than_snowflake_takes() -> None:
    recorder = _Recorder()

    loaded = Transaction(recorder).copy("T", "S", [f"{n}.parquet" for n in range(2 * COPY_FILES_LIMIT + 1)])

    assert [sql.count("%s") for sql in recorder.executed] == [COPY_FILES_LIMIT, COPY_FILES_LIMIT, 1]
    assert loaded == 3


def test_rows_come_out_as_parquet_of_the_asked_schema(counter: EmbeddedWarehouse, tmp_path: Path) -> None:
    schema = pa.schema([("NAME", pa.string()), ("N", pa.decimal128(38, 0))])

    with counter.read_only() as transaction:
        written = transaction.to_parquet("SELECT N, 'x' AS NAME FROM OPS.COUNTER", schema, tmp_path / "out.parquet")

    table = pq.read_table(tmp_path / "out.parquet")
    assert written == 1
    assert table.schema == schema
    assert table.to_pylist() == [{"NAME": "x", "N": Decimal(0)}]


# --- preparing ---------------------------------------------------------------------------------------------


def columns(warehouse: EmbeddedWarehouse, table: str) -> list[str]:
    with warehouse.read_only() as transaction:
        return transaction.described(f"SELECT * FROM {table} LIMIT 0")[0]


def test_preparing_creates_what_is_missing(warehouse: EmbeddedWarehouse) -> None:
    warehouse.prepare([Table("NEW_SCHEMA", "THINGS", "It's new.", (("A", "VARCHAR", True, "it's"),), ("A",))])

    assert columns(warehouse, "NEW_SCHEMA.THINGS") == ["A"]


def test_preparing_again_keeps_the_rows_and_adds_the_columns_a_contract_gained(counter: EmbeddedWarehouse) -> None:
    gained = Table("OPS", "COUNTER", "", (*COUNTER.columns, ("LABEL", "VARCHAR(8)", True, "")))

    counter.prepare([COUNTER])
    counter.prepare([gained])
    counter.prepare([gained])

    assert columns(counter, "OPS.COUNTER") == ["N", "LABEL"]
    assert counted(counter) == 0


def test_a_column_that_a_contract_lost_keeps_its_data(counter: EmbeddedWarehouse) -> None:
    counter.prepare([Table("OPS", "COUNTER", "", (("OTHER", "VARCHAR", False, ""),))])

    assert columns(counter, "OPS.COUNTER") == ["N", "OTHER"]
    assert counted(counter) == 0


def test_a_failing_existence_check_creates_nothing(counter: EmbeddedWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 24: nothing is re-created over data because a check failed for a moment."""
    executed: list[str] = []

    def fails(self: Transaction, sql: str, params: object = None) -> list[tuple]:
        raise WarehouseError("INFORMATION_SCHEMA does not answer.")

    monkeypatch.setattr(Transaction, "rows", fails)
    monkeypatch.setattr(Transaction, "execute", lambda self, sql, params=None: executed.append(sql))

    with pytest.raises(WarehouseError, match="does not answer"):
        counter.prepare([COUNTER, Table("NEW_SCHEMA", "THINGS", "", (("A", "VARCHAR", False, ""),))])

    assert executed == []


# --- processes ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def writers() -> Iterator[subprocess.Popen[str]]:
    """A process that forks others, see `writers.py`."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "pipeline_assets_tests.support.concurrent_writers"],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def order(writers: subprocess.Popen[str], *words: object) -> str:
    assert writers.stdin is not None
    assert writers.stdout is not None
    writers.stdin.write(" ".join(map(str, words)) + "\n")
    return writers.stdout.readline().strip()


def test_processes_that_write_at_once_wait_for_each_other(
    counter: EmbeddedWarehouse, writers: subprocess.Popen[str]
) -> None:
    """FAULTS 19: no update is lost."""
    assert order(writers, "count", counter.root, 4, 5) == "0 0 0 0"

    assert counted(counter) == 20


def test_a_process_killed_inside_a_unit_leaves_the_old_state_and_a_free_lock(
    counter: EmbeddedWarehouse, writers: subprocess.Popen[str]
) -> None:
    """FAULTS 1; and while it lives, another process is told for how long it has waited and what to do."""
    holder = int(order(writers, "hold", counter.root))
    impatient = open_warehouse(counter.root, LocalLake(counter.root), patience=0.2)
    try:
        with pytest.raises(WarehouseBusyError, match=r"locked for 0\.2 seconds") as busy, impatient.transaction():
            pass
    finally:
        os.kill(holder, signal.SIGKILL)
    assert "PIPELINE_WAREHOUSE_PATIENCE" in busy.value.remedy
    assert busy.value.transient

    assert counted(counter) == 0
    assert is_free(counter)


# --- lost connections --------------------------------------------------------------------------------------


def test_a_connection_lost_before_the_commit_leaves_the_old_state(counter: EmbeddedWarehouse) -> None:
    with (
        pytest.raises(WarehouseError, match="refused `COMMIT`: 250003"),
        LossyWarehouse(counter, "COMMIT", arrives=False).transaction() as transaction,
    ):
        transaction.execute("UPDATE OPS.COUNTER SET N = 7")

    assert counted(counter) == 0


def test_a_rollback_that_finds_no_connection_does_not_hide_the_first_error(counter: EmbeddedWarehouse) -> None:
    with (
        pytest.raises(ValueError, match="the first error"),
        LossyWarehouse(counter, "ROLLBACK", arrives=False).transaction() as transaction,
    ):
        transaction.execute("UPDATE OPS.COUNTER SET N = 7")
        raise ValueError("the first error")

    assert counted(counter) == 0
