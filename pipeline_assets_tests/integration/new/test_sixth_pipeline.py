"""A sixth pipeline, made by `new` in a copy of the checkout from a real file, does all that the others do."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest

from pipeline_assets_tests.conftest import SHARED
from pipeline_assets_tests.support.checkout import BASKETS_JSON, ORDERS_CSV, copy_checkout, lake_of, python
from pipeline_assets_tests.support.pipeline_lake import PipelineLake

BIN = Path(sys.executable).parent
# What a copy says of its sixth pipeline, in one process: definitions, deployment, registry.
LOOK = """
import json, sys
import dagster as dg
from pipeline_assets.definitions import build_definitions
from pipeline_assets.deploy.snowflake.apply import deploy
from pipeline_assets.deploy.aws.template import infra_root, rendered
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import load_settings

name = sys.argv[1]
defs = build_definitions(load_settings())
specs = {spec.key.path[-1]: spec for spec in defs.resolve_all_asset_specs() if spec.key.path[0] == name}
repository = defs.get_repository_def()
said = []
settings = load_settings(profile="aws", snowflake_account="a-b", snowflake_user="U", snowflake_private_key="x")
deploy(settings, list(pipelines().values()), dry_run=True, say=said.append)
lineage = {n: s.metadata["dagster/column_lineage"] for n, s in specs.items() if "dagster/column_lineage" in s.metadata}
print(json.dumps({
    "tables": sorted(n for n, s in specs.items() if "table" in s.kinds),
    "lineage": {n: {c: [f"{d.asset_key.to_user_string()}.{d.column_name}" for d in deps]
                    for c, deps in found.deps_by_column.items()} for n, found in lineage.items()},
    "checks": sorted({k.name for k in repository.asset_checks_defs_by_key if k.asset_key.path[0] == name}),
    "sensors": [s.name for s in repository.sensor_defs if name in s.name],
    "schedules": [s.name for s in repository.schedule_defs if name in s.name],
    "plan": [line for line in map(str, said) if name.upper() in line or name.replace("_", "-") in line],
    "template": (infra_root() / "template.yaml").read_text() == rendered(),
    "bucket": f"{name.replace('_', '-')}-source" in rendered(),
}))
"""


@dataclass(frozen=True)
class Made:
    """A pipeline that `new` made in a copy."""

    root: Path
    name: str
    sample: Path
    said: str

    def command(self, *arguments: str) -> dict | list:
        done = python(self.root, "-m", "pipeline_assets.cli", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def made(root: Path, name: str, sample: Path) -> Made:
    done = python(copy_checkout(root), "-m", "pipeline_assets.cli", "new", name, "--from", str(sample))
    assert done.returncode == 0, done.stderr
    assert f"pipeline-assets run {name}" in done.stdout
    return Made(root, name, sample, done.stderr)


def sample_file(folder: Path, real: Path, content: str) -> Path:
    """The real file, or a small one of its kind where the real one is not beside the checkout."""
    if real.exists():
        return real
    folder.mkdir(parents=True, exist_ok=True)
    (folder / real.name).write_text(content, encoding="utf-8")
    return folder / real.name


@pytest.fixture(scope="module")
def from_csv(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("csv")
    sample = sample_file(folder, SHARED / "commerce" / "jaffle_shop" / "raw_orders.csv", ORDERS_CSV)
    return made(folder / "copy", "shop_orders", sample)


@pytest.fixture(scope="module")
def from_json(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("json")
    return made(folder / "copy", "shop", sample_file(folder, SHARED / "orders" / "orders_etl_vivek.json", BASKETS_JSON))


def run_twice(pipeline: Made, ending: str) -> tuple[dict, dict]:
    folder = pipeline.root / ".pipeline" / "lake" / f"{pipeline.name.replace('_', '-')}-source" / "incoming" / "2024"
    folder.mkdir(parents=True)
    shutil.copy(pipeline.sample, folder / f"first{ending}")
    return tuple(pipeline.command("run", pipeline.name, "--json") for _ in range(2))


def at_most_20_lines(pipeline: Made) -> bool:
    files = list((pipeline.root / "pipeline_assets" / pipeline.name).glob("*.py"))
    assert {type(node) for file in files for node in ast.parse(file.read_text()).body} <= {
        *(ast.Expr, ast.ImportFrom, ast.Assign)
    }
    return sum(len(file.read_text().splitlines()) for file in files) <= 20


def test_a_csv_runs_next(from_csv: Made) -> None:
    rows = len(from_csv.sample.read_text().splitlines()) - 1
    first, again = run_twice(from_csv, ".csv")
    assert first["rows"] == {"read": rows, "loaded": rows, "superseded": 0, "quarantined": 0}
    assert first["assets"] == [{"key": "shop_orders/shop_orders", "status": "materialized"}]
    assert again["objects"] == {"new": 0, "known": 1, "loaded": 0, "rejected": 0}
    (found,) = from_csv.command(
        "query",
        "SELECT ID, USER_ID, ORDER_DATE, STATUS FROM SHOP_ORDERS.SHOP_ORDERS WHERE ID = '2'",
        "--format",
        "json",
    )
    assert found == {"ID": "2", "USER_ID": "3", "ORDER_DATE": "2018-01-02", "STATUS": "completed"}
    assert at_most_20_lines(from_csv)
    for column in ("ID: VARCHAR(64), key", "ORDER_DATE: DATE, required (a date as YYYY-MM-DD", f"{rows} of {rows}"):
        assert column in from_csv.said


def test_a_json_with_a_list_runs_next(from_json: Made) -> None:
    records = json.loads(from_json.sample.read_text())
    first, again = run_twice(from_json, ".json")
    assert first["rows"]["loaded"] == len(records)
    assert again["objects"]["new"] == 0
    assert [asset["status"] for asset in first["assets"]] == ["materialized"] * 2
    (child,) = {asset["key"].partition("/")[2].upper() for asset in first["assets"]} - {"SHOP"}
    (found,) = from_json.command(
        "query", f"SELECT COUNT(*) AS N, MIN(LINE_NUMBER) AS F FROM SHOP.{child}", "--format", "json"
    )
    (lists,) = {key for key, value in records[0].items() if isinstance(value, list)}
    assert found == {"N": sum(len(record[lists]) for record in records), "F": 1}
    assert at_most_20_lines(from_json)


@pytest.mark.parametrize("form", ["from_csv", "from_json"])
def test_lineage_checks_sensor_and_both_deployments_follow(form: str, request: pytest.FixtureRequest) -> None:
    pipeline: Made = request.getfixturevalue(form)
    done = python(pipeline.root, "-c", LOOK, pipeline.name)
    assert done.returncode == 0, done.stderr
    look = json.loads(done.stdout)
    assert pipeline.name in look["tables"]
    assert len(look["tables"]) == (1 if form == "from_csv" else 2)
    for table in look["tables"]:
        assert look["lineage"][table], table
    assert {"unique_key", "unknown_columns", "row_accounting", "quarantine", "rejected_objects"} <= set(look["checks"])
    assert len(look["sensors"]) == len(look["schedules"]) == 1
    assert look["plan"]
    assert look["template"]
    assert look["bucket"]


def test_what_was_written_passes_the_linters(from_csv: Made, from_json: Made) -> None:
    for pipeline in (from_csv, from_json):
        files = [f"pipeline_assets/{pipeline.name}", "pipeline_assets/pipelines.py"]
        for command in (
            [str(BIN / "ruff"), "check", *files],
            [str(BIN / "ruff"), "format", "--check", *files],
            [str(BIN / "sqlfluff"), "lint", f"sql/{pipeline.name}"],
        ):
            done = subprocess.run(command, cwd=pipeline.root, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
    done = python(from_json.root, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_new_of_one_name_is_refused(from_csv: Made) -> None:
    done = python(from_csv.root, "-m", "pipeline_assets.cli", "new", from_csv.name, "--from", str(from_csv.sample))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "already" in done.stderr


# --- delivered in any order ----------------------------------------------------------------------------------

START = datetime(2024, 5, 1)  # noqa: DTZ001
Delivery = tuple[str, datetime, dict[str, object]]


def newest(deliveries: list[Delivery]) -> dict[str, object]:
    """The model: each record as the newest object has it."""
    found: dict[str, object] = {}
    for _, _, records in sorted(deliveries, key=lambda delivery: delivery[1]):
        found |= records
    return found


def deliver_in_orders(
    kind: type[PipelineLake],
    folder: Path,
    deliveries: list[Delivery],
    text: Callable[[dict], str],
    rows: Callable[[dict], dict[str, list[tuple]]],
) -> None:
    """Orders of three deliveries, with a run after each; then delivered again as old, overwritten and reprocessed."""
    # Each of the three comes first once, and the oldest comes at every place.
    for number, order in enumerate(list(permutations(deliveries))[::2]):
        lake = kind.with_tables(folder / str(number))
        for place, (name, modified, records) in enumerate(order, 1):
            lake.write(name, text(records), modified)
            lake.run(f"{place}")
            assert lake.tables() == rows(newest(list(order[:place])))
    name, modified, records = deliveries[0]
    lake.write(f"again_{name}", text(records), modified - timedelta(days=1))
    assert lake.run("delivered again").new == 1
    assert lake.tables() == rows(newest(deliveries))
    changed = {key: deliveries[2][2].get(key, value) for key, value in records.items()}
    over = [(name, modified + timedelta(days=9), changed), *deliveries[1:]]
    lake.write(name, text(changed), over[0][1])
    lake.run("overwritten")
    assert lake.tables() == rows(newest(over))
    lake.run("again", reprocess=True)
    assert lake.tables() == rows(newest(over))
    assert lake.run("nothing").new == 0


def test_csv_files_come_in_any_order(tmp_path: Path) -> None:
    sample = tmp_path / "raw_orders.csv"
    sample.write_text(ORDERS_CSV)
    pipeline = made(tmp_path / "copy", "shop_orders", sample)
    kind = lake_of(
        pipeline.root,
        pipeline.name,
        tmp_path / "value",
        {"T": "SELECT ID, ORDER_DATE, STATUS FROM SHOP_ORDERS.SHOP_ORDERS ORDER BY ID"},
    )
    deliveries = [
        ("b.csv", START, {"1": "placed", "2": "placed", "3": "placed"}),
        ("c.csv", START + timedelta(days=1), {"2": "shipped", "4": "placed"}),
        ("a.csv", START + timedelta(days=2), {"2": "returned", "3": "shipped"}),
    ]

    def text(records: dict) -> str:
        return "".join(["STATUS,user_id,id,order_date\n", *(f"{s},7,{k},2018-01-0{k}\n" for k, s in records.items())])

    def rows(records: dict) -> dict[str, list[tuple]]:
        return {"T": [(k, datetime(2018, 1, int(k)).date(), records[k]) for k in sorted(records)]}  # noqa: DTZ001

    deliver_in_orders(kind, tmp_path, deliveries, text, rows)


def test_json_files_come_in_any_order_and_lists_are_replaced(tmp_path: Path) -> None:
    sample = tmp_path / "baskets.json"
    sample.write_text(BASKETS_JSON)
    pipeline = made(tmp_path / "copy", "baskets", sample)
    kind = lake_of(
        pipeline.root,
        pipeline.name,
        tmp_path / "value",
        {
            "T": "SELECT BASKET_ID, TOTAL, BUYER_NAME FROM BASKETS.BASKETS ORDER BY BASKET_ID",
            "L": "SELECT BASKET_ID, LINE_NUMBER, SKU, PRICE FROM BASKETS.BASKETS_ITEMS ORDER BY 1, 2",
        },
    )
    deliveries = [
        ("b.json", START, {"1": ("A", "B", "C"), "2": ("A",)}),
        ("c.ndjson", START + timedelta(days=1), {"2": ("D", "E"), "3": ()}),
        ("a.jsonl", START + timedelta(days=2), {"1": ("Z",), "3": ("F",)}),
    ]

    def text(records: dict) -> str:
        return "\n".join(
            json.dumps(
                {
                    "basket_id": int(key),
                    "opened_on": "2024-01-10",
                    "total": len(skus) + 0.5,
                    "buyer": {"id": 7, "name": "Ada", "email": None},
                    "items": [{"sku": sku, "name": sku, "price": 1.25, "quantity": 1} for sku in skus],
                }
            )
            for key, skus in records.items()
        )

    def rows(records: dict) -> dict[str, list[tuple]]:
        return {
            "T": [(key, Decimal(f"{len(records[key])}.5000"), "Ada") for key in sorted(records)],
            "L": [
                (key, place, sku, Decimal("1.2500"))
                for key in sorted(records)
                for place, sku in enumerate(records[key], 1)
            ],
        }

    deliver_in_orders(kind, tmp_path, deliveries, text, rows)
