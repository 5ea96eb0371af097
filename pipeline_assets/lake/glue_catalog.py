"""The Glue Data Catalog: database, table and partitions of lake tables, for Athena, Spark and other readers.

A partition's folder never changes, so a partition that is registered already stays as it is. The catalog changes only
when a partition gets its first file or loses its last one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pipeline_assets.aws import Aws, aws_errors, slices
from pipeline_assets.contracts.names import lake_name
from pipeline_assets.errors import LakeError
from pipeline_assets.lake.store import Lake
from pipeline_assets.lake.tables import LakeTable

logger = logging.getLogger("pipeline_assets")
CREATE_LIMIT = 100  # partitions that Glue takes in one BatchCreatePartition


class GlueCatalog:
    """See `pipeline_assets.lake.tables.Catalog`. `crawler` is started after each registration, if set."""

    def __init__(self, lake: Lake, aws: Aws, database: str, crawler: str | None = None) -> None:
        self._lake = lake
        self._aws = aws
        self._database = database
        self._crawler = crawler

    def register(self, table: LakeTable, partitions: Sequence[str]) -> None:
        client = self._aws.client("glue")
        self._ensure_table(client, table)
        found = table.files_by_partition(self._lake, partitions)
        self._create(client, table, [partition for partition, files in found.items() if files])
        self._delete(client, table, [partition for partition, files in found.items() if not files])
        if self._crawler:
            self._crawl(client, self._crawler)

    def _ensure_table(self, client: Any, table: LakeTable) -> None:
        """Create database and table if they are missing; update the columns of a table to the contract."""
        name, wanted = table.contract.name, self._table_input(table)
        doing = f"registering {self._database}.{name} in the Glue catalog"
        with aws_errors(doing, "glue:GetTable", expected=("EntityNotFoundException",)) as missing:
            table_in_glue = client.get_table(DatabaseName=self._database, Name=name)["Table"]
        if missing:
            with aws_errors(doing, "glue:CreateDatabase", expected=("AlreadyExistsException",)):
                client.create_database(DatabaseInput={"Name": self._database})
            with aws_errors(doing, "glue:CreateTable", expected=("AlreadyExistsException",)):
                client.create_table(DatabaseName=self._database, TableInput=wanted)
        elif table_in_glue["StorageDescriptor"]["Columns"] != wanted["StorageDescriptor"]["Columns"]:
            with aws_errors(doing, "glue:UpdateTable"):
                client.update_table(DatabaseName=self._database, TableInput=wanted)

    def _create(self, client: Any, table: LakeTable, partitions: Sequence[str]) -> None:
        doing = f"registering partitions of {self._database}.{table.contract.name}"
        for group in slices(partitions, CREATE_LIMIT):
            with aws_errors(doing, "glue:BatchCreatePartition"):
                response = client.batch_create_partition(
                    DatabaseName=self._database,
                    TableName=table.contract.name,
                    PartitionInputList=[
                        {"Values": [name], "StorageDescriptor": self._storage(table, table.folder(name))}
                        for name in group
                    ],
                )
            _check(doing, response, "AlreadyExistsException")

    def _delete(self, client: Any, table: LakeTable, partitions: Sequence[str]) -> None:
        """Delete empty partitions one by one, as there are few: a batch rarely removes all files of a day."""
        doing = f"removing empty partitions of {self._database}.{table.contract.name}"
        for name in partitions:
            with aws_errors(doing, "glue:DeletePartition", expected=("EntityNotFoundException",)):
                client.delete_partition(
                    DatabaseName=self._database, TableName=table.contract.name, PartitionValues=[name]
                )

    def _crawl(self, client: Any, crawler: str) -> None:
        doing = f"starting the crawler {crawler}"
        with aws_errors(doing, "glue:StartCrawler", expected=("CrawlerRunningException",)) as running:
            client.start_crawler(Name=crawler)
        if running:
            logger.info("The crawler %s is running already.", crawler)

    def _table_input(self, table: LakeTable) -> dict[str, Any]:
        contract = table.contract
        keys = [
            {"Name": lake_name(c.name), "Type": c.physical_type.lower(), "Comment": c.description}
            for c in contract.columns
            if c.partition
        ]
        return {
            "Name": contract.name,
            "Description": f"{contract.description} Grain: {contract.grain}",
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE", "contract": contract.version},
            "PartitionKeys": keys,
            "StorageDescriptor": self._storage(table, table.prefix),
        }

    def _storage(self, table: LakeTable, folder: str) -> dict[str, Any]:
        parquet = "org.apache.hadoop.hive.ql.io.parquet"
        return {
            "Columns": [
                {"Name": lake_name(c.name), "Type": c.physical_type.lower(), "Comment": c.description}
                for c in table.contract.columns
                if not c.partition
            ],
            "Location": self._lake.stage_url(table.bucket) + folder,
            "InputFormat": f"{parquet}.MapredParquetInputFormat",
            "OutputFormat": f"{parquet}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{parquet}.serde.ParquetHiveSerDe"},
        }


def _check(doing: str, response: dict[str, Any], harmless: str) -> None:
    """A batch call of Glue succeeds even if partitions fail; the response lists an error for each of those."""
    for error in response.get("Errors", []):
        detail = error.get("ErrorDetail", {})
        if detail.get("ErrorCode") != harmless:
            values = ", ".join(error.get("PartitionValues", []))
            reason = f"{detail.get('ErrorCode')}: {detail.get('ErrorMessage')}"
            raise LakeError(f"Failed {doing}: {values}: {reason}", remedy="The state is intact; run again.")
