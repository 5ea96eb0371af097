"""The events of one status change of a run: one for each of its pipelines, built and checked by the official client.

The first event of a run lists what it may read and write, the last what it read and wrote. An event is a function of
what the instance recorded: sent again, it is the same, so receivers can recognise it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import dagster as dg

from pipeline_assets.openlineage.facets import DescribedPipeline, reads_of
from pipeline_assets.openlineage.recorded import (
    START,
    RunRecord,
    StatusChange,
    has_started,
    nominal_time,
    pipelines_of,
    record_of,
)

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

_STATES = {
    START: "START",
    dg.DagsterEventType.RUN_SUCCESS: "COMPLETE",
    dg.DagsterEventType.RUN_FAILURE: "FAIL",
    dg.DagsterEventType.RUN_CANCELED: "ABORT",
}


def run_events(
    instance: dg.DagsterInstance, change: StatusChange, described: Mapping[str, DescribedPipeline], namespace: str
) -> Iterator[RunEvent]:
    """The events of a status change; none if the run was deleted or is of no pipeline.

    A run of several pipelines, which the UI's button starts, is a run of its own with a child for each pipeline.
    """
    run = instance.get_run_by_id(change.run_id)
    names = pipelines_of(run, described) if run else []
    if run is None or not names:
        return
    states = [_STATES[change.type]]
    if change.type is not START and not has_started(instance, run.run_id):
        states.insert(0, "START")  # it was never launched; an end needs a start
    for state in states:
        if len(names) > 1:
            yield _event(state, change, namespace, run.job_name, _run_facets(run, RunRecord(run), namespace, ""))
        for name in names:
            record = RunRecord(run) if state == "START" else record_of(instance, run, name, change.type)
            inputs, outputs = _datasets(described[name], record, is_start=state == "START")
            parent = run.job_name if len(names) > 1 else ""
            facets = _run_facets(run, record, namespace, parent)
            job = described[name].job_facets
            child = child_id(run.run_id, name) if parent else run.run_id
            yield _event(state, change, namespace, name, facets, job, inputs, outputs, child)


def child_id(run_id: str, pipeline: str) -> str:
    """The id of the part of a run that is of one pipeline."""
    return str(uuid5(UUID(run_id), pipeline))


def _event(
    state: str,
    change: StatusChange,
    namespace: str,
    job: str,
    run_facets: dict[str, Any],
    job_facets: dict[str, Any] | None = None,
    inputs: list[InputDataset] | None = None,
    outputs: list[OutputDataset] | None = None,
    run_id: str = "",
) -> RunEvent:
    from openlineage.client import event_v2 as ol

    event = ol.RunEvent(
        eventType=ol.RunState[state],
        eventTime=_time(change.at),
        run=ol.Run(run_id or change.run_id, run_facets),
        job=ol.Job(namespace, job, job_facets or {}),
        inputs=inputs or [],
        outputs=outputs or [],
        producer=producer(),
    )
    for facet in _facets_of(event):
        facet._producer = producer()
    return event


def producer() -> str:
    """The package URL of this version: a URI, as the schemas require."""
    return f"pkg:pypi/pipeline-assets@{version('pipeline-assets')}"


def _facets_of(event: RunEvent) -> Iterator[Any]:
    of_event = [event.run.facets, event.job.facets]
    of_inputs = [facets for each in event.inputs or [] for facets in (each.facets, each.inputFacets)]
    of_outputs = [facets for each in event.outputs or [] for facets in (each.facets, each.outputFacets)]
    for facets in (*of_event, *of_inputs, *of_outputs):
        yield from (facets or {}).values()


def _run_facets(run: dg.DagsterRun, record: RunRecord, namespace: str, parent: str) -> dict[str, Any]:
    from openlineage.client import facet_v2 as ol

    facets: dict[str, Any] = {
        "processing_engine": ol.processing_engine_run.ProcessingEngineRunFacet(
            dg.__version__, "Dagster", version("pipeline-assets")
        )
    }
    if parent:
        facets["parent"] = _parent(run.run_id, namespace, parent)
    elif run.parent_run_id:
        facets["parent"] = _parent(run.parent_run_id, namespace, run.job_name)
    if nominal := nominal_time(run):
        start, end = nominal
        facets["nominalTime"] = ol.nominal_time_run.NominalTimeRunFacet(
            start.isoformat(), end.isoformat() if end else None
        )
    if record.error:
        facets["errorMessage"] = ol.error_message_run.ErrorMessageRunFacet(record.error, "python")
    return facets


def _parent(run_id: str, namespace: str, job: str) -> Any:
    from openlineage.client.generated import parent_run as ol

    return ol.ParentRunFacet(ol.Run(run_id), ol.Job(namespace, job))


def _datasets(
    described: DescribedPipeline, record: RunRecord, *, is_start: bool
) -> tuple[list[InputDataset], list[OutputDataset]]:
    """What a run may read and write, or has read and written; a check reads its table."""
    from openlineage.client import event_v2 as ol

    selected = {key.to_user_string() for key in record.run.asset_selection or ()}
    only_checks = bool(record.run.asset_check_selection) and not selected
    planned = [] if only_checks else [key for key in described.outputs if not selected or key in selected]
    reported = [key for key in described.outputs if key in record.written or key in record.observed]
    written = planned if is_start else [key for key in reported if key in record.written]
    read = dict.fromkeys(reads_of(described, reported or planned))
    # A list is read from the records that hold it, and extracted files from their database.
    read |= dict.fromkeys(reads_of(described, [key for key in read if described.datasets[key].kind == "source"]))
    read |= dict.fromkeys(key for key in record.checks if key in described.datasets)
    inputs = []
    for key in read:
        if key in described.databases and not record.extracts:
            continue
        metadata = record.observed.get(key, {}) | record.written.get(key, {})
        name, facets = described.names[key], described.dataset_facets(key, metadata)
        inputs.append(ol.InputDataset(name.namespace, name.name, _input_facets(record, key), facets=facets))
    outputs = []
    for key in written:
        metadata = record.written.get(key, {})
        name, facets = described.names[key], described.dataset_facets(key, metadata) | _state_facets(metadata)
        outputs.append(ol.OutputDataset(name.namespace, name.name, _output_facets(metadata), facets=facets))
    return inputs, outputs


def _input_facets(record: RunRecord, key: str) -> dict[str, Any]:
    """What a run read of landed files, and the results of the checks of a table.

    Descriptions of results are left out: they may contain examples, which may be personal.
    """
    from openlineage.client import facet_v2 as ol

    facets: dict[str, Any] = {}
    observed = record.observed.get(key, {})
    if "records" in observed:
        counts = (int(observed["records"]), int(observed["bytes"]), int(observed["objects"]))
        facets["inputStatistics"] = ol.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(*counts)
        facets["dataQualityMetrics"] = ol.data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
            {}, *counts
        )
    if checks := record.checks.get(key):
        quality = ol.data_quality_assertions_dataset
        facets["dataQualityAssertions"] = quality.DataQualityAssertionsDatasetFacet(
            [
                quality.Assertion(
                    assertion=check.check_name,
                    success=check.passed,
                    severity=check.severity.value.lower(),
                    expected=_text(check.metadata.get("expected")),
                    actual=_text(check.metadata.get("found")),
                )
                for check in checks.values()
            ]
        )
    return facets


def _text(value: dg.MetadataValue | None) -> str | None:
    return None if value is None else str(value.value)


def _output_facets(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The rows or files that a run wrote; an export is one file."""
    from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet

    rows = metadata.get("table_rows_written")
    files = metadata.get("table_files_written", 1 if "dagster/uri" in metadata else None)
    if rows is None and files is None:
        return {}
    return {"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows, fileCount=files)}


def _state_facets(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a dataset after a run: all of its rows, and the batch that made it."""
    from openlineage.client import facet_v2 as ol

    facets: dict[str, Any] = {}
    if batch := metadata.get("batch_id"):
        facets["version"] = ol.dataset_version_dataset.DatasetVersionDatasetFacet(str(batch))
    if (rows := metadata.get("dagster/row_count")) is not None:
        facets["dataQualityMetrics"] = ol.data_quality_metrics_dataset.DataQualityMetricsDatasetFacet({}, int(rows))
    return facets


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
