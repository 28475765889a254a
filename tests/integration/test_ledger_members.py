"""Members that change while real renkei-node processes run and clients submit: growing, shrinking, new
keys, nodes from outside the genesis, crashes at the boundary, expulsion. Clients know the genesis file
only; tests/harness/ledger.py proves every epoch to them and shares no code with ours."""
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.harness.ledger import (NODE, Chain, Leaf, Node, Refused, Signer, change_body, make_tls,
                                  operation, quorum, wait_until, write_private)
from tests.harness.wait import PATIENCE, free_port

QUICK = {"clock_drift_ms_max": 2000, "view_timeout_ms": 1500, "empty_block_ms": 1000}


def raw(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


class Members:
    """What the operators hold: every node's keys by name, and the right to change the list by Q of them."""

    def __init__(self, chain):
        self.chain = chain
        self.keys = {f"node-{i}": key for i, key in enumerate(chain.votes)}
        self.pins = {v["name"]: bytes.fromhex(v["tls_pin"]) for v in chain.validators}
        self.addresses = {v["name"]: v["address"] for v in chain.validators}
        self.nodes = {f"node-{i}": node for i, node in enumerate(chain.nodes)}
        self.signer = Signer(chain.id) # of changes: a validator's own key, with a sequence of its own
        self.signer.key = chain.votes[0]
        self.signer.public = raw(chain.votes[0])

    def any_client(self):
        for node in self.nodes.values():
            if node.process is not None and node.ready():
                return node.client()
        raise AssertionError("no node runs")

    def change(self, *operations, client=None, keys=None, epoch=None):
        """Submits a change that Q of the validators in force have signed; the receipt."""
        client = client or self.any_client()
        members = client.members()
        if keys is None:
            names = [v[1].decode() for v in members["validators"]]
            held = [i for i, v in enumerate(members["validators"])
                    if raw(self.keys[names[i]]) == v[3]]
            keys = {i: self.keys[names[i]] for i in held[:quorum(len(names))]}
            self.signer.key = keys[held[0]]
            self.signer.public = raw(self.signer.key)
        body = change_body(self.chain.id, members["epoch"] if epoch is None else epoch, operations,
                           keys)
        self.signer.sequence = client.next_sequence(self.signer.public)
        receipt = client.submit(self.signer.transaction(4, body))
        client.close()
        return receipt

    def prepare(self, name, sources=(), validator=True):
        """Files of a node that the genesis does not know; it learns from the sources, pinned."""
        index = int(name.rsplit("-", 1)[1])
        node = Node(self.chain.folder / name, index)
        node.folder.mkdir()
        self.keys[name] = Ed25519PrivateKey.generate()
        write_private(node.folder / "vote.key", self.keys[name])
        self.pins[name] = make_tls(node.folder, name)
        self.addresses[name] = f"127.0.0.1:{free_port()}"
        node.genesis.write_bytes(self.chain.nodes[0].genesis.read_bytes())
        peers = "".join(f"  {s}: \"{self.addresses[s]} sha256:{self.pins[s].hex()}\"\n"
                        for s in sources)
        listen = f"listen: {self.addresses[name]}\n" if validator else ""
        node.config.write_text("genesis: genesis.json\ndata: data\nvote_key: vote.key\n"
                               "tls_key: tls.key\ntls_certificate: tls.crt\n"
                               f"socket: node.socket\n{listen}peers:\n{peers}")
        self.nodes[name] = node
        self.chain.nodes.append(node)
        return node

    def add(self, kind, name):
        address = self.addresses[name] if "validator" in kind else ""
        return operation(kind, name, raw(self.keys[name]), self.pins[name], address)

    def new_keys(self, name, fits=lambda pin: True):
        """Puts the next keys beside those in use; the operation that makes them valid."""
        folder = self.nodes[name].folder
        fresh = folder / "fresh"
        fresh.mkdir()
        key = Ed25519PrivateKey.generate()
        write_private(fresh / "vote.key", key)
        pin = make_tls(fresh, name)
        while not fits(pin):
            pin = make_tls(fresh, name)
        for file in ("tls.key", "tls.crt", "vote.key"):
            shutil.move(fresh / file, folder / f"{file}.next")
        fresh.rmdir()
        self.keys[name], self.pins[name] = key, pin
        return operation("replace-validator", name, raw(key), pin, self.addresses[name])

    def wait_epoch(self, epoch, names=None, seconds=40):
        for name in names or [n for n, node in self.nodes.items() if node.process is not None]:
            node = self.nodes[name]
            wait_until(lambda n=node: n.client().status()["epoch"] >= epoch, seconds,
                       f"{name} in epoch {epoch}: {node.client().status()}")


class Load(threading.Thread):
    """Submits anchors one after another by whatever node answers; counts what was acknowledged."""

    def __init__(self, members, signer):
        super().__init__(daemon=True)
        self.members, self.signer = members, signer
        self.enough = threading.Event()
        self.acknowledged, self.places, self.error = [], set(), None

    def run(self):
        at, client = 0, None
        try:
            while not self.enough.is_set():
                leaf = Leaf()
                transaction = self.signer.anchor([leaf])
                receipt = None
                while receipt is None:
                    try:
                        if client is None:
                            nodes = wait_until(lambda: [n for n in list(self.members.nodes.values())
                                                        if n.process is not None], 60, "a node")
                            at += 1
                            client = nodes[at % len(nodes)].client()
                            client.socket.settimeout(2)
                        receipt = client.submit(transaction)
                    except OSError:
                        client = None # the same bytes again, elsewhere
                    except Refused as e:
                        assert e.name in ("busy", "node-stale"), e
                        if e.name == "node-stale":
                            client = None # others may know more
                assert receipt["status"] == 0
                self.acknowledged.append(leaf)
                self.places.add((receipt["height"], receipt["index"]))
        except BaseException as e: # told by stop()
            self.error = e

    def progress(self, more=5, seconds=30):
        before = len(self.acknowledged)
        wait_until(lambda: self.error or len(self.acknowledged) >= before + more, seconds,
                   "transactions are committed")
        assert self.error is None, self.error

    def stop(self, client):
        self.enough.set()
        self.join(60)
        assert self.error is None, self.error
        assert not self.is_alive()
        count = len(self.acknowledged)
        assert len(self.places) == count
        assert client.next_sequence(self.signer.public) == count + 1
        assert all(client.history(leaf.locator)[0] == 1 for leaf in self.acknowledged)
        assert client.head()["log_size"] == count
        return count


def test_a_chain_grows_from_4_to_7_and_shrinks_back_to_4_under_load():
    with Chain(4, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        load = Load(members, chain.signers[0])
        load.start()
        load.progress()
        for i in (4, 5, 6): # caught up as observers first, then they vote
            members.prepare(f"node-{i}", sources=["node-0", "node-1"])
        assert members.change(*(members.add("add-observer", f"node-{i}") for i in (4, 5, 6)))[
            "status"] == 0
        for i in (4, 5, 6):
            members.nodes[f"node-{i}"].start()
        members.wait_epoch(1)
        load.progress()
        for node in chain.nodes[4:]:
            wait_until(lambda n=node: n.client().status()["key_ready"], 30, "its key is ready")
            assert node.client().status()["role"] == "observer"
        assert members.change(*(members.add("add-validator", f"node-{i}") for i in (4, 5, 6)))[
            "status"] == 0
        members.wait_epoch(2)
        load.progress()
        for node in chain.nodes:
            status = node.client().status()
            assert status["role"] == "validator" and status["validators"] == 7
            assert status["quorum"] == 5 and status["faults_tolerated"] == 2
        chain.nodes[0].kill() # two may fail now
        chain.nodes[1].kill()
        load.progress()
        # Back to four, with two of those that leave being down.
        receipt = members.change(operation("remove-validator", "node-0"),
                                 operation("remove-validator", "node-1"),
                                 operation("remove-validator", "node-4"),
                                 client=chain.nodes[5].client())
        assert receipt["status"] == 0
        staying = ["node-2", "node-3", "node-5", "node-6"]
        members.wait_epoch(3, staying)
        load.progress()
        assert chain.nodes[5].client().status()["validators"] == 4
        chain.nodes[3].kill() # f = 1 again
        load.progress()
        client = chain.nodes[6].client()
        count = load.stop(client)
        assert [len(m["validators"]) for m in client.trust.members] == [4, 4, 7, 4]
        print(count, "anchors,", client.head()["height"], "blocks")


def test_every_node_gets_new_keys_one_after_another_under_load():
    with Chain(4, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        before = [node.folder.joinpath("vote.key").read_bytes() for node in chain.nodes]
        load = Load(members, chain.signers[0])
        load.start()
        load.progress()
        old = dict(members.keys)
        operations = {name: members.new_keys(name) for name in list(members.nodes)}
        fresh, members.keys = members.keys, dict(old)
        for node in chain.nodes:
            wait_until(lambda n=node: n.client().status()["next_key_ready"], 30, "the next key")
        for epoch, (name, change) in enumerate(operations.items(), 1):
            assert members.change(change)["status"] == 0
            members.keys[name] = fresh[name]
            members.wait_epoch(epoch)
            load.progress()
        for node, was in zip(chain.nodes, before):
            status = node.client().status()
            assert status["role"] == "validator" and not status["next_key"]
            assert node.folder.joinpath("vote.key").read_bytes() != was
            assert not list(node.folder.glob("*.next"))
        wait_until(lambda: all(p.get("up") or p.get("self")
                               for n in chain.nodes for p in n.client().status()["peers"]),
                   30, "all are connected by their new keys")
        chain.kill_all()
        chain.start() # from the files as they are now
        load.progress()
        chain.nodes[2].kill()
        load.progress()
        client = chain.nodes[1].client()
        print(load.stop(client), "anchors")
        keys = client.trust.keys
        assert len(keys) == 5 and not set(keys[0]) & set(keys[4])
        with pytest.raises(Refused) as refused: # the old key's signature is worth nothing now
            members.signer.key, members.signer.public = old["node-0"], raw(old["node-0"])
            client.submit(members.signer.transaction(4, change_body(
                chain.id, 4, [operation("remove-validator", "node-3")], {}), sequence=1))
        assert refused.value.message == ("transaction: its submitter is not among the members of "
                                         "epoch 4")


@pytest.mark.parametrize("new_key_dials", [True, False])
def test_a_node_that_missed_its_own_new_key_comes_back(new_key_dials):
    """The others know it by a key that it does not yet use, and of two nodes the one of lower pin dials:
    so both orders, the old key on the other side each time."""
    with Chain(4, **QUICK) as chain:
        members = Members(chain)
        ranked = sorted(members.pins, key=members.pins.get)
        late = ranked[-1 if new_key_dials else 0]
        others = [pin for name, pin in members.pins.items() if name != late]
        chain.start()
        operation = members.new_keys(late, (lambda pin: pin < min(others)) if new_key_dials
                                     else (lambda pin: pin > max(others)))
        node = members.nodes[late]
        wait_until(lambda: node.client().status()["next_key_ready"], 30, "the next key")
        node.process.send_signal(signal.SIGSTOP)
        try:
            other = members.nodes[ranked[1]]
            assert members.change(operation, client=other.client(), keys={
                i: key for i, key in enumerate(chain.votes) if i != node.index})["status"] == 0
            members.wait_epoch(1, [name for name in ranked if name != late])
            wait_until(lambda: not any(p["name"] == late and p["up"]
                                       for p in other.client().status()["peers"]), 30, "they hung up")
        finally:
            node.process.send_signal(signal.SIGCONT)
        members.wait_epoch(1, [late])
        wait_until(lambda: all(p.get("up") or p.get("self")
                               for n in chain.nodes for p in n.client().status()["peers"]),
                   30, "all are connected by the new key")
        assert node.client().status()["role"] == "validator"


def test_kills_at_the_end_of_an_epoch_lose_nothing():
    chance = random.Random(7)
    with Chain(4, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        load = Load(members, chain.signers[0])
        load.start()
        observer = [operation("add-observer", "monitor", os.urandom(32), os.urandom(32)),
                    operation("remove-observer", "monitor")]
        rounds = int(os.environ.get("RENKEI_BOUNDARY_KILLS", "6"))
        for epoch in range(1, rounds + 1):
            load.progress(2)
            victim = chain.nodes[1 + epoch % 3]
            client = chain.nodes[0].client()
            killer = threading.Timer(chance.random() * 0.03, victim.kill)
            killer.start()
            assert members.change(observer[0] if epoch % 2 else observer[1], client=client)[
                "status"] == 0
            if epoch % 2 == 0: # a key is never new twice
                observer[0] = operation("add-observer", "monitor", os.urandom(32), os.urandom(32))
            killer.join()
            if epoch % 3 == 0: # and everybody at once
                chain.kill_all()
                chain.start()
            elif victim.process is None:
                victim.start()
            members.wait_epoch(epoch)
        load.progress()
        client = chain.nodes[0].client()
        print(load.stop(client), "anchors")
        height = client.head()["height"]
        for node in chain.nodes:
            wait_until(lambda n=node: n.client().head()["height"] >= height, 30, "equal heights")
            assert node.client().block(height)[2] == client.block(height)[2]


def test_a_change_that_too_few_signed_or_that_does_not_fit_changes_nothing():
    with Chain(4, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        keys = dict(enumerate(chain.votes))
        gone = operation("remove-validator", "node-3")
        assert members.change(gone, keys={0: keys[0], 1: keys[1]})["status"] == 7
        assert members.change(gone, keys={0: keys[0], 1: keys[1], 2: keys[3]})["status"] == 7
        assert members.change(gone, epoch=1)["status"] == 6
        assert members.change(operation("remove-validator", "node-9"))["status"] == 8
        twice = members.add("add-observer", "node-3")
        assert members.change(twice)["status"] == 8
        with pytest.raises(Refused): # an observer has no address
            members.change(operation("add-observer", "x", b"x" * 32, b"y" * 32, "a:1"))
        with pytest.raises(Refused) as refused: # a node's key is no hospital's
            members.signer.sequence = chain.nodes[0].client().next_sequence(members.signer.public)
            chain.nodes[0].client().submit(members.signer.note(b"x"))
        assert refused.value.message == (
            "transaction: node-0 has the role node, which may not submit the type note: "
            "that needs gateway or auditor")
        assert "renkei-node members" in refused.value.hint
        assert members.any_client().head()["epoch"] == 0


def test_a_submitter_joins_changes_its_key_and_keeps_its_records():
    with Chain(4, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        signer, renewed, client = Signer(chain.id), Signer(chain.id), chain.nodes[0].client()
        with pytest.raises(Refused):
            client.submit(signer.note(b"early", sequence=1))
        assert members.change(operation("add-submitter", "clinic", signer.public, role=1))[
            "status"] == 0
        members.wait_epoch(1)
        leaf = Leaf()
        assert client.submit(signer.anchor([leaf]))["status"] == 0
        assert members.change(operation("replace-submitter", "clinic", renewed.public))[
            "status"] == 0
        members.wait_epoch(2)
        with pytest.raises(Refused):
            client.submit(signer.note(b"late"))
        renewed.sequence = client.next_sequence(renewed.public)
        assert renewed.sequence == 2 # it goes on where the old key was
        assert client.submit(renewed.anchor([leaf.next()]))["status"] == 0
        assert client.submit(chain.signers[0].anchor([leaf.next().next()]))["status"] == 3
        assert members.change(operation("remove-submitter", "clinic"))["status"] == 0
        members.wait_epoch(3)
        with pytest.raises(Refused) as refused:
            client.submit(renewed.note(b"gone"))
        assert refused.value.message == ("transaction: its submitter is not among the members of "
                                         "epoch 3")
        # A peer that lags behind that epoch passes it on in good faith, and is not hung up on for it;
        # for a signature that is wrong it is.
        client.close()
        chain.nodes[3].kill()
        peer, client, honest = Impostor(chain, 3), chain.nodes[0].client(), chain.signers[0]
        peer.connect(0)
        peer.pass_on(renewed.note(b"late"))
        peer.pass_on(honest.note(b"behind it"))
        wait_until(lambda: client.next_sequence(honest.public) == honest.sequence, 30,
                   "what came behind it on the same connection is taken")
        assert peer.is_up()
        peer.pass_on(honest.note(b"changed")[:-1] + b"\xff")
        wait_until(lambda: not peer.is_up(), 30, "it is hung up on")
        peer.close()


class FarAway:
    """A port whose answers are on their way for some time."""

    def __init__(self, address, delay_s):
        host, port = address.rsplit(":", 1)
        self.behind, self.delay_s = (host, int(port)), delay_s
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError): # until it is closed
            while True:
                near = self.listener.accept()[0]
                far = socket.create_connection(self.behind)
                for ends in ((near, far, 0), (far, near, self.delay_s)):
                    threading.Thread(target=self.carry, args=ends, daemon=True).start()

    @staticmethod
    def carry(source, target, delay_s):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                threading.Event().wait(delay_s)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_one_whose_list_is_long_past_learns_from_a_source_that_is_far_away():
    """No validator that it knows of has the key that it knows, so nobody tells it how far the chain is:
    it asks for more than anybody spoke of, and its source answers later than it likes to wait."""
    with Chain(1, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        for i in range(20):
            assert members.any_client().submit(chain.signers[0].note(b"%d" % i))["status"] == 0
        change = members.new_keys("node-0")
        wait_until(lambda: chain.nodes[0].client().status()["next_key_ready"], 30, "the next key")
        fresh, members.keys["node-0"] = members.keys["node-0"], chain.votes[0]
        assert members.change(change)["status"] == 0
        members.keys["node-0"] = fresh
        members.wait_epoch(1)
        source = FarAway(members.addresses["node-0"], 0.4)
        members.addresses["node-0"] = source.address
        node = members.prepare("node-1", sources=["node-0"])
        assert members.change(members.add("add-observer", "node-1"))["status"] == 0
        node.start()
        wait_until(lambda: node.client().status()["epoch"] >= 1, 10,
                   "it has the list by which others may tell it more")
        source.listener.close()


def framed(message):
    return struct.pack(">IB", len(message) + 1, 2) + message


class Impostor:
    """A process with a validator's keys that says two things at once: it dials the others as the mesh
    wants it (docs/formats.md, "Mesh") and sends contradicting PREPAREs."""

    def __init__(self, chain, index):
        self.chain, self.index = chain, index
        self.folder = chain.nodes[index].folder
        self.key = chain.votes[index]
        self.open = []

    def connect(self, to):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.folder / "tls.crt", self.folder / "tls.key")
        host, port = self.chain.validators[to]["address"].split(":")
        session = int.from_bytes(os.urandom(7), "big") + 1
        lanes = []
        for lane in (0, 1):
            s = context.wrap_socket(socket.create_connection((host, int(port))))
            hello = struct.pack(">H32sBIQ", 1, self.chain.id, lane, self.index, session)
            s.sendall(struct.pack(">IB", len(hello) + 1, 1) + hello)
            lanes.append(s)
        for s in lanes:
            assert s.recv(5)[4] == 1 # its hello
        self.open += lanes
        return lanes[0]

    def prepare(self, epoch, view, height, digest):
        statement = hashlib.sha256(b"renkei/vote/1\n" + self.chain.id + struct.pack(">Q", epoch)
                                   + b"\x02" + struct.pack(">QQ", view, height) + digest).digest()
        return (struct.pack(">BBHQQQ", 1, 2, self.index, epoch, view, height) + digest
                + self.key.sign(statement))

    def listen(self):
        """For an observer, at the validator's own address; the lane of votes to it. Validators that dial
        are sent away."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "tls.crt", self.folder / "tls.key")
        host, port = self.chain.validators[self.index]["address"].split(":")
        lanes = {}
        with socket.create_server((host, int(port))) as door:
            door.settimeout(60 * PATIENCE)
            while len(lanes) < 2:
                dialled = door.accept()[0]
                try:
                    s = context.wrap_socket(dialled, server_side=True)
                    frame = s.recv(5 + 47)
                except OSError: # it gave the attempt up
                    continue
                _, chain, lane, who, session = struct.unpack(">H32sBIQ", frame[5:].ljust(47, b"\0"))
                if who != 0xFFFFFFFF:
                    s.close()
                    continue
                hello = struct.pack(">H32sBIQ", 1, chain, lane, self.index, session)
                s.sendall(struct.pack(">IB", len(hello) + 1, 1) + hello)
                lanes[lane] = s
                self.open.append(s)
        return lanes[0]

    def contradict(self, lane, epoch, view, height):
        for digest in (b"\x11" * 32, b"\x22" * 32):
            message = b"\x01" + self.prepare(epoch, view, height, digest)
            lane.sendall(framed(message))

    def contradict_until(self, lane, client, epoch):
        """Above each head anew, so that a block in between makes no difference."""
        told = set()

        def over():
            status, height = client.status(), client.head()["height"] + 3
            if status["epoch"] < epoch and height not in told:
                told.add(height)
                with contextlib.suppress(OSError): # it was found out already
                    self.contradict(lane, epoch - 1, status["view"], height)
            return status["epoch"] >= epoch
        wait_until(over, 40, f"epoch {epoch}")

    def contradict_often(self, lane, client, times):
        def enough():
            status, height = client.status(), client.head()["height"] + 3
            messages = [b"\x01" + self.prepare(status["epoch"], status["view"], height, os.urandom(32))
                        for _ in range(100)]
            lane.sendall(b"".join(framed(message) for message in messages))
            return client.metric("renkei_node_equivocations_total") >= times
        wait_until(enough, 40, "it has seen them")

    def pass_on(self, transaction):
        message = b"\x02" + struct.pack(">I", len(transaction)) + transaction
        self.open[-1].sendall(framed(message))

    def ask(self, kind, body, times):
        self.open[-1].sendall(framed(bytes([kind]) + body) * times)

    def is_up(self):
        """Reads on what the last bulk lane has; False where the node has hung up."""
        self.open[-1].settimeout(0.05)
        try:
            return self.open[-1].recv(65536) != b""
        except TimeoutError:
            return True
        except OSError:
            return False

    def close(self):
        for s in self.open:
            s.close()


@pytest.mark.parametrize("resubmitted, view_timeout_ms", [(False, 6000), (True, 2500)])
def test_what_one_node_alone_was_told_of_is_passed_on_before_it_leaves_the_view(
        resubmitted, view_timeout_ms):
    """Its sender died after the first of the others, which does not lead. Were that one to change the view
    for what nobody else knows, it would be mute until the others follow."""
    with Chain(4, view_timeout_ms=view_timeout_ms) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        assert client.submit(signer.note(b"before"))["status"] == 0
        assert client.status()["leader"] == "node-0"
        chain.nodes[3].kill()
        wait_until(lambda: not client.status()["peers"][3]["up"], 30, "its death is known")
        impostor = Impostor(chain, 3)
        impostor.connect(2)
        note = signer.note(b"hardly told")
        impostor.pass_on(note)
        wait_until(lambda: chain.nodes[2].client().status()["pool_transactions"] == 1, 30, "it came")
        impostor.close()
        if resubmitted: # by its client, to the node that knows it already: the others hear at once
            assert chain.nodes[2].client().submit(note)["status"] == 0
        wait_until(lambda: client.next_sequence(signer.public) == 3, 30, "it is committed")
        assert [n.client().status()["view"] for n in chain.nodes[:3]] == [0, 0, 0]


@pytest.mark.parametrize("n", [5, 4])
def test_who_equivocates_is_expelled_or_where_too_few_would_be_left_suspended(n):
    with Chain(n, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        signer, client = chain.signers[0], chain.nodes[0].client()
        client.submit(signer.note(b"before"))
        chain.nodes[n - 1].kill() # its keys are in other hands now
        impostor = Impostor(chain, n - 1)
        impostor.contradict_until(impostor.connect(1), client, 1)
        members.wait_epoch(1)
        impostor.close()
        proven = client.members()
        assert '"event":"equivocation"' in chain.nodes[1].log_text()
        if n == 4: # it goes on, and fills no disk
            impostor.contradict_often(impostor.connect(1), chain.nodes[1].client(), 500)
            impostor.close()
            assert chain.nodes[1].log_text().count('"event":"equivocation"') < 30
        names = [v[1].decode() for v in proven["validators"]]
        if n == 5:
            assert names == [f"node-{i}" for i in range(4)]
            assert client.status()["validators"] == 4
        else:
            assert names == [f"node-{i}" for i in range(4)]
            assert [v[0] for v in proven["validators"]] == [0, 0, 0, 1]
            assert client.status()["suspended"] == 1
            assert client.status()["peers"][3]["suspended"]
            assert "renkei_node_suspended 1" in client.metrics()
            assert '"event":"suspended"' in chain.nodes[0].log_text()
            warning = ("WARNING            node-3 equivocated, and stays since fewer than 4 would be left "
                       "without it: replace its key, or remove it")
            assert warning in command(chain.nodes[0], "status").splitlines()
        assert client.submit(signer.note(b"after"))["status"] == 0
        # Who sent it is on the chain, and the same evidence a second time does nothing.
        height = client.head()["height"]
        found = [(t, s) for h in range(1, height + 1) for t, s in client.block(h)[1]
                 if struct.unpack_from(">H", t, 2)[0] == 5]
        assert [s for _, s in found].count(0) == 1
        assert client.head()["epoch"] == 1
        if n == 4: # a new key ends the suspension
            change = members.new_keys("node-3")
            for name in ("vote.key", "tls.key", "tls.crt"): # the old ones are not to be used again
                os.replace(chain.nodes[3].folder / f"{name}.next", chain.nodes[3].folder / name)
            assert members.change(change)["status"] == 0
            members.wait_epoch(2, ["node-0", "node-1", "node-2"])
            assert client.status()["suspended"] == 0
            assert "equivocated" not in command(chain.nodes[0], "status")


def test_who_contradicts_itself_often_hides_nobody_else():
    """Two of seven, and one node alone sees both: the first says far more than there is room for."""
    with Chain(7, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        client, witness = chain.nodes[0].client(), chain.nodes[1].client()
        assert client.submit(chain.signers[0].note(b"before"))["status"] == 0
        impostors = []
        for i in (5, 6): # their keys are in other hands now
            chain.nodes[i].kill()
            impostors.append((Impostor(chain, i), i))
        lanes = [impostor.connect(1) for impostor, _ in impostors]
        (often, _), (once, _) = impostors
        often.contradict_often(lanes[0], witness, 50)
        once.contradict(lanes[1], 0, witness.status()["view"], client.head()["height"] + 3)
        wait_until(lambda: len(client.members()["validators"]) == 5, 40, "both are expelled")
        names = [v[1].decode() for v in client.members()["validators"]]
        assert names == [f"node-{i}" for i in range(5)]
        members.wait_epoch(2, [f"node-{i}" for i in range(5)])
        for impostor, _ in impostors:
            impostor.close()


def test_a_monitor_that_alone_saw_two_votes_of_one_validator_has_it_expelled():
    """It votes for nothing and holds no database: an observer, and the node's own key signs what it submits."""
    with Chain(5, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        client = chain.nodes[0].client()
        monitor = members.prepare("monitor-5", sources=["node-0", "node-1"], validator=False)
        assert members.change(members.add("add-observer", "monitor-5"))["status"] == 0
        monitor.start()
        members.wait_epoch(1)
        chain.nodes[4].kill() # its keys are in other hands now
        impostor = Impostor(chain, 4)
        impostor.contradict_until(impostor.listen(), client, 2)
        members.wait_epoch(2)
        impostor.close()
        assert [v[1].decode() for v in client.members()["validators"]] == [f"node-{i}" for i in range(4)]
        found = [t for h in range(1, client.head()["height"] + 1) for t, s in client.block(h)[1]
                 if struct.unpack_from(">H", t, 2)[0] == 5 and s == 0]
        assert [t[36:68] for t in found] == [raw(members.keys["monitor-5"])]
        assert '"event":"equivocation","validator":"node-4"' in monitor.log_text()
        assert monitor.client().status()["role"] == "observer"
        assert client.submit(chain.signers[0].note(b"after"))["status"] == 0


def command(node, *words, status=0):
    done = subprocess.run([NODE, words[0], "--config", node.config, *words[1:]], text=True,
                          capture_output=True, timeout=90 * PATIENCE)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_operators_let_a_hospital_in_and_renew_keys_by_commands():
    with Chain(4, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        first, second, third, fourth = chain.nodes
        west = members.prepare("west-4", sources=["node-0", "node-1"])
        west.start() # it follows nobody yet: the others do not know its key
        gateway = Signer(chain.id)
        member, change = chain.folder / "member.json", chain.folder / "change.json"
        member.write_text(json.dumps({
            "name": "west-4", "vote_key": raw(members.keys["west-4"]).hex(),
            "tls_pin": members.pins["west-4"].hex(), "address": members.addresses["west-4"],
            "submitter": gateway.public.hex(), "gateway": "https://west.example"}))
        told = command(first, "change", "--out", change, f"add-observer={member}",
                       f"add-submitter={member}")
        assert told.splitlines()[0] == "change of epoch 0:"
        assert told.splitlines()[-1] == "signed by 1 of 4 validators, needed are 3"
        assert json.loads(change.read_text())["operations"][1]["key"] == gateway.public.hex()
        refused = command(second, "submit", change, status=43)
        assert "1 of 4 validators signed it, expected at least 3" in refused
        by_second, by_third = chain.folder / "by-1.json", chain.folder / "by-2.json"
        command(second, "sign", "--out", by_second, change) # at the same time, each for himself
        assert "signed by 2 of 4" in command(third, "sign", "--out", by_third, change)
        done = json.loads(command(fourth, "submit", "--json", by_second, by_third))
        assert done["epoch"] == 1
        members.wait_epoch(1)
        wait_until(lambda: west.client().status()["role"] == "observer", 30, "west reads along")
        assert west.client().submit(gateway.note(b"from the west"))["status"] == 0
        late = command(second, "sign", change, status=3)
        assert "the change is for epoch 0, the chain is in 1" in late
        listed = json.loads(command(west, "members", "--json"))
        assert [o["name"] for o in listed["observers"]] == ["west-4"]
        assert [s["name"] for s in listed["submitters"]] == ["submitter-0", "west-4"]
        wait_until(lambda: west.client().status()["key_ready"], 30, "its key is ready")
        command(first, "change", "--out", change, f"add-validator={member}")
        for node in (second, third):
            command(node, "sign", change)
        assert "west-4" in command(third, "sign", change) # twice by one counts once
        command(first, "submit", change)
        members.wait_epoch(2)
        wait_until(lambda: west.client().status()["role"] == "validator", 30, "west votes")
        text = command(west, "members")
        assert text.splitlines()[0] == "epoch 2: 5 validators, a quorum is 4, 1 may fail"
        # New keys for one of them, made beside the running node.
        renewed = chain.folder / "renewed.json"
        command(second, "keys", "--out", renewed)
        command(second, "keys", "--out", renewed, status=5) # never written over
        wait_until(lambda: second.client().status()["next_key_ready"], 30, "the next key")
        command(first, "change", "--out", change, f"replace-validator={renewed}")
        for node in (second, third, west):
            command(node, "sign", change)
        command(west, "submit", change)
        members.wait_epoch(3)
        wait_until(lambda: second.client().status()["role"] == "validator", 30, "it votes anew")
        assert not list(second.folder.glob("*.next"))
        # West knows the second by its old key from its configuration, and yet hears it by the new one.
        wait_until(lambda: all(p.get("up") or p.get("self") for p in west.client().status()["peers"]),
                   30, "west hears everybody")
        chain.nodes[0].kill() # now the new key's votes are needed
        assert west.client().submit(gateway.note(b"with the new key"))["status"] == 0
        # A hospital leaves.
        command(second, "change", "--out", change, "remove-validator=west-4",
                "remove-submitter=west-4")
        command(third, "sign", change)
        command(fourth, "sign", change)
        command(west, "sign", change)
        command(third, "submit", change)
        members.wait_epoch(4, ["node-1", "node-2", "node-3"])
        with pytest.raises(Refused):
            second.client().submit(gateway.note(b"after"))
