"""What becomes of a table whose contract has changed: wider is widened, narrower left alone, another type named."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from pipeline_assets.contracts import Column
from pipeline_assets.contracts.ddl import Table, stage_table, target_table
from pipeline_assets.errors import WarehouseError
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets.warehouse.columns import Changes, changes, shown_kind
from pipeline_assets.warehouse.schema import OPS_TABLES
from pipeline_assets_tests.warehouse.shop import SALES


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
        ("NUMBER(18,4)", "NUMBER(18,2)", "refused"),
        ("NUMBER(24,2)", "NUMBER(18,4)", "refused"),
        ("DATE", "VARCHAR(10)", "refused"),
        ("VARCHAR(10)", "DATE", "refused"),
        ("TIMESTAMP_NTZ(6)", "TIMESTAMP_TZ", "refused"),
    ],
)
def test_what_becomes_of_a_column(wanted: str, found: str, becomes: str) -> None:
    table = Table("S", "T", "", (("C", wanted, False, ""),))

    expected = {"widened": Changes(widened=[("C", wanted)]), "refused": Changes(refused=[("C", wanted, found)])}

    assert changes(table, {"C": found}) == expected.get(becomes, Changes())
    assert changes(table, {"OTHER": found}) == Changes(gained=[("C", wanted)])


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        ({"type": "TEXT", "length": 200, "byteLength": 800, "nullable": True, "fixed": False}, "VARCHAR(200)"),
        ({"type": "FIXED", "precision": 18, "scale": 4, "nullable": True}, "NUMBER(18,4)"),
        ({"type": "TIMESTAMP_NTZ", "precision": 0, "scale": 6, "nullable": True}, "TIMESTAMP_NTZ"),
        ({"type": "REAL", "nullable": True}, "FLOAT"),
        ({"type": "VARIANT", "nullable": True}, "VARIANT"),
    ],
)
def test_types_are_read_as_snowflake_shows_them(shown: dict, kind: str) -> None:
    assert shown_kind(json.dumps(shown)) == kind


def altered(*columns: Column) -> list[Table]:
    kept = {column.name: column for column in SALES.columns} | {column.name: column for column in columns}
    changed = replace(SALES, columns=tuple(kept.values()))
    return [*OPS_TABLES, target_table(changed), stage_table(changed)]


def types(warehouse: EmbeddedWarehouse) -> list[tuple]:
    with warehouse.look() as unit:
        return unit.rows(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE "
            "FROM INFORMATION_SCHEMA.COLUMNS ORDER BY 1, 2"
        )


def test_tables_with_rows_are_widened_and_keep_them(warehouse: EmbeddedWarehouse) -> None:
    """Of text the emulator knows no length, and takes any."""
    before = types(warehouse)
    with warehouse.unit() as unit:
        unit.execute("INSERT INTO SHOP.SALES (SALE_ID, SHOP, AMOUNT) VALUES ('1', 'north', 1.5)")
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
    with warehouse.unit() as unit:
        unit.execute(
            "INSERT INTO SHOP.SALES (SALE_ID, SHOP, AMOUNT) VALUES ('a longer key', 'b', 12345678901234567890)"
        )
        assert unit.rows("SELECT SALE_ID, AMOUNT FROM SHOP.SALES ORDER BY 1") == [
            ("1", Decimal("1.5000")),
            ("a longer key", Decimal("12345678901234567890.0000")),
        ]

    warehouse.prepare(altered())  # an older version goes on with them
    assert types(warehouse) == changed
    assert before != changed


def test_another_type_is_named_before_anything_is_changed(warehouse: EmbeddedWarehouse) -> None:
    before = types(warehouse)

    with pytest.raises(WarehouseError, match=r"SHOP\.SALES\.AMOUNT is NUMBER\(18,4\) and not NUMBER\(18,2\)"):
        warehouse.prepare(altered(Column("SHOP", "string", "VARCHAR(80)"), Column("AMOUNT", "number", "NUMBER(18,2)")))

    assert types(warehouse) == before
