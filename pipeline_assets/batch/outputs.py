"""What a batch makes of its sources: tables, exports and lake tables, written to the local disk and staged in the lake.

The engine (`engine.interface.Session`) does the work; the statements follow from the resolved pipeline alone. Nothing
is published here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.batch.arrive import Move, write_moves
from pipeline_assets.batch.context import CATALOG, MOVE, PUBLISH, RELEASE, REMOVE, BatchContext
from pipeline_assets.contracts.arrow import arrow_schema
from pipeline_assets.contracts.ddl import KEEPS_SUPERSEDED, Table, null_columns, target_table
from pipeline_assets.contracts.names import name_parts, sql_name, sql_names
from pipeline_assets.engine import LakeFile, Session, Written
from pipeline_assets.errors import LostRowsError, RowAccountingError
from pipeline_assets.lake import LakeTable
from pipeline_assets.pipeline.fetch import (
    fetch_statement,
    keys_statement,
    published_records_statement,
    touched_condition,
    touched_records_table,
)
from pipeline_assets.pipeline.marts import refreshes
from pipeline_assets.pipeline.resolved import (
    BATCH_ID,
    Export,
    FileTable,
    ResolvedPipeline,
    Source,
    key_table,
    partition_column,
)
from pipeline_assets.pipeline.selects import PROVENANCE, is_select
from pipeline_assets.pipeline.value_checks import value_check
from pipeline_assets.progress import progress
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
        self.lake_partitions: dict[str, int] = {}
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
            for refresh in refreshes(self._pipeline)
        ]

    @property
    def exported_rows(self) -> dict[str, int]:
        """The number of rows in each export."""
        return {export.declared.name: written.rows for export, written in self._exports}

    def make(self) -> None:
        """Fetch published rows, check references and versions, and make every output.

        Raises:
            RowAccountingError: the records of a source do not add up.
            LostRowsError: a SELECT yields fewer or more rows than it reads.
        """
        self._fetch_published()
        for source in self._pipeline.sources:
            self._session.deduplicate(
                source.name,
                version=source.declared.version,
                snapshot=self._is_snapshot(source),
                check=value_check(self._pipeline, source, self._rows_over),
            )
        for source in self._pipeline.sources:
            self._define_touched_views(source)
        for table in self._pipeline.tables:
            self._write_table(table)
        for export in self._pipeline.exports:
            self._write_export(export)
        for table in self._pipeline.lake_outputs:
            self._define_lake_views(table)
        self._stage_outputs()

    # --- published rows ------------------------------------------------------------------------------------

    def _tables_to_fetch(self) -> list[FileTable]:
        """The tables whose published rows a batch compares with its own rows."""
        tables = [published.table for published in self._pipeline.published.values()]
        tables += [export.table for export in self._pipeline.exports if export.declared.only_changed]
        tables += [table for table in self._pipeline.tables if table.write == "full_refresh"]
        return list(dict.fromkeys(tables))

    def _fetch_published(self) -> None:
        """Fetch the published rows that this batch needs into the engine; an empty table is not queried."""
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
        staged = [(keys_of, self._stage("keys", keys_of.name.lower(), written)) for keys_of, written in keys]
        self.send_staged()
        warehouse, bucket = self._context.platform.warehouse, self._pipeline.bucket
        with warehouse.read_only([bucket]) as transaction:
            for staging_table, file in staged:
                if file.rows:
                    transaction.copy(staging_table.qualified, warehouse.stage(bucket), [file.key])
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
        """Fetch which object a table was last refreshed from, as one published record without values."""
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
        columns = f"{null_columns(table.grain.contract)}, {', '.join(PROVENANCE)}"
        self._session.add_published(table.grain.name, f"SELECT {columns} FROM {relation}")

    def _is_snapshot(self, source: Source) -> bool:
        return any(t.grain is source and t.write == "full_refresh" for t in self._pipeline.tables)

    # --- relations that SELECTs read -----------------------------------------------------------------------

    def _has_published_rows(self, source: Source) -> bool:
        published = self._pipeline.published.get(source.name)
        return bool(published and published.table.contract.name in self._fetched) or self._is_snapshot(source)

    def _define_touched_views(self, source: Source) -> None:
        """Define views of the records that this batch writes; SELECTs read them in place of the whole source."""
        if self._has_published_rows(source):
            condition = touched_condition(self._pipeline, source)
            for relation in source.relations:
                # Published records have no lists, so all list elements are new.
                rows = condition if relation == source.relation else "_IS_NEW"
                self._session.view(_touched_relation(relation), f"SELECT * FROM {relation} WHERE {rows}")

    def _replacements(self, table: FileTable) -> dict[str, str]:
        """The relations that replace those that a SELECT names."""
        source = table.grain
        if table.write in KEEPS_SUPERSEDED:
            last_of_object = table.write == "append" and bool(table.contract.key)
            versions = self._session.every_version(source.name, last_of_object=last_of_object)
            of_batch = f"{versions}__of_batch"  # a view, so that the table's own SELECT is the same in every batch
            self._session.view(of_batch, f"SELECT *, '{self._context.batch_id}' AS {BATCH_ID} FROM {versions}")
            return {source.relation: of_batch}
        if not self._has_published_rows(source):
            return {}
        return {relation: _touched_relation(relation) for relation in source.relations}

    def _select(self, table: FileTable, extra: Sequence[str] = PROVENANCE) -> str:
        """The SELECT of a table over the touched records, with the provenance of each row."""
        return self._rows_over(table, extra, self._replacements(table))

    def _rows_over(self, table: FileTable, extra: Sequence[str], replacements: Mapping[str, str]) -> str:
        """The SELECT of a table over other relations, with further columns of the records of its rows."""
        if statement := table.select.with_source_columns(table.grain_relation, extra, replacements):
            return statement
        own_columns = sql_names(table.contract.column_names, "MADE")
        extra_columns = ", ".join(f"CAME.{name}" for name in extra)
        keys = [(name, copy[1]) for name in table.contract.key if (copy := table.select.copy_of(name))]
        same_key = " AND ".join(f"MADE.{sql_name(mine)} = CAME.{sql_name(theirs)}" for mine, theirs in keys)
        relation = replacements.get(table.grain_relation, table.grain_relation)
        came = f"({relation})" if is_select(relation) else relation
        rows = table.select.over(replacements)
        return f"SELECT {own_columns}, {extra_columns} FROM ({rows}) AS MADE INNER JOIN {came} AS CAME ON {same_key}"

    # --- outputs -------------------------------------------------------------------------------------------

    def _write_table(self, table: FileTable) -> None:
        extra = (*PROVENANCE, "_SOURCE_ETAG") if table.write in KEEPS_SUPERSEDED else PROVENANCE
        select = self._select(table, extra)
        self.statements.append(select)
        self._session.view(_batch_relation(table), select)
        columns = sql_names((*table.contract.column_names, *extra))
        path = self._folder / f"{table.contract.name}.parquet"
        written = self._session.write(f"SELECT {columns} FROM {_batch_relation(table)}", path, "parquet")
        self._tables.append((table, written))
        self._count_rows(table, _batch_relation(table), written)

    def _write_export(self, export: Export) -> None:
        """Write the rows of a table as CSV: all of this batch, or only those that differ from the published rows."""
        table, name = export.table, export.declared.name
        columns = table.contract.column_names
        select = f"SELECT {sql_names(columns, 'MADE')} FROM {_batch_relation(table)} AS MADE"
        if export.declared.only_changed and table.contract.name in self._fetched:
            keys = [*map(sql_name, table.contract.key)]
            equal = " AND ".join(
                f"HAS.{c} = MADE.{c}" if c in keys else f"EQUAL_NULL(HAS.{c}, MADE.{c})" for c in map(sql_name, columns)
            )
            select += f" WHERE NOT EXISTS (SELECT 1 FROM {_published_relation(table)} AS HAS WHERE {equal})"
        self.statements.append(select)
        self._exports.append((export, self._session.write(select, self._folder / f"export-{name}.csv", "csv")))

    def _define_lake_views(self, table: FileTable) -> None:
        """Define the rows of a lake table, and the old and new partitions of each touched record."""
        source, name = table.grain, table.contract.name.upper()
        select = table.select.over(self._replacements(table))
        self.statements.append(select)
        columns = sql_names(table.contract.column_names)
        self._session.view(f"LAKE_ROWS_{name}", f"SELECT {columns} FROM ({select}) AS MADE")
        self._count_rows(table, f"LAKE_ROWS_{name}")
        partition, key = partition_column(table.contract), sql_names(source.contract.key)
        copy = table.select.copy_of(partition)
        assert copy is not None  # checked when the pipeline was resolved
        relation = self._replacements(table).get(source.relation, source.relation)
        named = f"{key} AS {sql_names(table.record_key)}, {sql_name(copy[1])} AS {sql_name(partition)}"
        partitions = f"SELECT {named} FROM {relation}"
        published = self._pipeline.published[source.name]
        if published.table.contract.name in self._fetched:
            published_key, partitioned = (sql_name(published.columns[c]) for c in (*source.contract.key, copy[1]))
            partitions += (
                f" UNION SELECT HAS.{published_key}, HAS.{partitioned} "
                f"FROM {_published_relation(published.table)} AS HAS "
                f"INNER JOIN {relation} AS TOUCHED ON HAS.{published_key} = TOUCHED.{key}"
            )
        self._session.view(f"LAKE_REPLACED_{name}", partitions)

    # --- results -------------------------------------------------------------------------------------------

    def _stage_outputs(self) -> None:
        """Check the row counts, and list all outputs for staging."""
        for source in self._pipeline.sources:
            outcomes = self._session.outcomes(source.name)
            expected, remaining = sum(outcome.loaded for outcome in outcomes), self._session.new_rows(source.name)
            if expected != remaining or any(outcome.loaded < 0 for outcome in outcomes):
                raise RowAccountingError(
                    f"{source.name}: {expected} rows should remain after validation, but {remaining} do; "
                    "nothing was published."
                )
        self._require_all_rows()
        for table, written in self._tables:
            self.loads.append(self._load(table, self._stage("tables", table.contract.name, written)))
        for export, written in self._exports:
            if written.rows:
                self._staged.append((written.path, f"{self._context.staging}{PUBLISH}{self.export_key(export)}"))
        lake_tables = {table.contract.name: table for table in self._pipeline.lake_tables}
        for table in self._pipeline.lake_outputs:
            self._write_lake_table(table, lake_tables[table.contract.name])

    def _load(self, table: FileTable, file: StagedFile) -> Load:
        contract, write = table.contract, table.write
        piped = contract.name not in self._pipeline.value.contracts  # a run's own tables are not deployed, nor pipes
        if write != "upsert":
            return Load(contract, file, write, dataset=table.grain.name, piped=piped)
        staged, keys = touched_records_table(self._pipeline, table.grain)
        on = tuple(zip(table.record_key, keys, strict=True))
        return Load(contract, file, write, staged, on, piped=piped)

    def _count_rows(self, table: FileTable, result: str, written: Written | None = None) -> None:
        """Count the rows that a SELECT reads and, unless they are `written` to a file, the rows that it yields.

        A SELECT without a clause that could lose or double a row is not counted. The counts are only requested here
        and read later: an engine that runs elsewhere starts a job whenever a result is read.
        """
        if table.filtered or table.write != "upsert" or table.select.keeps_every_row:
            return
        relation = self._replacements(table).get(table.grain_relation, table.grain_relation)
        counts = {"EXPECTED": relation} if written else {"EXPECTED": relation, "MADE": result}
        select = ", ".join(f"(SELECT COUNT(*) FROM {counted}) AS {name}" for name, counted in counts.items())
        path = self._folder / f"count-{table.contract.name}.parquet"
        self._counts.append(
            (table, result, relation, written, self._session.write(f"SELECT {select}", path, "parquet"))
        )

    def _require_all_rows(self) -> None:
        """Require one row per touched record or element: a row that a JOIN loses must not count as loaded."""
        for table, result, relation, written, counted in self._counts:
            row = _first_row(_finished_path(counted))
            rows = written.rows if written else row["MADE"]
            if row["EXPECTED"] != rows:
                raise LostRowsError(
                    f"{table.select.name} yields {rows} rows for {row['EXPECTED']} of {table.grain_relation}"
                    f"{self._example(table, result, relation)}; nothing was published.",
                    remedy="Make the JOIN or WHERE keep every row, or declare the table as filtered.",
                )

    def _example(self, table: FileTable, result: str, relation: str) -> str:
        """The key of one row that is lost or doubled, for the message."""
        keys = table.contract.key or table.record_key
        personal = {column.name for column in table.contract.columns if column.personal}
        copies = [(mine, copy[1]) for mine in keys if (copy := table.select.copy_of(mine))]
        mine, theirs = sql_names(m for m, _ in copies), ", ".join(f"{sql_name(t)} AS {sql_name(m)}" for m, t in copies)
        for kind, select in (
            ("is lost", f"SELECT {theirs} FROM {relation} EXCEPT SELECT {mine} FROM {result}"),
            ("came more than once", f"SELECT {mine} FROM {result} GROUP BY {mine} HAVING COUNT(*) > 1"),
        ):
            path = self._folder / f"{kind.replace(' ', '-')}-{table.contract.name}.parquet"
            query = f"SELECT * FROM ({select}) AS FOUND ORDER BY {mine} LIMIT 1"
            if self._session.write(query, path, "parquet").rows and (row := _first_row(path)):
                values = {name: "(personal data)" if name in personal else value for name, value in row.items()}
                return f"; {', '.join(f'{name} {value}' for name, value in values.items())} {kind}"
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
            partitions_file = folder / "partitions.json"
            partitions_file.write_text(json.dumps(layout.partitions), encoding="utf-8")
            self._staged.append((partitions_file, f"{context.staging}{CATALOG}{name}"))
        self.lake_files[name], self.lake_partitions[name] = len(layout.written), len(layout.partitions)

    # --- staging -------------------------------------------------------------------------------------------

    @property
    def _started_at(self) -> str:
        return f"{self._context.started_at:%Y%m%dT%H%M%SZ}"

    def export_key(self, export: Export) -> str:
        """The key of this batch's CSV in the pipeline's bucket."""
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

    def stage_moves(self, moves: Collection[Move]) -> None:
        """Stage where the objects of moved sources go after the commit."""
        if moves:
            path = self._folder / "moves.json"
            write_moves(moves, path)
            self._staged.append((path, f"{self._context.staging}{MOVE}moves.json"))

    def send_staged(self) -> None:
        """Upload the staged files from the local disk to the lake."""
        sizes = [path.stat().st_size for path, _ in self._staged]
        with progress("Uploading staged files", "bytes", sum(sizes)) as step:
            for (path, key), size in zip(self._staged, sizes, strict=True):
                self._context.platform.lake.publish(path, self._pipeline.bucket, key)
                step.advance(size)
        self._staged.clear()


def _finished_path(written: Written) -> Path:
    """The path of a written file; reading its row count waits until the file exists."""
    int(written.rows)
    return written.path


def _first_row(path: Path) -> dict[str, object]:
    import pyarrow.parquet as pq

    return next(iter(pq.read_table(path).to_pylist()), {})


def _batch_relation(table: FileTable) -> str:
    """The rows that this batch writes to a table."""
    return f"BATCH_{table.contract.name.upper()}"


def _published_relation(table: FileTable) -> str:
    """The fetched published rows of a table."""
    return f"PUBLISHED_{table.contract.name.upper()}"


def _touched_relation(relation: str) -> str:
    return f"{name_parts(relation)[0]}__TOUCHED"


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
