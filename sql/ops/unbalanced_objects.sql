-- Grain: one row per object version whose rows do not add up, the first twenty by uri.
SELECT URI
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND ROWS_READ <> ROWS_LOADED + ROWS_SUPERSEDED + ROWS_QUARANTINED
ORDER BY URI
LIMIT 20
