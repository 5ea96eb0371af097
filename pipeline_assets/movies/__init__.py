"""Movie archives; so far only the buckets."""
