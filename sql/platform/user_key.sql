-- Makes: the public key of the service user. The second key of a rotation (RSA_PUBLIC_KEY_2) is left alone.
ALTER USER ${user} SET RSA_PUBLIC_KEY = ${public_key}
