-- Grain: one row per current movie, role and person; the text in parentheses behind a writer is left out.
SELECT
    CREDIT.IMDB_ID,
    CREDIT.ROLE,
    MD5(TRIM(PERSON.VALUE, ' ')) AS PERSON_SK,
    MIN(PERSON.INDEX) + 1 AS POSITION
FROM (
    SELECT
        IMDB_ID,
        'director' AS ROLE,
        DIRECTORS AS NAMES
    FROM MOVIES.DIM_MOVIE
    WHERE IS_CURRENT
    UNION ALL
    SELECT
        IMDB_ID,
        'writer' AS ROLE,
        REGEXP_REPLACE(WRITERS, '[(][^)]*[)]', '') AS NAMES
    FROM MOVIES.DIM_MOVIE
    WHERE IS_CURRENT
    UNION ALL
    SELECT
        IMDB_ID,
        'actor' AS ROLE,
        ACTORS AS NAMES
    FROM MOVIES.DIM_MOVIE
    WHERE IS_CURRENT
) AS CREDIT,
    LATERAL FLATTEN(INPUT => SPLIT(CREDIT.NAMES, ',')) AS PERSON
WHERE TRIM(PERSON.VALUE, ' ') <> ''
GROUP BY CREDIT.IMDB_ID, MD5(TRIM(PERSON.VALUE, ' ')), CREDIT.ROLE
