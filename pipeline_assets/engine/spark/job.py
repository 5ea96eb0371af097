"""The one Spark job: it takes the steps of a session as data and does them. Local Spark and Glue run this same file.

    spark-submit spark_job.py --plan <place of plan.json> --response <place of response.json>

A plan names inputs with their contracts, statements in Spark's SQL (transpiled before), and results to write; nothing
in here knows a pipeline, a warehouse or a ledger. Landed files are read by tasks (see `splits`) into a state folder of
Parquet, so that a job which continues a plan, or the next attempt of one, need not read them again.

Rows are known by (_FILE, _SPLIT, _RECORD). Files that are rejected whole are left out of every relation; bad records
are written with line and text for whoever tells people about them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts.validation import MISTYPED
from pipeline_assets.engine.distributed import file_splits, object_io
from pipeline_assets.engine.distributed.file_splits import FileSplit
from pipeline_assets.engine.file_sets import rejected_with_set
from pipeline_assets.engine.interface import RejectPolicy
from pipeline_assets.engine.spark import tasks
from pipeline_assets.engine.spark.input import WHOLE, Input
from pipeline_assets.engine.spark.reading import SplitReader
from pipeline_assets.engine.spark.state import State, texts
from pipeline_assets.engine.validation_query import referring
from pipeline_assets.engine.versions import every_version_of, newest_delivery

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_IDENTITY = "_FILE, _SPLIT, _RECORD"
_FEW_BYTES = 4 << 20  # landed bytes that are read, validated and joined by one task sooner than by many
_TOLD_AT_ONCE = 200_000  # records of a split whose bad ones one task tells of
_FOUND = "_FILE int, _SPLIT int, _RECORD bigint, _RULE int, _POSITION int, _LINE bigint, _RAW string, _FAULT string"
# Beside dynamic settings that Glue or a cluster brings along, results must not depend on them.
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Days before 1582 are days of the calendar that everybody else uses.
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
}


class Job:
    """The steps that were done, on one Spark session. `folder` is where state and results go, seen by every task."""

    def __init__(
        self, spark: SparkSession, folder: str, policy: RejectPolicy, split_bytes: int, scratch: str | None = None
    ) -> None:
        self._spark = spark
        self._state = State(spark, folder)
        self._scratch = scratch  # where tasks have their temporary files; the system's place when None
        self._policy = policy
        self._split_bytes = split_bytes
        self._reading = SplitReader(spark, self._state, split_bytes, scratch)
        self._inputs: dict[str, Input] = {}
        self._landed_bytes = 0
        for name, value in SETTINGS.items():
            spark.conf.set(name, value)

    def run(self, steps: Sequence[Mapping[str, Any]], say: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Do some steps; `say` hears of each that took some time.

        Returns:
            By `deduplicate` and `write` steps: `inputs` (what became of each file) and `writes` (their files).
        """
        response: dict[str, Any] = {"inputs": {}, "writes": {}}
        self._landed_bytes += sum(
            file["split"]["size"] for step in steps if step["do"] == "read" for file in step["files"]
        )
        if self._landed_bytes > min(_FEW_BYTES, self._split_bytes):
            self._state.expect_many()
        for number, step in enumerate(steps, 1):
            started = time.monotonic()
            match step["do"]:
                case "read":
                    self._read(step)
                case "table":
                    self._state.table(step["where"]).createOrReplaceTempView(step["name"])
                case "add_published":
                    entry = self._inputs[step["name"]]
                    entry.known = step["select"]
                    self._show(entry)
                case "view":
                    self._spark.sql(step["select"]).createOrReplaceTempView(step["name"])
                case "deduplicate":
                    response["inputs"][step["name"]] = self._deduplicate(self._inputs[step["name"]], step)
                case "every_version":
                    self._show_every_version(self._inputs[step["name"]])
                case "write":
                    response["writes"][step["name"]] = self._write(step)
                case other:
                    raise ValueError(f"There is no step {other!r}.")
            if say and step["do"] in ("read", "deduplicate", "write"):
                seconds = time.monotonic() - started
                say(f"Step {number} of {len(steps)}: {step['do']} {step['name']}: {seconds:.1f} s")
        return response

    # --- reading -------------------------------------------------------------------------------------------

    def _read(self, step: Mapping[str, Any]) -> None:
        entry = Input(step)
        self._inputs[entry.name] = entry
        first = self._blamed(entry, self._reading.take(entry, list(entry.splits.values()), "first"))
        statistics, counts = self._looked_over(first)
        if irregular := {entry["file"] for entry in statistics if entry.get("irregular")}:
            whole = [replace(entry.splits[file], number=WHOLE, tolerant=True) for file in sorted(irregular)]
            repeated = self._blamed(entry, self._reading.take(entry, whole, "again"))
            statistics_again, counts_again = self._looked_over(repeated)
            statistics = [entry for entry in statistics if entry["file"] not in irregular] + statistics_again
            counts |= counts_again
            first = self._state.together(first.where(f"_FILE NOT IN ({_listed(irregular)})").unionByName(repeated))
        entry.note(statistics)
        first.where("_STATISTICS IS NULL").createOrReplaceTempView(entry.rows)
        self._reject(entry, counts)
        for other in self._reject_file_sets():
            if other is not entry:
                self._show(other)
        self._show(entry)

    def _looked_over(self, rows: DataFrame) -> tuple[list[dict[str, Any]], dict[int, tuple[int, int]]]:
        """The statistics, and by file how many records there are and how many of them are bad."""
        from pyspark.sql import functions as f

        statistics, counts = [], {}
        counted = rows.groupBy("_FILE", "_STATISTICS").agg(f.count("*"), f.count("_FAULT"))
        for file, statistics, records, bad in counted.collect():
            if statistics is None:
                counts[file] = (records, bad)
            else:
                statistics.append(json.loads(statistics))
        return statistics, counts

    def _blamed(self, entry: Input, rows: DataFrame) -> DataFrame:
        """The first bad element of a record's list makes the record bad."""
        if not entry.items:
            return rows
        items, name = entry.step["items"], entry.name
        rows.createOrReplaceTempView(f"{name}__taken")
        self._spark.sql(entry.elements(f"{name}__taken", ["_FILE", "_SPLIT", "_RECORD"])).createOrReplaceTempView("RAW")
        self._spark.sql(items["validate"]).createOrReplaceTempView(f"{name}__elements")
        blamed = self._spark.sql(
            f"SELECT {_IDENTITY}, MIN_BY(_FAULT, _POSITION) AS _ITEM_FAULT, MIN(_POSITION) AS _POSITION "
            f"FROM {name}__elements WHERE _FAULT IS NOT NULL GROUP BY {_IDENTITY}"
        )
        self._kept(blamed, entry, "items").createOrReplaceTempView(f"{name}__blamed")
        blamed = self._spark.sql(
            f"SELECT r.*, COALESCE(r._FAULT, {items['offset']} + b._ITEM_FAULT) AS _FIRST_FAULT, "
            f"CASE WHEN r._FAULT IS NULL THEN b._POSITION END AS _POSITION "
            f"FROM {name}__taken AS r LEFT JOIN {name}__blamed AS b "
            "ON b._FILE = r._FILE AND b._SPLIT = r._SPLIT AND b._RECORD = r._RECORD"
        )
        return blamed.drop("_FAULT").withColumnRenamed("_FIRST_FAULT", "_FAULT")

    def _reject(self, entry: Input, counts: Mapping[int, tuple[int, int]]) -> None:
        """Count records and leave the rows of files out that are bad as a whole."""
        for file, (records, bad) in counts.items():
            outcome = entry.outcomes[file]
            if "rejection" in outcome:
                continue  # rows that were read before the file turned out to be unreadable
            outcome["read"], outcome["quarantined"] = records, bad
        for file, outcome in entry.outcomes.items():
            waiting = entry.splits[file].waiting
            if waiting and outcome["read"] != waiting:
                # One record swallowed others: ids and records do not belong together, all of them keep waiting.
                outcome["read"] = outcome["quarantined"] = waiting
                outcome["left_out"] = True
            elif not waiting and self._policy.rejects(outcome["read"], outcome["quarantined"]):
                outcome["too_many"] = outcome["quarantined"]
                outcome["quarantined"] = outcome["read"]
                outcome["left_out"] = True
            elif "rejection" in outcome:
                outcome["left_out"] = True
        entry.left_out = {file for file, outcome in entry.outcomes.items() if outcome.get("left_out")}

    def _reject_file_sets(self) -> list[Input]:
        """Leave the rows of files out of whose file_set another file is rejected; returns the inputs that have such."""
        file_sets = [
            ((name, file), entry.file_sets[file], entry.is_rejected(file))
            for name, entry in self._inputs.items()
            for file in sorted(entry.outcomes)
        ]
        found = {}
        for (name, file), cause in rejected_with_set(file_sets).items():
            entry = self._inputs[name]
            outcome = entry.outcomes[file]
            if "with" not in outcome:
                assert not entry.settled, f"{name} was settled before all files of its file_sets were read"
                outcome.update({"with": list(cause), "quarantined": outcome["read"], "left_out": True})
                entry.left_out.add(file)
                found[name] = entry
        return list(found.values())

    # --- known rows, versions, references -------------------------------------------------------------------

    def _show(self, entry: Input) -> None:
        """(Re)define the relations that SELECTs see."""
        from pyspark.sql import functions as f

        name, contract = entry.name, entry.contract
        columns = ", ".join(contract.column_names)
        listed = ", _ITEMS, _ITEMS_RESCUED, _ITEMS_MISTYPED" if entry.items else ""
        nothing = ", NULL, NULL, NULL" if entry.items else ""
        uris, times = (texts(column) for column in zip(*entry.landed, strict=True)) if entry.landed else [texts([])] * 2
        landed = self._spark.table(entry.rows).withColumns(
            {
                "_SOURCE_URI": f.element_at(uris, f.col("_FILE") + 1),
                "_SOURCE_MODIFIED_AT": f.element_at(times.cast("array<timestamp_ntz>"), f.col("_FILE") + 1),
            }
        )
        landed.createOrReplaceTempView(f"{name}__landed")
        without = f" AND _FILE NOT IN ({_listed(entry.left_out)})" if entry.left_out else ""
        rows = (
            f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, TRUE AS _IS_NEW, "
            f"_FILE, _SPLIT, _RECORD{listed} FROM {name}__landed WHERE _FAULT IS NULL{without}"
        )
        if entry.known:
            rows += (
                f" UNION ALL SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, FALSE, "
                f"CAST(NULL AS INT), CAST(NULL AS INT), MONOTONICALLY_INCREASING_ID(){nothing} FROM ({entry.known})"
            )
        self._present(entry, self._state.together(self._spark.sql(rows)))

    def _present(self, entry: Input, rows: DataFrame) -> None:
        name, hidden = entry.name, ["_FILE", "_SPLIT", "_RECORD"]
        rows.createOrReplaceTempView(f"{name}__all")
        listed = ["_ITEMS", "_ITEMS_RESCUED", "_ITEMS_MISTYPED"] if entry.items else []
        rows.drop(*hidden, *listed).createOrReplaceTempView(name)
        if entry.items:
            kept = [*entry.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_IS_NEW"]
            self._spark.sql(entry.elements(f"{name}__all", kept)).createOrReplaceTempView("RAW")
            shown = self._spark.sql(entry.step["items"]["show"]).drop("_FAULT", MISTYPED)
            shown.createOrReplaceTempView(entry.step["items"]["name"])

    def _deduplicate(self, entry: Input, step: Mapping[str, Any]) -> dict[str, Any]:
        """Set rows with an unknown reference aside; of several versions of a key keep the newest."""
        name, key = entry.name, entry.contract.key
        rule, joins = [], []
        for number, column in enumerate(referring(entry.contract), 1):
            assert column.reference is not None
            if column.reference.on_missing == "load":
                continue
            joins.append(
                f"LEFT JOIN (SELECT DISTINCT {column.reference.column} AS _KEY, TRUE AS _IS_THERE FROM "
                f"{column.reference.dataset}) AS r{number} ON r{number}._KEY = b.{column.name}"
            )
            rule.append(
                f"WHEN b._IS_NEW AND b.{column.name} IS NOT NULL AND r{number}._IS_THERE IS NULL THEN -{number}"
            )
        orphan = f"CASE {' '.join(rule)} END" if rule else "CAST(NULL AS INT)"
        is_old = self._is_of_older_delivery(entry) if step["snapshot"] else "FALSE"
        rank = "1"
        if key:
            waiting = _listed(file for file, split in entry.splits.items() if split.waiting)
            newest = f"{step['order']}, _FILE IN ({waiting}), _FILE DESC, _SPLIT DESC, _RECORD DESC"
            whole = " AND ".join(f"{column} IS NOT NULL" for column in key)
            rank = (
                f"CASE WHEN {whole} THEN ROW_NUMBER() OVER (PARTITION BY {', '.join(key)}, _RULE IS NULL, _IS_OLD "
                f"ORDER BY {newest}) ELSE 1 END"
            )
        judged = self._spark.sql(
            f"SELECT *, CASE WHEN _IS_OLD THEN 2 ELSE {rank} END AS _RANK FROM "
            f"(SELECT b.*, {orphan} AS _RULE, {is_old} AS _IS_OLD FROM {name}__all AS b {' '.join(joins)})"
        )
        judged = self._kept(judged.drop("_IS_OLD"), entry, "settled")
        judged.createOrReplaceTempView(f"{name}__judged")
        self._present(entry, judged.where("_RULE IS NULL AND _RANK = 1").drop("_RULE", "_RANK"))
        for file, orphans, superseded, left in self._spark.sql(
            "SELECT _FILE, COUNT(_RULE), COUNT_IF(_RULE IS NULL AND _RANK > 1), COUNT_IF(_RULE IS NULL AND _RANK = 1) "
            f"FROM {name}__judged WHERE _IS_NEW GROUP BY _FILE"
        ).collect():
            outcome = entry.outcomes[file]
            outcome["quarantined"] += orphans
            outcome["superseded"], outcome["left"] = superseded, left
        entry.settled = True
        bad = self._state.keep(self._find_bad(entry), self._state.place(name, "bad")) if entry.has_bad else []
        return {
            "outcomes": [entry.outcomes[file] for file in sorted(entry.outcomes)],
            "new_rows": sum(outcome.get("left", 0) for outcome in entry.outcomes.values()),
            "bad": bad,
            "differences": self._differences(entry),
        }

    def _is_of_older_delivery(self, entry: Input) -> str:
        """Whether a row is of another delivery than the newest, as SQL."""
        published = None
        if entry.known:
            published = self._spark.sql(
                f"SELECT _SOURCE_MODIFIED_AT, _SOURCE_URI FROM {entry.name}__all WHERE NOT _IS_NEW AND "
                "_SOURCE_MODIFIED_AT IS NOT NULL AND _SOURCE_URI IS NOT NULL ORDER BY 1 DESC, 2 DESC LIMIT 1"
            ).first()
        newest = newest_delivery(entry.accepted(), published and tuple(published))
        return f"CASE WHEN _IS_NEW THEN _FILE NOT IN ({_listed(newest.files)}) ELSE {not newest.published} END"

    def _show_every_version(self, entry: Input) -> None:
        from pyspark.sql import functions as f

        etag = f.element_at(texts(entry.etags), f.col("_FILE") + 1).alias("_SOURCE_ETAG")
        rows = self._spark.table(f"{entry.name}__judged").where("_IS_NEW AND _RULE IS NULL")
        columns = (*entry.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED")
        rows.select(*columns, etag).createOrReplaceTempView(every_version_of(entry.name))

    # --- what is wrong -------------------------------------------------------------------------------------

    def _find_bad(self, entry: Input) -> DataFrame:
        """Line and text of every bad record; of files that are rejected whole, of the first three."""
        position = "_POSITION" if entry.items else "CAST(NULL AS INT)"
        samples = {file for file, outcome in entry.outcomes.items() if "too_many" in outcome}
        reported = sorted(set(entry.outcomes) - entry.left_out)
        found = (
            f"SELECT {_IDENTITY}, _FAULT AS _RULE, {position} AS _POSITION FROM {entry.rows} WHERE _FAULT IS NOT NULL "
            f"AND _FILE IN ({_listed(reported)}) UNION ALL SELECT {_IDENTITY}, _RULE, CAST(NULL AS INT) "
            f"FROM {entry.name}__judged WHERE _RULE IS NOT NULL"
        )
        if samples:
            found += (
                f" UNION ALL SELECT {_IDENTITY}, _FAULT, {position} FROM (SELECT *, ROW_NUMBER() OVER "
                f"(PARTITION BY _FILE ORDER BY _SPLIT, _RECORD) AS _NUMBER FROM {entry.rows} "
                f"WHERE _FAULT IS NOT NULL AND _FILE IN ({_listed(samples)})) WHERE _NUMBER <= 3"
            )
        self._state.together(self._spark.sql(found)).createOrReplaceTempView(f"{entry.name}__bad")
        wanted = self._spark.sql(
            "SELECT _FILE, _SPLIT, COLLECT_LIST(NAMED_STRUCT('record', _RECORD, 'rule', _RULE, 'position', _POSITION)) "
            f"AS _WANTED FROM {entry.name}__bad GROUP BY _FILE, _SPLIT, FLOOR(_RECORD / {_TOLD_AT_ONCE})"
        )
        contract, known, within = entry.contract, self._known_parts(entry), self._scratch

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for row in batch.to_pylist():
                    yield tasks.found(contract, known[row["_FILE"], row["_SPLIT"]], row["_WANTED"], within)

        return wanted.mapInArrow(task, _FOUND)

    def _known_parts(self, entry: Input) -> dict[tuple[int, int], FileSplit]:
        """Every split that was read; a job that took over what was read has to cut the files once more."""
        if all(number == WHOLE for _, number in entry.parts):
            cut = self._reading.split_large_files(entry, list(entry.splits.values()))
            entry.parts.update({(split.file, split.number): split for split in cut})
        for file, split in entry.splits.items():
            entry.parts.setdefault((file, WHOLE), replace(split, number=WHOLE, tolerant=True))
        return entry.parts

    def _differences(self, entry: Input) -> dict[str, str]:
        """For files with too many bad records, how their shape differs from the contract's."""
        contract, within = entry.contract, self._scratch
        rejected = [
            (entry.splits[file], outcome["unknown"])
            for file, outcome in entry.outcomes.items()
            if "too_many" in outcome
        ]

        def task(asked: tuple[FileSplit, list[str]]) -> str | None:
            split, unknown = asked
            with object_io.scratch_folder(within) as scratch:
                return file_splits.difference(
                    contract, split, object_io.fetch(split.where, scratch, split.etag), scratch, unknown
                )

        if not rejected or contract.form != "json":
            return {}
        found = self._spark.sparkContext.parallelize(rejected, len(rejected)).map(task).collect()
        return {str(split.file): said for (split, _), said in zip(rejected, found, strict=True) if said}

    # --- results -------------------------------------------------------------------------------------------

    def _write(self, step: Mapping[str, Any]) -> dict[str, Any]:
        return {"files": self._state.keep(self._spark.sql(step["select"]), step["where"])}

    def _kept(self, rows: DataFrame, entry: Input, name: str) -> DataFrame:
        """The same rows, computed once."""
        return self._state.kept(rows, self._state.place(entry.name, name))


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers)) or "-1"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one plan from beginning to end; what Glue and spark-submit call."""
    from pyspark.sql import SparkSession

    from pipeline_assets.engine.distributed.plan import Plan

    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--response", required=True)
    named, _ = parser.parse_known_args(arguments)  # Glue adds arguments of its own
    with _reporting(arguments if arguments is not None else sys.argv[1:]) as say:
        plan = Plan.load(object_io.read_text(named.plan))
        spark = SparkSession.builder.appName("pipeline-assets").getOrCreate()
        try:
            job = Job(spark, plan.folder, plan.policy, plan.split_bytes)
            try:
                response = job.run(plan.steps, say)
            except Exception as error:
                if (where := changed_in(error)) is None:
                    raise
                response = {"changed": where}
            object_io.write_text(json.dumps(response), named.response)
        finally:
            spark.stop()


def changed_in(error: Exception) -> str | None:
    """Where an object lies that a task found changed, from Spark's account of what went wrong in it."""
    reported = re.search(r"ObjectChangedError: (.+?) was overwritten while it was read", str(error))
    return reported[1] if reported else None


@contextmanager
def _reporting(arguments: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """Tell the Dagster run that waits, by Dagster Pipes; where none does, the job's own log."""
    if not any(argument.startswith("--dagster-pipes") for argument in arguments):
        yield print
        return
    import boto3
    from dagster_pipes import PipesCliArgsParamsLoader, PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes

    client = boto3.client("s3")
    with open_dagster_pipes(
        params_loader=PipesCliArgsParamsLoader(),
        context_loader=PipesS3ContextLoader(client=client),
        message_writer=PipesS3MessageWriter(client=client, interval=2),
    ) as pipes:
        yield pipes.log.info


if __name__ == "__main__":
    main(sys.argv[1:])
