"""What a batch makes of its sources: tables, exports and lake tables, written to the local disk and staged in the lake.

The engine does the work (`engine.interface.Session`); what it is asked for follows from the resolved pipeline alone.
Nothing is published here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.batch.promote import CATALOG, PUBLISH, RELEASE, REMOVE
from pipeline_assets.contracts.arrow import arrow_schema
from pipeline_assets.contracts.ddl import Table, target_table
from pipeline_assets.engine import LakeFile, Session, Written
from pipeline_assets.errors import LostRowsError, RowAccountingError
from pipeline_assets.lake import LakeTable
from pipeline_assets.pipeline.fetch import (
    fetch_statement,
    keys_statement,
    published_records_statement,
    staged_table,
    touched_condition,
)
from pipeline_assets.pipeline.marts import refreshes
from pipeline_assets.pipeline.resolved import Export, FileTable, ResolvedPipeline, Source, key_table, partition_column
from pipeline_assets.pipeline.selects import PROVENANCE
from pipeline_assets.warehouse.publication import Load, Mart, StagedFile

if TYPE_CHECKING:
    import pyarrow as pa

_WRITE_ROWS = 50_000


class Outputs:
    """The outputs of one batch, from validated sources in an engine's session to files staged in the lake."""

    def __init__(self, context: BatchContext, session: Session, folder: Path, published_rows: dict[str, int]) -> None:
        self.statements: list[str] = []
        self.loads: list[Load] = []
        self.lake_files: dict[str, int] = {}
        self._context = context
        self._pipeline: ResolvedPipeline = context.pipeline
        self._session = session
        self._folder = folder
        self._staged: list[tuple[Path, str]] = []
        self._fetched = {
            table.contract.name: table
            for table in self._tables_to_fetch()
            if published_rows.get(target_table(table.contract).qualified)
        }
        self._tables: list[tuple[FileTable, Written]] = []
        self._exports: list[tuple[Export, Written]] = []
        self._counts: list[tuple[FileTable, str, str, Written | None, Written]] = []

    @property
    def marts(self) -> list[Mart]:
        """How the marts are refreshed in the publishing transaction."""
        return [
            Mart(
                refresh.mart.contract,
                " ".join(refresh.mart.select.relations),
                refresh.missing,
                refresh.digest,
                refresh.before,
                refresh.after,
                refresh.late,
            )
            for refresh in refreshes(self._pipeline, self._context.batch_id)
        ]

    def make(self) -> None:
        """Fetch published rows, check references and versions, and make every output.

        Raises:
            RowAccountingError: the records of a source do not add up.
            LostRowsError: a SELECT yields fewer or more rows than it was given.
        """
        self._fetch_published()
        for source in self._pipeline.sources:
            self._session.deduplicate(source.name, version=source.declared.version, snapshot=self._is_snapshot(source))
        for source in self._pipeline.sources:
            self._show_touched(source)
        for table in self._pipeline.tables:
            self._write_table(table)
        for export in self._pipeline.exports:
            self._write_export(export)
        for table in self._pipeline.lake_outputs:
            self._show_lake_rows(table)
        self._complete()

    # --- published rows ------------------------------------------------------------------------------------

    def _tables_to_fetch(self) -> list[FileTable]:
        """Tables whose published rows a batch compares its own with."""
        wanted = [published.table for published in self._pipeline.published.values()]
        wanted += [export.table for export in self._pipeline.exports if export.declared.only_changed]
        wanted += [table for table in self._pipeline.tables if table.write == "full_refresh"]
        return list(dict.fromkeys(wanted))

    def _fetch_published(self) -> None:
        """Bring the published rows that this batch has to see to the engine; of empty tables there are none."""
        keyed = [table for table in self._fetched.values() if table.write == "upsert"]
        if keyed:
            self._fetch_by_keys(keyed)
        for source in self._pipeline.sources:
            published = self._pipeline.published.get(source.name)
            if published and published.table.contract.name in self._fetched:
                relation = _published_relation(published.table)
                self._session.add_published(source.name, published_records_statement(self._pipeline, source, relation))
        for table in self._fetched.values():
            if table.write == "full_refresh":
                self._fetch_version(table)

    def _fetch_by_keys(self, tables: Sequence[FileTable]) -> None:
        keys = [(key_table(self._pipeline, s), self._write_keys(s)) for s in self._pipeline.sources if s.has_keys]
        staged = [(table, self._stage("keys", table.name.lower(), written)) for table, written in keys]
        self.send_staged()
        warehouse, bucket = self._context.platform.warehouse, self._pipeline.bucket
        with warehouse.read_only([bucket]) as transaction:
            for table, file in staged:
                if file.rows:
                    transaction.copy(table.qualified, warehouse.stage(bucket), [file.key])
            for table in tables:
                schema = arrow_schema(target_table(table.contract), (*table.contract.column_names, *PROVENANCE))
                transaction.to_parquet(fetch_statement(self._pipeline, table), schema, self._path("published", table))
            self.statements += transaction.statements
        for table in tables:
            self._session.table(_published_relation(table), self._path("published", table))

    def _write_keys(self, source: Source) -> Written:
        statement = keys_statement(source)
        self.statements.append(statement)
        path = self._folder / f"keys-{source.name}.parquet"
        return self._session.write(statement, path, "parquet")

    def _fetch_version(self, table: FileTable) -> None:
        """The object that a table was last refreshed from, as one published record without values."""
        columns = ", ".join(f"CAST(NULL AS {c.physical_type}) AS {c.name}" for c in table.grain.contract.columns)
        target = target_table(table.contract)
        schema = arrow_schema(target, PROVENANCE)
        with self._context.platform.warehouse.read_only() as transaction:
            transaction.to_parquet(
                f"SELECT DISTINCT _SOURCE_URI, _SOURCE_MODIFIED_AT, CAST(NULL AS VARCHAR) AS _RESCUED "
                f"FROM {target.qualified} ORDER BY _SOURCE_MODIFIED_AT DESC, _SOURCE_URI DESC LIMIT 1",
                schema,
                self._path("published", table),
            )
            self.statements += transaction.statements
        relation = _published_relation(table)
        self._session.table(relation, self._path("published", table))
        self._session.add_published(table.grain.name, f"SELECT {columns}, {', '.join(PROVENANCE)} FROM {relation}")

    def _is_snapshot(self, source: Source) -> bool:
        return any(t.grain is source and t.write == "full_refresh" for t in self._pipeline.tables)

    # --- what SELECTs read ---------------------------------------------------------------------------------

    def _has_published(self, source: Source) -> bool:
        published = self._pipeline.published.get(source.name)
        return bool(published and published.table.contract.name in self._fetched) or self._is_snapshot(source)

    def _show_touched(self, source: Source) -> None:
        """The records that this batch writes, as relations that SELECTs read instead of the whole source."""
        if self._has_published(source):
            condition = touched_condition(self._pipeline, source)
            for relation in source.relations:
                # Published records come without their lists, so of elements there are new ones only.
                wanted = condition if relation == source.relation else "_IS_NEW"
                self._session.view(_touched_relation(relation), f"SELECT * FROM {relation} WHERE {wanted}")

    def _instead(self, table: FileTable) -> dict[str, str]:
        """The relations that a SELECT reads instead of those that it names."""
        source = table.grain
        if table.write == "append":
            return {source.relation: self._session.every_version(source.name)}
        if not self._has_published(source):
            return {}
        return {relation: _touched_relation(relation) for relation in source.relations}

    def _select(self, table: FileTable, extra: Sequence[str] = PROVENANCE) -> str:
        """The SELECT of a table over what this batch touches, with where each row came from."""
        instead = self._instead(table)
        if found := table.select.with_columns_of(table.grain_relation, extra, instead):
            return found
        made = ", ".join(f"MADE.{name}" for name in table.contract.column_names)
        came = ", ".join(f"CAME.{name}" for name in extra)
        keys = [(name, copy[1]) for name in table.contract.key if (copy := table.select.copy_of(name))]
        same = " AND ".join(f"MADE.{mine} = CAME.{theirs}" for mine, theirs in keys)
        relation = instead.get(table.grain_relation, table.grain_relation)
        rows = table.select.reading(instead)
        return f"SELECT {made}, {came} FROM ({rows}) AS MADE INNER JOIN {relation} AS CAME ON {same}"

    # --- outputs -------------------------------------------------------------------------------------------

    def _write_table(self, table: FileTable) -> None:
        extra = (*PROVENANCE, "_SOURCE_ETAG") if table.write == "append" else PROVENANCE
        select = self._select(table, extra)
        self.statements.append(select)
        self._session.view(_batch_relation(table), select)
        columns = ", ".join((*table.contract.column_names, *extra))
        path = self._folder / f"{table.contract.name}.parquet"
        written = self._session.write(f"SELECT {columns} FROM {_batch_relation(table)}", path, "parquet")
        self._tables.append((table, written))
        self._count_rows(table, _batch_relation(table), written)

    def _write_export(self, export: Export) -> None:
        """The rows of a table that this batch writes, or those of them that differ from what is published."""
        table, name = export.table, export.declared.name
        columns = table.contract.column_names
        select = f"SELECT {', '.join(f'MADE.{c}' for c in columns)} FROM {_batch_relation(table)} AS MADE"
        if export.declared.only_changed and table.contract.name in self._fetched:
            same = " AND ".join(
                f"HAS.{c} = MADE.{c}" if c in table.contract.key else f"EQUAL_NULL(HAS.{c}, MADE.{c})" for c in columns
            )
            select += f" WHERE NOT EXISTS (SELECT 1 FROM {_published_relation(table)} AS HAS WHERE {same})"
        self.statements.append(select)
        self._exports.append((export, self._session.write(select, self._folder / f"export-{name}.csv", "csv")))

    def _show_lake_rows(self, table: FileTable) -> None:
        """What goes into the files of a lake table, and every place of a touched record in it, old and new."""
        source, name = table.grain, table.contract.table
        columns = ", ".join(table.contract.column_names)
        select = table.select.reading(self._instead(table))
        self.statements.append(select)
        self._session.view(f"LAKE_ROWS_{name}", f"SELECT {columns} FROM ({select}) AS MADE")
        self._count_rows(table, f"LAKE_ROWS_{name}")
        partition = partition_column(table.contract)
        copy = table.select.copy_of(partition)
        assert copy is not None  # checked when the pipeline was resolved
        (key,), (together,) = source.contract.key, table.record_key
        relation = self._instead(table).get(source.relation, source.relation)
        places = f"SELECT {key} AS {together}, {copy[1]} AS {partition} FROM {relation}"
        published = self._pipeline.published[source.name]
        if published.table.contract.name in self._fetched:
            places += (
                f" UNION SELECT HAS.{published.columns[key]}, HAS.{published.columns[copy[1]]} "
                f"FROM {_published_relation(published.table)} AS HAS "
                f"INNER JOIN {relation} AS TOUCHED ON HAS.{published.columns[key]} = TOUCHED.{key}"
            )
        self._session.view(f"LAKE_REPLACED_{name}", places)

    # --- results -------------------------------------------------------------------------------------------

    def _complete(self) -> None:
        """Have everything done that was asked for, and stage it on the local disk."""
        for source in self._pipeline.sources:
            outcomes = self._session.outcomes(source.name)
            counted, found = sum(outcome.loaded for outcome in outcomes), self._session.new_rows(source.name)
            if counted != found or any(outcome.loaded < 0 for outcome in outcomes):
                raise RowAccountingError(
                    f"{source.name}: {counted} rows should be left after validation and {found} are; "
                    "nothing was published."
                )
        self._require_all_rows()
        for table, written in self._tables:
            self.loads.append(self._load(table, self._stage("tables", table.contract.name, written)))
        for export, written in self._exports:
            if written.rows:
                self._staged.append((written.path, f"{self._context.staging}{PUBLISH}{self.export_key(export)}"))
        for table, lake_table in zip(self._pipeline.lake_outputs, self._pipeline.lake_tables, strict=True):
            self._write_lake_table(table, lake_table)

    def _load(self, table: FileTable, file: StagedFile) -> Load:
        contract, write = table.contract, table.write
        if write != "upsert":
            return Load(contract, file, write, dataset=table.grain.name)
        staged, keys = staged_table(self._pipeline, table.grain)
        return Load(contract, file, write, staged, tuple(zip(table.record_key, keys, strict=True)))

    def _count_rows(self, table: FileTable, made: str, written: Written | None = None) -> None:
        """Have counted what goes into a SELECT, and what comes out where it is not `written`.

        Not where the SELECT has no clause that could lose a row. Asked for with everything else, as a job that runs
        elsewhere is started each time that a result is read.
        """
        if table.filtered or table.write != "upsert" or table.select.keeps_every_row:
            return
        relation = self._instead(table).get(table.grain_relation, table.grain_relation)
        counts = {"EXPECTED": relation} if written else {"EXPECTED": relation, "MADE": made}
        select = ", ".join(f"(SELECT COUNT(*) FROM {counted}) AS {name}" for name, counted in counts.items())
        path = self._folder / f"count-{table.contract.name}.parquet"
        self._counts.append((table, made, relation, written, self._session.write(f"SELECT {select}", path, "parquet")))

    def _require_all_rows(self) -> None:
        """A row for each touched record or element: one lost to WHERE or JOIN would be loaded by the ledger alone."""
        for table, made, relation, written, counted in self._counts:
            row = _first_row(_finished(counted))
            rows = written.rows if written else row["MADE"]
            if row["EXPECTED"] != rows:
                raise LostRowsError(
                    f"{table.select.name} yields {rows} rows for {row['EXPECTED']} of {table.grain_relation}"
                    f"{self._example(table, made, relation)}; nothing was published.",
                    remedy="Make the JOIN or WHERE keep every row, or declare the table as filtered.",
                )

    def _example(self, table: FileTable, made: str, relation: str) -> str:
        """The key of one row that is lost, or that came twice, for the message."""
        keys = table.contract.key or table.record_key
        personal = {column.name for column in table.contract.columns if column.personal}
        copies = [(mine, copy[1]) for mine in keys if (copy := table.select.copy_of(mine))]
        mine, theirs = ", ".join(m for m, _ in copies), ", ".join(f"{t} AS {m}" for m, t in copies)
        for kind, select in (
            ("is lost", f"SELECT {theirs} FROM {relation} EXCEPT SELECT {mine} FROM {made}"),
            ("came more than once", f"SELECT {mine} FROM {made} GROUP BY {mine} HAVING COUNT(*) > 1"),
        ):
            path = self._folder / f"{kind.replace(' ', '-')}-{table.contract.name}.parquet"
            found = f"SELECT * FROM ({select}) AS FOUND ORDER BY {mine} LIMIT 1"
            if self._session.write(found, path, "parquet").rows and (row := _first_row(path)):
                shown = {name: "(personal data)" if name in personal else value for name, value in row.items()}
                return f"; {', '.join(f'{name} {value}' for name, value in shown.items())} {kind}"
        return ""

    def _write_lake_table(self, output: FileTable, table: LakeTable) -> None:
        lake, context = self._context.platform.lake, self._context
        name = table.contract.name
        folder = self._folder / f"lake-{name}"
        folder.mkdir()

        def existing(partitions: Sequence[str]) -> list[LakeFile]:
            return [
                LakeFile(landed.key, partition, lake.fetch(landed, self._folder))
                for partition in partitions
                for landed in table.files(lake, partition)
            ]

        layout = self._session.write_lake_table(table.contract, existing, folder, context.platform.lake_file_bytes)
        for number, key in enumerate(layout.removed):
            marker = folder / f"removed-{number}"
            marker.write_text(key, encoding="utf-8")
            self._staged.append((marker, f"{context.staging}{REMOVE}{key}"))
        for kind, files in ((RELEASE, layout.released), (PUBLISH, layout.written)):
            for number, file in enumerate(files, 1):
                new = f"{table.file_prefix}_{self._started_at}_{context.batch_id}_{number}.parquet"
                key = file.key or table.folder(file.partition) + new
                self._staged.append((file.path, f"{context.staging}{kind}{key}"))
        if layout.partitions:
            noted = folder / "partitions.json"
            noted.write_text(json.dumps(layout.partitions), encoding="utf-8")
            self._staged.append((noted, f"{context.staging}{CATALOG}{name}"))
        self.lake_files[name] = len(layout.written)

    # --- staging -------------------------------------------------------------------------------------------

    @property
    def _started_at(self) -> str:
        return f"{self._context.started_at:%Y%m%dT%H%M%SZ}"

    def export_key(self, export: Export) -> str:
        """Where the CSV of this batch appears in the pipeline's bucket."""
        return export.declared.key.format(started_at=self._started_at, batch_id=self._context.batch_id)

    def _path(self, kind: str, table: FileTable) -> Path:
        return self._folder / f"{kind}-{table.contract.name}.parquet"

    def _stage(self, kind: str, name: str, written: Written) -> StagedFile:
        staged = StagedFile(f"{self._context.staging}{kind}/{name}.parquet", written.rows)
        self._staged.append((written.path, staged.key))
        return staged

    def stage_rows(self, name: str, table: Table, rows: Iterable[Sequence[object]]) -> StagedFile:
        """Stage rows of one of the platform's own tables."""
        path, key = self._folder / f"ops-{name}.parquet", f"{self._context.staging}ops/{name}.parquet"
        self._staged.append((path, key))
        return StagedFile(key, write_parquet(path, arrow_schema(table), rows))

    def send_staged(self) -> None:
        """Bring what was staged on the local disk into the lake."""
        for path, key in self._staged:
            self._context.platform.lake.publish(path, self._pipeline.bucket, key)
        self._staged.clear()


def _finished(written: Written) -> Path:
    """The file of something written; asking for its rows makes sure that it is there."""
    int(written.rows)
    return written.path


def _first_row(path: Path) -> dict[str, object]:
    import pyarrow.parquet as pq

    return next(iter(pq.read_table(path).to_pylist()), {})


def _batch_relation(table: FileTable) -> str:
    """The rows that this batch writes to a table."""
    return f"BATCH_{table.contract.table}"


def _published_relation(table: FileTable) -> str:
    """The rows of a table that were fetched."""
    return f"PUBLISHED_{table.contract.table}"


def _touched_relation(relation: str) -> str:
    return f"{relation}__TOUCHED"


def write_parquet(path: Path, schema: pa.Schema, rows: Iterable[Sequence[object]]) -> int:
    """Write rows in slices; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = 0
    remaining: Iterator[Sequence[object]] = iter(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while slice_ := [row for _, row in zip(range(_WRITE_ROWS), remaining, strict=False)]:
            columns = zip(*slice_, strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            written += len(slice_)
    return written
