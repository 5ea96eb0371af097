"""The two stores."""

from pipeline_assets_tests.support.object_stores import put, s3, s3_url, store

__all__ = ["put", "s3", "s3_url", "store"]
