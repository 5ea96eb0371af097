"""Which records a sample file has, which of them are dirty, and columns of text made from numbers.

Here is what the samples of any pipeline need, such as people's names and addresses; files and the words of one pipeline
are elsewhere. Entities (customers, bookings, ...) are numbered from 1, and a column is a pyarrow string array with one
value per record. This module needs numpy and pyarrow, so import it in functions, or in modules that are themselves
imported in functions.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Records are made for this many entities at a time, so that memory does not grow with the scale.
CHUNK_ENTITIES = 20_000

# Dirt rates are per this many records.
RATE_BASE = 10_000

# Exhibits are at numbers 4, 9, 14, ...: odd and even alternate, so that a kind listed twice in a row occurs in both
# of its forms, and one listed four times in all four.
EXHIBIT_STRIDE = 5
EXHIBIT_OFFSET = 4

_CLEAN = 0

# fmt: off
FIRST_NAMES = (
    "Ada", "Aisha", "Amir", "Ana", "Arjun", "Beatriz", "Carlos", "Chloé", "Daniel", "Elena", "Emeka",
    "Emma", "Fatima", "Felix", "Grace", "Hana", "Hugo", "Ingrid", "Ivan", "Jamal", "José", "Julia", "Kenji",
    "Lars", "Laura", "Leila", "Liam", "Lucía", "Marek", "Maria", "Mei", "Miguel", "Nadia", "Noah", "Olga",
    "Omar", "Priya", "René", "Rosa", "Samuel", "Sara", "Sofia", "Tariq", "Tomás", "Victor", "Wei", "Yara",
    "Yusuf", "Zoë", "Anne-Marie",
)
LAST_NAMES = (
    "Almeida", "Andersson", "Bauer", "Bianchi", "Brown", "Chen", "Cohen", "Costa", "da Silva", "Dubois",
    "Eriksen", "Fernández", "Fischer", "García", "Gupta", "Haddad", "Hansen", "Ito", "Ivanova", "Jansen",
    "Johnson", "Kaya", "Khan", "Kim", "Kowalski", "Lefèvre", "Li", "Lopez", "Marino", "Mensah", "Meyer",
    "Müller", "Murphy", "Nguyen", "Novák", "Núñez", "O'Brien", "Okafor", "Olsen", "Papadopoulos", "Patel",
    "Rossi", "Santos", "Schmidt", "Sharma", "Smith", "Tanaka", "van Dijk", "Walker", "Yilmaz",
)
STREETS = (
    "Acacia", "Bridge", "Castle", "Chapel", "Church", "Garden", "Harbour", "High", "King", "Lake", "Linden",
    "Market", "Mill", "Orchard", "Park", "Queen", "River", "School", "Station", "Victoria",
)
# fmt: on
STREET_KINDS = ("Street", "Road", "Lane", "Avenue", "Square")
COUNTRY_OF_CITY = {
    "Amsterdam": "NL",
    "Athens": "GR",
    "Barcelona": "ES",
    "Berlin": "DE",
    "Bogotá": "CO",
    "Cape Town": "ZA",
    "Chicago": "US",
    "Copenhagen": "DK",
    "Dublin": "IE",
    "Istanbul": "TR",
    "Kraków": "PL",
    "Lagos": "NG",
    "Leeds": "GB",
    "Lisbon": "PT",
    "Lyon": "FR",
    "Mexico City": "MX",
    "Milan": "IT",
    "Mumbai": "IN",
    "München": "DE",
    "Nairobi": "KE",
    "Osaka": "JP",
    "São Paulo": "BR",
    "Seoul": "KR",
    "Stockholm": "SE",
    "Sydney": "AU",
    "Toronto": "CA",
    "Vienna": "AT",
    "Zürich": "CH",
}
TWO_DIGITS = tuple(f"{number:02}" for number in range(100))


def draws(seed: int, column: str, numbers: np.ndarray) -> np.ndarray:
    """One uniform uint64 per entity number (int64), a function of (seed, column, number) only.

    SplitMix64 (Steele, Lea and Flood, 2014), started at a different point for each seed and column.
    """
    start = int.from_bytes(hashlib.sha256(f"{seed}/{column}".encode()).digest()[:8], "little")
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def below(seed: int, column: str, numbers: np.ndarray, limit: int | np.ndarray) -> np.ndarray:
    """One integer (int64) in [0, limit) per entity number; `limit` may differ from entity to entity."""
    return (draws(seed, column, numbers) % np.asarray(limit, dtype=np.uint64)).astype(np.int64)


@dataclass(frozen=True)
class Records:
    """Records in file order: the entity each is about (int64) and the kind of dirt it has, if any."""

    numbers: np.ndarray
    codes: np.ndarray
    kinds: tuple[str, ...]

    def having(self, kind: str) -> np.ndarray:
        """A mask of the records with this kind of dirt."""
        return self.codes == self.kinds.index(kind) + 1

    def only(self, mask: np.ndarray) -> Records:
        """The records where `mask` is true, in the same order."""
        return Records(self.numbers[mask], self.codes[mask], self.kinds)

    def counts(self) -> dict[str, int]:
        """How many records have each kind of dirt; kinds that do not occur count 0."""
        return {kind: int(np.count_nonzero(self.having(kind))) for kind in self.kinds}


@dataclass(frozen=True)
class DirtPlan:
    """Which entities are dirty, and how: at most one kind each, decided by the seed and the entity number.

    `entity` names the draw, so that two plans do not select the same numbers. `rates` maps a kind to its share, in
    records per RATE_BASE. `exhibits` are kinds given to fixed low numbers, so that each occurs in the smallest samples
    too. A kind in `extra` leaves the entity's own record clean and adds a second, dirty record, which follows the
    record of the entity that is `extra[kind]` numbers later.
    """

    entity: str
    rates: Mapping[str, int]
    exhibits: Sequence[str]
    extra: Mapping[str, int]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.rates)

    def clean(self, seed: int, numbers: np.ndarray) -> np.ndarray:
        """A mask of the entities without any dirt."""
        return self._codes(seed, numbers) == _CLEAN

    def records(self, seed: int, count: int) -> Iterator[Records]:
        """The records of entities 1 to `count`, in order, a chunk at a time."""
        for start in range(1, count + 1, CHUNK_ENTITIES):
            yield self._chunk(seed, np.arange(start, min(start + CHUNK_ENTITIES, count + 1)))

    def _chunk(self, seed: int, positions: np.ndarray) -> Records:
        own = self._codes(seed, positions)
        extra_codes = [self._code(kind) for kind in self.extra]
        numbers, codes, places = [positions], [np.where(np.isin(own, extra_codes), _CLEAN, own)], [positions]
        for kind, later in self.extra.items():
            sent_again = positions - later
            is_sent = (sent_again >= 1) & (self._codes(seed, sent_again) == self._code(kind))
            numbers.append(sent_again[is_sent])
            codes.append(np.full(np.count_nonzero(is_sent), self._code(kind)))
            places.append(positions[is_sent])
        order = np.argsort(np.concatenate(places), kind="stable")
        return Records(np.concatenate(numbers)[order], np.concatenate(codes)[order], self.kinds)

    def _codes(self, seed: int, numbers: np.ndarray) -> np.ndarray:
        limits = np.cumsum(list(self.rates.values()))
        drawn = np.searchsorted(limits, below(seed, f"{self.entity}.dirt", numbers, RATE_BASE), side="right")
        codes = np.where(drawn < len(limits), drawn + 1, _CLEAN)
        turn = (numbers - EXHIBIT_OFFSET) // EXHIBIT_STRIDE
        is_exhibit = (numbers % EXHIBIT_STRIDE == EXHIBIT_OFFSET) & (turn >= 0) & (turn < len(self.exhibits))
        codes[is_exhibit] = np.array([self._code(kind) for kind in self.exhibits])[turn[is_exhibit]]
        return codes

    def _code(self, kind: str) -> int:
        return self.kinds.index(kind) + 1


def chosen(words: Sequence[str], indices: np.ndarray) -> pa.Array:
    """A column of words[index]."""
    return pa.array(words, pa.string()).take(pa.array(indices))


def text(numbers: np.ndarray) -> pa.Array:
    """A column of whole numbers in plain digits."""
    return pa.array(numbers).cast(pa.string())


def joined(*parts: pa.Array | str, separator: str = "") -> pa.Array:
    """A column of each record's parts put together."""
    return pc.binary_join_element_wise(*parts, separator)


def replaced(column: pa.Array, mask: np.ndarray, by: pa.Array | str) -> pa.Array:
    """The column with `by` where `mask` is true."""
    return pc.if_else(pa.array(mask), by, column)


def money(cents: np.ndarray) -> pa.Array:
    """A column of amounts with two decimals; exact, as they are whole cents until they become text."""
    sign = chosen(("", "-"), (cents < 0).astype(np.int64))
    return joined(sign, text(np.abs(cents) // 100), ".", chosen(TWO_DIGITS, np.abs(cents) % 100))


def mail_names(names: Sequence[str]) -> list[str]:
    """The names as used in e-mail addresses: lower-case ASCII letters only."""
    plain = (unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() for name in names)
    return ["".join(filter(str.isalpha, name)).lower() for name in plain]


def addresses(seed: int, customers: np.ndarray, city: np.ndarray, *, version: int = 0) -> pa.Array:
    """A column of street addresses, one per customer number, in the city (an index of COUNTRY_OF_CITY) given."""
    # Odd and even versions have different house numbers, so that an updated address always differs.
    house = text(1 + 2 * below(seed, f"customer.house.{version}", customers, 125) + version % 2)
    street = chosen(STREETS, below(seed, f"customer.street.{version}", customers, len(STREETS)))
    way = chosen(STREET_KINDS, below(seed, f"customer.street_kind.{version}", customers, len(STREET_KINDS)))
    return joined(house, " ", street, " ", way, ", ", chosen(list(COUNTRY_OF_CITY), city))


def lines(records: pa.Array, *, line_end: str) -> str:
    """A column of whole records as the text of a file, each line ended."""
    return line_end.join([*records.to_pylist(), ""])
