"""What must hold in the tables of `bookings`, beyond what every pipeline checks.

Dagster reads the annotations of decorated functions, so this module does without postponed ones.
"""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.bookings.pipeline import NAME, pipeline
from pipeline_assets.operations.checks import check_specs, reconciliation, run_checks
from pipeline_assets.operations.platform import Platform

_RECONCILES = dg.AssetCheckSpec(
    "reconciles_with_bookings",
    asset=[NAME, "daily_spend"],
    description="Each date, destination type and currency has the count and amount that its bookings give.",
)


def build_checks() -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name="bookings_checks", specs=[*check_specs(pipeline()), _RECONCILES])
    def bookings_checks(platform: dg.ResourceParam[Platform]) -> Iterator[dg.AssetCheckResult]:
        yield from run_checks(pipeline(), platform)
        with platform.warehouse.look() as unit:
            yield reconciliation(
                unit, [NAME, "daily_spend"], "reconciles_with_bookings", "bookings/daily_spend_differences"
            )

    return bookings_checks
