"""Gateways over canned answers (tests/harness/canned_gateway.c): everything of the REST interface
without a database or a node."""

import http.client
import json
import pathlib
import socket
import subprocess

from tests.harness.gateways import BUILD, Program, accepts
from tests.harness.patient import Answer
from tests.harness.wait import free_ports

CANNED = BUILD / "tests/harness/canned-gateway"


def make_certificate(folder, name, uri=None, ca=None, days=2):
    """A key and a certificate for 127.0.0.1: self-signed, or issued by ca (a name in folder)."""
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost" + (f",URI:{uri}" if uri else "")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days), "-subj", f"/CN={name}",
               "-addext", names, "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"]
    if ca:
        command += ["-CA", folder / f"{ca}.crt", "-CAkey", folder / f"{ca}.key",
                    "-addext", "basicConstraints=CA:FALSE"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("gateway", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


class CannedGateway:
    """One hospital's gateway. name decides which canned records it has."""

    def __init__(self, folder, name, peers=(), certificate=None):
        self.folder, self.name = pathlib.Path(folder), name
        self.port, self.machine_port = free_ports(2)
        self.url = f"https://127.0.0.1:{self.port}"
        self.machine_url = f"https://127.0.0.1:{self.machine_port}"
        self.peers = list(peers)
        self.machine_certificate = certificate or f"{name}-machine"
        self.certificate = self.folder / f"{name}.crt"
        self.admin_socket = self.folder / f"{name}.sock"
        self.config = self.folder / f"{name}.yaml"
        self.log = self.folder / f"{name}.log"
        self.program = Program(name, [CANNED, "--config", self.config], self.log)

    def write(self, peers):
        """peers: (name, machine url, certificate file)"""
        lines = [
            f"hospital: {self.name}",
            f"listen: {{address: 127.0.0.1, port: {self.port}, certificate: {self.name}.crt, "
            f"key: {self.name}.key, urls: ['{self.url}']}}",
            f"machine: {{address: 127.0.0.1, port: {self.machine_port}, "
            f"certificate: {self.machine_certificate}.crt, key: {self.machine_certificate}.key}}",
            f"admin_socket: {self.admin_socket.name}",
            "node_socket: node.sock", "genesis: genesis.json", "signer: signer.pem",
            "vault: vault"]
        if peers:
            lines.append("hospitals:")
            lines += [f"  - {{name: {name}, url: '{url}', certificate: {certificate}}}"
                      for name, url, certificate in peers]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self):
        self.program.start()
        self.program.wait_for(lambda: accepts(self.admin_socket) and self.listening(),
                              "its listeners")
        return self

    def listening(self):
        return '"event":"listening"' in self.log.read_text()

    def admin(self, method, path, body=None, headers=None):
        connection = UnixConnection(self.admin_socket)
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def enrol(self, patient, key):
        return self.admin("POST", "/admin/v1/patients", {"patient": patient, "key": key.public})
