"""Find the objects of some zones that are not in the ledger, at little more than the cost of the listing.

Known objects, of which there may be millions, never become Python objects. The warehouse computes a fingerprint of 32
characters for each (dataset, uri, etag and size), and DuckDB keeps them. The listing streams past them in Arrow
batches, and only new objects are kept.

The ledger is read before the zones are listed. If another run of the pipeline publishes in between,
`claim_publication` stops this one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline_assets.duckdb_session import duckdb_session
from pipeline_assets.errors import LakeError
from pipeline_assets.lake.foreign import foreign_folders, foreign_objects
from pipeline_assets.lake.objects import FINGERPRINT, LandedObject
from pipeline_assets.lake.store import Lake
from pipeline_assets.lake.zones import Zone, hidden

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = "200MB"  # of DuckDB, enough for 3 M known objects; beyond that it spills to a folder
_ROWS_AT_A_TIME = 10_000
_EXAMPLES = 3  # of objects that match no pattern
_NUMBER = "CAST('0x' || {fingerprint} AS UHUGEINT)"  # half the memory of the text
_FINGERPRINT = FINGERPRINT.format(dataset="dataset", size="size", etag="etag", uri="uri")
# NOT IN, unlike an anti join, always builds its hash table from `known`, however DuckDB estimates the listing's length.
_UNKNOWN = (
    "SELECT dataset, uri, etag, size, modified FROM listed "
    f"WHERE {_NUMBER.format(fingerprint=_FINGERPRINT)} NOT IN (FROM known)"
)
_AGAIN = " OR (uri, etag) IN (SELECT (uri, etag) FROM again)"


@dataclass(frozen=True)
class Arrivals:
    """The new objects in the zones, by dataset and oldest first, and the number of known ones.

    `unmatched` names a few of the objects below the prefixes of the zones that match no zone. `foreign` are all foreign
    objects in the zones, new or known, as (uri, etag).
    """

    new: dict[str, list[LandedObject]]
    known: int
    unmatched: tuple[str, ...] = ()
    unmatched_count: int = 0
    foreign: frozenset[tuple[str, str]] = frozenset()


class KnownObjects:
    """Fingerprints of the object versions in the ledger; DuckDB spills to `folder` beyond its memory limit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        # One thread is as fast as the listing, and runs the listing's Python code in the caller's thread, which gets
        # its errors and signals.
        with ExitStack() as opened:
            self._database = opened.enter_context(duckdb_session(self._folder, MEMORY, threads=1))
            # With a single NULL in `known`, NOT IN would find nothing new.
            self._database.execute("CREATE TEMP TABLE known (fingerprint UHUGEINT NOT NULL)")
            self._close = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close.__exit__(kind, error, trace)

    def add(self, fingerprints: Iterable[pa.Table]) -> None:
        """Add fingerprints: tables of one column."""
        for some in fingerprints:
            self._database.register("batch", some.rename_columns(["fingerprint"]))
            self._database.execute(f"INSERT INTO known SELECT {_NUMBER.format(fingerprint='fingerprint')} FROM batch")
            self._database.unregister("batch")

    def arrivals(self, lake: Lake, zones: Mapping[str, Zone], again: Collection[tuple[str, str]] = ()) -> Arrivals:
        """List the zones, each prefix once, and find the objects that are not known or whose (uri, etag) is in `again`.

        If a store lists a key twice because it was overwritten meanwhile, the newest version counts.

        Raises:
            LakeError: the listing failed, or memory or disk ran out.
        """
        listing = _Listing(lake, zones)
        known = 0
        new: dict[str, dict[str, LandedObject]] = {name: {} for name in zones}
        for name, landed in self._unknown(listing, again):
            known -= 1
            before = new[name].get(landed.uri, landed)
            new[name][landed.uri] = max(before, landed, key=lambda version: version.version)
        known += listing.matched
        real = {name: lake.without_markers(list(objects.values())) for name, objects in new.items()}
        ordered = {name: sorted(objects, key=lambda o: o.version) for name, objects in real.items()}
        foreign = frozenset(listing.foreign)
        return Arrivals(ordered, known, tuple(sorted(listing.unmatched)), listing.unmatched_count, foreign)

    def _unknown(self, listing: _Listing, again: Collection[tuple[str, str]]) -> Iterator[tuple[str, LandedObject]]:
        import duckdb
        import pyarrow as pa

        database = self._database
        database.register("listed", pa.RecordBatchReader.from_batches(listing.schema, listing.batches()))
        if again:
            uris, etags = zip(*again, strict=True)
            database.register("again", pa.table({"uri": uris, "etag": etags}))
        try:
            result = database.execute(_UNKNOWN + (_AGAIN if again else ""))
            while rows := result.fetchmany(_ROWS_AT_A_TIME):
                for name, uri, etag, size, modified in rows:
                    yield name, LandedObject(uri, etag, size, modified.replace(tzinfo=UTC))
        except duckdb.Error as error:
            if listing.failure:
                raise listing.failure from None  # DuckDB keeps only its text
            raise LakeError(
                f"Failed comparing the listing with the ledger: {error}.", remedy="Free memory or disk and run again."
            ) from error
        finally:
            database.unregister("listed")


class _Listing:
    """The objects of zones with the names of their datasets; an object of two zones is listed twice."""

    def __init__(self, lake: Lake, zones: Mapping[str, Zone]) -> None:
        import pyarrow as pa

        self.schema = pa.schema(
            {
                "dataset": pa.string(),
                "uri": pa.string(),
                "etag": pa.string(),
                "size": pa.uint64(),
                "modified": pa.timestamp("us"),
            }
        )
        self.matched = 0
        self.unmatched: list[str] = []
        self.unmatched_count = 0
        self.foreign: set[tuple[str, str]] = set()
        self.failure: BaseException | None = None
        self._lake = lake
        self._zones: dict[tuple[str, str], dict[str, Zone]] = defaultdict(dict)
        for name, zone in zones.items():
            self._zones[zone.bucket, zone.prefix][name] = zone

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches, to be read once; an error is kept in `failure`."""
        import pyarrow.compute as pc

        try:
            for (bucket, prefix), zones in self._zones.items():
                for batch in self._lake.list_batches(bucket, prefix):
                    accounted = pc.or_(hidden(batch), pc.equal(batch["size"], 0))  # folder markers of S3
                    for name, zone in zones.items():
                        mask = zone.mask(batch)
                        if zone.is_recursive:  # a folder that cannot be listed may hold objects of the zone
                            mask = pc.or_(mask, foreign_folders(batch["e_tag"]))
                        accounted = pc.or_(accounted, pc.or_(mask, zone.beside_mask(batch)))
                        matching = batch.filter(mask)
                        self.matched += matching.num_rows
                        listed = self._with_dataset(name, bucket, matching)
                        foreign = listed.filter(foreign_objects(listed["etag"]))
                        self.foreign.update(zip(foreign["uri"].to_pylist(), foreign["etag"].to_pylist(), strict=True))
                        yield listed
                    self._count_unmatched(batch.filter(pc.invert(accounted)))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    def _count_unmatched(self, batch: pa.RecordBatch) -> None:
        """Count objects below the prefix of a zone that match no zone; they may be meant for one."""
        self.unmatched_count += batch.num_rows
        if len(self.unmatched) < _EXAMPLES:
            self.unmatched += batch["path"][: _EXAMPLES - len(self.unmatched)].to_pylist()

    def _with_dataset(self, name: str, bucket: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa
        import pyarrow.compute as pc

        uris = pc.binary_join_element_wise(self._lake.uri(bucket, ""), batch["path"], "")
        modified = batch["last_modified"].cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
        columns = [pa.repeat(name, len(batch)), uris, batch["e_tag"], batch["size"], modified]
        return pa.record_batch(columns, schema=self.schema)
