"""One home with one pipeline for tests: land files, run batches, read what came out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Self

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import required_tables, run_batch
from pipeline_assets.contracts import Contract
from pipeline_assets.pipeline import Pipeline as Declared
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.pipeline.resolved import ResolvedPipeline as Pipeline
from pipeline_assets.settings import PROJECT_ROOT, load_settings, prepare_home


@dataclass
class PipelineLake:
    """What the tests of every pipeline need; a subclass says which pipeline and adds its rows.

    `tables_sql` are the published tables, business columns only, in a fixed order.
    """

    home: Path
    platform: Platform

    pipeline: ClassVar[Callable[[], Pipeline]]
    landing: ClassVar[str]
    tables_sql: ClassVar[Mapping[str, str]]

    @classmethod
    def at(cls, home: Path, **settings: object) -> Self:
        read = load_settings(home=home, **settings)
        prepare_home(read)
        return cls(home, build_platform(read))

    @classmethod
    def with_tables(cls, home: Path) -> Self:
        """A home that has its empty tables; making them takes as long as a small run, so they are copied."""
        shutil.copytree(_warehouse(cls), home / "warehouse")
        return cls.at(home)

    @property
    def name(self) -> str:
        return type(self).pipeline().name

    @property
    def landing_folder(self) -> Path:
        """The landing zone as a folder below the home."""
        return self.home / "lake" / type(self).landing

    def path(self, name: str) -> Path:
        return self.landing_folder / name

    def write(self, name: str, content: str | bytes, modified: datetime | None = None) -> Path:
        """Land bytes; `modified` sets the store's time of them."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}"
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if modified:
            os.utime(temporary, (modified.timestamp(), modified.timestamp()))
        os.replace(temporary, path)
        return path

    def land(self, source: Path, name: str) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(source, path))

    def run(self, run_id: str = "test", **request: object) -> BatchReport:
        return run_batch(self.platform, type(self).pipeline(), run_id, Request(**request))  # type: ignore[arg-type]

    def rows(self, sql: str) -> list[tuple]:
        with self.platform.warehouse.read_only() as transaction:
            return transaction.rows(sql)

    def tables(self) -> dict[str, list[tuple]]:
        with self.platform.warehouse.read_only() as transaction:
            return {name: transaction.rows(sql) for name, sql in type(self).tables_sql.items()}

    def staged(self) -> list[Path]:
        bucket = self.home / "lake" / type(self).pipeline().bucket
        return [path for path in (bucket / "staging").rglob("*") if path.is_file()]

    def landed_paths(self) -> list[Path]:
        """The files below the landing folder; those of moved sources in each of their zones."""
        return sorted(path for path in self.landing_folder.rglob("*") if path.is_file())

    def landed_keys(self) -> list[str]:
        """The same as keys below the landing folder, without the batch in them."""
        return [without_batch(path.relative_to(self.landing_folder).as_posix()) for path in self.landed_paths()]

    def with_platform(self, **changes: object) -> Self:
        return replace(self, platform=replace(self.platform, **changes))


def copy_home(home: Path, target: Path, landing: str | None = None) -> Path:
    """Copy a home, also one in use, to a new or empty folder.

    The files in `landing`, or else those of the whole lake and the watched ones, are linked, as their identity includes
    the inode.
    """
    linked = [f"lake/{landing}"] if landing else [name for name in ("lake", "sources") if (home / name).exists()]
    # By other processes: one that closes a file loses all of its locks on it, and DuckDB may have one.
    subprocess.run(["cp", "-aT", str(home), str(target)], check=True)
    for name in linked:
        shutil.rmtree(target / name)
        subprocess.run(["cp", "-al", str(home / name), str(target / name)], check=True)
    return target


def without_batch(key: str) -> str:
    """The key of an object of a moved source without the batch in it."""
    return re.sub("/(processing|processed|rejected)/[0-9a-f]{12}/", r"/\1/", key)


def contract_of(pipeline: Pipeline, name: str) -> Contract:
    """A contract of a pipeline by its name."""
    return next(contract for contract in pipeline.contracts if contract.name == name)


def changed_pipeline(value: Declared, folder: Path, contract: str, edit: Callable[[str], str]) -> Pipeline:
    """A pipeline after somebody edited one of its contracts; a copy of its files is in `folder`."""
    shutil.copytree(PROJECT_ROOT / "pipeline_assets" / value.name / "contracts", folder / "contracts")
    shutil.copytree(PROJECT_ROOT / "sql" / value.name, folder / "sql")
    path = folder / "contracts" / f"{contract}.yaml"
    before = path.read_text(encoding="utf-8")
    path.write_text(edit(before), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before
    return resolve(replace(value, folder=folder))


@cache
def _warehouse(kind: type[PipelineLake]) -> Path:
    """The warehouse of a home of this process that has run nothing."""
    lake = kind.at(prepared_homes() / kind.__name__)
    lake.platform.warehouse.prepare(required_tables(kind.pipeline()))
    return lake.home / "warehouse"


@cache
def _folder() -> TemporaryDirectory:
    return TemporaryDirectory(prefix="prepared-")


def prepared_homes() -> Path:
    """A folder for homes that tests copy; it goes with the process."""
    return Path(_folder().name)
