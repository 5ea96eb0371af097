"""The checks of a Snowflake account with the loading role, for `pipeline-assets doctor` in the profile `aws`.

They cover sign-in, role, warehouse, database, schemas, stages, writing into OPS, and each pipe if files are loaded by
pipes. If the sign-in fails, its message says why, and nothing else can be checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipeline_assets.contracts.ddl import Table
from pipeline_assets.doctor.installation import CheckResult, check_result
from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.warehouse.schema import ops_tables
from pipeline_assets.warehouse.snowpipe import Snowpipe, pipe_name, piped_table
from pipeline_assets.warehouse.transaction import Transaction

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings
    from pipeline_assets.warehouse import Warehouse

_DEPLOY = "`pipeline-assets deploy snowflake` creates and grants it."
# Without objects, as LIST has no LIMIT; listing it still uses the storage integration and its role in AWS.
_EMPTY_PREFIX = "staging/doctor-lists-nothing/"


def check_account(
    warehouse: Warehouse, settings: Settings, pipelines: Sequence[ResolvedPipeline]
) -> Iterator[CheckResult]:
    """One result for each check; everything that is written is rolled back."""
    try:
        with warehouse.autocommit() as transaction:
            detail = f"{settings.snowflake_user} is signed in to {settings.snowflake_account}"
            yield CheckResult("Snowflake", True, detail)
            yield from _checks(transaction, warehouse, settings, pipelines)
    except PipelineError as error:
        yield CheckResult("Snowflake", False, str(error))
        yield CheckResult("role, warehouse, database, schemas, stages", None, "cannot be checked without signing in")


def _checks(
    transaction: Transaction, warehouse: Warehouse, settings: Settings, pipelines: Sequence[ResolvedPipeline]
) -> Iterator[CheckResult]:
    for what, wanted in (
        ("role", settings.snowflake_role),
        ("warehouse", settings.snowflake_warehouse),
        ("database", settings.database),
    ):
        yield check_result(what, partial(_current, transaction, what, wanted))
    for schema in ["OPS", *dict.fromkeys(target.domain.upper() for p in pipelines for target in p.targets)]:
        yield check_result(f"schema {schema}", partial(_schema, transaction, settings, schema))
    for bucket in dict.fromkeys(pipeline.bucket for pipeline in pipelines):
        stage = warehouse.stage(bucket)
        yield check_result(f"stage {stage}", partial(_stage, transaction, stage))
    staging = [stage for pipeline in pipelines for stage in pipeline.load_stages]
    pipes = warehouse.loading
    if not isinstance(pipes, Snowpipe):
        yield check_result("writing into OPS", lambda: _insert(warehouse, ops_tables()))
        return
    yield check_result("writing into OPS", lambda: _insert(warehouse, [*ops_tables(), *map(piped_table, staging)]))
    for pipe in (f"{settings.database}.{pipe_name(table)}" for table in staging):
        yield check_result(f"pipe {pipe}", partial(_pipe, pipes, pipe))


def _current(transaction: Transaction, what: str, wanted: str) -> str:
    current = transaction.scalar(f"SELECT CURRENT_{what.upper()}()")
    # A quoted name keeps its case; unquoted names are upper case.
    if str(current or "").strip('"').upper() != wanted.strip('"').upper():
        raise ConfigurationError(
            f"The session has the {what} {current or 'none'} and not {wanted}.",
            remedy=_DEPLOY,
        )
    return str(current)


def _schema(transaction: Transaction, settings: Settings, schema: str) -> str:
    count = transaction.scalar("SELECT COUNT(*) FROM INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = %s", (schema,))
    if not count:
        name = f"{settings.database}.{schema}"
        raise ConfigurationError(
            f"Schema {name} does not exist, or role {settings.snowflake_role} may not use it.",
            remedy=f"GRANT USAGE ON SCHEMA {name} TO ROLE {settings.snowflake_role}; {_DEPLOY}",
        )
    return "may be used"


def _stage(transaction: Transaction, stage: str) -> str:
    transaction.rows(f"LIST @{stage}/{_EMPTY_PREFIX}")
    return "answers, so Snowflake may read the bucket"


def _pipe(pipes: Snowpipe, pipe: str) -> str:
    pipes.report(pipe)
    return "answers; the privilege to load files (OPERATE) cannot be checked without loading one"


def _insert(warehouse: Warehouse, tables: Sequence[Table]) -> str:
    with warehouse.read_only() as transaction:
        for table in tables:
            transaction.execute(f"INSERT INTO {table.qualified} SELECT * FROM {table.qualified} WHERE FALSE")
    return f"{len(tables)} tables accept rows; none was kept"
