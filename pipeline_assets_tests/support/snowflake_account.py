"""Settings of the `aws` profile against the test's own account of Snowflake, and a way to look into it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from urllib import request

from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import rsa

from pipeline_assets.settings import Settings, load_settings


@dataclass(frozen=True)
class Key:
    """A key pair, as the settings and as Snowflake take it."""

    private: str
    public: str

    @classmethod
    def new(cls) -> Key:
        # Each connection reads the key twice, which takes 36 ms for the 2,048 bits that Snowflake asks for.
        key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        private = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()).decode()
        public = key.public_key().public_bytes(pem.Encoding.DER, pem.PublicFormat.SubjectPublicKeyInfo)
        return cls(private, base64.b64encode(public).decode())


@dataclass(frozen=True)
class TestAccount:
    """The account that `snowflake_server` plays.

    `admin` and `loader` are the keys of its two users, `s3_url` is where its stages lie.
    """

    __test__ = False

    port: int
    admin: Key
    loader: Key
    s3_url: str | None = None

    def settings(self, home: Path, **changes: object) -> Settings:
        given: dict[str, object] = {
            "profile": "aws",
            "home": home,
            "s3_endpoint_url": self.s3_url,
            "snowflake_account": "acme-test",
            "snowflake_host": "127.0.0.1",
            "snowflake_port": self.port,
            "snowflake_protocol": "http",
            "snowflake_login_timeout": 10,
            "snowflake_user": "LOADER",
            "snowflake_private_key": self.loader.private,
            "snowflake_admin_user": "ADMIN",
            "snowflake_admin_private_key": self.admin.private,
            "snowflake_storage_role_arn": "arn:aws:iam::000000000000:role/snowflake",
        }
        return load_settings(**given | changes)

    def statements(self) -> list[str]:
        return self._get("statements")

    def sessions(self) -> list[dict]:
        return self._get("sessions")

    def pipes_do(self, outcome: str) -> None:
        """What happens to the files that pipes are told of from now on."""
        asked = request.Request(f"http://127.0.0.1:{self.port}/test/pipes", json.dumps({"outcome": outcome}).encode())
        request.urlopen(asked).close()

    def _get(self, what: str) -> list:
        with request.urlopen(f"http://127.0.0.1:{self.port}/test/statements") as answer:
            return json.loads(answer.read())[what]
