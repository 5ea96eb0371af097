-- Makes: the database of all schemas.
CREATE DATABASE IF NOT EXISTS ${database} COMMENT = 'Tables of the pipelines.'
