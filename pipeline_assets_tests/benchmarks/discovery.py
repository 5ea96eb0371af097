"""Discovery: what a sensor's tick and a run cost over a zone of a million known objects.

The listing comes from a server of its own (`listing_server`), a thousand keys a page as S3 gives them, so that what is
measured is the client: obstore's listing in its two forms, and ours, which also hashes and compares every object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

from .harness import Bar, Benchmark, Contender
from .listing_server import PREFIX, listing_server

OBJECTS = 1_000_000
NEW = 10
_BUCKET = "bucket"


@contextmanager
def zone(folder: Path) -> Iterator[str]:
    """The url of a zone of so many objects."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"}
    with listing_server(OBJECTS) as url:
        yield url


@contextmanager
def known_zone(folder: Path) -> Iterator[tuple]:
    """The same after one poll, after which ten objects landed."""
    from pipeline_assets.lake.zone_poll import Cursor, poll_zone

    with zone(folder) as url:
        lake = _lake(url)
        cursor = poll_zone(lake, _BUCKET, PREFIX, Cursor())
        urlopen(Request(f"{url}/{_BUCKET}", data=str(NEW).encode(), method="PUT")).close()
        yield url, lake, cursor


def ours_whole(inputs: Path, folder: Path, url: str) -> int:
    """A reconcile: everything is listed, hashed and compared."""
    from pipeline_assets.lake.zone_poll import Cursor, poll_zone

    return poll_zone(_lake(url), _BUCKET, PREFIX, Cursor()).count


def ours_tick(inputs: Path, folder: Path, opened: tuple) -> int:
    """A common tick; more than one page read is a failure."""
    from pipeline_assets.lake.zone_poll import poll_zone

    url, lake, cursor = opened
    before = _pages(url)
    after = poll_zone(lake, _BUCKET, PREFIX, cursor)
    if _pages(url) - before != 1 or after.digest == cursor.digest:
        raise RuntimeError(f"{_pages(url) - before} pages were read")
    return after.count - cursor.count


def fill_ledger(inputs: Path, folder: Path) -> None:
    """An embedded warehouse that knows every object of the zone; `listing_server` says what they are like."""
    from pipeline_assets.warehouse.schema import ops_tables

    warehouse = _platform(folder).warehouse
    warehouse.prepare(ops_tables())
    with warehouse.connect() as connection:
        connection._duck_conn.execute(
            f"""INSERT INTO OPS.FILE_LEDGER
            SELECT 'zone', 'sales', format('s3://{_BUCKET}/{PREFIX}2026/{{:06}}/part-{{:04}}.csv', page, n),
                format('{{:08x}}0123456789abcdef00{{:06}}', n, page), n + 1, '2026-01-01', 'loaded', 1, 1, 0, 0,
                'batch', 'run', '2026-01-01'
            FROM (SELECT i // 1000 AS page, i % 1000 AS n FROM range({OBJECTS}) AS numbers (i))"""
        )


@contextmanager
def taken_zone(folder: Path) -> Iterator[tuple]:
    """A run of a pipeline over such a zone with ten objects more; its warehouse was open before."""
    from pipeline_assets.lake import Zone
    from pipeline_assets.pipeline import LandedFiles, Pipeline
    from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source
    from pipeline_assets_tests.support.shop_warehouse import SALES

    with zone(folder) as url:
        urlopen(Request(f"{url}/{_BUCKET}", data=str(NEW).encode(), method="PUT")).close()
        platform = replace(_platform(folder), lake=_lake(url))
        with platform.warehouse.read_only() as transaction:
            transaction.scalar("SELECT COUNT(*) FROM OPS.PIPELINES")
        landed = LandedFiles("sales", f"{PREFIX}**/*.csv")
        source = Source(landed, SALES, Zone(_BUCKET, PREFIX, "**/*.csv"), ())
        yield platform, ResolvedPipeline(Pipeline("zone", _BUCKET, [landed]), (source,), (), (), (), (), {})


def ours_run(inputs: Path, folder: Path, opened: tuple) -> int:
    """What a run does before it reads: the ledger, the listing, the difference."""
    from pipeline_assets.batch.context import BatchContext
    from pipeline_assets.batch.discover import discover
    from pipeline_assets.batch.report import Request as Asked

    platform, pipeline = opened
    found = discover(BatchContext(platform, pipeline, "0" * 12, "run", platform.clock(), Asked()))
    if found.known != OBJECTS:
        raise RuntimeError(f"{found.known} objects were known")
    return len(found.objects)


def obstore_listing(inputs: Path, folder: Path, url: str, **options: object) -> int:
    """The listing alone."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        _BUCKET,
        region="eu-west-1",
        endpoint=url,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    return sum(
        len(page) if isinstance(page, list) else page.num_rows for page in obstore.list(store, PREFIX, **options)
    )


def _platform(folder: Path):
    from pipeline_assets.batch.build_platform import build_platform
    from pipeline_assets.settings import load_settings, prepare_home

    settings = load_settings(home=folder / "taken")
    prepare_home(settings)
    return build_platform(settings)


def _lake(url: str):
    from pipeline_assets.lake import S3Lake

    return S3Lake(region="eu-west-1", endpoint_url=url)


def _pages(url: str) -> int:
    with urlopen(f"{url}/requests") as answer:
        return int(answer.read())


_OURS = ("pipeline_assets.lake", "obstore", "pyarrow", "duckdb", "boto3.session", "obstore.auth.boto3")

_RUN = "A run over 1,000,000 known objects and 10 new ones"

BENCHMARK = Benchmark(
    name="discovery",
    title="Discovery: a zone of a million objects",
    about="""The listing of 1,000,000 objects over HTTP, 1,000 a page, from a server in another process, which takes
    one of the cores. "Reconcile" lists everything and hashes key, etag and size of each object; a common tick lists
    what sorts behind the highest key known and must read one page. obstore's own listing is measured as the Python
    objects that it gives by default, and as Arrow. A run's discovery, in the second table, reads what is known from the
    ledger of the embedded warehouse, lists everything and keeps what is new.""",
    contenders=(
        Contender("ours, reconcile", ours_whole, opens=zone, expected_rows=OBJECTS, imports=_OURS),
        Contender(
            "obstore's listing",
            obstore_listing,
            opens=zone,
            expected_rows=OBJECTS,
            arguments={"chunk_size": 1000},
            imports=("obstore",),
            bar=Bar("at_most", 1.3),
        ),
        Contender(
            "obstore's listing, Arrow",
            obstore_listing,
            opens=zone,
            expected_rows=OBJECTS,
            arguments={"chunk_size": 50_000, "return_arrow": True},
            imports=("obstore", "arro3.core"),
        ),
        Contender(
            "ours, tick after 10 new objects",
            ours_tick,
            opens=known_zone,
            expected_rows=NEW,
            imports=_OURS,
            bar=Bar("seconds", 0.5),
        ),
        Contender(
            "ours, a run's discovery, 10 new objects",
            ours_run,
            prepare=fill_ledger,
            opens=taken_zone,
            expected_rows=NEW,
            imports=(*_OURS, "pipeline_assets.batch.discover", "dagster_snowflake", "fakesnow"),
            bar=Bar("peak", 600),
            table=_RUN,
        ),
        Contender(
            "obstore's listing, Arrow",
            obstore_listing,
            opens=zone,
            expected_rows=OBJECTS,
            arguments={"chunk_size": 50_000, "return_arrow": True},
            imports=("obstore", "arro3.core"),
            bar=Bar("at_most", 1.5),
            table=_RUN,
        ),
    ),
)
