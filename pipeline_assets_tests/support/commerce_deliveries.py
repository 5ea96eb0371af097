"""The commerce samples as a delivery stream lands them: the records of the two files, cut into objects.

Keys are Firehose's: the folders are the hour of delivery, the name has its second. Times and identifiers are fixed.
Objects are out of order, every third one lacks its final newline, and the first customers have the byte order mark.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from pipeline_assets.samples import commerce, commerce_rows
from pipeline_assets.samples.files import Chunk

BUCKET = "commerce-stream"
STREAM = "pipeline-assets"
FIRST_DELIVERY = datetime(2024, 3, 1, 10, 15, 30, tzinfo=UTC)
# Orders are delivered this much later than the customers at the same point of their stream.
ORDERS_AFTER = timedelta(minutes=1, seconds=5)


class Delivery(NamedTuple):
    """One landed object: its key in the bucket, and its bytes."""

    key: str
    content: bytes


def deliveries(seed: int = 2024, scale: float = 1.0, *, objects: int = 20, days: int = 2) -> list[Delivery]:
    """The samples of `seed` and `scale` in `objects` objects, half of them customers, over `days` times 24 hours.

    Each dataset is a stream: its objects have consecutive records, and later ones have later times. A dataset with
    fewer records than objects has an object for each. The list is shuffled. With two days or more, some customers are
    delivered a day after the first order that names them.

    Raises:
        ValueError: fewer than two objects.
    """
    if objects < 2:
        raise ValueError(f"two objects or more are needed, one of each dataset; got {objects}")
    customers = commerce.customer_count(scale)
    streams = {
        "customers": commerce_rows.customers(seed, customers),
        "orders": commerce_rows.orders(seed, customers * commerce.ORDERS_PER_CUSTOMER, commerce.ORDERS_PER_CUSTOMER),
    }
    found: list[Delivery] = []
    for number, (dataset, chunks) in enumerate(streams.items()):
        first = FIRST_DELIVERY + number * ORDERS_AFTER
        texts = _cut(chunks, (objects + number) // 2)
        step = timedelta(days=days) / len(texts)
        for place, text in enumerate(texts):
            content = (text.removesuffix("\n") if place % 3 == 1 else text).encode()
            found.append(Delivery(landing_key(dataset, first + place * step, f"{seed}/{place}"), content))
    return sorted(found, key=lambda delivery: hashlib.sha256(f"{seed}/{delivery.key}".encode()).digest())


def landing_key(dataset: str, delivered_at: datetime, identity: str) -> str:
    """The key that Firehose gives an object; `identity` stands for what is random in it."""
    suffix = uuid.UUID(bytes=hashlib.sha256(f"{dataset}/{identity}".encode()).digest()[:16])
    folder = f"firehose/{dataset}/landing/{delivered_at:%Y/%m/%d/%H}"
    return f"{folder}/{STREAM}-{dataset}-1-{delivered_at:%Y-%m-%d-%H-%M-%S}-{suffix}"


def _cut(chunks: Iterable[Chunk], objects: int) -> list[str]:
    """The text of a file in at most `objects` texts of nearly as many records each, never cut within a record."""
    records = list(_records("".join(chunk.text for chunk in chunks)))
    objects = min(objects, len(records))
    borders = [len(records) * number // objects for number in range(objects + 1)]
    return ["".join(records[start:end]) for start, end in pairwise(borders)]


def _records(text: str) -> Iterator[str]:
    """The records of a CSV text as they stand, each with its newline: one that is within quotes ends no record."""
    record = ""
    for line in io.StringIO(text, newline="\n"):
        record += line
        if record.count('"') % 2 == 0:
            yield record
            record = ""
