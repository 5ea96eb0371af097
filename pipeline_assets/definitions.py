"""The code location: Dagster definitions built from the settings.

Importing this module reads no environment and opens no connection. Dagster calls `defs` when it loads the code
location; only then are the settings read (their library costs a seventh of importing dagster).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.openlineage import lineage_sender, lineage_sensor
from pipeline_assets.orchestration.alerts import failed_run_sensor
from pipeline_assets.orchestration.automation import pipeline_definitions
from pipeline_assets.orchestration.execution import LINEAGE
from pipeline_assets.orchestration.forked_runs import fork_runs
from pipeline_assets.orchestration.sqlite_storages import keep_migrations_and_engines
from pipeline_assets.pipelines import pipelines, require_known_pipelines

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """The whole code location for one installation.

    Raises:
        ConfigurationError: a setting, a contract or a SQL file is wrong.
    """
    registered = pipelines(settings)
    require_known_pipelines(settings, registered)
    platform = build_platform(settings)
    resources: dict[str, tuple[object, str]] = {
        "platform": (platform, "All of the following, with the policies and the clock of this installation."),
        "s3": (platform.lake, "The objects: buckets in S3, or plain files below PIPELINE_HOME/lake."),
        "glue": (platform.catalog, "The catalog of the lake tables: Glue's, or views of the embedded warehouse."),
        "snowflake": (platform.warehouse, "The warehouse: Snowflake, or its SQL on an embedded DuckDB."),
        "engine": (platform.engine, "What reads and joins landed files: DuckDB, Spark or Glue."),
        "alerts": (platform.alerts, "Where alerts go: alerts.jsonl and the log, and an SNS topic if there is one."),
    }
    sensors = [failed_run_sensor()]
    if sender := lineage_sender(settings, registered):
        resources[LINEAGE] = (sender, "Sends the lineage of runs as OpenLineage events.")
        sensors.append(lineage_sensor(sender))
    no_configuration = dg.Field({}, is_required=False, description="The settings configure it (PIPELINE_…).")
    described = {
        # Dagster's `hardcoded_resource` has a field for any configuration in the launchpad, without a description.
        name: dg.ResourceDefinition(lambda _, value=value: value, no_configuration, description)
        for name, (value, description) in resources.items()
    }
    return dg.Definitions.merge(
        *(pipeline_definitions(pipeline, settings) for pipeline in registered.values()),
        # In process, as an executor with a process per step takes twice as long for the one step of a batch.
        dg.Definitions(resources=described, sensors=sensors, executor=dg.in_process_executor),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location that workspace.yaml and `dg` load."""
    from pipeline_assets.settings import load_settings

    keep_migrations_and_engines()  # each tick of a sensor opens the instance
    fork_runs()
    return build_definitions(load_settings())
