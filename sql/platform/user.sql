-- Makes: the service user of the pipelines. It has no password; its public key is set by a statement of its own.
CREATE USER IF NOT EXISTS ${user}
    TYPE = SERVICE
    COMMENT = 'Signs in with a key pair for the pipelines.'
