"""Tables of any name with columns of any names are created, changed, published to and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import staging_table, table_for_write_mode
from pipeline_assets.contracts.names import require_usable_names, sql_names
from pipeline_assets.errors import ContractError
from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets.warehouse.publication import Load, publish
from pipeline_assets_tests.support.shop_warehouse import NOON, SALES, Batch

WRITE_MODES = ("upsert", "append", "append_distinct")
_numbers = count(1)
_letters = st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\"'`%;. $?:{}[]()\\-/")
_names = st.text(_letters, min_size=1, max_size=12).map(lambda text: text.upper().strip())


def usable(names: Sequence[str]) -> Contract | None:
    """A contract of another table in each example, or None if it would be refused; the last name is its table's."""
    *columns, table = names
    made = replace(
        SALES,
        name=f"sales{next(_numbers)}",
        table=table,
        columns=tuple(
            replace(SALES.columns[0], name=name, key=not n, required=not n) for n, name in enumerate(columns)
        ),
    )
    try:
        require_usable_names(made)
    except ContractError:
        return None
    return made


# Of many columns, as an example takes a third of a second however many it has.
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(_names, min_size=12, max_size=12, unique_by=str.casefold),
    write=st.sampled_from(["upsert", "append", "append_distinct"]),
)
@example(names=["ORDER", "100%S", "%(A)S", "?", ":A", "{B}", "A.B"], write="upsert")
@example(names=["S", "_SOURCE", "T", 'A"B', "O'CLOCK", "$1", "X; DROP TABLE Y", "S"], write="append")
@example(names=["%", "HAS", "{NAME}", "A.B", "NUMBERED"], write="append_distinct")
def test_a_table_of_any_names_is_published(
    warehouse: EmbeddedWarehouse, shop_lake: LocalLake, tmp_path: Path, names: list[str], write: str
) -> None:
    contract = usable(names)
    if contract is None:
        return
    narrow = replace(contract, columns=(replace(contract.columns[0], physical_type="VARCHAR(2)"), contract.columns[1]))
    with warehouse.autocommit() as session:  # an earlier example may have had a table of this name
        session.execute(f"DROP TABLE IF EXISTS {table_for_write_mode(contract, write).qualified}")
    expected: list[tuple] = []
    for number, wanted in enumerate((narrow, contract)):
        target = table_for_write_mode(wanted, write)
        warehouse.prepare([target, staging_table(wanted, write)])
        batch = Batch(shop_lake, tmp_path, f"{contract.name}b{number}", _published(warehouse))
        row = {name: str(number) for name in wanted.column_names} | {contract.key[0]: "k"}
        source = {"_SOURCE_URI": "lake://b/1", "_SOURCE_MODIFIED_AT": NOON, "_SOURCE_ETAG": "1"}
        file = batch.stage(staging_table(wanted, write), [row | source])
        on = ((contract.key[0], contract.key[0]),)
        load = Load(wanted, file, write, staging_table(wanted).qualified, on, "sales")
        published = publish(warehouse, replace(batch.publication(), loads=[load], marts=[]), NOON)
        expected = expected if write == "append_distinct" else []
        expected.append(tuple(row.get(name) for name in contract.column_names))
        assert published.table_rows[target.qualified] == len(expected)
    with warehouse.read_only() as transaction:
        selected = f"SELECT {sql_names(contract.column_names)} FROM {target.qualified} ORDER BY 2"
        assert transaction.described(selected) == (list(contract.column_names), expected)


def _published(warehouse: EmbeddedWarehouse) -> int:
    """How many batches are published."""
    with warehouse.read_only() as transaction:
        return int(transaction.scalar("SELECT COUNT(*) FROM OPS.BATCHES"))
