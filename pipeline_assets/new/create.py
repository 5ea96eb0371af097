"""Make a pipeline from a sample file and put it into the checkout: all of its files, or none.

Everything is made and checked in a temporary folder first: the value is resolved, and the engine reads the sample by
the contract that it proposes. Then the files take their places; the registry comes last, and whatever goes wrong on
the way takes back what is there by then.
"""

from __future__ import annotations

import ast
import fcntl
import os
import re
import runpy
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.new import render
from pipeline_assets.new.names import why_no_pipeline_name
from pipeline_assets.new.propose import Shape, propose
from pipeline_assets.new.sample import Sample, read_sample
from pipeline_assets.pipeline import Pipeline

_IMPORT = re.compile(r"from (pipeline_assets\.\S+) import .*")
_REGISTRY = re.compile(r"^PIPELINES: .* = \(\n(?:    .*\n)*(?=\)$)", re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """Where the files of a pipeline lie in a checkout."""

    root: Path

    @property
    def package(self) -> Path:
        return self.root / "pipeline_assets"

    @property
    def registry(self) -> Path:
        return self.package / "pipelines.py"

    @property
    def template(self) -> Path:
        return self.root / "infra" / "template.yaml"

    def rooms(self, pipeline: str) -> tuple[Path, Path]:
        """The folders of a pipeline: its package and its SELECTs."""
        return self.package / pipeline, self.root / "sql" / pipeline


def create(root: Path, name: str, path: Path, key: Sequence[str], form: str | None, say: Callable[[str], None]) -> str:
    """Make the pipeline `name` from the sample at `path`; `say` is told each proposal.

    Returns the bucket and key at which such a file lands.

    Raises:
        ConfigurationError: it cannot be made; the checkout is as it was.
    """
    checkout = Checkout(root)
    if not (root / "pyproject.toml").is_file() or not (root / "sql").is_dir() or not checkout.template.is_file():
        raise ConfigurationError(
            "`new` writes into a checkout, and this package is installed without one.",
            remedy="Clone the repository and run `make demo` there.",
        )
    with _alone(checkout), TemporaryDirectory(prefix="new-") as temporary:
        folder = Path(temporary)
        _require_free(checkout, name)
        sample = read_sample(path, form)
        shape = propose(sample, name, key)
        drafts = _drafts(folder, name, sample, shape)
        value = _loaded(folder, name)
        outcome = _try_sample(value, sample, folder)
        registry = _registered(checkout.registry.read_text(encoding="utf-8"), name)
        template = _template(value)
        for line in (*_told(sample, shape), *outcome):
            say(line)
        _place(checkout, name, drafts, registry, template)
    return _key_of(name, sample)


def _key_of(name: str, sample: Sample) -> str:
    """Bucket and key at which the sample lands, with an ending that the pipeline takes."""
    packed = ".gz" if sample.path.name.lower().endswith(".gz") else ""
    bare = sample.path.name[: len(sample.path.name) - len(packed)]
    if not bare.endswith(sample.endings):
        bare = f"{Path(bare).stem}{sample.endings[0]}"
    return f"{render.bucket_of(name)}/incoming/{bare}{packed}"


def _require_free(checkout: Checkout, name: str) -> None:
    from pipeline_assets.pipelines import PIPELINES

    if why := why_no_pipeline_name(name):
        raise ConfigurationError(f"{name!r} cannot be the name of a pipeline.", remedy=why)
    # Names of resources in the template leave _ out.
    if same := [other.name for other in PIPELINES if other.name.replace("_", "") == name.replace("_", "")]:
        raise ConfigurationError(f"There is a pipeline {same[0]!r} already.", remedy="Choose another name.")
    places = (*checkout.rooms(name), checkout.package / f"{name}.py")
    if taken := [path for path in places if path.exists()]:
        raise ConfigurationError(
            f"The name {name!r} is taken: {taken[0].relative_to(checkout.root)} is there already.",
            remedy="Choose another name.",
        )


def _told(sample: Sample, shape: Shape) -> Iterator[str]:
    """A line for each proposal."""
    part = "" if sample.whole else f" (the first {len(sample.records):,} of its records)"
    yield f"Proposed from {sample.path.name}{part}; change what is wrong in the contract:"
    listed = [(p, "") for p in shape.columns]
    listed += [(p, f"{shape.items.key}[].") for p in shape.items.columns] if shape.items else []
    for proposal, place in listed:
        column = proposal.column
        marks = ["key"] if column.key else ["required"] if column.required else ["optional"]
        marks += ["personal"] if column.personal else []
        source = f" from {place}{'.'.join(column.path)}" if column.path else ""
        yield f"  {column.name}: {column.physical_type}, {', '.join(marks)}{source} ({proposal.why})"
    for key, why in shape.left_out:
        yield f"  no column for {key}: {why}; its values are kept in _RESCUED"
    if not shape.key:
        yield '  no key: no column has another value in each record, so every record is kept (write="append");'
        yield "  if a few columns tell records apart, start over with --key COLUMN[,COLUMN]"


# --- made in a temporary folder ------------------------------------------------------------------------------


def _drafts(folder: Path, name: str, sample: Sample, shape: Shape) -> dict[str, str]:
    """Write the files into a folder, and return the text of each by its path in the checkout."""
    drafts = {
        f"pipeline_assets/{name}/__init__.py": render.package_module(name, sample),
        f"pipeline_assets/{name}/pipeline.py": render.value_module(name, sample, shape),
    }
    contracts, selects = render.contracts(name, sample, shape), render.selects(name, shape)
    drafts |= {f"pipeline_assets/{name}/contracts/{table}.yaml": text for table, text in contracts.items()}
    drafts |= {f"sql/{name}/{table}.sql": text for table, text in selects.items()}
    for path, text in drafts.items():
        # `Pipeline.folder` has contracts/ and sql/ side by side.
        flat = path.removeprefix(f"pipeline_assets/{name}/").replace(f"sql/{name}/", "sql/")
        (folder / flat).parent.mkdir(exist_ok=True)
        (folder / flat).write_text(text, encoding="utf-8")
    return drafts


def _loaded(folder: Path, name: str) -> Pipeline:
    """The value as Python reads it, resolved once with its contracts and SELECTs in the folder."""
    from pipeline_assets.pipeline.resolve import resolve

    value = replace(runpy.run_path(str(folder / "pipeline.py"))[name.upper()], folder=folder)
    resolve(value)
    return value


def _try_sample(value: Pipeline, sample: Sample, folder: Path) -> list[str]:
    """Let the engine read the sample as a run will; returns what it would refuse, a line each."""
    from pipeline_assets.engine import RejectPolicy
    from pipeline_assets.engine.duckdb.engine import DuckDBEngine
    from pipeline_assets.engine.interface import SourceFile
    from pipeline_assets.lake import LandedObject
    from pipeline_assets.pipeline.resolve import resolve

    (source,) = resolve(value).sources
    stat = sample.path.stat()
    landed = LandedObject(sample.path.name, "", stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
    with DuckDBEngine().session(folder / "scratch", RejectPolicy()) as session:
        session.read(source.relation, source.contract, [SourceFile(sample.path.absolute(), landed)])
        session.deduplicate(source.relation)
        (outcome,) = session.outcomes(source.relation)
        bad = list(session.bad_records(source.relation))
    if outcome.rejection:
        raise ConfigurationError(
            f"{sample.path.name} would be rejected: {outcome.rejection.reason}", remedy="Take another sample."
        )
    said = [f"  line {r.line} would be quarantined as {r.code}: {r.reason}" for r in bad[:3]]
    return [*said, f"{outcome.read - len(bad)} of {outcome.read} records of the sample pass."]


def _template(value: Pipeline) -> str:
    from pipeline_assets.deploy.aws.template import rendered
    from pipeline_assets.pipelines import PIPELINES

    return rendered((*PIPELINES, value))


def _registered(registry: str, name: str) -> str:
    """The text of pipelines.py with one pipeline more.

    Raises:
        ConfigurationError: it has another form than the one that it is known to have.
    """
    line = f"from pipeline_assets.{name}.pipeline import {name.upper()}"
    lines = registry.splitlines(keepends=True)
    imports = [(number, match[1]) for number, text in enumerate(lines) if (match := _IMPORT.match(text))]
    later = [number for number, module in imports if _natural(module) > _natural(f"pipeline_assets.{name}.pipeline")]
    if imports:
        lines.insert(later[0] if later else imports[-1][0] + 1, f"{line}\n")
    text = _REGISTRY.sub(lambda found: f"{found[0]}    {name.upper()},\n", "".join(lines), count=1)
    if not imports or f"    {name.upper()},\n" not in text:
        raise ConfigurationError(
            "pipeline_assets/pipelines.py has no tuple PIPELINES with a pipeline a line.", remedy="Restore its form."
        )
    ast.parse(text)
    return text


def _natural(module: str) -> list[tuple[int, int]]:
    """The order in which ruff sorts imports: digits count as the number that they make."""
    parts = re.findall(r"\d+|\D", module)
    return [(ord("0"), int(part)) if part.isdigit() else (ord(part), 0) for part in parts]


# --- into place ----------------------------------------------------------------------------------------------


@contextmanager
def _alone(checkout: Checkout) -> Iterator[None]:
    """Keep other processes from registering a pipeline at the same time; the kernel ends this with the process."""
    folder = os.open(checkout.package, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _place(checkout: Checkout, name: str, drafts: dict[str, str], registry: str, template: str) -> None:
    """Write everything, the registry last; on any failure, Ctrl-C included, the checkout is what it was."""
    before = {path: path.read_bytes() for path in (checkout.template, checkout.registry)}
    rooms = checkout.rooms(name)
    try:
        for path, text in drafts.items():
            target = checkout.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        _replace(checkout.template, template.encode())
        _replace(checkout.registry, registry.encode())
    except BaseException as error:
        for path, content in before.items():
            if path.read_bytes() != content:
                _replace(path, content)
        for room in rooms:
            shutil.rmtree(room, ignore_errors=True)
        if isinstance(error, OSError):
            raise ConfigurationError(f"{error.filename} cannot be written: {error.strerror}.") from None
        raise


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(content)
        shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
