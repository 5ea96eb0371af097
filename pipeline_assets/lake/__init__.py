"""Objects: stores for the local file system and S3, landing zones, and what lies in them.

`objects` names an object version, `store` and `s3` move bytes, `zones` says what belongs to which dataset, `discovery`
tells whether anything changed since the last look and `notifications` hears of it sooner, `arrivals` tells what is new,
`tables` says where the files of a lake table lie and `glue_catalog` tells Glue. Nothing here knows what is inside an
object.
"""

from pipeline_assets.lake.new_objects import KnownObjects
from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.s3 import S3Lake
from pipeline_assets.lake.store import Lake, LocalLake
from pipeline_assets.lake.tables import Catalog, LakeTable
from pipeline_assets.lake.zones import Zone

__all__ = ["Catalog", "KnownObjects", "Lake", "LakeTable", "LandedObject", "LocalLake", "S3Lake", "Zone"]
