"""Nested JSON orders: landed files to the ORDERS tables and a Parquet table of the lake."""
