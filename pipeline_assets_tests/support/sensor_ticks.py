"""Evaluate a sensor as Dagster's daemon does, one tick at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.batch.platform import Platform

if TYPE_CHECKING:
    from dagster._core.definitions.sensor_definition import SensorExecutionData


def evaluate_tick(
    definitions: dg.Definitions, sensor: str, instance: dg.DagsterInstance, platform: Platform, cursor: str | None
) -> SensorExecutionData:
    """One tick: the requested runs or the reason for none, and the cursor of the next tick."""
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"platform": platform}, definitions=definitions
    ) as context:
        return definitions.resolve_sensor_def(sensor).evaluate_tick(context)
