"""The notebook in docs/ runs on the home of a demo, and no table shows personal data to analysts."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from pipeline_assets import connect
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.contracts.masking import MASK
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets_tests.support.demo_home import DemoHome

NOTEBOOK = PROJECT_ROOT / "docs" / "notebooks" / "first_look.ipynb"


@pytest.fixture(scope="module")
def home(filled: DemoHome) -> Path:
    return filled.home


def test_the_notebook_runs_and_draws_one_picture(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))
    monkeypatch.setenv("PIPELINE_HOME", str(home))
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1
    with Image.open(BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10  # lines, and no empty frame
    assert not [output for output in outputs if output.output_type == "error"]
    assert "this connection only runs SELECTs" in outputs[-1].text
    assert all(str(folder) not in str(outputs) for folder in (home, PROJECT_ROOT, tmp_path))


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)

    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_analysts_can_read_every_table_and_see_no_personal_value(home: Path) -> None:
    """All that the role of the pipelines sees in a personal column is masked, wherever the value occurs."""
    analyst, loader = connect(home=home), connect(home=home, role="PIPELINE_LOADER")
    contracts = {target_table(c).qualified: c for each in pipelines().values() for c in each.contracts}
    tables = analyst.tables()["TABLE"].to_list()
    masked: set[str] = set()

    for table in tables:
        shown, stored = (c.arrow(f"SELECT * FROM {table}").to_pydict() for c in (analyst, loader))
        personal = {column.name for column in contracts[table].columns if column.personal} | {"_RESCUED"}
        for name in personal & set(stored):
            assert set(shown[name]) <= {MASK, None}, (table, name)
            assert shown[name].count(None) >= stored[name].count(None)
            masked.add(f"{table}.{name}")
        for name in set(stored) - personal:
            assert sorted(map(str, shown[name])) == sorted(map(str, stored[name])), (table, name)

    assert len(tables) >= 25
    assert {"BOOKINGS.CUSTOMERS.EMAIL", "ORDERS.ORDERS_PARQUET_DATALAKE.EMAIL", "COMMERCE.CUSTOMERS.C_PHONE"} <= masked
