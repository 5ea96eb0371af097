"""What Dagster sees of `orders`: landed files, the lake table and three tables, made by one step.

Dagster reads the annotations of decorated functions, so this module does without postponed ones.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.operations.assets import (
    RunRequestConfig,
    batch_results,
    column_lineage,
    lake_spec,
    source_spec,
    table_spec,
    take_batch,
)
from pipeline_assets.operations.platform import Platform
from pipeline_assets.orders.pipeline import NAME, contract, lake_table, pipeline

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

ORDER_FILES = dg.AssetKey([NAME, "orders_files"])
ORDER_LINES = dg.AssetKey([NAME, "order_lines"])


def source_specs() -> list[dg.AssetSpec]:
    return [source_spec(dataset, NAME) for dataset in pipeline().datasets]


def table_specs(settings: "Settings") -> list[dg.AssetSpec]:
    hours = settings.freshness_hours
    orders, lines = contract("orders"), contract("order_lines")
    assert orders.items is not None
    files = {"ORDERS": (ORDER_FILES, orders), "ORDERS_PRODUCTS": (ORDER_FILES, orders.items.within(orders))}
    published = {"ORDERS.ORDER_LINES": (ORDER_LINES, lines)}

    def lineage(name: str, sources: dict) -> dg.TableColumnLineage:
        return column_lineage(f"orders/{name}", contract(name), sources)

    return [
        *(
            table_spec(contract(name), deps=[ORDER_FILES], freshness_hours=hours, lineage=lineage(name, files))
            for name in ("order_headers", "order_lines")
        ),
        table_spec(
            contract("daily_category_sales"),
            deps=[ORDER_LINES],
            freshness_hours=hours,
            lineage=lineage("daily_category_sales", published),
        ),
        lake_spec(
            lake_table(),
            deps=[ORDER_FILES],
            freshness_hours=hours,
            lineage=lineage("orders_parquet_datalake", files),
        ),
    ]


def build_assets(settings: "Settings") -> dg.AssetsDefinition:
    """The step that takes one batch from landed files to tables."""

    @dg.multi_asset(name="orders_batch", specs=table_specs(settings), pool=NAME)
    def orders_batch(
        context: dg.AssetExecutionContext, config: RunRequestConfig, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult]:
        """Take every landed file the ledger does not know, flatten, publish."""
        report = take_batch(context, config, platform, pipeline())
        yield from batch_results(report, pipeline(), platform)

    return orders_batch
