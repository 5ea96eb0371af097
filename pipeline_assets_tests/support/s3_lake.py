"""A pipeline with its objects in S3 (moto, through a proxy) and the embedded warehouse.

The surprising part is the warehouse's stage: the embedded one reads plain files only, so its stage is a folder that
gets what lies in `staging/` in the bucket at the moment of the load, past the proxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq

from pipeline_assets.lake import S3Lake
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, without_batch

REGION = "eu-west-1"
SOURCE_ROWS = 9


@dataclass
class S3Home(PipelineLake):
    """`client` goes to the store itself; the platform goes through the proxy."""

    client: Any = None

    @classmethod
    def behind(cls, url: str, home: Path, client: Any, **options: float) -> Self:
        """A home whose platform reaches S3 at `url`; `options` are those of `S3Lake`."""
        local = cls.with_tables(home)
        lake = S3Lake(region=REGION, endpoint_url=url, **{"patience": 20, "timeout": 10, **options})
        sound = local.platform.warehouse
        warehouse = EmbeddedWarehouse(sound.root, sound.database, 60, _Stage(client, home / "stage").url)
        return cls(home, local.platform, client).with_platform(lake=lake, warehouse=warehouse)

    def write(self, name: str, content: str | bytes, modified: datetime | None = None) -> Path:
        body = content.encode() if isinstance(content, str) else content
        bucket, _, prefix = type(self).landing.partition("/")
        self.client.put_object(Bucket=bucket, Key=f"{prefix.rstrip('/')}/{name}", Body=body)
        return Path(name)

    def keys(self, prefix: str = "") -> list[str]:
        bucket = type(self).pipeline().bucket
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def body(self, key: str) -> bytes:
        return self.client.get_object(Bucket=type(self).pipeline().bucket, Key=key)["Body"].read()


class S3BookingsLake(S3Home, BookingsLake):
    """The bookings pipeline."""


class S3CommerceLake(S3Home, CommerceLake):
    """The commerce pipeline."""

    def zones(self) -> dict[str, bytes]:
        return {without_batch(key.removeprefix("firehose/")): self.body(key) for key in self.keys("firehose/")}

    def landed_keys(self) -> list[str]:
        return sorted(without_batch(key.removeprefix("firehose/")) for key in self.keys("firehose/"))

    def copied_rows(self) -> list[tuple]:
        (table,) = self.pipeline().lake_tables
        return sorted(
            (key.split("/")[-2], *row.values())
            for key in self.keys(table.prefix)
            for row in pq.read_table(BytesIO(self.body(key))).to_pylist()
        )


@dataclass
class _Stage:
    client: Any
    root: Path

    def url(self, bucket: str) -> str:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="staging/"):
            for entry in page.get("Contents", []):
                path = self.root / bucket / entry["Key"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
        return f"file://{self.root / bucket}/"


def land(lake: BookingsLake) -> None:
    """Nine rows: good ones, one that is superseded, one that is bad and one whose customer never comes."""
    lake.customers("", customer(1), customer(2, "Grace", "Hopper"))
    lake.bookings("_1", booking(1, 1), booking(2, 2, "5.25"))
    lake.bookings("_2", booking(3, 1, "x"), booking(4, 9))
    lake.bookings("_3", booking(5, 2, "1.00"), booking(5, 2, "1.00"), booking(6, 1, "2.50"))
