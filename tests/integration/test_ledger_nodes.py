"""Real renkei-node processes: agreement, crashes of all, of one, wrong keys, garbage, catching up.
Every answer is checked by tests/harness/ledger.py, which shares no code with ours."""
import contextlib
import itertools
import os
import random
import signal
import socket
import struct
import threading

import pytest

from tests.harness.ledger import (Chain, Leaf, Node, Refused, check_certificate, check_entries,
                                  parse_header, transaction_id, wait_until, HEADER)
from tests.harness.wait import PATIENCE

LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
ASKED_AT_ONCE = 1000  # a node answers for so many receipts or locators in one go


def heights(chain):
    return [node.client().head()["height"] for node in chain.nodes if node.process is not None]


def wait_for_equal_heads(chain, height):
    def equal():
        heads = [n.client().head() for n in chain.nodes if n.process is not None]
        return all(h["height"] >= height for h in heads) and len({h["hash"] for h in heads}) == 1
    wait_until(equal, 30, f"all nodes at height {height}")


@pytest.mark.parametrize("n", [1, 4])
def test_anchors_commit_and_history_is_proved(n):
    with Chain(n) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        leaves = [Leaf() for _ in range(100)]
        receipt = client.submit(signer.anchor(leaves))
        assert receipt["status"] == 0 and receipt["log_index"] == 0
        changed = leaves[7].next()
        assert client.submit(signer.anchor([changed, Leaf()]))["log_index"] == 100
        total, versions = client.history(leaves[7].locator)
        assert total == 2
        assert [v["leaf"] for v in versions] == [changed.bytes(), leaves[7].bytes()]
        latest = client.latest([leaves[7].locator, os.urandom(16), leaves[99].locator])
        assert latest[0]["leaf"] == changed.bytes()
        assert latest[1] is None
        assert latest[2]["leaf"] == leaves[99].bytes() and latest[2]["leaf_index"] == 99
        status = client.status()
        assert status["validators"] == n and status["faults_tolerated"] == (n - 1) // 3
        assert status["leaves"] == 102
        mine = status["submitters"][0]
        assert [mine[k] for k in ("records", "versions", "transactions")] == [101, 102, 2]
        metrics = client.metrics()
        assert "renkei_node_leaves 102" in metrics
        assert f'renkei_node_records{{submitter="{mine["name"]}"}} 101' in metrics
        assert [node.stop() for node in chain.nodes] == [0] * n # the sanitizers see no leak either


def test_a_block_is_checked_from_the_genesis_alone():
    with Chain(4) as chain:
        chain.start()
        note = chain.signers[0].note(b"to be found again")
        height = chain.nodes[0].client().submit(note)["height"]
        wait_for_equal_heads(chain, height)
        _, entries, block, certificate = chain.nodes[3].client().block(height)
        assert entries == [(note, 0)]
        check_certificate(chain.genesis, chain.id, block[:HEADER.size], certificate)
        check_entries(block)
        flipped = bytearray(block[:HEADER.size])
        flipped[90] ^= 1
        with pytest.raises(Exception):
            check_certificate(chain.genesis, chain.id, bytes(flipped), certificate)
        with pytest.raises(AssertionError):
            check_entries(block[:-1] + bytes([block[-1] ^ 1]))


def test_failed_transactions_stay_in_the_block_without_effect():
    with Chain(1) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        leaf = Leaf()
        skipped = leaf.next().next()
        assert client.submit(signer.anchor([leaf]))["status"] == 0
        assert client.submit(signer.anchor([Leaf(), skipped]))["status"] == 1
        assert client.head()["log_size"] == 1
        assert client.history(skipped.locator)[0] == 1


def test_the_same_bytes_give_the_same_receipt_and_other_bytes_are_refused():
    with Chain(1) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        first = signer.note(b"first")
        receipt = client.submit(first)
        assert client.submit(first) == receipt
        with pytest.raises(Refused) as refused:
            client.submit(signer.note(b"other", sequence=1))
        assert refused.value.name == "transaction-rejected"
        assert refused.value.message == ("transaction: sequence 1 is used, "
                                         "the submitter's next one is 2")
        with pytest.raises(Refused) as refused:
            tampered = signer.note(b"tampered") # whose last byte is 0 once in seventeen times
            client.submit(tampered[:-1] + bytes([tampered[-1] ^ 1]))
        assert refused.value.message == "transaction: the signature is not the submitter's"


def test_kill_of_all_nodes_loses_nothing_acknowledged():
    with Chain(4) as chain:
        chain.start()
        signer = chain.signers[0]
        leaves, acknowledged = [], {}
        for round_ in range(4):
            client = chain.nodes[round_ % 4].client()
            batch = []
            for _ in range(20):
                leaves.append(Leaf())
                batch.append(signer.anchor([leaves[-1]]))
            for transaction, receipt in zip(batch, client.submit_all(batch)):
                acknowledged[transaction] = receipt
            chain.kill_all()
            chain.start()
        for node in chain.nodes:
            client = node.client()
            wait_until(lambda c=client: c.next_sequence(signer.public) == 81, 30, "sequence 81")
            assert all(client.history(l.locator)[0] == 1 for l in leaves)
            assert client.head()["log_size"] == 80
        for transaction, receipt in acknowledged.items():
            assert client.submit(transaction) == receipt


def test_one_killed_validator_fails_no_call():
    with Chain(4) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        client.submit(signer.note(b"before"))
        chain.nodes[2].kill()
        for i in range(50):
            assert client.submit(signer.note(b"%d" % i))["status"] == 0
        chain.nodes[2].start()
        wait_until(lambda: chain.nodes[2].client().head()["height"] >= client.head()["height"],
                   30, "the killed node catches up")
        chain.nodes[3].kill() # now the one that came back is needed for the quorum
        assert client.submit(signer.note(b"after"))["status"] == 0


def test_a_killed_leader_is_replaced_and_nothing_is_lost_or_doubled():
    with Chain(4, view_timeout_ms=1000) as chain:
        chain.start()
        signer = chain.signers[0]
        first = chain.nodes[1].client()
        first.submit(signer.note(b"before"))
        leader = next(i for i in range(4)
                      if first.status()["leader"] == chain.validators[i]["name"])
        chain.nodes[leader].kill()
        client = chain.nodes[(leader + 1) % 4].client()
        notes = [signer.note(b"%d" % i) for i in range(20)]
        receipts = client.submit_all(notes)
        assert len({(r["height"], r["index"]) for r in receipts}) == 20
        assert client.status()["view"] == 1
        causes = {node.client().status()["last_view_change"]
                  for node in chain.nodes if node.process is not None}
        assert "timeout" in causes and causes <= {"timeout", "join"} # who is last follows the others


def test_a_node_that_falls_behind_under_load_lives_and_catches_up():
    """It gets proposals that it cannot use yet, and the same blocks by transfer: what it is given
    last must not push out what it needs next."""
    with Chain(4, block_transactions_max=20) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        leader = next(i for i in range(4)
                      if client.status()["leader"] == chain.validators[i]["name"])
        slow = chain.nodes[3 if leader != 3 else 2]
        for _ in range(4):
            slow.process.send_signal(signal.SIGSTOP)
            for _ in range(60):
                client.submit(signer.note(b"x"))
            slow.process.send_signal(signal.SIGCONT)
            client.submit_all([signer.note(os.urandom(900)) for _ in range(1500)])
        wait_until(lambda: slow.client().head()["height"] >= client.head()["height"], 30,
                   f"it catches up: {slow.read_log()}")
        assert slow.process.poll() is None


def test_a_wrong_tls_key_is_refused_and_the_others_go_on():
    with Chain(4) as chain:
        stranger = chain.nodes[3]
        for name in ("tls.key", "tls.crt"):
            (stranger.folder / name).unlink()
        from tests.harness.ledger import make_tls
        make_tls(stranger.folder, "node-3")
        for node in chain.nodes[:3]:
            node.start(wait=False)
        stranger.start(wait=False)
        client, signer = None, chain.signers[0]
        wait_until(chain.nodes[0].ready, 30, "node 0")
        client = chain.nodes[0].client()
        assert client.submit(signer.note(b"three are enough"))["status"] == 0
        assert not any(p.get("up") for p in client.status()["peers"] if p["name"] == "node-3")
        assert stranger.process.wait(timeout=30 * PATIENCE) == 3
        assert "tls_certificate" in stranger.log_text() or "pin" in stranger.log_text()
        stranger.process = None


def test_garbage_on_the_sockets_stops_nothing():
    with Chain(4) as chain:
        chain.start()
        host, port = chain.validators[0]["address"].split(":")
        signer = chain.signers[0]
        for payload in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(100000), b"\x16\x03\x01\xff\xff" * 9):
            with socket.create_connection((host, int(port))) as s:
                try:
                    s.sendall(payload)
                except OSError:
                    pass
        for frame in (struct.pack(">IBI", 0xffffffff, 1, 1), struct.pack(">IBI", 0, 1, 1),
                      os.urandom(5000), struct.pack(">IBI", 5, 99, 1),
                      struct.pack(">IBI", 9, 5, 1) + b"\xff\xff\xff\xff",
                      struct.pack(">IBI", 105, 1, 1) + os.urandom(100)):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(chain.nodes[0].socket))
                try:
                    s.sendall(frame)
                    s.settimeout(0.05)
                    s.recv(1000)
                except OSError:
                    pass
        assert chain.nodes[0].client().submit(signer.note(b"still here"))["status"] == 0


def test_an_empty_block_comes_in_time():
    with Chain(4, empty_block_ms=300) as chain:
        chain.start()
        client = chain.nodes[1].client()
        wait_until(lambda: client.head()["height"] >= 3, 10, "three empty blocks")
        header, entries, _, _ = client.block(3)
        assert entries == [] and header["log_size"] == 0


def test_a_second_process_with_the_same_key_is_refused():
    with Chain(1) as chain:
        chain.start()
        twin = Node(chain.nodes[0].folder, 0)
        twin.start(wait=False)
        assert twin.process.wait(timeout=30 * PATIENCE) == 12
        assert "vote.key.lock" in twin.log_text()
        twin.process = None
        assert chain.nodes[0].client().submit(chain.signers[0].note(b"alive"))["status"] == 0


def test_a_node_that_was_away_catches_up_with_verified_blocks():
    with Chain(4) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        chain.nodes[3].kill()
        for _ in range(150):
            client.submit(signer.anchor([Leaf()]))
        height = client.head()["height"]
        assert height >= 150
        chain.nodes[3].start()
        back = chain.nodes[3].client()
        wait_until(lambda: back.head()["height"] >= height, 30, "the node catches up")
        assert back.next_sequence(signer.public) == client.next_sequence(signer.public)
        assert back.block(height)[2] == client.block(height)[2]


def test_a_lost_vote_log_makes_an_observer_that_says_so():
    with Chain(4) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        client.submit(signer.note(b"one"))
        wait_for_equal_heads(chain, 1)
        chain.nodes[3].kill()
        (chain.nodes[3].folder / "data" / "votes").unlink()
        chain.nodes[3].start()
        assert chain.nodes[3].client().status()["role"] == "observer"
        assert '"event":"vote-log-lost"' in chain.nodes[3].log_text()
        height = client.submit(signer.note(b"two"))["height"]
        wait_until(lambda: chain.nodes[3].client().head()["height"] >= height, 30,
                   "the observer follows")


def cut_blocks(node, keep):
    """What a power cut may do: the blocks after `keep` never left the page cache."""
    path = node.folder / "data" / "blocks" / "00000001"
    data = path.read_bytes()
    at = 0
    while at < len(data):
        magic, block, certificate, height, _ = struct.unpack_from(">IIIQQ", data, at)
        assert magic == 0x52424c4b
        if height > keep:
            break
        at += 32 + block + certificate
    assert at < len(data)
    path.write_bytes(data[:at + 10]) # and a torn one
    assert not (node.folder / "data" / "log" / "00").stat().st_size == 0


@pytest.mark.parametrize("n", [1, 4])
def test_blocks_lost_with_the_page_cache_come_back_from_the_vote_log(n):
    with Chain(n) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        leaves = [Leaf() for _ in range(30)]
        receipts = [client.submit(signer.anchor([leaf])) for leaf in leaves]
        last = receipts[-1]["height"]  # empty blocks may stand between, for the map's root
        wait_for_equal_heads(chain, last)
        chain.kill_all()
        for node in chain.nodes:
            cut_blocks(node, 7)
        chain.start()
        for node in chain.nodes:
            client = node.client()
            assert client.head()["height"] >= last
            assert all(client.history(leaf.locator)[0] == 1 for leaf in leaves)
            assert client.block(last)[0]["time_ms"] == receipts[-1]["time_ms"]
        assert client.submit(signer.note(b"on"))["status"] == 0


def test_large_blocks_are_read_while_they_are_written_and_outlive_a_kill():
    """A thread writes them, after they were acknowledged; what it had not written is in the vote log."""
    with Chain(1) as chain:
        node, signer = chain.nodes[0], chain.signers[0]
        told, blocks = {}, {}
        for _ in range(8):
            node.start()
            client = node.client()
            for height, block in blocks.items():
                assert client.block(height)[2] == block
            batch = [signer.anchor([Leaf() for _ in range(1500)]) for _ in range(4)]
            receipts = client.submit_all(batch)
            told.update(zip(batch, receipts))
            blocks.update((r["height"], client.block(r["height"])[2]) for r in receipts)
            node.kill()
        node.start()
        client = node.client()
        assert client.head()["log_size"] == 1500 * len(told)
        for transaction, receipt in told.items():
            assert client.submit(transaction) == receipt
            assert transaction in blocks[receipt["height"]]
        assert max(len(block) for block in blocks.values()) > 128 << 10


def test_state_that_went_to_the_database_is_found_after_a_crash():
    with Chain(1) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        database = chain.nodes[0].folder / "data" / "state" / "data.mdb"
        empty = database.stat().st_size
        first = [Leaf() for _ in range(4096)]
        client.submit(signer.anchor(first))
        for _ in range(32): # more entries than are kept in memory
            client.submit(signer.anchor([Leaf() for _ in range(4096)]))
        wait_until(lambda: database.stat().st_size > empty, 30, "the state goes to the database")
        changed = first[5].next()
        client.submit(signer.anchor([changed]))
        chain.nodes[0].kill()
        chain.nodes[0].start()
        client = chain.nodes[0].client()
        assert client.next_sequence(signer.public) == 35
        assert [v["leaf"] for v in client.history(first[5].locator)[1]] == [changed.bytes(),
                                                                         first[5].bytes()]
        found = client.latest([leaf.locator for leaf in first])
        assert all(v["leaf"] == (changed if leaf is first[5] else leaf).bytes()
                   for v, leaf in zip(found, first))
        assert client.submit(signer.anchor([changed.next()]))["log_index"] == 33 * 4096 + 1


class Writer(threading.Thread):
    """Submits one anchor after another, by whatever node answers, until it is told to stop."""

    def __init__(self, chain, signer):
        super().__init__(daemon=True)
        self.chain, self.signer = chain, signer
        self.enough = threading.Event()
        self.acknowledged, self.leaves = {}, []

    def submit(self, transaction):
        for attempt in itertools.count(self.signer.public[0]):
            node = self.chain.nodes[attempt % len(self.chain.nodes)]
            try:
                client = node.client()
                client.socket.settimeout(5)
                with contextlib.closing(client):
                    return client.submit(transaction)
            except (OSError, AssertionError):
                if self.enough.wait(0.02) and attempt > 2000:
                    raise

    def run(self):
        while not self.enough.is_set():
            self.leaves.append(Leaf())
            transaction = self.signer.anchor([self.leaves[-1]])
            self.acknowledged[transaction] = self.submit(transaction)


def check_acknowledged(client, writer):
    """Each gives the same receipt again; each leaf is there. In pieces that a node takes at once."""
    told = list(writer.acknowledged.items())
    for at in range(0, len(told), ASKED_AT_ONCE):
        transactions, receipts = zip(*told[at:at + ASKED_AT_ONCE])
        assert client.submit_all(transactions) == list(receipts)
    for at in range(0, len(writer.leaves), ASKED_AT_ONCE):
        locators = [leaf.locator for leaf in writer.leaves[at:at + ASKED_AT_ONCE]]
        assert all(v is not None for v in client.latest(locators))


def test_random_kills_under_load_fork_nothing_and_lose_nothing():
    kills = int(os.environ.get("RENKEI_KILLS", "500" if LONG else "15"))
    seed = int(os.environ.get("RENKEI_SEED", str(random.randrange(1 << 30))))
    print(f"RENKEI_KILLS={kills} RENKEI_SEED={seed}")
    dice = random.Random(seed)
    with Chain(4, submitters=3, view_timeout_ms=500) as chain:
        chain.start()
        writers = [Writer(chain, signer) for signer in chain.signers]
        for writer in writers:
            writer.start()
        for _ in range(kills):
            before = sum(len(w.acknowledged) for w in writers)
            wait_until(lambda: sum(len(w.acknowledged) for w in writers) >= before + 10, 60,
                       "ten more acknowledged transactions")
            node = dice.choice(chain.nodes)
            node.kill()
            if dice.random() < 0.3:
                now = sum(len(w.acknowledged) for w in writers)
                wait_until(lambda: sum(len(w.acknowledged) for w in writers) >= now + 5, 60,
                           "progress with three of four")
            node.start()
        for writer in writers:
            writer.enough.set()
        for writer in writers:
            writer.join(60)
            assert not writer.is_alive()
        count = sum(len(w.acknowledged) for w in writers)
        wait_for_equal_heads(chain, max(r["height"] for w in writers
                                        for r in w.acknowledged.values()))
        for node in chain.nodes:
            client = node.client()
            assert client.head()["log_size"] == count
            for writer in writers:
                check_acknowledged(client, writer)
        top = chain.nodes[0].client().head()["height"]
        wait_until(lambda: min(heights(chain)) >= top, 30, "all nodes at the same height")
        blocks = [[n.client().block(h)[2] for h in range(1, top + 1, max(1, top // 50))]
                  for n in chain.nodes]
        assert all(b == blocks[0] for b in blocks)
