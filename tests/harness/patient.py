"""A patient's client of its own, written from docs and schemas with Python's cryptography, so that
the gateway is not checked by the same code that it is made of."""

import base64
import hashlib
import http.client
import json
import ssl
import time
import urllib.parse
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REQUEST_S_MAX = 120


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A P-256 key pair."""

    def __init__(self):
        self.private = ec.generate_private_key(ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        self.public = {"crv": "P-256", "kty": "EC", "x": b64(numbers.x.to_bytes(32, "big")),
                       "y": b64(numbers.y.to_bytes(32, "big"))}
        canonical = json.dumps(self.public, sort_keys=True, separators=(",", ":"))
        self.thumbprint = b64(hashlib.sha256(canonical.encode()).digest())

    def pem(self):
        return self.private.private_bytes(serialization.Encoding.PEM,
                                          serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption())

    def jws(self, header, payload):
        signed = ".".join(b64(json.dumps(part).encode())
                          for part in ({"alg": "ES256", **header}, payload))
        r, s = decode_dss_signature(self.private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return signed + "." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Patient:
    """Signs in at one gateway and asks it, for itself and for the other hospitals."""

    def __init__(self, key, hospital, others=()):
        self.key, self.hospital, self.others = key, hospital, [h.name for h in others]
        self.url = hospital.url
        self.context = ssl.create_default_context(cafile=str(hospital.certificate))
        self.token = None

    def send(self, method, path, headers=None, body=None):
        host = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPSConnection(host.hostname, host.port, context=self.context,
                                                 timeout=REQUEST_S_MAX)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def proof(self, method, path, token=None):
        payload = {"jti": str(uuid.uuid4()), "htm": method, "iat": int(time.time()),
                   "htu": self.url + urllib.parse.urlsplit(path).path}
        if token:
            payload["ath"] = b64(hashlib.sha256(token.encode()).digest())
        return self.key.jws({"typ": "dpop+jwt", "jwk": self.key.public}, payload)

    def sign_in(self):
        answer = self.send("POST", "/v1/nonce")
        nonce = answer.json()["nonce"]
        now = int(time.time())
        assertion = self.key.jws({"typ": "JWT"}, {
            "iss": self.key.thumbprint, "sub": self.key.thumbprint, "aud": self.url + "/v1/token",
            "nonce": nonce, "jti": str(uuid.uuid4()), "iat": now, "exp": now + 60})
        answer = self.send(
            "POST", "/v1/token",
            {"DPoP": self.proof("POST", "/v1/token"),
             "Content-Type": "application/x-www-form-urlencoded"},
            urllib.parse.urlencode({"grant_type": GRANT, "assertion": assertion}))
        if answer.status == 200:
            self.token = answer.json()["access_token"]
        return answer

    def forward(self):
        now = int(time.time())
        return self.key.jws({"typ": "renkei-forward+jwt"}, {
            "iss": self.key.thumbprint, "sub": self.key.thumbprint, "aud": self.others,
            "htm": "GET", "resource": "/v1/me/records", "reader": self.hospital.name,
            "jti": str(uuid.uuid4()), "iat": now, "exp": now + 60})

    def get(self, path, token=None, forward=True):
        if token is None and self.token is None:
            answer = self.sign_in()
            if answer.status != 200:
                return answer
        token = token or self.token
        headers = {"Authorization": f"DPoP {token}", "DPoP": self.proof("GET", path, token)}
        if forward and self.others:
            headers["Renkei-Forward"] = self.forward()
        return self.send("GET", path, headers)

    def document(self):
        answer = self.get("/v1/me/document")
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json()

    def plain(self):
        answer = self.get("/v1/me/document?view=plain")
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json()

    def records(self):
        """The unified document's records by address."""
        return {record["address"]: record for record in self.document()["records"]}
