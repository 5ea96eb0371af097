"""Personal data does not appear where people look at samples."""

from __future__ import annotations

from dataclasses import replace

from pipeline_assets.contracts.masking import MASK, mask_row
from pipeline_assets_tests.support.bookings_lake import contract
from pipeline_assets_tests.support.small_pipelines import contract as small_contract


def masked(**values: object) -> dict[str, object]:
    return dict(zip(values, mask_row(contract("customer_bookings"), list(values), list(values.values())), strict=True))


def test_personal_columns_are_masked_and_others_shown() -> None:
    assert masked(BOOKING_ID="1", EMAIL="ada@example.org", ADDRESS="Here") == {
        "BOOKING_ID": "1",
        "EMAIL": MASK,
        "ADDRESS": MASK,
    }


def test_null_stays_null() -> None:
    assert masked(EMAIL=None) == {"EMAIL": None}


def test_an_empty_personal_value_is_masked_too() -> None:
    assert masked(EMAIL="") == {"EMAIL": MASK}


def test_a_column_that_nobody_cleared_is_masked() -> None:
    assert masked(_RESCUED='{"PASSPORT": "X1"}', PASSPORT="X1") == {"_RESCUED": MASK, "PASSPORT": MASK}


def test_where_a_row_came_from_is_shown() -> None:
    assert masked(_SOURCE_URI="lake://b/k") == {"_SOURCE_URI": "lake://b/k"}


def test_a_personal_column_is_masked_whose_name_starts_like_one_of_the_platform() -> None:
    made = small_contract("people", "ID text key", "NAME text personal")
    odd = replace(made, columns=(made.columns[0], replace(made.columns[1], name="_SOURCE_NAME")))
    assert mask_row(odd, ["_SOURCE_NAME", "_SOURCE_URI"], ["Ada", "lake://b/k"]) == [MASK, "lake://b/k"]
