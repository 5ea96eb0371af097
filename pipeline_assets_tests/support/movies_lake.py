"""A movies lake for tests, and archives as its source and older systems make them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline_assets.contracts import Contract
from pipeline_assets.movies.columns import COLUMNS
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, contract_of

CREATED = datetime(2024, 1, 1, tzinfo=UTC)


def pipeline() -> ResolvedPipeline:
    return pipelines()["movies"]


def contract(name: str) -> Contract:
    return contract_of(pipeline(), name)


def _select(made: Contract) -> str:
    """Times as text: the HTTP server of the warehouse emulator (fakesnow 0.12) sends a NULL one as 1970-01-01."""
    columns = ", ".join(made.column_names)
    read = (f"CAST({c.name} AS VARCHAR)" if c.logical_type == "timestamp" else c.name for c in made.columns)
    return f"SELECT {', '.join(read)} FROM MOVIES.{made.table} ORDER BY {columns}"


TABLES = {made.table: _select(made) for made in (*pipeline().targets, contract("rating_charts"))}


def movie(number: int, **changes: object) -> dict[str, str]:
    """A movie as OMDb answers; every value that is not named is N/A."""
    values = dict.fromkeys(COLUMNS, "N/A") | {
        "Title": f"Movie {number}",
        "Year": "1994",
        "Genre": "Crime, Drama",
        "Director": "Ada Director",
        "Writer": 'Stephen King (short story "A, B"), Ada Director',
        "Actors": "Tim R., Morgan F.",
        "Released": "14 Oct 1994",
        "Runtime": "142 min",
        "imdbID": f"tt{number:07}",
        "Response": "True",
        "Ratings": ratings(("IMDb", "9.3/10"), ("Rotten Tomatoes", "89%")),
    }
    return values | {name: str(value) for name, value in changes.items()}


def ratings(*pairs: tuple[str, str]) -> str:
    return json.dumps([{"Source": source, "Value": value} for source, value in pairs])


def csv_bytes(movies: Sequence[Mapping[str, str]], **options: object) -> bytes:
    """Movies as CSV by RFC 4180; `options` are those of csv.DictWriter."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, **({"lineterminator": "\n"} | options))  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(movies)
    return text.getvalue().encode()


def parquet_bytes(movies: Sequence[Mapping[str, str | None]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = io.BytesIO()
    pq.write_table(pa.table({c: pa.array([m[c] for m in movies], pa.string()) for c in COLUMNS}), data)
    return data.getvalue()


def manifest(total: int, created: datetime, files: Mapping[str, tuple[bytes, int]], **changes: object) -> bytes:
    """A manifest; `files` are bytes and rows by name."""
    entries = [
        {
            "name": name,
            "format": name.rpartition(".")[2],
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": rows,
        }
        for name, (data, rows) in files.items()
    ]
    document = {
        "source": "test",
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "primary_key": "imdbID",
        "columns": list(COLUMNS),
        "total_movies": total,
        "files": entries,
    }
    return json.dumps(document | changes).encode()


def old_manifest(total: int) -> bytes:
    """A manifest as the replaced system wrote it."""
    document = {
        "source": "mysql",
        "total_movies": total,
        "columns": str(list(COLUMNS)),
        "primary_key": "imdbID",
        "max_rating": "9.3",
        "min_rating": "1.1",
        "description": "movies",
    }
    return json.dumps(document).encode()


def zipped(members: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


class MoviesLake(PipelineLake):
    """One home with the movies pipeline."""

    pipeline = staticmethod(pipeline)
    landing = "movie-landing/zipped"
    tables_sql = TABLES

    def archive(
        self, name: str, *movies: Mapping[str, str], created: datetime = CREATED, modified: datetime | None = None
    ) -> Path:
        """Land an archive with one CSV and its manifest; the store's time of it is `created` unless `modified` is."""
        data = csv_bytes(movies)
        members = {
            "movies.csv": data,
            "manifest.json": manifest(len(movies), created, {"movies.csv": (data, len(movies))}),
        }
        return self.write(f"{name}.zip", zipped(members), modified or created)

    def files(self, bucket: str) -> list[str]:
        """The keys of the objects in a bucket, without batch ids and times."""
        folder = self.home / "lake" / bucket
        keys = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        return sorted(re.sub("[0-9]{8}T[0-9]{6}Z_", "", re.sub("[0-9a-f]{12}", "BATCH", key)) for key in keys)

    def exported(self) -> list[str]:
        """The text of each exported CSV, with its lines in order."""
        folder = self.home / "lake" / "movie-archive" / "archival"
        return sorted("\n".join(sorted(path.read_text().splitlines())) for path in folder.rglob("*.csv"))
