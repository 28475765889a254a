"""TLS to MariaDB and PostgreSQL: what was asked for is what is had, or there is no session."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conformance import probe as p
from tests.conformance.probe import Fault, Probe
from tests.conformance.targets import PASSWORD
from tests.harness.databases import MariaDB, PostgreSQL, give_away, new_folder

NAME = "127.0.0.1"        # in the server's certificate
OTHER_NAME = "127.0.0.2"  # the same server, not in its certificate


class Authority:
    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.key, name, True, ())
        self.path = folder / f"{name}.crt"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, key, name, is_authority, addresses):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if is_authority else self.certificate.subject
        now = datetime.datetime.utcnow()
        b = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
             .public_key(key.public_key()).serial_number(x509.random_serial_number())
             .not_valid_before(now - datetime.timedelta(days=1))
             .not_valid_after(now + datetime.timedelta(days=2))
             .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), True))
        if addresses:
            names = [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
            b = b.add_extension(x509.SubjectAlternativeName(names), False)
        return b.sign(self.key, hashes.SHA256())

    def issue(self, name, addresses=()):
        """Paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        crt, pem = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        crt.write_bytes(self._sign(key, name, False, addresses)
                        .public_bytes(serialization.Encoding.PEM))
        pem.write_bytes(key.private_bytes(serialization.Encoding.PEM,
                                          serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption()))
        pem.chmod(0o600)
        return crt, pem


class Maria:
    name = "mysql"

    def __init__(self, ca=None, certificate=None, key=None):
        options = ["--bind-address=0.0.0.0"]
        if ca:
            options += [f"--ssl-ca={ca}", f"--ssl-cert={certificate}", f"--ssl-key={key}"]
        self.server = MariaDB(tcp=True, options=options).start()
        self.server.sql("CREATE DATABASE emr")
        for name, need in (("plain", "NONE"), ("ssl", "SSL"), ("x509", "X509")):
            self.server.user(name, PASSWORD, "emr", host="%")
            self.server.sql(f"ALTER USER '{name}'@'%' REQUIRE {need}")

    socket_is_encrypted = True

    def socket(self):
        return {"socket": self.server.socket}


class Postgres:
    name = "postgresql"

    def __init__(self, ca=None, certificate=None, key=None):
        options = ["listen_addresses=*"]
        if ca:
            options += ["ssl=on", f"ssl_ca_file={ca}", f"ssl_cert_file={certificate}",
                        f"ssl_key_file={key}"]
        self.server = PostgreSQL(tcp=True, options=options).start()
        self.server.create("emr", "UTF8")
        for name in ("plain", "ssl", "x509"):
            self.server.user(name, PASSWORD, "emr")
        hba = self.server.data / "pg_hba.conf"
        hba.write_text("local all all trust\n"
                       "host all plain 0.0.0.0/0 scram-sha-256\n" +
                       ("hostssl all ssl 0.0.0.0/0 scram-sha-256\n"
                        "hostssl all x509 0.0.0.0/0 scram-sha-256 clientcert=verify-ca\n"
                        if ca else ""))
        self.server.sql("SELECT pg_reload_conf()")

    socket_is_encrypted = False

    def socket(self):
        return {"socket": self.server.socket, "port": self.server.port}


@pytest.fixture(scope="module")
def tls():
    folder, _ = new_folder(None, "renkei-tls-")
    ours, others = Authority(folder, "ours"), Authority(folder, "others")
    tls = {"ours": ours, "others": others, "server": ours.issue("server", [NAME]),
           "client": ours.issue("client")}
    # The server's account reads its key; we are root, or the same account.
    give_away(folder)
    return tls


@pytest.fixture(scope="module", params=[Maria, Postgres], ids=lambda kind: kind.name)
def db(request, tls):
    db = request.param(tls["ours"].path, *tls["server"])
    yield db
    db.server.close()


@pytest.fixture(scope="module", params=[Maria, Postgres], ids=lambda kind: kind.name)
def plain_db(request):
    db = request.param()
    yield db
    db.server.close()


def connect(db, user, host=NAME, **options):
    """None, or the fault."""
    password = db.server.folder / "password"
    password.write_text(PASSWORD + "\n")
    where = {"host": host, "port": db.server.port} if host else db.socket()
    every = {**where, "user": user, "database": "emr", "password_file": password, **options}
    with Probe(db.name, every) as probe:
        try:
            probe.open()
            probe.server()
            return None
        except Fault as fault:
            assert PASSWORD not in fault.message
            return fault


def test_verify_with_the_right_authority(db, tls):
    assert connect(db, "ssl", tls="verify", tls_ca=tls["ours"].path) is None


def test_required_encrypts(db):
    assert connect(db, "ssl", tls="required") is None


def test_an_account_that_needs_encryption_is_not_let_in_without(db):
    assert connect(db, "ssl", tls="off").status in (p.LOGIN, p.UNREACHABLE)
    assert connect(db, "plain", tls="off") is None


def test_another_authority_is_refused(db, tls):
    fault = connect(db, "plain", tls="verify", tls_ca=tls["others"].path)
    assert fault.status == p.UNREACHABLE and "certificate" in fault.message.lower(), fault


def test_another_host_name_is_refused(db, tls):
    assert connect(db, "ssl", host=OTHER_NAME, tls="required") is None
    fault = connect(db, "plain", host=OTHER_NAME, tls="verify", tls_ca=tls["ours"].path)
    assert fault.status == p.UNREACHABLE, fault
    # "Validation of SSL server certificate failed", 'server certificate for "127.0.0.1" does not
    # match host name "127.0.0.2"'
    assert "certificate" in fault.message.lower(), fault


def test_a_client_certificate_is_shown(db, tls):
    certificate, key = tls["client"]
    good = {"tls": "verify", "tls_ca": tls["ours"].path}
    assert connect(db, "x509", tls_certificate=certificate, tls_key=key, **good) is None
    assert connect(db, "x509", **good).status in (p.LOGIN, p.UNREACHABLE)


def test_verify_needs_an_authority(db):
    fault = connect(db, "plain", tls="verify")
    assert fault.status == p.OPTION and "tls_ca" in fault.message
    assert connect(db, "plain", tls="yes").status == p.OPTION


@pytest.mark.parametrize("mode", ["required", "verify"])
def test_a_server_without_tls_is_refused(plain_db, tls, mode):
    assert connect(plain_db, "plain") is None
    fault = connect(plain_db, "plain", tls=mode, tls_ca=tls["ours"].path)
    assert fault is not None and ("SSL" in fault.message or "encrypt" in fault.message), fault


def test_a_socket_is_encrypted_or_refused(db):
    fault = connect(db, "plain", host=None, tls="required")
    if db.socket_is_encrypted:
        assert fault is None or fault.status == p.LOGIN, fault
    else:
        assert fault.status == p.OPTION and "Unix socket" in fault.message, fault
