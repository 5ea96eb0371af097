"""A home with a SQLite source and a list of tables: change the source, land files, run, read what came out."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import yaml

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import required_tables
from pipeline_assets.batch.separate_batches import run_separate_batches
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.pipelines import pipelines
from pipeline_assets.reviews.watermark import TableState, read_state
from pipeline_assets.settings import Settings, load_settings, prepare_home
from pipeline_assets_tests.support.pipeline_lake import copy_home, prepared_homes


@dataclass
class ReviewsLake:
    """One home; `tables` are the entries of its list, of the source `shop`."""

    landing: ClassVar[str] = "lz-snowflake/Snowflake"
    home: Path
    settings: Settings
    platform: Platform

    @classmethod
    def at(cls, home: Path, *tables: Mapping[str, Any], **settings: object) -> ReviewsLake:
        """A home with a list of `tables`; without any, one with the list that it has. OPS tables are there (copied)."""
        path = home / f"tables-{len(list(home.glob('tables-*'))) - (not tables)}.yaml"
        if tables:  # in a file of its own, as a list is read once in a process
            path.write_text(yaml.safe_dump({"source": "shop", "tables": list(map(dict, tables))}), encoding="utf-8")
        database = home / "shop.db"
        read = load_settings(
            **{"home": home, "reviews_tables": path, "reviews_source_url": f"sqlite:///{database}"} | settings
        )
        if not (home / "warehouse").exists():
            shutil.copytree(_empty_warehouse(), home / "warehouse")
        prepare_home(read)
        return cls(home, read, build_platform(read))

    @classmethod
    def extracted(
        cls, home: Path, table: Mapping[str, Any], statements: Sequence[str], **settings: object
    ) -> ReviewsLake:
        """A home with one listed table, which `statements` fill, extracted and loaded once.

        One that was made before from the same is copied, as most tests begin with it.
        """
        made = _extracted(json.dumps(table), tuple(statements), tuple(settings.items()))
        return cls.at(copy_home(made, home, cls.landing), **settings)

    @property
    def name(self) -> str:
        return "reviews"

    @property
    def pipeline(self) -> ResolvedPipeline:
        return pipelines(self.settings)["reviews"]

    def sql(self, *statements: str) -> None:
        """Change the source in one transaction."""
        with closing(sqlite3.connect(self.home / "shop.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def run(self, run_id: str = "test", **request: Any) -> dict[str, BatchReport | None]:
        """Run every listed table; the report of each that had something to do."""
        batches = run_separate_batches(self.platform, self.pipeline, run_id, Request(**request))
        return {batch.name: batch.report for batch in batches}

    def extract(self, **request: Any) -> dict[str, BatchReport | None]:
        return self.run(extract=True, **request)

    def rows(self, sql: str) -> list[tuple]:
        with self.platform.warehouse.read_only() as transaction:
            return transaction.rows(sql)

    def table(self, name: str, columns: str = "*") -> list[tuple]:
        return sorted(self.rows(f"SELECT {columns} FROM REVIEWS.{name}"), key=str)

    def state(self, table: str) -> TableState:
        found = self.rows(f"SELECT VALUE FROM OPS.WATERMARKS WHERE PIPELINE = 'reviews' AND NAME = '{table}'")
        return read_state(found[0][0] if found else None)

    def folder(self, table: str) -> Path:
        """The folder of a table in the lake."""
        return self.home / "lake" / "lz-snowflake" / "Snowflake" / "shop" / table

    def landed(self, table: str) -> list[Path]:
        return sorted(path for path in self.folder(table).rglob("*") if path.is_file())

    def land(self, table: str, name: str, content: bytes | str, modified: datetime | None = None) -> Path:
        """Land a file as others do."""
        path = self.folder(table) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # copies of the home may have the same file
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if modified:
            os.utime(path, (modified.timestamp(), modified.timestamp()))
        return path

    def rejections(self) -> list[tuple[str, str]]:
        """(code, reason) of each rejected object that waits in quarantine."""
        return self.rows(
            "SELECT REASON_CODE, REASON FROM OPS.QUARANTINE WHERE LINE_NUMBER IS NULL ORDER BY QUARANTINED_AT, REASON"
        )


@cache
def _empty_warehouse() -> Path:
    """The warehouse of a home that has run nothing."""
    home = prepared_homes() / "reviews"
    read = load_settings(home=home)
    prepare_home(read)
    build_platform(read).warehouse.prepare(required_tables(pipelines(read)["reviews"]))
    return home / "warehouse"


@cache
def _extracted(table: str, statements: tuple[str, ...], settings: tuple[tuple[str, object], ...]) -> Path:
    home = Path(tempfile.mkdtemp(dir=prepared_homes()))
    lake = ReviewsLake.at(home, json.loads(table), **dict(settings))
    lake.sql(*statements)
    lake.extract()
    return home


def ran(reports: Mapping[str, BatchReport | None], table: str) -> BatchReport:
    """The report of a table that had something to do."""
    report = reports[table]
    assert report
    return report


def parquet(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """A Parquet file of others."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    data = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), data)
    return data.getvalue()


def manifests(lake: ReviewsLake, table: str) -> list[dict[str, Any]]:
    """The manifests of the extracts of a table, oldest first."""
    read = [json.loads(path.read_text()) for path in lake.landed(table) if path.suffix == ".json"]
    return sorted(read, key=lambda manifest: manifest["until"]["snapshot_at"])
