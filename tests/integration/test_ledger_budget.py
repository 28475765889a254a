"""A validator that sends garbage, or more than its share, does not take the others' time, or their blocks."""
import os
import struct
import threading

import pytest

from tests.harness.ledger import BUILD, Chain, HEADER, wait_until
from tests.harness.long_chain import lengthen
from tests.integration.test_ledger_members import Impostor

GARBAGE = BUILD / "tests" / "harness" / "renkei-node-garbage"
TIGHT = BUILD / "tests" / "harness" / "renkei-node-tight"


@pytest.mark.parametrize("what", ["transactions", "votes"])
def test_garbage_in_signatures_costs_a_check_and_a_ban(what):
    """20,000 bad signatures are offered; each of the others checks a handful, hangs up, and goes on."""
    with Chain(4, submitters=2, view_timeout_ms=1000) as chain:
        chain.nodes[3].program = GARBAGE
        for node in chain.nodes:
            node.start(wait=False, RENKEI_GARBAGE=what)
        for node in chain.nodes:
            wait_until(node.ready, 30, "socket")
        honest, liar = chain.signers
        if what == "transactions":
            feed = chain.nodes[3].client()
            for _ in range(20000):
                feed.send(1, liar.note(b"bad")[:-1] + b"\xff")
        client = chain.nodes[0].client()
        for i in range(60):
            assert client.submit(honest.note(b"%d" % i))["status"] == 0
        count = {"transactions": "renkei_node_bad_transactions_total",
                 "votes": "renkei_node_peer_faults_total"}[what]

        def met_by_all():
            assert client.submit(honest.note(b"one more"))["status"] == 0
            return all(node.client().metric(count) >= 1 for node in chain.nodes[:3])
        wait_until(met_by_all, 30, "everybody meets the garbage: the liar may be the slowest")
        for node in chain.nodes[:3]:
            assert node.client().metric(count) < 50, node.index
            assert node.client().metric("renkei_node_transactions_total") >= 60


def test_one_peers_flood_waits_behind_itself():
    """A validator passes on 8,000 good transactions at once, without checking them; a note of another
    one's client does not wait until the rest have checked them all."""
    count = 8000
    with Chain(4, submitters=2, view_timeout_ms=4000) as chain:
        chain.nodes[3].program = GARBAGE
        for node in chain.nodes:
            node.start(wait=False, RENKEI_GARBAGE="transactions")
        for node in chain.nodes:
            wait_until(node.ready, 30, "socket")
        single, many = chain.signers
        flood = [many.note(b"flood") for _ in range(count)]
        feed, client = chain.nodes[3].client(), chain.nodes[1].client()
        feeding = threading.Thread(target=lambda: [feed.send(1, t) for t in flood])
        feeding.start()
        wait_until(lambda: client.next_sequence(many.public) > 1, 60, "the flood is under way")
        assert client.submit(single.note(b"alone"))["status"] == 0
        assert client.next_sequence(many.public) < count / 2 # it came through in its midst
        feeding.join()
        wait_until(lambda: client.next_sequence(many.public) == count + 1, 120, "nothing is lost")


def test_a_leader_whose_blocks_are_not_what_it_proposes_costs_one_view_and_is_named(monkeypatch):
    """It names transactions by leaves that nobody has, and whoever asks it for the block gets a changed
    one: that is refused when it comes, and the next leader orders the same transactions."""
    with Chain(4, view_timeout_ms=2000) as chain:
        monkeypatch.setenv("RENKEI_GARBAGE", "blocks") # of whoever is built to lie
        chain.nodes[0].program = GARBAGE # leads view 0
        chain.start()
        client, signer = chain.nodes[1].client(), chain.signers[0]
        for i in range(5):
            assert client.submit(signer.note(b"%d" % i))["status"] == 0
        assert client.head()["height"] >= 1
        assert client.status()["view"] >= 1
        assert any(node.client().metric("renkei_node_peer_faults_total") for node in chain.nodes[1:])
        logs = "".join((node.folder / "log").read_text() for node in chain.nodes[1:])
        assert '"peer":"node-0","what":"a block\'s entries are not what its header binds"' in logs


def test_one_peers_questions_take_only_so_much_of_a_nodes_time():
    """A few bytes ask for all blocks, or for one that is not there at the height of the largest. Answering
    them all takes seconds on a fast machine, many times what is saved up, and more on a slow one."""
    with Chain(4) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        client.submit_all([signer.note(bytes(4096)) for _ in range(500)])
        largest = max(range(1, client.head()["height"] + 1), key=lambda h: len(client.block(h)[2]))
        chain.nodes[3].kill() # its keys are in other hands now
        liar = Impostor(chain, 3)
        liar.connect(0)
        liar.ask(4, struct.pack(">Q", largest) + os.urandom(32), 10000)
        liar.ask(5, struct.pack(">QI", 1, 64), 5000)
        wait_until(lambda: chain.nodes[0].client().metric("renkei_node_over_budget_total") > 5000, 30,
                   "most is not answered")
        assert client.submit(signer.note(b"after"))["status"] == 0
        liar.close()


def test_blocks_that_nobody_asked_for_are_not_looked_at():
    """A validator says that it has far more than there is, and sends forged blocks on and on: that is no
    reason to look for it, to fill the log, or to begin anew with what honest peers send."""
    with Chain(4) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        assert client.submit(signer.note(b"before"))["status"] == 0
        chain.nodes[3].kill() # its keys are in other hands now
        liar = Impostor(chain, 3)
        liar.connect(0)
        status = struct.pack(">BBHQQQ", 1, 6, 3, 0, 0, 1 << 61) + bytes(32) + b"\0"
        liar.ask(1, status, 1)
        wait_until(lambda: client.status()["peers"][3]["height"] == 1 << 61, 30, "it is heard")
        _, _, block, certificate = client.block(1)
        header = list(HEADER.unpack(block[:HEADER.size]))
        for i in range(10): # as often as it is asked for something, and far more
            header[5] = client.head()["height"] + 1
            forged = HEADER.pack(*header) + block[HEADER.size:-1] + bytes([block[-1] ^ 1])
            body = b"".join(struct.pack(">I", len(part)) + part for part in (forged, certificate))
            liar.ask(6, body, 1000)
            assert client.submit(signer.note(b"%d" % i))["status"] == 0
        liar.ask(11, b"", 1) # the last of them is past
        assert chain.nodes[0].log_text().count('"event":"transfer-refused"') < 20
        assert client.status()["peers"][3].get("transfer_refused", 0) < 100
        liar.close()


def test_a_peer_that_gives_one_block_a_question_does_not_keep_the_others_from_being_asked(monkeypatch):
    """It has what is asked for, and progress is made, at a block a second. Of the two that tell how far
    they are the later one is asked first."""
    with Chain(4) as chain:
        monkeypatch.setenv("RENKEI_GARBAGE", "slow") # of whoever is built to lie
        chain.nodes[2].program = GARBAGE
        lengthen(chain, "notes", 1500, 100, chain.nodes[1:3])
        for node in chain.nodes[1:]:
            node.start()
        client = chain.nodes[3].client()
        wait_until(lambda: client.head()["height"] >= 1500, 60, "it has caught up")


def test_what_waits_for_a_sync_has_a_maximum_and_a_node_that_meets_it_all_the_time_goes_on():
    """One whose maximum is what a single step adds: what it does not look at is as if it were lost, and sent
    again. It ends itself where more would wait."""
    with Chain(4, view_timeout_ms=2000) as chain:
        tight = chain.nodes[3]
        tight.program = TIGHT
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]

        def met():
            client.submit_all([signer.note(b"note") for _ in range(50)])
            return tight.client().metric("renkei_node_over_budget_total") > 20
        wait_until(met, 60, "it meets its maximum")
        height = client.head()["height"]
        wait_until(lambda: tight.client().head()["height"] >= height, 60, "and keeps up")
        assert tight.client().status()["votes"] == "yes"
