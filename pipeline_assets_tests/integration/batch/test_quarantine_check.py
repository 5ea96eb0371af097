"""The quarantine check: WARN while records wait, ERROR when they are more than the share that rejects a file."""

from __future__ import annotations

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.integration.orchestration.test_automation import checks, run
from pipeline_assets_tests.support.bookings_lake import BookingsLake, customer

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
READ = 50  # rows


@pytest.mark.parametrize(
    ("bad", "share", "severity"),
    [
        (0, 0.1, None),
        (1, 0.1, WARN),
        (5, 0.1, WARN),  # exactly the share
        (6, 0.1, ERROR),
        (29, 0.58, WARN),  # 0.58 * 50 is 28.999999999999996
        (30, 0.58, ERROR),
        (1, 0.0, ERROR),
        (50, 1.0, WARN),
    ],
)
def test_waiting_records_are_an_error_above_the_share_and_a_warning_up_to_it(
    lake: BookingsLake, bad: int, share: float, severity: dg.AssetCheckSeverity | None
) -> None:
    rows = [customer("" if number < bad else number) for number in range(READ)]
    lake.customers("", *rows)
    settings = load_settings(home=lake.home, reject_share=share, reject_minimum_rows=READ + 1)

    result = run(build_definitions(settings))

    check = checks(result)[("customers", "quarantine")]
    assert result.success
    assert check.passed == (severity is None)
    assert check.metadata["waiting"].value == bad
    if severity:
        assert check.severity == severity
