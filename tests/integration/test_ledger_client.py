"""The clients' door against a node that lies: somebody stands between client and node and changes
one bit of an answer. What the client then believes must be an error, or what it believed before."""
import os
import random
import socket
import struct
import subprocess
import threading

import pytest

from tests.harness.ledger import BUILD, Chain, Leaf, Refused, transaction_id, wait_until
from tests.harness.wait import PATIENCE

PROBE = BUILD / "tests" / "integration" / "ledger_probe"
FLIPS = int(os.environ.get("RENKEI_FLIPS", "60"))


class Liar(threading.Thread):
    """Passes requests on and changes the answers by `change(body)`."""

    def __init__(self, node, path):
        super().__init__(daemon=True)
        self.node, self.change = node, lambda body: body
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.length = 0
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, socket.socket(socket.AF_UNIX) as node:
                node.connect(str(self.node.socket))
                try:
                    while True:
                        self.frame(client, node, lambda body: body)
                        self.frame(node, client, self.measured)
                except (OSError, EOFError):
                    pass

    def measured(self, body):
        self.length = len(body)
        return self.change(body)

    @staticmethod
    def exactly(s, n):
        data = b""
        while len(data) < n:
            got = s.recv(n - len(data))
            if not got:
                raise EOFError
            data += got
        return data

    def frame(self, source, target, change):
        length, kind, request = struct.unpack(">IBI", self.exactly(source, 9))
        body = change(self.exactly(source, length - 5))
        target.sendall(struct.pack(">IBI", len(body) + 5, kind, request) + body)


@pytest.fixture(scope="module")
def lied_to():
    with Chain(4) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        first = Leaf()
        second = first.next()
        client.submit(signer.anchor([Leaf(), first]))
        client.submit(signer.anchor([second]))
        note = signer.note(b"a note")
        client.submit(note)
        last = client.submit(signer.anchor([Leaf() for _ in range(5)]))
        wait_until(lambda: client.head()["map_height"] >= last["height"], 30, "the map's root")
        (chain.folder / "note").write_bytes(note)
        chain.locator, chain.note = first.locator.hex(), note
        chain.liar = Liar(chain.nodes[0], chain.folder / "liar.socket")
        yield chain
        chain.liar.listener.close()


def ask(chain, *what):
    done = subprocess.run([PROBE, chain.folder / "liar.socket", chain.nodes[0].genesis, *what],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30 * PATIENCE)
    assert done.returncode >= 0, f"the client died: {done.stdout}"
    return done.stdout.decode()


CASES = {"history": lambda c: ("history", c.locator), "latest": lambda c: ("latest", c.locator),
         "prove": lambda c: ("prove", c.locator), "block": lambda c: ("block", "2"),
         "transaction": lambda c: ("transaction", transaction_id(c.note).hex()),
         "submit": lambda c: ("submit", str(c.folder / "note"))}


@pytest.mark.parametrize("case", CASES)
def test_a_changed_answer_is_refused_or_changes_nothing_that_is_believed(lied_to, case):
    what = CASES[case](lied_to)
    lied_to.liar.change = lambda body: body
    truth = ask(lied_to, *what)
    assert not truth.startswith("error"), truth
    dice = random.Random(5)
    refused = 0
    for _ in range(FLIPS):
        at, bit = dice.randrange(lied_to.liar.length), dice.randrange(8)

        def change(body):
            body = bytearray(body)
            body[at % len(body)] ^= 1 << bit
            return bytes(body)

        lied_to.liar.change = change
        believed = ask(lied_to, *what)
        refused += believed.startswith("error")
        assert believed.startswith("error") or believed == truth, (at, bit, believed, truth)
    assert refused > FLIPS // 2


def test_cut_answers_are_refused(lied_to):
    for case in CASES.values():
        what = case(lied_to)
        lied_to.liar.change = lambda body: body
        ask(lied_to, *what)
        for length in (0, 1, 243, 244, 300, lied_to.liar.length - 1):
            lied_to.liar.change = lambda body, n=length: body[:n]
            assert ask(lied_to, *what).startswith("error")


def test_another_chains_answer_is_refused(lied_to):
    with Chain(1) as other:
        other.start()
        other.nodes[0].client().submit(other.signers[0].note(b"elsewhere"))
        done = subprocess.run([PROBE, other.nodes[0].socket, lied_to.nodes[0].genesis, "head"],
                              stdout=subprocess.PIPE, timeout=30 * PATIENCE)
        assert done.returncode == 43
        assert done.stdout.decode() == "error verify: block 1: it is of another chain\n"


def test_the_client_waits_out_a_restart(lied_to):
    with Chain(1) as chain:
        chain.start()
        note = chain.signers[0].note(b"across a restart")
        (chain.folder / "note").write_bytes(note)
        chain.nodes[0].kill()
        asking = subprocess.Popen([PROBE, chain.nodes[0].socket, chain.nodes[0].genesis, "submit",
                                   chain.folder / "note"], stdout=subprocess.PIPE)
        chain.nodes[0].start()
        out, _ = asking.communicate(timeout=30 * PATIENCE)
        assert out.decode().startswith("transaction "), out
        assert wait_until(lambda: chain.nodes[0].client().next_sequence(
            chain.signers[0].public) == 2, 10, "sequence 2")


def test_those_who_wait_for_one_transaction_are_counted_and_forgotten_when_they_hang_up():
    """Its turn does not come for long: clients give up, and ask again on new connections."""
    with Chain(1) as chain:
        chain.start()
        first, second = chain.signers[0].note(b"first"), chain.signers[0].note(b"second")

        def ask_16():
            client = chain.nodes[0].client()
            numbers = [client.send(1, second) for _ in range(16)]
            client.head() # is answered behind a refusal of them
            return client, numbers

        for _ in range(3):
            client, numbers = wait_until(lambda: attempt(ask_16, Refused), 30, "a place to wait in")
            client.send(1, second)
            with pytest.raises(Refused) as refusal:
                client.receive()
            assert str(refusal.value).startswith("busy: submit: 16 requests wait for this transaction")
            client.close()
        client, numbers = wait_until(lambda: attempt(ask_16, Refused), 30, "a place to wait in")
        chain.nodes[0].client().submit(first)
        receipts = {}
        for _ in numbers:
            request, kind, body = client.receive()
            assert kind == 0x81
            receipts[request] = body
        assert set(receipts) == set(numbers) and len(set(receipts.values())) == 1


def attempt(what, refusal):
    try:
        return what()
    except refusal:
        return None
