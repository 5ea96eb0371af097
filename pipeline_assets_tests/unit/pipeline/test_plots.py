"""A plot whose picture could be unreadable, out of date or personal is an error as soon as its pipeline is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline import LandedFiles, Mart, Pipeline, Plot, Table, View
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets_tests.support.small_pipelines import pipeline_of

CONTRACTS = {
    "visits": ("table", ["VISIT text key", "GUEST text personal", "ROOM text", "NIGHTS integer"]),
    "nights": ("table", ["ROOM text key", "NIGHTS integer"]),
    "rooms": ("table", ["ROOM text key"]),
    "names": ("table", ["GUEST text personal", "ROOM text"]),
}
SQL = {
    "nights": "SELECT V.ROOM, SUM(V.NIGHTS) AS NIGHTS FROM SHOP.VISITS AS V GROUP BY V.ROOM",
    "rooms": "SELECT N.ROOM FROM SHOP.NIGHTS AS N",
    "names": "SELECT V.GUEST, V.ROOM FROM SHOP.VISITS AS V",
}
ORDERED = " ORDER BY 2 DESC LIMIT 10"
BARS = "SELECT N.ROOM, N.NIGHTS FROM SHOP.NIGHTS AS N" + ORDERED
VISITS = "SELECT V.ROOM, COUNT(*) AS VISITS FROM SHOP.VISITS AS V"


def value(folder: Path, select: str = BARS, *plots: Plot) -> Pipeline:
    return pipeline_of(
        folder,
        CONTRACTS,
        SQL | {"plots/busy": select},
        sources=[LandedFiles("visits", "in/*.csv")],
        tables=[Table("visits"), Mart("nights", refresh_by="ROOM"), View("rooms"), View("names")],
        plots=plots or [Plot("busy", of="nights", kind="barh")],
    )


@pytest.mark.parametrize(
    ("of", "kind", "select"),
    [
        ("nights", "bar", BARS),
        ("rooms", "bar", "SELECT R.ROOM, COUNT(*) AS ROOMS FROM SHOP.ROOMS AS R GROUP BY R.ROOM" + ORDERED),
        ("visits", "barh", f"{VISITS} GROUP BY V.ROOM{ORDERED}"),
        ("nights", "line", BARS.replace("10", "400")),
        ("nights", "line", BARS.replace("N.NIGHTS", "N.NIGHTS, N.ROOM AS NAME")),
        ("nights", "intervals", BARS.replace("N.NIGHTS", "N.NIGHTS, N.NIGHTS AS UNTIL")),
        ("nights", "bar", f"WITH BUSY AS ({BARS}) SELECT B.ROOM, B.NIGHTS FROM BUSY AS B{ORDERED}"),
    ],
)
def test_a_plot_is_of_a_table_or_view_that_its_select_reads(tmp_path: Path, of: str, kind: str, select: str) -> None:
    (plot,) = resolve(value(tmp_path, select, Plot("busy", of, kind))).plots  # type: ignore[arg-type]
    assert (plot.of, plot.select.name) == (f"SHOP.{of.upper()}", "sql/shop/plots/busy.sql")


@pytest.mark.parametrize(
    ("plot", "select", "texts"),
    [
        (Plot("busy", "guests", "bar"), BARS, ["shop: the plot busy is of 'guests'", "It has visits, nights, rooms"]),
        (Plot("idle", "nights", "bar"), BARS, ["sql/shop/plots/idle.sql does not exist"]),
        (Plot("busy", "nights", "pie"), BARS, ["shop: kind='pie' of the plot busy", "bar, barh, line, intervals"]),  # type: ignore[arg-type]
        (Plot("../busy", "nights", "bar"), BARS, ["../busy: not a valid name", "small letters"]),
        (Plot("busy", "visits", "bar"), BARS, ["sql/shop/plots/busy.sql does not read SHOP.VISITS", "another table"]),
        (Plot("busy", "nights", "intervals"), BARS, ["busy.sql has 2 columns; a plot of kind intervals has 3"]),
        (Plot("busy", "nights", "bar"), BARS.replace("N.NIGHTS", "N.NIGHTS, 1 AS ONE"), ["has 3 columns", "bar has 2"]),
        (Plot("busy", "nights", "bar"), BARS.replace(" LIMIT 10", ""), ["may have more rows", "LIMIT, at most 40"]),
        (Plot("busy", "nights", "bar"), BARS.replace("LIMIT 10", "LIMIT 41"), ["may have more rows"]),
        (Plot("busy", "nights", "line"), BARS.replace("LIMIT 10", "LIMIT 401"), ["LIMIT, at most 400"]),
        (Plot("busy", "nights", "bar"), BARS.replace("ORDER BY 2 DESC", ""), ["End it with ORDER BY"]),
        (Plot("busy", "nights", "bar"), BARS.replace("SHOP.NIGHTS", "VISITS"), ["reads VISITS, which this pipeline"]),
        (Plot("busy", "nights", "bar"), BARS.replace("N.ROOM", "N._RESCUED"), ["sql/shop/plots/busy.sql", "_RESCUED"]),
    ],
)
def test_a_mistake_in_a_plot_names_the_place_and_the_remedy(
    tmp_path: Path, plot: Plot, select: str, texts: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as error:
        resolve(value(tmp_path, select, plot))
    assert [text for text in texts if text not in str(error.value)] == []


@pytest.mark.parametrize(
    ("of", "select"),
    [
        ("visits", f"SELECT V.GUEST, COUNT(*) AS VISITS FROM SHOP.VISITS AS V GROUP BY V.GUEST{ORDERED}"),
        ("visits", f"SELECT V.ROOM, COUNT(DISTINCT V.GUEST) AS GUESTS FROM SHOP.VISITS AS V GROUP BY V.ROOM{ORDERED}"),
        ("visits", f"{VISITS} WHERE V.GUEST = 'x' GROUP BY V.ROOM{ORDERED}"),
        ("visits", f"{VISITS} GROUP BY V.ROOM ORDER BY MAX(V.GUEST) LIMIT 10"),
        ("visits", f"WITH G AS (SELECT GUEST, NIGHTS FROM SHOP.VISITS) SELECT G.GUEST, G.NIGHTS FROM G{ORDERED}"),
        (
            "nights",
            "SELECT N.ROOM, N.NIGHTS FROM SHOP.NIGHTS AS N WHERE EXISTS "
            f"(SELECT 1 FROM SHOP.VISITS AS V WHERE V.ROOM = N.ROOM AND V.GUEST = 'x'){ORDERED}",
        ),
        ("names", f"SELECT N.GUEST, COUNT(*) AS ROOMS FROM SHOP.NAMES AS N GROUP BY N.GUEST{ORDERED}"),
    ],
)
def test_a_plot_reads_no_personal_column_anywhere(tmp_path: Path, of: str, select: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sql/shop/plots/busy\.sql reads personal data: SHOP\.\w+\.GUEST"):
        resolve(value(tmp_path, select, Plot("busy", of, "bar")))
