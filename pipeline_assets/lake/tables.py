"""Lake tables: Parquet files under a prefix with a folder for each partition, and the catalog that lists them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pipeline_assets.contracts import Contract
from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.store import Lake
from pipeline_assets.lake.zones import Zone

_AT_ONCE = 8  # folders


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
        listed = lake.list_objects(self.bucket, self.folder(partition))
        return sorted((file for file in listed if file in self._zone), key=lambda file: file.key)

    def files_by_partition(self, lake: Lake, partitions: Iterable[str]) -> dict[str, list[LandedObject]]:
        """The Parquet files of each of some partitions, sorted; several folders are listed at a time."""
        names = sorted(set(partitions))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(names, pool.map(lambda name: self.files(lake, name), names), strict=True))

    @cached_property
    def _zone(self) -> Zone:
        return Zone(self.bucket, self.prefix, "*/*.parquet")


class Catalog(Protocol):
    """Lists lake tables and their partitions for other engines."""

    def register(self, table: LakeTable, partitions: Sequence[str]) -> None:
        """Register the partitions that a batch has written and remove those without files. Safe to repeat.

        Raises:
            PipelineError: the catalog failed; the next run registers the same partitions again.
        """
