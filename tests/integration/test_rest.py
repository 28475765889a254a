"""The REST interface over canned answers: sign-in, documents, federation, and everything that a
client can do wrong. The client is tests/harness/patient.py, with Python's cryptography."""

import base64
import gzip
import hashlib
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid

import pytest
from jwcrypto import jwk, jws

from tests.harness.canned import CannedGateway, make_certificate
from tests.harness.openapi import Description
from tests.harness.patient import GRANT, Key, Patient, b64
from tests.harness.wait import free_port, wait_until

PATIENT = "999-99-9999"
SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "schemas"
TRICKLE_S_MAX = 60
SLOW_S_MAX = 60  # what a busy machine may take for a handshake or an answer
MARKERS = ["9999 Computer Dr", "Bill Windows", "DIABETES", "HUMULIN", PATIENT, "Elsewhere"]


class World:
    """Two gateways that list each other, and a third hospital that nobody serves."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("west", "east", "stranger"):
            make_certificate(folder, name)
            make_certificate(folder, f"{name}-machine", uri=f"renkei://{name}")
        self.west, self.east = CannedGateway(folder, "west"), CannedGateway(folder, "east")
        nowhere = f"https://127.0.0.1:{free_port()}"
        self.west.write([("east", self.east.machine_url, "east-machine.crt"),
                         ("north", nowhere, "stranger-machine.crt")])
        self.east.write([("west", self.west.machine_url, "west-machine.crt")])
        self.west.start()
        self.east.start()

    def new_patient(self, patient=PATIENT, gateway=None, others=True):
        gateway = gateway or self.west
        key = Key()
        for g in (self.west, self.east):
            assert g.enrol(patient, key).status == 201
        return Patient(key, gateway, [Named(n) for n in ("east", "north")] if others else [])


class Named:
    def __init__(self, name):
        self.name = name


@pytest.fixture(scope="module")
def world():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-rest-"))
    world = World(folder)
    try:
        yield world
    finally:
        statuses = [g.program.end() for g in (world.west, world.east)]
        logs = world.west.log.read_text() + world.east.log.read_text()
    assert statuses == [0, 0], logs[-4000:]
    # No record's value, patient's id, token or key in a log, whatever the tests did.
    for marker in MARKERS + ["eyJ", "DPoP ey"]:
        assert marker not in logs, marker
    shutil.rmtree(folder)


class Trickle(threading.Thread):
    """A client that sends its request byte by byte for as long as it is let."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.seconds = gateway, None

    def run(self):
        context = ssl.create_default_context(cafile=str(self.gateway.certificate))
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.gateway.port), SLOW_S_MAX) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as s:
                s.settimeout(1)
                s.sendall(b"GET /live HTTP/1.1\r\nHost: ")
                try:
                    while time.monotonic() - started < TRICKLE_S_MAX:
                        s.sendall(b"x")
                        try:
                            if s.recv(1) == b"":
                                break
                        except TimeoutError:
                            pass
                except (ConnectionError, ssl.SSLError):
                    pass
        self.seconds = time.monotonic() - started


@pytest.fixture(scope="module", autouse=True)
def trickle(world):
    """Runs beside the other tests, since it takes its time."""
    thread = Trickle(world.west)
    thread.start()
    return thread


@pytest.fixture
def patient(world):
    return world.new_patient()


def problem(answer, status, code):
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["code"] == code
    assert body["type"] == "urn:renkei:error:" + code
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", body["instance"])
    assert body["hint"]
    return body


@pytest.mark.parametrize("name", ["openapi.yaml", "openapi-admin.yaml"])
def test_every_answer_is_as_described(world, name):
    """Each operation is asked, well and badly; status, type and body are those of the description."""
    description = Description(SCHEMAS / name)
    patient, record = world.new_patient(), b64(b"renkei://west/main/visits/17")
    key = Key()
    values = {"record": record, "height": "9", "transaction": "00" * 32, "locator": "5a" * 16,
              "id": "7", "key": key.thumbprint}
    for method, path, _ in description.operations():
        if path == "/v1/forward":
            continue  # test_the_machine_listener_knows_its_callers
        filled = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path)
        variants = [filled] + ([filled + "?view=plain"] if "document" in path else [])
        for asked in variants:
            if name == "openapi-admin.yaml":
                if path == "/admin/v1/patients/{key}":
                    world.west.enrol(PATIENT, key)
                body = {"patient": PATIENT, "key": key.public} if path.endswith("patients") else None
                answers = [world.west.admin(method, asked, body if method == "POST" else None),
                           world.west.admin(method, asked + "?unheard=of")]
            elif method == "GET":
                answers = [patient.get(asked), patient.send("GET", asked)]
            else:
                answers = [patient.send(method, asked), patient.sign_in()
                           if path == "/v1/token" else patient.send(method, asked + "?x=1")]
            for answer in answers:
                description.check(method, path, answer)
    status, body = machine_request(world, "west-machine", patient.forward())
    if name == "openapi.yaml":
        description.check_body("/v1/forward", "post", status, "application/json", body)


# ------------------------------------------------------------------------------------ documents


def test_the_unified_document_holds_every_hospital_and_names_the_one_that_is_silent(patient):
    answer = patient.get("/v1/me/document")
    assert answer.status == 200, answer.body
    document = answer.json()
    assert document["servedBy"] == "west"
    assert document["complete"] is False
    assert document["verdicts"] == {"match": 2, "mismatch": 1, "missing": 1}
    assert answer.headers["Renkei-Verdicts"] == "match=2, mismatch=1, missing=1"
    assert answer.headers["Renkei-Complete"] == "false"
    assert [(h["hospital"], h["status"], h["records"]) for h in document["hospitals"]] == [
        ("west", "complete", 2), ("east", "complete", 2), ("north", "unreachable", 0)]
    assert document["hospitals"][2]["error"]["detail"].startswith("hospital north: ")
    records = {r["address"]: r for r in document["records"]}
    visit = records["renkei://west/main/visits/17"]
    assert visit["verdict"] == "match"
    assert visit["anchored"]["origin"] == "observed" and visit["anchored"]["versions"] == 1
    assert visit["fields"]["note"] == '①㈱髙﨑～ソ表十ｱ"\\'
    assert visit["types"]["Allergy"] == "bool" and visit["fields"]["Allergy"] is False
    assert b'"dose":0.1' in answer.body
    assert records["renkei://east/main/records/2"]["verdict"] == "missing"
    assert "fields" not in records["renkei://east/main/records/2"]


def test_the_plain_view_is_figure_5_and_says_what_it_cannot_vouch_for(patient):
    answer = patient.get("/v1/me/document?view=plain")
    assert answer.status == 200, answer.body
    assert answer.headers["Renkei-Verdicts"] == "match=2, mismatch=1, missing=1"
    assert answer.headers["Link"] == '</v1/me/document?view=verified>; rel="alternate"'
    document = answer.json()
    assert document[0] == {
        "IdentificationID": PATIENT, "address": "9999 Computer Dr",
        "address@renkei://east/main/records/1": "1 Elsewhere",
        "birthday": "1953/09/09", "userName": "Bill Windows"}
    assert document[1] == {
        "@address": "renkei://east/main/records/1", "@verdict": "mismatch",
        "IdentificationID": PATIENT, "problems": "DIABETES MELLITUS"}
    assert document[2]["Allergy"] == "False" and document[2]["timestamp"] == "2011/03/24"
    assert "@verdict" not in document[2]
    assert document[3] == {"@address": "renkei://east/main/records/2", "@verdict": "missing"}
    assert document[4] == {"@hospital": "north", "@status": "unreachable"}
    assert len(document) == 5
    for item in document:
        assert list(item) == sorted(item)


def test_without_a_forward_request_the_others_are_listed_as_not_asked(patient):
    document = patient.get("/v1/me/document", forward=False).json()
    assert [h["status"] for h in document["hospitals"]] == ["complete", "not-asked", "not-asked"]
    assert document["complete"] is False
    assert len(document["records"]) == 2


def test_a_source_that_is_down_is_named_in_both_views(world):
    patient = world.new_patient("partial", others=False)
    document = patient.document()
    west = document["hospitals"][0]
    assert west["status"] == "partial" and document["complete"] is False
    assert west["errors"][0]["source"] == "second"
    assert west["errors"][0]["error"]["code"] == "source-unreachable"
    plain = patient.plain()
    assert {"@hospital": "west", "@source": "second", "@status": "source-unreachable"} in plain


def test_a_patient_without_records_gets_an_empty_document(world):
    patient = world.new_patient("nobody", others=False)
    assert patient.document()["records"] == []
    assert patient.plain()[0] == {}


def test_a_chain_that_stands_still_is_a_clear_error(world):
    patient = world.new_patient("stale", others=False)
    body = problem(patient.get("/v1/me/document"), 503, "node-stale")
    assert body["detail"] == "the chain's head is 300 s old"


def test_many_records_come_page_by_page_and_as_lines(world):
    patient = world.new_patient("many", others=False)
    seen, cursor = [], ""
    while True:
        page = patient.get("/v1/me/records?limit=1000" + cursor).json()
        seen += [r["address"] for r in page["records"]]
        if "next" not in page:
            break
        cursor = "&cursor=" + page["next"]
    assert len(seen) == len(set(seen)) == 2500
    headers = {"Authorization": f"DPoP {patient.token}", "Accept": "application/x-ndjson",
               "DPoP": patient.proof("GET", "/v1/me/records", patient.token)}
    answer = patient.send("GET", "/v1/me/records", headers)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert [r["address"] for r in lines] == seen
    assert all(r["verdict"] == "match" for r in lines)
    assert len(patient.document()["records"]) == 2500


def test_one_record_its_document_and_its_raw_bytes(patient):
    record = b64(b"renkei://west/main/visits/17")
    answer = patient.get(f"/v1/records/{record}")
    assert answer.json()["verdict"] == "match" and answer.headers["Renkei-Verdict"] == "match"
    assert answer.json()["id"] == record
    document = patient.get(f"/v1/records/{record}/document")
    assert document.headers["Renkei-Verdict"] == "match"
    assert json.loads(document.body)["fields"] == answer.json()["fields"]
    raw = patient.get(f"/v1/records/{record}/raw")
    assert raw.body == b"raw\0bytes"


def test_another_patients_record_is_not_there(world):
    other = world.new_patient("nobody")
    record = b64(b"renkei://west/main/visits/17")
    problem(other.get(f"/v1/records/{record}"), 404, "not-found")


def test_answers_are_zipped_where_asked_for(world):
    patient = world.new_patient("many", others=False)
    patient.sign_in()
    headers = {"Authorization": f"DPoP {patient.token}", "Accept-Encoding": "gzip, br",
               "DPoP": patient.proof("GET", "/v1/me/records", patient.token)}
    answer = patient.send("GET", "/v1/me/records", headers)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(answer.body))["records"]) == 100


def test_headers_that_keep_a_browser_from_harm(patient):
    answer = patient.get("/v1/me/document")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == \
        "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_errors_speak_japanese_where_asked_for(patient):
    answer = patient.send("GET", "/v1/me/document", {"Accept-Language": "ja-JP, en;q=0.5"})
    assert answer.json()["title"] == "サインインが必要です"
    assert answer.headers["Content-Language"] == "ja"
    assert patient.send("GET", "/v1/me/document").json()["title"] == "sign-in is needed"


def test_the_description_is_served_and_not_sent_twice(patient):
    answer = patient.send("GET", "/v1/openapi.yaml")
    assert answer.status == 200 and answer.body.startswith(b"openapi: 3.0.3\n")
    again = patient.send("GET", "/v1/openapi.yaml", {"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304 and again.body == b""


def test_chain_questions(patient):
    head = patient.get("/v1/chain/status").json()
    assert head["assurance"] == "consortium" and head["validators"] == 4
    history = patient.get("/v1/chain/records/" + "5a" * 16).json()
    assert history["total"] == 1 and history["versions"][0]["operation"] == "create"
    problem(patient.get("/v1/chain/records/" + "00" * 16), 404, "not-found")
    problem(patient.get("/v1/chain/records/zz"), 400, "bad-request")
    problem(patient.get("/v1/chain/blocks/0"), 400, "bad-request")
    problem(patient.get("/v1/chain/blocks/9"), 404, "not-found")
    problem(patient.get("/v1/chain/transactions/12"), 400, "bad-request")
    problem(patient.send("GET", "/v1/chain/status"), 401, "unauthenticated")


# -------------------------------------------------------------------------------------- sign-in


def test_jwcrypto_signs_what_the_gateway_accepts(world):
    """A second independent implementation of JWK, thumbprint and ES256."""
    key = jwk.JWK.generate(kty="EC", crv="P-256")
    public = json.loads(key.export_public())
    answer = world.west.admin("POST", "/admin/v1/patients",
                              {"patient": PATIENT, "key": {**public, "kid": "phone"}})
    assert answer.status == 201 and answer.json()["key"] == key.thumbprint()

    def sign(header, payload):
        token = jws.JWS(json.dumps(payload))
        token.add_signature(key, "ES256", json.dumps({"alg": "ES256", **header}))
        return token.serialize(compact=True)

    patient = Patient(Key(), world.west)
    nonce = patient.send("POST", "/v1/nonce").json()["nonce"]
    assert len(base64.urlsafe_b64decode(nonce + "=")) == 32
    url, now = world.west.url + "/v1/token", int(time.time())
    assertion = sign({"typ": "JWT"}, {
        "iss": key.thumbprint(), "sub": key.thumbprint(), "aud": url, "nonce": nonce,
        "jti": "1", "iat": now, "exp": now + 300})
    proof = sign({"typ": "dpop+jwt", "jwk": public},
                 {"jti": "2", "htm": "POST", "htu": url, "iat": now})
    body = urllib.parse.urlencode({"grant_type": GRANT, "assertion": assertion})
    headers = {"DPoP": proof, "Content-Type": "application/x-www-form-urlencoded"}
    answer = patient.send("POST", "/v1/token", headers, body)
    assert answer.status == 200, answer.body
    assert answer.json()["token_type"] == "DPoP" and answer.json()["expires_in"] <= 600
    # The same a second time, and with the nonce in a fresh assertion.
    problem(patient.send("POST", "/v1/token", headers, body), 401, "unauthenticated")


def test_a_key_that_is_not_enrolled_gets_no_token(world):
    patient = Patient(Key(), world.west)
    body = problem(patient.sign_in(), 401, "unauthenticated")
    assert body["detail"] == "the sign-in assertion: this key is not enrolled at west"
    assert body["hint"] == "ask the hospital to enrol your public key"


def test_a_token_serves_its_own_key_and_request_only(world, patient):
    thief = world.new_patient("nobody")
    patient.sign_in()
    path = "/v1/me/document"

    def ask(proof, token=patient.token, scheme="DPoP"):
        return patient.send("GET", path, {"Authorization": f"{scheme} {token}", "DPoP": proof})

    body = problem(ask(thief.proof("GET", path, patient.token)), 401, "unauthenticated")
    assert body["detail"] == "the DPoP proof: the token is bound to another key"
    proof = patient.proof("GET", path, patient.token)
    assert ask(proof).status == 200
    assert problem(ask(proof), 401, "unauthenticated")["detail"] == "the DPoP proof: used before"
    for bad, detail in [
            (patient.proof("POST", path, patient.token), "made for another method"),
            (patient.proof("GET", "/v1/me/records", patient.token), "made for another address"),
            (patient.proof("GET", path, "x"), "made for another token"),
            (patient.proof("GET", path), "the claim ath is missing or not a text of 1 to 64 bytes"),
            ("x", "not three parts joined by dots")]:
        assert problem(ask(bad), 401, "unauthenticated")["detail"] == "the DPoP proof: " + detail
    problem(ask(proof, scheme="Bearer"), 401, "unauthenticated")
    problem(ask(proof, token="x" * 43), 401, "unauthenticated")
    problem(ask(patient.proof("GET", path, thief.token or "y"), token="y"), 401,
            "unauthenticated")
    assert patient.send("GET", path).headers["WWW-Authenticate"] == 'DPoP algs="ES256"'


def test_an_enrolment_that_ends_ends_its_tokens(world):
    patient = world.new_patient("nobody")
    assert patient.get("/v1/me/document").status == 200
    thumbprint = patient.key.thumbprint
    assert world.west.admin("DELETE", f"/admin/v1/patients/{thumbprint}").status == 204
    problem(patient.get("/v1/me/document"), 401, "unauthenticated")
    problem(world.west.admin("DELETE", f"/admin/v1/patients/{thumbprint}"), 404, "not-found")


# ------------------------------------------------------------------------------------ federation


def test_a_forward_request_of_somebody_else_or_for_another_reader_is_refused(world, patient):
    patient.sign_in()
    thief = world.new_patient("nobody")

    def ask(forward):
        path = "/v1/me/document"
        return patient.send("GET", path, {
            "Authorization": f"DPoP {patient.token}", "Renkei-Forward": forward,
            "DPoP": patient.proof("GET", path, patient.token)})

    problem(ask(thief.forward()), 403, "forbidden")
    patient.hospital = Named("east")
    problem(ask(patient.forward()), 403, "forbidden")
    patient.hospital = world.west
    forward = patient.forward()
    assert ask(forward).json()["hospitals"][1]["status"] == "complete"
    # Used up at east: this gateway may show it again, the other does not answer it again.
    again = ask(forward).json()["hospitals"][1]
    assert again["status"] == "refused"
    assert again["error"]["detail"] == \
        "hospital east: answered with status 401: the forward request: used before"


def test_what_another_hospital_calls_a_match_is_checked_on_the_own_chain(world):
    document = world.new_patient("honest").document()
    assert document["hospitals"][1]["status"] == "complete"
    assert document["verdicts"] == {"match": 1}
    # Another content under the same record and r.
    document = world.new_patient("liar").document()
    east = document["hospitals"][1]
    assert east["status"] == "refused" and east["error"]["code"] == "verify"
    assert east["error"]["detail"] == ("hospital east: a record that it calls a match is not what "
                                       "this gateway's own chain has of it")
    assert document["records"] == [] and document["complete"] is False
    # A record that the own node does not know yet is shown, and said to be unchecked.
    document = world.new_patient("early").document()
    east = document["hospitals"][1]
    assert east["status"] == "partial" and east["error"]["code"] == "node-stale"
    assert len(document["records"]) == 1 and document["complete"] is False
    assert {"@hospital": "east", "@status": "partial"} in world.new_patient("early").plain()


def machine_request(world, certificate, body, path="/v1/forward"):
    """(status, body) of east's machine listener; certificate None: without one."""
    context = ssl.create_default_context(cafile=str(world.folder / "east-machine.crt"))
    if certificate:
        context.load_cert_chain(world.folder / f"{certificate}.crt",
                                world.folder / f"{certificate}.key")
    with socket.create_connection(("127.0.0.1", world.east.machine_port), SLOW_S_MAX) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as s:
            s.sendall(f"POST {path} HTTP/1.1\r\nHost: east\r\nConnection: close\r\n"
                      f"Content-Type: application/jwt\r\nContent-Length: {len(body)}\r\n\r\n"
                      f"{body}".encode())
            data = b""
            while chunk := s.recv(65536):
                data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]), rest) if head else (0, b"")


def test_the_machine_listener_knows_its_callers(world, patient):
    forward = patient.forward()
    # Nobody's certificate, none at all, and west's name on a certificate that west did not make.
    for certificate in (None, "stranger-machine", "west"):
        try:
            status, _ = machine_request(world, certificate, forward)
        except (ssl.SSLError, ConnectionError):
            status = 0
        assert status in (0, 403), (certificate, status)
    status, body = machine_request(world, "west-machine", forward)
    assert status == 200
    section = json.loads(body)
    assert section["hospital"] == "east" and len(section["records"]) == 2
    status, body = machine_request(world, "west-machine", forward)
    assert status == 401 and b"used before" in body
    # Only what a hospital needs of another is there.
    assert machine_request(world, "west-machine", "", "/v1/nonce")[0] == 404


def test_a_forged_certificate_with_wests_name_is_refused(world, patient):
    make_certificate(world.folder, "forged", uri="renkei://west")
    try:
        status, _ = machine_request(world, "forged", patient.forward())
    except (ssl.SSLError, ConnectionError):
        status = 0
    assert status in (0, 403)


# ------------------------------------------------------------------------------------- bad input


def raw_request(gateway, data, silent_s=SLOW_S_MAX):
    """Sends bytes as they are; what came back until the other side closed, or said no more."""
    context = ssl.create_default_context(cafile=str(gateway.certificate))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=SLOW_S_MAX) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as s:
            s.settimeout(silent_s)
            answer = b""
            try:
                s.sendall(data)
                while chunk := s.recv(65536):
                    answer += chunk
            except (ConnectionError, ssl.SSLError, TimeoutError):
                pass
    return answer


NASTY = [
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"\x00\x01\x02\x03\r\n\r\n", b"G" * 70000,
    b"GET /" + b"a" * 60000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 60000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 9000 + b"\r\n",
    b"GET /v1/records/%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/records/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET //v1//me/document HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /v1/nonce HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    b"POST /v1/nonce HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/nonce HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551617\r\n\r\n",
    b"POST /v1/nonce HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/nonce HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    + b"fff0\r\n" + b"a" * 65520 + b"\r\n" + b"fff0\r\n" + b"a" * 65520 + b"\r\n0\r\n\r\n",
    b"POST /v1/nonce HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n0\r\n\r\n",
    b"FOO /v1/nonce HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/hospitals?" + b"a=b&" * 500 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]


@pytest.mark.parametrize("data", NASTY, ids=range(len(NASTY)))
def test_a_malformed_request_ends_with_an_error_and_the_daemon_goes_on(world, data):
    answer = raw_request(world.west, data, silent_s=2)  # some leave it waiting for more
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert 400 <= status < 600, answer[:200]
    assert Patient(Key(), world.west).send("GET", "/live").status == 200


def test_every_kind_of_bad_request_has_its_own_words(world, patient):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    cases = [
        ("GET", "/v1/nowhere", {}, None, 404, "not-found", "there is no such resource"),
        ("GET", "/admin/v1/status", {}, None, 404, "not-found", "there is no such resource"),
        ("GET", "/metrics", {}, None, 404, "not-found", "there is no such resource"),
        ("GET", "/v1/nonce", {}, None, 405, "method", "this resource has the methods POST"),
        ("DELETE", "/v1/me/document", {}, None, 405, "method",
         "this resource has the methods GET"),
        ("POST", "/v1/nonce?x=1", {}, None, 400, "bad-request",
         "the query: a parameter that this resource does not have"),
        ("POST", "/v1/token", {}, None, 400, "bad-request",
         "the Content-Type: expected application/x-www-form-urlencoded"),
        ("POST", "/v1/token", form, "", 400, "bad-request",
         "the form: grant_type is missing, stands twice, or is not percent-encoded"),
        ("POST", "/v1/token", form, "grant_type=password", 400, "bad-request",
         f"the form: grant_type must be {GRANT}"),
        ("POST", "/v1/token", form, f"grant_type={GRANT}&assertion=%zz", 400, "bad-request",
         "the form: assertion is missing, stands twice, or is not percent-encoded"),
        ("POST", "/v1/token", form, f"grant_type={GRANT}&assertion=x", 401, "unauthenticated",
         "no DPoP header"),
        ("POST", "/v1/token", {**form, "DPoP": "x"}, f"grant_type={GRANT}&assertion=x", 401,
         "unauthenticated", "the sign-in assertion: not three parts joined by dots"),
    ]
    for method, path, headers, body, status, code, detail in cases:
        answer = patient.send(method, path, headers, body)
        assert problem(answer, status, code)["detail"] == detail, path
    record = b64(b"renkei://west/main/visits/17")
    for path, detail in [
            ("/v1/me/document?view=xml", "the query: view must be verified or plain"),
            ("/v1/me/document?view=plain&view=plain", "the query: a parameter stands twice"),
            ("/v1/me/records?limit=0", "the query: limit must be a number from 1 to 1000"),
            ("/v1/me/records?cursor=*", "the cursor: not the base64url of a record's address"),
            ("/v1/records/a%2Fb", "the record: not the base64url of a record's address"),
            (f"/v1/records/{record}?x", "the query: a parameter that this resource does not have"),
    ]:
        assert problem(patient.get(path), 400, "bad-request")["detail"] == detail, path


def test_a_body_that_is_too_large_is_not_waited_for(world):
    answer = raw_request(world.west, b"POST /v1/nonce HTTP/1.1\r\nHost: x\r\n"
                                     b"Content-Length: 65537\r\n\r\n")
    assert b" 413 " in answer.splitlines()[0]
    assert b"the request's body: more than 65536 bytes" in answer


def test_a_header_that_stands_twice_is_refused(world):
    answer = raw_request(world.west, b"GET /v1/me/document HTTP/1.1\r\nHost: x\r\nDPoP: a\r\n"
                                     b"DPoP: b\r\nConnection: close\r\n\r\n")
    assert b" 400 " in answer.splitlines()[0]
    assert b"the header DPoP stands twice" in answer


def test_a_flood_of_idle_connections_does_not_stop_the_service(world):
    idle = []
    try:
        for _ in range(150):
            idle.append(socket.create_connection(("127.0.0.1", world.west.port), SLOW_S_MAX))
        assert Patient(Key(), world.west).send("GET", "/live").status == 200
    finally:
        for s in idle:
            s.close()


def test_only_tls_1_2_and_1_3_without_resumption(world):
    def handshake(*words):
        return subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{world.west.port}", *words],
            input="", capture_output=True, text=True, timeout=SLOW_S_MAX)
    assert "TLSv1.3" in handshake("-tls1_3").stdout
    assert "TLSv1.2" in handshake("-tls1_2").stdout
    old = handshake("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    assert "Cipher is (NONE)" in old.stdout or old.returncode != 0


def test_curl_is_a_client_too(world):
    out = subprocess.run(
        ["curl", "-sS", "--cacert", world.west.certificate, f"{world.west.url}/v1/hospitals"],
        capture_output=True, text=True, check=True, timeout=SLOW_S_MAX).stdout
    assert json.loads(out) == {"hospital": "west", "url": world.west.url,
                               "hospitals": ["east", "north"]}


# ---------------------------------------------------------------------------------- administration


@pytest.mark.parametrize("days, what, left", [(32, None, None), (30, "certificate-ends", "29"),
                                              (5, "certificate-ends", "4")])
def test_a_certificate_that_ends_is_told_30_7_and_1_days_ahead(tmp_path, days, what, left):
    gateway = CannedGateway(tmp_path, "west")
    make_certificate(tmp_path, "west", days=days)
    make_certificate(tmp_path, "west-machine", days=400)
    gateway.write([])
    gateway.start()
    try:
        warnings = gateway.admin("GET", "/admin/v1/status").json()["warnings"]
        metrics = dict(line.rsplit(" ", 1) for line in
                       gateway.admin("GET", "/metrics").body.decode().splitlines())
        wait_until(lambda: what is None or what in gateway.log.read_text(), "the log", 10)
    finally:
        assert gateway.program.end() == 0
    told = [json.loads(line) for line in gateway.log.read_text().splitlines()
            if '"certificate-' in line]
    assert [warning["what"] for warning in warnings] == [e["event"] for e in told] == \
        ([what] if what else [])
    if what:
        assert (told[0]["listener"], told[0]["days_left"]) == ("patients", left)
        assert told[0]["end"] in warnings[0]["text"]
    seconds = int(metrics['renkei_certificate_left_seconds{listener="patients"}'])
    assert days * 86400 - 600 <= seconds <= days * 86400
    assert int(metrics['renkei_certificate_left_seconds{listener="machines"}']) > 399 * 86400


def test_administration(world):
    west = world.west
    status = west.admin("GET", "/admin/v1/status").json()
    assert status["hospital"] == "west" and status["url"] == west.url
    assert status["machineUrl"] == west.machine_url
    assert status["chain"]["height"] == 3
    assert west.admin("GET", "/admin/v1/sources").json()["sources"][0]["source"] == "main"
    started = west.admin("POST", "/admin/v1/sync", {"source": "main"})
    assert started.status == 202 and started.json()["running"] is True
    problem(west.admin("POST", "/admin/v1/sync"), 503, "busy")
    assert west.admin("DELETE", "/admin/v1/sync").status == 204
    assert west.admin("GET", "/admin/v1/sync").json()["running"] is False
    problem(west.admin("POST", "/admin/v1/sync", {"source": "x"}), 404, "not-found")
    problem(west.admin("POST", "/admin/v1/sync", {"mode": "fast"}), 400, "bad-request")
    problem(west.admin("POST", "/admin/v1/sync", {"sources": []}), 400, "bad-request")
    [report] = west.admin("GET", "/admin/v1/characters?source=main").json()["tables"]
    assert report["characters"] == [{"column": "note", "kind": "wave-dash", "code": "8160",
                                     "count": 3, "sampleKey": "9"}]
    problem(west.admin("GET", "/admin/v1/characters?source=nobody"), 404, "not-found")
    [keyset] = west.admin("GET", "/admin/v1/keysets?source=main").json()["tables"]
    assert (keyset["secret"], keyset["root"]) == ("07" + 31 * "00", "09" + 31 * "00")
    assert (keyset["mode"], keyset["count"], keyset["height"]) == ("keys", 2, 2)
    problem(west.admin("GET", "/admin/v1/keysets?source=nobody"), 404, "not-found")
    rows = west.admin("GET", "/admin/v1/quarantine").json()["rows"]
    assert rows[0]["reason"] == "invalid-bytes" and rows[0]["code"] == 0x81
    assert west.admin("DELETE", "/admin/v1/quarantine/7").status == 204
    problem(west.admin("DELETE", "/admin/v1/quarantine/8"), 404, "not-found")
    peers = west.admin("GET", "/admin/v1/hospitals").json()["hospitals"]
    assert [p["hospital"] for p in peers] == ["east", "north"]
    assert west.admin("GET", "/ready").body == b"ready\n"
    assert oct(west.admin_socket.stat().st_mode & 0o777) == "0o600"


def test_enrolment_refuses_what_is_no_public_p256_key(world):
    key = Key()
    secret = {**key.public, "d": "AQ"}
    cases = [
        ({"patient": PATIENT}, "the body: patient must be a text of 1 to 256 bytes and key a JWK"),
        ({"patient": "", "key": key.public},
         "the body: patient must be a text of 1 to 256 bytes and key a JWK"),
        ({"patient": PATIENT, "key": secret},
         "JWK: holds a private key; give the public part only"),
        ({"patient": PATIENT, "key": {"kty": "RSA"}},
         "JWK: found another key type, expected kty EC with crv P-256"),
        ({"patient": PATIENT, "key": key.public, "name": "x"},
         "the body: a member that this resource does not have"),
        ([], "the body: expected a JSON object"),
    ]
    for body, detail in cases:
        answer = world.west.admin("POST", "/admin/v1/patients", body)
        assert problem(answer, 400, "bad-request")["detail"] == detail
    assert world.west.enrol(PATIENT, key).status == 201
    assert world.west.enrol(PATIENT, key).status == 200
    problem(world.west.enrol("another", key), 409, "exists")


def test_metrics_count(world, patient):
    patient.document()
    text = world.west.admin("GET", "/metrics").body.decode()
    assert re.search(r'renkei_http_requests_total\{operation="myDocument",status="2xx"\} [1-9]',
                     text)
    assert re.search(r'renkei_verdicts_total\{verdict="mismatch"\} [1-9]', text)
    assert "renkei_chain_height 3" in text
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) .+|[a-z_]+(\{[^}]*\})? \d+", line), line


def test_a_client_that_trickles_is_cut_off_in_time(world, trickle):
    trickle.join(TRICKLE_S_MAX + SLOW_S_MAX)
    assert 15 < trickle.seconds < TRICKLE_S_MAX
    text = world.west.admin("GET", "/metrics").body.decode()
    assert re.search(r"renkei_late_connections_total [1-9]", text)
