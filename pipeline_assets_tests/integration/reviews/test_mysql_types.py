"""Every type of MySQL and MariaDB has the Snowflake type and the values that docs/reviews.md says, on a real server."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError, SourceError
from pipeline_assets.reviews.connect import open_source
from pipeline_assets_tests.support.mariadb import Database
from pipeline_assets_tests.support.reviews_extracts import Read, listed, read_extract
from pipeline_assets_tests.support.reviews_lake import ReviewsLake, ran

NTZ = "TIMESTAMP_NTZ(6)"
IN_64_BITS = "NUMBER(38,0)"  # in the embedded warehouse, which refuses greater numbers
ntz = datetime.fromisoformat
DIGITS65 = "-12345678901234567890123456789012345.123456789012345678901234567890"
INVALID_DATES = ["'0000-00-00'", "'2020-00-01'", "'2020-01-00'", "'0000-05-05'", "'2023-02-31'", "'2023-02-29'"]
# type, literals to insert (SQL), Snowflake type, values
TYPES: list[tuple[str, list[str], str, list[object]]] = [
    ("TINYINT", ["-128", "127"], "NUMBER(3,0)", [-128, 127]),
    ("TINYINT UNSIGNED", ["0", "255"], "NUMBER(3,0)", [0, 255]),
    ("BOOLEAN", ["TRUE", "FALSE"], "NUMBER(3,0)", [1, 0]),
    ("SMALLINT", ["-32768", "32767"], "NUMBER(5,0)", [-32768, 32767]),
    ("SMALLINT UNSIGNED", ["65535"], "NUMBER(5,0)", [65535]),
    ("MEDIUMINT", ["-8388608", "8388607"], "NUMBER(8,0)", [-8388608, 8388607]),
    ("MEDIUMINT UNSIGNED", ["16777215"], "NUMBER(8,0)", [16777215]),
    ("INT", ["-2147483648", "2147483647"], "NUMBER(10,0)", [-2147483648, 2147483647]),
    ("INT UNSIGNED", ["4294967295"], "NUMBER(10,0)", [4294967295]),
    ("INT(5) ZEROFILL", ["42"], "NUMBER(10,0)", [42]),
    ("BIGINT", [str(-(2**63)), str(2**63 - 1)], "NUMBER(19,0)", [-(2**63), 2**63 - 1]),
    ("BIGINT UNSIGNED", ["0", str(2**64 - 1)], "NUMBER(20,0)", [0, 2**64 - 1]),
    ("DECIMAL(10,2)", ["-0.01", "99999999.99"], "NUMBER(10,2)", [Decimal("-0.01"), Decimal("99999999.99")]),
    ("DECIMAL(28,10)", ["-" + "9" * 18 + "." + "9" * 10], "NUMBER(28,10)", [Decimal("-" + "9" * 18 + "." + "9" * 10)]),
    ("DECIMAL(38,10)", ["9" * 28 + ".0000000001"], "NUMBER(38,10)", [Decimal("9" * 28 + ".0000000001")]),
    ("DECIMAL(38,30)", ["-0." + "0" * 29 + "1"], "NUMBER(38,30)", [Decimal("-0." + "0" * 29 + "1")]),
    ("DECIMAL(38,0)", ["9" * 38], "NUMBER(38,0)", [Decimal("9" * 38)]),
    ("DECIMAL(20,0) UNSIGNED", ["18446744073709551616"], "NUMBER(20,0)", [Decimal("18446744073709551616")]),
    ("DECIMAL(65,30)", [DIGITS65, "0"], "VARCHAR", [DIGITS65, "0." + "0" * 30]),
    ("FLOAT", ["0.1", "-3.4e38"], "FLOAT", [0.10000000149011612, -3.3999999521443642e38]),
    ("DOUBLE", ["0.1", "1.7976931348623157e308", "5e-324"], "FLOAT", [0.1, 1.7976931348623157e308, 5e-324]),
    ("BIT(1)", ["b'1'", "b'0'"], "NUMBER(20,0)", [1, 0]),
    ("BIT(31)", [str(2**31 - 1)], "NUMBER(20,0)", [2**31 - 1]),
    ("BIT(33)", [str(2**33 - 1)], "NUMBER(20,0)", [2**33 - 1]),
    ("BIT(64)", [str(2**64 - 1)], "NUMBER(20,0)", [2**64 - 1]),
    ("YEAR", ["1901", "2155", "0"], "NUMBER(4,0)", [1901, 2155, None]),
    (
        "DATE",
        ["'1000-01-01'", "'9999-12-31'", "'0001-01-01'", "'2024-02-29'", *INVALID_DATES],
        "DATE",
        [date(1000, 1, 1), date(9999, 12, 31), date(1, 1, 1), date(2024, 2, 29), *[None] * 6],
    ),
    (
        "DATETIME",
        ["'2024-02-29 23:59:59'", "'0000-00-00'", "'2020-00-01 10:00:00'", "'2023-02-31 01:02:03'"],
        NTZ,
        [ntz("2024-02-29 23:59:59"), None, None, None],
    ),
    (
        "DATETIME(6)",
        ["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'"],
        NTZ,
        [ntz("1000-01-01 00:00:00.000001"), ntz("9999-12-31 23:59:59.999999")],
    ),
    ("TIMESTAMP(3) NULL", ["'2024-07-01 12:00:00.125'"], NTZ, [ntz("2024-07-01 12:00:00.125000")]),
    (
        "TIMESTAMP NULL",
        ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'0000-00-00'"],
        NTZ,
        [ntz("1970-01-01 00:00:01"), ntz("2038-01-19 03:14:07"), None],
    ),
    ("TIME", ["'-838:59:59'", "'838:59:59'", "'00:00:01'"], "VARCHAR", ["-838:59:59", "838:59:59", "00:00:01"]),
    ("TIME(6)", ["'-00:00:00.000001'"], "VARCHAR", ["-00:00:00.000001"]),
    ("ENUM('a','b''c','é')", ["'b''c'", "3"], "VARCHAR", ["b'c", "é"]),
    ("SET('x','y','z')", ["'z,x'", "''"], "VARCHAR", ["x,z", ""]),
    ("JSON", ['\'{"a": [1, "é"]}\''], "VARCHAR", ['{"a": [1, "é"]}']),
    ("CHAR(5)", ["'ab'", "''", "'€€€€€'"], "VARCHAR(5)", ["ab", "", "€€€€€"]),
    ("CHAR(0)", ["''"], "VARCHAR(1)", [""]),
    ("VARCHAR(20)", ["'trailing  '", "''", "'a\\nb\\t\"q\"'"], "VARCHAR(20)", ["trailing  ", "", 'a\nb\t"q"']),
    ("VARCHAR(20) CHARACTER SET latin1", ["'né€ '"], "VARCHAR(20)", ["né€ "]),
    ("VARCHAR(20) COLLATE utf8mb4_bin", ["'né😀'"], "VARCHAR(20)", ["né😀"]),
    ("VARCHAR(20) CHARACTER SET ucs2", ["'né'"], "VARCHAR(20)", ["né"]),
    ("TINYTEXT", ["' 😀 '", "''"], "VARCHAR", [" 😀 ", ""]),
    ("TEXT CHARACTER SET latin1", ["'né'"], "VARCHAR", ["né"]),
    ("MEDIUMTEXT", ["REPEAT('é', 100000)"], "VARCHAR", ["é" * 100_000]),
    ("LONGTEXT", ["'x'"], "VARCHAR", ["x"]),
    ("BINARY(4)", ["X'01FF'", "''"], "VARCHAR", ["01FF0000", "00000000"]),
    ("VARBINARY(9)", ["X'00ABFF'", "''"], "VARCHAR", ["00ABFF", ""]),
    ("TINYBLOB", ["X'C3'"], "VARCHAR", ["C3"]),
    ("BLOB", ["X'00'", "''"], "VARCHAR", ["00", ""]),
    ("MEDIUMBLOB", ["REPEAT(X'0A', 100000)"], "VARCHAR", ["0A" * 100_000]),
    ("LONGBLOB", ["X'DEADBEEF'"], "VARCHAR", ["DEADBEEF"]),
    ("GEOMETRY", ["ST_GeomFromText('POINT(1.5 -2)')"], "VARCHAR", ["POINT(1.5 -2)"]),
    ("POINT", ["POINT(1, 2)"], "VARCHAR", ["POINT(1 2)"]),
    ("LINESTRING", ["ST_GeomFromText('LINESTRING(0 0,1 1)')"], "VARCHAR", ["LINESTRING(0 0,1 1)"]),
    ("POLYGON", ["ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"], "VARCHAR", ["POLYGON((0 0,1 0,1 1,0 0))"]),
    ("MULTIPOINT", ["ST_GeomFromText('MULTIPOINT(0 0,1 1)')"], "VARCHAR", ["MULTIPOINT(0 0,1 1)"]),
    ("MULTILINESTRING", ["ST_GeomFromText('MULTILINESTRING((0 0,1 1))')"], "VARCHAR", ["MULTILINESTRING((0 0,1 1))"]),
    (
        "MULTIPOLYGON",
        ["ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')"],
        "VARCHAR",
        ["MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"],
    ),
    (
        "GEOMETRYCOLLECTION",
        ["ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2))')"],
        "VARCHAR",
        ["GEOMETRYCOLLECTION(POINT(1 2))"],
    ),
    ("UUID", ["'123e4567-e89b-12d3-a456-426655440000'"], "VARCHAR", ["123e4567-e89b-12d3-a456-426655440000"]),
    ("INET4", ["'10.0.0.1'"], "VARCHAR", ["10.0.0.1"]),
    ("INET6", ["'2001:db8::1'"], "VARCHAR", ["2001:db8::1"]),
]


def create(database: Database) -> None:
    """A table with a column of every type."""
    columns = [f"c{number} {kind}{'' if kind.endswith('NULL') else ' NULL'}" for number, (kind, *_) in enumerate(TYPES)]
    database.run(f"CREATE TABLE typed (id INT PRIMARY KEY, {', '.join(columns)}) ROW_FORMAT=DYNAMIC")


def write(database: Database, rows: Mapping[int, Sequence[int]]) -> None:
    """Write rows by id; for each column the number of its value, NULL behind the last."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES'")
        for key, numbers in rows.items():
            literals = [[*literals, "NULL"] for _, literals, *_ in TYPES]
            values = [each[min(number, len(each) - 1)] for each, number in zip(literals, numbers, strict=True)]
            cursor.execute(f"REPLACE INTO typed VALUES ({key}, {', '.join(values)})")


@pytest.fixture
def typed(database: Database, tmp_path: Path) -> Read:
    """One table with a column of every type; the values of each in its first rows, NULL below them."""
    create(database)
    rows = max(len(values) for _, values, *_ in TYPES) + 1
    write(database, {row: [row] * len(TYPES) for row in range(rows)})
    return read_extract(database.url, listed("typed"), tmp_path)


def test_each_type_has_its_mapping(typed: Read) -> None:
    expected = {f"c{number}": physical for number, (_, _, physical, _) in enumerate(TYPES)}
    assert {name: kind for name, kind in typed.types.items() if name != "id"} == expected
    for number, (kind, _, _, expected_values) in enumerate(TYPES):
        found = [row[f"c{number}"] for row in sorted(typed.rows, key=lambda row: row["id"])]
        assert found == [*expected_values, *[None] * (len(found) - len(expected_values))], kind


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_each_value_of_each_type_is_loaded_and_loaded_again_when_it_changes(
    form: str, database: Database, tmp_path: Path
) -> None:
    create(database)
    lake = ReviewsLake.at(tmp_path, {"name": "typed", "key": "id", "format": form}, reviews_source_url=database.url)
    chance = random.Random(form)
    rows: dict[int, list[int]] = {}
    for changed in (range(30), range(20, 40)):
        for key in changed:
            rows[key] = [
                len(literals) if physical == IN_64_BITS else chance.randrange(len(literals) + 1)
                for _, literals, physical, _ in TYPES
            ]
        write(database, rows)
        assert ran(lake.extract(), "typed").rows["quarantined"] == 0
        columns = ", ".join(f"C{number}" for number, _ in enumerate(TYPES))
        loaded = lake.rows(f"SELECT ID, {columns} FROM REVIEWS.TYPED")
        for number, (kind, _, _, values) in enumerate(TYPES):
            found = {row[0]: row[1 + number] for row in loaded}
            # In CSV, empty text is NULL.
            known = [None if form == "csv" and value == "" else value for value in values]
            expected = {key: [*known, None][numbers[number]] for key, numbers in rows.items()}
            assert found == expected, kind


def test_values_that_become_null_are_counted_by_column(typed: Read) -> None:
    counts = {"YEAR": 1, "DATE": 6, "DATETIME": 3, "TIMESTAMP NULL": 1}
    expected = [
        f"{counts[kind]} invalid values of c{number} are NULL"
        for number, (kind, *_) in enumerate(TYPES)
        if kind in counts
    ]
    assert sorted(typed.manifest.notes) == sorted(expected)


@pytest.mark.parametrize("zone", ["+05:30", "-08:00"])
def test_a_timestamp_is_utc_in_whatever_zone_it_was_written(database: Database, tmp_path: Path, zone: str) -> None:
    database.run("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6) NULL, local DATETIME(6))")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SET time_zone = '{zone}'")
        cursor.execute("INSERT INTO t VALUES (1, '2024-07-01 12:00:00.5', '2024-07-01 12:00:00.5')")
    (row,) = read_extract(database.url, listed("t"), tmp_path).rows
    utc = {"+05:30": "06:30", "-08:00": "20:00"}[zone]
    assert row["at"] == ntz(f"2024-07-01 {utc}:00.5")
    assert row["local"] == ntz("2024-07-01 12:00:00.500000")


def test_a_type_that_has_no_mapping_is_refused_by_name() -> None:
    from pipeline_assets.reviews.types import MySqlType, mysql_column

    with pytest.raises(ConfigurationError, match=r"column embedding of the table items has the type vector\(3\)"):
        mysql_column("items", "embedding", MySqlType("vector", "vector(3)"), nullable=True)


def test_invalid_dates_of_many_columns_are_counted(database: Database, tmp_path: Path) -> None:
    """More columns than a number has bits, with NULL, invalid and valid values, and columns that may not be NULL."""
    names = [f"d{number}" for number in range(70)]
    declared = ", ".join(f"{name} DATE {'NOT NULL' if name == 'd69' else ''}" for name in names)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute(f"CREATE TABLE t (id INT PRIMARY KEY, {declared})")
        for row, value in enumerate(["0000-00-00", None, "2024-01-01"]):
            dates = [value or ("2024-01-01" if name == "d69" else None) for name in names]
            cursor.execute(f"INSERT INTO t VALUES ({row}{', %s' * 70})", dates)
    read = read_extract(database.url, listed("t"), tmp_path)
    assert sorted(read.manifest.notes) == sorted(f"1 invalid values of {name} are NULL" for name in names)


def test_a_column_that_changed_after_its_type_was_read_fails_by_name(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE t (id INT PRIMARY KEY, price DECIMAL(10,2))", "INSERT INTO t VALUES (1, 1.5)")
    with open_source(database.url) as source:
        columns = source.columns("t")
        database.run("ALTER TABLE t MODIFY price DECIMAL(10,4)", "UPDATE t SET price = 1.2345")
        with pytest.raises(SourceError, match=r"values of price are not of the type decimal\(10,2\)") as raised:
            list(source.read("t", columns, "", tmp_path, Counter()))
    assert "1.2345" not in str(raised.value)


def test_a_wide_blob_beyond_the_packet_of_the_server_is_whole(database: Database, tmp_path: Path) -> None:
    """HEX() of it in the server would be NULL."""
    database.run("CREATE TABLE t (id INT PRIMARY KEY, data LONGBLOB)")
    database.run("INSERT INTO t VALUES (1, REPEAT(X'AB', 9000000))")
    (row,) = read_extract(database.url, listed("t"), tmp_path).rows
    assert row["data"] == "AB" * 9_000_000
