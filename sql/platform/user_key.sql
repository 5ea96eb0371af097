-- Makes: the public half of the key pair known. The second key of a rotation (RSA_PUBLIC_KEY_2) is left alone.
ALTER USER ${user} SET RSA_PUBLIC_KEY = ${public_key}
