"""The hard batch of each pipeline: what is landed, and what readers may see when it is killed in the middle."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline_assets_tests.support import commerce_lake, movies_lake
from pipeline_assets_tests.support.bookings_lake import BOOKING_HEADER, BookingsLake, booking, customer
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.killed_runs import COMMIT, DURABLE
from pipeline_assets_tests.support.movies_lake import MoviesLake
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import PipelineLake

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(hours=1)


@dataclass(frozen=True)
class Scenario:
    """`files` is what lies in the lake for others; `partly` says whether what is seen of it is whole files only.

    At boundaries of the kinds `killed_at` a run is really killed; the files of other kills are those of a copy.
    """

    lake: type[PipelineLake]
    land_first: Callable
    land_second: Callable
    land_many: Callable
    files: Callable
    partly: Callable[[object, object, object], bool]
    boundaries: frozenset[str]
    killed_at: Set[str] = frozenset({COMMIT})


def _bookings_first(lake: BookingsLake) -> None:
    lake.customers("", customer(1), customer(2, "Grace", "Hopper"), modified=START)
    lake.bookings("", booking(1, 1), booking(2, 2, "5.25"), booking(3, 9, "7.00"), modified=START)


def _bookings_second(lake: BookingsLake) -> None:
    """Changes a published customer, releases a waiting booking, brings a bad row and hands a CSV out."""
    lake.customers("_late", customer(9, "Alan", "Turing"), customer(1, "Augusta"), modified=LATER)
    lake.bookings("", booking(1, 1, "11.00"), booking(4, 2, "x"), booking(5, 8, "1.00"), modified=LATER)


# `land_many` lands one record many times: a run that is stopped while it reads them compares nothing.
def _many_bookings(lake: BookingsLake) -> str:
    lines = "\n".join([booking(1000, 1)] * 400_000)
    lake.write("booking_details_big.csv", f"{BOOKING_HEADER}\n{lines}\n")
    return "booking_details_big.csv"


def _orders_first(lake: OrdersLake) -> None:
    lake.orders(
        "",
        order(1, product("P1"), product("P2")),
        order(2, product("P1"), date="2024-01-11"),
        order(3, product("P3"), date="2024-01-12"),
        order(4, product("P4"), product("P4"), date="2024-01-13"),
        modified=START,
    )


def _orders_second(lake: OrdersLake) -> None:
    """Replaces lines, moves orders between days both ways, empties one and a whole day, and brings a bad order."""
    lake.orders(
        "_late",
        order(1, product("P9", 1), date="2024-01-11"),
        order(2, product("P8"), product("P7"), date="2024-01-10"),
        order(3, date="2024-01-12"),
        order(5, product("P5"), date="2024-01-14"),
        order(6, product("P6", "free")),
        modified=LATER,
    )


def _many_orders(lake: OrdersLake) -> str:
    text = json.dumps(order(1000, product("P1"), product("P2")))
    lake.write("orders_big.json", f"[{', '.join([text] * 120_000)}]")
    return "orders_big.json"


def _whole_orders(seen: dict, before: dict, after: dict) -> bool:
    """No order twice or half: the old rows, the new ones, or none for a moment."""
    return all(rows in (before.get(key), after.get(key)) for key, rows in seen.items())


def _commerce_first(lake: CommerceLake) -> None:
    lake.deliver("customers", START, commerce_lake.customer(1), commerce_lake.customer(2, "Grace"))
    lake.deliver("orders", START, commerce_lake.order(10), commerce_lake.order(11, 9), commerce_lake.order(12, 2, "O"))


def _commerce_second(lake: CommerceLake) -> None:
    """Renames a customer, brings a late one, finishes and reopens orders, rejects an object, delivers one again."""
    lake.deliver("customers", LATER, commerce_lake.customer(9, "Alan"), commerce_lake.customer(1, "Augusta"))
    lake.deliver("orders", LATER, commerce_lake.order(12, 2), commerce_lake.order(10, 1, "P"), name="b")
    lake.deliver(
        "orders", LATER, commerce_lake.order(13, 1, price="x"), commerce_lake.order(14, 1), name="c", newline=""
    )
    lake.write(lake.key("orders", LATER, "d"), b"\x1f\x8bno gzip", LATER)
    lake.deliver("customers", START, commerce_lake.customer(1), commerce_lake.customer(2, "Grace"))


def _many_commerce_orders(lake: CommerceLake) -> str:
    lake.deliver("orders", LATER, *[commerce_lake.order(1000)] * 400_000, name="big")
    return lake.key("orders", LATER, "big")


def _commerce_files(lake: CommerceLake) -> dict[str, object]:
    """What others read: processed and rejected objects, and the mart's copy by partition."""
    files: dict[str, object] = {
        key: data for key, data in lake.zones().items() if not re.search("/(landing|processing)/", key)
    }
    for folder, *row in lake.copied_rows():
        files[folder] = (*files.get(folder, ()), tuple(row))  # type: ignore[misc]
    return files


def _whole_files(seen: dict, before: dict, after: dict) -> bool:
    """Each object is whole or absent, and a partition has its old rows, its new ones, or none for a moment."""
    return all(data in (before.get(key), after.get(key)) for key, data in seen.items())


def _movies_first(lake: MoviesLake) -> None:
    lake.archive("a", movies_lake.movie(1), movies_lake.movie(2, Title="Second"), created=START)


def _movies_second(lake: MoviesLake) -> None:
    """Renames a movie, brings a bad rating, delivers one archive again and rejects one."""
    bad = movies_lake.ratings(("IMDb", "A+"), ("Metacritic", "50/100"))
    lake.archive("b", movies_lake.movie(1, Title="Renamed"), movies_lake.movie(3, Ratings=bad), created=LATER)
    lake.archive("a-again", movies_lake.movie(1), movies_lake.movie(2, Title="Second"), created=START)
    lake.write("broken.zip", b"no archive", LATER)


def _many_movies(lake: MoviesLake) -> str:
    lake.archive("big", *[movies_lake.movie(1000)] * 60_000, created=LATER)
    return "big.zip"


_EVERYWHERE = {"publish", "move", "delete_prefix", "changed", "read", "deduplicate", "write", "run_statement"}
SCENARIOS = {
    "bookings": Scenario(
        BookingsLake,
        _bookings_first,
        _bookings_second,
        _many_bookings,
        lambda lake: sorted(path.read_text(encoding="utf-8") for path in lake.processed()),
        lambda seen, before, after: set(seen) <= set(after) and set(before) <= set(seen),
        frozenset(_EVERYWHERE),
    ),
    "orders": Scenario(
        OrdersLake,
        _orders_first,
        _orders_second,
        _many_orders,
        lambda lake: lake.lake_orders(),
        _whole_orders,
        frozenset(_EVERYWHERE | {"write_lake_table", "delete"}),
    ),
    "commerce": Scenario(
        CommerceLake,
        _commerce_first,
        _commerce_second,
        _many_commerce_orders,
        _commerce_files,
        _whole_files,
        frozenset(_EVERYWHERE | {"delete"}),
        killed_at=DURABLE - {"delete_prefix"},  # which finds the files of the boundary behind it
    ),
    "movies": Scenario(
        MoviesLake,
        _movies_first,
        _movies_second,
        _many_movies,
        lambda lake: lake.exported(),
        lambda seen, before, after: set(seen) <= set(after) and set(before) <= set(seen),
        frozenset(_EVERYWHERE),
    ),
}
