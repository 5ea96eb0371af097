"""A commerce lake for tests."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pipeline_assets.contracts import Contract
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, contract_of

BUCKET = "commerce-stream"


def pipeline() -> ResolvedPipeline:
    return pipelines()["commerce"]


def contract(name: str) -> Contract:
    return contract_of(pipeline(), name)


def _select(name: str) -> str:
    columns = ", ".join(column for column in contract(name).column_names if column != "BATCH_ID")
    return f"SELECT {columns} FROM COMMERCE.{contract(name).table} ORDER BY {columns}"


TABLES = {
    contract(name).table: _select(name)
    for name in ("customer_raw", "orders_raw", "customers", "orders", "order_customer_date_price")
}


def customer(key: object, name: object = "Ada", balance: object = "10.50", comment: str = "c") -> str:
    return f'{key},{name},"1 High Street, Bath",7,555-1234,{balance},BUILDING,{comment}'


def order(
    key: object, customer_key: object = 1, status: str = "F", price: object = "100.25", day: str = "2024-02-01"
) -> str:
    return f"{key},{customer_key},{status},{price},{day},1-URGENT,Clerk#1,0,c"


class CommerceLake(PipelineLake):
    """One home with the commerce pipeline."""

    pipeline = staticmethod(pipeline)
    landing = f"{BUCKET}/firehose"
    tables_sql = TABLES

    def deliver(self, stream: str, at: datetime, *records: str, name: str = "a", newline: str = "\n") -> Path:
        """Land an object as Firehose names it; `at` is its delivery time."""
        return self.write(self.key(stream, at, name), "\n".join(records) + newline, at)

    @staticmethod
    def key(stream: str, at: datetime, name: str = "a") -> str:
        """The key of a delivered object below `firehose/`."""
        return f"{stream}/landing/{at:%Y/%m/%d/%H}/pipeline-{stream}-1-{at:%Y-%m-%d-%H-%M-%S}-{name}"

    def zones(self) -> dict[str, bytes]:
        """Every landed object by zone, without the batch in its key; a rejected one with its reason beside it."""
        return {key: path.read_bytes() for key, path in zip(self.landed_keys(), self.landed_paths(), strict=True)}

    def copied_rows(self) -> list[tuple]:
        """The rows of the mart's copy in the lake, with their partitions."""
        import pyarrow.parquet as pq

        rows = []
        for path in sorted((self.home / "lake" / BUCKET / "order_customer_date_price_parquet").glob("*/*.parquet")):
            table = pq.read_table(path, use_threads=False, partitioning=None)
            rows += [(path.parent.name, *row.values()) for row in table.to_pylist()]
        return sorted(rows)
