"""Streaming: records per second through the producer, and through delivery alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from .harness import Bar, Benchmark, Contender

RECORDS = 1_000_000
_PLAIN = "{0},{1},F,173665.47,1996-01-02,5-LOW,Clerk#000000951,0,nstructions sleep furiously among\n"
_QUOTED = '{0},{1},F,173665.47,1996-01-02,5-LOW,Clerk#000000951,0,"nstructions sleep, furiously among"\n'


def make_inputs(inputs: Path, folder: Path) -> None:
    """Orders without quotes, and with a quoted comma in each comment."""
    for name, record in (("plain", _PLAIN), ("quoted", _QUOTED)):
        with open(inputs / f"{name}.csv", "w") as file:
            file.writelines(record.format(number, number % 150_000) for number in range(RECORDS))


def producer(inputs: Path, folder: Path, name: str) -> int:
    """Everything that `stream --once` does with one file: tail, split, deliver locally, checkpoint."""
    from pipeline_assets.commerce.pipeline import COMMERCE
    from pipeline_assets.commerce.producer import deliver_once
    from pipeline_assets.lake.delivery import build_delivery
    from pipeline_assets.settings import load_settings

    watched = {"orders": str(inputs / f"{name}.csv")}
    delivered = deliver_once(build_delivery(load_settings(home=folder / "out", commerce_watch=watched)), COMMERCE)
    return delivered["orders"].records


def delivery(inputs: Path, folder: Path) -> int:
    """The stream alone, with records that are in memory."""
    from pipeline_assets.lake import LocalLake
    from pipeline_assets.lake.delivery_stream import BufferingHints, LocalStreamWriter

    stream = LocalStreamWriter(
        LocalLake(folder / "out"), "bucket", "landing/", "orders", part=folder / "out" / "part", hints=BufferingHints()
    )
    record = _PLAIN.format(1, 2).rstrip("\n").encode()
    batch = [record] * 10_000
    for _ in range(RECORDS // len(batch)):
        stream.put(batch)
    stream.flush()
    return stream.accepted


def copy(inputs: Path, folder: Path) -> None:
    """What the disk allows."""
    shutil.copyfile(inputs / "plain.csv", folder / "out" / "copy.csv")


_IMPORTS = ("pipeline_assets.commerce.producer", "pipeline_assets.settings", "filelock")

BENCHMARK = Benchmark(
    name="stream",
    title="Streaming: a million orders through the producer",
    about="One file of 1,000,000 orders, 90 MB, from its start to objects of at most 5 MiB in the local lake, with a "
    "checkpoint for each. Quoted commas in a record make the producer parse it. The last lines are delivery "
    "alone, of records in memory, and copying the file.",
    contenders=(
        Contender(
            "ours: the producer",
            producer,
            arguments={"name": "plain"},
            imports=_IMPORTS,
            expected_rows=RECORDS,
            bar=Bar("seconds", 5),
        ),
        Contender(
            "ours: the producer, quoted commas",
            producer,
            arguments={"name": "quoted"},
            imports=_IMPORTS,
            expected_rows=RECORDS,
        ),
        Contender("ours: delivery alone", delivery, imports=("pipeline_assets.lake",), expected_rows=RECORDS),
        Contender("copying the file", copy),
    ),
    make_inputs=make_inputs,
    inputs_from=(Path(__file__),),
)
