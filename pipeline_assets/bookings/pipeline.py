"""What one batch of `bookings` does.

A booking joins with the newest version of its customer. Customers that arrived earlier come from the warehouse,
looked up by key, as do the bookings of customers who changed; so the cost of a run follows the new data. A booking
whose customer is not known waits in quarantine as `orphan_booking` (the contract's reference says so) and is read
again in the run that brings customers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline_assets.contracts import Contract, load_contract
from pipeline_assets.lake import Zone
from pipeline_assets.operations.pipeline import Dataset, Pipeline
from pipeline_assets.operations.work import Work

NAME = "bookings"
BUCKET = "customer-booking-data-pipeline"
LANDING = "raw-data/"
PROCESSED = "processed-data/"


@cache
def contract(name: str) -> Contract:
    """A contract of this pipeline."""
    return load_contract(Path(__file__).parent / "contracts" / f"{name}.yaml")


def pipeline() -> Pipeline:
    """The pipeline as a value."""
    return Pipeline(
        name=NAME,
        bucket=BUCKET,
        datasets=(
            Dataset(contract("customers"), Zone(BUCKET, LANDING, "customer_details*.csv|customer_details*.csv.gz")),
            Dataset(contract("bookings"), Zone(BUCKET, LANDING, "booking_details*.csv|booking_details*.csv.gz")),
        ),
        targets=(contract("customers"), contract("customer_bookings"), contract("daily_spend")),
        transform=join_bookings,
    )


def join_bookings(work: Work) -> None:
    """Settle versions and references, join, and say what to publish."""
    work.look_up(
        "bookings/keys",
        {
            "KNOWN_CUSTOMERS": ("bookings/known_customers", contract("customers")),
            "KNOWN_CUSTOMER_BOOKINGS": ("bookings/known_customer_bookings", contract("customer_bookings")),
        },
    )
    work.known("customers", "SELECT * FROM KNOWN_CUSTOMERS")
    work.known("bookings", "SELECT * FROM KNOWN_CUSTOMER_BOOKINGS")
    work.settle("customers")
    work.settle("bookings")
    work.view("CUSTOMER_BOOKINGS", "bookings/customer_bookings")

    work.load(contract("customers"), "SELECT * FROM CUSTOMERS WHERE _IS_NEW")
    work.load(contract("customer_bookings"), "SELECT * FROM CUSTOMER_BOOKINGS")
    work.derive(
        contract("daily_spend"),
        outdated="bookings/daily_spend_outdated",
        select="bookings/daily_spend",
        source="BOOKINGS.CUSTOMER_BOOKINGS",
    )
    work.hand_out_csv(
        "bookings/changed_customer_bookings",
        f"{PROCESSED}customer_bookings_{work.started_at:%Y%m%dT%H%M%SZ}_{work.batch_id}.csv",
    )
