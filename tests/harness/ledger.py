"""Chains of real renkei-node processes, and a client of their local socket that shares no code with
ours: formats as docs/formats.md describes them, checked with hashlib and cryptography."""
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.harness import wait
from tests.harness.wait import PATIENCE, free_port

BUILD = pathlib.Path(os.environ.get("RENKEI_BUILD", pathlib.Path(__file__).parents[2] / "build"))
NODE = BUILD / "ledger" / "renkei-node"
HEADER = struct.Struct(">BBH32sQQ32sQII32sQ32sQ32s32s")
STATUS_DONE = 0
TRACE_S_MAX = 5  # what a node that hangs may keep a failed test from its end


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u32bytes(data):
    return struct.pack(">I", len(data)) + data


def wait_until(condition, seconds=30, what="condition"):
    """Polls: the condition's truth, or AssertionError after PATIENCE times so many seconds."""
    return wait.wait_until(condition, what, seconds, AssertionError)


def merkle_root(hashes_):
    if not hashes_:
        return sha()
    if len(hashes_) == 1:
        return hashes_[0]
    k = 1
    while k * 2 < len(hashes_):
        k *= 2
    return sha(b"\x01", merkle_root(hashes_[:k]), merkle_root(hashes_[k:]))


def verify_inclusion(leaf, index, size, path, root):
    """RFC 9162, section 2.1.3.2."""
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = sha(b"\x01", p, r)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            r = sha(b"\x01", r, p)
        fn >>= 1
        sn >>= 1
    return sn == 0 and r == root


class Leaf:
    def __init__(self, locator=None, operation=1, origin=1, version=1, previous=bytes(32),
                 content=None, raw=None, mapping=b"\x33" * 32, attachments=bytes(32)):
        self.locator = locator or os.urandom(16)
        self.operation, self.origin, self.version = operation, origin, version
        self.previous = previous
        zero = operation == 3
        self.content = bytes(32) if zero else content or os.urandom(32)
        self.raw = bytes(32) if zero else raw or os.urandom(32)
        self.mapping, self.attachments = mapping, attachments

    def bytes(self):
        return (struct.pack(">BBBBI", 1, 1, self.operation, self.origin, self.version)
                + self.locator + self.previous + self.content + self.raw + self.mapping
                + self.attachments + bytes(16))

    def hash(self):
        return sha(b"\x00", self.bytes())

    def next(self, operation=2, origin=2):
        return Leaf(self.locator, operation, origin, self.version + 1, self.hash(),
                    mapping=self.mapping)

    def compact(self, mapping_number):
        flags = self.operation | (4 if self.origin == 2 else 0) | (8 if self.version > 1 else 0)
        out = bytes([flags, mapping_number]) + self.locator
        if self.version > 1:
            out += struct.pack(">I", self.version) + self.previous
        if self.operation != 3:
            out += self.content + self.raw
        return out


class Signer:
    """A submitter's key and its next sequence."""

    def __init__(self, chain=None, seed=None):
        self.key = Ed25519PrivateKey.from_private_bytes(seed or os.urandom(32))
        self.public = self.key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.chain = chain
        self.sequence = 1

    def transaction(self, kind, body, sequence=None):
        if sequence is None:
            sequence = self.sequence
            self.sequence += 1
        unsigned = (struct.pack(">BBH", 1, 1, kind) + self.chain + self.public
                    + struct.pack(">QQ", sequence, int(time.time() * 1000)) + u32bytes(body)
                    + struct.pack(">H", 0))
        return unsigned + self.key.sign(sha(b"renkei/transaction/1\n", unsigned))

    def note(self, data, sequence=None):
        return self.transaction(2, data, sequence)

    def anchor(self, leaves, batch=1, sequence=None):
        mappings = []
        for leaf in leaves:
            if leaf.mapping not in mappings:
                mappings.append(leaf.mapping)
        body = (b"\x01" + b"\x77" * 32 + struct.pack(">Q", batch) + u32bytes(b"snapshot")
                + struct.pack(">I", len(mappings)) + b"".join(mappings)
                + struct.pack(">I", len(leaves)) + merkle_root([l.hash() for l in leaves])
                + b"".join(l.compact(mappings.index(l.mapping)) for l in leaves)
                + struct.pack(">H", 0))
        return self.transaction(1, body, sequence)


def reference(secret, counter):
    """A person's key on the chain, as docs/formats.md makes it."""
    return hmac.new(secret, b"renkei/reference/1\n" + struct.pack(">Q", counter), "sha256").digest()


def person_body(kind, operation, version, who, key=bytes(32), content=bytes(32)):
    return bytes([1, kind, operation, 0]) + struct.pack(">I", version) + who + key + content


def permission_body(operation, name, version, patient, content, doctor=bytes(32),
                    grantee=bytes(32)):
    return (bytes([1, operation]) + name + struct.pack(">I", version) + patient + doctor + grantee
            + content)


def query_body(patient, content, doctor=bytes(32), permission=bytes(16), sealed=b""):
    return b"\x01" + permission + patient + doctor + content + u32bytes(sealed)


def transaction_id(transaction):
    return sha(b"renkei/transaction/1\n", transaction[:-64])


class Refused(Exception):
    def __init__(self, name, message, hint):
        super().__init__(f"{name}: {message}")
        self.name, self.message, self.hint = name, message, hint


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, n):
        assert self.at + n <= len(self.data), "answer cut short"
        self.at += n
        return self.data[self.at - n:self.at]

    def int(self, n):
        return int.from_bytes(self.raw(n), "big")

    def bytes(self):
        return self.raw(self.int(4))

    def path(self):
        return [self.raw(32) for _ in range(self.int(1))]

    def end(self):
        assert self.at == len(self.data), "answer too long"


class Client:
    """The local socket's protocol; every certificate is checked against the genesis only."""

    def __init__(self, path, genesis_path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.genesis_bytes = pathlib.Path(genesis_path).read_bytes()
        self.genesis = json.loads(self.genesis_bytes)
        self.chain = sha(b"renkei/genesis/1\n", self.genesis_bytes)
        self.request = 0
        self.trust = Trust(self.genesis, self.chain)
        self.path, self.genesis_path = path, genesis_path
        self.certificates_checked = set()

    def close(self):
        self.socket.close()

    def send(self, kind, body=b""):
        self.request += 1
        self.socket.sendall(struct.pack(">IBI", 5 + len(body), kind, self.request) + body)
        return self.request

    def _exactly(self, n):
        data = bytearray()
        while len(data) < n:
            got = self.socket.recv(n - len(data))
            if not got:
                raise ConnectionError("the node closed the connection")
            data += got
        return bytes(data)

    def receive(self):
        """(request, kind, body); raises Refused for an error."""
        length, kind, request = struct.unpack(">IBI", self._exactly(9))
        body = self._exactly(length - 5)
        if kind == 0xff:
            r = Reader(body)
            raise Refused(*(r.bytes().decode() for _ in range(3)))
        return request, kind, body

    def call(self, kind, body=b""):
        number = self.send(kind, body)
        request, got, answer = self.receive()
        assert (request, got) == (number, kind | 0x80)
        return Reader(answer)

    def check(self, header, certificate):
        """Q valid signatures of the genesis' validators over this header."""
        h = parse_header(header)
        assert h["chain"] == self.chain
        if h["height"] == 0:
            return h
        if (header, certificate) in self.certificates_checked:
            return h
        while h["epoch"] >= len(self.trust.keys):
            self.prove_epochs()
        self.trust.check(header, certificate)
        self.certificates_checked.add((header, certificate))
        return h

    def prove_epochs(self):
        """By a connection of its own: answers to other requests may be under way on this one."""
        side = Client(self.path, self.genesis_path)
        r = side.call(10, struct.pack(">Q", len(self.trust.keys) - 1))
        count = r.int(4)
        assert count > 0, "the node does not prove the next epoch"
        for _ in range(count):
            self.trust.next(r.raw(HEADER.size), r.bytes(), r.bytes())
        r.end()
        side.close()

    def members(self):
        """The list in force, proven from the genesis: where the head ended its epoch, the next one."""
        h = self.head()
        if sha(b"renkei/members/1\n", encode_members(*self.trust.members[-1].values())) != h["members"]:
            self.prove_epochs()
        return self.trust.members[-1]

    def head(self):
        r = self.call(2)
        header, certificate = r.raw(HEADER.size), r.bytes()
        r.end()
        return self.check(header, certificate)

    def receipt(self, r, transaction):
        header, certificate = r.raw(HEADER.size), r.bytes()
        h = self.check(header, certificate)
        identity, signature = r.raw(32), r.raw(64)
        status, index, log_index = r.int(1), r.int(4), r.int(8)
        path = r.path()
        r.end()
        assert identity == transaction_id(transaction) and signature == transaction[-64:]
        leaf = sha(b"\x00", identity, signature, bytes([status]))
        assert verify_inclusion(leaf, index, h["transactions"], path, h["transaction_root"])
        return {"height": h["height"], "status": status, "index": index, "log_index": log_index,
                "time_ms": h["time_ms"]}

    def submit(self, transaction):
        return self.receipt(self.call(1, transaction), transaction)

    def submit_all(self, transactions):
        numbers = {self.send(1, t): t for t in transactions}
        receipts = {}
        while numbers:
            request, kind, body = self.receive()
            assert kind == 0x81
            transaction = numbers.pop(request)
            receipts[transaction] = self.receipt(Reader(body), transaction)
        return [receipts[t] for t in transactions]

    def next_sequence(self, public):
        return self.call(3, public).int(8)

    def _version(self, r, head):
        leaf = r.raw(200)
        v = {"leaf": leaf, "log_index": r.int(8), "height": r.int(8), "transaction": r.int(4),
             "leaf_index": r.int(4), "time_ms": r.int(8), "id": r.raw(32)}
        assert verify_inclusion(sha(b"\x00", leaf), v["log_index"], head["log_size"], r.path(),
                                head["log_root"])
        return v

    def history(self, locator, most=1000):
        r = self.call(4, locator + struct.pack(">I", most))
        head = self.check(r.raw(HEADER.size), r.bytes())
        total, count = r.int(8), r.int(4)
        versions = [self._version(r, head) for _ in range(count)]
        r.end()
        for newer, older in zip(versions, versions[1:]):
            assert newer["leaf"][24:56] == sha(b"\x00", older["leaf"])
        return total, versions

    def latest(self, locators):
        r = self.call(5, struct.pack(">I", len(locators)) + b"".join(locators))
        head = self.check(r.raw(HEADER.size), r.bytes())
        assert r.int(4) == len(locators)
        found = [self._version(r, head) if r.int(1) else None for _ in locators]
        r.end()
        return found

    def prove(self, locators):
        """(height, latest versions as of it, None where the chain knows none), by the map root of the
        certified head alone: docs/formats.md, Map."""
        r = self.call(11, struct.pack(">I", len(locators)) + b"".join(locators))
        head = self.check(r.raw(HEADER.size), r.bytes())
        assert r.int(4) == len(locators)
        found = []
        for locator in locators:
            value = read_map_proof(r, sha(b"renkei/map/1\n", locator), head["map_root"])
            found.append(value and self._version(r, head))
            if value:
                v = found[-1]
                assert v["leaf"][8:24] == locator
                assert value == (int.from_bytes(v["leaf"][4:8], "big"), v["log_index"],
                                 sha(b"\x00", v["leaf"]))
        r.end()
        return head["map_height"], found

    def block(self, height):
        """(header, transactions with status); entries checked against the certified header."""
        r = self.call(6, struct.pack(">Q", height))
        block, certificate = r.bytes(), r.bytes()
        r.end()
        h = self.check(block[:HEADER.size], certificate)
        return h, check_entries(block), block, certificate

    def status(self):
        return json.loads(self.call(8).bytes())

    def metrics(self):
        return self.call(9).bytes().decode()

    def metric(self, name):
        return int(re.search(rf"^{name} (\d+)$", self.metrics(), re.M)[1])


def parse_header(header):
    v = HEADER.unpack(header)
    assert v[0:3] == (1, 1, 0)
    names = ["chain", "epoch", "height", "previous", "time_ms", "transactions", "size",
             "transaction_root", "log_size", "log_root", "map_height", "map_root", "members"]
    h = dict(zip(names, v[3:]))
    h["hash"] = sha(b"renkei/block/1\n", header)
    return h


def quorum(n):
    f = (n - 1) // 3
    return (n + f + 2) // 2


def encode_members(chain, epoch, validators, observers, submitters):
    """The list's canonical bytes. Nodes: (flags, name, address, vote key, pin); submitters: (flags, role,
    name, key)."""
    out = b"\x01\x01" + chain + struct.pack(">Q", epoch)
    for nodes in (validators, observers):
        out += struct.pack(">I", len(nodes))
        for flags, name, address, key, pin in nodes:
            out += bytes([flags]) + u32bytes(name) + u32bytes(address) + key + pin
    out += struct.pack(">I", len(submitters))
    for flags, role, name, key in submitters:
        out += bytes([flags, role]) + u32bytes(name) + key
    return out


def decode_members(data):
    r = Reader(data)
    assert r.raw(2) == b"\x01\x01"
    m = {"chain": r.raw(32), "epoch": r.int(8)}
    for kind in ("validators", "observers"):
        m[kind] = [(r.int(1), r.bytes(), r.bytes(), r.raw(32), r.raw(32)) for _ in range(r.int(4))]
    m["submitters"] = [(r.int(1), r.int(1), r.bytes(), r.raw(32)) for _ in range(r.int(4))]
    r.end()
    assert encode_members(*m.values()) == data
    return m


def genesis_members(genesis, chain):
    validators = [(0, v["name"].encode(), v["address"].encode(), bytes.fromhex(v["vote_key"]),
                   bytes.fromhex(v["tls_pin"])) for v in genesis["validators"]]
    submitters = [(0, 1, s["name"].encode(), bytes.fromhex(s["key"]))
                  for s in genesis["submitters"]]
    submitters += [(0, 2, v[1], v[3]) for v in validators]
    return encode_members(chain, 0, validators, [], submitters)


class Trust:
    """Nothing but the genesis: keys[e] are the validators' of epoch e, each list proven by the one
    before."""

    def __init__(self, genesis, chain):
        self.chain = chain
        self.members = []
        self.keys = []
        self._add(genesis_members(genesis, chain))

    def _add(self, data):
        m = decode_members(data)
        assert m["chain"] == self.chain and m["epoch"] == len(self.keys)
        self.members.append(m)
        self.keys.append([v[3] for v in m["validators"]])

    def next(self, header, certificate, data):
        h = parse_header(header)
        assert h["epoch"] == len(self.keys) - 1
        self.check(header, certificate)
        assert h["members"] == sha(b"renkei/members/1\n", data)
        self._add(data)

    def check(self, header, certificate):
        """certificate -> Q signatures of this epoch's validators over the block's hash."""
        h = parse_header(header)
        assert h["chain"] == self.chain
        keys = self.keys[h["epoch"]]
        r = Reader(certificate)
        version, kind = r.int(1), r.int(1)
        epoch, view, height, digest = r.int(8), r.int(8), r.int(8), r.raw(32)
        count = r.int(2)
        assert (version, kind) == (1, 3)
        assert (epoch, height, digest) == (h["epoch"], h["height"], h["hash"])
        statement = sha(b"renkei/vote/1\n", self.chain, struct.pack(">Q", epoch), bytes([kind]),
                        struct.pack(">QQ", view, height), digest)
        last = -1
        for _ in range(count):
            signer, signature = r.int(2), r.raw(64)
            assert signer > last
            last = signer
            Ed25519PublicKey.from_public_bytes(keys[signer]).verify(signature, statement)
        r.end()
        assert count >= quorum(len(keys))


def check_certificate(genesis, chain, header, certificate):
    """Of a block of epoch 0, with nothing but the genesis."""
    Trust(genesis, chain).check(header, certificate)


def read_map_proof(r, key, root):
    """(version, log number, leaf hash) that the map has for this key, or None."""
    depth = r.int(2)
    bits = r.raw((depth + 7) // 8)
    siblings = [r.raw(32) if bits[i // 8] & 0x80 >> i % 8 else bytes(32) for i in range(depth)]
    value, hash_ = None, bytes(32)
    number = int.from_bytes(key, "big")
    if r.int(1):
        there, raw = r.raw(32), r.raw(44)
        assert depth == 0 or int.from_bytes(there, "big") >> 256 - depth == number >> 256 - depth
        hash_ = sha(b"\x00", there, raw)
        if there == key:
            value = (int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:12], "big"), raw[12:])
    for i in reversed(range(depth)):
        right = number >> 255 - i & 1
        hash_ = sha(b"\x01", siblings[i], hash_) if right else sha(b"\x01", hash_, siblings[i])
    assert hash_ == root, "the map root"
    return value


def check_entries(block):
    h = parse_header(block[:HEADER.size])
    assert h["size"] == len(block) - HEADER.size
    r = Reader(block[HEADER.size:])
    entries = []
    for _ in range(h["transactions"]):
        status = r.int(1)
        entries.append((r.bytes(), status))
    r.end()
    leaves = [sha(b"\x00", transaction_id(t), t[-64:], bytes([s])) for t, s in entries]
    assert merkle_root(leaves) == h["transaction_root"]
    return entries


def write_private(path, key):
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM,
                                       serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    path.chmod(0o600)


def make_tls(folder, name, days=90):
    """A self-signed P-256 certificate; the pin of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.utcnow()
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=days))
                   .sign(key, hashes.SHA256()))
    write_private(folder / "tls.key", key)
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return sha(key.public_key().public_bytes(serialization.Encoding.DER,
                                             serialization.PublicFormat.SubjectPublicKeyInfo))


PARAMETERS = {"block_bytes_max": 4 << 20, "block_transactions_max": 8192, "empty_block_ms": 20000,
              "rotate_blocks": 1000, "window": 4, "view_timeout_ms": 1500,
              "clock_drift_ms_max": 10000}


class Node:
    def __init__(self, folder, index):
        self.folder, self.index = folder, index
        self.config = folder / "node.yaml"
        self.socket = folder / "node.socket"
        self.genesis = folder / "genesis.json"
        self.program = NODE
        self.process = None

    def start(self, wait=True, **environment):
        assert self.process is None
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen([str(self.program), "--config", str(self.config)],
                                        stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env={**os.environ, **environment})
        if wait:
            wait_until(self.ready, 30, f"node {self.index} opens its socket: {self.read_log()}")

    def ready(self):
        assert self.process.poll() is None, f"node {self.index} ended: {self.read_log()}"
        try:
            self.client().close()
            return True
        except OSError:
            return False

    def log_text(self):
        """Everything it logged, over all of its starts."""
        return (self.folder / "log").read_text(errors="replace")

    def read_log(self):
        """The last of it, for a message."""
        return self.log_text()[-3000:]

    def client(self):
        return Client(self.socket, self.genesis)

    def kill(self):
        self.end(signal.SIGKILL)

    def stop(self):
        """SIGTERM; the exit status."""
        return self.end(signal.SIGTERM)

    def end(self, number):
        if self.process is None:
            return None
        self.process.send_signal(number)
        status = self.process.wait(timeout=30 * PATIENCE)
        self.process = None
        self.log.close()
        return status


class Chain:
    """n nodes in a folder of their own; a context manager that ends what it started."""

    def __init__(self, n, submitters=1, certificate_days=90, **parameters):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-chain-"))
        self.nodes, validators = [], []
        self.signers = [Signer() for _ in range(submitters)]
        self.votes = []
        for i in range(n):
            node = Node(self.folder / f"node-{i}", i)
            node.folder.mkdir()
            key = Ed25519PrivateKey.generate()
            self.votes.append(key)
            write_private(node.folder / "vote.key", key)
            pin = make_tls(node.folder, f"node-{i}", certificate_days)
            public = key.public_key().public_bytes(serialization.Encoding.Raw,
                                                   serialization.PublicFormat.Raw)
            validators.append({"name": f"node-{i}", "vote_key": public.hex(),
                               "tls_pin": pin.hex(), "address": f"127.0.0.1:{free_port()}"})
            node.config.write_text("genesis: genesis.json\ndata: data\nvote_key: vote.key\n"
                                   "tls_key: tls.key\ntls_certificate: tls.crt\n"
                                   "socket: node.socket\n")
            self.nodes.append(node)
        self.validators = validators
        self.genesis = {"format": 1, "name": "test", "created_ms": int(time.time() * 1000),
                        "parameters": {**PARAMETERS, **parameters}, "validators": validators,
                        "submitters": [{"name": f"submitter-{i}", "key": s.public.hex()}
                                       for i, s in enumerate(self.signers)]}
        text = json.dumps(self.genesis, indent=1).encode()
        self.id = sha(b"renkei/genesis/1\n", text)
        for node in self.nodes:
            node.genesis.write_bytes(text)
        for signer in self.signers:
            signer.chain = self.id
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        if kind is not None:
            self.keep_traces()
        for node in self.nodes:
            with contextlib.suppress(Exception):
                node.kill()
        if kind is not None:
            for node in self.nodes:
                print(f"--- log of node {node.index}\n{node.read_log()}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep_traces(self):
        """What a failure that is not seen again must be explained from: each node's whole log, and of
        one that still runs what it says of itself."""
        kept = pathlib.Path(tempfile.mkdtemp(prefix="renkei-failed-"))
        for node in self.nodes:
            with contextlib.suppress(OSError):
                shutil.copy(node.folder / "log", kept / f"node-{node.index}.log")
            if node.process is None or node.process.poll() is not None:
                continue
            with contextlib.suppress(Exception):
                client = node.client()
                client.socket.settimeout(TRACE_S_MAX)
                (kept / f"node-{node.index}.json").write_text(json.dumps(client.status(), indent=1))
                (kept / f"node-{node.index}.metrics").write_text(client.metrics())
                client.close()
        print(f"--- whole logs, status and metrics of every node: {kept}")

    def start(self):
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            wait_until(node.ready, 30, "socket")
        for node in self.nodes:
            client = node.client()
            wait_until(lambda c=client: all(p.get("up") or p.get("self")
                                            for p in c.status()["peers"]), 30, "the mesh")
            wait_until(lambda c=client: c.status()["votes"] != "asking", 30, "it knows its votes")
            client.close()

    def kill_all(self):
        for node in self.nodes:
            if node.process is not None:
                node.process.kill()
        for node in self.nodes:
            node.kill()


KINDS = {"add-validator": 1, "remove-validator": 2, "replace-validator": 3, "add-observer": 4,
         "remove-observer": 5, "replace-observer": 6, "add-submitter": 7, "remove-submitter": 8,
         "replace-submitter": 9}


def operation(kind, name, key=bytes(32), pin=bytes(32), address="", role=0):
    return (bytes([KINDS[kind], role]) + u32bytes(name.encode()) + key + pin
            + u32bytes(address.encode()))


def change_body(chain, epoch, operations, keys):
    """keys: {index of the validator in the list: its vote key}."""
    signed = struct.pack(">QI", epoch, len(operations)) + b"".join(operations)
    statement = sha(b"renkei/change/1\n", chain, signed)
    return (b"\x01" + signed + struct.pack(">I", len(keys))
            + b"".join(struct.pack(">H", i) + keys[i].sign(statement) for i in sorted(keys)))
