"""Spark deduplicates as the plain model says, the same as the embedded engine: see `test_deduplicate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_assets_tests.integration.engine.test_spark_agrees import SPARK
from pipeline_assets_tests.support.engine_session import on_engine
from pipeline_assets_tests.unit.engine import test_deduplicate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_hard_cases_are_settled_as_the_plain_model_says(tmp_path: Path) -> None:
    """The first five have every kind of version, and every effect of snapshots and references."""
    with on_engine(SPARK):
        test_deduplicate.compared_with_model(test_deduplicate.HARD[:5], tmp_path)


@pytest.mark.parametrize(
    "rule",
    [
        test_deduplicate.test_files_of_a_unit_are_rejected_together_in_every_input,
        test_deduplicate.test_every_version_that_could_be_loaded_is_there_with_the_object_that_it_came_in,
        test_deduplicate.test_of_several_records_of_a_key_in_one_object_the_last_is_kept_with_those_of_other_objects,
        test_deduplicate.test_a_reference_may_be_loaded_without_its_parent_and_leaves_the_others_as_they_are,
        test_deduplicate.test_a_json_record_without_its_parent_is_reported_like_any_other,
        test_deduplicate.test_one_row_without_values_stands_for_what_is_published,
        test_deduplicate.test_records_that_waited_are_added_to_the_delivery_that_they_were_in,
    ],
    ids=lambda rule: rule.__name__,
)
def test_a_rule_of_the_embedded_engine_holds(rule: Callable[[Path], None], tmp_path: Path) -> None:
    with on_engine(SPARK):
        rule(tmp_path)
