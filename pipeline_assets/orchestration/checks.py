"""Asset checks that are derived from contracts and from the ledger; `check_steps` evaluates them.

Publication enforces keys and row accounting before it commits. The checks read published data, so they also find what
somebody changed by hand. None blocks: a batch that must not be read is never committed.
"""

from __future__ import annotations

import json
import operator
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import dagster as dg

from pipeline_assets.batch.list_columns import OTHER_VALUES
from pipeline_assets.batch.platform import Platform
from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.ddl import Table, target_table
from pipeline_assets.contracts.model import QualityRule
from pipeline_assets.contracts.names import bindable, sql_name, sql_names
from pipeline_assets.errors import ContractError
from pipeline_assets.lake import LakeTable
from pipeline_assets.orchestration.keys import source_key, table_key
from pipeline_assets.orchestration.lake_metadata import expected_partitions, files_by_partition
from pipeline_assets.orchestration.markdown import plain
from pipeline_assets.pipeline.marts import difference_query
from pipeline_assets.pipeline.resolved import FileTable, MartTable, ResolvedPipeline, Source
from pipeline_assets.warehouse import Transaction, ledger
from pipeline_assets.warehouse.migration import table_exists
from pipeline_assets.warehouse.quarantine import rejection_reasons, waiting_reasons

LISTED = 50  # failing rows of a rule
EXAMPLES = 5  # differing groups of a mart, and failing rows in the description of a rule
_OPERATORS = {
    "mustBe": operator.eq,
    "mustNotBe": operator.ne,
    "mustBeGreaterThan": operator.gt,
    "mustBeGreaterOrEqualTo": operator.ge,
    "mustBeLessThan": operator.lt,
    "mustBeLessOrEqualTo": operator.le,
}


Evaluate = Callable[[Transaction, Platform], dg.AssetCheckResult]


@dataclass(frozen=True)
class Check:
    """A check of one asset; `evaluate` reads the warehouse and returns a result without asset and name.

    `command` is what to type next if it fails.
    """

    spec: dg.AssetCheckSpec
    evaluate: Evaluate
    command: str

    def result(self, transaction: Transaction, platform: Platform) -> dg.AssetCheckResult:
        """The result; if the check fails, its metadata has the next command to type."""
        result = self.evaluate(transaction, platform)
        if not result.passed:
            result = result._replace(metadata={"next_command": dg.MetadataValue.text(self.command), **result.metadata})
        return result


def checks_of(pipeline: ResolvedPipeline, freshness_hours: float) -> list[Check]:
    """All checks of a pipeline: those of every pipeline, and the quality rules and latency of its contracts.

    Raises:
        ContractError: a contract of other things than tables asks for a check.
    """
    _require_relations(pipeline)
    checks: list[Check] = []

    def add(key: dg.AssetKey, name: str, description: str, evaluate: Evaluate, command: str) -> None:
        spec = dg.AssetCheckSpec(name, asset=key, description=plain(description))
        checks.append(Check(spec, evaluate, f"pipeline-assets {command}"))

    def add_of_table(contract: Contract, name: str, description: str, evaluate: Evaluate, command: str) -> None:
        if contract.is_open:  # its first run creates the table
            evaluate = partial(_of_existing, target_table(contract), evaluate)
        add(table_key(pipeline, contract), name, description, evaluate, command)

    rules = {mart.contract.name: mart.rules for mart in pipeline.marts}
    row_keys = {table.contract.name: table.row_key for table in pipeline.tables}
    relations = [*pipeline.targets, *(view.contract for view in pipeline.views)]
    main, name = table_key(pipeline, pipeline.targets[0]), pipeline.name
    extracts = any(step.phase == "extract" for step in pipeline.value.steps) or pipeline.value.batches is not None
    run, reprocess, waiting = f"run {name}", f"run {name} --reprocess", f"quarantine list {name}"
    load = f"{run} --extract" if extracts else run
    for contract in relations:
        table = target_table(contract).qualified
        if unique := row_keys.get(contract.name, contract.key):
            one_row = f"No two rows have the same {', '.join(unique)}."
            add_of_table(
                contract, "unique_key", one_row, partial(_unique_key, table, unique), _query(_repeated(table, unique))
            )
            if contract in pipeline.targets:
                unknown = "No file had a column that is not in the contract; such values are kept in _RESCUED."
                rescued = f"SELECT _SOURCE_URI, _RESCUED FROM {table} WHERE _RESCUED IS NOT NULL LIMIT 20"
                add_of_table(contract, "unknown_columns", unknown, partial(_unknown_columns, contract), _query(rescued))
    for source in pipeline.sources:
        if source.list_column and (published := pipeline.published.get(source.name)):
            one_value = f"No list in {source.list_column.column} gives a key several values."
            evaluate = partial(_contradictory_lists, published.table)
            command = _query(_several_values(published.table))
            add(table_key(pipeline, published.table.contract), "contradictory_lists", one_value, evaluate, command)
    accounting = "In every object, records read = loaded + superseded + quarantined."
    add(main, "row_accounting", accounting, partial(_row_accounting, name), reprocess)
    of_shares = "It is an error if their share is larger than PIPELINE_REJECT_SHARE, else a warning."
    add(main, "quarantine", f"No records wait in quarantine. {of_shares}", partial(_quarantine, name), waiting)
    add(main, "rejected_objects", "No object was rejected as a whole.", partial(_rejected, name), waiting)
    for mart in pipeline.marts:
        if mart.contract.is_open:
            continue  # its SELECT lacks the columns that a run learns
        same = f"The rows are those that its SELECT gives now over {' and '.join(mart.select.relations)}."
        add(table_key(pipeline, mart.contract), "reconciles", same, partial(_reconciles, mart), reprocess)
    for contract in relations:
        for column in contract.columns:
            if hours := column.latency_hours:
                recent = f"The newest {column.name} is not older than {_duration(hours)}."
                evaluate = partial(_latency, contract, column, hours)
                add_of_table(contract, "latency", recent, evaluate, load)
        for rule in (*contract.quality, *rules.get(contract.name, ())):
            command = _query(rule.failing_rows or rule.query)
            add_of_table(contract, rule.name, rule.description, partial(_quality, rule), command)
    for source in pipeline.landed_sources:
        on_time = f"An object has arrived in the last {freshness_hours:g} hours."
        add(source_key(source, name), "lateness", on_time, partial(_lateness, pipeline, source, freshness_hours), load)
    for lake_table in pipeline.lake_tables:
        if expected := expected_partitions(pipeline, lake_table):
            folders = f"It has files for each {lake_table.partition_column} of its rows, and for no other."
            key = table_key(pipeline, lake_table.contract)
            add(key, "partitions", folders, partial(_partitions, lake_table, expected), reprocess)
    return checks


def _query(sql: str) -> str:
    return f"query {shlex.quote(sql)}"


def _repeated(table: str, columns: Sequence[str]) -> str:
    """SELECT the keys of which a table has several rows."""
    key = sql_names(columns)
    return f"SELECT {key}, COUNT(*) AS ROW_COUNT FROM {table} GROUP BY {key} HAVING COUNT(*) > 1"


def _several_values(table: FileTable) -> str:
    """SELECT the keys to which a list gave several values, with the values that do not count."""
    others = f"_RESCUED['{OTHER_VALUES}']::VARCHAR"
    return f"SELECT {', '.join(table.row_key)}, {others} AS OTHERS FROM {table.qualified} WHERE {others} IS NOT NULL"


def _require_relations(pipeline: ResolvedPipeline) -> None:
    """Only tables and views of the warehouse are checked, not the landed files that they are made from."""
    checked = [*pipeline.targets, *(view.contract for view in pipeline.views)]
    for contract in pipeline.contracts:
        asks = {
            "quality": bool(contract.quality),
            "slaProperties": any(column.latency_hours for column in contract.columns),
        }
        for name, asked in asks.items():
            if asked and contract not in checked:
                raise ContractError(
                    f"{contract.name}: {name}: is not checked, as {contract.name} is not a table of {pipeline.name}.",
                    remedy="Move it to the contract of a table.",
                )


def _of_existing(table: Table, evaluate: Evaluate, transaction: Transaction, platform: Platform) -> dg.AssetCheckResult:
    """The result of a check; it passes if the table does not exist yet."""
    if table_exists(transaction, table):
        return evaluate(transaction, platform)
    return dg.AssetCheckResult(passed=True, description=f"{table.qualified} does not exist yet: nothing was loaded.")


def _unique_key(table: str, columns: Sequence[str], transaction: Transaction, _: Platform) -> dg.AssetCheckResult:
    duplicate_keys = int(transaction.scalar(f"SELECT COUNT(*) FROM ({_repeated(table, columns)}) AS REPEATED"))
    return dg.AssetCheckResult(
        passed=duplicate_keys == 0,
        description=f"{duplicate_keys} keys have several rows." if duplicate_keys else None,
        metadata={"keys_with_several_rows": duplicate_keys},
    )


def _unknown_columns(contract: Contract, transaction: Transaction, _: Platform) -> dg.AssetCheckResult:
    rows = transaction.rows(
        f"SELECT F.KEY, COUNT(*) FROM {target_table(contract).qualified} AS T, "
        "LATERAL FLATTEN(INPUT => T._RESCUED) AS F WHERE T._RESCUED IS NOT NULL AND F.KEY <> %(others)s "
        "GROUP BY F.KEY ORDER BY F.KEY",
        {"others": OTHER_VALUES},
    )
    return dg.AssetCheckResult(
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        description=_listed("Kept in _RESCUED: ", [f"{name} ({count} rows)" for name, count in rows]),
        metadata={"columns": dg.MetadataValue.json({name: int(count) for name, count in rows})},
    )


def _contradictory_lists(table: FileTable, transaction: Transaction, _: Platform) -> dg.AssetCheckResult:
    """WARN if a list gave a key several values; the last one is published, the others are in _RESCUED."""
    keys, query = ", ".join(table.row_key), _several_values(table)
    found = int(transaction.scalar(f"SELECT COUNT(*) FROM ({query}) AS FOUND"))
    rows = transaction.rows(f"{query} ORDER BY {keys} LIMIT {EXAMPLES}") if found else []
    examples = [f"{' '.join(map(str, key))} (also {values})" for *key, values in rows]
    return dg.AssetCheckResult(
        passed=found == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=_listed("Of several values the last counts: ", examples + ["…"] * (found > EXAMPLES)),
        metadata={"keys_with_several_values": found},
    )


def _row_accounting(pipeline: str, transaction: Transaction, _: Platform) -> dg.AssetCheckResult:
    objects = ledger.unbalanced_objects(transaction, pipeline)
    return dg.AssetCheckResult(
        passed=not objects,
        description=_listed("Rows do not add up: ", objects),
        metadata={"objects_that_do_not_add_up": dg.MetadataValue.json(objects)},
    )


def _quarantine(pipeline: str, transaction: Transaction, platform: Platform) -> dg.AssetCheckResult:
    """WARN if records are in quarantine; ERROR if their share is one at which a file would be rejected."""
    reasons = waiting_reasons(transaction, pipeline)
    read = ledger.rows_read(transaction, pipeline)
    quarantined = sum(reasons.values())
    exceeds_share = read > 0 and quarantined / read > platform.policy.share
    return dg.AssetCheckResult(
        passed=quarantined == 0,
        severity=dg.AssetCheckSeverity.ERROR if exceeds_share else dg.AssetCheckSeverity.WARN,
        description=_listed("", [f"{code}: {count}" for code, count in reasons.items()]),
        metadata={
            "waiting": quarantined,
            "reasons": dg.MetadataValue.json(reasons),
        },
    )


def _rejected(pipeline: str, transaction: Transaction, _: Platform) -> dg.AssetCheckResult:
    rows = rejection_reasons(transaction, pipeline)
    return dg.AssetCheckResult(
        passed=not rows,
        severity=dg.AssetCheckSeverity.ERROR,
        description=_listed("", [f"{uri}: {code}" for uri, code in rows]),
        metadata={"objects": dg.MetadataValue.json(json.loads(json.dumps(rows)))},
    )


def _reconciles(mart: MartTable, transaction: Transaction, _: Platform) -> dg.AssetCheckResult:
    query = difference_query(mart)
    differing = int(transaction.scalar(f"SELECT COUNT(*) FROM ({query}) AS DIFFERING"))
    names, rows = transaction.described(f"{query} ORDER BY 1 LIMIT {EXAMPLES}") if differing else ([], [])
    examples = [{name: plain_value(cell) for name, cell in zip(names, row, strict=True)} for row in rows]
    return dg.AssetCheckResult(
        passed=differing == 0,
        description=f"{differing} groups differ." if differing else None,
        metadata={"groups_that_differ": differing, "examples": dg.MetadataValue.json(examples)},
    )


def _latency(
    contract: Contract, column: Column, hours: float, transaction: Transaction, platform: Platform
) -> dg.AssetCheckResult:
    """WARN if the newest value of a column is older than `hours`, by the platform's clock in UTC.

    A date is new until its day has ended. Values after now are left out of the maximum, as a single wrong one would
    hide that data is late for years; they are counted in the metadata.
    """
    now, name = platform.clock(), column.name
    quoted, table = bindable(sql_name(name)), bindable(target_table(contract).qualified)
    is_date = column.logical_type == "date"
    ((rows, future, newest),) = transaction.rows(
        f"SELECT COUNT(*), COUNT_IF({quoted} > %(now)s), MAX(IFF({quoted} <= %(now)s, {quoted}, NULL)) FROM {table}",
        {"now": now.date() if is_date else now},
    )
    late, description = False, None
    if not rows:
        description = "The table is empty."
    elif newest is None:
        late, description = True, f"No row has a {name} that is not after now."
    else:
        age = now - (datetime.combine(newest, time()) + timedelta(days=1) if is_date else newest)
        if late := age > timedelta(hours=hours):
            old = _duration(age.total_seconds() / 3600)
            description = f"The newest {name}, {newest}, is {old} old; {_duration(hours)} are allowed."
    return dg.AssetCheckResult(
        passed=not late,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={
            **({f"newest_{name.lower()}": str(newest)} if newest is not None else {}),
            "values_after_now": int(future or 0),
        },
    )


def _duration(hours: float) -> str:
    return f"{round(hours / 24, 1):g} days" if hours >= 48 else f"{hours:.3g} hours"


def _quality(rule: QualityRule, transaction: Transaction, _: Platform) -> dg.AssetCheckResult:
    """A rule of a contract: the value of its query, and its first failing rows if the contract selects them."""
    value = transaction.scalar(rule.query) or 0
    passed = holds(rule, value)
    rows: list[dict[str, object]] = []
    if rule.failing_rows and not passed:
        columns, failing = transaction.described(f"SELECT * FROM ({rule.failing_rows}) AS FAILING LIMIT {LISTED}")
        rows = [{name.lower(): plain_value(cell) for name, cell in zip(columns, row, strict=True)} for row in failing]
    required = f"{rule.operator} {rule.expected}"
    examples = [str(next(iter(row.values()))) for row in rows[:EXAMPLES]] + ["…"] * (len(rows) > EXAMPLES)
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN if rule.severity == "warning" else dg.AssetCheckSeverity.ERROR,
        description=None
        if passed
        else f"{plain_value(value)} found ({required}){': ' if rows else ''}{', '.join(examples)}",
        metadata={
            "found": float(value) if isinstance(value, Decimal) else value,
            "expected": required,
            "query": dg.MetadataValue.md(f"```sql\n{rule.query}\n```"),
            **({"rows": dg.MetadataValue.json(rows)} if rule.failing_rows else {}),
        },
    )


def _partitions(table: LakeTable, expected: str, transaction: Transaction, platform: Platform) -> dg.AssetCheckResult:
    """Compare the folders of a lake table that have files with the partitions that `expected` selects."""
    wanted = {str(value) for (value,) in transaction.rows(expected)}
    found = set(files_by_partition(platform.lake, table))
    wrong = sorted(wanted ^ found)
    names = [f"{name} ({'no files' if name in wanted else 'no rows'})" for name in wrong[:EXAMPLES]]
    return dg.AssetCheckResult(
        passed=not wrong,
        description=_listed("Differing partitions: ", names + ["…"] * (len(wrong) > EXAMPLES)),
        metadata={"partitions": len(found), "partitions_that_differ": len(wrong)},
    )


def _lateness(
    pipeline: ResolvedPipeline, source: Source, hours: float, transaction: Transaction, platform: Platform
) -> dg.AssetCheckResult:
    """WARN if no object version of a source was taken for `hours`; taking one again, as by `--reprocess`, is none.

    Beside it stand the data's own times: of the newest object, and in the published records. Files may be delivered
    with an old time, so these decide nothing.
    """
    arrived, modified = ledger.last_arrival(transaction, pipeline.name, source.name)
    if arrived is None or modified is None:
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.WARN, description="Nothing has arrived yet."
        )
    age = platform.clock() - arrived
    late = age > timedelta(hours=hours)
    return dg.AssetCheckResult(
        passed=not late,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"The last object arrived {age.total_seconds() / 3600:.0f} hours ago." if late else None,
        metadata={
            "last_arrival": dg.MetadataValue.timestamp(arrived.replace(tzinfo=UTC)),
            "newest_object": dg.MetadataValue.timestamp(modified.replace(tzinfo=UTC)),
            **_newest_dates(pipeline, source, transaction),
        },
    )


def _newest_dates(pipeline: ResolvedPipeline, source: Source, transaction: Transaction) -> dict[str, str]:
    """The newest value of each date and timestamp in the published records of a source, personal ones left out."""
    published = pipeline.published.get(source.name)
    dated = [column for column in source.contract.columns if column.logical_type in ("date", "timestamp")]
    names = [column.name for column in dated if not column.personal]
    columns = {name: published.columns[name] for name in names if published and name in published.columns}
    if not (published and columns) or source.contract.is_open:
        return {}
    newest = ", ".join(f"MAX({sql_name(column)})" for column in columns.values())
    (values,) = transaction.rows(f"SELECT {newest} FROM {published.table.qualified}")
    return {
        f"newest_{name.lower()}": str(value) for name, value in zip(columns, values, strict=True) if value is not None
    }


def holds(rule: QualityRule, value: Any) -> bool:
    """Whether the value of a rule's query is as the contract requires."""
    if isinstance(rule.expected, tuple):
        low, high = rule.expected
        return (low <= value <= high) == (rule.operator == "mustBeBetween")
    return _OPERATORS[rule.operator](value, rule.expected)


def plain_value(value: object) -> object:
    """A value for JSON: decimals stay exact."""
    return value if isinstance(value, (int, float, bool, type(None))) else str(value)


def _listed(prefix: str, items: Sequence[str]) -> str | None:
    return prefix + ", ".join(items) if items else None
