"""References, accepted values, quality rules and dialects: what is read of them, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline_assets.contracts import Dialect, QualityRule, Reference
from pipeline_assets.contracts.properties import BUILT_IN_CHECKS, OPERATORS, RANGES
from pipeline_assets.contracts.validation import REASON_CODES, reason_codes
from pipeline_assets.errors import ContractError
from pipeline_assets_tests.support.contract_documents import CSV, DOCUMENTS, Change, column, contract, custom, schema


def refused(change: Change, document: dict[str, Any] = CSV) -> str:
    """The one mistake that a change makes."""
    with pytest.raises(ContractError) as error:
        contract(document, change)
    assert "\n" not in error.value.message
    return str(error.value).removeprefix("sales.yaml: ")


# --- references --------------------------------------------------------------------------------------------


def relationship(document: dict[str, Any]) -> dict[str, Any]:
    return column(document, "SHOP_ID")["relationships"][0]


def saying(**values: object) -> Change:
    return lambda document: relationship(document).update(customProperties=custom(**values))


def test_a_reference_says_as_what_its_rows_wait_and_what_that_means() -> None:
    assert contract().column("SHOP_ID").reference == Reference(
        "shops", "SHOP_ID", "orphan_sale", "the sale's shop is not known yet", "quarantine"
    )


def test_a_reference_without_more_waits_as_the_platform_says() -> None:
    found = contract(CSV, lambda d: relationship(d).pop("customProperties"))

    assert found.column("SHOP_ID").reference == Reference("shops", "SHOP_ID", "missing_reference")
    assert reason_codes([found]) == REASON_CODES


def test_rows_may_be_loaded_without_their_parent() -> None:
    reference = contract(CSV, saying(onMissing="load")).column("SHOP_ID").reference

    assert reference is not None
    assert reference.on_missing == "load"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"onMissing": "drop"}, "onMissing: 'drop' is unknown. Known: quarantine, load."),
        ({"reasonCode": "orphan_sale"}, "meaning: is required: it explains orphan_sale"),
        ({"reasonCode": "Orphan sale", "meaning": "x"}, "reasonCode: 'Orphan sale' is not a valid code."),
        ({"reasonCode": "x" * 65, "meaning": "x"}, f"reasonCode: '{'x' * 65}' is not a valid code."),
        ({"reasonCode": 7, "meaning": "x"}, "reasonCode: 7 is not a valid code."),
        ({"reasonCode": "orphan_sale", "meaning": 7}, "meaning: 7 is not a text."),
        ({"reasonCode": "too_long"}, "reasonCode: too_long has another meaning already: the text is longer"),
        ({"reasonCode": "missing_reference", "meaning": "x"}, "reasonCode: missing_reference has another meaning"),
        ({"onMissing": "load", "reasonCode": "missing_reference"}, "reasonCode: is not read: with `onMissing: load`"),
    ],
)
def test_a_reference_that_says_something_else_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ContractError) as error:
        contract(CSV, saying(**values))

    assert f"SHOP_ID.relationships.{said}" in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "sibling"}, "SHOP_ID.relationships.type: 'sibling' is unknown. Known: foreignKey."),
        ({"from": "sales.SHOP_ID"}, "SHOP_ID.relationships.from: is not read in a relationship. A relationship starts"),
        ({"to": ["shops.A", "shops.B"]}, "SHOP_ID.relationships.to: ['shops.A', 'shops.B'] does not name a column."),
    ],
)
def test_a_relationship_of_another_kind_is_refused(change: dict[str, object], said: str) -> None:
    assert refused(lambda d: relationship(d).update(change)).startswith(said)


def test_a_second_relationship_is_refused_as_only_one_is_read() -> None:
    def change(document: dict[str, Any]) -> None:
        column(document, "SHOP_ID")["relationships"].append({"to": "owners.SHOP_ID"})

    assert refused(change).startswith("SHOP_ID.relationships: are 2.")


def test_reason_codes_are_those_of_the_platform_and_of_the_contracts() -> None:
    assert reason_codes([contract()]) == REASON_CODES | {"orphan_sale": "the sale's shop is not known yet"}
    assert reason_codes([]) == REASON_CODES


def test_one_code_has_one_meaning_in_all_contracts() -> None:
    other = contract(CSV, saying(reasonCode="orphan_sale", meaning="something else"))

    assert reason_codes([contract(), contract()])
    with pytest.raises(ContractError, match=r"orphan_sale has another meaning already: the sale's shop"):
        reason_codes([contract(), other])


# --- accepted values ---------------------------------------------------------------------------------------


def accepted(document: dict[str, Any]) -> dict[str, Any]:
    return column(document, "STATE")["quality"][0]


def test_accepted_values_are_read() -> None:
    assert contract().column("STATE").accepted == ("open", "closed")
    assert contract(CSV, lambda d: [accepted(d).pop(name) for name in ("type", "mustBe")]) == contract()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: accepted(d).update(metric="nullValues"), "metric: 'nullValues' is unknown. Known: invalidValues."),
        (lambda d: accepted(d).pop("metric"), "metric: None is unknown. Known: invalidValues."),
        (lambda d: accepted(d).update(type="custom"), "type: 'custom' is unknown here."),
        (lambda d: accepted(d).update(type="sql"), "type: 'sql' is unknown here. SQL rules belong in the schema."),
        (lambda d: accepted(d).update(mustBe=5), "mustBe: 5 is unknown."),
        (lambda d: accepted(d).update(mustBeLessThan=5), "mustBeLessThan: is not read in quality of a column."),
        (lambda d: accepted(d).update(severity="warning"), "severity: is not read in quality of a column."),
        (lambda d: accepted(d)["arguments"].update(pattern="x"), "arguments.pattern: is not read in arguments"),
        (lambda d: accepted(d).pop("arguments"), "arguments.validValues: is required."),
        (lambda d: accepted(d).update(arguments={"validValues": []}), "arguments.validValues: is required."),
        (lambda d: accepted(d).update(arguments={"validValues": "open"}), "arguments.validValues: is required."),
        # What YAML makes of an unquoted NO
        (lambda d: accepted(d).update(arguments={"validValues": ["SE", False]}), "arguments.validValues: False is not"),
        (lambda d: accepted(d).update(arguments={"validValues": [8]}), "arguments.validValues: 8 is not a text."),
    ],
)
def test_accepted_values_that_would_not_be_checked_are_refused(change: Change, said: str) -> None:
    assert refused(change).startswith(f"STATE.quality.{said}")


def test_accepted_values_are_listed_once() -> None:
    def change(document: dict[str, Any]) -> None:
        column(document, "STATE")["quality"].append(accepted(document))

    assert refused(change) == "STATE.quality: invalidValues is given twice."


# --- quality rules -----------------------------------------------------------------------------------------


def rule(document: dict[str, Any]) -> dict[str, Any]:
    return schema(document)["quality"][0]


@pytest.mark.parametrize("form", ["csv", "table", "json"])
def test_a_rule_is_read(form: str) -> None:
    assert contract(DOCUMENTS[form]).quality == (
        QualityRule(
            name="open_sales_are_few",
            description="Shops close their sales.",
            query="SELECT COUNT(*) FROM SHOP.SALES WHERE STATE = 'open'",
            operator="mustBeLessThan",
            expected=10,
            severity="warning",
            failing_rows="SELECT SALE_ID FROM SHOP.SALES WHERE STATE = 'open'",
        ),
    )


def test_a_rule_is_an_error_and_lists_no_rows_unless_it_says_so() -> None:
    (found,) = contract(CSV, lambda d: [rule(d).pop(name) for name in ("severity", "customProperties")]).quality

    assert (found.severity, found.failing_rows) == ("error", "")


def test_elements_of_a_list_have_no_rules_of_their_own() -> None:
    found = contract(DOCUMENTS["json"])

    assert found.items is not None
    assert found.items.quality == ()


def comparing(**values: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        del rule(document)["mustBeLessThan"]
        rule(document).update(values)

    return change


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_of_the_standard_is_read(operator: str) -> None:
    value: Any = [0, 1.5] if operator in RANGES else 1.5
    (found,) = contract(CSV, comparing(**{operator: value})).quality

    assert (found.operator, found.expected) == (operator, (0, 1.5) if operator in RANGES else 1.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (comparing(), ": compares with nothing. Write exactly one of mustBe, "),
        (comparing(mustBe=0, mustNotBe=1), ": compares with mustBe and mustNotBe. Write exactly one of "),
        (comparing(mustBe="0"), ".mustBe: '0' is not a number."),
        (comparing(mustBe=True), ".mustBe: True is not a number."),
        (comparing(mustBe=float("nan")), ".mustBe: nan is not a number."),
        (comparing(mustBe=None), ".mustBe: None is not a number."),
        (comparing(mustBeBetween=[2, 1]), ".mustBeBetween: [2, 1] is not a range."),
        (lambda d: rule(d).pop("query"), ".query: is not a SELECT."),
        (lambda d: rule(d).update(query="DELETE FROM SHOP.SALES"), ".query: is not a SELECT."),
        (lambda d: rule(d).update(query="SELECT COUNT(*) FROM ${table}"), ".query: has a placeholder."),
        (lambda d: rule(d).update(query="SELECT COUNT(*) FROM {object}"), ".query: has a placeholder."),
        (lambda d: rule(d).update(customProperties=custom(failingRows=5)), ".failingRows: is not a SELECT."),
        (lambda d: rule(d).update(severity="fatal"), ".severity: 'fatal' is unknown. Known: warning, error."),
        (lambda d: rule(d).update(type="library"), ".type: 'library' is unknown here. Known: sql."),
        (lambda d: rule(d).update(type="custom"), ".type: 'custom' is unknown here. Known: sql."),
        (lambda d: rule(d).pop("type"), ".type: None is unknown here. Known: sql."),
        (
            lambda d: rule(d).update(unit="percent"),
            ".unit: is not read in quality of the schema. Known: type, name",
        ),
        (lambda d: rule(d).update(schedule="0 0 * * *"), ".schedule: is not read in quality of the schema."),
    ],
)
def test_a_rule_that_would_not_be_checked_as_it_says_is_refused(change: Change, said: str) -> None:
    assert refused(change).startswith(f"schema.quality.open_sales_are_few{said}")


@pytest.mark.parametrize("name", ["open sales", "x;y", "1st", "a.b"])
def test_the_name_of_a_rule_is_an_identifier(name: str) -> None:
    assert f"name: {name!r} is not an identifier" in refused(lambda d: rule(d).update(name=name))


def test_a_rule_without_a_name_is_refused_by_its_place() -> None:
    assert refused(lambda d: rule(d).pop("name")).startswith("schema.quality.[0].name: '' is not an identifier.")


def test_names_of_rules_are_unique_in_a_file_whatever_their_case() -> None:
    def change(document: dict[str, Any]) -> None:
        schema(document)["quality"].append(rule(document) | {"name": "OPEN_SALES_ARE_FEW"})

    assert refused(change) == "schema.quality.OPEN_SALES_ARE_FEW.name: is used twice."


@pytest.mark.parametrize("name", BUILT_IN_CHECKS)
def test_a_rule_is_not_named_like_a_check_of_the_platform(name: str) -> None:
    for spelling in (name, name.upper()):
        problem = refused(lambda d, spelling=spelling: rule(d).update(name=spelling))
        assert problem.startswith(f"schema.quality.{spelling}.name: is the name of a check that the platform makes.")


# --- dialect -----------------------------------------------------------------------------------------------


def written(**values: object) -> Change:
    return lambda document: schema(document).update(customProperties=custom(dialect=values))


def test_a_dialect_is_read_and_its_encoding_has_pythons_name() -> None:
    assert contract().dialect == Dialect(False, "|", "\\", "iso8859-1", "\\N")


def test_files_without_a_dialect_are_written_as_most_are() -> None:
    assert contract(CSV, lambda d: schema(d).pop("customProperties")).dialect == Dialect()
    assert contract(CSV, written()).dialect == Dialect(True, None, '"', "utf-8", None)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        *(
            ({"delimiter": text}, f"delimiter: {text!r} is not a delimiter.")
            for text in ("", "||", '"', "'", "x", "ä", "7")
        ),
        *(({"delimiter": text}, f"delimiter: {text!r} is not a delimiter.") for text in ("\n", "\r", "\0", None, 7)),
        ({"delimiter": "\\", "escape": "\\"}, "delimiter: '\\\\' is not a delimiter."),
        ({"header": "no"}, "header: 'no' is neither true nor false."),
        ({"header": None}, "header: None is neither true nor false."),
        ({"escape": "^"}, "escape: '^' is unknown."),
        ({"encoding": "klingon"}, "encoding: 'klingon' is unknown."),
        ({"encoding": "utf-16"}, "encoding: 'utf-16' is unknown."),
        ({"encoding": "utf-16-le"}, "encoding: 'utf-16-le' is unknown."),
        ({"encoding": "utf-8-sig"}, "encoding: 'utf-8-sig' is unknown."),
        ({"encoding": "cp037"}, "encoding: 'cp037' is unknown."),
        ({"encoding": "base64"}, "encoding: 'base64' is unknown."),
        ({"encoding": None}, "encoding: None is unknown."),
        ({"nullText": None}, "nullText: None is not a text. Put it in quotes;"),
        ({"nullText": ""}, "nullText: '' is not a text."),
        ({"nullText": "a\nb"}, "nullText: 'a\\nb' is not a text."),
        ({"quote": "'"}, "quote: is not read in dialect. Known: header, delimiter, escape, encoding, nullText."),
    ],
)
def test_a_dialect_that_no_reader_could_follow_is_refused(values: dict[str, object], said: str) -> None:
    assert refused(written(**values)).startswith(f"schema.customProperties.dialect.{said}")


def test_a_dialect_is_a_mapping() -> None:
    change: Change = lambda d: schema(d).update(customProperties=custom(dialect="excel"))  # noqa: E731

    assert refused(change).startswith("schema.customProperties.dialect: 'excel' is not a mapping. Known: header, ")


@pytest.mark.parametrize("form", ["table", "json", "parquet"])
def test_only_csv_has_a_dialect(form: str) -> None:
    said = refused(written(header=False), DOCUMENTS[form])

    assert said == f"schema.customProperties.dialect: does not fit physicalType {form}. Only csv has a dialect."


# --- latency -----------------------------------------------------------------------------------------------


def agreed(**values: object) -> Change:
    return lambda document: document["slaProperties"][0].update(values)


def hours(change: Change, document: dict[str, Any] = CSV) -> dict[str, float | None]:
    return {column.name: column.latency_hours for column in contract(document, change).columns if column.latency_hours}


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        *((2, unit, 2) for unit in ("h", "hour", "hours")),
        *((2, unit, 48) for unit in ("d", "day", "days")),
        (0.5, "d", 12),
        (1e-9, "h", 1e-9),
        (36_500, "d", 876_000),
    ],
)
def test_latency_is_a_number_of_hours_or_days(value: float, unit: str, expected: float) -> None:
    assert hours(agreed(value=value, unit=unit)) == {"SOLD_ON": expected}


@pytest.mark.parametrize("element", ["SOLD_ON", "sold_on", "SALES.SOLD_ON", "sales.sold_on"])
def test_latency_names_a_column_with_or_without_its_table(element: str) -> None:
    assert hours(agreed(element=element)) == {"SOLD_ON": 48}


@pytest.mark.parametrize("text", ["TIMESTAMP_NTZ(0)", "TIMESTAMP_NTZ(6)"])
def test_latency_may_be_of_a_timestamp(text: str) -> None:
    def change(document: dict[str, Any]) -> None:
        column(document, "SOLD_ON").update(logicalType="timestamp", physicalType=text, customProperties=[])

    assert hours(change) == {"SOLD_ON": 48}


def test_a_contract_without_latency_has_none() -> None:
    assert hours(lambda d: d.pop("slaProperties")) == {}
    assert hours(lambda d: d.update(slaProperties=[])) == {}


def personal_date(document: dict[str, Any]) -> None:
    column(document, "SOLD_ON").update(classification="personal")


def two(document: dict[str, Any]) -> None:
    document["slaProperties"].append(dict(document["slaProperties"][0]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (agreed(property="freshness"), "freshness.property: 'freshness' is unknown. Known: latency."),
        (lambda d: d["slaProperties"][0].pop("property"), "[0].property: None is unknown. Known: latency."),
        *(
            (agreed(value=value), f"latency.value: {value!r} is not a number above 0 and at most 36500.")
            for value in (None, 0, -1, True, "2", math.nan, math.inf, 36_501, 10**400)
        ),
        (agreed(value=876_001, unit="h"), "latency.value: 876001 is not a number above 0 and at most 876000."),
        *(
            (agreed(unit=unit), f"latency.unit: {unit!r} is unknown. Known: h, hour, hours, d, day, days.")
            for unit in (None, "", "D", "min", "y")
        ),
        *(
            (agreed(element=name), f"latency.element: {name!r} is not a date or timestamp of SALES. Known: SOLD_ON.")
            for name in (None, "", "STATE", "NOWHERE", "SHOPS.SOLD_ON", "SALES.", "SHOP.SALES.SOLD_ON", "A,SOLD_ON")
        ),
        (personal_date, "latency.element: SOLD_ON is personal, and the check shows its newest value."),
        (two, "latency: is given twice. A table has one."),
        (agreed(valueExt=3), "latency.valueExt: is not read in slaProperties. Did you mean value? Known: property, "),
        (agreed(schedule="0 0 * * *"), "latency.schedule: is not read in slaProperties. Rules are checked after each"),
        (agreed(severity="error"), "latency.severity: is not read in slaProperties. Known: property, value, unit"),
    ],
)
def test_a_latency_that_would_not_be_checked_as_it_says_is_refused(change: Change, said: str) -> None:
    assert refused(change).startswith(f"slaProperties.{said}")


def test_files_of_the_lake_have_no_latency() -> None:
    agreement = {"property": "latency", "value": 1, "unit": "d", "element": "DT"}
    said = refused(lambda d: d.update(slaProperties=[agreement]), DOCUMENTS["parquet"])
    assert said.startswith("slaProperties.latency: does not fit physicalType parquet.")


def test_a_table_without_a_date_has_no_latency() -> None:
    agreement = {"property": "latency", "value": 1, "unit": "d", "element": "SALE_ID"}
    said = refused(lambda d: d.update(slaProperties=[agreement]), DOCUMENTS["json"])
    assert said == ("slaProperties.latency.element: 'SALE_ID' is not a date or timestamp of SALES. Known: none.")


def test_a_number_that_no_float_holds_is_a_number() -> None:
    assert contract(CSV, lambda d: rule(d).update(mustBeLessThan=10**400)).quality[0].expected == 10**400
