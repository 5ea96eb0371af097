"""What a contract says and nobody reads is refused, all of it at once, and nothing else becomes of a mistake."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_assets.contracts import load_contract
from pipeline_assets.contracts.odcs import contract_of
from pipeline_assets.contracts.properties import INSTEAD, LEVELS
from pipeline_assets.errors import ContractError
from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets_tests.support.contract_documents import (
    CSV,
    DOCUMENTS,
    JSON,
    Change,
    column,
    contract,
    custom,
    schema,
)


def mistakes(document: dict[str, Any], change: Change = lambda document: None) -> list[str]:
    """The lines of the refusal, without the file that each begins with."""
    with pytest.raises(ContractError) as refused:
        contract(document, change)
    lines = str(refused.value).split("\n")
    assert all(line.startswith("sales.yaml: ") for line in lines)
    return [line.removeprefix("sales.yaml: ") for line in lines]


@pytest.mark.parametrize("form", DOCUMENTS)
def test_the_documents_that_say_everything_are_read(form: str) -> None:
    assert contract(DOCUMENTS[form]).form == form


def test_all_mistakes_of_a_file_are_reported_at_once_each_with_its_path_and_what_is_known() -> None:
    def change(document: dict[str, Any]) -> None:
        document["ownr"] = "me"
        document["version"] = 1.0
        schema(document)["physicalType"] = "tabel"
        column(document, "SALE_ID").update(required=False, unique=True)
        column(document, "SHOP_ID").update(logicalType="text", classification="secret")
        column(document, "STATE")["quality"][0]["rule"] = column(document, "STATE")["quality"][0].pop("metric")
        column(document, "SOLD_ON")["logicalTypeOptions"] = {"format": "YYYY"}

    found = mistakes({**CSV, "schema": [{**schema(CSV), "customProperties": []}]}, change)

    assert [line.partition(": ")[0] for line in found] == [
        *("version", "ownr", "schema.physicalType", "SALE_ID.unique", "SALE_ID.required", "SHOP_ID.logicalType"),
        *("SHOP_ID.classification", "STATE.quality.rule", "SOLD_ON.logicalTypeOptions.format"),
    ]
    text = "\n".join(found)
    for known in (
        "Did you mean" not in text,
        "'tabel' is unknown. Known: table, csv, json, parquet." in text,
        "SALE_ID.unique: is not read in a column. Keys are declared by `primaryKey`." in text,
        "SHOP_ID.classification: 'secret' is unknown. Known: personal." in text,
        "STATE.quality.rule: is not read in quality of a column. Write `metric:`." in text,
        "Known: string, number, integer, date, timestamp, boolean." in text,
        "format: is not read in logicalTypeOptions. Known: maxLength, pattern." in text,
    ):
        assert known


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(version=1.0), "version: Input should be a valid string."),
        (lambda d: d["team"].update(name=1), "team.name: Input should be a valid string."),
        (lambda d: d.update(schema=3), "schema: Input should be a valid list."),
        (lambda d: schema(d).update(name=3), "schema.name: Input should be a valid string."),
        (lambda d: schema(d).update(properties=3), "schema.properties: Input should be a valid list."),
        (lambda d: schema(d)["quality"][0].update(query=3), "schema.quality.open_sales_are_few.query: Input should be"),
        (lambda d: schema(d)["properties"].append(3), "[5]: Input should be a valid dictionary"),
        (lambda d: column(d, "SALE_ID").update(required="yes"), "SALE_ID.required: Input should be a valid boolean."),
        (
            lambda d: column(d, "SHOP_ID")["relationships"][0].update(type=3),
            "SHOP_ID.relationships.[0].type: Input should be a valid string.",
        ),
    ],
)
def test_a_value_of_another_type_is_named_by_its_path(change: Change, said: str) -> None:
    assert mistakes(CSV, change)[0].startswith(said)


def test_values_of_another_type_hide_no_other_mistakes() -> None:
    def change(document: dict[str, Any]) -> None:
        document["version"] = 1.0
        column(document, "SELLER")["classification"] = "secret"

    assert [line.partition(":")[0] for line in mistakes(CSV, change)] == ["version", "SELLER.classification"]


def test_a_single_mistake_keeps_its_remedy_apart() -> None:
    with pytest.raises(ContractError) as refused:
        contract(CSV, lambda d: column(d, "SALE_ID").update(primarykey=True))

    assert refused.value.message == "sales.yaml: SALE_ID.primarykey: is not read in a column."
    assert refused.value.remedy.startswith("Did you mean primaryKey? Known: name, ")


def mappings(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping of a document whose names are ODCS's or ours, with its place."""
    if isinstance(node, dict):
        yield path, node
    for name, below in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from mappings(below, f"{path}.{name}")


@pytest.mark.parametrize("form", DOCUMENTS)
def test_an_unknown_property_is_refused_wherever_it_stands(form: str) -> None:
    for path, _ in mappings(DOCUMENTS[form]):
        document = copy.deepcopy(DOCUMENTS[form])
        dict(mappings(document))[path]["colour"] = "red"

        (line,) = mistakes(document)

        assert ".colour: is not read in " in line or line.startswith("colour: is not read in the document."), path
        assert "Known: " in line


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_whatever_stands_anywhere_is_read_or_refused_by_name(form: str) -> None:
    """A traceback names neither the file nor the property."""
    junk = (None, 1.5, True, "x", [None], [{}], {3: 4})

    def places(node: Any) -> Iterator[tuple[Any, Any]]:
        for name, below in list(node.items() if isinstance(node, dict) else enumerate(node)):
            yield node, name
            if isinstance(below, dict | list):
                yield from places(below)

    count = len(list(places(DOCUMENTS[form])))
    assert count > 25
    messages: list[str] = []
    for number in range(count):
        for value in junk:
            document = copy.deepcopy(DOCUMENTS[form])
            holder, name = list(places(document))[number]
            holder[name] = copy.deepcopy(value)
            try:
                contract_of("sales.yaml", document)
            except ContractError as error:
                messages.append(str(error))
    assert len(messages) > count * len(junk) / 2
    assert all(message.startswith("sales.yaml: ") for message in messages)


UNREAD: dict[str, tuple[dict[str, Any], Change, str]] = {
    "an unknown custom property of the document": (
        CSV,
        lambda d: d.update(customProperties=custom(cost="high")),
        "customProperties: is not read in the document. None is read here.",
    ),
    "an unknown custom property of the schema": (
        CSV,
        lambda d: schema(d)["customProperties"].extend(custom(dialct={})),
        "schema.customProperties.dialct: is not read in schema. Did you mean dialect? Known: dialect.",
    ),
    "an unknown custom property of a column": (
        CSV,
        lambda d: column(d, "STATE").update(customProperties=custom(keepTogether=True)),
        "STATE.customProperties.keepTogether: is not read in a column. Known: blanks, history, inputFormats, ",
    ),
    "floats of a text": (
        CSV,
        lambda d: column(d, "STATE").update(customProperties=custom(writesFloats=True)),
        "STATE.customProperties.writesFloats: does not fit logicalType string. Only numbers have it.",
    ),
    "floats of a binary double": (
        CSV,
        lambda d: column(d, "STATE").update(
            logicalType="number",
            physicalType="FLOAT",
            logicalTypeOptions={},
            customProperties=custom(writesFloats=True),
        ),
        "STATE.customProperties.writesFloats: does not fit FLOAT. Leave it out: every value is kept as it is.",
    ),
    "an unknown custom property of a relationship": (
        CSV,
        lambda d: column(d, "SHOP_ID")["relationships"][0]["customProperties"].extend(custom(code="x")),
        "SHOP_ID.relationships.customProperties.code: is not read in a relationship. Known: reasonCode",
    ),
    "an unknown custom property of a rule": (
        CSV,
        lambda d: schema(d)["quality"][0]["customProperties"].extend(custom(limit=3)),
        "schema.quality.open_sales_are_few.customProperties.limit: is not read in quality of the schema.",
    ),
    "a custom property twice": (
        CSV,
        lambda d: column(d, "SELLER")["customProperties"].extend(custom(blanks="keep")),
        "SELLER.customProperties.blanks: is given twice.",
    ),
    "a custom property without a value": (
        CSV,
        lambda d: column(d, "SELLER").update(customProperties=custom(blanks=None)),
        "SELLER.customProperties.blanks: has no value.",
    ),
    "blanks that are neither kept nor not": (
        CSV,
        lambda d: column(d, "SELLER").update(customProperties=custom(blanks="trim")),
        "SELLER.customProperties.blanks: is `keep`, of a string, or left out.",
    ),
    "blanks of a date": (
        CSV,
        lambda d: column(d, "SOLD_ON").update(customProperties=custom(blanks="keep")),
        "SOLD_ON.customProperties.blanks: is `keep`",
    ),
    "date formats of a text": (
        CSV,
        lambda d: column(d, "STATE").update(customProperties=custom(inputFormats=["YYYYMMDD"])),
        "STATE.customProperties.inputFormats: does not fit logicalType string. Only dates",
    ),
    "one date format that is not a list": (
        CSV,
        lambda d: column(d, "SOLD_ON").update(customProperties=custom(inputFormats="YYYYMMDD")),
        "SOLD_ON.customProperties.inputFormats: 'YYYYMMDD' is not a list. Known: YYYY-MM-DD, ",
    ),
    "a length of a date": (
        CSV,
        lambda d: column(d, "SOLD_ON").update(logicalTypeOptions={"maxLength": 3}),
        "SOLD_ON.logicalTypeOptions.maxLength: does not fit logicalType date. Only strings",
    ),
    "a JSON key of a CSV column": (
        CSV,
        lambda d: column(d, "STATE").update(physicalName="state"),
        "STATE.physicalName: is not read in a column.",
    ),
    "a key of an element": (
        JSON,
        lambda d: column(d, "LINES")["items"]["properties"][0].update(primaryKey=True),
        "LINES.STATE.primaryKey: is not read in a column of a list.",
    ),
    "a list in an object": (
        JSON,
        lambda d: column(d, "SELLER")["properties"].append({"name": "PETS", "logicalType": "array"}),
        "SELLER.PETS: is a list within an object or a list.",
    ),
    "an object without properties": (
        JSON,
        lambda d: column(d, "SELLER").update(properties=[]),
        "SELLER: is an object without properties.",
    ),
    "a key that may be empty": (
        CSV,
        lambda d: column(d, "SALE_ID").update(required=False),
        "SALE_ID.required: is false, but a key is always required.",
    ),
    "a reference of several columns": (
        CSV,
        lambda d: schema(d).update(relationships=[{"from": ["A", "B"], "to": ["c.A", "c.B"]}]),
        "schema.relationships: is not read in schema.",
    ),
    "a promise that nobody keeps": (
        CSV,
        lambda d: d.update(slaProperties=[{"property": "retention", "value": 1, "unit": "y"}]),
        "slaProperties.retention.property: 'retention' is unknown. Known: latency.",
    ),
    "a column for all promises": (
        CSV,
        lambda d: d.update(slaDefaultElement="SALES.SOLD_ON"),
        "slaDefaultElement: is not read in the document. Write `element` in slaProperties.",
    ),
    "members of a team alone": (CSV, lambda d: d.update(team=[{"username": "me"}]), "team: is a list."),
    "lake files in no folders": (
        DOCUMENTS["parquet"],
        lambda d: column(d, "DT").pop("partitioned"),
        "schema.properties: 0 columns are partitioned. A lake table has one.",
    ),
    "rows of lake files that two columns keep together": (
        DOCUMENTS["parquet"],
        lambda d: column(d, "DT").update(customProperties=[{"property": "keepTogether", "value": True}]),
        "schema.properties: 2 columns are keepTogether. A lake table has at most one.",
    ),
}


@pytest.mark.parametrize(("document", "change", "said"), UNREAD.values(), ids=list(UNREAD))
def test_what_nobody_reads_is_refused(document: dict[str, Any], change: Change, said: str) -> None:
    (line,) = mistakes(document, change)

    assert line.startswith(said)


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_what_is_read_has_no_advice_what_to_write_instead(level: Any) -> None:
    assert not set(INSTEAD) & {*level.read, *level.notes, *level.custom}


def test_what_is_for_people_only_is_left_to_them() -> None:
    def change(document: dict[str, Any]) -> None:
        document.update(
            id="x",
            status="draft",
            tags=["a"],
            support=[{"channel": "#shop", "url": "https://example.com"}],
            price={"priceAmount": 1.5, "priceCurrency": "EUR"},
            servers=[{"server": "s", "type": "snowflake", "account": "a"}],
        )
        document["description"]["usage"] = "Reports."
        document["team"]["members"] = [{"username": "me", "role": "owner"}]
        schema(document).update(businessName="Sales", tags=["a"])
        column(document, "STATE").update(examples=["open"], businessName="State", deprecated=False)

    assert contract(CSV, change) == contract(CSV)


def test_a_property_said_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    """YAML takes the last one without a word."""
    path = tmp_path / "sales.yaml"
    path.write_text(yaml.safe_dump(CSV, sort_keys=False) + "domain: other\n", encoding="utf-8")
    lines = path.read_text(encoding="utf-8").split("\n")

    with pytest.raises(ContractError, match=rf"^sales\.yaml, line {len(lines) - 1}: domain is given twice\.$"):
        load_contract(path)


def test_what_yaml_takes_for_an_impossible_date_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sales.yaml"
    path.write_text("apiVersion: v3.1.0\nversion: 2026-13-01\n", encoding="utf-8")

    with pytest.raises(ContractError, match=r"^sales\.yaml: is not YAML: month must be in 1\.\.12"):
        load_contract(path)


# --- the page that people read -----------------------------------------------------------------------------

PAGE = PROJECT_ROOT / "docs" / "contracts.md"


def listed(heading: str) -> set[tuple[str, str]]:
    """(level, property) of each row of the table below a heading."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in re.findall(r"^\| (.* \| .*) \|$", section, re.MULTILINE)[2:]]
    return {(level, name) for levels, names, *_ in rows for level in levels.split(", ") for name in names.split(", ")}


def test_the_page_lists_what_is_read_and_nothing_else() -> None:
    assert listed("What is read") == {
        *((level.name, f"`{name}`") for level in LEVELS for name in level.read),
        *((level.name, f"`{name}` (custom)") for level in LEVELS for name in level.custom),
    }


def test_the_page_lists_what_is_for_people_only_and_nothing_else() -> None:
    assert listed("What is for people only") == {(level.name, f"`{name}`") for level in LEVELS for name in level.notes}
