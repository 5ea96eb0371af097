"""An embedded warehouse of its own for each test."""

from pipeline_assets_tests.support.warehouse_fixtures import prepared, shop_lake, warehouse

__all__ = ["prepared", "shop_lake", "warehouse"]
