"""Incremental loads from MySQL; so far only their bucket."""
