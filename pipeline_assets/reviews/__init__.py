"""Incremental loads from MySQL; so far only the bucket."""
