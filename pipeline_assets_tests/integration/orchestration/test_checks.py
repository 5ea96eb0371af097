"""Every asset check passes on clean tables, and fails when what it polls for is there.

Each test damages published tables as somebody could by hand and evaluates the checks in the same transaction, which
is rolled back. The checks are known here by asset and name only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support import commerce_lake
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.movies_lake import CREATED, MoviesLake, movie, ratings
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import PipelineLake
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

MARCH = datetime(2024, 3, 1, 10, tzinfo=UTC)


class Home:
    """A home in which a pipeline has run once without a fault."""

    def __init__(self, lake: PipelineLake | ReviewsLake) -> None:
        self.lake = lake
        assert lake.platform.settings
        self.settings = lake.platform.settings
        checks = checks_of(pipelines(self.settings)[lake.name], self.settings.freshness_hours)
        self._checks = {f"{check.spec.asset_key.path[-1]}.{check.spec.name}": check for check in checks}
        self.names = set(self._checks)

    def checks(self, *damage: str) -> dict[str, dg.AssetCheckResult]:
        """Every check of the pipeline by `asset.check`, after some statements; what these change is rolled back."""
        with self.lake.platform.warehouse.read_only() as transaction:
            for sql in damage:
                transaction.execute(sql)
            return {name: check.result(transaction, self.lake.platform) for name, check in self._checks.items()}

    def failed(self, *damage: str) -> set[str]:
        return {name for name, check in self.checks(*damage).items() if not check.passed}

    def drop_key(self, table: str) -> None:
        """Make a table anew without its primary key, which Snowflake would not enforce and the embedded one does."""
        with self.lake.platform.warehouse.autocommit() as session:
            session.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM {table}")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Home]:
    """One of each pipeline."""
    bookings = BookingsLake.with_tables(tmp_path_factory.mktemp("bookings") / "home")
    bookings.customers("", customer(1), customer(2, "Grace"))
    bookings.bookings(
        "",
        booking(1, 1, "10.00", "01-05-2005"),
        booking(2, 1, "5.00", "01-05-2005"),
        booking(3, 2, "20.00", "02-05-2005"),
        booking(4, 2, "7.00", "02-05-2005").replace("EUR", ""),
        booking(5, 2, "7.00", "02-05-2005", kind=""),
    )
    orders = OrdersLake.with_tables(tmp_path_factory.mktemp("orders") / "home")
    orders.orders(
        "",
        order(1, product("P1"), product("P2", category="Books"), total=10),
        order(2, product("P1"), date="2024-01-11"),
        order(3, product("P1", category=None), date="2024-01-11"),
        order(4, total=0),
    )
    assert bookings.run().rows == {"read": 7, "loaded": 7, "superseded": 0, "quarantined": 0}
    assert orders.run().rows == {"read": 4, "loaded": 4, "superseded": 0, "quarantined": 0}
    commerce = CommerceLake.with_tables(tmp_path_factory.mktemp("commerce") / "home")
    commerce.deliver("customers", MARCH, commerce_lake.customer(1), commerce_lake.customer(2))
    commerce.deliver("orders", MARCH, commerce_lake.order(10, 1), commerce_lake.order(11, 2, "O"))
    assert commerce.run().rows == {"read": 4, "loaded": 4, "superseded": 0, "quarantined": 0}
    movies = MoviesLake.with_tables(tmp_path_factory.mktemp("movies") / "home")
    movies.archive("a", movie(1), movie(2))
    movies.archive("b", movie(1, Title="Renamed"), created=CREATED + timedelta(days=1))
    assert movies.run().rows == {"read": 9, "loaded": 6, "superseded": 3, "quarantined": 0}
    reviews = ReviewsLake.at(
        tmp_path_factory.mktemp("reviews"),
        {"name": "books", "key": "id"},
        {"name": "people", "key": "id", "strategy": "scd2"},
    )
    reviews.sql(
        *(f"CREATE TABLE {table} (id INTEGER, name TEXT)" for table in ("books", "people")),
        *(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')" for table in ("books", "people")),
    )
    reviews.extract()
    homes = {lake.name: Home(lake) for lake in (bookings, orders, commerce, movies, reviews)}
    for pipeline, table, *_ in REPEATED:
        homes[pipeline].drop_key(table)
    return homes


@pytest.fixture
def home(request: pytest.FixtureRequest, homes: dict[str, Home]) -> Home:
    """The home of the pipeline that the test names; no test changes it."""
    return homes[request.param]


@pytest.mark.parametrize("home", pipelines(), indirect=True)
def test_every_check_passes_on_clean_tables(home: Home) -> None:
    """By Dagster, which evaluates the same checks as the other tests of this module."""
    definitions = build_definitions(home.settings)
    keys = [key for key in definitions.resolve_all_asset_keys() if key.path[0] == home.lake.name]
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks_for_assets(*keys))
    merged = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    with dg.DagsterInstance.ephemeral() as instance:
        result = merged.resolve_job_def("checks").execute_in_process(instance=instance)
    checks = {f"{c.asset_key.path[-1]}.{c.check_name}": c.passed for c in result.get_asset_check_evaluations()}
    assert checks == dict.fromkeys(home.names, True)
    assert home.failed() == set()


LEDGER = "UPDATE OPS.FILE_LEDGER SET {} WHERE PIPELINE = '{}'"
RECONCILES = {
    "bookings": "daily_spend.reconciles",
    "commerce": "order_customer_date_price.reconciles",
    "orders": "daily_category_sales.reconciles",
}


def waiting(pipeline: str, line: str = "2", replayed: str = "NULL") -> str:
    """A record in quarantine; without a line it is a whole object."""
    return (
        "INSERT INTO OPS.QUARANTINE (QUARANTINE_ID, PIPELINE, DATASET, SOURCE_URI, SOURCE_ETAG, LINE_NUMBER, "
        "REASON_CODE, REASON, RUN_ID, QUARANTINED_AT, REPLAYED_AT, SOURCE_MODIFIED_AT) VALUES ('q1', "
        f"'{pipeline}', 'd', 'lake://b/k', 'e', {line}, 'not_a_date', 'r', 'run', '2026-01-01', {replayed}, "
        "'2026-01-01')"
    )


# What somebody could do to the tables, and the checks that say so; all others keep passing.
DAMAGES: list[tuple[str, str, list[str], set[str]]] = [
    (
        "orders",
        "lines of a day of which the lake has no file",
        ["UPDATE ORDERS.ORDER_LINES SET ORDER_DATE = '2031-01-01' WHERE ORDER_ID = '2'"],
        {RECONCILES["orders"], "orders_parquet_datalake.partitions"},
    ),
    (
        "commerce",
        "rows of a day of which the lake has no file",
        ["UPDATE COMMERCE.ORDER_CUSTOMER_DATE_PRICE SET ORDER_DATE = '2031-01-01'"],
        {RECONCILES["commerce"], "order_customer_date_price_parquet.partitions"},
    ),
    (
        "bookings",
        "a booking without its row in the mart's date",
        ["UPDATE BOOKINGS.DAILY_SPEND SET BOOKING_DATE = '2005-05-03' WHERE BOOKING_DATE = '2005-05-01'"],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "a booking on another date than the mart has it",
        ["UPDATE BOOKINGS.CUSTOMER_BOOKINGS SET BOOKING_DATE = '2005-05-02' WHERE BOOKING_ID = '1'"],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "the amounts of two groups swapped",
        [
            "UPDATE BOOKINGS.DAILY_SPEND SET AMOUNT_SPENT = 35 - AMOUNT_SPENT "
            "WHERE DESTINATION_TYPE IS NOT NULL AND CURRENCY_CODE IS NOT NULL"
        ],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "the counts of two groups swapped",
        [
            "UPDATE BOOKINGS.DAILY_SPEND SET BOOKINGS = 3 - BOOKINGS "
            "WHERE DESTINATION_TYPE IS NOT NULL AND CURRENCY_CODE IS NOT NULL"
        ],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "a group missing",
        ["DELETE FROM BOOKINGS.DAILY_SPEND WHERE CURRENCY_CODE IS NULL"],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "a group of nothing",
        ["INSERT INTO BOOKINGS.DAILY_SPEND (BOOKING_DATE, BOOKINGS, AMOUNT_SPENT) VALUES ('2005-05-01', 0, 0)"],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "a group without currency under another destination type",
        ["UPDATE BOOKINGS.DAILY_SPEND SET DESTINATION_TYPE = 'Art' WHERE CURRENCY_CODE IS NULL"],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "a currency where there is none",
        ["UPDATE BOOKINGS.DAILY_SPEND SET CURRENCY_CODE = 'EUR' WHERE CURRENCY_CODE IS NULL"],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "one group as two rows",
        [
            "INSERT INTO BOOKINGS.DAILY_SPEND (BOOKING_DATE, DESTINATION_TYPE, CURRENCY_CODE, BOOKINGS, AMOUNT_SPENT) "
            "VALUES ('2005-05-01', 'Music', 'EUR', 1, 5)",
            "UPDATE BOOKINGS.DAILY_SPEND SET BOOKINGS = 1, AMOUNT_SPENT = 10 WHERE BOOKINGS = 2",
        ],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "a cent more",
        ["UPDATE BOOKINGS.DAILY_SPEND SET AMOUNT_SPENT = AMOUNT_SPENT + 0.01 WHERE CURRENCY_CODE IS NULL"],
        {RECONCILES["bookings"]},
    ),
    (
        "bookings",
        "no amount",
        ["UPDATE BOOKINGS.DAILY_SPEND SET AMOUNT_SPENT = NULL WHERE CURRENCY_CODE IS NULL"],
        {RECONCILES["bookings"]},
    ),
    ("bookings", "an empty mart", ["DELETE FROM BOOKINGS.DAILY_SPEND"], {RECONCILES["bookings"]}),
    (
        "bookings",
        "an unknown column of customers",
        ["UPDATE BOOKINGS.CUSTOMERS SET _RESCUED = PARSE_JSON('{\"TIER\": \"gold\"}') WHERE CUSTOMER_ID = '1'"],
        {"customers.unknown_columns"},
    ),
    (
        "bookings",
        "an unknown column of bookings",
        ["UPDATE BOOKINGS.CUSTOMER_BOOKINGS SET _RESCUED = PARSE_JSON('{\"VOUCHER\": null}') WHERE BOOKING_ID = '1'"],
        {"customer_bookings.unknown_columns"},
    ),
    *(
        (
            pipeline,
            f"{column} that does not add up",
            [LEDGER.format(f"{column} = {column} + 1", pipeline)],
            {f"{main}.row_accounting"},
        )
        for pipeline, main in (
            ("bookings", "customers"),
            ("commerce", "customer_raw"),
            ("movies", "movies_landing"),
            ("orders", "order_headers"),
            ("reviews", "books"),
        )
        for column in ("ROWS_READ", "ROWS_LOADED", "ROWS_SUPERSEDED", "ROWS_QUARANTINED")
    ),
    (
        "bookings",
        "one object a row short and another one over",
        [LEDGER.format("ROWS_LOADED = ROWS_LOADED + CASE WHEN DATASET = 'customers' THEN 1 ELSE -1 END", "bookings")],
        {"customers.row_accounting"},
    ),
    *(
        (
            pipeline,
            f"no object of {dataset} since two days",
            [LEDGER.format("ARRIVED_AT = DATEADD('day', -2, ARRIVED_AT)", pipeline) + f" AND DATASET = '{dataset}'"],
            {f"{dataset}_files.lateness"},
        )
        for pipeline, dataset in (
            ("bookings", "customers"),
            ("bookings", "bookings"),
            ("commerce", "customers"),
            ("commerce", "orders"),
            ("movies", "movies"),
            ("orders", "orders"),
            ("reviews", "books"),
            ("reviews", "people_observations"),
        )
    ),
    ("reviews", "a record in quarantine", [waiting("reviews")], {"books.quarantine"}),
    ("reviews", "an object in quarantine", [waiting("reviews", "NULL")], {"books.rejected_objects"}),
    *(
        (
            "reviews",
            f"an unknown column of {table}",
            [f"UPDATE REVIEWS.{table} SET _RESCUED = PARSE_JSON('{{\"TIER\": 1}}')"],
            {f"{table.lower()}.unknown_columns"},
        )
        for table in ("BOOKS", "PEOPLE", "PEOPLE_OBSERVATIONS")
    ),
    *(
        (
            "reviews",
            f"a column that the source of {table} no longer has",
            [
                'UPDATE OPS.WATERMARKS SET VALUE = REPLACE(VALUE, \'"dropped": []\', \'"dropped": ["NAME"]\') '
                f"WHERE NAME = '{name}'"
            ],
            {f"{table}.dropped_columns"},
        )
        for name, table in (("books", "books"), ("people", "people_observations"))
    ),
    ("bookings", "a record in quarantine", [waiting("bookings")], {"customers.quarantine"}),
    ("commerce", "a record in quarantine", [waiting("commerce")], {"customer_raw.quarantine"}),
    ("commerce", "an object in quarantine", [waiting("commerce", "NULL")], {"customer_raw.rejected_objects"}),
    *(
        (
            "commerce",
            f"an unknown column of {table}",
            [f"UPDATE COMMERCE.{table} SET _RESCUED = PARSE_JSON('{{\"TIER\": 1}}')"],
            {f"{table.lower()}.unknown_columns"},
        )
        for table in ("CUSTOMERS", "ORDERS", "ORDER_CUSTOMER_DATE_PRICE")
    ),
    (
        "commerce",
        "a customer's old name in the mart",
        ["UPDATE COMMERCE.ORDER_CUSTOMER_DATE_PRICE SET CUSTOMER_NAME = 'Eve'"],
        {RECONCILES["commerce"]},
    ),
    (
        "commerce",
        "an order that is finished and not in the mart",
        ["UPDATE COMMERCE.ORDERS SET O_ORDERSTATUS = 'F' WHERE O_ORDERKEY = '11'"],
        {RECONCILES["commerce"]},
    ),
    ("movies", "a record in quarantine", [waiting("movies")], {"movies_landing.quarantine"}),
    ("movies", "an object in quarantine", [waiting("movies", "NULL")], {"movies_landing.rejected_objects"}),
    *(
        (
            "movies",
            f"an unknown column of {table.name}",
            [f"UPDATE MOVIES.{table.name} SET _RESCUED = PARSE_JSON('{{\"TIER\": 1}}')"],
            {f"{table.name}.unknown_columns"},
        )
        for table in pipelines()["movies"].targets
    ),
    (
        "movies",
        "a provider with two values",
        [
            'UPDATE MOVIES.MOVIE_REVIEWS SET _RESCUED = PARSE_JSON(\'{"_OTHER_VALUES": "10%"}\') '
            "WHERE IMDB_ID = 'tt0000001'"
        ],
        {"movie_reviews.contradictory_lists"},
    ),
    ("orders", "a record in quarantine", [waiting("orders")], {"order_headers.quarantine"}),
    ("bookings", "an object in quarantine", [waiting("bookings", "NULL")], {"customers.rejected_objects"}),
    ("orders", "an object in quarantine", [waiting("orders", "NULL")], {"order_headers.rejected_objects"}),
    ("bookings", "a replayed record", [waiting("bookings", replayed="'2026-01-02'")], set()),
    ("bookings", "a replayed object", [waiting("bookings", "NULL", "'2026-01-02'")], set()),
    ("bookings", "a record and an object of another pipeline", [waiting("orders"), waiting("orders", "NULL")], set()),
    (
        "orders",
        "an unknown column of orders",
        ["UPDATE ORDERS.ORDER_HEADERS SET _RESCUED = PARSE_JSON('{\"GIFT\": true}') WHERE ORDER_ID = '1'"],
        {"order_headers.unknown_columns"},
    ),
    (
        "orders",
        "an unknown column of products",
        ["UPDATE ORDERS.ORDER_LINES SET _RESCUED = PARSE_JSON('{\"SIZE\": 7}') WHERE ORDER_ID = '1'"],
        {"order_lines.unknown_columns"},
    ),
    (
        "orders",
        "a total that is not the sum of the lines",
        ["UPDATE ORDERS.ORDER_HEADERS SET TOTAL_AMOUNT = TOTAL_AMOUNT - 0.0001 WHERE ORDER_ID = '1'"],
        {"order_headers.totals_match_lines"},
    ),
    (
        "orders",
        "totals that only add up over all orders",
        ["UPDATE ORDERS.ORDER_HEADERS SET TOTAL_AMOUNT = 15 - TOTAL_AMOUNT WHERE ORDER_ID IN ('1', '2')"],
        {"order_headers.totals_match_lines"},
    ),
    (
        "orders",
        "line counts that only add up over all orders",
        ["UPDATE ORDERS.ORDER_HEADERS SET LINE_COUNT = 3 - LINE_COUNT WHERE ORDER_ID IN ('1', '2')"],
        {"order_lines.lines_match_headers"},
    ),
    (
        "orders",
        "an order without products that claims a line",
        ["UPDATE ORDERS.ORDER_HEADERS SET LINE_COUNT = 1 WHERE ORDER_ID = '4'"],
        {"order_lines.lines_match_headers"},
    ),
    (
        "orders",
        "lines without a header",
        ["DELETE FROM ORDERS.ORDER_HEADERS WHERE ORDER_ID = '1'"],
        {"order_lines.lines_match_headers"},
    ),
    (
        "orders",
        "a header whose lines are gone",
        ["DELETE FROM ORDERS.ORDER_LINES WHERE ORDER_ID = '2'"],
        {"order_lines.lines_match_headers", RECONCILES["orders"]},
    ),
    (
        "orders",
        "a line of one order under another",
        ["UPDATE ORDERS.ORDER_LINES SET ORDER_ID = '3', LINE_NUMBER = 2 WHERE ORDER_ID = '1' AND LINE_NUMBER = 2"],
        {"order_lines.lines_match_headers"},
    ),
    (
        "orders",
        "a date moved in the mart",
        ["UPDATE ORDERS.DAILY_CATEGORY_SALES SET ORDER_DATE = '2024-01-12' WHERE ORDER_DATE = '2024-01-10'"],
        {RECONCILES["orders"]},
    ),
    *(
        (
            "orders",
            f"{column} of two groups that only add up together",
            [
                f"UPDATE ORDERS.DAILY_CATEGORY_SALES SET {column} = {column} + "
                "CASE WHEN ORDER_DATE = '2024-01-10' THEN 1 ELSE -1 END WHERE CATEGORY = 'Toys'"
            ],
            {RECONCILES["orders"]},
        )
        for column in ("ORDERS", "QUANTITY", "AMOUNT")
    ),
    (
        "orders",
        "a group missing",
        ["DELETE FROM ORDERS.DAILY_CATEGORY_SALES WHERE CATEGORY IS NULL"],
        {RECONCILES["orders"]},
    ),
    (
        "orders",
        "a group too many",
        [
            "INSERT INTO ORDERS.DAILY_CATEGORY_SALES (ORDER_DATE, CATEGORY, ORDERS, QUANTITY, AMOUNT) "
            "VALUES ('2024-01-10', NULL, 0, 0, 0)"
        ],
        {RECONCILES["orders"]},
    ),
    (
        "orders",
        "a category where there is none",
        ["UPDATE ORDERS.DAILY_CATEGORY_SALES SET CATEGORY = '' WHERE CATEGORY IS NULL"],
        {RECONCILES["orders"]},
    ),
]


@pytest.mark.parametrize(
    ("home", "statements", "failing"),
    [pytest.param(pipeline, sql, failing, id=f"{pipeline}: {what}") for pipeline, what, sql, failing in DAMAGES],
    indirect=["home"],
)
def test_a_damage_fails_the_checks_that_look_for_it_and_no_other(
    home: Home, statements: list[str], failing: set[str]
) -> None:
    assert home.failed(*statements) == failing


# (pipeline, table, rows repeated, checks that fail)
REPEATED: list[tuple[str, str, str, set[str]]] = [
    ("bookings", "BOOKINGS.CUSTOMERS", "CUSTOMER_ID = '1'", {"customers.unique_key"}),
    (
        "bookings",
        "BOOKINGS.CUSTOMER_BOOKINGS",
        "BOOKING_ID = '1'",
        {"customer_bookings.unique_key", RECONCILES["bookings"]},
    ),
    ("bookings", "BOOKINGS.DAILY_SPEND", "CURRENCY_CODE IS NULL", {RECONCILES["bookings"]}),
    (
        "commerce",
        "COMMERCE.CUSTOMERS",
        "C_CUSTKEY = '1'",
        {"customers.unique_key", RECONCILES["commerce"]},
    ),
    ("commerce", "COMMERCE.ORDERS", "O_ORDERKEY = '11'", {"orders.unique_key"}),
    (
        "commerce",
        "COMMERCE.ORDER_CUSTOMER_DATE_PRICE",
        "CUSTOMER_KEY = '1'",
        {"order_customer_date_price.unique_key", RECONCILES["commerce"]},
    ),
    ("orders", "ORDERS.ORDER_HEADERS", "ORDER_ID = '4'", {"order_headers.unique_key"}),
    (
        "orders",
        "ORDERS.ORDER_LINES",
        "ORDER_ID = '1' AND LINE_NUMBER = 1",
        {"order_lines.unique_key", "order_lines.lines_match_headers", RECONCILES["orders"]},
    ),
    ("orders", "ORDERS.DAILY_CATEGORY_SALES", "CATEGORY IS NULL", {RECONCILES["orders"]}),
    ("movies", "MOVIES.MOVIES_LANDING", "IMDBID = 'tt0000001'", {"movies_landing.unique_key"}),
    ("movies", "MOVIES.MOVIE_VERSIONS", "IMDB_ID = 'tt0000001'", {"movie_versions.unique_key"}),
    (
        "movies",
        "MOVIES.MOVIE_REVIEWS",
        "IMDB_ID = 'tt0000001'",
        {"movie_reviews.unique_key", "fact_movie_review.reconciles", "movie_overview.reconciles"},
    ),
    (
        "movies",
        "MOVIES.DIM_MOVIE",
        "IMDB_ID = 'tt0000001' AND IS_CURRENT",
        {
            *(f"dim_movie.{check}" for check in ("unique_key", "reconciles", "current_rows", "disjoint_intervals")),
            "fact_movie_review.reconciles",
            "movie_overview.reconciles",
        },
    ),
    *(
        ("movies", f"MOVIES.{table}", rows, {f"{table.lower()}.unique_key", f"{table.lower()}.reconciles"})
        for table, rows in (
            ("DIM_GENRE", "GENRE = 'Crime'"),
            ("BRIDGE_MOVIE_GENRE", "IMDB_ID = 'tt0000001'"),
            ("DIM_PERSON", "NAME = 'Ada Director'"),
            ("BRIDGE_MOVIE_PERSON", "IMDB_ID = 'tt0000001'"),
            ("FACT_MOVIE_REVIEW", "IMDB_ID = 'tt0000001'"),
            ("MOVIE_OVERVIEW", "IMDB_ID = 'tt0000001'"),
        )
    ),
    ("reviews", "REVIEWS.BOOKS", "ID = 1", {"books.unique_key"}),
    ("reviews", "REVIEWS.PEOPLE_OBSERVATIONS", "ID = 1", {"people_observations.unique_key"}),
    (
        "reviews",
        "REVIEWS.PEOPLE",
        "ID = 1",
        {"people.unique_key", "people.current_rows", "people.disjoint_intervals"},
    ),
]
TWO_TITLES = ("movies", {"movies_landing.unique_key", "rating_charts.unique_key"})


@pytest.mark.parametrize(("home", "table", "rows", "failing"), REPEATED, indirect=["home"])
def test_a_row_that_is_there_twice_fails_the_checks_that_look_for_it(
    home: Home, table: str, rows: str, failing: set[str]
) -> None:
    assert home.failed(f"INSERT INTO {table} SELECT * FROM {table} WHERE {rows}") == failing


@pytest.mark.parametrize("home", ["movies"], indirect=True)
def test_a_movie_with_two_titles_fails_the_key_of_the_view(home: Home) -> None:
    another = "INSERT INTO MOVIES.MOVIES_LANDING (IMDBID, TITLE) VALUES ('tt0000001', 'Another')"
    assert home.failed(another) == TWO_TITLES[1]


def test_a_provider_that_is_listed_with_two_values_is_a_warning_until_it_is_listed_with_one(tmp_path: Path) -> None:
    lake = MoviesLake.with_tables(tmp_path)
    listed = ratings(("Critics", "10%"), ("Critics", "20%"), ("IMDb", "8/10"), ("IMDb", "8/10"))
    lake.archive("a", movie(1, Ratings=listed), movie(2))
    lake.run()
    home = Home(lake)

    found = home.checks()
    assert {name for name, check in found.items() if not check.passed} == {"movie_reviews.contradictory_lists"}
    check = found["movie_reviews.contradictory_lists"]
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description == "Of several values the last counts: tt0000001 Critics (also 10%)"
    assert lake.rows("SELECT RATING FROM MOVIES.MOVIE_REVIEWS WHERE REVIEW_PROVIDER = 'Critics'") == [(20,)]

    lake.archive("b", movie(1, Ratings=ratings(("Critics", "20%"))), created=CREATED + timedelta(days=1))
    lake.run()
    assert home.failed() == set()


@pytest.mark.parametrize("home", pipelines(), indirect=True)
def test_every_check_is_seen_failing_here(home: Home) -> None:
    """A check that nothing can fail would always pass; a new one needs a damage above."""
    seen = [failing for pipeline, *_, failing in [*DAMAGES, *REPEATED, TWO_TITLES] if pipeline == home.lake.name]
    assert home.names <= set().union(*seen)


@pytest.mark.parametrize("home", ["bookings"], indirect=True)
def test_a_failed_reconciliation_says_how_many_groups_differ_and_shows_some(home: Home) -> None:
    check = home.checks(
        "UPDATE BOOKINGS.DAILY_SPEND SET BOOKING_DATE = '2005-05-03' WHERE BOOKING_DATE = '2005-05-01'",
        "DELETE FROM BOOKINGS.DAILY_SPEND WHERE CURRENCY_CODE IS NULL",
    )[RECONCILES["bookings"]]
    assert check.metadata["groups_that_differ"].value == 3
    assert [list(group.values()) for group in check.metadata["examples"].value] == [
        ["2005-05-01", "Music", "EUR"],
        ["2005-05-02", "Music", None],
        ["2005-05-03", "Music", "EUR"],
    ]


@pytest.mark.parametrize("home", ["bookings"], indirect=True)
def test_few_waiting_records_are_a_warning_and_many_an_error(home: Home) -> None:
    """Many are more than the share of all rows read at which a file is rejected: four of seven here."""
    records = [waiting("bookings").replace("'q1'", f"'q{number}'") for number in range(4)]
    found = [home.checks(*records[:count])["customers.quarantine"].severity.value for count in range(1, 5)]
    assert found == ["WARN", "WARN", "WARN", "ERROR"]


@pytest.mark.parametrize("home", ["orders"], indirect=True)
def test_the_warning_on_totals_lists_the_orders_that_differ(home: Home) -> None:
    other = "UPDATE ORDERS.ORDER_HEADERS SET TOTAL_AMOUNT = 200.5 WHERE ORDER_ID IN ('1', '2')"
    check = home.checks(other)["order_headers.totals_match_lines"]
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["rows"].value == [
        {"order_id": "1", "total_amount": "200.5000", "lines_total": "10.0000"},
        {"order_id": "2", "total_amount": "200.5000", "lines_total": "5.0000"},
    ]
