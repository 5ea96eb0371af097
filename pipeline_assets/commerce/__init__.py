"""Streamed customers and orders; so far only the bucket and the delivery streams."""
