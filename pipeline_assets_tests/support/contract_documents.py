"""ODCS documents that say everything that a contract may say, one for each form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.odcs import contract_of

Change = Callable[[dict[str, Any]], object]


def custom(**values: object) -> list[dict[str, object]]:
    return [{"property": name, "value": value} for name, value in values.items()]


_LATENCY = {"property": "latency", "value": 2, "unit": "d", "element": "SALES.SOLD_ON"}


def _document(form: str, *properties: dict[str, Any], **schema: object) -> dict[str, Any]:
    dated = any(entry["name"] == "SOLD_ON" for entry in properties)
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "name": "sales",
        "version": "1.0.0",
        "domain": "shop",
        "description": {"purpose": "Sales."},
        "team": {"name": "sellers"},
        **({"slaProperties": [_LATENCY]} if dated else {}),
        "schema": [
            {
                "name": "sales",
                "physicalName": "SALES",
                "physicalType": form,
                "dataGranularityDescription": "One row per sale.",
                "properties": list(properties),
                **schema,
            }
        ],
    }


_SALE_ID = {
    "name": "SALE_ID",
    "logicalType": "string",
    "physicalType": "VARCHAR(8)",
    "logicalTypeOptions": {"maxLength": 8},
    "primaryKey": True,
    "required": True,
    "description": "Identifies a sale.",
}
_SHOP_ID = {
    "name": "SHOP_ID",
    "logicalType": "string",
    "physicalType": "VARCHAR(8)",
    "relationships": [
        {
            "type": "foreignKey",
            "to": "shops.SHOP_ID",
            "customProperties": custom(
                reasonCode="orphan_sale", meaning="the sale's shop is not known yet", onMissing="quarantine"
            ),
        }
    ],
}
_STATE = {
    "name": "STATE",
    "logicalType": "string",
    "physicalType": "VARCHAR(8)",
    "quality": [
        {
            "type": "library",
            "metric": "invalidValues",
            "arguments": {"validValues": ["open", "closed"]},
            "mustBe": 0,
        }
    ],
}
_SELLER = {
    "name": "SELLER",
    "logicalType": "string",
    "physicalType": "VARCHAR(80)",
    "classification": "personal",
    "customProperties": custom(blanks="keep"),
}
_SOLD_ON = {
    "name": "SOLD_ON",
    "logicalType": "date",
    "physicalType": "DATE",
    "customProperties": custom(inputFormats=["DD-MM-YYYY", "YYYY-MM-DD"]),
}
_RULE = {
    "type": "sql",
    "name": "open_sales_are_few",
    "description": "Shops close their sales.",
    "query": "SELECT COUNT(*) FROM SHOP.SALES WHERE STATE = 'open'",
    "mustBeLessThan": 10,
    "severity": "warning",
    "customProperties": custom(failingRows="SELECT SALE_ID FROM SHOP.SALES WHERE STATE = 'open'"),
}
CSV = _document(
    "csv",
    *(_SALE_ID, _SHOP_ID, _STATE, _SELLER, _SOLD_ON),
    quality=[_RULE],
    customProperties=custom(
        dialect={"header": False, "delimiter": "|", "escape": "\\", "encoding": "latin-1", "nullText": "\\N"}
    ),
)
TABLE = _document("table", _SALE_ID, _SHOP_ID, _STATE, _SELLER, _SOLD_ON, quality=[_RULE])
JSON = _document(
    "json",
    {**_SALE_ID, "physicalName": "id"},
    {"name": "SELLER", "logicalType": "object", "physicalName": "by", "properties": [{**_SELLER, "name": "NAME"}]},
    {
        "name": "LINES",
        "logicalType": "array",
        "physicalName": "lines",
        "description": "What was sold.",
        "items": {"logicalType": "object", "properties": [{**_STATE, "physicalName": "state"}]},
    },
    quality=[_RULE],
)
PARQUET = _document(
    "parquet",
    {
        "name": "SALE_ID",
        "logicalType": "string",
        "physicalType": "STRING",
        "required": True,
        "classification": "personal",
        "description": "Identifies a sale.",
        "customProperties": custom(keepTogether=True),
    },
    {"name": "DT", "logicalType": "date", "physicalType": "DATE", "partitioned": True},
)
DOCUMENTS = {"csv": CSV, "table": TABLE, "json": JSON, "parquet": PARQUET}


def contract(document: dict[str, Any] = CSV, change: Change = lambda document: None) -> Contract:
    """One of the documents with one change, read."""
    changed = copy.deepcopy(document)
    change(changed)
    return contract_of("sales.yaml", changed)


def schema(document: dict[str, Any]) -> dict[str, Any]:
    return document["schema"][0]


def column(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in schema(document)["properties"] if entry["name"] == name)
