"""The Spark job: it runs the steps of a session, which are data. Local Spark and Glue run this same file.

    spark-submit spark_job.py --plan <uri of plan.json> --response <uri of response.json>

A plan has inputs with their contracts, statements in Spark's SQL (already transpiled), and results to write. Tasks read
landed files (see `file_splits`) into a state folder of Parquet, so that a later job of the plan, or its next attempt,
need not read them again. (_FILE, _SPLIT, _RECORD) identifies a row. Files that are rejected as a whole are left out of
every relation; bad records are written with line and text. Nothing here depends on pipelines, warehouse or ledger.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts.names import spark_name
from pipeline_assets.contracts.validation import FLOATS, MISTYPED
from pipeline_assets.engine.distributed import object_io, split_reader
from pipeline_assets.engine.distributed.split_reader import FileSplit
from pipeline_assets.engine.file_sets import rejected_with_set
from pipeline_assets.engine.interface import RejectPolicy, checked
from pipeline_assets.engine.spark import ranking, tasks
from pipeline_assets.engine.spark.inputs import WHOLE, SparkInput
from pipeline_assets.engine.spark.landed_files import LandedFileReader
from pipeline_assets.engine.spark.ranking import in_list
from pipeline_assets.engine.spark.session import map_batches
from pipeline_assets.engine.spark.state import State, texts
from pipeline_assets.engine.validation_query import referring
from pipeline_assets.engine.versions import last_of_object_condition, newest_delivery

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_IDENTITY = "_FILE, _SPLIT, _RECORD"
_FEW_BYTES = 4 << 20  # landed bytes that one task reads, validates and joins faster than several
_UNPACKED = 20  # a packed byte counts as so many more: in memory it may be a thousand
_RECORDS_PER_TASK = 200_000  # records of a split whose bad ones one task finds
_BAD_RECORD_SCHEMA = (
    "_FILE int, _SPLIT int, _RECORD bigint, _RULE int, _POSITION int, _LINE bigint, _RAW string, _FAULT string"
)
# Results depend on these settings, so they override those of Glue or a cluster.
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Days before 1582 are in the proleptic Gregorian calendar, as in other engines.
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
}


class Job:
    """Runs steps on one Spark session. State and results are written to `folder`, which every task can access."""

    def __init__(
        self, spark: SparkSession, folder: str, policy: RejectPolicy, split_bytes: int, scratch: str | None = None
    ) -> None:
        self._spark = spark
        self._state = State(spark, folder)
        self._scratch = scratch  # folder of the tasks' temporary files; the system's when None
        self._policy = policy
        self._split_bytes = split_bytes
        self._reader = LandedFileReader(spark, self._state, split_bytes, scratch)
        self._inputs: dict[str, SparkInput] = {}
        self._landed_bytes = 0
        for name, value in SETTINGS.items():
            spark.conf.set(name, value)

    def run(self, steps: Sequence[Mapping[str, Any]], say: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Run some steps; `say` reports those that may take long.

        Returns:
            Of `deduplicate` and `write` steps: `inputs` (the outcome of each file) and `writes` (their files).
        """
        response: dict[str, Any] = {"inputs": {}, "writes": {}}
        splits = [file["split"] for step in steps if step["do"] == "read" for file in step["files"]]
        few = min(_FEW_BYTES, self._split_bytes)
        self._landed_bytes += sum(split["size"] for split in splits)
        if self._landed_bytes <= few and self._state.is_local:  # rows may stay in memory
            packed = [split for split in splits if split["typed"] or split["where"].lower().endswith(".gz")]
            self._landed_bytes += _UNPACKED * sum(split["size"] for split in packed)
        if self._landed_bytes > few:
            self._state.expect_many()
        for number, step in enumerate(steps, 1):
            started = time.monotonic()
            match step["do"]:
                case "read":
                    self._read(step)
                case "table":
                    self._state.table(step["where"]).createOrReplaceTempView(spark_name(step["name"]))
                case "add_published":
                    spark_input = self._inputs[step["name"]]
                    spark_input.published = step["select"]
                    self._define_relations(spark_input)
                case "view":
                    self._spark.sql(step["select"]).createOrReplaceTempView(spark_name(step["name"]))
                case "deduplicate":
                    response["inputs"][step["name"]] = self._deduplicate(self._inputs[step["name"]], step)
                case "every_version":
                    self._define_every_version(self._inputs[step["name"]], step)
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
        spark_input = SparkInput(step)
        self._inputs[spark_input.name] = spark_input
        first = self._with_item_faults(
            spark_input, self._reader.read(spark_input, list(spark_input.splits.values()), "first")
        )
        statistics, counts = self._collect_statistics(first)
        if irregular := {each["file"] for each in statistics if each.get("irregular")}:
            whole = [replace(spark_input.splits[file], number=WHOLE, tolerant=True) for file in sorted(irregular)]
            repeated = self._with_item_faults(spark_input, self._reader.read(spark_input, whole, "again"))
            statistics_again, counts_again = self._collect_statistics(repeated)
            statistics = [each for each in statistics if each["file"] not in irregular] + statistics_again
            counts |= counts_again
            first = self._state.together(first.where(f"_FILE NOT IN ({in_list(irregular)})").unionByName(repeated))
        spark_input.add_statistics(statistics)
        first.where("_STATISTICS IS NULL").createOrReplaceTempView(spark_input.rows)
        self._reject(spark_input, counts)
        for other in self._reject_file_sets():
            if other is not spark_input:
                self._define_relations(other)
        self._define_relations(spark_input)

    def _collect_statistics(self, rows: DataFrame) -> tuple[list[dict[str, Any]], dict[int, tuple[int, int, int]]]:
        """The statistics of files, and by file the number of records, of bad records, and of floats in good ones."""
        from pyspark.sql import functions as f

        statistics, counts = [], {}
        counted = rows.groupBy("_FILE", "_STATISTICS").agg(
            f.count("*"), f.count("_FAULT"), f.sum(f.when(f.isnull("_FAULT"), f.col(FLOATS)).otherwise(0))
        )
        for file, reported, records, bad, floats in counted.collect():
            if reported is None:
                counts[file] = (records, bad, floats)
            else:
                statistics.append(json.loads(reported))
        return statistics, counts

    def _with_item_faults(self, spark_input: SparkInput, rows: DataFrame) -> DataFrame:
        """The first bad element of a record's list makes the record bad."""
        if not spark_input.items:
            return rows
        items, name = spark_input.step["items"], spark_input.name
        rows.createOrReplaceTempView(f"{name}__read")
        elements = spark_input.elements(f"{name}__read", ["_FILE", "_SPLIT", "_RECORD"])
        self._spark.sql(elements).createOrReplaceTempView("RAW")
        self._spark.sql(items["validate"]).createOrReplaceTempView(f"{name}__elements")
        item_faults = self._spark.sql(
            f"SELECT {_IDENTITY}, MIN_BY(_FAULT, _POSITION) FILTER (WHERE _FAULT IS NOT NULL) AS _ITEM_FAULT, "
            f"MIN(_POSITION) FILTER (WHERE _FAULT IS NOT NULL) AS _POSITION, SUM({items['floats']}) AS _ITEM_FLOATS "
            # Spark pushes a condition into each SELECT below, where its text grows a hundredfold and takes seconds to
            # plan; it does not push one below a column whose values depend on the rows before.
            f"FROM (SELECT *, MONOTONICALLY_INCREASING_ID() AS _ROW FROM {name}__elements) "
            f"WHERE (_FAULT IS NOT NULL OR {items['floats']} > 0) AND _ROW >= 0 GROUP BY {_IDENTITY}"
        )
        self._keep(item_faults, spark_input, "items").createOrReplaceTempView(f"{name}__item_faults")
        records = self._spark.sql(
            f"SELECT r.*, COALESCE(r._FAULT, {items['offset']} + b._ITEM_FAULT) AS _FIRST_FAULT, "
            f"r.{FLOATS} + COALESCE(b._ITEM_FLOATS, 0) AS _ALL_FLOATS, "
            f"CASE WHEN r._FAULT IS NULL THEN b._POSITION END AS _POSITION "
            f"FROM {name}__read AS r LEFT JOIN {name}__item_faults AS b "
            "ON b._FILE = r._FILE AND b._SPLIT = r._SPLIT AND b._RECORD = r._RECORD"
        )
        renamed = {"_FIRST_FAULT": "_FAULT", "_ALL_FLOATS": FLOATS}
        return records.drop(*renamed.values()).withColumnsRenamed(renamed)

    def _reject(self, spark_input: SparkInput, counts: Mapping[int, tuple[int, int, int]]) -> None:
        """Count records, and leave out the rows of files that are rejected as a whole."""
        for file, (records, bad, floats) in counts.items():
            outcome = spark_input.outcomes[file]
            if "rejection" in outcome:
                continue  # rows that were read before the file turned out to be unreadable
            outcome["read"], outcome["quarantined"], outcome["floats"] = records, bad, floats
        for file, outcome in spark_input.outcomes.items():
            waiting = spark_input.splits[file].waiting
            if waiting and outcome["read"] != waiting:
                # One record swallowed others, so ids and records do not match: all of them stay in quarantine.
                outcome["read"] = outcome["quarantined"] = waiting
                outcome["left_out"] = True
            elif "rejection" in outcome:
                outcome["left_out"] = True
            elif not waiting and self._policy.rejects(outcome["read"], outcome["quarantined"]):
                outcome["too_many"] = outcome["quarantined"]
                outcome["quarantined"] = outcome["read"]
                outcome["left_out"] = True
        spark_input.left_out = {file for file, outcome in spark_input.outcomes.items() if outcome.get("left_out")}

    def _reject_file_sets(self) -> list[SparkInput]:
        """Leave out the rows of files with a rejected file in their file_set; returns the inputs of these files."""
        file_sets = [
            ((name, file), spark_input.file_sets[file], spark_input.is_rejected(file))
            for name, spark_input in self._inputs.items()
            for file in sorted(spark_input.outcomes)
        ]
        affected = {}
        for (name, file), cause in rejected_with_set(file_sets).items():
            spark_input = self._inputs[name]
            outcome = spark_input.outcomes[file]
            if "with" not in outcome:
                assert not spark_input.is_deduplicated, (
                    f"{name} was deduplicated before all files of its file_sets were read"
                )
                outcome.update({"with": list(cause), "quarantined": outcome["read"], "left_out": True})
                spark_input.left_out.add(file)
                affected[name] = spark_input
        return list(affected.values())

    # --- published rows, versions, references ---------------------------------------------------------------

    def _define_relations(self, spark_input: SparkInput) -> None:
        """Define the relations for SELECTs again, without the rows that are left out."""
        from pyspark.sql import functions as f

        name, contract = spark_input.name, spark_input.contract
        columns = ", ".join(map(spark_name, contract.column_names))
        listed = ", _ITEMS, _ITEMS_RESCUED, _ITEMS_MISTYPED" if spark_input.items else ""
        no_lists = ", NULL, NULL, NULL" if spark_input.items else ""
        uris, times = (
            (texts(column) for column in zip(*spark_input.landed, strict=True))
            if spark_input.landed
            else [texts([])] * 2
        )
        landed = self._spark.table(spark_input.rows).withColumns(
            {
                "_SOURCE_URI": f.element_at(uris, f.col("_FILE") + 1),
                "_SOURCE_MODIFIED_AT": f.element_at(times.cast("array<timestamp_ntz>"), f.col("_FILE") + 1),
            }
        )
        landed.createOrReplaceTempView(f"{name}__landed")
        condition = f" AND _FILE NOT IN ({in_list(spark_input.left_out)})" if spark_input.left_out else ""
        rows = (
            f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, TRUE AS _IS_NEW, "
            f"_FILE, _SPLIT, _RECORD{listed} FROM {name}__landed WHERE _FAULT IS NULL{condition}"
        )
        if spark_input.published:
            rows += (
                f" UNION ALL SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, FALSE, "
                f"CAST(NULL AS INT), CAST(NULL AS INT), MONOTONICALLY_INCREASING_ID(){no_lists} "
                f"FROM ({spark_input.published})"
            )
        self._define_input(spark_input, self._state.together(self._spark.sql(rows)))

    def _define_input(self, spark_input: SparkInput, rows: DataFrame) -> None:
        name, hidden = spark_input.name, ["_FILE", "_SPLIT", "_RECORD"]
        rows.createOrReplaceTempView(f"{name}__all")
        listed = ["_ITEMS", "_ITEMS_RESCUED", "_ITEMS_MISTYPED"] if spark_input.items else []
        rows.drop(*hidden, *listed).createOrReplaceTempView(spark_name(name))
        if spark_input.items:
            kept = [*spark_input.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_IS_NEW"]
            self._spark.sql(spark_input.elements(f"{name}__all", kept)).createOrReplaceTempView("RAW")
            elements = self._spark.sql(spark_input.step["items"]["show"]).drop("_FAULT", FLOATS, MISTYPED)
            elements.createOrReplaceTempView(spark_name(spark_input.step["items"]["name"]))

    def _deduplicate(self, spark_input: SparkInput, step: Mapping[str, Any]) -> dict[str, Any]:
        """Quarantine rows without their reference and misfits; of several versions of a key keep the newest."""
        name = spark_input.name
        everything = self._spark.table(f"{name}__all")
        self._rank(spark_input, step, "deduplicated", "")
        misfits: list[str] = []
        while step["check"] and (found := self._find_misfits(spark_input, step, len(misfits))):
            misfits.append(found)
            everything.createOrReplaceTempView(f"{name}__all")
            self._rank(spark_input, step, f"deduplicated-{len(misfits)}", " UNION ALL ".join(misfits))
        for file, orphans, superseded, remaining in self._spark.sql(
            "SELECT _FILE, COUNT(_RULE), COUNT_IF(_RULE IS NULL AND _RANK > 1), COUNT_IF(_RULE IS NULL AND _RANK = 1) "
            f"FROM {name}__ranked WHERE _IS_NEW GROUP BY _FILE"
        ).collect():
            outcome = spark_input.outcomes[file]
            outcome["quarantined"] += orphans
            outcome["superseded"], outcome["left"] = superseded, remaining
        spark_input.is_deduplicated = True
        bad = self._state.keep(self._find_bad(spark_input), self._state.uri(name, "bad")) if spark_input.has_bad else []
        return {
            "outcomes": [spark_input.outcomes[file] for file in sorted(spark_input.outcomes)],
            "new_rows": sum(outcome.get("left", 0) for outcome in spark_input.outcomes.values()),
            "bad": bad,
            "differences": self._differences(spark_input),
        }

    def _rank(self, spark_input: SparkInput, step: Mapping[str, Any], kept: str, misfits: str) -> None:
        is_old = self._is_of_older_delivery(spark_input) if step["snapshot"] else "FALSE"
        ranked = self._spark.sql(ranking.ranked(spark_input, step["order"], is_old, misfits))
        ranked = self._keep(ranked.drop("_IS_OLD"), spark_input, kept)
        ranked.createOrReplaceTempView(f"{spark_input.name}__ranked")
        self._define_input(spark_input, ranked.where("_RULE IS NULL AND _RANK = 1").drop("_RULE", "_RANK"))

    def _find_misfits(self, spark_input: SparkInput, step: Mapping[str, Any], number: int) -> str:
        """A SELECT of the misfits among the ranked rows (`_ROW`, `_RULE`), or an empty text if there are none."""
        self._spark.sql(ranking.checked_rows(spark_input, step["check_every_version"])).createOrReplaceTempView(
            checked(spark_input.name)
        )
        if items := spark_input.step["items"]:
            kept = [*spark_input.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_IS_NEW", "_ROW"]
            self._spark.sql(spark_input.elements(checked(spark_input.name), kept)).createOrReplaceTempView("RAW")
            elements = self._spark.sql(items["check"]).drop("_FAULT", FLOATS, MISTYPED)
            elements.createOrReplaceTempView(checked(items["name"]))
        rule = f"CAST(-{len(referring(spark_input.contract))} - MIN(_MISFIT) AS INT) AS _RULE"
        found = self._spark.sql(f"SELECT _ROW, {rule} FROM ({step['check']}) GROUP BY _ROW")
        view = f"{spark_input.name}__misfits_{number}"
        misfits = self._keep(found, spark_input, f"misfits-{number}")
        misfits.createOrReplaceTempView(view)
        return "" if misfits.isEmpty() else f"SELECT _ROW, _RULE FROM {view}"

    def _is_of_older_delivery(self, spark_input: SparkInput) -> str:
        """A SQL expression: whether a row belongs to another delivery than the newest."""
        published = None
        if spark_input.published:
            published = self._spark.sql(
                f"SELECT _SOURCE_MODIFIED_AT, _SOURCE_URI FROM {spark_input.name}__all WHERE NOT _IS_NEW AND "
                "_SOURCE_MODIFIED_AT IS NOT NULL AND _SOURCE_URI IS NOT NULL ORDER BY 1 DESC, 2 DESC LIMIT 1"
            ).first()
        newest = newest_delivery(spark_input.accepted(), published and tuple(published))
        return f"CASE WHEN _IS_NEW THEN _FILE NOT IN ({in_list(newest.files)}) ELSE {not newest.published} END"

    def _define_every_version(self, spark_input: SparkInput, step: Mapping[str, Any]) -> None:
        from pyspark.sql import functions as f

        etag = f.element_at(texts(spark_input.etags), f.col("_FILE") + 1).alias("_SOURCE_ETAG")
        rows = self._spark.table(f"{spark_input.name}__ranked").where("_IS_NEW AND _RULE IS NULL")
        names = (*spark_input.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED")
        if step["last_by"]:
            order = ranking.newest_first_by_place(spark_input, step["last_by"])
            last = f.expr(last_of_object_condition(spark_input.contract, order, spark_name)).alias("_IS_LAST")
            rows = rows.select("*", etag).select("*", last).where("_IS_LAST").drop("_SOURCE_ETAG")
        rows.select(*map(spark_name, names), etag).createOrReplaceTempView(step["relation"])

    # --- bad records ---------------------------------------------------------------------------------------

    def _find_bad(self, spark_input: SparkInput) -> DataFrame:
        """Line and text of every bad record; of files that are rejected as a whole, of the first three."""
        position = "_POSITION" if spark_input.items else "CAST(NULL AS INT)"
        samples = {file for file, outcome in spark_input.outcomes.items() if "too_many" in outcome}
        reported = sorted(set(spark_input.outcomes) - spark_input.left_out)
        bad = (
            f"SELECT {_IDENTITY}, _FAULT AS _RULE, {position} AS _POSITION FROM {spark_input.rows} "
            f"WHERE _FAULT IS NOT NULL AND _FILE IN ({in_list(reported)}) "
            f"UNION ALL SELECT {_IDENTITY}, _RULE, CAST(NULL AS INT) FROM {spark_input.name}__ranked "
            "WHERE _IS_NEW AND _RULE IS NOT NULL"
        )
        if samples:
            bad += (
                f" UNION ALL SELECT {_IDENTITY}, _FAULT, {position} FROM (SELECT *, ROW_NUMBER() OVER "
                f"(PARTITION BY _FILE ORDER BY _SPLIT, _RECORD) AS _NUMBER FROM {spark_input.rows} "
                f"WHERE _FAULT IS NOT NULL AND _FILE IN ({in_list(samples)})) WHERE _NUMBER <= 3"
            )
        self._state.together(self._spark.sql(bad)).createOrReplaceTempView(f"{spark_input.name}__bad")
        wanted = self._spark.sql(
            "SELECT _FILE, _SPLIT, COLLECT_LIST(NAMED_STRUCT('record', _RECORD, 'rule', _RULE, 'position', _POSITION)) "
            f"AS _WANTED FROM {spark_input.name}__bad GROUP BY _FILE, _SPLIT, FLOOR(_RECORD / {_RECORDS_PER_TASK})"
        )
        contract, parts, within = spark_input.contract, self._all_parts(spark_input), self._scratch

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for row in batch.to_pylist():
                    yield tasks.find_bad_records(contract, parts[row["_FILE"], row["_SPLIT"]], row["_WANTED"], within)

        return map_batches(wanted, task, _BAD_RECORD_SCHEMA)

    def _all_parts(self, spark_input: SparkInput) -> dict[tuple[int, int], FileSplit]:
        """Every split that was read; a job that loaded rows of an earlier attempt must cut the files again."""
        if all(number == WHOLE for _, number in spark_input.parts):
            cut = self._reader.split_large_files(spark_input, list(spark_input.splits.values()))
            spark_input.parts.update({(split.file, split.number): split for split in cut})
        for file, split in spark_input.splits.items():
            spark_input.parts.setdefault((file, WHOLE), replace(split, number=WHOLE, tolerant=True))
        return spark_input.parts

    def _differences(self, spark_input: SparkInput) -> dict[str, str]:
        """How the shape of each file with too many bad records differs from the contract's."""
        contract, within = spark_input.contract, self._scratch
        rejected = [
            (spark_input.splits[file], outcome["unknown"])
            for file, outcome in spark_input.outcomes.items()
            if "too_many" in outcome
        ]

        def task(file: tuple[FileSplit, list[str]]) -> str | None:
            split, unknown = file
            with object_io.scratch_folder(within) as scratch:
                return split_reader.difference(
                    contract, split, object_io.fetch(split.where, scratch, split.etag), scratch, unknown
                )

        if not rejected or contract.form != "json":
            return {}
        differences = self._spark.sparkContext.parallelize(rejected, len(rejected)).map(task).collect()
        return {
            str(split.file): difference
            for (split, _), difference in zip(rejected, differences, strict=True)
            if difference
        }

    # --- results -------------------------------------------------------------------------------------------

    def _write(self, step: Mapping[str, Any]) -> dict[str, Any]:
        return {"files": self._state.keep(self._spark.sql(step["select"]), step["where"])}

    def _keep(self, rows: DataFrame, spark_input: SparkInput, name: str) -> DataFrame:
        """Keep rows, so that they are computed once."""
        return self._state.kept(rows, self._state.uri(spark_input.name, name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one plan; the entry point for Glue and spark-submit."""
    from pyspark.sql import SparkSession

    from pipeline_assets.engine.distributed.plan import Plan

    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--response", required=True)
    options, _ = parser.parse_known_args(arguments)  # Glue adds arguments of its own
    with _reporting(arguments if arguments is not None else sys.argv[1:]) as say:
        plan = Plan.load(object_io.read_text(options.plan))
        spark = SparkSession.builder.appName("pipeline-assets").getOrCreate()
        try:
            job = Job(spark, plan.folder, plan.policy, plan.split_bytes)
            try:
                response = job.run(plan.steps, say)
            except Exception as error:
                if (changed := changed_in(error)) is None:
                    raise
                response = {"changed": changed}
            object_io.write_text(json.dumps(response), options.response)
        finally:
            spark.stop()


def changed_in(error: Exception) -> str | None:
    """The uri of an object that changed while a task read it, from Spark's error message."""
    match = re.search(r"ObjectChangedError: (.+?) was overwritten while it was read", str(error))
    return match[1] if match else None


@contextmanager
def _reporting(arguments: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """A function that reports progress to the waiting Dagster run by Dagster Pipes, or else to the job's log."""
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
