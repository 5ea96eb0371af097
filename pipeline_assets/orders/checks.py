"""What must hold in the tables of `orders`, beyond what every pipeline checks.

Dagster reads the annotations of decorated functions, so this module does without postponed ones.
"""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.operations.checks import check_specs, reconciliation, run_checks
from pipeline_assets.operations.platform import Platform
from pipeline_assets.orders.pipeline import NAME, pipeline
from pipeline_assets.warehouse import Unit

LISTED = 50  # orders that a failed check names
_TOTALS = dg.AssetCheckSpec(
    "totals_match_lines",
    asset=[NAME, "order_headers"],
    description="TOTAL_AMOUNT is the sum of price times quantity; shops that add shipping or discounts differ.",
)
_LINES = dg.AssetCheckSpec(
    "lines_match_headers",
    asset=[NAME, "order_lines"],
    description="Every order has as many lines as its header says, and every line has a header.",
)
_RECONCILES = dg.AssetCheckSpec(
    "reconciles_with_lines",
    asset=[NAME, "daily_category_sales"],
    description="Each date and category has the orders, quantity and amount that its lines give.",
)


def build_checks() -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name="orders_checks", specs=[*check_specs(pipeline()), _TOTALS, _LINES, _RECONCILES])
    def orders_checks(platform: dg.ResourceParam[Platform]) -> Iterator[dg.AssetCheckResult]:
        yield from run_checks(pipeline(), platform)
        with platform.warehouse.look() as unit:
            yield _totals(unit)
            yield _lines(unit)
            yield reconciliation(
                unit,
                [NAME, "daily_category_sales"],
                "reconciles_with_lines",
                "orders/daily_category_sales_differences",
            )

    return orders_checks


def _totals(unit: Unit) -> dg.AssetCheckResult:
    differing = int(unit.scalar("SELECT COUNT(*) FROM ORDERS.ORDER_HEADERS WHERE TOTAL_AMOUNT <> LINES_TOTAL"))
    rows = unit.rows(
        "SELECT ORDER_ID, TOTAL_AMOUNT, LINES_TOTAL FROM ORDERS.ORDER_HEADERS WHERE TOTAL_AMOUNT <> LINES_TOTAL "
        f"ORDER BY ORDER_DATE, ORDER_ID LIMIT {LISTED}"
    )
    return dg.AssetCheckResult(
        asset_key=[NAME, "order_headers"],
        check_name="totals_match_lines",
        passed=differing == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{differing} orders differ: {', '.join(order for order, *_ in rows)}" if rows else None,
        metadata={
            "orders_that_differ": differing,
            "orders": dg.MetadataValue.json(
                [{"order_id": o, "total_amount": str(total), "lines_total": str(lines)} for o, total, lines in rows]
            ),
        },
    )


def _lines(unit: Unit) -> dg.AssetCheckResult:
    wrong = unit.rows(
        "SELECT COALESCE(H.ORDER_ID, L.ORDER_ID) FROM ORDERS.ORDER_HEADERS AS H FULL OUTER JOIN "
        "(SELECT ORDER_ID, COUNT(*) AS LINE_COUNT FROM ORDERS.ORDER_LINES GROUP BY ORDER_ID) AS L "
        "ON H.ORDER_ID = L.ORDER_ID WHERE H.ORDER_ID IS NULL OR H.LINE_COUNT <> COALESCE(L.LINE_COUNT, 0) "
        f"ORDER BY 1 LIMIT {LISTED}"
    )
    return dg.AssetCheckResult(
        asset_key=[NAME, "order_lines"],
        check_name="lines_match_headers",
        passed=not wrong,
        metadata={"orders": dg.MetadataValue.json([order for (order,) in wrong])},
    )
