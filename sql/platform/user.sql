-- Makes: the service user of the pipelines. It has no password; another statement sets its public key.
CREATE USER IF NOT EXISTS ${user}
    TYPE = SERVICE
    COMMENT = 'Signs in with a key pair for the pipelines.'
