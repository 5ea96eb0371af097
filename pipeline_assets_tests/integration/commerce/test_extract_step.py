"""`run --extract` of a pipeline with streams: the batch takes what the producer had not delivered yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.commerce.producer import deliver_in_batch, open_producer
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline import DeliveryStream, LandedFiles, Step, Table
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    value = pipeline_of(
        tmp_path / "pipeline",
        {"goods": ("csv", ["GOODS_ID text key", "PRICE number"])},
        {},
        sources=[LandedFiles("goods", "goods/landing/**/*")],
        tables=[Table("goods")],
        streams=[DeliveryStream("goods", "goods/landing/")],
        steps=[Step("extract", deliver_in_batch)],
    )
    watched = {"goods": f"{tmp_path}/home/sources/commerce/goods*.csv"}
    return lake_of(value).at(tmp_path / "home", commerce_watch=watched)


def append(lake: SmallLake, text: str) -> None:
    folder = lake.home / "sources" / "commerce"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "goods.csv", "a") as file:
        file.write(text)


def goods(lake: SmallLake) -> list[tuple]:
    return lake.rows("SELECT GOODS_ID, PRICE::INTEGER FROM SHOP.GOODS ORDER BY 1")


def test_a_batch_with_extract_delivers_and_loads_what_is_new(lake: SmallLake) -> None:
    append(lake, "GOODS_ID,PRICE\n1,10\n")
    lake.run()
    assert goods(lake) == []
    lake.run(extract=True)
    assert goods(lake) == [("1", 10)]
    assert lake.run(extract=True).rows["read"] == 0


def test_a_run_next_to_a_producer_goes_on_and_says_so(lake: SmallLake, caplog: pytest.LogCaptureFixture) -> None:
    append(lake, "GOODS_ID,PRICE\n1,10\n")
    lake.run(extract=True)
    append(lake, "GOODS_ID,PRICE\n2,20\n")
    assert lake.platform.delivery
    with open_producer(lake.platform.delivery, type(lake).pipeline().value):
        lake.run(extract=True)
    assert goods(lake) == [("1", 10)]
    assert "A producer is running and delivers new records" in caplog.text


def test_a_folder_that_is_missing_fails_the_run(lake: SmallLake, tmp_path: Path) -> None:
    other = lake_of(type(lake).pipeline()).at(tmp_path / "home", commerce_watch={"goods": "/no/such/goods.csv"})
    with pytest.raises(ConfigurationError, match="The watched folder /no/such cannot be read"):
        other.run(extract=True)
