"""A lake table in a folder: batches of orders are laid out in it, and looked at as its readers do, step by step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.contracts.arrow import lake_schema
from pipeline_assets.engine import LakeFile, LakeTableChanges
from pipeline_assets_tests.support.engine_session import opened
from pipeline_assets_tests.support.orders_lake import contract

LAKE = contract("orders_parquet_datalake")
SCHEMA = lake_schema(LAKE)
Lines = tuple[str, ...]  # what tells the lines of one version of an order
Placed = tuple[str, Lines]  # the day of an order and its lines


def line(order_id: str, name: str) -> dict:
    known = dict.fromkeys(SCHEMA.names, None)
    return known | {"order_id": order_id, "product_name": name, "price": 1.5, "quantity": 2, "total_amount": 25.0}


def day_of(key: str) -> str:
    """The partition that a file lies in."""
    return key.partition("=")[2].partition("/")[0]


class LakeFolder:
    """Files by partition under a root, and what was last put into them.

    Keys of files are paths below `lake`. `orders` remembers where each order shall lie, as the warehouse does.
    """

    def __init__(self, root: Path, target_bytes: int) -> None:
        self.root, self.target_bytes = root, target_bytes
        self.lake, self.scratch = root / "lake", root / "scratch"
        self.lake.mkdir(parents=True)
        self.orders: dict[str, Placed] = {}
        self._batches = 0

    def put(self, key: str, orders: Mapping[str, Lines]) -> None:
        """A file as it may have been left behind by whatever happened before."""
        path = self.lake / key
        path.parent.mkdir(exist_ok=True)
        rows = [line(order_id, name) for order_id, names in orders.items() for name in names]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="zstd")
        day = day_of(key)
        self.orders |= {order_id: (day, names) for order_id, names in orders.items()}

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.lake)) for path in self.lake.rglob("*.parquet"))

    def in_file(self, key: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in pq.read_table(self.lake / key, columns=["order_id", "product_name"]).to_pylist():
            found.setdefault(row["order_id"], []).append(row["product_name"])
        return found

    def seen(self) -> dict[str, list[tuple[str, str]]]:
        """(day, line) of every order over all files."""
        found: dict[str, list[tuple[str, str]]] = {}
        for key in self.files():
            day = day_of(key)
            for order_id, names in self.in_file(key).items():
                found.setdefault(order_id, []).extend((day, name) for name in names)
        return found

    def plan(self, batch: Mapping[str, Placed]) -> LakeTableChanges:
        """Lay a batch out as the pipeline does; nothing is changed in the lake yet."""
        self._batches += 1
        folder = self.scratch / str(self._batches)
        folder.mkdir(parents=True)
        rows = [line(key, name) | {"dt": day} for key, (day, names) in batch.items() for name in names]
        moves = {(key, day) for key, (day, _) in batch.items()}
        moves |= {(key, self.orders[key][0]) for key in batch if key in self.orders}
        table = pa.table({name: [row[name] for row in rows] for name in [*SCHEMA.names, "dt"]})
        days = pa.array([date.fromisoformat(day) for day in table["dt"].to_pylist()], pa.date32())
        table = table.drop(["dt"]).cast(SCHEMA).append_column("dt", days)
        pq.write_table(table.rename_columns([name.upper() for name in table.column_names]), folder / "rows")
        named = [{"ORDER_ID": key, "DT": date.fromisoformat(day)} for key, day in sorted(moves)]
        replaced = pa.schema([("ORDER_ID", pa.string()), ("DT", pa.date32())])
        pq.write_table(pa.Table.from_pylist(named, replaced), folder / "replaced")
        existing = []
        for key in self.files():
            day = day_of(key)
            if day in {day for _, day in moves}:
                fetched = folder / f"fetched-{len(existing)}"
                shutil.copy(self.lake / key, fetched)
                existing.append(LakeFile(key, day, fetched))
        with opened() as session:
            session.table(f"LAKE_ROWS_{LAKE.table}", folder / "rows")
            session.table(f"LAKE_REPLACED_{LAKE.table}", folder / "replaced")
            return session.write_lake_table(LAKE, lambda partitions: existing, folder, self.target_bytes)

    def steps(self, layout: LakeTableChanges) -> Iterator[str]:
        """Apply a layout; each step is one that a reader may look at."""
        for key in layout.removed:
            (self.lake / key).unlink()
            yield f"removed {key}"
        for kind, files in (("released", layout.released), ("written", layout.written)):
            for number, file in enumerate(files):
                key = file.key or f"dt={file.partition}/orders_{self._batches:03}_{number}.parquet"
                assert pq.read_metadata(file.path).num_rows == file.rows > 0
                (self.lake / key).parent.mkdir(exist_ok=True)
                shutil.copy(file.path, self.lake / key)
                yield f"{kind} {key}"

    def run(self, batch: Mapping[str, Placed]) -> LakeTableChanges:
        """Lay a batch out; whatever a reader sees between two steps must be whole orders, each once."""
        before = self.seen()
        layout = self.plan(batch)
        self.check_layout(layout)
        for step in self.steps(layout):
            now = self.seen()
            assert set(now) <= set(before) | set(batch), step
            for key in set(before) - set(batch):
                assert sorted(now.get(key, [])) == sorted(before[key]), f"{step}: {key} was not in the batch"
            for key, (day, names) in batch.items():
                versions = [[], sorted(before.get(key, [])), sorted((day, name) for name in names)]
                assert sorted(now.get(key, [])) in versions, f"{step}: {key} is seen twice or half"
        self.orders |= batch
        self.check()
        return layout

    def check_layout(self, layout: LakeTableChanges) -> None:
        """A file is named once in each list; what is let go of first is written after that, never removed before."""
        existing = set(self.files())
        removed, released = list(layout.removed), [file.key for file in layout.released]
        written = [file.key for file in layout.written if file.key is not None]
        for keys in (removed, released, written):
            assert len(keys) == len(set(keys))
            assert set(keys) <= existing
        assert not set(removed) & set(released)
        assert set(released) <= set(written)
        for file in (*layout.released, *layout.written):
            assert file.rows == pq.read_metadata(file.path).num_rows > 0
            assert file.key is None or day_of(file.key) == file.partition
            assert file.partition in layout.partitions

    def check(self) -> None:
        """The lake holds exactly the newest version of every order, each in one file."""
        expected = {key: sorted((day, name) for name in names) for key, (day, names) in self.orders.items() if names}
        assert {key: sorted(found) for key, found in self.seen().items()} == expected
        homes = [key for path in self.files() for key in self.in_file(path)]
        assert len(homes) == len(set(homes))
