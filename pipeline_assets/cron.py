"""Cron expressions of schedules."""

from __future__ import annotations


def is_cron(text: str) -> bool:
    """Whether a text is a cron expression of five fields, as Dagster reads it."""
    import dagster as dg

    try:
        dg.ScheduleDefinition(name="validated", job_name="validated", cron_schedule=text)
    except dg.DagsterInvalidDefinitionError:
        return False
    return len(text.split()) == 5
