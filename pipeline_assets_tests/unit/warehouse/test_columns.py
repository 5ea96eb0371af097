"""What becomes of a table whose contract has changed: a wider type is applied, a narrower one left alone.

Another type is applied where there are no rows, and named where there are some.
"""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from pipeline_assets.contracts import Column
from pipeline_assets.contracts.ddl import Table, staging_table, target_table
from pipeline_assets.errors import WarehouseError
from pipeline_assets.warehouse import EmbeddedWarehouse, SnowflakeWarehouse
from pipeline_assets.warehouse.columns import Changes, changes, kind_from_show_columns, replaceable_tables
from pipeline_assets.warehouse.schema import ops_tables
from pipeline_assets_tests.support.shop_warehouse import SALES


@pytest.mark.parametrize(
    ("wanted", "found", "becomes"),
    [
        ("VARCHAR(400)", "VARCHAR(200)", "widened"),
        ("VARCHAR", "VARCHAR(200)", "widened"),
        ("NUMBER(24,4)", "NUMBER(18,4)", "widened"),
        ("VARCHAR(200)", "VARCHAR(400)", "left alone"),
        ("VARCHAR(200)", "VARCHAR(16777216)", "left alone"),
        ("VARCHAR", "VARCHAR(16777216)", "left alone"),
        ("VARCHAR", "VARCHAR(134217728)", "left alone"),
        ("NUMBER(18,4)", "NUMBER(24,4)", "left alone"),
        ("NUMBER", "NUMBER(38,0)", "left alone"),
        ("TIMESTAMP_NTZ(6)", "TIMESTAMP_NTZ", "left alone"),
        ("VARIANT", "VARIANT", "left alone"),
        ("NUMBER(18,4)", "NUMBER", "left alone"),
        ("VARCHAR(400)", "VARCHAR", "left alone"),
        ("DATE", "", "left alone"),
        ("NUMBER(18,4)", "NUMBER(18,2)", "of another type"),
        ("NUMBER(24,2)", "NUMBER(18,4)", "of another type"),
        ("DATE", "VARCHAR(10)", "of another type"),
        ("VARCHAR(10)", "DATE", "of another type"),
        ("TIMESTAMP_NTZ(6)", "TIMESTAMP_TZ", "of another type"),
    ],
)
def test_what_becomes_of_a_column(wanted: str, found: str, becomes: str) -> None:
    table = Table("S", "T", "", (("C", wanted, False, ""),))

    expected = {"widened": Changes(widened=[("C", wanted)]), "of another type": Changes(other=[("C", wanted, found)])}

    assert changes(table, {"C": found}) == expected.get(becomes, Changes())
    assert changes(table, {"OTHER": found}) == Changes(gained=[("C", wanted)])


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        ({"type": "TEXT", "length": 200, "byteLength": 800, "nullable": True, "fixed": False}, "VARCHAR(200)"),
        ({"type": "FIXED", "precision": 18, "scale": 4, "nullable": True}, "NUMBER(18,4)"),
        ({"type": "TIMESTAMP_NTZ", "precision": 0, "scale": 6, "nullable": True}, "TIMESTAMP_NTZ(6)"),
        ({"type": "REAL", "nullable": True}, "FLOAT"),
        ({"type": "VARIANT", "nullable": True}, "VARIANT"),
    ],
)
def test_types_are_read_as_snowflake_shows_them(shown: dict, kind: str) -> None:
    assert kind_from_show_columns(json.dumps(shown)) == kind


def altered(*columns: Column) -> list[Table]:
    kept = {column.name: column for column in SALES.columns} | {column.name: column for column in columns}
    changed = replace(SALES, columns=tuple(kept.values()))
    return [*ops_tables(), target_table(changed), staging_table(changed)]


def types(warehouse: EmbeddedWarehouse) -> list[tuple]:
    with warehouse.read_only() as transaction:
        return transaction.rows(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE "
            "FROM INFORMATION_SCHEMA.COLUMNS ORDER BY 1, 2"
        )


def test_tables_with_rows_are_widened_and_keep_them(warehouse: EmbeddedWarehouse) -> None:
    """Of text the emulator knows no length, and takes any."""
    before = types(warehouse)
    with warehouse.transaction() as transaction:
        transaction.execute("INSERT INTO SHOP.SALES (SALE_ID, SHOP, AMOUNT) VALUES ('1', 'north', 1.5)")
    wider = altered(
        Column("SALE_ID", "string", "VARCHAR(64)", required=True, key=True),
        Column("SHOP", "string", "VARCHAR(80)"),
        Column("AMOUNT", "number", "NUMBER(24,4)"),
    )
    warehouse.prepare(wider)
    changed = types(warehouse)
    warehouse.prepare(wider)

    assert types(warehouse) == changed
    for table in ("SALES", "STAGE_SHOP_SALES"):
        assert (table, "AMOUNT", "NUMBER", None, 24, 4) in changed
    with warehouse.transaction() as transaction:
        transaction.execute(
            "INSERT INTO SHOP.SALES (SALE_ID, SHOP, AMOUNT) VALUES ('a longer key', 'b', 12345678901234567890)"
        )
        assert transaction.rows("SELECT SALE_ID, AMOUNT FROM SHOP.SALES ORDER BY 1") == [
            ("1", Decimal("1.5000")),
            ("a longer key", Decimal("12345678901234567890.0000")),
        ]

    warehouse.prepare(altered())  # an older version goes on with them
    assert types(warehouse) == changed
    assert before != changed


def another_scale() -> list[Table]:
    return altered(Column("SHOP", "string", "VARCHAR(80)"), Column("AMOUNT", "number", "NUMBER(18,2)"))


def test_another_type_under_rows_is_named_before_anything_is_changed(warehouse: EmbeddedWarehouse) -> None:
    """The staging table is empty, but changed alone it would fail the publication later."""
    with warehouse.transaction() as transaction:
        transaction.execute("INSERT INTO SHOP.SALES (SALE_ID, SHOP, AMOUNT) VALUES ('1', 'north', 1.25)")
    before = types(warehouse)

    with pytest.raises(WarehouseError) as refused:
        warehouse.prepare(another_scale())

    assert "SHOP.SALES.AMOUNT is NUMBER(18,4) and not NUMBER(18,2)" in refused.value.message
    assert "rename the table" in refused.value.remedy
    assert types(warehouse) == before
    with warehouse.read_only() as transaction:
        assert transaction.rows("SELECT SALE_ID, AMOUNT FROM SHOP.SALES") == [("1", Decimal("1.2500"))]


def test_another_type_of_a_table_without_rows_is_applied(warehouse: EmbeddedWarehouse) -> None:
    """A column of the key too, which neither Snowflake nor DuckDB would change or drop."""
    wanted = altered(
        Column("SALE_ID", "integer", "NUMBER(18,0)", required=True, key=True), Column("AMOUNT", "date", "DATE")
    )

    warehouse.prepare(wanted)
    changed = types(warehouse)
    warehouse.prepare(wanted)

    assert types(warehouse) == changed
    for table in ("SALES", "STAGE_SHOP_SALES"):
        assert (table, "SALE_ID", "NUMBER", None, 18, 0) in changed
        assert (table, "AMOUNT", "DATE", None, None, None) in changed
    with warehouse.transaction() as transaction:
        transaction.execute("INSERT INTO SHOP.SALES (SALE_ID, AMOUNT) VALUES (1, '2026-01-01'::DATE)")
    with pytest.raises(WarehouseError, match="SALE_ID"), warehouse.transaction() as transaction:
        transaction.execute("INSERT INTO SHOP.SALES (AMOUNT) VALUES ('2026-01-01'::DATE)")


def test_a_staging_table_follows_where_the_table_itself_is_right(warehouse: EmbeddedWarehouse) -> None:
    """So a table that people renamed away and had made anew finds a staging table of its types."""
    with warehouse.autocommit() as session:
        session.execute("DROP TABLE SHOP.SALES")

    warehouse.prepare(another_scale())

    for table in ("SALES", "STAGE_SHOP_SALES"):
        assert (table, "AMOUNT", "NUMBER", None, 18, 2) in types(warehouse)


def test_rows_are_counted_only_where_a_type_differs(warehouse: EmbeddedWarehouse) -> None:
    present = {"SHOP.SALES": {name: kind for name, kind, *_ in target_table(SALES).columns}}
    counted: list[str] = []

    def count(table: Table) -> int:
        counted.append(table.qualified)
        return 0

    assert replaceable_tables(altered(), present, count) == []
    assert counted == []
    (anew,) = replaceable_tables(another_scale(), present, count)
    assert counted == [anew.qualified] == ["SHOP.SALES"]
    assert " COPY GRANTS " in anew.create_anew()


def test_where_columns_are_masked_only_deploy_makes_tables_anew(warehouse: EmbeddedWarehouse) -> None:
    """A table made anew has no masks: in Snowflake analysts would read what the next batch publishes."""
    before = types(warehouse)
    warehouse.replaces_tables = SnowflakeWarehouse.replaces_tables

    with pytest.raises(WarehouseError, match=r"SHOP\.SALES.*`pipeline-assets deploy snowflake`"):
        warehouse.prepare(another_scale())

    assert types(warehouse) == before


def test_where_columns_are_masked_a_run_says_once_that_analysts_cannot_read_a_table_that_it_creates(
    warehouse: EmbeddedWarehouse, caplog: pytest.LogCaptureFixture
) -> None:
    learnt = replace(SALES, name="learnt", table="LEARNT")
    warehouse.prepare([target_table(replace(learnt, table="UNMASKED"))])
    warehouse.replaces_tables = SnowflakeWarehouse.replaces_tables

    for _ in range(2):
        warehouse.prepare([target_table(learnt), staging_table(learnt)])

    assert caplog.messages == [
        "SHOP.LEARNT is new: analysts can read it after `pipeline-assets deploy snowflake`, which masks it."
    ]
