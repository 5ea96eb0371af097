"""What a batch writes: touched keys, fetched to closure, everything that went in and with the grain's provenance."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from pipeline_assets.batch.report import Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.errors import LostRowsError
from pipeline_assets.pipeline import CsvExport, LandedFiles, Mart, Pipeline, Table
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets_tests.support.pipeline_lake import copy_home
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of, temporary

CONTRACTS = {
    "customers": ("csv", ["CUSTOMER_ID text key", "NAME text"]),
    "accounts": ("csv", ["ACCOUNT_ID text key", "CUSTOMER_ID text -> customers.CUSTOMER_ID", "SHOP_ID text"]),
    "shops": ("csv", ["SHOP_ID text key", "CITY text"]),
    "payments": (
        "csv",
        [
            "PAYMENT_ID text key",
            "ACCOUNT_ID text -> accounts.ACCOUNT_ID",
            "SHOP_ID text -> shops.SHOP_ID",
            "AMOUNT number",
            "KIND text",
        ],
    ),
    "paid": (
        "table",
        [
            "PAYMENT_ID text key",
            "ACCOUNT_ID text",
            "SHOP_ID text",
            "NAME text",
            "CITY text",
            "OPENED_AT text",
            "AMOUNT number",
            "KIND text",
        ],
    ),
    "names": ("table", ["PAYMENT_ID text key", "NAME text"]),
    "cash": ("table", ["PAYMENT_ID text key", "AMOUNT number"]),
    "by_kind": ("table", ["KIND text", "PAYMENTS integer", "AMOUNT number"]),
}
JOINS = """FROM PAYMENTS
INNER JOIN ACCOUNTS ON PAYMENTS.ACCOUNT_ID = ACCOUNTS.ACCOUNT_ID
INNER JOIN CUSTOMERS ON ACCOUNTS.CUSTOMER_ID = CUSTOMERS.CUSTOMER_ID
INNER JOIN SHOPS ON PAYMENTS.SHOP_ID = SHOPS.SHOP_ID"""
SQL = {
    "paid": "SELECT PAYMENTS.PAYMENT_ID, PAYMENTS.ACCOUNT_ID, PAYMENTS.SHOP_ID, CUSTOMERS.NAME, SHOPS.CITY, "
    f"ACCOUNTS.SHOP_ID AS OPENED_AT, PAYMENTS.AMOUNT, PAYMENTS.KIND {JOINS}",
    "names": "SELECT PAYMENTS.PAYMENT_ID, CUSTOMERS.NAME FROM PAYMENTS "
    "INNER JOIN ACCOUNTS ON PAYMENTS.ACCOUNT_ID = ACCOUNTS.ACCOUNT_ID "
    "INNER JOIN CUSTOMERS ON ACCOUNTS.CUSTOMER_ID = CUSTOMERS.CUSTOMER_ID",
    "cash": "SELECT PAYMENTS.PAYMENT_ID, PAYMENTS.AMOUNT FROM PAYMENTS WHERE PAYMENTS.KIND = 'cash'",
    "by_kind": "SELECT P.KIND, COUNT(*) AS PAYMENTS, SUM(P.AMOUNT) AS AMOUNT FROM SHOP.PAID AS P GROUP BY P.KIND",
}


def shop_value(folder: Path, **sql: str) -> Pipeline:
    """Three generations (customer, account, payment) and a child with two parents (account and shop)."""
    return pipeline_of(
        folder,
        CONTRACTS,
        SQL | sql,
        sources=[LandedFiles(name, f"in/{name}*.csv") for name in ("payments", "accounts", "customers", "shops")],
        tables=[
            Table("customers"),
            Table("accounts"),
            Table("shops"),
            Table("paid"),
            Table("names"),
            Table("cash", filtered=True),
            Mart("by_kind", refresh_by="KIND"),
        ],
        exports=[
            CsvExport("paid_csv", of="paid", key="out/paid_{batch_id}.csv"),
            CsvExport("names_csv", of="names", key="out/names_{batch_id}.csv"),
        ],
    )


class Shop(SmallLake):
    """The shop with rows in a few words."""

    def customer(self, key: str, name: str, at: float) -> None:
        self.csv(f"customers_{at}", {"CUSTOMER_ID": key, "NAME": name}, at=at)

    def account(self, key: str, customer: str, at: float, shop: str = "S0") -> None:
        self.csv(f"accounts_{at}", {"ACCOUNT_ID": key, "CUSTOMER_ID": customer, "SHOP_ID": shop}, at=at)

    def shop(self, key: str, city: str, at: float) -> None:
        self.csv(f"shops_{at}", {"SHOP_ID": key, "CITY": city}, at=at)

    def payment(self, key: str, account: str, shop: str, amount: str, at: float, kind: str = "cash") -> None:
        row = {"PAYMENT_ID": key, "ACCOUNT_ID": account, "SHOP_ID": shop, "AMOUNT": amount, "KIND": kind}
        self.csv(f"payments_{key}_{at}", row, at=at)

    def paid(self) -> list[tuple]:
        return self.rows("SELECT PAYMENT_ID, NAME, CITY, AMOUNT, KIND FROM SHOP.PAID ORDER BY PAYMENT_ID")

    def exported(self, report: object, name: str) -> list[str]:
        uri = report.exported.get(name)  # type: ignore[attr-defined]
        if uri is None:
            return []
        path = self.home / "lake" / uri.partition("://")[2].removeprefix(str(self.home / "lake")).lstrip("/")
        text = (path if path.exists() else Path(uri.removeprefix("file://"))).read_text(encoding="utf-8")
        return sorted(line.split(",")[0] for line in text.splitlines()[1:])


@cache
def kind() -> type[Shop]:
    return lake_of(shop_value(temporary()), Shop)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two payments of two customers by two accounts in two shops, in one batch at hour 1; tests get copies."""
    lake = kind().with_tables(tmp_path_factory.mktemp("loaded") / "home")
    lake.csv("customers_1", {"CUSTOMER_ID": "C1", "NAME": "Ada"}, {"CUSTOMER_ID": "C2", "NAME": "Bob"}, at=1)
    lake.csv(
        "accounts_1",
        {"ACCOUNT_ID": "A1", "CUSTOMER_ID": "C1", "SHOP_ID": "S2"},
        {"ACCOUNT_ID": "A2", "CUSTOMER_ID": "C2", "SHOP_ID": "S0"},
        at=1,
    )
    lake.csv("shops_1", {"SHOP_ID": "S1", "CITY": "Rome"}, {"SHOP_ID": "S2", "CITY": "Oslo"}, at=1)
    row = {"PAYMENT_ID": "P1", "ACCOUNT_ID": "A1", "SHOP_ID": "S1", "AMOUNT": "10", "KIND": "cash"}
    other = {"PAYMENT_ID": "P2", "ACCOUNT_ID": "A2", "SHOP_ID": "S2", "AMOUNT": "20", "KIND": "card"}
    lake.csv("payments_1", row, other, at=1)
    lake.run()
    return lake


@pytest.fixture
def shop(loaded: Shop, tmp_path: Path) -> Shop:
    return kind().at(copy_home(loaded.home, tmp_path / "home", loaded.landing))


def test_a_changed_grandparent_writes_its_grandchildren_again_in_every_table_that_names_it(shop: Shop) -> None:
    """No table of accounts has the customer's name: accounts alone would look unchanged."""
    shop.customer("C1", "Eve", 2)
    report = shop.run()
    assert [row[:3] for row in shop.paid()] == [("P1", "Eve", "Rome"), ("P2", "Bob", "Oslo")]
    assert shop.rows("SELECT NAME FROM SHOP.NAMES ORDER BY PAYMENT_ID") == [("Eve",), ("Bob",)]
    assert (shop.exported(report, "paid_csv"), shop.exported(report, "names_csv")) == (["P1"], ["P1"])


def test_a_changed_parent_writes_its_children_again_with_their_other_parents(shop: Shop) -> None:
    """The account and customer of the child are in no file of the batch: they are fetched with it."""
    shop.shop("S1", "Milan", 2)
    shop.run()
    assert [row[:3] for row in shop.paid()] == [("P1", "Ada", "Milan"), ("P2", "Bob", "Oslo")]


def test_a_reference_is_found_under_its_own_column_though_a_joined_parent_has_one_of_the_same_name(shop: Shop) -> None:
    """OPENED_AT repeats ACCOUNTS.SHOP_ID, the shop of a payment is PAYMENTS.SHOP_ID: P1 was opened at S2."""
    shop.shop("S2", "Bergen", 2)
    shop.run()
    assert [row[:3] for row in shop.paid()] == [("P1", "Ada", "Rome"), ("P2", "Bob", "Bergen")]


def test_a_moved_account_takes_its_payments_to_the_other_customer(shop: Shop) -> None:
    shop.account("A1", "C2", 2)
    shop.run()
    assert [row[:2] for row in shop.paid()] == [("P1", "Bob"), ("P2", "Bob")]


def test_an_older_redelivery_changes_nothing_and_what_comes_with_it_meets_the_newest_parents(shop: Shop) -> None:
    """The old account names C1; its newest version, and so the customer of the new payment, is C2."""
    shop.account("A1", "C2", 2)
    shop.run()
    shop.account("A1", "C1", 0.5)
    shop.payment("P3", "A1", "S1", "5", 3)
    shop.payment("P2", "A1", "S1", "99", 0.5)
    shop.run()
    assert [row[:4] for row in shop.paid()] == [
        ("P1", "Bob", "Rome", 10),
        ("P2", "Bob", "Oslo", 20),
        ("P3", "Bob", "Rome", 5),
    ]


def test_an_older_parent_does_not_write_its_children_again(shop: Shop) -> None:
    shop.customer("C1", "Old", 0.5)
    report = shop.run()
    assert shop.paid()[0][1] == "Ada"
    assert report.staged_rows["SHOP.PAID"] == 0
    assert report.exported == {}


def test_a_later_parent_does_not_block_a_correction_of_the_child(shop: Shop) -> None:
    """The row's time is the payment's. With the customer's, a correction between the two would look old."""
    shop.customer("C1", "Eve", 9)
    shop.run()
    shop.payment("P1", "A1", "S1", "11", 5)
    shop.run()
    assert shop.paid()[0] == ("P1", "Eve", "Rome", 11, "cash")
    (uri,) = shop.rows("SELECT DISTINCT _SOURCE_URI FROM SHOP.PAID WHERE PAYMENT_ID = 'P1'")
    assert "payments_P1" in uri[0]


def test_a_filtered_table_loses_what_is_filtered_out_now(shop: Shop) -> None:
    assert shop.rows("SELECT PAYMENT_ID FROM SHOP.CASH") == [("P1",)]
    shop.payment("P1", "A1", "S1", "10", 2, kind="card")
    shop.run()
    assert shop.rows("SELECT PAYMENT_ID FROM SHOP.CASH") == []
    assert shop.rows("SELECT KIND, PAYMENTS FROM SHOP.BY_KIND") == [("card", 2)]


def test_exports_hand_over_changed_rows_only(shop: Shop) -> None:
    shop.payment("P1", "A1", "S1", "10", 2)
    assert shop.run().exported == {}
    shop.payment("P1", "A1", "S1", "12", 3)
    report = shop.run()
    assert shop.exported(report, "paid_csv") == ["P1"]
    assert "names_csv" not in report.exported


def test_the_statements_of_a_batch_do_not_depend_on_the_number_of_files(shop: Shop) -> None:
    def shapes(files: int, at: float) -> int:
        for number in range(files):
            shop.payment(f"N{at}{number}", "A1", "S1", "1", at)
        shop.customer("C1", f"Name {at}", at)
        return len(shop.run().statements)

    assert shapes(1, 2) == shapes(15, 3)


TWICE = "FROM (SELECT 1 AS N UNION ALL SELECT 2) AS TWICE CROSS JOIN PAYMENTS"
LOST = {
    "the condition of a WHERE": (f"{SQL['names']} WHERE PAYMENTS.KIND = 'cash'", "P2 is lost"),
    "the condition of a join": (f"{SQL['names']} AND CUSTOMERS.NAME <> 'Bob'", "P2 is lost"),
    "a cross join": (SQL["names"].replace("FROM PAYMENTS", TWICE), "P1 came"),
}


def test_what_comes_out_is_what_went_in(tmp_path: Path) -> None:
    """A SELECT that loses or repeats a row ends the batch before anything is published."""
    lake = kind().with_tables(tmp_path / "home")
    lake.csv("customers_1", {"CUSTOMER_ID": "C1", "NAME": "Ada"}, {"CUSTOMER_ID": "C2", "NAME": "Bob"})
    lake.csv("accounts_1", *({"ACCOUNT_ID": f"A{n}", "CUSTOMER_ID": f"C{n}", "SHOP_ID": ""} for n in (1, 2)))
    lake.shop("S1", "Rome", 1)
    lake.payment("P1", "A1", "S1", "1", 1)
    lake.payment("P2", "A2", "S1", "1", 1, kind="card")
    for name, (select, said) in LOST.items():
        changed = resolve(shop_value(tmp_path / name, names=select))
        with pytest.raises(LostRowsError) as error:
            run_batch(lake.platform, changed, "test", Request())
        assert re.search(f"sql/shop/names.sql yields .* PAYMENT_ID {said}", str(error.value)), name
        assert lake.rows("SELECT COUNT(*) FROM SHOP.PAID") == [(0,)], name
    assert lake.run().staged_rows["SHOP.NAMES"] == 2


def test_a_lost_row_is_named_without_personal_data(tmp_path: Path) -> None:
    select = f"{SQL['names']} WHERE PAYMENTS.KIND = 'cash'"
    value = shop_value(tmp_path / "value", names=select)
    contract = tmp_path / "value" / "contracts" / "names.yaml"
    document = yaml.safe_load(contract.read_text())
    document["schema"][0]["properties"][0]["classification"] = "personal"
    contract.write_text(yaml.safe_dump(document))
    lake = kind().with_tables(tmp_path / "home")
    lake.csv("customers_1", {"CUSTOMER_ID": "C1", "NAME": "Ada"})
    lake.csv("accounts_1", {"ACCOUNT_ID": "A1", "CUSTOMER_ID": "C1", "SHOP_ID": ""})
    lake.shop("S1", "Rome", 1)
    lake.payment("P2", "A1", "S1", "1", 1, kind="card")
    with pytest.raises(LostRowsError, match=r"PAYMENT_ID \(personal data\) is lost"):
        run_batch(lake.platform, resolve(value), "test", Request())


def test_where_versions_are_published_follows_from_the_contracts(tmp_path: Path) -> None:
    pipeline = resolve(shop_value(tmp_path))
    published = {name: (p.table.contract.name, set(p.columns)) for name, p in pipeline.published.items()}
    assert published["payments"] == ("paid", {"PAYMENT_ID", "ACCOUNT_ID", "SHOP_ID", "AMOUNT", "KIND"})
    assert published["accounts"][0] == "accounts"
    assert [s.name for s in pipeline.sources] == ["customers", "accounts", "shops", "payments"]
