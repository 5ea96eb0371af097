"""Cron expressions of schedules."""

from __future__ import annotations

import re

# Dagster reads digits of every script, and R as a random value, another one each time.
_NOT_CRON = re.compile(r"[^\x00-\x7F]|\bR\b", re.IGNORECASE)


def is_cron(text: str) -> bool:
    """Whether a text is a cron expression of five fields, as Dagster reads it."""
    import dagster as dg

    if _NOT_CRON.search(text):
        return False

    try:
        dg.ScheduleDefinition(name="validated", job_name="validated", cron_schedule=text)
    except dg.DagsterInvalidDefinitionError:
        return False
    return len(text.split()) == 5
