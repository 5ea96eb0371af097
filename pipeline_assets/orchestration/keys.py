"""Names that assets, checks and events share: asset keys and steps of a pipeline."""

from __future__ import annotations

import dagster as dg

from pipeline_assets.contracts import Contract
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source


def source_key(source: Source, pipeline: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, f"{source.name}_files"])


def database_key(source: Source, pipeline: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, f"{source.name}_source"])


def table_key(pipeline: ResolvedPipeline, contract: Contract) -> dg.AssetKey:
    return dg.AssetKey([pipeline.name, contract.name])


def batch_step(pipeline: str) -> str:
    """The step that loads landed files and writes every output of a pipeline."""
    return f"{pipeline}_batch"


def checks_step(pipeline: str) -> str:
    """The step that evaluates checks without a batch."""
    return f"{pipeline}_checks"
