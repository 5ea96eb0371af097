-- Grain: one row per object version that was rejected whole and not loaded since, the first twenty by uri.
SELECT
    SOURCE_URI,
    REASON_CODE
FROM OPS.QUARANTINE
WHERE
    PIPELINE = %(pipeline)s
    AND LINE_NUMBER IS NULL
    AND REPLAYED_AT IS NULL
    AND CLOSED_AT IS NULL
ORDER BY SOURCE_URI
LIMIT 20
