"""Run the statements of `plan` on an account, or print them.

Each statement is run and reported separately: a failure skips only the statements that need it, so a single run shows
everything that is missing. All statements may be repeated. A dry run does not connect and reads no key; it leaves out
what depends on the tables in the account: changes of columns, masks and grants of tables that runs have created.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts.ddl import Table
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.deploy.snowflake.plan import INTEGRATION, Step, steps
from pipeline_assets.deploy.snowflake.tables import schemas, tables
from pipeline_assets.errors import ConfigurationError, WarehouseError, one_line
from pipeline_assets.sqlfiles.parameters import Name
from pipeline_assets.warehouse.columns import (
    Present,
    kind_from_show_columns,
    replaceable_tables,
    require_matching_types,
)
from pipeline_assets.warehouse.keys import load_private_key
from pipeline_assets.warehouse.snowflake import connect_as_admin
from pipeline_assets.warehouse.transaction import run_statement

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings

_SYSTEM_ROLES = ("ACCOUNTADMIN", "SECURITYADMIN", "SYSADMIN", "USERADMIN")
# Without these the plan has placeholders in angle brackets and can only be printed.
_NEEDED = ("snowflake_user", "snowflake_private_key", "snowflake_storage_role_arn")


def deploy(
    settings: Settings, pipelines: Sequence[ResolvedPipeline], *, dry_run: bool, say: Callable[[str], object] = print
) -> None:
    """Create what the `aws` profile needs in Snowflake.

    Raises:
        ConfigurationError: a setting is missing or wrong; nothing was run.
        WarehouseError: some statements failed; each was printed with a remedy.
    """
    if dry_run:
        _print(list(steps(settings, pipelines)), settings, say)
        return
    if missing := [f"PIPELINE_{name.upper()}" for name in _NEEDED if not getattr(settings, name)]:
        raise ConfigurationError(
            f"{', '.join(missing)} missing.", remedy="`pipeline-assets deploy snowflake --dry-run` shows what for."
        )
    public_key = _public_key(settings)
    list(steps(settings, pipelines))  # find an invalid name before anything is run
    with connect_as_admin(settings) as connection:
        present = _columns(connection, settings, pipelines)
        recreated = _replaceable_tables(connection, settings, pipelines, present)
        plan = list(steps(settings, pipelines, public_key=public_key, present=present, recreated=recreated))
        _run(connection, plan, settings, say)
    require_matching_types([table for table in tables(settings, pipelines) if table not in recreated], present)


def _print(plan: Sequence[Step], settings: Settings, say: Callable[[str], object]) -> None:
    say(
        f"-- {len(plan)} statements; nothing is run. PIPELINE_SNOWFLAKE_ADMIN_USER needs the roles "
        f"{', '.join(sorted({step.role for step in plan} & set(_SYSTEM_ROLES)))}."
    )
    role = ""
    for number, step in enumerate(plan, 1):
        if step.role != role:
            role = step.role
            say(f"\nUSE ROLE {role};")
        say(f"-- {number}. {step.what}\n{step.sql};")
    say("\n-- A column that a contract gains or widens later is added or widened by ALTER TABLE when the plan is run;")
    say("-- a table without rows that has a column of another type is replaced. A table that a run has created (of")
    say("-- reviews) is masked, and analysts are let read it, when the plan is run after that run.")
    say(f"-- DESC INTEGRATION {INTEGRATION} then shows the user and external id that the AWS role must trust.")


def _run(connection: Any, plan: Sequence[Step], settings: Settings, say: Callable[[str], object]) -> None:
    failed: set[str] = set()
    failures = skipped = 0
    role = ""
    for step in plan:
        if failed.intersection(step.entry.needs):
            failed.add(step.entry.sql)
            skipped += 1
            continue
        try:
            if step.role != role:
                run_statement(connection, f"USE ROLE {step.role}")
                role = step.role
            run_statement(connection, step.sql)
        except WarehouseError as error:
            say(f"FAIL {step.what}: {_explained(error, step, settings, signed_in=role == step.role)}")
            failed.add(step.entry.sql)
            failures += 1
        else:
            say(f"ok   {step.what}")
    if failures:
        raise WarehouseError(
            f"{failures} of {len(plan)} statements were refused and {skipped} not tried, as they need one of those.",
            remedy="Grant what is missing and run `pipeline-assets deploy snowflake` again; what worked stays.",
        )
    say(f"{len(plan)} statements; the account is as the plan says.")


def _explained(error: WarehouseError, step: Step, settings: Settings, *, signed_in: bool) -> str:
    """One line: Snowflake's message, the privilege that the statement requires, and the grant."""
    message = one_line(error.message)
    if not signed_in:
        user = settings.snowflake_admin_user
        return f"{message} Role {step.role} is missing: GRANT ROLE {step.role} TO USER {user}."
    if "nsufficient privileges" not in message and "not authorized" not in message:
        return f"{message} {error.remedy}".rstrip()
    if " ON " in step.privilege and not step.privilege.endswith("ON ACCOUNT"):
        grant = f"grant {step.role} {step.privilege}"
    elif step.privilege.endswith("ON ACCOUNT"):
        grant = f"GRANT {step.privilege} TO ROLE {step.role}"
    else:
        grant = f"make sure that {step.role} has it"
    return f"{message} It takes {step.privilege}: {grant}."


def _public_key(settings: Settings) -> str:
    """The public half of the pipelines' key, as Snowflake takes it: base64 without PEM's header and footer."""
    from base64 import b64encode

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    assert settings.snowflake_private_key is not None
    key = load_private_key(settings.snowflake_private_key, settings.snowflake_private_key_password)
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def _columns(connection: Any, settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> dict[str, dict[str, str]]:
    """The columns, with their types, of each of our tables that exists.

    By SHOW, as that needs no virtual warehouse, which the user who deploys may not have.
    """
    columns: dict[str, dict[str, str]] = {}
    for schema in schemas(settings, pipelines).values():
        try:
            run_statement(connection, f"USE ROLE {Name(settings.snowflake_admin_role).sql()}")
            cursor = run_statement(connection, f"SHOW COLUMNS IN SCHEMA {schema.sql()}")
        except WarehouseError as error:
            if _is_missing(error):
                continue  # the first deployment: the role or the schema does not exist
            raise
        names = [column[0] for column in cursor.description]
        for row in cursor.fetchall():
            row_by_name = dict(zip(names, row, strict=True))
            table = columns.setdefault(f"{row_by_name['schema_name']}.{sql_name(row_by_name['table_name'])}", {})
            table[row_by_name["column_name"]] = kind_from_show_columns(row_by_name["data_type"])
    return columns


def _replaceable_tables(
    connection: Any, settings: Settings, pipelines: Sequence[ResolvedPipeline], present: Present
) -> list[Table]:
    """The tables to replace; Snowflake counts all rows of a table without a virtual warehouse."""

    def count(table: Table) -> int:
        run_statement(connection, f"USE ROLE {Name(settings.snowflake_admin_role).sql()}")
        return int(run_statement(connection, f"SELECT COUNT(*) FROM {Name(table.qualified).sql()}").fetchone()[0])

    return replaceable_tables(tables(settings, pipelines), present, count)


def _is_missing(error: WarehouseError) -> bool:
    return any(text in error.message for text in ("does not exist", "not authorized", "not assigned"))
