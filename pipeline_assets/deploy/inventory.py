"""The buckets, delivery streams and lake tables of the registered pipelines, for the CloudFormation stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_assets.deploy.aws.roles import camel
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline import LandedFiles, Pipeline
from pipeline_assets.pipeline.resolve import split_pattern
from pipeline_assets.pipeline.resolved import LANDING, PROCESSED, lake_prefix
from pipeline_assets.pipelines import PIPELINES


@dataclass(frozen=True)
class StackBucket:
    """A bucket without PIPELINE_BUCKET_PREFIX; new objects below a `watched` prefix notify the pipeline's queue.

    Objects below the `archived` prefixes move to Glacier, if `archive_after_days` is set.
    """

    name: str
    pipeline: str | None = None
    watched: tuple[str, ...] = ()
    archive_after_days: int | None = None
    archived: tuple[str, ...] = ("",)

    @property
    def logical_id(self) -> str:
        return f"{camel(self.name)}Bucket"


@dataclass(frozen=True)
class StackStream:
    """A delivery stream with the bucket and prefix that it delivers to."""

    name: str
    bucket: str
    prefix: str

    @property
    def errors_prefix(self) -> str:
        """Outside the landing zone, so that a failed delivery is never taken for a landed object."""
        return f"{self.prefix.rstrip('/').rpartition('/')[0]}/errors/"


def data_buckets(pipelines: Sequence[Pipeline] = PIPELINES) -> list[StackBucket]:
    """The buckets of the pipelines, in the order of the registry.

    Raises:
        ConfigurationError: two pipelines have the same bucket.
    """
    buckets: dict[str, StackBucket] = {}
    for pipeline in pipelines:
        for bucket in _buckets_of(pipeline):
            if bucket.name in buckets:
                raise ConfigurationError(
                    f"{buckets[bucket.name].pipeline} and {pipeline.name} both have the bucket {bucket.name}.",
                    remedy="Give each its own: a bucket notifies one queue.",
                )
            buckets[bucket.name] = bucket
    return list(buckets.values())


def _buckets_of(pipeline: Pipeline) -> list[StackBucket]:
    declared = {bucket.name: bucket for bucket in pipeline.buckets}
    landed = [source for source in pipeline.sources if isinstance(source, LandedFiles)]
    names = [*declared, *(source.bucket or pipeline.bucket for source in landed), pipeline.bucket]
    names += [source.archive.bucket for source in landed if source.archive]
    buckets = []
    for name in dict.fromkeys(names):
        watched = list(declared[name].watched) if name in declared else []
        sources = [source for source in landed if (source.bucket or pipeline.bucket) == name]
        watched += [split_pattern(source.pattern)[0] for source in sources]
        # S3 refuses two notifications whose prefixes overlap.
        outer = sorted({p for p in watched if not any(p != other and p.startswith(other) for other in watched)})
        days = declared[name].archive_after_days if name in declared else None
        moved = [split_pattern(source.pattern)[0].removesuffix(LANDING) for source in sources if source.moved]
        archived = tuple(f"{prefix}{PROCESSED}" for prefix in moved) or ("",)
        buckets.append(StackBucket(name, pipeline.name, tuple(outer), days, archived))
    return buckets


def delivery_streams(pipelines: Sequence[Pipeline] = PIPELINES) -> list[StackStream]:
    """The delivery streams of the pipelines."""
    return [StackStream(s.name, pipeline.bucket, s.prefix) for pipeline in pipelines for s in pipeline.streams]


def lake_prefixes(pipelines: Sequence[Pipeline] = PIPELINES) -> list[tuple[str, str]]:
    """(bucket, prefix) of the lake tables of the pipelines."""
    return [(pipeline.bucket, lake_prefix(table)) for pipeline in pipelines for table in pipeline.lake_tables]
