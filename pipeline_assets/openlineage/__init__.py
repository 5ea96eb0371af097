"""Lineage of runs as OpenLineage events, to a file or to a collector.

The Dagster instance is the outbox: a cursor in it says which status changes of runs were sent. The client of
OpenLineage (extra `openlineage`) is imported only when an event is made.
"""

from pipeline_assets.openlineage.sender import LineageSender, lineage_sender, lineage_sensor

__all__ = ["LineageSender", "lineage_sender", "lineage_sensor"]
