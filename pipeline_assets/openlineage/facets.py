"""The facets of datasets and jobs, from contracts and SELECTs, as classes of the official client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.catalog.datasets import ColumnEntry, Dataset, datasets_of
from pipeline_assets.contracts import Column
from pipeline_assets.contracts.ddl import DISTINCT_ROW, PROVENANCE, SOURCE_ETAG
from pipeline_assets.openlineage.names import DatasetName, dataset_names
from pipeline_assets.orchestration.automation import describe
from pipeline_assets.orchestration.columns import assets_of_relations
from pipeline_assets.orchestration.keys import database_key, table_key
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.pipeline.selects import DIALECT, Select
from pipeline_assets.pipeline.transformations import IDENTITY, TRANSFORMATION, Use

if TYPE_CHECKING:
    from openlineage.client.facet_v2 import DatasetFacet, JobFacet

    from pipeline_assets.settings import Settings

_ADDED = {*PROVENANCE, *(name for name, *_ in (SOURCE_ETAG, *DISTINCT_ROW))}  # by the platform, to columns of tables
_PACKAGE = Path(__file__).resolve().parents[1]
_TYPES = {"view": "VIEW", "source": "FILE", "lake table": "FILE", "export": "FILE"}
Uses = Mapping[tuple[str, str], set[Use]]  # of columns as (key of a dataset, column)


@dataclass(frozen=True, eq=False)
class DescribedPipeline:
    """What events say of a pipeline whenever it runs."""

    resolved: ResolvedPipeline
    settings: Settings

    @cached_property
    def pipeline(self) -> ResolvedPipeline:
        """The pipeline with SELECTs of its own: two threads may not trace one, and a run may be tracing the others."""
        return derive(self.resolved.value)

    @cached_property
    def names(self) -> dict[str, DatasetName]:
        return dataset_names(self.pipeline, self.settings)

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """The datasets of the catalog by key."""
        return {dataset.key: dataset for dataset in datasets_of([self.pipeline])}

    @cached_property
    def databases(self) -> set[str]:
        """The keys of the tables that its files are extracted from."""
        extracted = [source for source in self.pipeline.sources if source.declared.database]
        return {database_key(source, self.pipeline.name).to_user_string() for source in extracted}

    @property
    def outputs(self) -> list[str]:
        """The keys of what its runs write."""
        return [key for key, dataset in self.datasets.items() if dataset.kind != "source"]

    @cached_property
    def _selects(self) -> dict[str, Select]:
        pipeline = self.pipeline
        outputs: list[Any] = [*pipeline.tables, *pipeline.marts, *pipeline.views]
        outputs += [*pipeline.lake_outputs, *pipeline.lake_copies]
        return {table_key(pipeline, output.contract).to_user_string(): output.select for output in outputs}

    @cached_property
    def _keys(self) -> dict[str, str]:
        return {relation: key.to_user_string() for relation, key in assets_of_relations(self.pipeline).items()}

    @cached_property
    def job_facets(self) -> dict[str, JobFacet]:
        """SQL, source code, documentation, owners and type of the job."""
        from openlineage.client import facet_v2 as ol

        owners = {contract.owner for contract in self.pipeline.contracts}
        facets: dict[str, JobFacet] = {
            "jobType": ol.job_type_job.JobTypeJobFacet("BATCH", "DAGSTER", "JOB"),
            "documentation": ol.documentation_job.DocumentationJobFacet(describe(self.pipeline), "text/plain"),
            "ownership": ol.ownership_job.OwnershipJobFacet(
                [ol.ownership_job.Owner(f"team:{owner}", "OWNER") for owner in sorted(owners)]
            ),
        }
        statements = [f"-- {self.names[key].name}\n{select.text.strip()}" for key, select in self._selects.items()]
        if statements:
            facets["sql"] = ol.sql_job.SQLJobFacet(";\n\n".join(statements), DIALECT)
        code = (self.pipeline.value.folder or _PACKAGE / self.pipeline.name) / "pipeline.py"
        if code.is_file():
            facets["sourceCode"] = ol.source_code_job.SourceCodeJobFacet("python", code.read_text(encoding="utf-8"))
        return facets

    def dataset_facets(self, key: str, metadata: Mapping[str, Any]) -> dict[str, DatasetFacet]:
        """Schema, column lineage, documentation, owner, type and tags of a dataset.

        `metadata` is that of its event in a run, with the columns that the run learnt if its contract is open.
        """
        dataset = self.datasets[key]
        if dataset.contract.is_open:
            return self._facets(_with_learnt_columns(dataset, metadata))
        if key not in self._closed:
            self._closed[key] = self._facets(dataset)
        return dict(self._closed[key])

    @cached_property
    def _closed(self) -> dict[str, dict[str, DatasetFacet]]:
        """The facets of datasets whose contracts have all of their columns; tracing these takes long."""
        return {}

    def _facets(self, dataset: Dataset) -> dict[str, DatasetFacet]:
        from openlineage.client import facet_v2 as ol

        contract = dataset.contract
        schema = ol.schema_dataset
        fields = [
            schema.SchemaDatasetFacetFields(c.name, c.physical_type, c.description or None, number)
            for number, c in enumerate((entry.column for entry in dataset.columns), 1)
        ]
        facets: dict[str, DatasetFacet] = {
            "schema": schema.SchemaDatasetFacet(fields),
            "documentation": ol.documentation_dataset.DocumentationDatasetFacet(
                f"{contract.description}\n\nGrain: {contract.grain}".strip(), "text/plain"
            ),
            "ownership": ol.ownership_dataset.OwnershipDatasetFacet(
                [ol.ownership_dataset.Owner(f"team:{contract.owner}", "OWNER")]
            ),
            "datasetType": ol.dataset_type_dataset.DatasetTypeDatasetFacet(self._type_of(dataset)),
        }
        if classified := [entry.column for entry in dataset.columns if entry.column.classification]:
            tag = ol.tags_dataset.TagsDatasetFacetFields
            tags = [tag("classification", str(c.classification), "CONTRACT", c.name) for c in classified]
            facets["tags"] = ol.tags_dataset.TagsDatasetFacet(tags)
        if lineage := self._column_lineage(dataset):
            facets["columnLineage"] = lineage
        return facets

    def _type_of(self, dataset: Dataset) -> str:
        is_file = self.names[dataset.key].namespace.startswith(("file", "s3://"))
        return _TYPES.get(dataset.kind, "TABLE") if is_file or dataset.kind == "view" else "TABLE"

    def _column_lineage(self, dataset: Dataset) -> DatasetFacet | None:
        """The inputs of each column, as the catalog shows them; None if the dataset is computed from nothing."""
        from openlineage.client.generated import column_lineage_dataset as ol

        if not dataset.reads:
            return None
        fields = {}
        for entry in dataset.columns:
            uses = self._uses(dataset.key, entry)
            expression = entry.steps[0].expression if entry.steps else None
            # Columns that a run of another version learnt may be of datasets that are gone.
            known = [column for column in entry.inputs if column[0] in self.names]
            inputs = [self._input(*column, uses[column], expression) for column in known]
            if inputs:
                fields[entry.column.name] = ol.Fields(inputs)
        select = self._selects.get(dataset.key)
        of_rows = self._of_keys(select.row_uses) if select else {}
        rows = [self._input(*column, uses, None) for column, uses in sorted(of_rows.items())]
        return ol.ColumnLineageDatasetFacet(fields, rows)

    def _input(self, key: str, column: str, uses: set[Use], expression: str | None) -> Any:
        from openlineage.client.generated import column_lineage_dataset as ol

        name = self.names[key]
        ways = [ol.Transformation(u.type, u.subtype, None if u == IDENTITY else expression) for u in sorted(uses)]
        return ol.InputField(name.namespace, name.name, column, ways)

    def _uses(self, key: str, entry: ColumnEntry) -> Uses:
        """How the inputs of a column are used; without a SELECT a value is that of the input, or a part of it."""
        select = self._selects.get(key)
        traced = self._of_keys(select.uses_of(entry.column.name)) if select and entry.steps else {}
        name = entry.column.name
        plain = {column: {IDENTITY if column[1] == name else TRANSFORMATION} for column in entry.inputs}
        return plain | traced

    def _of_keys(self, uses: Uses) -> dict[tuple[str, str], set[Use]]:
        """The uses of columns of relations as those of datasets, without the columns that the platform sets."""
        found: dict[tuple[str, str], set[Use]] = {}
        for (relation, column), of_column in uses.items():
            if not column.startswith("_"):
                found.setdefault((self._keys[relation], column), set()).update(of_column)
        return found


def reads_of(described: DescribedPipeline, keys: Sequence[str]) -> Iterator[str]:
    """The datasets that some are computed from; tables that the same run writes are among them."""
    yield from dict.fromkeys(read for key in keys for read in described.datasets[key].reads)


def _with_learnt_columns(dataset: Dataset, metadata: Mapping[str, Any]) -> Dataset:
    """The dataset with the columns that a run reported."""
    schema, lineage = metadata.get("dagster/column_schema"), metadata.get("dagster/column_lineage")
    if not (schema and lineage):
        return dataset
    columns = []
    for shown in schema.columns:
        if shown.name in _ADDED:
            continue
        deps = lineage.deps_by_column.get(shown.name, [])
        column = Column(
            shown.name,
            "string",
            shown.type,
            shown.description or "",
            classification=shown.tags.get("classification"),
        )
        inputs = tuple((dep.asset_key.to_user_string(), dep.column_name) for dep in deps)
        columns.append(ColumnEntry(column, inputs))
    return replace(dataset, columns=tuple(columns))
