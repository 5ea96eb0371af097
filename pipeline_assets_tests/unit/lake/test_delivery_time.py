"""The delivery time of an object: what its key tells, and its own time within that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.lake.delivery_time import delivery_time

TICK = timedelta(microseconds=1)
moments = st.datetimes(timezones=st.just(UTC))
seconds = moments.map(lambda moment: moment.replace(microsecond=0))
names = st.text(st.characters(codec="utf-8", exclude_characters="/"), max_size=12)


def folder(moment: datetime) -> str:
    return f"{moment:%Y/%m/%d/%H}/".rjust(14, "0")


def second_of(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d-%H-%M-%S}".rjust(19, "0")


@given(
    seconds, moments, st.sampled_from(["", "stream-1-", "a-1999-01-01-00-00-00-"]), st.sampled_from(["", "-id", ".gz"])
)
def test_a_name_has_the_second_and_the_objects_own_time_decides_within_it(
    told: datetime, modified: datetime, before: str, after: str
) -> None:
    found = delivery_time(f"{folder(told)}{before}{second_of(told)}{after}", modified)
    assert told <= found < told + timedelta(seconds=1) if told.year < 9999 else told <= found
    assert found == modified or found in (told, told + timedelta(seconds=1) - TICK)


@given(seconds, moments, st.booleans())
def test_folders_have_the_hour_or_the_day(told: datetime, modified: datetime, hour: bool) -> None:
    start = told.replace(minute=0, second=0, hour=told.hour if hour else 0)
    key = folder(told) if hour else folder(told)[:11]
    found = delivery_time(f"{key}part", modified)
    assert found.date() == told.date()
    assert (found.hour == told.hour) or not hour
    assert found == modified or found in (start, start + timedelta(hours=1 if hour else 24) - TICK)


@given(seconds, moments, moments, names)
def test_objects_of_one_folder_keep_the_order_of_their_own_times(
    told: datetime, one: datetime, other: datetime, name: str
) -> None:
    first, second = sorted((one, other))
    key = f"{folder(told)}{name}"
    assert delivery_time(key, first) <= delivery_time(key, second)


@given(seconds, seconds, moments)
def test_a_later_second_is_a_later_delivery_whatever_the_objects_own_times_are(
    one: datetime, other: datetime, modified: datetime
) -> None:
    first, second = sorted((one, other))
    if first != second:
        earlier = delivery_time(f"{folder(first)}s-{second_of(first)}-x", modified)
        assert earlier < delivery_time(f"{folder(second)}s-{second_of(second)}-x", modified)


@given(st.text(st.characters(codec="utf-8")), moments)
def test_any_key_gives_a_time_in_utc(key: str, modified: datetime) -> None:
    assert delivery_time(key, modified).tzinfo is UTC


@given(st.from_regex(r"\A\d{4}/\d\d/\d\d/(\d\d/)?(s-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-x|by-hand)\Z"), moments)
def test_a_key_of_digits_has_a_time_or_none(key: str, modified: datetime) -> None:
    found = delivery_time(key, modified)
    assert found == modified or f"{found.year:04}" == str(int(key[:4])).rjust(4, "0")


AT = datetime(2024, 3, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "key",
    [
        "by-hand.csv",
        "2024/02/30/10/x",
        "2024/13/01/10/x",
        "0000/01/01/00/x",
        "archive/2024/03/01/10/x",
        "2024/3/1/10/x",
        "x-2024-03-01-10-15-30-y",
    ],
)
def test_a_key_without_a_date_or_with_an_impossible_one_has_no_time(key: str) -> None:
    assert delivery_time(key, AT) == AT


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("2024/03/01/10/s-2024-03-01-10-15-30-id", "2024-03-01T10:15:30.999999"),
        ("2024/03/01/10/2024-03-01-10-15-30-id", "2024-03-01T10:15:30.999999"),
        ("2024/03/01/10/s-2024-03-01-11-15-30-id", "2024-03-01T10:59:59.999999"),  # not of this hour
        ("2024/03/01/10/s-2024-03-01-10-75-30-id", "2024-03-01T10:59:59.999999"),
        ("2024/03/01/10/12024-03-01-10-15-30-id", "2024-03-01T10:59:59.999999"),  # a longer number
        ("2024/03/01/10/s-2024-03-01-10-15-301-id", "2024-03-01T10:59:59.999999"),
        ("2024/03/01/s-2024-03-01-10-15-30-id", "2024-03-01T10:15:30.999999"),
        ("2024/03/01/25/x", "2024-03-05T06:07:08.000009"),
        ("2024/03/05/06/x", "2024-03-05T06:07:08.000009"),
        ("2024/03/05/x", "2024-03-05T06:07:08.000009"),
        ("2024/03/09/10/x", "2024-03-09T10:00:00"),
        ("9999/12/31/23/s-9999-12-31-23-59-59-id", "9999-12-31T23:59:59"),
    ],
)
def test_the_time_of_a_key_is_that_of_its_name_within_its_folder(key: str, expected: str) -> None:
    assert delivery_time(key, AT) == datetime.fromisoformat(expected).replace(tzinfo=UTC)
