"""The asset graph reads like the system: described sources, zones, tables, marts, lake tables and exports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from markdown_it import MarkdownIt

from pipeline_assets.contracts.ddl import DISTINCT_ROW, PROVENANCE, SOURCE_ETAG
from pipeline_assets.definitions import build_definitions
from pipeline_assets.settings import load_settings

LAYERS = ("source", "zone", "table", "mart", "view", "lake", "export")
PLATFORM_COLUMNS = {*PROVENANCE, SOURCE_ETAG[0], *(name for name, *_ in DISTINCT_ROW)}
README = Path(__file__).resolve().parents[3] / "README.md"
LIST = """\
source: shop
tables:
  - {name: orders, key: id, cursor: at}
  - {name: stock, key: id, strategy: scd2, trigger: {event: true}}
"""


@pytest.fixture(scope="module", params=["as shipped", "an API, and a list of tables"])
def definitions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    home = tmp_path_factory.mktemp("graph")
    if request.param == "as shipped":
        return build_definitions(load_settings(home=home))
    (home / "tables.yaml").write_text(LIST, encoding="utf-8")
    url = "mysql+pymysql://ann@nowhere.example/shop"
    api = "https://movies.example/"
    listed = {"reviews_tables": home / "tables.yaml", "reviews_source_url": url}
    return build_definitions(load_settings(home=home, movies_api_url=api, movies_api_key="k", **listed))


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in definitions.resolve_all_asset_specs()}


def is_learnt(spec: dg.AssetSpec) -> bool:
    """Whether a run learns the columns; the page shows those of the newest materialization."""
    return "A run learns its columns" in (spec.description or "")


def columns_of(spec: dg.AssetSpec) -> list[dg.TableColumn]:
    return list(spec.metadata["dagster/column_schema"].columns)


def upstream(specs: dict[dg.AssetKey, dg.AssetSpec], key: dg.AssetKey) -> Iterator[dg.AssetKey]:
    for dep in specs[key].deps:
        yield dep.asset_key
        yield from upstream(specs, dep.asset_key)


def test_every_asset_has_a_description_an_owner_kinds_a_group_and_a_layer(
    specs: dict[dg.AssetKey, dg.AssetSpec],
) -> None:
    assert len(specs) > 30
    for key, spec in specs.items():
        assert len(spec.description or "") > 20, key
        assert spec.owners, key
        assert spec.kinds, key
        assert spec.group_name == key.path[0], key
        assert spec.tags["layer"] in LAYERS, key
    assert {spec.tags["layer"] for spec in specs.values()} == {*LAYERS}


def test_every_asset_but_a_bucket_has_described_columns_unless_a_run_learns_them(
    specs: dict[dg.AssetKey, dg.AssetSpec],
) -> None:
    for key, spec in specs.items():
        has_columns = "dagster/column_schema" in spec.metadata
        assert has_columns != ("bucket" in spec.kinds or is_learnt(spec)), key
        for column in columns_of(spec) if has_columns else ():
            assert column.description, (key, column.name)


def test_every_column_of_a_derived_asset_is_traced_to_columns_that_exist(
    specs: dict[dg.AssetKey, dg.AssetSpec],
) -> None:
    for key, spec in specs.items():
        above = {dep.asset_key for dep in spec.deps if "bucket" not in specs[dep.asset_key].kinds}
        if not above or is_learnt(spec):
            continue
        own = [column.name for column in columns_of(spec) if column.name not in PLATFORM_COLUMNS]
        traced = spec.metadata["dagster/column_lineage"].deps_by_column
        assert list(traced) == own, key
        for dep in (dep for deps in traced.values() for dep in deps):
            assert dep.asset_key in above, key
            assert dep.column_name in {column.name for column in columns_of(specs[dep.asset_key])}, key
        if spec.tags["layer"] not in ("source", "zone"):
            for column in columns_of(spec):
                if column.name in own:
                    assert re.search(r"(From|Computed as) `", column.description or ""), (key, column.name)


def test_what_runs_write_has_a_freshness_policy_and_nothing_else_has(
    definitions: dg.Definitions, specs: dict[dg.AssetKey, dg.AssetSpec]
) -> None:
    """A source is not late because no run has written it: the check `lateness` is about what arrives."""
    written = definitions.resolve_asset_graph().executable_asset_keys
    assert {key for key, spec in specs.items() if spec.freshness_policy} == set(written)
    assert {spec.tags["layer"] for key, spec in specs.items() if key not in written} == {"source", "zone"}
    checked = {key.asset_key for key in definitions.resolve_asset_graph().asset_check_keys if key.name == "lateness"}
    landed = {key for key in specs if key.path[-1].endswith("_files")}
    assert landed - checked == {dg.AssetKey(["movies", "ratings_files"])}, "which are lists in other files"


def test_every_asset_comes_from_a_source_and_every_source_reaches_a_table(
    specs: dict[dg.AssetKey, dg.AssetSpec],
) -> None:
    above = {key: {*upstream(specs, key)} for key in specs}
    layers = {key: spec.tags["layer"] for key, spec in specs.items()}
    for key, layer in layers.items():
        if layer == "source":
            assert not above[key]
            assert any(key in above[other] for other, of in layers.items() if of == "table"), key
        else:
            assert any(layers[other] == "source" for other in above[key]), key
        for dep in specs[key].deps:
            order = LAYERS.index(layers[dep.asset_key]), LAYERS.index(layer)
            assert order[0] <= order[1], f"{dep.asset_key} is above {key}"


def test_sources_are_of_the_kind_that_the_settings_name(specs: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    kinds = {key.path[-1]: set(spec.kinds) for key, spec in specs.items() if spec.tags["layer"] == "source"}
    assert kinds["orders_source_bucket"] == {"s3", "bucket"}
    assert kinds["customers_stream"] == {"firehose", "stream"}
    if "orders_source" in kinds:
        assert (kinds["movies_source"], kinds["orders_source"]) == ({"api"}, {"mysql"})
    else:
        assert (kinds["movies_source"], kinds["amazone_books_source"]) == ({"sqlite"}, {"sqlite"})


def test_fields_of_json_have_their_paths_and_the_columns_of_the_platform_their_meaning(
    specs: dict[dg.AssetKey, dg.AssetSpec],
) -> None:
    def described(asset: str) -> dict[str, str]:
        spec = specs[dg.AssetKey(asset.split("/"))]
        return {column.name: column.description or "" for column in columns_of(spec)}

    files = described("orders/orders_files")
    assert files["PRICE"].endswith("At `$.products[*].price`.")
    assert files["CUSTOMER_NAME"].endswith("At `$.customer.name`.")
    assert described("commerce/customers_files")["C_NAME"].endswith("Field 2 of the record, which has no header.")
    assert described("bookings/customers_files")["EMAIL"].endswith("Field `EMAIL` of the CSV, in any case and order.")
    assert described("movies/movies_files")["RATINGS"].endswith("Field `RATINGS` of the files in the archive.")
    ratings = described("movies/ratings_files")
    assert ratings["VALUE"].endswith("Field `VALUE` of the elements of `RATINGS`.")
    assert ratings["TITLE"].endswith("Field `TITLE` of the record.")
    lines = described("orders/order_lines")
    assert lines["PRICE"].endswith("From `orders_files.PRICE`.")
    assert lines["LINE_NUMBER"].endswith("From `_POSITION`, which the platform sets.")
    assert {"_BATCH_ID", "_SOURCE_URI", "_LOADED_AT", "_RESCUED"} <= lines.keys()
    spend = described("bookings/daily_spend")
    assert spend["AMOUNT_SPENT"].endswith(
        "Computed as `SUM(BOOKED.AMOUNT_SPENT)` from `customer_bookings.AMOUNT_SPENT`."
    )
    assert spend["BOOKINGS"].endswith("Computed as `COUNT(*)`.")
    assert not PLATFORM_COLUMNS & described("movies/rating_charts").keys(), "a view has its own columns alone"
    assert not PLATFORM_COLUMNS & described("orders/orders_parquet_datalake").keys()


def test_the_description_of_a_table_has_its_select(specs: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    text = specs[dg.AssetKey(["bookings", "daily_spend"])].description or ""
    assert "```sql\nSELECT\n    BOOKED.BOOKING_DATE," in text
    for key, spec in specs.items():
        assert ("```sql\n" in (spec.description or "")) == (spec.tags["layer"] not in ("source", "zone", "export")), key


def test_no_description_has_markup_that_nobody_wrote(definitions: dg.Definitions) -> None:
    """Globs, placeholders and names with underscores are code; a SELECT is a block of code."""
    graph, repository = definitions.resolve_asset_graph(), definitions.get_repository_def()
    specs = definitions.resolve_all_asset_specs()
    texts = [spec.description for spec in specs]
    schemas = [spec.metadata["dagster/column_schema"] for spec in specs if "dagster/column_schema" in spec.metadata]
    texts += [column.description for schema in schemas for column in schema.columns]
    texts += [graph.get_check_spec(key).description for key in graph.asset_check_keys]
    texts += [each.description for each in (*repository.sensor_defs, *repository.schedule_defs)]
    texts += [job.description for job in repository.get_all_jobs()]
    for text in filter(None, texts):
        tags = set(re.findall(r"<(\w+)", MarkdownIt("gfm-like", {"linkify": False}).render(text)))
        assert tags <= {"p", "code", "pre"}, text


def selections() -> list[str]:
    (block,) = re.findall(r"<!-- selections -->\n```\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


@pytest.mark.parametrize("selection", selections())
def test_each_selection_of_the_readme_finds_assets_but_not_all(
    specs: dict[dg.AssetKey, dg.AssetSpec], definitions: dg.Definitions, selection: str
) -> None:
    found = dg.AssetSelection.from_string(selection, include_sources=True).resolve(definitions.resolve_asset_graph())
    assert found
    assert len(found) < len(specs)
