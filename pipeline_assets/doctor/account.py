"""What the loading role needs of a Snowflake account, tried; used by `pipeline-assets doctor` with the profile `aws`.

Signing in, role, warehouse, database, the schemas, the stages, the right to write into OPS, and each pipe where files
are loaded by pipes. What a refused sign-in was refused for is in its message; nothing further can be tried then.

The surprising part: the stages are listed at a place where nothing lies. That asks the storage integration, and so the
role in AWS that it takes, whatever a bucket holds; LIST has no LIMIT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline_assets.contracts.ddl import Table
from pipeline_assets.doctor.installation import CheckResult, check_result
from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.warehouse.connection import Transaction
from pipeline_assets.warehouse.schema import OPS_TABLES
from pipeline_assets.warehouse.snowpipe import Snowpipe, pipe_name, piped_table

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings
    from pipeline_assets.warehouse import Warehouse

_DEPLOY = "`pipeline-assets deploy snowflake` makes and grants it."
_NOWHERE = "staging/doctor-lists-nothing/"


def check_account(
    warehouse: Warehouse, settings: Settings, pipelines: Sequence[ResolvedPipeline]
) -> Iterator[CheckResult]:
    """One check_result for each thing; nothing is written that is not rolled back."""
    try:
        with warehouse.autocommit() as transaction:
            yield CheckResult("Snowflake", True, f"{settings.snowflake_user} is let in to {settings.snowflake_account}")
            yield from _checks(transaction, warehouse, settings, pipelines)
    except PipelineError as error:
        yield CheckResult("Snowflake", False, str(error))
        yield CheckResult("role, warehouse, database, schemas, stages", None, "nothing can be tried without signing in")


def _checks(
    transaction: Transaction, warehouse: Warehouse, settings: Settings, pipelines: Sequence[ResolvedPipeline]
) -> Iterator[CheckResult]:
    for what, wanted in (
        ("role", settings.snowflake_role),
        ("warehouse", settings.snowflake_warehouse),
        ("database", settings.database),
    ):
        yield check_result(what, lambda what=what, wanted=wanted: _current(transaction, what, wanted))
    for schema in ["OPS", *dict.fromkeys(target.domain.upper() for p in pipelines for target in p.targets)]:
        yield check_result(f"schema {schema}", lambda schema=schema: _schema(transaction, settings, schema))
    for bucket in dict.fromkeys(pipeline.bucket for pipeline in pipelines):
        stage = warehouse.stage(bucket)
        yield check_result(f"stage {stage}", lambda stage=stage: _stage(transaction, stage))
    staging = [stage for pipeline in pipelines for stage in pipeline.load_stages]
    pipes = warehouse.loading
    if not isinstance(pipes, Snowpipe):
        yield check_result("writing into OPS", lambda: _insert(warehouse, OPS_TABLES))
        return
    yield check_result("writing into OPS", lambda: _insert(warehouse, [*OPS_TABLES, *map(piped_table, staging)]))
    for pipe in (f"{settings.database}.{pipe_name(table)}" for table in staging):
        yield check_result(f"pipe {pipe}", lambda pipe=pipe: _pipe(pipes, pipe))


def _current(transaction: Transaction, what: str, wanted: str) -> str:
    found = transaction.scalar(f"SELECT CURRENT_{what.upper()}()")
    # A name in quotes keeps its case; ours are upper case unless somebody quoted them.
    if str(found or "").strip('"').upper() != wanted.strip('"').upper():
        raise ConfigurationError(
            f"The session has the {what} {found or 'none'} and not {wanted}.",
            remedy=_DEPLOY,
        )
    return str(found)


def _schema(transaction: Transaction, settings: Settings, schema: str) -> str:
    found = transaction.scalar("SELECT COUNT(*) FROM INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = %s", (schema,))
    if not found:
        name = f"{settings.database}.{schema}"
        raise ConfigurationError(
            f"Schema {name} does not exist, or role {settings.snowflake_role} may not use it.",
            remedy=f"GRANT USAGE ON SCHEMA {name} TO ROLE {settings.snowflake_role}; {_DEPLOY}",
        )
    return "may be used"


def _stage(transaction: Transaction, stage: str) -> str:
    transaction.rows(f"LIST @{stage}/{_NOWHERE}")
    return "answers, so Snowflake may read the bucket"


def _pipe(pipes: Snowpipe, pipe: str) -> str:
    pipes.report(pipe)
    return "answers; that it may be told of files (OPERATE) no harmless call can tell"


def _insert(warehouse: Warehouse, tables: Sequence[Table]) -> str:
    with warehouse.read_only() as transaction:
        for table in tables:
            transaction.execute(f"INSERT INTO {table.qualified} SELECT * FROM {table.qualified} WHERE FALSE")
    return f"{len(tables)} tables take rows; none was left"
