"""Reading ODCS documents: what is understood, and what is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_assets.contracts import Reference, load_contract
from pipeline_assets.contracts.ddl import staging_table, target_table
from pipeline_assets.contracts.validation import REASON_CODES, reason_codes, rules
from pipeline_assets.errors import ContractError
from pipeline_assets.settings import PROJECT_ROOT

CONTRACTS = sorted((PROJECT_ROOT / "pipeline_assets").glob("*/contracts/*.yaml"))

DOCUMENT: dict[str, Any] = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "id": "shop-sales",
    "name": "sales",
    "version": "1.2.0",
    "status": "active",
    "domain": "shop",
    "description": {"purpose": "Sales."},
    "team": {"name": "sellers"},
    "schema": [
        {
            "name": "sales",
            "physicalName": "sales",
            "dataGranularityDescription": "One row per sale.",
            "properties": [
                {"name": "SALE_ID", "logicalType": "string", "physicalType": "varchar(8)", "primaryKey": True},
                {"name": "AMOUNT", "logicalType": "number", "physicalType": "NUMBER(18, 4)", "required": True},
                {
                    "name": "SOLD_ON",
                    "logicalType": "date",
                    "physicalType": "DATE",
                    "description": "Day\n  of sale.",
                    "customProperties": [{"property": "inputFormats", "value": ["DD-MM-YYYY", "YYYY-MM-DD"]}],
                },
                {
                    "name": "SHOP_ID",
                    "logicalType": "string",
                    "physicalType": "VARCHAR(8)",
                    "relationships": [
                        {
                            "to": "shops.shop_id",
                            "customProperties": [{"property": "reasonCode", "value": "missing_reference"}],
                        }
                    ],
                },
            ],
        }
    ],
}


def write(folder: Path, change: Callable[[dict], None] = lambda document: None) -> Path:
    """The document above with one change, as a file."""
    document = copy.deepcopy(DOCUMENT)
    change(document)
    path = folder / "sales.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def properties(document: dict) -> list[dict]:
    return document["schema"][0]["properties"]


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_every_contract_in_the_repository_is_well_formed(path: Path) -> None:
    contract = load_contract(path)

    assert contract.name == path.stem
    assert contract.domain == {"warehouse": "ops"}.get(path.parts[-3], path.parts[-3])  # the OPS tables
    assert contract.description
    assert contract.grain
    assert all(column.description for column in contract.columns)
    assert {rule.code for rule in rules(contract)} <= set(REASON_CODES)
    codes = reason_codes([contract])
    assert {column.reference.reason_code for column in contract.columns if column.reference} <= set(codes)
    assert target_table(contract).create()
    assert staging_table(contract).create()


def test_what_a_document_says_arrives(tmp_path: Path) -> None:
    contract = load_contract(write(tmp_path))

    assert (contract.name, contract.table, contract.domain, contract.owner) == ("sales", "SALES", "shop", "sellers")
    assert contract.column_names == ("SALE_ID", "AMOUNT", "SOLD_ON", "SHOP_ID")
    assert contract.key == ("SALE_ID",)
    assert contract.required == ("SALE_ID", "AMOUNT")
    assert contract.column("AMOUNT").precision_and_scale == (18, 4)
    assert contract.column("SOLD_ON").input_formats == ("DD-MM-YYYY", "YYYY-MM-DD")
    assert contract.column("SOLD_ON").description == "Day of sale."
    assert contract.column("SHOP_ID").reference == Reference("shops", "SHOP_ID", "missing_reference")


def test_a_width_in_the_type_is_checked_without_saying_it_twice(tmp_path: Path) -> None:
    """One value that is too long would otherwise fail the load of its whole batch in Snowflake."""
    assert load_contract(write(tmp_path)).column("SALE_ID").max_length == 8


def test_a_narrower_length_than_the_type_holds(tmp_path: Path) -> None:
    path = write(tmp_path, lambda d: properties(d)[0].update(logicalTypeOptions={"maxLength": 6}))

    assert load_contract(path).column("SALE_ID").max_length == 6


def test_accepted_values_blanks_and_classification_arrive(tmp_path: Path) -> None:
    said = {
        "quality": [{"metric": "invalidValues", "arguments": {"validValues": ["north", "7"]}}],
        "customProperties": [{"property": "blanks", "value": "keep"}],
        "classification": "personal",
    }
    contract = load_contract(write(tmp_path, lambda d: properties(d)[3].update(said)))

    told, silent = contract.column("SHOP_ID"), contract.column("SALE_ID")
    assert (told.accepted, told.keep_blanks, told.personal) == (("north", "7"), True, True)
    assert (silent.accepted, silent.keep_blanks, silent.personal) == ((), False, False)


def test_a_date_without_formats_is_iso(tmp_path: Path) -> None:
    path = write(tmp_path, lambda d: properties(d)[2].pop("customProperties"))

    assert load_contract(path).column("SOLD_ON").input_formats == ("YYYY-MM-DD",)


MALFORMED: dict[str, tuple[Callable[[dict], None], str]] = {
    "another version of the standard": (lambda d: d.update(apiVersion="v2.2.0"), "apiVersion"),
    "two datasets": (lambda d: d["schema"].append(copy.deepcopy(d["schema"][0])), "2 datasets"),
    "no dataset": (lambda d: d.update(schema=[]), "0 datasets"),
    "no properties": (lambda d: d["schema"][0].update(properties=[]), "no properties"),
    "no name": (lambda d: d.pop("name"), "name"),
    "a domain that is SQL": (lambda d: d.update(domain="x; drop table y"), "domain"),
    "a table that is SQL": (lambda d: d["schema"][0].update(physicalName="x; drop table y"), "physicalName"),
    "a duplicate column": (lambda d: properties(d)[1].update(name="SALE_ID"), "SALE_ID"),
    "a lower-case column": (lambda d: properties(d)[1].update(name="amount"), "amount"),
    "a column that is SQL": (lambda d: properties(d)[1].update(name="X; DROP TABLE Y"), "X; DROP TABLE Y"),
    "a column with a line end": (lambda d: properties(d)[1].update(name="AMOUNT\n"), "AMOUNT"),
    "a number without scale": (lambda d: properties(d)[1].update(physicalType="NUMBER"), "AMOUNT"),
    "a number of 39 digits": (lambda d: properties(d)[1].update(physicalType="NUMBER(39,2)"), "AMOUNT"),
    "more decimals than digits": (lambda d: properties(d)[1].update(physicalType="NUMBER(2,4)"), "AMOUNT"),
    "a fractional integer": (
        lambda d: properties(d)[1].update(logicalType="integer", physicalType="NUMBER(18,4)"),
        "AMOUNT",
    ),
    "another name of a float": (lambda d: properties(d)[1].update(physicalType="DOUBLE"), "AMOUNT"),
    "an unknown type": (lambda d: properties(d)[1].update(logicalType="money"), "AMOUNT"),
    "no type": (lambda d: properties(d)[1].pop("logicalType"), "AMOUNT"),
    "an unknown date format": (
        lambda d: properties(d)[2]["customProperties"][0].update(value=["DD.MM.YY"]),
        "SOLD_ON.customProperties.inputFormats: DD.MM.YY unknown",
    ),
    "no date format": (
        lambda d: properties(d)[2]["customProperties"][0].update(value=[]),
        "SOLD_ON.customProperties.inputFormats: none",
    ),
    "a relationship without a column": (
        lambda d: properties(d)[3]["relationships"][0].update(to="shops"),
        "SHOP_ID.relationships.to: ",
    ),
    "a relationship that is SQL": (
        lambda d: properties(d)[3]["relationships"][0].update(to="shops.ID; DROP TABLE Y"),
        "SHOP_ID.relationships.to: ",
    ),
    "a length that is no number": (
        lambda d: properties(d)[0].update(logicalTypeOptions={"maxLength": "8 OR 1=1"}),
        "SALE_ID.logicalTypeOptions.maxLength: ",
    ),
    "a length beyond the type": (
        lambda d: properties(d)[0].update(logicalTypeOptions={"maxLength": 9}),
        "SALE_ID.logicalTypeOptions.maxLength: ",
    ),
    "a wrong value of the standard": (lambda d: properties(d)[0].update(required="perhaps"), "SALE_ID.required: "),
}


@pytest.mark.parametrize(("change", "named"), MALFORMED.values(), ids=list(MALFORMED))
def test_a_malformed_contract_is_refused_with_file_and_property(
    tmp_path: Path, change: Callable[[dict], None], named: str
) -> None:
    with pytest.raises(ContractError) as refused:
        load_contract(write(tmp_path, change))

    assert str(refused.value).startswith("sales.yaml: ")
    assert named in str(refused.value)
    assert "\n" not in named or "\n" not in str(refused.value)


def test_a_file_that_is_no_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "sales.yaml"
    path.write_text("apiVersion: v3.1.0\nname: sales\n  domain: shop\n", encoding="utf-8")

    with pytest.raises(ContractError, match=r"^sales\.yaml, line 3: is not YAML"):
        load_contract(path)


@pytest.mark.parametrize(("content", "said"), [(b"- a list", "not an ODCS document"), (b"name: \xff", "not UTF-8")])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "sales.yaml"
    path.write_bytes(content)

    with pytest.raises(ContractError, match=f"sales.yaml: is {said}"):
        load_contract(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"^absent\.yaml: cannot be read: No such file"):
        load_contract(tmp_path / "absent.yaml")
