"""Create a pipeline from a sample file in the checkout: all of its files, or none.

First the files are written to a temporary folder and checked: the pipeline is resolved, and the engine reads the sample
by the proposed contract. Then they are written into the checkout, the registry last; if anything fails, what was
written is removed again.
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
from pipeline_assets.new.names import pipeline_name_problem
from pipeline_assets.new.propose import Shape, propose
from pipeline_assets.new.sample import DELIMITERS, Sample, read_sample
from pipeline_assets.pipeline import Pipeline

_IMPORT = re.compile(r"from (pipeline_assets\.\S+) import .*")
_REGISTRY = re.compile(r"^PIPELINES: .* = \(\n(?:    .*\n)*(?=\)$)", re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """The paths of a pipeline's files in a checkout."""

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

    def folders(self, pipeline: str) -> tuple[Path, Path]:
        """The folders of a pipeline: its package and its SELECTs."""
        return self.package / pipeline, self.root / "sql" / pipeline


def create(root: Path, name: str, path: Path, key: Sequence[str], form: str | None, say: Callable[[str], None]) -> str:
    """Create the pipeline `name` from the sample at `path`; `say` prints each line of the proposal.

    Returns the bucket and key at which such a file lands.

    Raises:
        ConfigurationError: it cannot be created; the checkout is unchanged.
    """
    checkout = Checkout(root)
    if not (root / "pyproject.toml").is_file() or not (root / "sql").is_dir() or not checkout.template.is_file():
        raise ConfigurationError(
            "`new` writes into a checkout, and this package is installed without one.",
            remedy="Clone the repository and run `make demo` there.",
        )
    with _registration_lock(checkout), TemporaryDirectory(prefix="new-") as temporary:
        folder = Path(temporary)
        _require_free_name(checkout, name)
        sample = read_sample(path, form)
        shape = propose(sample, name, key)
        drafts = _write_drafts(folder, name, sample, shape)
        value = _load_value(folder, name)
        outcome = _try_sample(value, sample, folder)
        registry = _with_registration(checkout.registry.read_text(encoding="utf-8"), name)
        template = _render_template(value)
        for line in (*_proposal_lines(sample, shape), *outcome):
            say(line)
        _write_files(checkout, name, drafts, registry, template)
    return _landing_key(name, sample)


def _landing_key(name: str, sample: Sample) -> str:
    """The bucket and key at which the sample lands, with a suffix that the pipeline reads."""
    packed = ".gz" if sample.path.name.lower().endswith(".gz") else ""
    bare = sample.path.name[: len(sample.path.name) - len(packed)]
    if not bare.endswith(sample.suffixes):
        bare = f"{Path(bare).stem}{sample.suffixes[0]}"
    return f"{render.bucket_of(name)}/incoming/{bare}{packed}"


def _require_free_name(checkout: Checkout, name: str) -> None:
    from pipeline_assets.pipelines import PIPELINES

    if problem := pipeline_name_problem(name):
        raise ConfigurationError(f"{name!r} cannot be the name of a pipeline.", remedy=problem)
    # Resource names in the template have no _.
    if similar := [other.name for other in PIPELINES if other.name.replace("_", "") == name.replace("_", "")]:
        raise ConfigurationError(f"There is a pipeline {similar[0]!r} already.", remedy="Choose another name.")
    paths = (*checkout.folders(name), checkout.package / f"{name}.py")
    if taken := [path for path in paths if path.exists()]:
        raise ConfigurationError(
            f"The name {name!r} is taken: {taken[0].relative_to(checkout.root)} is there already.",
            remedy="Choose another name.",
        )


def _proposal_lines(sample: Sample, shape: Shape) -> Iterator[str]:
    """A line for each proposed column, and for what has no column."""
    scope = "" if sample.whole else f" (the first {len(sample.records):,} of its records)"
    yield f"Proposed from {sample.path.name}{scope}; change what is wrong in the contract:"
    if sample.delimiter != ",":
        yield f"  fields are separated by {DELIMITERS[sample.delimiter]}, so files and table have a contract each"
    proposals = [(p, "") for p in shape.columns]
    proposals += [(p, f"{shape.items.key}[].") for p in shape.items.columns] if shape.items else []
    for proposal, parent in proposals:
        column = proposal.column
        marks = ["key"] if column.key else ["required"] if column.required else ["optional"]
        marks += ["personal"] if column.personal else []
        source = f" from {parent}{'.'.join(column.path)}" if column.path else ""
        yield f"  {column.name}: {column.physical_type}, {', '.join(marks)}{source} ({proposal.reason})"
    for key, reason in shape.left_out:
        yield f"  no column for {key}: {reason}; its values are kept in _RESCUED"
    if not shape.key:
        yield '  no key: no column has a different value in each record, so every record is kept (write="append");'
        yield "  if several columns together identify a record, start again with --key COLUMN[,COLUMN]"


# --- in a temporary folder -----------------------------------------------------------------------------------


def _write_drafts(folder: Path, name: str, sample: Sample, shape: Shape) -> dict[str, str]:
    """Write the files into a folder; returns the text of each by its path in the checkout."""
    drafts = {
        f"pipeline_assets/{name}/__init__.py": render.package_module(name, sample),
        f"pipeline_assets/{name}/pipeline.py": render.value_module(name, sample, shape),
    }
    contracts, selects = render.contracts(name, sample, shape), render.selects(name, sample, shape)
    drafts |= {f"pipeline_assets/{name}/contracts/{table}.yaml": text for table, text in contracts.items()}
    drafts |= {f"sql/{name}/{table}.sql": text for table, text in selects.items()}
    for path, text in drafts.items():
        # In a `Pipeline.folder`, contracts/ and sql/ are siblings.
        flat = path.removeprefix(f"pipeline_assets/{name}/").replace(f"sql/{name}/", "sql/")
        (folder / flat).parent.mkdir(exist_ok=True)
        (folder / flat).write_text(text, encoding="utf-8")
    return drafts


def _load_value(folder: Path, name: str) -> Pipeline:
    """The pipeline in a folder, loaded by Python and resolved once with its contracts and SELECTs."""
    from pipeline_assets.pipeline.resolve import resolve

    value = replace(runpy.run_path(str(folder / "pipeline.py"))[name.upper()], folder=folder)
    resolve(value)
    return value


def _try_sample(value: Pipeline, sample: Sample, folder: Path) -> list[str]:
    """Read the sample with the engine, as a run will; returns a line for each of the first bad records and a total."""
    from pipeline_assets.engine import RejectPolicy
    from pipeline_assets.engine.duckdb.engine import DuckDBEngine
    from pipeline_assets.engine.interface import SourceFile
    from pipeline_assets.lake import LandedObject
    from pipeline_assets.pipeline.resolve import resolve

    (source,) = resolve(value).sources
    stat = sample.path.stat()
    landed = LandedObject(sample.path.name, "", stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
    with DuckDBEngine().session(folder / "scratch", RejectPolicy()) as session:
        session.read(source.name, source.contract, [SourceFile(sample.path.absolute(), landed)])
        session.deduplicate(source.name)
        (outcome,) = session.outcomes(source.name)
        bad = list(session.bad_records(source.name))
    if outcome.rejection:
        raise ConfigurationError(
            f"{sample.path.name} would be rejected: {outcome.rejection.reason}", remedy="Take another sample."
        )
    lines = [f"  line {r.line} would be quarantined as {r.code}: {r.reason}" for r in bad[:3]]
    return [*lines, f"{outcome.read - len(bad)} of {outcome.read} records of the sample pass."]


def _render_template(value: Pipeline) -> str:
    from pipeline_assets.deploy.aws.template import rendered
    from pipeline_assets.pipelines import PIPELINES

    return rendered((*PIPELINES, value))


def _with_registration(registry: str, name: str) -> str:
    """The text of pipelines.py with one more pipeline.

    Raises:
        ConfigurationError: the file does not have the expected form.
    """
    line = f"from pipeline_assets.{name}.pipeline import {name.upper()}"
    lines = registry.splitlines(keepends=True)
    imports = [(number, match[1]) for number, text in enumerate(lines) if (match := _IMPORT.match(text))]
    later = [
        number
        for number, module in imports
        if _natural_order(module) > _natural_order(f"pipeline_assets.{name}.pipeline")
    ]
    if imports:
        lines.insert(later[0] if later else imports[-1][0] + 1, f"{line}\n")
    text = _REGISTRY.sub(lambda match: f"{match[0]}    {name.upper()},\n", "".join(lines), count=1)
    if not imports or f"    {name.upper()},\n" not in text:
        raise ConfigurationError(
            "pipeline_assets/pipelines.py has no tuple PIPELINES with one pipeline per line.",
            remedy="Restore its form.",
        )
    ast.parse(text)
    return text


def _natural_order(module: str) -> list[tuple[int, int]]:
    """The sort key of ruff for imports: digits are compared as numbers."""
    parts = re.findall(r"\d+|\D", module)
    return [(ord("0"), int(part)) if part.isdigit() else (ord(part), 0) for part in parts]


# --- in the checkout -----------------------------------------------------------------------------------------


@contextmanager
def _registration_lock(checkout: Checkout) -> Iterator[None]:
    """Prevent other processes from registering a pipeline at the same time; the lock ends with the process."""
    folder = os.open(checkout.package, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write_files(checkout: Checkout, name: str, drafts: dict[str, str], registry: str, template: str) -> None:
    """Write all files, the registry last; after any failure, Ctrl-C included, the checkout is unchanged."""
    before = {path: path.read_bytes() for path in (checkout.template, checkout.registry)}
    folders = checkout.folders(name)
    try:
        for path, text in drafts.items():
            target = checkout.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        _replace(checkout.template, template.encode())
        _replace(checkout.registry, registry.encode())
    except BaseException as error:
        for changed, content in before.items():
            if changed.read_bytes() != content:
                _replace(changed, content)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
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
