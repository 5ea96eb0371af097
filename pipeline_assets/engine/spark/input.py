"""One named input of a Spark job: its files, what tasks found out about them, and where its rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import MISTYPED
from pipeline_assets.engine.distributed.file_splits import FileSplit
from pipeline_assets.engine.distributed.plan import contract_from
from pipeline_assets.engine.versions import Delivery

WHOLE = 1 << 20  # number of the split that is a file read again as a whole


class Input:
    """One named input: its files, what was found out about them, and the relation that has their rows."""

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
        self.known: str | None = None
        self.parts: dict[tuple[int, int], FileSplit] = {}
        self.left_out: set[int] = set()
        self.settled = False
        self.outcomes: dict[int, dict[str, Any]] = {
            file: {
                "read": 0,
                "quarantined": 0,
                "superseded": 0,
                "unknown": [],
                "missing": [],
                "header": [],
                "header_skipped": False,
            }
            for file in self.splits
        }

    def note(self, statistics: Sequence[Mapping[str, Any]]) -> None:
        """Record what the tasks found out about files."""
        for found in statistics:
            outcome = self.outcomes[found["file"]]
            for name in ("unknown", "missing"):
                same = self.contract.form != "json"  # all parts of a delimited file have its header
                outcome[name] = found[name] if same else sorted({*outcome[name], *found[name]})
            outcome["header"] = found.get("header", outcome["header"])
            outcome["header_skipped"] |= found.get("header_skipped", False)
            for name in ("rejection", "changed"):
                if name in found:
                    outcome[name] = found[name]

    def is_rejected(self, file: int) -> bool:
        """Whether a file is rejected for what is in it; records that waited never are."""
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
        """Whether there is a bad record to tell of: of files that are left out, only those with too many have some."""
        return any(
            "too_many" in outcome or (outcome["quarantined"] > 0 and file not in self.left_out)
            for file, outcome in self.outcomes.items()
        )

    def elements(self, relation: str, kept: Sequence[str]) -> str:
        """One row per element of the lists: its texts, `_POSITION` from 1, `_RESCUED`, `_MISTYPED`, `kept`."""
        assert self.items is not None
        listed = ", ".join(
            f"_ITEM.{'.'.join(f'`{step}`' for step in column.path)} AS C{index}"
            for index, column in enumerate(self.items.columns)
        )
        return (
            f"SELECT {', '.join(kept)}, CAST(_INDEX + 1 AS BIGINT) AS _POSITION, _ITEMS_RESCUED[_INDEX] AS _RESCUED, "
            f"_ITEMS_MISTYPED[_INDEX] AS {MISTYPED}, {listed} FROM {relation} "
            "LATERAL VIEW POSEXPLODE(_ITEMS) e AS _INDEX, _ITEM"
        )
