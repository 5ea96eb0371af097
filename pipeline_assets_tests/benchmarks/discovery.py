"""Discovery: what a sensor's tick costs over a zone of a million known objects.

The listing comes from a server of its own (`listing_server`), a thousand keys a page as S3 gives them, so that what is
measured is the client: obstore's listing in its two forms, and ours, which also hashes and compares every object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    """The same with a look behind us, after which ten objects landed."""
    from pipeline_assets.lake.discovery import Cursor, look

    with zone(folder) as url:
        lake = _lake(url)
        cursor = look(lake, _BUCKET, PREFIX, Cursor())
        urlopen(Request(f"{url}/{_BUCKET}", data=str(NEW).encode(), method="PUT")).close()
        yield url, lake, cursor


def ours_whole(inputs: Path, folder: Path, url: str) -> int:
    """A reconcile: everything is listed, hashed and compared."""
    from pipeline_assets.lake.discovery import Cursor, look

    return look(_lake(url), _BUCKET, PREFIX, Cursor()).count


def ours_tick(inputs: Path, folder: Path, opened: tuple) -> int:
    """A common tick; more than one page read is a failure."""
    from pipeline_assets.lake.discovery import look

    url, lake, cursor = opened
    before = _pages(url)
    after = look(lake, _BUCKET, PREFIX, cursor)
    if _pages(url) - before != 1 or after.digest == cursor.digest:
        raise RuntimeError(f"{_pages(url) - before} pages were read")
    return after.count - cursor.count


def ours_objects(inputs: Path, folder: Path, url: str) -> int:
    """The listing of a run: an object of ours for every one that lies there."""
    lake = _lake(url)
    lake.head = lambda uri: lake  # type: ignore[assignment] - empty objects are asked for; this server has none
    return len(list(lake.list(_BUCKET, PREFIX)))


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


def _lake(url: str):
    from pipeline_assets.lake import S3Lake

    return S3Lake(region="eu-west-1", endpoint_url=url)


def _pages(url: str) -> int:
    with urlopen(f"{url}/requests") as answer:
        return int(answer.read())


_OURS = ("pipeline_assets.lake", "obstore", "pyarrow", "duckdb", "boto3.session", "obstore.auth.boto3")

BENCHMARK = Benchmark(
    name="discovery",
    title="Discovery: a zone of a million objects",
    about="""The listing of 1,000,000 objects over HTTP, 1,000 a page, from a server in another process, which takes
    one of the cores. "Reconcile" lists everything and hashes key, etag and size of each object; a common tick lists
    what sorts behind the highest key known and must read one page. The listing of a run keeps an object of ours for
    every one, to be compared with the ledger. obstore's own listing is measured as the Python objects that it gives by
    default, and as Arrow.""",
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
        Contender("ours, listing of a run", ours_objects, opens=zone, expected_rows=OBJECTS, imports=_OURS),
    ),
)
