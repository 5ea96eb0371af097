"""The extract step of the pipeline: one snapshot of a database, a file or an API becomes one archive in landing.

The archive has a CSV, a Parquet file and a manifest. It appears whole or not at all; a snapshot with the rows of the
last one lands nothing. Strings only: what a value means is decided when the archive is read.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.api import Api, open_api
from pipeline_assets.movies.columns import COLUMNS, PRIMARY_KEY, Row
from pipeline_assets.movies.database import open_database
from pipeline_assets.movies.files import open_file, path_of
from pipeline_assets.movies.manifest import Manifest, ManifestFile, write_manifest
from pipeline_assets.movies.source import Snapshot, text_or_file
from pipeline_assets.progress import progress

if TYPE_CHECKING:
    from pipeline_assets.batch.context import BatchContext
    from pipeline_assets.settings import Settings

logger = logging.getLogger("pipeline_assets")
BUCKET, PREFIX = "movie-landing", "zipped/"
SAMPLE = "movies.db"
WATERMARK = "movies_extract"  # the digest of the last extract that landed
ROWS_AT_A_TIME = 10_000


def extract_in_batch(context: BatchContext) -> None:
    """Land one archive with what the configured source has, unless the last archive had the same rows.

    Raises:
        ConfigurationError: no source is configured, or it cannot be used.
        SourceError: the database or API failed; what an API has answered is kept for the next run.
    """
    from pipeline_assets.lake.archives import pack

    settings = context.platform.settings
    if settings is None:
        raise ConfigurationError("This platform has no settings.", remedy="Build it with `build_platform`.")
    with context.scratch("extract") as folder, open_source(settings, folder) as snapshot:
        written = write_files(snapshot, folder)
        if not written.total:
            logger.warning("%s has no movies; nothing landed.", snapshot.source)
            return
        if context.watermark(WATERMARK) == written.digest:
            logger.info(
                "%s has the %s movies of the last archive; nothing landed.", snapshot.source, f"{written.total:,}"
            )
            snapshot.landed()
            return
        manifest = Manifest(snapshot.source, snapshot.created_at, PRIMARY_KEY, COLUMNS, written.total, written.files)
        (folder / "manifest.json").write_bytes(write_manifest(manifest))
        archive = folder / "movies.zip"
        pack([(name, folder / name) for name in (*(file.name for file in written.files), "manifest.json")], archive)
        key = f"{PREFIX}movies_{context.started_at:%Y%m%dT%H%M%SZ}_{context.batch_id}.zip"
        uri = context.platform.lake.publish(archive, BUCKET, key)
        snapshot.landed()
    context.set_watermark(WATERMARK, written.digest)
    logger.info("%s movies of %s landed in %s.", f"{written.total:,}", snapshot.source, uri)


def check_source(settings: Settings) -> None:
    """Check the settings of the source; nothing is connected, requested or read.

    Raises:
        ConfigurationError: none is configured, or two are, or one names what does not exist.
    """
    open_source(settings, settings.scratch_root)


def open_source(settings: Settings, scratch: Path) -> AbstractContextManager[Snapshot]:
    """The source that the settings name; without one, the sample database if there is one.

    Raises:
        ConfigurationError: as `check_source`; when it is entered, the source cannot be used.
    """
    select = text_or_file(settings.movies_select, "PIPELINE_MOVIES_SELECT") if settings.movies_select else ""
    url = settings.movies_source_url
    if url and settings.movies_api_url:
        raise ConfigurationError(
            "Both PIPELINE_MOVIES_SOURCE_URL and PIPELINE_MOVIES_API_URL are set.", remedy="Unset one of them."
        )
    if settings.movies_api_url:
        return open_api(
            _api(settings, settings.movies_api_url),
            _asked(settings.movies_api_ids),
            settings.movies_folder,
            select,
            memory_limit=settings.memory_limit,
            scratch=scratch,
        )
    if url and url.startswith("file:"):
        return open_file(path_of(url), select, memory_limit=settings.memory_limit, scratch=scratch)
    if url:
        return open_database(url, select)
    sample = settings.movies_folder / SAMPLE
    if settings.profile == "local" and sample.is_file():
        from sqlalchemy.engine import URL

        return open_database(URL.create("sqlite", database=str(sample)), select)
    raise ConfigurationError(
        "No source of movies is configured.",
        remedy="Set PIPELINE_MOVIES_SOURCE_URL or PIPELINE_MOVIES_API_URL, or run `pipeline-assets samples movies`.",
    )


def _api(settings: Settings, url: str) -> Api:
    key = settings.movies_api_key.get_secret_value() if settings.movies_api_key else ""
    return Api(url, key, settings.movies_api_rate, settings.movies_api_timeout, settings.movies_api_patience)


def _asked(setting: str | None) -> list[str]:
    """The ids and titles of PIPELINE_MOVIES_API_IDS, each once; an empty text, which asks for a list, if unset."""
    if not setting:
        return [""]
    text = text_or_file(setting, "PIPELINE_MOVIES_API_IDS")
    entries = text.split(",") if text == setting.strip() else text.splitlines()
    return list(dict.fromkeys(entry.strip() for entry in entries if entry.strip()))


@dataclass(frozen=True)
class WrittenFiles:
    """The files of a snapshot with `total` rows each; `digest` is the SHA-256 of the CSV."""

    files: tuple[ManifestFile, ...]
    total: int
    digest: str


def write_files(snapshot: Snapshot, folder: Path) -> WrittenFiles:
    """Write movies.csv (RFC 4180; NULL is an empty field, empty text is "") and movies.parquet with the same rows.

    Raises:
        ConfigurationError, SourceError: of the source.
    """
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    csv_path, parquet_path = folder / "movies.csv", folder / "movies.parquet"
    total = 0
    with (
        pc.CSVWriter(csv_path, schema, write_options=pc.WriteOptions(quoting_style="needed")) as csv,
        pq.ParquetWriter(parquet_path, schema) as parquet,
        progress(f"Extracting {snapshot.source}", "rows", snapshot.total) as step,
    ):
        for chunk in _chunks(snapshot.rows):
            columns = [pa.array(column, pa.string()) for column in zip(*chunk, strict=True)]
            batch = pa.record_batch(columns, schema=schema)
            csv.write_batch(batch)
            parquet.write_batch(batch)
            total += len(chunk)
            step.advance(len(chunk))
    files = tuple(_described(path, total) for path in (csv_path, parquet_path))
    return WrittenFiles(files, total, files[0].sha256)


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while chunk := list(islice(left, ROWS_AT_A_TIME)):
        yield chunk


def _described(path: Path, rows: int) -> ManifestFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ManifestFile(path.name, path.suffix[1:], path.stat().st_size, digest, rows)
