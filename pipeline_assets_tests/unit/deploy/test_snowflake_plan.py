"""The plan of Snowflake's objects: complete, in order, derived from the contracts, and with no surprises in it."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.deploy.snowflake.apply import deploy
from pipeline_assets.deploy.snowflake.plan import PLAN, Step, steps
from pipeline_assets.deploy.snowflake.tables import tables
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.lake import S3Lake
from pipeline_assets.pipeline import LandedFiles, Table, View
from pipeline_assets.pipeline import Pipeline as Declared
from pipeline_assets.pipeline.marts import refreshes
from pipeline_assets.pipeline.resolve import derive, resolve
from pipeline_assets.pipeline.resolved import FileTable
from pipeline_assets.pipeline.resolved import ResolvedPipeline as Pipeline
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets.sqlfiles import load_sql, sql_files, statement_kind
from pipeline_assets.sqlfiles.parameters import Name, Text, render
from pipeline_assets.warehouse import SnowflakeWarehouse
from pipeline_assets.warehouse.transaction import FORMAT
from pipeline_assets_tests.support import item_history, odd_names
from pipeline_assets_tests.support.small_pipelines import pipeline_of

SECRET = "-----BEGIN PRIVATE KEY-----not-to-be-shown"
# What sqlglot 30 knows nothing of and keeps as text; sqlfluff parses all of it.
UNKNOWN_TO_SQLGLOT = (
    "ALTER FILE",
    "ALTER MASKING",
    "ALTER RESOURCE",
    "ALTER STAGE",
    "ALTER STORAGE",
    "ALTER USER",
    "ALTER WAREHOUSE",
    "CREATE MASKING",
    "CREATE PIPE",
    "CREATE RESOURCE",
    "CREATE ROLE",
    "CREATE USER",
)
_HALF_KNOWN = ("GRANT", "REVOKE", "ALTER TABLE", "CREATE SCHEMA")


def ours() -> list[Pipeline]:
    return list(pipelines().values())


def settings(**given: object) -> Settings:
    defaults = {"profile": "aws", "snowflake_load": "snowpipe", "snowflake_user": "LOADER", "bucket_prefix": "acme-"}
    return load_settings(**(defaults | given))


@pytest.fixture(scope="module")
def plan() -> list[Step]:
    """Everything, pipes included."""
    return list(steps(settings(), ours()))


def of(plan: Sequence[Step], *names: str) -> list[str]:
    return [step.sql for step in plan if step.entry.sql in names]


# --- whole and in order ------------------------------------------------------------------------------------


def test_every_statement_is_one_that_snowflakes_dialect_knows(
    plan: Sequence[Step], caplog: pytest.LogCaptureFixture
) -> None:
    """Where sqlglot can parse a statement, it must; what it cannot is listed, and leaves the list when it can."""
    caplog.set_level(logging.ERROR, "sqlglot")
    kept_as_text = set()
    for step in plan:
        assert statement_kind(step.sql) in {"ALTER", "CREATE", "GRANT", "REVOKE"}
        (parsed,) = sqlglot.parse(step.sql, read="snowflake")
        if isinstance(parsed, exp.Command):
            kept_as_text.add(" ".join(step.sql.split()[:2]))

    half_known = {head for head in kept_as_text if head.startswith(_HALF_KNOWN)}
    assert kept_as_text - half_known <= set(UNKNOWN_TO_SQLGLOT)
    assert set(UNKNOWN_TO_SQLGLOT) - {"ALTER FILE"} <= kept_as_text
    for statement in (*of(plan, "table", "stage", "file_format", "tag", "database", "warehouse"),):
        assert isinstance(sqlglot.parse_one(statement, read="snowflake"), exp.Create)


def test_every_file_of_the_platform_is_in_the_plan_once() -> None:
    files = [f"platform/{entry.sql}" for entry in PLAN if entry.sql not in ("table", "recreate_table")]

    assert sorted(files) == [name for name in sql_files() if name.startswith("platform/")]


def test_what_a_statement_needs_comes_before_it() -> None:
    done: set[str] = set()
    for entry in PLAN:
        assert set(entry.needs) <= done, entry.sql
        done.add(entry.sql)


def test_names_are_made_before_they_are_used_and_by_what_is_needed(plan: Sequence[Step]) -> None:
    """Whatever of ours a statement names, or runs as, is made by one that it needs, whose refusal stops it."""
    needs: dict[str, set[str]] = {}
    for entry in PLAN:
        needs[entry.sql] = {entry.sql}.union(*(needs[name] for name in entry.needs))
    maker: dict[str, str] = {}
    for step in plan:
        words = re.sub(r"'[^']*'|[();@]", " ", step.sql).split()
        if words[0] == "CREATE":
            maker.setdefault(words[words.index("EXISTS") + 1], step.entry.sql)
        for word in (*words, step.role):
            parts = word.split(".")
            for name in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
                if name.startswith(("ANALYTICS", "PIPELINE_")) and (
                    len(parts) < 3 or name != word or "COLUMN" in words
                ):
                    assert maker[name] in needs[step.entry.sql], f"{step.what}: {name}"


def test_nothing_is_replaced_or_dropped_and_everything_can_be_repeated(plan: Sequence[Step]) -> None:
    for step in plan:
        assert " OR REPLACE" not in step.sql
        assert "DROP " not in step.sql
        assert not step.sql.startswith("CREATE") or " IF NOT EXISTS " in step.sql


# --- who may what ------------------------------------------------------------------------------------------


def test_accountadmin_makes_the_integration_and_the_monitor_and_nothing_else(plan: Sequence[Step]) -> None:
    used = {step.entry.sql for step in plan if step.role == "ACCOUNTADMIN"}

    assert used == {
        "storage_integration",
        "storage_integration_locations",
        "resource_monitor",
        "resource_monitor_quota",
        "warehouse_monitor",
    }
    for name in ("storage_integration", "resource_monitor", "warehouse_monitor"):
        assert "Only ACCOUNTADMIN" in load_sql(f"platform/{name}").grain


def test_analysts_read_the_tables_of_pipelines_and_nothing_of_the_platforms_own(plan: Sequence[Step]) -> None:
    granted = [step.sql for step in plan if step.sql.endswith("TO ROLE PIPELINE_ANALYST")]

    assert granted
    assert not [sql for sql in granted if ".OPS" in sql or "WAREHOUSE" in sql]
    assert {sql.split(" ON ")[0] for sql in granted} == {"GRANT USAGE", "GRANT SELECT"}


def test_the_loader_writes_rows_and_makes_nothing_but_views_and_tables_of_open_contracts(plan: Sequence[Step]) -> None:
    made = ("GRANT CREATE VIEW ON SCHEMA", "GRANT CREATE TABLE ON SCHEMA")
    granted = " ".join(
        step.sql for step in plan if step.sql.endswith("TO ROLE PIPELINE_LOADER") and not step.sql.startswith(made)
    )

    assert "FUTURE TABLES IN SCHEMA ANALYTICS.BOOKINGS" in granted
    for privilege in ("OWNERSHIP", "CREATE", "TRUNCATE", "ALL PRIVILEGES", "MODIFY"):
        assert privilege not in granted


def test_the_loader_may_create_views_in_schemas_that_have_some_alone(tmp_path: Path) -> None:
    contracts = {"items": ("table", ["ITEM text key"]), "shown": ("table", ["ITEM text"])}
    select = {"shown": "SELECT I.ITEM FROM SHOP.ITEMS AS I"}
    sources = [LandedFiles("items", "in/*.csv")]
    shop = resolve(pipeline_of(tmp_path, contracts, select, sources=sources, tables=[Table("items"), View("shown")]))

    granted = of(list(steps(settings(), [*ours(), shop])), "grant_create_view")

    assert granted[-1] == "GRANT CREATE VIEW ON SCHEMA ANALYTICS.SHOP TO ROLE PIPELINE_LOADER"
    assert len(granted) == 1 + sum(bool(pipeline.views) for pipeline in ours())


CAPTURE = ("history_stream", "history_task", "history_task_suspend", "history_task_body", "history_task_resume")


def test_change_capture_is_planned_on_request_with_the_statements_that_refresh_the_history(tmp_path: Path) -> None:
    pipeline = resolve(item_history.value(tmp_path))
    (history,) = [refresh for refresh in refreshes(pipeline) if refresh.mart.contract.name == "dim_item"]
    assert of(list(steps(settings(), [pipeline])), *CAPTURE, "grant_execute_task") == []

    plan = list(steps(settings(snowflake_change_capture=True), [pipeline]))

    assert [step.entry.sql for step in plan if step.entry.sql in CAPTURE] == list(CAPTURE)
    assert of(plan, "grant_execute_task") == ["GRANT EXECUTE TASK ON ACCOUNT TO ROLE PIPELINE_ADMIN"]
    stream, task, _, body, _ = of(plan, *CAPTURE)
    assert stream.startswith(
        "CREATE STREAM IF NOT EXISTS ANALYTICS.SHOP.DIM_ITEM_CHANGES\nON TABLE ANALYTICS.SHOP.ITEM_"
    )
    assert "WHEN SYSTEM$STREAM_HAS_DATA('ANALYTICS.SHOP.DIM_ITEM_CHANGES')" in task
    assert history.missing in body
    assert "DELETE FROM SHOP.DIM_ITEM USING (SELECT DISTINCT SHOP, ITEM FROM SHOP.DIM_ITEM_CHANGES)" in body
    for statement in of(plan, *CAPTURE):
        assert statement_kind(statement) in {"ALTER", "CREATE"}


def test_names_that_need_quotes_are_quoted_in_every_statement(tmp_path: Path) -> None:
    pipeline = derive(odd_names.pipeline(tmp_path))
    present = {table.qualified: {"KEY": "VARCHAR(2)"} for table in pipeline.warehouse_tables}

    plan = list(steps(settings(snowflake_change_capture=True), [pipeline], present=present))

    for step in plan:
        assert statement_kind(step.sql)
    masks = of(plan, "column_mask")
    policy = "SET MASKING POLICY ANALYTICS.OPS.MASK_VARCHAR FORCE"
    assert f'ALTER TABLE ANALYTICS.SHOP."ORDER" MODIFY COLUMN "NAÏVE" {policy}' in masks
    assert f'ALTER TABLE ANALYTICS.OPS.STAGE_SHOP_ORDER MODIFY COLUMN "NAÏVE" {policy}' in masks
    stream, task, _, body, _ = of(plan, *CAPTURE)
    assert stream.startswith(
        """CREATE STREAM IF NOT EXISTS ANALYTICS.SHOP."O'PAST._CHANGES"\nON TABLE ANALYTICS.SHOP.S\n"""
    )
    assert """SYSTEM$STREAM_HAS_DATA('ANALYTICS.SHOP."O''PAST._CHANGES"')""" in task
    assert """DELETE FROM SHOP."O'PAST." USING (SELECT DISTINCT "A""B" FROM SHOP."O'PAST._CHANGES")""" in body
    assert 'ALTER TABLE ANALYTICS.SHOP."ORDER" ADD COLUMN IF NOT EXISTS "100% `OF` IT" NUMBER(18,4)' in of(
        plan, "table_column"
    )


def test_no_secret_is_in_the_plan_and_a_dry_run_connects_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 30."""
    monkeypatch.setattr("snowflake.connector.connect", lambda **_: pytest.fail("it connected"))
    said: list[str] = []
    secrets = {"snowflake_private_key": SECRET, "snowflake_admin_private_key": SECRET}

    deploy(settings(**secrets), ours(), dry_run=True, say=said.append)

    text = "\n".join(said)
    assert "not-to-be-shown" not in text
    assert "RSA_PUBLIC_KEY = '<public half of PIPELINE_SNOWFLAKE_PRIVATE_KEY>'" in text
    for role in ("ACCOUNTADMIN", "SECURITYADMIN", "SYSADMIN", "USERADMIN", "PIPELINE_ADMIN"):
        assert f"USE ROLE {role};" in text


# --- derived, not typed ------------------------------------------------------------------------------------


def test_stages_are_named_and_placed_as_the_pipelines_expect_them(plan: Sequence[Step]) -> None:
    warehouse, lake = SnowflakeWarehouse(settings()), S3Lake(region="eu-west-1", bucket_prefix="acme-")
    stages = of(plan, "stage")

    assert len(stages) == len({pipeline.bucket for pipeline in ours()})
    for pipeline in ours():
        (stage,) = (sql for sql in stages if f".{warehouse.stage(pipeline.bucket)}\n" in sql)
        assert f"URL = '{lake.stage_url(pipeline.bucket)}'" in stage
        assert f"'{lake.stage_url(pipeline.bucket)}'" in of(plan, "storage_integration")[0]


def personal_columns(plan: Sequence[Step]) -> set[tuple[str, ...]]:
    return {(step.sql.split()[2], step.sql.split()[5]) for step in plan if step.entry.sql == "column_mask"}


def test_every_column_that_a_contract_calls_personal_is_masked_and_tagged_wherever_it_goes(
    plan: Sequence[Step],
) -> None:
    masked = personal_columns(plan)

    for pipeline in ours():
        for contract in (each for each in pipeline.targets if not each.is_open):  # a run learns the columns of others
            places = (
                f"ANALYTICS.{contract.domain.upper()}.{contract.table}",
                f"ANALYTICS.OPS.STAGE_{contract.domain.upper()}_{contract.table}",
                f"ANALYTICS.OPS.PIPED_{contract.domain.upper()}_{contract.table}",
            )
            wanted = {column.name for column in contract.columns if column.personal} | {"_RESCUED"}
            loaded = {table.contract.name for table in pipeline.tables}
            for place in places if contract.name in loaded else places[:1]:
                assert {column for table, column in masked if table == place} == wanted
    assert ("ANALYTICS.OPS.QUARANTINE", "RAW_RECORD") in masked
    assert len(of(plan, "column_tag")) == len(masked)


def test_a_policy_has_the_exact_type_of_its_columns() -> None:
    """One for NUMBER would be one for NUMBER(38,0), and round what it lets through."""
    salary = Column("SALARY", "number", "NUMBER(18,4)", classification="personal")
    born = Column("BORN", "date", "DATE", classification="personal")
    found = list(steps(settings(), [with_columns(salary, born)]))
    policies, masks = of(found, "masking_policy"), of(found, "column_mask")

    assert any("MASK_NUMBER_18_4 AS(VAL NUMBER(18,4)) RETURNS NUMBER(18,4)" in sql for sql in policies)
    assert any("SALARY SET MASKING POLICY ANALYTICS.OPS.MASK_NUMBER_18_4 FORCE" in sql for sql in masks)
    assert any("BORN SET MASKING POLICY ANALYTICS.OPS.MASK_DATE FORCE" in sql for sql in masks)


def test_masked_text_says_so_and_anything_else_is_null() -> None:
    salary = Column("SALARY", "number", "NUMBER(18,4)", classification="personal")
    found = list(steps(settings(), [with_columns(salary)]))
    policies = of(found, "masking_policy")

    shown = {sql.split()[6].rpartition(".")[2]: sql.rpartition(" ELSE ")[2] for sql in policies}
    assert shown == {"MASK_NUMBER_18_4": "NULL END", "MASK_VARCHAR": "'•••' END", "MASK_VARIANT": "NULL END"}
    assert all("WHEN VAL IS NULL OR CURRENT_ROLE() = 'PIPELINE_LOADER' THEN VAL" in sql for sql in policies)
    assert "ROLE_IN_SESSION" not in " ".join(of(found, "masking_policy", "masking_policy_body")), "who inherits it"


def with_columns(*columns: Column) -> Pipeline:
    contract = Contract("people", "PEOPLE", "1", "staff", "People.", "One row per person.", "team", columns)
    people = Table("people")
    select = Select("people", "SELECT 1 AS ONE", {})
    made = FileTable(people, contract, select, None, False, ())  # type: ignore[arg-type]
    return Pipeline(Declared("staff", "staff-bucket", tables=[people]), (), (made,), (), (), (), {})


def test_a_column_that_a_contract_gained_is_added_and_others_are_left_alone() -> None:
    pipeline = with_columns(Column("ID", "string", "VARCHAR(8)"), Column("NEW", "date", "DATE"))
    columns = ("ID", "LOST", "_BATCH_ID", "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_LOADED_AT", "_RESCUED")
    present = {"STAFF.PEOPLE": dict.fromkeys(columns, "")}

    found = of(list(steps(settings(), [pipeline], present=present)), "table_column", "table_column_type")

    assert found == ["ALTER TABLE ANALYTICS.STAFF.PEOPLE ADD COLUMN IF NOT EXISTS NEW DATE"]


def test_a_type_that_a_contract_widened_is_widened_wherever_its_rows_go() -> None:
    pipeline = with_columns(Column("NAME", "string", "VARCHAR(400)"), Column("PAY", "number", "NUMBER(24,4)"))
    wanted = {table.qualified: table.columns for table in tables(settings(), [pipeline])}
    present = {
        name.removeprefix("ANALYTICS."): {column: kind for column, kind, *_ in columns}
        | {"NAME": "VARCHAR(200)", "PAY": "NUMBER(18,4)"}
        for name, columns in wanted.items()
        if name.endswith("PEOPLE")
    }

    found = list(steps(settings(), [pipeline], present=present))

    assert of(found, "table_column") == []
    assert sorted(of(found, "table_column_type")) == [
        f"ALTER TABLE ANALYTICS.{table} ALTER COLUMN {column} SET DATA TYPE {kind}"
        for table in ("OPS.PIPED_STAFF_PEOPLE", "OPS.STAGE_STAFF_PEOPLE", "STAFF.PEOPLE")
        for column, kind in (("NAME", "VARCHAR(400)"), ("PAY", "NUMBER(24,4)"))
    ]


def test_a_table_made_anew_keeps_its_grants_and_has_its_masks_before_anybody_is_let_read() -> None:
    pipeline = with_columns(Column("NAME", "string", "VARCHAR(8)", classification="personal"))
    (table,) = (table for table in tables(settings(), [pipeline]) if table.qualified == "ANALYTICS.STAFF.PEOPLE")
    found = list(steps(settings(), [pipeline], present={"STAFF.PEOPLE": {"NAME": "DATE"}}, recreated=[table]))

    (made,) = of(found, "recreate_table")
    assert made.startswith("CREATE OR REPLACE TABLE ANALYTICS.STAFF.PEOPLE (")
    assert " COPY GRANTS " in made
    assert isinstance(sqlglot.parse_one(made, read="snowflake"), exp.Create)
    assert of(found, "table_column") == []
    order = [step.entry.sql for step in found if "STAFF.PEOPLE" in step.what]
    assert order.index("table") < order.index("recreate_table") < order.index("column_mask") < order.index("column_tag")


def test_pipes_take_text_as_the_copy_of_the_pipelines_does(plan: Sequence[Step]) -> None:
    """Snowflake's own defaults would make a NULL of some texts."""
    (made,) = of(plan, "file_format")
    by_copy = re.search(r"FILE_FORMAT = \((.*)\)$", FORMAT)

    assert by_copy is not None
    assert by_copy[1] in " ".join(made.split())
    assert "TRIM_SPACE = FALSE NULL_IF = ()" in by_copy[1]


def test_the_warehouse_is_of_the_generation_that_the_costs_are_counted_with(plan: Sequence[Step]) -> None:
    assert "GENERATION = '1'" in of(plan, "warehouse")[0]


def test_pipes_are_made_only_for_those_who_load_by_pipes() -> None:
    assert not of(list(steps(settings(snowflake_load="copy"), ours())), "pipe", "grant_pipe")


# --- names and text are no SQL (FAULTS 31) -----------------------------------------------------------------


@pytest.mark.parametrize("setting", ["snowflake_warehouse", "snowflake_role", "snowflake_user", "snowflake_admin_role"])
@pytest.mark.parametrize("name", ["x; DROP TABLE Y", "x TO ROLE PUBLIC", 'x"', "", "1x", "x.y.z.w", "x\n"])
def test_a_name_that_is_none_is_refused(setting: str, name: str) -> None:
    if setting == "snowflake_user" and not name:
        return  # none at all is the default's turn
    with pytest.raises(ConfigurationError, match="is not a name of a Snowflake object"):
        list(steps(settings(**{setting: name}), ours()))


def test_text_is_quoted() -> None:
    arn = "arn'); DROP TABLE X; -- \\"
    (created, *_) = of(list(steps(settings(snowflake_storage_role_arn=arn), ours())), "storage_integration")

    assert "STORAGE_AWS_ROLE_ARN = 'arn''); DROP TABLE X; -- \\\\'" in created
    assert statement_kind(created) == "CREATE"


def test_a_value_is_never_read_as_a_place_again() -> None:
    assert render("SET A = ${a}, B = ${b}", {"a": Text("${b}"), "b": Name("X")}) == "SET A = '${b}', B = X"


def test_a_place_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Nothing was given for \$\{b\}"):
        render("SET A = ${b}", {"a": Name("X")})


def test_two_buckets_that_would_share_a_stage_are_refused() -> None:
    twins = [
        replace(ours()[0], value=replace(ours()[0].value, name=name, bucket=bucket))
        for name, bucket in (("a", "a-b"), ("b", "a.b"))
    ]

    with pytest.raises(ConfigurationError, match=r"would share the stage OPS\.LAKE_A_B"):
        list(steps(settings(), twins))


def test_two_roles_under_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one name"):
        list(steps(settings(snowflake_analyst_role="pipeline_loader"), ours()))
