"""Movie archives; so far only their buckets."""
