"""What a pipeline's transform works with: one batch, its inputs read and validated.

A transform looks published rows up, settles its inputs, and says what to load, derive and hand out. Everything is
written to the local disk first and staged in the lake below `staging/<batch>/`; nothing is published here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.arrow import arrow_schema
from pipeline_assets.contracts.ddl import Table, target_table
from pipeline_assets.engine import LakeFile, Session, Written
from pipeline_assets.errors import RowAccountingError
from pipeline_assets.lake import LakeTable
from pipeline_assets.operations.pipeline import Pipeline
from pipeline_assets.operations.platform import Platform
from pipeline_assets.sqlfiles import load_sql
from pipeline_assets.warehouse.publication import Load, Mart, StagedFile
from pipeline_assets.warehouse.schema import STAGE_KEYS

STAGING = "staging/"
# Below a batch's staging prefix: what readers of the lake see after publication, in this order.
REMOVE = "remove/"
RELEASE = "release/"
HAND_OUT = "publish/"
CATALOG = "catalog/"  # for each lake table, the partitions to register when all that is done
_WRITE_ROWS = 50_000


class Work:
    """What a pipeline's transform works on: one batch with its inputs read and validated."""

    def __init__(
        self, platform: Platform, pipeline: Pipeline, batch_id: str, started_at: datetime, folder: Path
    ) -> None:
        self.batch_id = batch_id
        self.started_at = started_at
        self.statements: list[str] = []
        self.loads: list[Load] = []
        self.marts: list[Mart] = []
        self.lake_files: dict[str, int] = {}
        self._platform = platform
        self._bucket = pipeline.bucket
        self._folder = folder
        self._staged: list[tuple[Path, str]] = []
        self._settled: list[str] = []
        self._loads: list[tuple[Contract, Written, Contract | None]] = []
        self._hand_outs: list[tuple[Written, str]] = []
        self._lake_tables: list[LakeTable] = []
        self.session: Session
        self.published_rows: dict[str, int] = {}

    def look_up(self, keys: str, published: Mapping[str, tuple[str, Contract]]) -> None:
        """Bring the published rows that this batch touches to the engine.

        Args:
            keys: SQL file whose rows (KEY_NAME, KEY_VALUE) go to OPS.STAGE_KEYS for the time of the look-up.
            published: relation name in the engine -> SQL file over the warehouse and the table's contract.
        """
        paths = {name: self._folder / f"{name}.parquet" for name in published}
        empty = not any(self.published_rows[target_table(contract).qualified] for _, contract in published.values())
        schemas = {name: _published_schema(contract) for name, (_, contract) in published.items()}
        if empty:
            for name, path in paths.items():
                write_parquet(path, schemas[name], ())
        else:
            key = self._stage("keys", self._write(keys, "keys"))
            bucket, warehouse = self._bucket, self._platform.warehouse
            self.send_staged()
            with warehouse.look([bucket]) as unit:
                if key.rows:
                    unit.copy(STAGE_KEYS.qualified, warehouse.stage(bucket), [key.key])
                for name, (sql, _) in published.items():
                    unit.to_parquet(load_sql(sql).text, schemas[name], paths[name])
                self.statements += unit.statements
        for name, path in paths.items():
            self.session.table(name, path)

    def known(self, dataset: str, select: str) -> None:
        """Add published rows to an input, from a SELECT over relations that were looked up."""
        self.session.known(dataset, select)

    def settle(self, dataset: str) -> None:
        """References and versions; `complete` proves that no row got lost on the way."""
        self.session.settle(dataset)
        self._settled.append(dataset)

    def view(self, name: str, sql: str) -> None:
        """Name the result of a SQL file for the statements that follow."""
        self.statements.append(load_sql(sql).text)
        self.session.view(name, load_sql(sql).text)

    def load(self, contract: Contract, select: str, *, part_of: Contract | None = None) -> None:
        """Merge the rows of a SELECT (contract columns, `_SOURCE_*`, `_RESCUED`) into the contract's table.

        See `pipeline_assets.warehouse.publication.Load` for `part_of`.
        """
        columns = ", ".join((*contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED"))
        path = self._folder / f"{contract.name}.parquet"
        written = self.session.write(f"SELECT {columns} FROM ({select}) AS ROWS_TO_LOAD", path, "parquet")
        self._loads.append((contract, written, part_of))

    def derive(self, contract: Contract, *, outdated: str, select: str, source: str) -> None:
        """Keep a mart current; see `pipeline_assets.warehouse.publication.Mart`."""
        self.marts.append(Mart(contract, load_sql(outdated).text, load_sql(select).text, source))

    def hand_out_csv(self, sql: str, key: str) -> None:
        """Give the rows of a SQL file to others as one CSV, after publication; no row, no file."""
        path = self._folder / "hand-out.csv"
        self.statements.append(load_sql(sql).text)
        self._hand_outs.append((self.session.write(load_sql(sql).text, path, "csv"), key))

    def lay_out(self, table: LakeTable, rows: str, replaced: str) -> None:
        """Bring the rows of a SQL file into a lake table, to be seen after publication.

        Args:
            rows: SQL file of the table's columns, the partition among them.
            replaced: SQL file of (key, partition) that names everything this batch writes or takes away.
        """
        self.view("LAKE_ROWS", rows)
        self.view("LAKE_REPLACED", replaced)
        self._lake_tables.append(table)

    def complete(self) -> None:
        """Have everything done that the transform asked for, and stage it on the local disk.

        Raises:
            RowAccountingError: the rows of an input do not add up.
        """
        for dataset in self._settled:
            outcomes = self.session.outcomes(dataset)
            counted, found = sum(outcome.loaded for outcome in outcomes), self.session.new_rows(dataset)
            if counted != found or any(outcome.loaded < 0 for outcome in outcomes):
                raise RowAccountingError(
                    f"{dataset}: {counted} rows should be left after validation and {found} are; nothing was published."
                )
        for contract, written, part_of in self._loads:
            self.loads.append(Load(contract, self._stage(contract.name, written), part_of))
        for written, key in self._hand_outs:
            if written.rows:
                self._staged.append((written.path, f"{STAGING}{self.batch_id}/{HAND_OUT}{key}"))
        for table in self._lake_tables:
            self._lay_out(table)

    def _lay_out(self, table: LakeTable) -> None:
        lake = self._platform.lake
        name = table.contract.name
        folder = self._folder / name
        folder.mkdir()

        def existing(partitions: Sequence[str]) -> list[LakeFile]:
            return [
                LakeFile(landed.key, partition, lake.fetch(landed, self._folder))
                for partition in partitions
                for landed in table.files(lake, partition)
            ]

        layout = self.session.lay_out(table.contract, existing, folder, self._platform.lake_file_bytes)
        for number, key in enumerate(layout.removed):
            marker = folder / f"removed-{number}"
            marker.write_text(key, encoding="utf-8")
            self._staged.append((marker, f"{STAGING}{self.batch_id}/{REMOVE}{key}"))
        for phase, files in ((RELEASE, layout.released), (HAND_OUT, layout.written)):
            for number, file in enumerate(files, 1):
                new = f"{table.file_prefix}_{self.started_at:%Y%m%dT%H%M%SZ}_{self.batch_id}_{number}.parquet"
                key = file.key or table.folder(file.partition) + new
                self._staged.append((file.path, f"{STAGING}{self.batch_id}/{phase}{key}"))
        if layout.partitions:
            noted = folder / "partitions.json"
            noted.write_text(json.dumps(layout.partitions), encoding="utf-8")
            self._staged.append((noted, f"{STAGING}{self.batch_id}/{CATALOG}{name}"))
        self.lake_files[name] = len(layout.written)

    def send_staged(self) -> None:
        """Bring what was staged on the local disk into the lake."""
        for path, key in self._staged:
            self._platform.lake.publish(path, self._bucket, key)
        self._staged.clear()

    def _write(self, sql: str, name: str) -> Written:
        self.statements.append(load_sql(sql).text)
        return self.session.write(load_sql(sql).text, self._folder / f"{name}.parquet", "parquet")

    def _stage(self, name: str, written: Written) -> StagedFile:
        staged = StagedFile(f"{STAGING}{self.batch_id}/{name}.parquet", written.rows)
        self._staged.append((written.path, staged.key))
        return staged

    def stage_rows(self, name: str, table: Table, rows: Iterator[Sequence[object]]) -> StagedFile:
        """Stage rows of one of the platform's own tables."""
        path, staged = self._folder / f"{name}.parquet", f"{STAGING}{self.batch_id}/{name}.parquet"
        self._staged.append((path, staged))
        return StagedFile(staged, write_parquet(path, arrow_schema(table), rows))


def _published_schema(contract: Contract):
    names = (*contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED")
    return arrow_schema(target_table(contract), names)


def write_parquet(path: Path, schema, rows) -> int:
    """Write rows in slices; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written, rows = 0, iter(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while slice_ := [row for _, row in zip(range(_WRITE_ROWS), rows, strict=False)]:
            columns = zip(*slice_, strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            written += len(slice_)
    return written
