-- Grain: one row per mart that was built, with the digest of its SELECT.
SELECT
    TABLE_NAME,
    SELECT_DIGEST
FROM OPS.MARTS
