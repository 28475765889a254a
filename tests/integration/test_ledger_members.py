"""Members that change while real renkei-node processes run and clients submit: growing, shrinking, new
keys, nodes from outside the genesis, crashes at the boundary, expulsion. Clients know the genesis file
only; tests/harness/ledger.py proves every epoch to them and shares no code with ours."""
import os
import shutil
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.harness.ledger import (Chain, Leaf, Node, Refused, Signer, change_body, free_port, make_tls,
                                  operation, quorum, wait_until, write_private)

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

    def new_keys(self, name):
        """Puts the next keys beside those in use; the operation that makes them valid."""
        folder = self.nodes[name].folder
        fresh = folder / "fresh"
        fresh.mkdir()
        key = Ed25519PrivateKey.generate()
        write_private(fresh / "vote.key", key)
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
        at = 0
        try:
            while not self.enough.is_set():
                leaf = Leaf()
                transaction = self.signer.anchor([leaf])
                receipt = None
                while receipt is None:
                    nodes = [n for n in list(self.members.nodes.values()) if n.process is not None]
                    at += 1
                    try:
                        client = nodes[at % len(nodes)].client()
                        client.socket.settimeout(3)
                        receipt = client.submit(transaction)
                        client.close()
                    except (OSError, ConnectionError):
                        continue # the same bytes again, elsewhere
                    except Refused as e:
                        assert e.name in ("busy", "node-stale"), e
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
