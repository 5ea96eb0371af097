"""What `new` proposes: types that keep every value of the sample, a key, personal data, usable names."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.new.names import pipeline_name_problem
from pipeline_assets.new.propose import Shape, propose
from pipeline_assets.new.sample import read_sample


def proposed(tmp_path: Path, content: str | bytes, *key: str, pipeline: str = "things") -> Shape:
    path = tmp_path / "sample"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return propose(read_sample(path, None), pipeline, key)


def types(shape: Shape) -> dict[str, str]:
    return {proposal.name: proposal.column.physical_type for proposal in shape.columns}


def column_type(tmp_path: Path, *values: str, name: str = "x") -> str:
    return types(proposed(tmp_path, "\n".join([f"n,{name}", *(f"{n},{value}" for n, value in enumerate(values))])))[
        name.upper()
    ]


@pytest.mark.parametrize(
    ("values", "physical"),
    [
        (["1", "-20"], "NUMBER(18,0)"),
        (["1", "12345678901234567890"], "NUMBER(38,0)"),
        (["1", "2.50"], "NUMBER(18,4)"),
        (["52.123456", "1.5"], "NUMBER(38,8)"),
        (["1.0", "2.0"], "NUMBER(18,4)"),
        (["007", "123"], "VARCHAR(64)"),
        (["1", "2e3 apples"], "VARCHAR(64)"),
        (["9" * 39, "1"], "VARCHAR(200)"),
        (["true", "False"], "BOOLEAN"),
        (["2024-02-29", "2024-03-01"], "DATE"),
        (["2024-02-30", "2024-03-01"], "VARCHAR(64)"),
        (["31-12-2024", "2024-03-01"], "DATE"),
        (["01/02/2024", "13/02/2024"], "DATE"),
        (["01/02/2024", "03/04/2024"], "VARCHAR(64)"),
        (["13/02/2024", "02/13/2024"], "VARCHAR(64)"),
        (["20240101", "20240102"], "NUMBER(18,0)"),
        (["2024-01-01 10:00:00", "2024-01-01T10:00:00.123456"], "TIMESTAMP_NTZ(6)"),
        (["2024-01-01T10:00:00Z", "2024-01-02T10:00:00+02:00"], "VARCHAR(64)"),
        (["", ""], "VARCHAR(200)"),
        (["x" * 60, "y"], "VARCHAR(200)"),
    ],
)
def test_a_type_keeps_every_value_and_what_is_not_certain_stays_text(tmp_path: Path, values, physical) -> None:
    assert column_type(tmp_path, *values) == physical


@pytest.mark.parametrize("name", ["id", "customer_id", "country_code", "zip", "phone_number"])
def test_identifiers_and_codes_are_text(tmp_path: Path, name: str) -> None:
    assert column_type(tmp_path, "1", "2", name=name) == "VARCHAR(64)"


def test_a_column_that_is_never_empty_is_required(tmp_path: Path) -> None:
    shape = proposed(tmp_path, "id,a,b\n1,x,\n2,y, \n3,z,w\n")
    assert [p.column.required for p in shape.columns] == [True, True, False]


@pytest.mark.parametrize(
    ("header", "rows", "key"),
    [
        ("amount,id", ["1,5", "2,6"], ("ID",)),
        ("user_id,thing_id", ["1,5", "2,6"], ("THING_ID",)),
        ("seen_on,serial", ["2024-01-01,5", "2024-01-02,6"], ("SERIAL",)),
        ("email,serial", ["a@x,5", "b@x,6"], ("SERIAL",)),
        ("id,code", ["1,5", ",6"], ("CODE",)),
        ("id,code", ["1,5", "1,5"], ()),
    ],
)
def test_the_key_is_never_empty_and_another_in_each_record(tmp_path: Path, header, rows, key) -> None:
    assert proposed(tmp_path, "\n".join([header, *rows])).key == key


def test_a_key_of_several_columns_is_named(tmp_path: Path) -> None:
    assert proposed(tmp_path, "a,b\n1,1\n1,2\n", "a", "B").key == ("A", "B")
    with pytest.raises(ConfigurationError, match="A has the same value in several records"):
        proposed(tmp_path, "a,b\n1,1\n1,2\n", "a")
    with pytest.raises(ConfigurationError, match="no column 'c'"):
        proposed(tmp_path, "a,b\n1,1\n1,2\n", "c")
    with pytest.raises(ConfigurationError, match="B is empty in 1 of 2"):
        proposed(tmp_path, "a,b\n1,\n1,2\n", "b")


def test_personal_data_is_found_by_the_name_of_the_column(tmp_path: Path) -> None:
    header = "id,name,product_name,customer_name,email,phone_number,birth_date,status,filename"
    shape = proposed(tmp_path, f"{header}\n1,a,b,c,d,e,f,g,h\n")
    personal = [p.name for p in shape.columns if p.column.personal]
    assert personal == ["NAME", "CUSTOMER_NAME", "EMAIL", "PHONE_NUMBER", "BIRTH_DATE"]


RECORD = {
    "orderId": "A1",
    "select": 1,
    "2024": True,
    "customer": {"id": 7, "name": "Ada", "customer_mail": "a@x"},
    "lines": [{"id": 1, "name": "Mouse", "price": 25}],
    "tags": ["a"],
    "a b": 1,
    "ORDERID": 2,
}


@pytest.mark.parametrize(
    "write",
    [
        lambda: json.dumps([RECORD]),
        lambda: json.dumps(RECORD),
        lambda: json.dumps(RECORD, indent=2),
        lambda: json.dumps(RECORD) + "\n" + json.dumps(RECORD | {"orderId": "A2"}) + "\n",
        lambda: gzip.compress(json.dumps([RECORD]).encode()),
        lambda: b"\xef\xbb\xbf" + json.dumps([RECORD]).encode(),
    ],
)
def test_json_keys_become_usable_names_in_every_layout(tmp_path: Path, write) -> None:
    shape = proposed(tmp_path, write())
    assert [p.name for p in shape.columns] == [
        *("ORDER_ID", "SELECT_VALUE", "COLUMN_2024", "CUSTOMER_ID", "CUSTOMER_NAME", "CUSTOMER_MAIL")
    ]
    assert [".".join(p.column.path) for p in shape.columns][:4] == ["orderId", "select", "2024", "customer.id"]
    assert shape.items is not None
    assert [p.name for p in shape.items.columns] == ["ID", "NAME", "PRICE"]
    assert [key for key, _ in shape.left_out] == ["tags", "a b", "ORDERID"]


def test_columns_of_a_list_differ_from_those_of_the_record(tmp_path: Path) -> None:
    shape = proposed(tmp_path, '{"id": 1, "lines": [{"id": 2, "line_number": 3}]}')
    assert shape.items is not None
    assert [p.name for p in shape.items.columns] == ["LINES_ID", "LINE_NUMBER"]


def test_json_numbers_keep_their_digits(tmp_path: Path) -> None:
    shape = proposed(tmp_path, '[{"id": 1, "a": 25.00, "b": 1e400, "c": 123456789012345678901234567890}]')
    assert list(types(shape).values()) == ["VARCHAR(64)", "NUMBER(18,4)", "VARCHAR(64)", "NUMBER(38,0)"]


@pytest.mark.parametrize(
    "name", ["class", "match", "select", "order", "Orders", "1st", "a", "a__b", "a-b", "ops", "x" * 31]
)
def test_a_name_that_python_or_sql_takes_is_refused(name: str) -> None:
    assert pipeline_name_problem(name)
