-- Grain: one row per mart that was made, with the digest of the SELECT that made it.
SELECT
    TABLE_NAME,
    SELECT_DIGEST
FROM OPS.MARTS
