"""The sample sources of pipeline `orders`: two large files, a single order, corrections and a broken file.

This module has the files, their numbers of orders and their modification times; `orders_rows` has the orders, and is
imported late because it needs numpy and pyarrow.

The shop and the app number their orders separately, so neither file depends on the other. There are never fewer than
50 orders, so that each kind of dirt occurs in a set that is still mostly clean.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from .files import SampleFile, publisher

SHOP_ORDERS_PER_SCALE = 1_200
APP_ORDERS_PER_SCALE = 800

# Enough for every exhibit of dirt in `orders_rows`, which are then a fifth of the file.
FEWEST_SHOP_ORDERS = 30
FEWEST_APP_ORDERS = 20

# Fixed arrival times: the corrections are the newer version of their orders because they arrived later.
SHOP_ORDERS_ARRIVED = datetime(2024, 7, 1, 3, 0, tzinfo=UTC)
APP_ORDERS_ARRIVED = datetime(2024, 7, 1, 3, 10, tzinfo=UTC)
SINGLE_ORDER_ARRIVED = datetime(2024, 7, 1, 3, 20, tzinfo=UTC)
CORRECTIONS_ARRIVED = datetime(2024, 7, 2, 3, 0, tzinfo=UTC)
TRUNCATED_ORDERS_ARRIVED = datetime(2024, 7, 2, 3, 10, tzinfo=UTC)


def write(directory: Path, *, scale: float, seed: int) -> list[SampleFile]:
    """Write the five files below `directory`/incoming and describe them, oldest arrival first.

    `scale` 1.0 is 1,200 orders of the shop and 800 of the app; at 0.025 and below, 30 and 20. Raises
    OSError when the folder cannot be written.
    """
    from . import orders_rows as rows

    shop_orders = max(FEWEST_SHOP_ORDERS, round(SHOP_ORDERS_PER_SCALE * scale))
    app_orders = max(FEWEST_APP_ORDERS, round(APP_ORDERS_PER_SCALE * scale))
    with publisher(directory) as bucket:
        return [
            bucket.publish(
                "incoming/orders_shop.json",
                "orders",
                rows.shop_orders(seed, shop_orders),
                modified=SHOP_ORDERS_ARRIVED,
            ),
            bucket.publish(
                "incoming/orders_app.ndjson.gz",
                "orders",
                rows.app_orders(seed, app_orders),
                modified=APP_ORDERS_ARRIVED,
            ),
            bucket.publish(
                "incoming/orders_single.json",
                "orders",
                rows.single_order(),
                modified=SINGLE_ORDER_ARRIVED,
            ),
            bucket.publish(
                "incoming/orders_corrections.ndjson",
                "orders",
                rows.corrected_orders(seed, shop_orders),
                modified=CORRECTIONS_ARRIVED,
            ),
            bucket.publish(
                "incoming/orders_truncated.json.gz",
                "orders",
                rows.truncated_orders(seed),
                modified=TRUNCATED_ORDERS_ARRIVED,
                halved=True,
            ),
        ]
