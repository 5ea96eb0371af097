"""One named input of a Spark job: its files, the statistics that tasks reported, and the relation of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.names import spark_name
from pipeline_assets.contracts.validation import MISTYPED
from pipeline_assets.engine.distributed.plan import contract_from
from pipeline_assets.engine.distributed.split_reader import FileSplit
from pipeline_assets.engine.versions import Delivery

WHOLE = 1 << 20  # split number of a file that is read again as a whole


class SparkInput:
    """One named input. `published` is the SELECT of its published rows, `parts` are the splits that were read."""

    def __init__(self, step: Mapping[str, Any]) -> None:
        self.step = step
        self.name: str = step["name"]
        self.contract: Contract = contract_from(step["contract"])
        self.splits = {file["split"]["file"]: FileSplit(**file["split"]) for file in step["files"]}
        self.landed = [(file["uri"], file["modified"]) for file in step["files"]]
        self.etags = [file["etag"] for file in step["files"]]
        self.file_sets = {number: file["file_set"] for number, file in zip(self.splits, step["files"], strict=True)}
        self.validate: str = step["validate"]
        self.items = self.contract.items
        self.rows = f"{self.name}__rows"
        self.published: str | None = None
        self.parts: dict[tuple[int, int], FileSplit] = {}
        self.left_out: set[int] = set()
        self.is_deduplicated = False
        self.outcomes: dict[int, dict[str, Any]] = {
            file: {
                "read": 0,
                "quarantined": 0,
                "superseded": 0,
                "unknown": [],
                "missing": [],
                "header": [],
                "header_skipped": False,
                "floats": 0,
            }
            for file in self.splits
        }

    def add_statistics(self, statistics: Sequence[Mapping[str, Any]]) -> None:
        """Add the statistics that tasks reported to the outcomes of their files."""
        for reported in statistics:
            outcome = self.outcomes[reported["file"]]
            for name in ("unknown", "missing"):
                has_one_header = self.contract.form != "json"  # all parts of a delimited file have the same header
                outcome[name] = reported[name] if has_one_header else sorted({*outcome[name], *reported[name]})
            outcome["header"] = reported.get("header", outcome["header"])
            outcome["header_skipped"] |= reported.get("header_skipped", False)
            for name in ("read", "quarantined"):
                outcome[name] += reported.get("rejection", {}).get("rows", 0)
            for name in ("rejection", "changed"):
                if name in reported:
                    outcome[name] = reported[name]

    def is_rejected(self, file: int) -> bool:
        """Whether a file is rejected for its own content; replay files never are."""
        outcome = self.outcomes[file]
        return "too_many" in outcome or ("rejection" in outcome and not self.splits[file].waiting)

    def accepted(self) -> dict[int, Delivery]:
        """The files that are not rejected."""
        return {
            file: Delivery(
                datetime.fromisoformat(self.landed[file][1]),
                self.landed[file][0],
                self.etags[file],
                self.file_sets[file],
                self.splits[file].waiting > 0,
                file,
            )
            for file, outcome in self.outcomes.items()
            if not self.is_rejected(file) and "with" not in outcome
        }

    @property
    def has_bad(self) -> bool:
        """Whether there are bad records to report; among left-out files only those with too many bad rows count."""
        return any(
            "too_many" in outcome or (outcome["quarantined"] > 0 and file not in self.left_out)
            for file, outcome in self.outcomes.items()
        )

    def elements(self, relation: str, kept: Sequence[str]) -> str:
        """SELECT one row per list element: its texts, `_POSITION` from 1, `_RESCUED`, `_MISTYPED`, `kept`."""
        assert self.items is not None
        listed = ", ".join(
            f"_ITEM.{'.'.join(f'`{step}`' for step in column.path)} AS C{index}"
            for index, column in enumerate(self.items.columns)
        )
        return (
            f"SELECT {', '.join(map(spark_name, kept))}, "
            "CAST(_INDEX + 1 AS BIGINT) AS _POSITION, _ITEMS_RESCUED[_INDEX] AS _RESCUED, "
            f"_ITEMS_MISTYPED[_INDEX] AS {MISTYPED}, {listed} FROM {relation} "
            "LATERAL VIEW POSEXPLODE(_ITEMS) e AS _INDEX, _ITEM"
        )
