"""What an extract of MySQL says if the server, the URL or the list of tables is wrong; nothing lands then."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest

from pipeline_assets.errors import ConfigurationError, SourceError
from pipeline_assets.reviews import extract as extract_module
from pipeline_assets.reviews.connect import open_source
from pipeline_assets.reviews.extract import extract_table
from pipeline_assets.reviews.metadata import ListedTable
from pipeline_assets_tests.support.mariadb import (
    PASSWORD,
    USER,
    Database,
    certificates,
    install_data,
    mariadb_database,
    mariadb_server,
    running_server,
)
from pipeline_assets_tests.support.reviews_extracts import extract, listed, read_extract
from pipeline_assets_tests.support.servers import requires_server

ITEMS = "CREATE TABLE items (id BIGINT UNSIGNED PRIMARY KEY, changed DATETIME(6), name VARCHAR(40), KEY (changed))"
TABLE = listed("items", cursor=("changed",))


def test_a_server_that_is_killed_during_an_extract_gives_a_transient_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requires_server("mariadb")
    with mariadb_server() as server, mariadb_database(server) as database:
        database.run(ITEMS, "INSERT INTO items SELECT seq, '2024-01-01', REPEAT('x', 40) FROM seq_1_to_60000")
        # The server is still at work when the first rows arrive.
        database.run("CREATE VIEW slow AS SELECT *, IF(id = 60000, SLEEP(60), 0) AS pause FROM items")
        seen: list[int] = []

        def rows_and_kill(table: ListedTable, batch: pa.RecordBatch) -> pa.RecordBatch:
            seen.append(batch.num_rows)
            if len(seen) == 1:
                server.kill()
            return batch

        monkeypatch.setattr(extract_module, "marked", rows_and_kill)
        with open_source(database.url) as source, pytest.raises(SourceError, match="table slow failed") as raised:
            extract_table(source, listed("slow"), None, tmp_path, "batch", source_name="shop", lag_seconds=0)
        assert raised.value.transient
        assert "xxx" not in str(raised.value)
        assert 0 < sum(seen) < 60_000


def test_both_connections_verify_the_server_with_tls(tmp_path: Path) -> None:
    requires_server("mariadb")
    authority, certificate, key = certificates(tmp_path, "localhost")
    other, *_ = certificates(tmp_path / "other", "localhost")
    data, folder = tmp_path / "data", tmp_path / "server"
    folder.mkdir()
    install_data(data)
    options = {"ssl_ca": str(authority), "ssl_cert": str(certificate), "ssl_key": str(key)}
    with running_server(data, folder, **options) as server, mariadb_database(server) as database:
        database.run(ITEMS, "INSERT INTO items VALUES (1, '2024-01-01', 'a')")
        database.run("CREATE USER encrypted@'%' IDENTIFIED BY 'e' REQUIRE SSL", "GRANT ALL ON *.* TO encrypted@'%'")
        address = f"mysql://encrypted:e@localhost:{server.port}/{database.name}"
        assert read_extract(f"{address}?ssl_ca={authority}", TABLE, tmp_path).values("id") == [1]
        with pytest.raises(SourceError, match="certificate verify failed"):
            extract(f"{address}?ssl_ca={other}", TABLE, tmp_path)


def test_an_extract_that_gets_no_rows_in_time_fails(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_assets.reviews.mysql.PATIENCE", 2.0)
    database.run(ITEMS, "CREATE VIEW slow AS SELECT id, changed, SLEEP(30) AS pause FROM items")
    database.insert("items", [(1, "2024-01-01", "a")])
    with pytest.raises(SourceError, match="table slow sent no rows for 2 seconds"):
        extract(database.url, listed("slow"), tmp_path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://{user}:{password}@127.0.0.1:{port}/absent", "refuses a name: Unknown database 'absent'"),
        ("mysql+pymysql://{user}:wrong-s3cret@127.0.0.1:{port}/shop", r"refuses the user \(error 1045\)"),
        ("mysql://{user}:{password}@127.0.0.1:{port}/shop?ssl_key=/x", "extracts do not support: ssl_key"),
        ("mysql://{user}:{password}@127.0.0.1:{port}/shop?ssl_ca=/absent", "The file ssl_ca .* does not exist"),
        ("mysql://{user}:{password}@127.0.0.1:{port}", "it names no database"),
        ("postgresql://{user}:{password}@127.0.0.1/shop", "postgresql is not a database that tables can be extracted"),
        ("{password}", "it is not a SQLAlchemy URL"),
    ],
)
def test_a_wrong_url_is_permanent_and_shows_no_password(database: Database, url: str, message: str) -> None:
    password = quote(PASSWORD, safe="")
    with (
        pytest.raises(ConfigurationError, match=message) as raised,
        open_source(url.format(user=USER, password=password, port=database.server.port)),
    ):
        pass
    assert raised.value.remedy
    assert not [secret for secret in (PASSWORD, password, "wrong-s3cret") if secret in str(raised.value)]


def test_a_server_that_cannot_be_reached_is_transient() -> None:
    with (
        pytest.raises(SourceError, match=r"mysql://127\.0\.0\.1/shop failed: .*refused") as raised,
        open_source(f"mysql+pymysql://{USER}:s3cret@127.0.0.1:1/shop"),
    ):
        pass
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (listed("item"), "has no table item that its user may read; did you mean items"),
        (listed("ITEMS"), "has no table ITEMS"),
        (listed("items", "nr"), "no column nr, which is listed as key; it has id, changed, name"),
        (listed("items", cursor=("chnged",)), "no column chnged, which is listed as cursor; did you mean changed"),
        (listed("items", personal=("mail",)), "no column mail, which is listed as personal"),
        (listed("odd", cursor=("place",)), "column place of the table odd cannot be a cursor: .* geometry"),
        (listed("odd", cursor=("data",)), "column data of the table odd cannot be a cursor: .* blob"),
        (listed("odd", cursor=("kind",)), "column kind of the table odd cannot be a cursor: .* enum"),
        (listed("odd", "place"), "column place of the table odd cannot be a key"),
    ],
)
def test_what_the_list_names_must_be_there_and_usable(
    database: Database, tmp_path: Path, table: ListedTable, message: str
) -> None:
    database.run(ITEMS, "CREATE TABLE odd (id INT PRIMARY KEY, place GEOMETRY, data BLOB, kind ENUM('a'))")
    with pytest.raises(ConfigurationError, match=message) as raised:
        extract(database.url, table, tmp_path)
    assert raised.value.remedy


def test_a_table_without_the_right_to_read_is_named(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS, "CREATE TABLE open (id INT PRIMARY KEY)", "INSERT INTO open VALUES (1)")
    database.run("CREATE USER reader@'%' IDENTIFIED BY 'r'", f"GRANT SELECT ON {database.name}.open TO reader@'%'")
    database.run(f"GRANT SELECT (id), INSERT ON {database.name}.items TO reader@'%'")
    try:
        url = database.url.replace(database.url.partition("//")[2].partition("@127")[0], "reader:r")
        assert read_extract(url, listed("open"), tmp_path).values("id") == [1]
        # Columns that may not be read are in information_schema, as the user may insert them.
        with pytest.raises(ConfigurationError, match=r"table items refuses the user \(error 1143\)"):
            extract(url, TABLE, tmp_path)
    finally:
        database.run("DROP USER reader@'%'")
