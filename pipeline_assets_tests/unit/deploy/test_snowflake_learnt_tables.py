"""Tables that runs create for open contracts: analysts read none of them before its personal columns are masked.

FAULTS 40.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.contracts import Contract
from pipeline_assets.deploy.snowflake.plan import PLAN, Step, steps
from pipeline_assets.pipeline import LandedFiles, Pipeline, Table
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets.settings import load_settings
from pipeline_assets.warehouse.columns import Present
from pipeline_assets_tests.support.small_pipelines import contract

KEY, EMAIL = "ID integer key personal", "EMAIL text personal"
LEARNT = ("BORN date personal", "SEEN timestamp personal", "PAY number personal", "NOTE text")
ANALYST = "PIPELINE_ANALYST"


def shop(**contracts: Contract) -> Pipeline:
    return Pipeline(
        "shop",
        "shop-bucket",
        sources=[LandedFiles(name, f"in/{name}/*.parquet") for name in contracts],
        tables=[Table(name) for name in contracts],
        contracts=contracts,
    )


def people(*columns: str, is_open: bool = True) -> Contract:
    return contract("people", KEY, *columns, is_open=is_open)


def planned(value: Pipeline, present: Present | None = None) -> list[Step]:
    return list(steps(load_settings(profile="aws"), [derive(value)], present=present))


def loaded(*columns: str) -> dict[str, dict[str, str]]:
    """The tables that are there after a run that has learnt these columns."""
    learnt = people(*columns, is_open=False)
    made = derive(shop(people=learnt)).warehouse_tables
    return {table.qualified: {name: kind for name, kind, *_ in table.columns} for table in made}


def of_analysts(plan: list[Step]) -> list[str]:
    """What the plan does with rights on tables and views."""
    return [step.sql for step in plan if ANALYST in step.sql and "SELECT" in step.sql]


def test_analysts_read_no_future_table_of_a_schema_in_which_runs_create_tables() -> None:
    """A grant of a time when the schema had contracts of all tables is taken back before a run may create one."""
    plan = planned(shop(people=people(EMAIL)))
    (create,) = (entry for entry in PLAN if entry.sql == "grant_create_table")

    assert of_analysts(plan) == [
        f"REVOKE SELECT ON FUTURE TABLES IN SCHEMA ANALYTICS.SHOP FROM ROLE {ANALYST}",
        f"REVOKE SELECT ON FUTURE VIEWS IN SCHEMA ANALYTICS.SHOP FROM ROLE {ANALYST}",
        f"GRANT SELECT ON ALL VIEWS IN SCHEMA ANALYTICS.SHOP TO ROLE {ANALYST}",
    ]
    assert {"revoke_read_future", "revoke_read_views_future"} <= set(create.needs)


def test_analysts_read_future_tables_where_every_table_has_a_contract() -> None:
    granted = of_analysts(planned(shop(people=people(EMAIL, is_open=False))))

    assert f"GRANT SELECT ON FUTURE TABLES IN SCHEMA ANALYTICS.SHOP TO ROLE {ANALYST}" in granted
    assert not [sql for sql in granted if sql.startswith("REVOKE")]


def test_a_table_that_a_run_has_created_is_masked_and_tagged_and_then_readable() -> None:
    declared = people(EMAIL, *(column for column in LEARNT if "personal" in column))
    plan = planned(shop(people=declared), loaded(EMAIL, *LEARNT))

    masks = [step.sql for step in plan if step.entry.sql == "column_mask" and "PEOPLE" in step.sql]
    personal = {"ID", "EMAIL", "BORN", "SEEN", "PAY", "_RESCUED"}
    for table, wanted in {
        "SHOP.PEOPLE": personal,
        "OPS.STAGE_SHOP_PEOPLE": personal,
        "OPS.KEYS_SHOP_PEOPLE": {"ID"},
    }.items():
        assert {sql.split()[5] for sql in masks if sql.split()[2] == f"ANALYTICS.{table}"} == wanted
    policies = {sql.split()[5]: sql.split()[-2] for sql in masks if "SHOP.PEOPLE" in sql}
    assert policies["SEEN"] == "ANALYTICS.OPS.MASK_TIMESTAMP_NTZ_6"
    assert policies["PAY"] == "ANALYTICS.OPS.MASK_NUMBER_18_4"
    assert sum(step.entry.sql == "column_tag" and "PEOPLE" in step.sql for step in plan) == len(masks)
    assert of_analysts(plan)[-1] == f"GRANT SELECT ON TABLE ANALYTICS.SHOP.PEOPLE TO ROLE {ANALYST}"
    assert [sql for sql in of_analysts(plan) if "OPS" in sql] == []


def test_a_table_that_lacks_a_personal_column_is_not_readable_until_it_has_it() -> None:
    """A run would add the column without a mask; SHOW returns 10,000 columns, and _RESCUED is among the last."""
    value, whole = shop(people=people(EMAIL)), loaded(EMAIL)
    cut_off = whole | {"SHOP.PEOPLE": {"ID": "NUMBER(18,0)", "EMAIL": "VARCHAR(64)"}}

    assert of_analysts(planned(value, whole))[-1] == f"GRANT SELECT ON TABLE ANALYTICS.SHOP.PEOPLE TO ROLE {ANALYST}"
    for present in (loaded(), cut_off):
        taken_back = f"REVOKE SELECT ON TABLE ANALYTICS.SHOP.PEOPLE FROM ROLE {ANALYST}"
        assert of_analysts(planned(value, present))[-1] == taken_back


def test_tables_with_a_contract_are_readable_one_by_one_beside_those_of_runs() -> None:
    declared = contract("goods", KEY, "NAME text personal")
    granted = of_analysts(planned(shop(people=people(EMAIL), goods=declared)))

    assert [sql for sql in granted if "ON TABLE" in sql] == [
        f"GRANT SELECT ON TABLE ANALYTICS.SHOP.GOODS TO ROLE {ANALYST}"
    ]


COLUMNS = ("EMAIL", "BORN", "SEEN", "PAY", "NOTE")
TYPES = dict(zip(COLUMNS, ("text", "date", "timestamp", "number", "text"), strict=True))


@given(personal=st.sets(st.sampled_from(COLUMNS)), there=st.sets(st.sampled_from(COLUMNS)))
def test_whatever_is_listed_and_there_a_readable_table_has_every_personal_column_masked_before(
    personal: set[str], there: set[str]
) -> None:
    declared = people(*(f"{name} text personal" for name in sorted(personal)))
    plan = planned(shop(people=declared), loaded(*(f"{name} {TYPES[name]}" for name in sorted(there))))
    masked: Mapping[str, int] = {
        step.sql.split()[5]: number
        for number, step in enumerate(plan)
        if step.entry.sql == "column_mask" and "ANALYTICS.SHOP.PEOPLE " in step.sql
    }
    readable = [n for n, step in enumerate(plan) if re.match(r"GRANT SELECT ON TABLE \S+SHOP.PEOPLE ", step.sql)]

    assert set(masked) == (personal & there) | {"ID", "_RESCUED"}
    assert len(readable) == (personal <= there)
    assert all(number < first for number in masked.values() for first in readable)
    assert all("column_mask" in plan[number].entry.needs for number in readable)
