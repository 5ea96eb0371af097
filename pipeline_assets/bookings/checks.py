"""What must hold in the tables of `bookings`, beyond what every pipeline checks.

Dagster reads the annotations of decorated functions, so this module does without postponed ones.
"""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.bookings.pipeline import NAME, pipeline
from pipeline_assets.operations.checks import check_specs, run_checks
from pipeline_assets.operations.platform import Platform

_RECONCILES = dg.AssetCheckSpec(
    "reconciles_with_bookings",
    asset=[NAME, "daily_spend"],
    description="Counts and amounts add up to those of CUSTOMER_BOOKINGS.",
)


def build_checks() -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name="bookings_checks", specs=[*check_specs(pipeline()), _RECONCILES])
    def bookings_checks(platform: dg.ResourceParam[Platform]) -> Iterator[dg.AssetCheckResult]:
        yield from run_checks(pipeline(), platform)
        yield _reconciles(platform)

    return bookings_checks


def _reconciles(platform: Platform) -> dg.AssetCheckResult:
    with platform.warehouse.look() as unit:
        mart = unit.rows("SELECT SUM(BOOKINGS), SUM(AMOUNT_SPENT) FROM BOOKINGS.DAILY_SPEND")
        table = unit.rows("SELECT COUNT(*), SUM(AMOUNT_SPENT) FROM BOOKINGS.CUSTOMER_BOOKINGS")
    (mart_rows, mart_amount), (rows, amount) = mart[0], table[0]
    return dg.AssetCheckResult(
        asset_key=[NAME, "daily_spend"],
        check_name="reconciles_with_bookings",
        passed=(int(mart_rows or 0), mart_amount) == (int(rows), amount),
        metadata={
            "bookings": f"{int(mart_rows or 0)} in the mart, {rows} in the table",
            "amount": f"{mart_amount} in the mart, {amount} in the table",
        },
    )
