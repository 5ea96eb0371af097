"""Build the catalog of one installation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pipeline_assets.batch.platform import Platform
from pipeline_assets.catalog.datasets import datasets_of
from pipeline_assets.catalog.loaded import Loaded, read_loaded
from pipeline_assets.catalog.recorded import exported_files, quality_rules, row_counts, runs_of
from pipeline_assets.catalog.site import write_site
from pipeline_assets.contracts.validation import reason_codes
from pipeline_assets.orchestration.execution import dagster_instance
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.settings import Settings


def build_catalog(settings: Settings, platform: Platform, pipelines: Sequence[ResolvedPipeline], folder: Path) -> Path:
    """Write the site of all pipelines to `folder`; returns its index.html. An empty home gives a catalog without rows.

    Raises:
        ConfigurationError: a pipeline, the folder or the Dagster instance is wrong.
        WarehouseError: the warehouse cannot be reached.
    """
    at = platform.clock()
    is_created = platform.warehouse.is_created
    pipelines = [_with_learnt_columns(each, platform) for each in pipelines] if is_created else pipelines
    datasets = datasets_of(pipelines)
    loaded = read_loaded(platform.warehouse, pipelines, datasets, in_s3=platform.shared) if is_created else Loaded()
    with ExitStack() as stack:
        # Opening an instance would create it, too.
        recorded = (settings.dagster_home / "dagster.yaml").exists()
        instance = stack.enter_context(dagster_instance(settings.dagster_home)) if recorded else None
        rules = quality_rules(pipelines, settings.freshness_hours, instance)
        runs = runs_of(pipelines, instance, at) if instance else {}
        loaded.datasets |= exported_files(datasets, instance) if instance else {}
        for key, counted in (row_counts(datasets, instance) if instance else {}).items():
            loaded.datasets.setdefault(key, {})["counted"] = counted
    return write_site(
        folder,
        datasets,
        loaded,
        rules=rules,
        runs=runs,
        reasons=reason_codes(contract for pipeline in pipelines for contract in pipeline.contracts),
        freshness_hours=settings.freshness_hours,
        at=at,
    )


def _with_learnt_columns(pipeline: ResolvedPipeline, platform: Platform) -> ResolvedPipeline:
    """The pipeline with the columns that its runs have learnt; unchanged if they have learnt none."""
    value = pipeline.value
    learnt = value.learnt(platform) if value.learnt else {}
    return derive(replace(value, contracts={**value.contracts, **learnt})) if learnt else pipeline
