"""What Dagster sees of `bookings`: landed files, the handed-out CSV and three tables, made by one step.

Dagster reads the annotations of decorated functions, so this module does without postponed ones.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.bookings.pipeline import NAME, contract, pipeline
from pipeline_assets.operations.assets import (
    RunRequestConfig,
    batch_metadata,
    batch_results,
    classification_tags,
    column_lineage,
    column_schema,
    source_spec,
    table_spec,
    take_batch,
)
from pipeline_assets.operations.platform import Platform

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

CUSTOMER_FILES = dg.AssetKey([NAME, "customers_files"])
BOOKING_FILES = dg.AssetKey([NAME, "bookings_files"])
CSV = dg.AssetKey([NAME, "customer_bookings_csv"])
CUSTOMER_BOOKINGS = dg.AssetKey([NAME, "customer_bookings"])


def source_specs() -> list[dg.AssetSpec]:
    return [source_spec(dataset, NAME) for dataset in pipeline().datasets]


def table_specs(settings: "Settings") -> list[dg.AssetSpec]:
    hours = settings.freshness_hours
    joined = contract("customer_bookings")
    files = {
        "BOOKINGS": (BOOKING_FILES, contract("bookings")),
        "CUSTOMERS": (CUSTOMER_FILES, contract("customers")),
    }
    join_lineage = column_lineage("bookings/customer_bookings", joined, files)
    spend_lineage = column_lineage(
        "bookings/daily_spend",
        contract("daily_spend"),
        {"BOOKINGS.CUSTOMER_BOOKINGS": (CUSTOMER_BOOKINGS, joined)},
    )
    return [
        table_spec(contract("customers"), deps=[CUSTOMER_FILES], freshness_hours=hours),
        table_spec(joined, deps=[CUSTOMER_FILES, BOOKING_FILES], freshness_hours=hours, lineage=join_lineage),
        table_spec(contract("daily_spend"), deps=[CUSTOMER_BOOKINGS], freshness_hours=hours, lineage=spend_lineage),
        dg.AssetSpec(
            CSV,
            deps=[CUSTOMER_FILES, BOOKING_FILES],
            skippable=True,
            group_name=NAME,
            description="The bookings that a run added or changed, joined with their customers, as one CSV.",
            kinds={"s3", "csv"},
            owners=[f"team:{joined.owner}"],
            tags=classification_tags(joined),
            metadata={"dagster/column_schema": column_schema(joined), "dagster/column_lineage": join_lineage},
        ),
    ]


def build_assets(settings: "Settings") -> dg.AssetsDefinition:
    """The step that takes one batch from landed files to tables."""

    @dg.multi_asset(name="bookings_batch", specs=table_specs(settings), pool=NAME)
    def bookings_batch(
        context: dg.AssetExecutionContext, config: RunRequestConfig, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult]:
        """Take every landed file the ledger does not know, join, publish."""
        report = take_batch(context, config, platform, pipeline())
        yield from batch_results(report, pipeline(), platform)
        for uri in report.handed_out:
            yield dg.MaterializeResult(asset_key=CSV, metadata=batch_metadata(report) | {"dagster/uri": uri})

    return bookings_batch
