"""Names that assets, checks and events share: asset keys and steps of a pipeline."""

from __future__ import annotations

import re

import dagster as dg

from pipeline_assets.contracts import Contract
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source
from pipeline_assets.pipeline.value import DeliveryStream


def source_key(source: Source, pipeline: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, f"{source.name}_files"])


def database_key(source: Source, pipeline: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, f"{source.name}_source"])


def stream_key(stream: DeliveryStream, pipeline: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, f"{stream.name}_stream"])


def bucket_key(source: Source, pipeline: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, f"{re.sub('[^a-z0-9]', '_', source.zone.bucket.lower())}_bucket"])


def processed_key(source: Source, pipeline: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, f"{source.name}_processed"])


def table_key(pipeline: ResolvedPipeline, contract: Contract) -> dg.AssetKey:
    return dg.AssetKey([pipeline.name, contract.name])


def batch_step(pipeline: str) -> str:
    """The step that loads landed files and writes every output of a pipeline."""
    return f"{pipeline}_batch"


def checks_step(pipeline: str) -> str:
    """The step that evaluates checks without a batch."""
    return f"{pipeline}_checks"
