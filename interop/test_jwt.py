"""Tokens as identities: PyJWT signs, the broker checks; who has an expired one is sent away."""

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import broker as brokers
from session import Refused, Session

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="a plugin that is built in")

SECRET = "a secret of at least thirty-two bytes"
RULES = "user s1\ntopic readwrite s1/#\npattern read shared/%u\n"


def pem(key):
    """A public key as PEM."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Tokens(brokers.Broker):
    """A broker that lets tokens in."""

    def __init__(self, options, files=None):
        super().__init__()
        for name, content in {"rules": RULES, **(files or {})}.items():
            (self.directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        lines = ["user root", "auth_plugin /usr/lib/go-auth.so", "auth_opt_backends jwt", f"auth_opt_jwt_files_acl_path {self.directory}/rules"]
        lines += [f"auth_opt_{option.format(directory=self.directory)}" for option in options]
        self.config.write_text("\n".join([*lines, f"listener {self.port} 127.0.0.1", ""]))


def token(key=SECRET, algorithm="HS256", headers=None, lasts=60, **claims):
    """A token of the user s1."""
    return jwt.encode({"sub": "s1", "exp": time.time() + lasts, **claims}, key, algorithm, headers)


def enters(broker, username, password="any"):
    """Whether somebody is let in, and as s1."""
    try:
        with Session(broker.port, "c", username, password) as session:
            return session.publish("s1/x") in (0, 0x10) and session.publish("s2/x") == 0x87
    except Refused:
        return False


def test_a_token_is_the_user_name_or_the_password():
    with Tokens([f"jwt_secret {SECRET}"]) as broker:
        assert enters(broker, token())
        assert enters(broker, "s1", token())
        assert enters(broker, "", token())
        assert not enters(broker, "s2", token())
        assert not enters(broker, "s1", "any")
        assert not enters(broker, token(key="another secret of thirty-two bytes!"))
        assert not enters(broker, token(lasts=-60))
        assert not enters(broker, token(nbf=time.time() + 60))
        with Session(broker.port, "c", token(), "any") as session:
            assert session.subscribe("shared/s1", "shared/s2") == [1, 0x87]
        assert "u's1'" in broker.log_text(), "the name in force is that of the token"
        assert "eyJ" not in broker.log_text()


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        *((name, "rsa") for name in ("RS256", "RS384", "RS512", "PS256")),
        ("ES256", ec.SECP256R1()),
        ("ES384", ec.SECP384R1()),
        ("EdDSA", "ed25519"),
    ],
)
def test_public_keys_of_a_pem_file(algorithm, key):
    make = {"rsa": lambda: rsa.generate_private_key(65537, 2048), "ed25519": ed25519.Ed25519PrivateKey.generate}
    own, other = (make[key]() if isinstance(key, str) else ec.generate_private_key(key) for _ in range(2))
    with Tokens(["jwt_pem_file {directory}/key.pem"], {"key.pem": pem(own)}) as broker:
        assert enters(broker, token(own, algorithm))
        assert not enters(broker, token(other, algorithm))
        # The public key taken for a shared secret.
        part = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=")
        for name in ("HS256", "none"):
            signed = part(json.dumps({"alg": name}).encode()) + b"." + part(json.dumps({"sub": "s1", "exp": time.time() + 60}).encode())
            signature = hmac.digest(pem(own), signed, hashlib.sha256) if name == "HS256" else b""
            assert not enters(broker, (signed + b"." + part(signature)).decode())


def test_a_jwks_file_with_keys_by_name():
    first, second = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    keys = [
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(first.public_key())), "kid": "first", "use": "sig", "alg": "RS256"},
        {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(second.public_key())), "kid": "second"},
        {"kty": "RSA", "use": "enc", "kid": "third", "n": "AQAB", "e": "AQAB"},
    ]
    options = ["jwt_jwks_file {directory}/keys.json", "jwt_audience mqtt", "jwt_issuer us"]
    with Tokens(options, {"keys.json": json.dumps({"keys": keys})}) as broker:
        ours = {"aud": ["mqtt", "web"], "iss": "us"}
        assert enters(broker, token(first, "RS256", {"kid": "first"}, **ours))
        assert enters(broker, token(second, "ES256", {"kid": "second"}, **ours))
        assert not enters(broker, token(first, "RS256", {"kid": "second"}, **ours))
        assert not enters(broker, token(first, "RS384", {"kid": "first"}, **ours))
        assert not enters(broker, token(first, "RS256", {"kid": "first"}, aud="web", iss="us"))
        assert not enters(broker, token(first, "RS256", {"kid": "first"}, aud="mqtt", iss="them"))


def test_whose_token_ends_is_sent_away_within_seconds():
    with Tokens([f"jwt_secret {SECRET}"]) as broker:
        session = Session(broker.port, "c", "s1", token(lasts=2))
        start = time.monotonic()
        assert session.ended() == 0x87
        assert 0.5 < time.monotonic() - start < 5
    with Tokens([f"jwt_secret {SECRET}", "jwt_disconnect_expired false"]) as broker:
        with Session(broker.port, "c", "s1", token(lasts=1)) as session:
            time.sleep(3)
            session.ping()


def test_a_key_that_cannot_be_stops_the_start():
    for options, files, expected in [
        (["jwt_secret short"], {}, "auth_opt_jwt_secret: the secret has less than"),
        (["jwt_pem_file {directory}/none"], {}, "No such file"),
        (["jwt_pem_file {directory}/key"], {"key": "nothing"}, "BEGIN PUBLIC KEY"),
        (["jwt_jwks_file {directory}/key"], {"key": '{\n"keys": 7}'}, "key:2: this is not a JWKS"),
    ]:
        broker = Tokens(options, files)
        broker.spawn()
        assert broker.process.wait(10) == 3
        assert expected in broker.log_text()
        broker.remove()
