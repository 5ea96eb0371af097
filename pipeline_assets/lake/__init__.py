"""Objects: stores for the local file system and S3, landing zones, and what lies in them.

`objects` names an object version, `local` and `s3` move bytes, `foreign` says why an object cannot be read, `zones`
maps objects to datasets, `zone_poll` detects a change since the last poll, `notifications` receives S3's events,
`new_objects` compares a listing with the ledger, `tables` maps a lake table to its files, `glue_catalog` registers it
with Glue and `lease` admits one run at a time. `delivery_stream` and `firehose` deliver records as objects. `archives`
packs and unpacks zip archives; otherwise the content of objects is not read here.
"""

from pipeline_assets.lake.local import LocalLake
from pipeline_assets.lake.new_objects import KnownObjects
from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.s3 import S3Lake
from pipeline_assets.lake.store import Lake
from pipeline_assets.lake.tables import Catalog, LakeTable
from pipeline_assets.lake.zones import Zone

__all__ = ["Catalog", "KnownObjects", "Lake", "LakeTable", "LandedObject", "LocalLake", "S3Lake", "Zone"]
