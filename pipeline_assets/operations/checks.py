"""Asset checks that follow from contracts and from the ledger.

Publication enforces keys and row accounting before it commits; the checks look at what is published, so they also
find what somebody changed by hand. None blocks: a batch that must not be seen is never committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import dagster as dg

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.operations.pipeline import Pipeline
from pipeline_assets.operations.platform import Platform
from pipeline_assets.sqlfiles import load_sql
from pipeline_assets.warehouse import Unit

EXAMPLES = 5  # groups that a failed reconciliation shows


def check_specs(pipeline: Pipeline) -> list[dg.AssetCheckSpec]:
    """The checks that every pipeline has."""
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
        dg.AssetCheckSpec("quarantine", asset=main, description="No record waits in quarantine."),
        dg.AssetCheckSpec("rejected_objects", asset=main, description="No object was rejected whole."),
    ]
    return specs


def run_checks(pipeline: Pipeline, platform: Platform) -> Iterator[dg.AssetCheckResult]:
    """Evaluate `check_specs` against the warehouse, in one transaction."""
    main = [pipeline.name, pipeline.targets[0].name]
    with platform.warehouse.look() as unit:
        for contract in pipeline.targets:
            if contract.key:
                yield _unique_key(unit, pipeline, contract)
                yield _unknown_columns(unit, pipeline, contract)
        yield _row_accounting(unit, pipeline.name, main)
        yield _quarantine(unit, pipeline.name, main, platform.policy.share)
        yield _rejected(unit, pipeline.name, main)


def reconciliation(unit: Unit, asset: Sequence[str], name: str, statement: str) -> dg.AssetCheckResult:
    """Of a mart with the table that it sums up: `statement` is a file in sql/ that lists the groups that differ.

    Grand totals would not do: a row under a wrong date leaves them as they are.
    """
    sql = load_sql(statement).text
    differing = int(unit.scalar(f"SELECT COUNT(*) FROM ({sql})"))
    names, rows = unit.described(f"{sql}\nLIMIT {EXAMPLES}") if differing else ([], [])
    examples = [{n: None if v is None else str(v) for n, v in zip(names, row, strict=True)} for row in rows]
    return dg.AssetCheckResult(
        asset_key=list(asset),
        check_name=name,
        passed=differing == 0,
        description=f"{differing} groups differ." if differing else None,
        metadata={"groups_that_differ": differing, "examples": dg.MetadataValue.json(examples)},
    )


def _unique_key(unit: Unit, pipeline: Pipeline, contract: Contract) -> dg.AssetCheckResult:
    key = ", ".join(contract.key)
    table = target_table(contract).qualified
    twice = int(unit.scalar(f"SELECT COUNT(*) FROM (SELECT {key} FROM {table} GROUP BY {key} HAVING COUNT(*) > 1)"))
    return dg.AssetCheckResult(
        asset_key=[pipeline.name, contract.name],
        check_name="unique_key",
        passed=twice == 0,
        metadata={"keys_with_several_rows": twice},
    )


def _unknown_columns(unit: Unit, pipeline: Pipeline, contract: Contract) -> dg.AssetCheckResult:
    rows = unit.rows(
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


def _row_accounting(unit: Unit, pipeline: str, asset: Sequence[str]) -> dg.AssetCheckResult:
    wrong = unit.rows(
        "SELECT URI FROM OPS.FILE_LEDGER WHERE PIPELINE = %s "
        "AND ROWS_READ <> ROWS_LOADED + ROWS_SUPERSEDED + ROWS_QUARANTINED ORDER BY URI LIMIT 20",
        (pipeline,),
    )
    return dg.AssetCheckResult(
        asset_key=list(asset),
        check_name="row_accounting",
        passed=not wrong,
        metadata={"objects_that_do_not_add_up": dg.MetadataValue.json([uri for (uri,) in wrong])},
    )


def _quarantine(unit: Unit, pipeline: str, asset: Sequence[str], share: float) -> dg.AssetCheckResult:
    """WARN while some records wait; ERROR when they are more than the share at which a file is rejected."""
    reasons = dict(
        unit.rows(
            "SELECT REASON_CODE, COUNT(*) FROM OPS.QUARANTINE WHERE PIPELINE = %s AND REPLAYED_AT IS NULL "
            "AND LINE_NUMBER IS NOT NULL GROUP BY REASON_CODE ORDER BY REASON_CODE",
            (pipeline,),
        )
    )
    read = int(unit.scalar("SELECT SUM(ROWS_READ) FROM OPS.FILE_LEDGER WHERE PIPELINE = %s", (pipeline,)) or 0)
    waiting = sum(int(count) for count in reasons.values())
    grave = read > 0 and waiting > share * read
    return dg.AssetCheckResult(
        asset_key=list(asset),
        check_name="quarantine",
        passed=waiting == 0,
        severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
        description=_listed("", [f"{code}: {count}" for code, count in reasons.items()]),
        metadata={
            "waiting": waiting,
            "reasons": dg.MetadataValue.json({k: int(v) for k, v in reasons.items()}),
        },
    )


def _rejected(unit: Unit, pipeline: str, asset: Sequence[str]) -> dg.AssetCheckResult:
    rows = unit.rows(
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


def _listed(opening: str, items: Sequence[str]) -> str | None:
    return opening + ", ".join(items) if items else None
