-- Grain: one row per movie and review provider.
SELECT
    RATINGS.IMDBID AS IMDB_ID,
    RATINGS.TITLE AS MOVIE_NAME,
    RATINGS.SOURCE AS REVIEW_PROVIDER,
    CAST(
        ROUND(
            CAST(SPLIT_PART(REPLACE(REPLACE(RATINGS.VALUE, '%', ''), ' ', ''), '/', 1) AS NUMBER(7, 4))
            * CASE SPLIT_PART(REPLACE(RATINGS.VALUE, ' ', ''), '/', 2)
                WHEN '10' THEN 10
                WHEN '5' THEN 20
                WHEN '4' THEN 25
                ELSE 1
            END,
            0
        ) AS NUMBER(3, 0)
    ) AS RATING
FROM RATINGS
