"""Lake tables: Parquet files under a prefix, a folder per partition, and the catalog that tells where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline_assets.contracts import Contract
from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.store import Lake
from pipeline_assets.lake.zones import Zone


@dataclass(frozen=True)
class LakeTable:
    """A table of the lake: its contract, and the bucket and prefix (with a slash at its end) that its files lie under.

    Names of files start with `file_prefix`.
    """

    contract: Contract
    bucket: str
    prefix: str
    file_prefix: str

    @property
    def partition_column(self) -> str:
        return next(column.name for column in self.contract.columns if column.partition)

    def folder(self, partition: str) -> str:
        """The prefix of the files of one partition, in Hive's notation."""
        return f"{self.prefix}{self.partition_column.lower()}={partition}/"

    def files(self, lake: Lake, partition: str) -> list[LandedObject]:
        """The files of one partition by key; what else somebody left in its folder (`_SUCCESS`, notes) is none."""
        zone = Zone(self.bucket, self.folder(partition), "*.parquet")
        return sorted(zone.objects(lake), key=lambda file: file.key)


class Catalog(Protocol):
    """Tells other engines which lake tables and partitions there are."""

    def register(self, table: LakeTable, partitions: Sequence[str]) -> None:
        """Make partitions known that a batch has written; those without files are forgotten. Safe to repeat.

        Raises:
            PipelineError: the catalog refused; the next run registers the same partitions again.
        """
