"""`new`: a pipeline from a sample file."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline_assets.console import say


class Form(StrEnum):
    """Formats of a sample file."""

    csv = "csv"
    json = "json"


def new(
    name: Annotated[str, typer.Argument(help="Name of the pipeline: lower-case letters, digits and _.")],
    sample: Annotated[Path, typer.Option("--from", help="A file as it will be delivered: CSV, JSON or Parquet.")],
    key: Annotated[str, typer.Option(help="COLUMN[,COLUMN]: the key of a record; detected by default.")] = "",
    form: Annotated[Form | None, typer.Option(help="Format of a text file; detected by default.")] = None,
) -> None:
    """Create a pipeline from a sample file: contract, SELECT, value and registration.

    Prints its proposal for each column with the reason. Writes pipeline_assets/NAME/ and sql/NAME/, and adds the
    pipeline to pipeline_assets/pipelines.py and infra/template.yaml; it overwrites nothing. Files for the pipeline land
    in the bucket NAME-source below incoming/, and `pipeline-assets run NAME` loads them into the table NAME.NAME.
    """
    from pipeline_assets.new.create import create
    from pipeline_assets.settings import PROJECT_ROOT, load_settings

    keys = [column.strip() for column in key.split(",")] if key else []
    settings = load_settings(secret=False)
    target = settings.lake_root / create(PROJECT_ROOT, name, sample, keys, form and form.value, say)
    print(
        f"""The pipeline {name} is registered. Next:
  mkdir -p {shlex.quote(str(target.parent))} && cp {shlex.quote(str(sample))} {shlex.quote(str(target))}
  pipeline-assets run {name}
  pipeline-assets query 'SELECT * FROM {name.upper()}.{name.upper()} LIMIT 10'
docs/add-a-pipeline.md says what to change in the new files."""
    )
