"""Reviews: 5 million rows of MariaDB to Parquet, and the 1,000 of them that changed.

The inputs are the data folder of a private server, which each contender starts before its clock, and which answers from
the page cache. Imports are late, as in all contenders.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .harness import PROJECT_ROOT, Bar, Benchmark, Contender

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 5_000_000
SMALL_ROWS = 200_000
CHANGED = 1_000
CHUNK = 100_000
_TABLE = """
    CREATE TABLE {table} (book_id BIGINT UNSIGNED PRIMARY KEY, book_title VARCHAR(80) NOT NULL,
        book_author VARCHAR(40), book_amount DECIMAL(10,2), book_rating DOUBLE, book_link VARCHAR(80),
        business_date DATE NOT NULL, changed_at TIMESTAMP(6) NOT NULL, KEY (changed_at))
"""
_ROWS = """
    INSERT INTO {table} SELECT seq, CONCAT('Title of the book ', MD5(seq)), CONCAT('Author ', seq % 9999),
        seq % 99999 / 100, seq % 50 / 10, CONCAT('https://books.example/', SHA1(seq)),
        '2020-01-01' + INTERVAL seq % 1000 DAY,
        IF(seq % {every} = 0, '2030-01-01', '2020-01-01') + INTERVAL seq SECOND
    FROM seq_1_to_{rows}
"""
_SERVER = {"innodb_buffer_pool_size": "256M", "innodb_log_file_size": "256M"}


def make_inputs(inputs: Path, folder: Path) -> None:
    """5 million rows, and 50 thousand."""
    _make_inputs(inputs, folder, ROWS)


def make_small_inputs(inputs: Path, folder: Path) -> None:
    """200 thousand rows, and 2 thousand."""
    _make_inputs(inputs, folder, SMALL_ROWS)


def _make_inputs(inputs: Path, folder: Path, rows: int) -> None:
    """The tables `books` and, with a hundredth of the rows, `few_books`; 1,000 rows of each changed in 2030."""
    from pipeline_assets_tests.support.mariadb import Database, install_data, running_server

    install_data(inputs / "data")
    with running_server(inputs / "data", folder, **_SERVER) as server:
        Database(server, "").run("CREATE DATABASE shop")
        shop = Database(server, "shop")
        for table, count in (("books", rows), ("few_books", rows // 100)):
            shop.run(_TABLE.format(table=table), _ROWS.format(table=table, rows=count, every=count // CHANGED))
        Database(server, "").run("SET GLOBAL innodb_fast_shutdown = 0", "SHUTDOWN")
        server.process.wait(timeout=300)


def remember_inputs(inputs: Path, folder: Path, **arguments: object) -> None:
    """`opens` is not given them."""
    (folder / "inputs").unlink(missing_ok=True)
    (folder / "inputs").symlink_to(inputs)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL of the database of a server over the inputs."""
    from pipeline_assets_tests.support.mariadb import Database, running_server

    with running_server(folder / "inputs" / "data", folder, **_SERVER) as running:
        shop = Database(running, "shop")
        shop.rows("SELECT COUNT(*), MAX(book_link) FROM books")  # into the page cache
        yield shop.url


def ours(inputs: Path, folder: Path, url: str, table: str = "books", *, changed: bool = False) -> int:
    """All rows of a table, or those that changed, with their manifest; connectorx in a process of its own."""
    from pipeline_assets.reviews.connect import open_source
    from pipeline_assets.reviews.extract import extract_table
    from pipeline_assets.reviews.manifest import Watermark
    from pipeline_assets.reviews.metadata import ListedTable

    listed = ListedTable(table, ("book_id",), ("changed_at",))
    since = Watermark(("2029-01-01 00:00:00.000000", "0"), source_time="2029-01-01 00:00:00") if changed else None
    with open_source(url) as source:
        extracted = extract_table(
            source, listed, since, folder / "out", "benchmark", source_name="shop", lag_seconds=300
        )
    return extracted.manifest.rows if extracted else 0


def connectorx_alone(inputs: Path, folder: Path, url: str) -> int:
    import connectorx

    stream = connectorx.read_sql(url, "SELECT * FROM books", return_type="arrow_stream", batch_size=CHUNK)
    return _write(stream, folder)


def pandas_read_sql(inputs: Path, folder: Path, url: str) -> int:
    import pandas
    import pyarrow as pa
    import sqlalchemy

    engine = sqlalchemy.create_engine(url.replace("mysql://", "mysql+pymysql://"))
    with engine.connect().execution_options(stream_results=True) as connection:
        chunks = pandas.read_sql("SELECT * FROM books", connection, chunksize=CHUNK)
        return _write((pa.RecordBatch.from_pandas(chunk) for chunk in chunks), folder)


def pymysql_alone(inputs: Path, folder: Path, url: str) -> int:
    """A cursor on the side of the server, and the types that it gives."""
    import pyarrow as pa
    import pymysql
    import sqlalchemy

    parsed = sqlalchemy.make_url(url)
    connection = pymysql.connect(
        host=parsed.host, port=parsed.port, user=parsed.username, password=parsed.password, database=parsed.database
    )
    with connection, connection.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute("SELECT * FROM books")
        names = [column[0] for column in cursor.description]

        def batches() -> Iterator[pa.RecordBatch]:
            while rows := cursor.fetchmany(CHUNK):
                yield pa.record_batch([pa.array(column) for column in zip(*rows, strict=True)], names=names)

        return _write(batches(), folder)


def dlt_copy(inputs: Path, folder: Path, url: str, backend: str) -> int:
    """dlt's own source of SQL tables to its own destination of Parquet files; state and files in the round's folder."""
    os.environ.update({"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"})
    import dlt
    from dlt.sources.sql_database import sql_table

    options: dict[str, Any] = {} if backend == "sqlalchemy" else {"backend_kwargs": {"conn": url}}
    table = sql_table(url.replace("mysql://", "mysql+pymysql://"), table="books", backend=backend, **options)
    pipeline = dlt.pipeline(
        "books",
        pipelines_dir=str(folder / "out" / "state"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "out" / "lake").as_uri()),
        dataset_name="shop",
    )
    pipeline.run(table, loader_file_format="parquet")
    return pipeline.last_trace.last_normalize_info.row_counts["books"]


def _write(batches: Iterable[pa.RecordBatch], folder: Path) -> int:
    import pyarrow.parquet as pq

    writer, rows = None, 0
    for batch in batches:
        writer = writer or pq.ParquetWriter(folder / "out" / "books.parquet", batch.schema, compression="zstd")
        writer.write_batch(batch)
        rows += batch.num_rows
    assert writer is not None
    writer.close()
    return rows


def _contenders(rows: int) -> tuple[Contender, ...]:
    connected = {"prepare": remember_inputs, "opens": server}
    imports = ("pyarrow.parquet", "pymysql", "sqlalchemy", "pipeline_assets.reviews.extract")
    everything = {**connected, "expected_rows": rows}
    changed = f"{CHANGED:,} changed rows"
    changes: dict[str, Any] = {**connected, "imports": imports, "expected_rows": CHANGED, "table": changed}
    return (
        Contender("ours", ours, imports=imports, bar=Bar("peak", 350), **everything),
        Contender(
            "connectorx alone",
            connectorx_alone,
            imports=("connectorx", "pyarrow.parquet"),
            bar=Bar("at_most", 1.2),
            **everything,
        ),
        Contender(
            "dlt",
            dlt_copy,
            arguments={"backend": "sqlalchemy"},
            imports=("dlt.sources.sql_database", "pyarrow.parquet"),
            bar=Bar("faster", 6),
            once=True,
            **everything,
        ),
        Contender(
            "dlt, backend connectorx",
            dlt_copy,
            arguments={"backend": "connectorx"},
            imports=("dlt.sources.sql_database", "connectorx", "pyarrow.parquet"),
            once=True,
            **everything,
        ),
        Contender(
            "pandas.read_sql",
            pandas_read_sql,
            imports=("pandas", "sqlalchemy", "pymysql", "pyarrow.parquet"),
            once=True,
            **everything,
        ),
        Contender("PyMySQL", pymysql_alone, imports=("pymysql", "pyarrow.parquet"), once=True, **everything),
        Contender(f"ours, among {rows:,}", ours, arguments={"changed": True}, **changes),
        Contender(
            f"ours, among {rows // 100:,}",
            ours,
            arguments={"changed": True, "table": "few_books"},
            bar=Bar("at_most", 2),
            **changes,
        ),
    )


BENCHMARK = Benchmark(
    name="reviews",
    title="Reviews: 5 M rows of MariaDB → Parquet",
    about="""5,000,000 rows of 8 columns, of a server on the same two cores, to Parquet compressed with zstd. Ours also
    checks dates, keeps decimals as declared, computes the position of the watermark and the SHA-256 of the file, and
    reads through a process of its own, whose memory is counted. dlt with its defaults goes through SQLAlchemy. Below:
    the 1,000 rows behind a watermark, of the same table and of one with a hundredth of its rows.""",
    make_inputs=make_inputs,
    inputs_from=(Path(__file__), PROJECT_ROOT / "pipeline_assets_tests" / "support" / "mariadb.py"),
    contenders=_contenders(ROWS),
)
BENCHMARK = replace(
    BENCHMARK,
    small=replace(
        BENCHMARK,
        name="reviews-small",
        title="Reviews: 200,000 rows of MariaDB → Parquet",
        about="A twenty-fifth of the rows; starting the process that reads weighs more.",
        make_inputs=make_small_inputs,
        contenders=_contenders(SMALL_ROWS),
    ),
)
