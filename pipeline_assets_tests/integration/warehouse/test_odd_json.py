"""Unknown keys of orders that hold JSON which Snowflake's parser refuses: loaded or set aside, never in the way."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

ODD = {
    "twice": '{"a": 1, "a": 2}',
    "twice, deep": '{"list": [{"b": 1, "b": {"c": 1, "c": 2}}]}',
    "not a number": '{"x": NaN}',
    "infinite": "[Infinity, -Infinity]",
    "too large": '{"x": 1e999}',
    "too precise": '{"x": 0.1234567890123456789012345678901234567890123}',
    "nothing": '"a\\u0000b"',
    "half a character": '"\\ud800"',
}


def landed(order_id: str, unknown: str) -> str:
    """An order as text, as no JSON library would write it."""
    return f'{json.dumps(order(order_id, product("P1")))[:-1]}, "unknown": {unknown}}}'


def test_orders_with_odd_json_are_loaded_or_set_aside_and_replaced_like_any_other(tmp_path: Path) -> None:
    lake = OrdersLake.with_tables(tmp_path)
    for name, odd in (ODD | {"good": '{"a": 1}'}).items():
        lake.write(f"{name}.ndjson", landed(name, odd))

    lake.run()
    assert lake.run().new == 0

    loaded = dict(lake.rows("SELECT ORDER_ID, _RESCUED FROM ORDERS.ORDER_HEADERS"))
    assert loaded["good"] == '{"unknown":{"a":1}}'
    assert all(text.startswith('{"unknown":') for text in loaded.values())
    assert len(loaded) + lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE")[0][0] == len(ODD) + 1

    lake.orders("_newer", *(order(name, product("P1")) for name in ODD))
    lake.run()
    newer = dict(lake.rows("SELECT ORDER_ID, _RESCUED FROM ORDERS.ORDER_HEADERS"))
    assert newer == dict.fromkeys(ODD) | {"good": '{"unknown":{"a":1}}'}
