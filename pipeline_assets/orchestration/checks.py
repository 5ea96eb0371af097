"""Asset checks that are derived from contracts and from the ledger.

Publication enforces keys and row accounting before it commits. The checks read published data, so they also find what
somebody changed by hand. None blocks: a batch that must not be read is never committed.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

from pipeline_assets.batch.platform import Platform
from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.contracts.model import QualityRule
from pipeline_assets.pipeline.marts import difference_query
from pipeline_assets.pipeline.resolved import MartTable, ResolvedPipeline
from pipeline_assets.warehouse import Transaction

LISTED = 50  # failing rows of a rule
EXAMPLES = 5  # differing groups of a mart
_OPERATORS = {
    "mustBe": operator.eq,
    "mustNotBe": operator.ne,
    "mustBeGreaterThan": operator.gt,
    "mustBeGreaterOrEqualTo": operator.ge,
    "mustBeLessThan": operator.lt,
    "mustBeLessOrEqualTo": operator.le,
}


def pipeline_checks(pipeline: ResolvedPipeline) -> dg.AssetChecksDefinition:
    """The checks of a pipeline: those of every pipeline, and the quality rules of its contracts."""

    def checks(platform):
        yield from run_checks(pipeline, platform)

    # Dagster evaluates annotations when it decorates, so they must not be strings.
    checks.__annotations__ = {
        "platform": dg.ResourceParam[Platform],
        "return": Iterator[dg.AssetCheckResult],
    }
    return dg.multi_asset_check(name=f"{pipeline.name}_checks", specs=check_specs(pipeline))(checks)


def check_specs(pipeline: ResolvedPipeline) -> list[dg.AssetCheckSpec]:
    """The specs of all checks of a pipeline."""
    specs = [
        dg.AssetCheckSpec(
            "unique_key",
            asset=[pipeline.name, contract.name],
            description=f"One row per {', '.join(contract.key)}.",
        )
        for contract in pipeline.targets
        if contract.key
    ]
    main = [pipeline.name, pipeline.targets[0].name]
    specs += [
        dg.AssetCheckSpec(
            "unknown_columns",
            asset=[pipeline.name, contract.name],
            description="No column outside the contract arrived.",
        )
        for contract in pipeline.targets
        if contract.key
    ]
    specs += [
        dg.AssetCheckSpec(
            "row_accounting", asset=main, description="read = loaded + superseded + quarantined, per object."
        ),
        dg.AssetCheckSpec("quarantine", asset=main, description="No record is in quarantine."),
        dg.AssetCheckSpec("rejected_objects", asset=main, description="No object was rejected whole."),
    ]
    specs += [
        dg.AssetCheckSpec(
            "reconciles",
            asset=[pipeline.name, mart.contract.name],
            description=f"Every row is what {' and '.join(mart.select.relations)} give.",
        )
        for mart in pipeline.marts
    ]
    specs += [
        dg.AssetCheckSpec(rule.name, asset=[pipeline.name, contract.name], description=rule.description)
        for contract in pipeline.targets
        for rule in contract.quality
    ]
    return specs


def run_checks(pipeline: ResolvedPipeline, platform: Platform) -> Iterator[dg.AssetCheckResult]:
    """Evaluate `check_specs` against the warehouse, in one transaction."""
    main = [pipeline.name, pipeline.targets[0].name]
    with platform.warehouse.read_only() as transaction:
        for contract in pipeline.targets:
            if contract.key:
                yield _unique_key(transaction, pipeline, contract)
                yield _unknown_columns(transaction, pipeline, contract)
        yield _row_accounting(transaction, pipeline.name, main)
        yield _quarantine(transaction, pipeline.name, main, platform.policy.share)
        yield _rejected(transaction, pipeline.name, main)
        for mart in pipeline.marts:
            yield _reconciles(transaction, pipeline, mart)
        for contract in pipeline.targets:
            for rule in contract.quality:
                yield _quality(transaction, pipeline, contract, rule)


def _unique_key(transaction: Transaction, pipeline: ResolvedPipeline, contract: Contract) -> dg.AssetCheckResult:
    key = ", ".join(contract.key)
    table = target_table(contract).qualified
    duplicate_keys = int(
        transaction.scalar(f"SELECT COUNT(*) FROM (SELECT {key} FROM {table} GROUP BY {key} HAVING COUNT(*) > 1)")
    )
    return dg.AssetCheckResult(
        asset_key=[pipeline.name, contract.name],
        check_name="unique_key",
        passed=duplicate_keys == 0,
        metadata={"keys_with_several_rows": duplicate_keys},
    )


def _unknown_columns(transaction: Transaction, pipeline: ResolvedPipeline, contract: Contract) -> dg.AssetCheckResult:
    rows = transaction.rows(
        f"SELECT F.KEY, COUNT(*) FROM {target_table(contract).qualified} AS T, "
        "LATERAL FLATTEN(INPUT => T._RESCUED) AS F WHERE T._RESCUED IS NOT NULL GROUP BY F.KEY ORDER BY F.KEY"
    )
    return dg.AssetCheckResult(
        asset_key=[pipeline.name, contract.name],
        check_name="unknown_columns",
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        description=_listed("Kept in _RESCUED: ", [f"{name} ({count} rows)" for name, count in rows]),
        metadata={"columns": dg.MetadataValue.json({name: int(count) for name, count in rows})},
    )


def _row_accounting(transaction: Transaction, pipeline: str, asset: Sequence[str]) -> dg.AssetCheckResult:
    objects = transaction.rows(
        "SELECT URI FROM OPS.FILE_LEDGER WHERE PIPELINE = %s "
        "AND ROWS_READ <> ROWS_LOADED + ROWS_SUPERSEDED + ROWS_QUARANTINED ORDER BY URI LIMIT 20",
        (pipeline,),
    )
    return dg.AssetCheckResult(
        asset_key=list(asset),
        check_name="row_accounting",
        passed=not objects,
        metadata={"objects_that_do_not_add_up": dg.MetadataValue.json([uri for (uri,) in objects])},
    )


def _quarantine(transaction: Transaction, pipeline: str, asset: Sequence[str], share: float) -> dg.AssetCheckResult:
    """WARN if records are in quarantine; ERROR if their share is one at which a file would be rejected."""
    reasons = dict(
        transaction.rows(
            "SELECT REASON_CODE, COUNT(*) FROM OPS.QUARANTINE WHERE PIPELINE = %s AND REPLAYED_AT IS NULL "
            "AND LINE_NUMBER IS NOT NULL GROUP BY REASON_CODE ORDER BY REASON_CODE",
            (pipeline,),
        )
    )
    read = int(transaction.scalar("SELECT SUM(ROWS_READ) FROM OPS.FILE_LEDGER WHERE PIPELINE = %s", (pipeline,)) or 0)
    quarantined = sum(int(count) for count in reasons.values())
    exceeds_share = read > 0 and quarantined / read > share
    return dg.AssetCheckResult(
        asset_key=list(asset),
        check_name="quarantine",
        passed=quarantined == 0,
        severity=dg.AssetCheckSeverity.ERROR if exceeds_share else dg.AssetCheckSeverity.WARN,
        description=_listed("", [f"{code}: {count}" for code, count in reasons.items()]),
        metadata={
            "waiting": quarantined,
            "reasons": dg.MetadataValue.json({k: int(v) for k, v in reasons.items()}),
        },
    )


def _rejected(transaction: Transaction, pipeline: str, asset: Sequence[str]) -> dg.AssetCheckResult:
    rows = transaction.rows(
        "SELECT SOURCE_URI, REASON_CODE FROM OPS.QUARANTINE WHERE PIPELINE = %s AND LINE_NUMBER IS NULL "
        "AND REPLAYED_AT IS NULL ORDER BY SOURCE_URI LIMIT 20",
        (pipeline,),
    )
    return dg.AssetCheckResult(
        asset_key=list(asset),
        check_name="rejected_objects",
        passed=not rows,
        severity=dg.AssetCheckSeverity.ERROR,
        description=_listed("", [f"{uri}: {code}" for uri, code in rows]),
        metadata={"objects": dg.MetadataValue.json(json.loads(json.dumps(rows)))},
    )


def _reconciles(transaction: Transaction, pipeline: ResolvedPipeline, mart: MartTable) -> dg.AssetCheckResult:
    query = difference_query(mart)
    differing = int(transaction.scalar(f"SELECT COUNT(*) FROM ({query}) AS DIFFERING"))
    names, rows = transaction.described(f"{query} ORDER BY 1 LIMIT {EXAMPLES}") if differing else ([], [])
    examples = [{name: plain_value(cell) for name, cell in zip(names, row, strict=True)} for row in rows]
    return dg.AssetCheckResult(
        asset_key=[pipeline.name, mart.contract.name],
        check_name="reconciles",
        passed=differing == 0,
        description=f"{differing} groups differ." if differing else None,
        metadata={"groups_that_differ": differing, "examples": dg.MetadataValue.json(examples)},
    )


def _quality(
    transaction: Transaction, pipeline: ResolvedPipeline, contract: Contract, rule: QualityRule
) -> dg.AssetCheckResult:
    """A rule of a contract: the value of its query, and its first failing rows if the contract selects them."""
    value = transaction.scalar(rule.query) or 0
    passed = holds(rule, value)
    rows: list[dict[str, object]] = []
    if rule.failing_rows and not passed:
        columns, failing = transaction.described(f"SELECT * FROM ({rule.failing_rows}) AS FAILING LIMIT {LISTED}")
        rows = [{name.lower(): plain_value(cell) for name, cell in zip(columns, row, strict=True)} for row in failing]
    examples = ", ".join(str(next(iter(row.values()))) for row in rows)
    return dg.AssetCheckResult(
        asset_key=[pipeline.name, contract.name],
        check_name=rule.name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN if rule.severity == "warning" else dg.AssetCheckSeverity.ERROR,
        description=f"{plain_value(value)} found: {examples}" if examples else None,
        metadata={
            "found": float(value) if isinstance(value, Decimal) else value,
            "expected": f"{rule.operator} {rule.expected}",
            "query": dg.MetadataValue.md(f"```sql\n{rule.query}\n```"),
            **({"rows": dg.MetadataValue.json(rows)} if rule.failing_rows else {}),
        },
    )


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
