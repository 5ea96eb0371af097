"""The steps of a session as data, for a job that runs elsewhere.

A plan is JSON and contains contracts in full, because the job has the same code to read them. Another version of that
code could read a plan differently, so a plan names the version that wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts import Column, Contract, Dialect, QualityRule, Reference
from pipeline_assets.engine.interface import RejectPolicy
from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Plan:
    """`folder` is where state and results go; files larger than twice `split_bytes` are read in parts."""

    folder: str
    policy: RejectPolicy
    split_bytes: int
    steps: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def dump(self) -> str:
        return json.dumps({"code": code_version(), **asdict(self)})

    @classmethod
    def load(cls, text: str) -> Plan:
        """Read a plan.

        Raises:
            ConfigurationError: another version of this package wrote it.
        """
        document = json.loads(text)
        if document.pop("code") != code_version():
            raise ConfigurationError(
                "The job's code and the plan's are different versions of pipeline_assets.",
                remedy="Run `pipeline-assets deploy aws` again.",
            )
        return cls(**document | {"policy": RejectPolicy(**document["policy"])})


@cache
def code_version() -> str:
    """A digest of the code that plans and jobs share."""
    digest = blake2b(digest_size=8)
    for folder in ("contracts", "engine"):
        for source in _sources(files(f"pipeline_assets.{folder}")):
            digest.update(source)
    return digest.hexdigest()


def _sources(folder: Traversable) -> Iterator[bytes]:
    """The Python files in a folder and below; on Glue the folder is inside a zip."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _sources(item)
        elif item.name.endswith(".py"):
            yield item.read_bytes()


def contract_to(contract: Contract) -> dict[str, Any]:
    """A contract as values for JSON."""
    return asdict(contract)


def contract_from(values: Mapping[str, Any]) -> Contract:
    """The contract that `contract_to` wrote."""
    columns = tuple(
        Column(**_tuples(column) | {"reference": Reference(**column["reference"]) if column["reference"] else None})
        for column in values["columns"]
    )
    return Contract(
        **_tuples(values)
        | {
            "columns": columns,
            "items": contract_from(values["items"]) if values["items"] else None,
            "dialect": Dialect(**values["dialect"]),
            "quality": tuple(QualityRule(**_tuples(rule)) for rule in values["quality"]),
        }
    )


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with tuples in place of JSON's lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def spark_type(kind: pa.DataType) -> str:
    """The Spark DDL of an Arrow type: text, integer, boolean, or lists and structs of them."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return f"array<{spark_type(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'`{f.name}`: {spark_type(f.type)}' for f in kind)}>"
    return {pa.string(): "string", pa.bool_(): "boolean", pa.int32(): "int", pa.int64(): "bigint"}[kind]
