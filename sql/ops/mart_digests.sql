-- Grain: one row per mart or view that was made, with the digest of its SELECT.
SELECT
    TABLE_NAME,
    SELECT_DIGEST
FROM OPS.MARTS
