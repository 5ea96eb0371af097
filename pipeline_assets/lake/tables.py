"""Lake tables: Parquet files under a prefix with a folder for each partition, and the catalog that lists them."""

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
    """A table of the lake: its contract, the bucket and prefix of its files, and how the names of its files start.

    The prefix ends with a slash.
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
        """The Parquet files of one partition by key; other objects in its folder (`_SUCCESS`, notes) are left out."""
        zone = Zone(self.bucket, self.folder(partition), "*.parquet")
        return sorted(zone.objects(lake), key=lambda file: file.key)


class Catalog(Protocol):
    """Lists lake tables and their partitions for other engines."""

    def register(self, table: LakeTable, partitions: Sequence[str]) -> None:
        """Register the partitions that a batch has written and remove those without files. Safe to repeat.

        Raises:
            PipelineError: the catalog failed; the next run registers the same partitions again.
        """
