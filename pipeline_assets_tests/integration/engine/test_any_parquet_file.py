"""Any Parquet file: values as a model in Python says, damage anywhere, replayed records equal to the original ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.model import DATE_PATTERNS, Dialect
from pipeline_assets.engine import SourceFile
from pipeline_assets.engine.formats.csv.dialect import normalized_header
from pipeline_assets.engine.formats.parquet.record_sql import typed_header
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, landed, opened, read, rows
from pipeline_assets_tests.support.parquet_files import KINDS_OF_VALUES, SALES, check_cases, parquet, replay, sales


def test_bytes_changed_anywhere_never_stop_a_batch(tmp_path: Path) -> None:
    """A footer with other numbers makes DuckDB refuse all further work of an instance."""
    table = pa.table({"ID": [str(n) for n in range(50)], "N": list(range(50)), "L": [[1]] * 50})
    good = parquet(tmp_path / "good.parquet", table)
    content = (tmp_path / "good.parquet").read_bytes()
    files = [
        landed(tmp_path / f"{n}.parquet", content[:at] + bytes([content[at] ^ (1 << n % 8)]) + content[at + 1 :])
        for n, at in enumerate(range(4, len(content) - 4, 7))
    ]
    with opened(NEVER) as session:
        session.read("people", PEOPLE, [*files, good])
        session.deduplicate("people")
        outcomes = {outcome.landed.uri: outcome for outcome in session.outcomes("people")}
        assert len(list(session.bad_records("people"))) >= len(files) / 3
    assert outcomes[good.landed.uri].read == 50


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(delimiter=";", escape="\\", header=False, encoding="cp1252")])
def test_a_replayed_record_equals_the_original(tmp_path: Path, dialect: Dialect) -> None:
    """Every kind of value as a text, as a date and as a column that the contract does not have."""
    strict, columns = replace(SALES, dialect=dialect), SALES.columns
    mended = replace(strict, columns=(replace(columns[0], max_length=None), *columns[1:]))
    relaxed = replace(mended, columns=(mended.columns[0], replace(columns[6], name="DAY", accepted=())))
    files, replayed = {}, []
    for name in KINDS_OF_VALUES:
        values = {f"X {n}": v for n, v in KINDS_OF_VALUES.items()} | {"day": KINDS_OF_VALUES[name]}
        files[name] = parquet(tmp_path / f"{name}.parquet", pa.table({"name": ["x" * 13] * 3} | values))
    _, bad, _ = read(strict, *files.values(), policy=NEVER)
    for name, file in files.items():
        its_bad = [record for record in bad if record.landed.uri == file.landed.uri]
        assert [record.line for record in its_bad] == [1, 2, 3]
        (folder := tmp_path / name).mkdir()
        replayed.append(replay(folder, strict, its_bad))
    assert shown(mended, replayed) == shown(mended, [*files.values()])
    assert shown(relaxed, replayed) == shown(relaxed, [*files.values()])


def shown(contract: Contract, files: Sequence[SourceFile]) -> tuple[list[tuple], list[tuple]]:
    """Rows and bad records with the file that they came in."""
    with opened(NEVER) as session:
        session.read("sales", contract, files)
        session.deduplicate("sales")
        names = ", ".join(contract.column_names)
        bad = [(bad.landed.uri, bad.line, bad.raw, bad.code) for bad in session.bad_records("sales")]
        return rows(session, f"SELECT _SOURCE_URI, {names}, _RESCUED FROM sales"), sorted(bad)


@given(names=st.lists(st.text(max_size=9) | st.sampled_from(["a text", "b Date", "json"]), min_size=1, unique=True))
def test_no_header_of_a_csv_file_is_taken_for_typed_columns(names: list[str]) -> None:
    try:
        header = normalized_header(names, ())
    except RejectedObjectError:
        return  # names that differ in case only
    assert typed_header(header) == ()


def test_a_record_too_large_to_be_replayed_stays_in_quarantine(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", pa.table({"ID": ["123456789", "1"], "NOTE": ["x" * (40 << 20), "x"]}))
    _, bad, _ = read(PEOPLE, file, policy=NEVER)
    found, still_bad, (outcome,) = read(PEOPLE, replay(tmp_path, PEOPLE, bad), policy=NEVER)
    assert (found, still_bad) == ([], [])
    assert (outcome.read, outcome.quarantined, outcome.released, outcome.rejection) == (1, 1, (), None)


def test_times_with_a_zone_are_in_utc_on_machines_in_every_zone(tmp_path: Path) -> None:
    moment = pa.array([datetime(2026, 7, 1, 22, tzinfo=UTC)])
    parquet(tmp_path / "a.parquet", sales(MOMENT=moment, extra=moment, nested=pa.array([[moment[0]]])))
    script = (
        "import sys; from pathlib import Path; from pipeline_assets_tests.support import engine_session as e;"
        "from pipeline_assets_tests.support.parquet_files import SALES; path = Path(sys.argv[1]);"
        "s = e.opened(); session = s.__enter__(); session.read('sales', SALES, [e.landed(path, path.read_bytes())]);"
        "session.deduplicate('sales'); print(e.rows(session, 'SELECT MOMENT, _RESCUED FROM sales')[0])"
    )
    run = [sys.executable, "-c", script, str(tmp_path / "a.parquet")]
    env = os.environ | {"TZ": "America/New_York"}
    found = subprocess.run(run, env=env, cwd=PROJECT_ROOT, check=True, capture_output=True, text=True).stdout
    text = "2026-07-01 22:00:00+00"
    assert found.strip() == repr(
        (datetime.fromisoformat("2026-07-01T22:00"), f'{{"EXTRA":"{text}","NESTED":["{text}"]}}')
    )


@pytest.mark.parametrize("form", DATE_PATTERNS)
def test_a_day_is_read_whatever_format_the_contract_expects_of_texts(tmp_path: Path, form: str) -> None:
    contract = replace(SALES, columns=(SALES.columns[0], replace(SALES.columns[3], input_formats=(form,))))
    days = [date(2026, 1, 2), date(987, 12, 31), date(1, 1, 1), date(9999, 10, 20)]
    midnights = [datetime.combine(day, time()) for day in days]
    files = [
        parquet(tmp_path / f"{n}.parquet", pa.table({"NAME": ["x"] * 4, "DAY": values}))
        for n, values in enumerate((days, pa.array(midnights, pa.timestamp("us")), midnights))
    ]
    found, bad, _ = read(contract, *files)
    assert (sorted(day for _, day in found), bad) == (sorted(days * 3), [])


# --- any values ----------------------------------------------------------------------------------------------

MIDNIGHTS = st.datetimes().map(lambda moment: moment.replace(hour=0, minute=0, second=0, microsecond=0))
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=5, min_value=-(10**15), max_value=10**15)
VALUES: st.SearchStrategy[pa.Array] = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 10**10), max_size=9).map(
        lambda values: pa.array(values, pa.int64())
    ),
    st.lists(st.none() | st.floats(-1e14, 1e14) | st.integers(0, 10**9).map(float) | st.floats(), max_size=9).map(
        lambda values: pa.array(values, pa.float64())
    ),
    st.lists(st.none() | DECIMALS, max_size=9).map(lambda values: pa.array(values, pa.decimal128(38, 5))),
    st.lists(st.none() | st.dates(), max_size=9).map(lambda values: pa.array(values, pa.date32())),
    st.lists(st.none() | st.datetimes() | MIDNIGHTS, max_size=9).map(lambda v: pa.array(v, pa.timestamp("us"))),
    st.lists(st.none() | MIDNIGHTS.map(lambda moment: moment.replace(tzinfo=UTC)), max_size=9).map(
        lambda values: pa.array(values, pa.timestamp("us", "UTC"))
    ),
    st.lists(st.none() | st.booleans(), max_size=9).map(lambda values: pa.array(values, pa.bool_())),
    st.lists(
        st.none()
        | st.text(max_size=15)
        | st.sampled_from(["a", "1", "1.50", "02-01-2026", "2026-01-02 03:04", "true"]),
        max_size=9,
    ).map(lambda values: pa.array(values, pa.string())),
)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    values = draw(st.lists(VALUES, min_size=6, max_size=6))
    longest = max(map(len, values))
    padded = [pa.concat_arrays([array, pa.nulls(longest - len(array), array.type)]) for array in values]
    names = [name for name in draw(st.permutations(SALES.column_names)) if name != "NAME"]
    return sales(**dict(zip(names, padded, strict=True)))


@settings(max_examples=10, deadline=None)
@given(files=st.lists(tables(), min_size=1, max_size=8))
def test_any_values_are_read_as_the_model_says(files: list[pa.Table]) -> None:
    with TemporaryDirectory() as folder:
        check_cases(Path(folder), files)
