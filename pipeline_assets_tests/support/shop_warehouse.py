"""A pipeline as small as one can be: sales, and a mart of their totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.arrow import arrow_schema
from pipeline_assets.contracts.ddl import Table, staging_table, target_table
from pipeline_assets.lake import Lake
from pipeline_assets.warehouse.publication import Load, Mart, Publication, StagedFile
from pipeline_assets.warehouse.schema import ops_table

BUCKET = "shop-bucket"
COUNTER = Table("OPS", "COUNTER", "A counter.", (("N", "NUMBER(38,0)", True, "How many."),))
NOON = datetime.fromisoformat("2026-01-01T12:00:00")
SALES = Contract(
    "sales",
    "SALES",
    "1",
    "shop",
    "Sales.",
    "One row per sale.",
    "team",
    (
        Column("SALE_ID", "string", "VARCHAR(8)", required=True, key=True),
        Column("SHOP", "string", "VARCHAR(8)"),
        Column("AMOUNT", "number", "NUMBER(18,4)"),
    ),
)
TOTALS = Contract(
    "totals",
    "TOTALS",
    "1",
    "shop",
    "Totals.",
    "One row per shop.",
    "team",
    (Column("SHOP", "string", "VARCHAR(8)", key=True), Column("TOTAL", "number", "NUMBER(38,4)")),
)
_OUTDATED = (
    "DELETE FROM SHOP.TOTALS WHERE SHOP IN (SELECT S.SHOP FROM OPS.STAGE_SHOP_SALES AS S UNION DISTINCT "
    "SELECT P.SHOP FROM SHOP.SALES AS P INNER JOIN OPS.STAGE_SHOP_SALES AS S ON P.SALE_ID = S.SALE_ID)"
)
TOTALS_MART = Mart(
    TOTALS,
    before=(_OUTDATED,),
    digest="1",
    missing="SELECT S.SHOP, SUM(S.AMOUNT) AS TOTAL FROM SHOP.SALES AS S "
    "WHERE NOT EXISTS (SELECT 1 FROM SHOP.TOTALS AS T WHERE T.SHOP = S.SHOP) GROUP BY S.SHOP",
    source="SHOP.SALES",
)

TABLES = (target_table(SALES), staging_table(SALES), target_table(TOTALS))


def load_of(file: StagedFile) -> Load:
    """Sales by their key."""
    return Load(SALES, file, replaced_by=staging_table(SALES).qualified, on=(("SALE_ID", "SALE_ID"),))


@dataclass(frozen=True)
class Shop:
    """The shop as a pipeline, as far as `deploy` needs one."""

    name = "shop"
    bucket = BUCKET
    targets = (SALES, TOTALS)
    tables = ()
    sources = ()
    lake_tables = ()
    warehouse_tables = TABLES
    warehouse_views = ()
    load_stages = (staging_table(SALES),)


Sale = tuple[str, str, str]


class Batch:
    """Stages files for one batch and says what to publish."""

    def __init__(self, lake: Lake, scratch: Path, batch_id: str, planned_on: int = 0) -> None:
        self.lake, self.scratch, self.batch_id, self.planned_on = lake, scratch, batch_id, planned_on

    def stage(self, table: Table, rows: Sequence[dict], *, claimed: int | None = None) -> StagedFile:
        """A staged Parquet file; `claimed` is how many rows its writer says it has."""
        schema = arrow_schema(table)
        key = f"staging/{self.batch_id}/{table.name.lower()}.parquet"
        path = self.scratch / "staged.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
        self.lake.publish(path, BUCKET, key)
        return StagedFile(key, len(rows) if claimed is None else claimed)

    def publication(
        self,
        *sales: Sale,
        claimed: int | None = None,
        quarantine: Sequence[dict] = (),
        object_of: str | None = None,
    ) -> Publication:
        """What the batch publishes of one object, which is its own or (`object_of`) that of an earlier batch."""
        uri = f"lake://b/{object_of or self.batch_id}"
        rows = [
            {"SALE_ID": sale, "SHOP": shop, "AMOUNT": Decimal(amount), "_SOURCE_URI": uri}
            for sale, shop, amount in sales
        ]
        ledger = {
            "PIPELINE": "shop",
            "DATASET": "sales",
            "URI": uri,
            "ETAG": "1",
            "SIZE_BYTES": Decimal(10),
            "LAST_MODIFIED": NOON,
            "STATUS": "loaded",
            **{f"ROWS_{count}": Decimal(len(rows)) for count in ("READ", "LOADED")},
            **{f"ROWS_{count}": Decimal(0) for count in ("SUPERSEDED", "QUARANTINED")},
            "BATCH_ID": self.batch_id,
            "RUN_ID": "run",
            "LOADED_AT": NOON,
        }
        return Publication(
            pipeline="shop",
            batch_id=self.batch_id,
            run_id="run",
            bucket=BUCKET,
            planned_on=self.planned_on,
            loads=[load_of(self.stage(staging_table(SALES), rows, claimed=claimed))],
            marts=[TOTALS_MART],
            ledger=self.stage(ops_table("STAGE_FILE_LEDGER"), [ledger]),
            quarantine=self.stage(ops_table("STAGE_QUARANTINE"), quarantine),
            released=self.stage(ops_table("STAGE_RELEASED"), []),
        )
