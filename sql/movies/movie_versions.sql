-- Grain: one row per delivered version of a movie, with typed values; a text that cannot be typed is NULL.
SELECT
    MOVIES.IMDBID AS IMDB_ID,
    MOVIES.TITLE,
    MOVIES.TYPE,
    MOVIES.RATED,
    MOVIES.GENRE AS GENRES,
    MOVIES.DIRECTOR AS DIRECTORS,
    MOVIES.WRITER AS WRITERS,
    MOVIES.ACTORS,
    MOVIES.PLOT,
    MOVIES.LANGUAGE AS LANGUAGES,
    MOVIES.COUNTRY AS COUNTRIES,
    MOVIES.AWARDS,
    MOVIES.PRODUCTION,
    MOVIES.POSTER,
    MOVIES.WEBSITE,
    CASE WHEN REGEXP_LIKE(MOVIES.YEAR, '^[0-9]{4}.*$') THEN TRY_CAST(LEFT(MOVIES.YEAR, 4) AS NUMBER(4, 0)) END
        AS START_YEAR,
    CASE
        WHEN REGEXP_LIKE(MOVIES.YEAR, '^[0-9]{4} ?[–-] ?[0-9]{4}$') THEN TRY_CAST(RIGHT(MOVIES.YEAR, 4) AS NUMBER(4, 0))
    END AS END_YEAR,
    CASE
        WHEN REGEXP_LIKE(MOVIES.YEAR, '^[0-9]{4}.*$') THEN TRY_CAST(CONCAT(LEFT(MOVIES.YEAR, 3), '0') AS NUMBER(4, 0))
    END AS DECADE,
    CASE
        WHEN
            REGEXP_LIKE(MOVIES.RELEASED, '^[0-9]{4}-[0-9]{2}-[0-9]{2}$')
            THEN TRY_TO_DATE(MOVIES.RELEASED, 'YYYY-MM-DD')
        WHEN REGEXP_LIKE(MOVIES.RELEASED, '^[0-9]{1,2} [A-Za-z]{3} [0-9]{4}$')
            THEN TRY_TO_DATE(
                CONCAT(
                    SPLIT_PART(MOVIES.RELEASED, ' ', 3),
                    '-',
                    CASE UPPER(SPLIT_PART(MOVIES.RELEASED, ' ', 2))
                        WHEN 'JAN' THEN '01'
                        WHEN 'FEB' THEN '02'
                        WHEN 'MAR' THEN '03'
                        WHEN 'APR' THEN '04'
                        WHEN 'MAY' THEN '05'
                        WHEN 'JUN' THEN '06'
                        WHEN 'JUL' THEN '07'
                        WHEN 'AUG' THEN '08'
                        WHEN 'SEP' THEN '09'
                        WHEN 'OCT' THEN '10'
                        WHEN 'NOV' THEN '11'
                        WHEN 'DEC' THEN '12'
                    END,
                    '-',
                    LPAD(SPLIT_PART(MOVIES.RELEASED, ' ', 1), 2, '0')
                ),
                'YYYY-MM-DD'
            )
    END AS RELEASED,
    CASE
        WHEN REGEXP_LIKE(MOVIES.RUNTIME, '^[0-9]{1,4} ?(min)?$')
            THEN TRY_CAST(TRIM(REPLACE(MOVIES.RUNTIME, 'min', ''), ' ') AS NUMBER(5, 0))
        WHEN REGEXP_LIKE(MOVIES.RUNTIME, '^[0-9]{1,2} ?h ?[0-9]{1,2} ?min$')
            THEN
                TRY_CAST(TRIM(SPLIT_PART(MOVIES.RUNTIME, 'h', 1), ' ') AS NUMBER(5, 0)) * 60
                + TRY_CAST(TRIM(REPLACE(SPLIT_PART(MOVIES.RUNTIME, 'h', 2), 'min', ''), ' ') AS NUMBER(5, 0))
    END AS RUNTIME_MINUTES,
    CASE
        WHEN REGEXP_LIKE(MOVIES.METASCORE, '^(100|[0-9]{1,2})$') THEN TRY_CAST(MOVIES.METASCORE AS NUMBER(3, 0))
    END AS METASCORE,
    CASE
        WHEN REGEXP_LIKE(MOVIES.IMDBRATING, '^(10([.]0{1,2})?|[0-9]([.][0-9]{1,2})?)$')
            THEN TRY_CAST(MOVIES.IMDBRATING AS NUMBER(4, 2))
    END AS IMDB_RATING,
    CASE
        WHEN REGEXP_LIKE(MOVIES.IMDBVOTES, '^[0-9,]{1,15}$')
            THEN TRY_CAST(REPLACE(MOVIES.IMDBVOTES, ',', '') AS NUMBER(15, 0))
    END AS IMDB_VOTES,
    CASE
        WHEN REGEXP_LIKE(MOVIES.BOXOFFICE, '^[$][0-9,]{1,15}$')
            THEN TRY_CAST(REPLACE(REPLACE(MOVIES.BOXOFFICE, ',', ''), '$', '') AS NUMBER(15, 0))
    END AS BOX_OFFICE,
    CASE
        WHEN REGEXP_LIKE(MOVIES.TOTALSEASONS, '^[0-9]{1,4}$') THEN TRY_CAST(MOVIES.TOTALSEASONS AS NUMBER(5, 0))
    END AS TOTAL_SEASONS
FROM MOVIES
