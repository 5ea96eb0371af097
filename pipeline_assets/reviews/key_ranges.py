"""Compare the keys of two tables by ranges of one integer key, so that only ranges that differ are read.

A range has its number of keys and two sums that do not depend on an order: of the keys, and of a hash of each. Equal
counts of different keys differ in them. The SQL is the same for MySQL, DuckDB and Snowflake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

_NARROWEST, _MOST_RANGES = 65_536, 4_096
# Primes. A hashed value is below 2 * _SMALL, so that its cube fits into 64 bits.
_SMALL, _LARGE = 1_000_003, 2_147_483_647
Number = int | Decimal
Ranges = Mapping[int, tuple[int, ...]]  # the first key of a range, to its count and sums


def bounds_statement(key: str, relation: str, condition: str) -> str:
    """SELECT the least and the greatest key; NULL if there is none. All parts are SQL of the database that runs it."""
    return f"SELECT MIN({key}), MAX({key}) FROM {relation} WHERE {condition}"


def width_for(bounds: Sequence[Number | None]) -> int:
    """The width of ranges, so that there are at most some thousands between these keys."""
    keys = [int(bound) for bound in bounds if bound is not None]
    return max(_NARROWEST, (max(keys) - min(keys)) // _MOST_RANGES + 1) if keys else _NARROWEST


def ranges_statement(key: str, relation: str, condition: str, width: int, integer: str = "BIGINT") -> str:
    """SELECT (first, count, sum, sum of hashes) of each range; `integer` is the type of 64 bits in a CAST.

    Remainders have the sign of the key in all of these databases, so the range at 0 has twice the width.
    """
    hashed = f"CAST({key} % {_SMALL} + {_SMALL} AS {integer})"
    return (
        f"SELECT FIRST_KEY, COUNT(*), SUM(K % {_LARGE}), SUM(Y * Y % {_LARGE}) FROM ("
        f"SELECT K, K - K % {width} AS FIRST_KEY, C * C * C % {_LARGE} AS Y FROM ("
        f"SELECT {key} AS K, {hashed} AS C FROM {relation} WHERE {condition}) AS HASHED) AS RANGED GROUP BY FIRST_KEY"
    )


def ranges_of(rows: Sequence[tuple[Number, ...]]) -> Ranges:
    """The rows of `ranges_statement` by range."""
    return {int(first): tuple(map(int, sums)) for first, *sums in rows}


def differing_ranges(some: Ranges, others: Ranges, width: int) -> list[tuple[int, int]]:
    """(least, greatest) key of the ranges whose keys differ, ascending; adjacent ones are joined."""
    joined: list[tuple[int, int]] = []
    for first in sorted(first for first in some.keys() | others.keys() if some.get(first) != others.get(first)):
        least = first - width + 1 if first <= 0 else first
        greatest = first + width - 1 if first >= 0 else first
        if joined and joined[-1][1] + 1 == least:
            least = joined.pop()[0]
        joined.append((least, greatest))
    return joined


def within(key: str, ranges: Sequence[tuple[int, int]]) -> str:
    """The condition for keys in some ranges."""
    return f"({' OR '.join(f'{key} BETWEEN {least} AND {greatest}' for least, greatest in ranges)})"
