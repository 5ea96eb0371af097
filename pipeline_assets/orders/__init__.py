"""Nested JSON orders: from landed files to the ORDERS tables and a Parquet table in the lake."""
