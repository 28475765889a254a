"""A client that knows several nodes: killed, silent, stale and lying ones cost it no call. And a leader
that censors: its followers replace it, but nobody for a long queue."""
import json
import os
import signal
import subprocess
import threading
import time

import pytest

from tests.harness.ledger import BUILD, Chain, transaction_id, wait_until, write_private
from tests.harness.wait import PATIENCE
from tests.integration.test_ledger_client import PROBE, Liar

LOAD = BUILD / "tests" / "bench" / "ledger_load"
CENSOR = BUILD / "tests" / "harness" / "renkei-node-censoring"
LONG = os.environ.get("RENKEI_TEST_LONG") == "1" # the ordinary run asks the pool: test_pool.c


def sockets(nodes):
    return ",".join(str(node.socket) for node in nodes)


def ask(chain, nodes, *what, timeout=60 * PATIENCE):
    done = subprocess.run([PROBE, nodes if isinstance(nodes, str) else sockets(nodes),
                           chain.nodes[0].genesis, *what], stdout=subprocess.PIPE, timeout=timeout)
    return done.stdout.decode()


@pytest.fixture()
def chain():
    with Chain(4, submitters=4, view_timeout_ms=1000) as c:
        for i, signer in enumerate(c.signers):
            write_private(c.folder / f"submitter-{i}.key", signer.key)
        c.start()
        yield c


def leader(chain, asked):
    client = chain.nodes[asked].client()
    name = client.status()["leader"]
    client.close()
    return next(i for i, v in enumerate(chain.validators) if v["name"] == name)


def test_a_follower_that_stood_still_votes_again_while_the_load_goes_on():
    """Where the others make blocks faster than it asks for them, one that waits between two questions
    is behind for good: its clients wait, and the first failure of another stops the chain."""
    clients = 16
    with Chain(4, submitters=clients, view_timeout_ms=5000, rotate_blocks=10 ** 6) as c:
        for i, signer in enumerate(c.signers):
            write_private(c.folder / f"submitter-{i}.key", signer.key)
        c.start()
        pairs = [f"{c.nodes[i % 3].socket}={c.folder}/submitter-{i}.key" for i in range(clients)]
        with subprocess.Popen([LOAD, c.nodes[0].genesis, "note", "100", "4000", "1", "0",
                               *pairs]) as load:
            ahead, still = c.nodes[0].client(), c.nodes[3].client()
            wait_until(lambda: ahead.status()["height"] > 10, 30, "some progress")
            stood_at = still.status()["height"]
            c.nodes[3].process.send_signal(signal.SIGSTOP)
            wait_until(lambda: ahead.status()["height"] > stood_at + 100, 30, "100 blocks without it")
            c.nodes[3].process.send_signal(signal.SIGCONT)
            near = [0]

            def stays_near():
                own = still.status()["height"]
                near[0] = near[0] + 1 if ahead.status()["height"] <= own + 16 else 0
                return near[0] >= 50 or load.poll() is not None
            wait_until(stays_near, 30, "it keeps up with the others")
            joined = load.poll() is None
            load.kill()
            assert joined, "it was behind for as long as there was load"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_clients_of_a_node_that_goes_away_fail_no_call(chain, how):
    """Four clients, each with all sockets, its own node's first; one node goes under the load."""
    count = 150
    pairs = [sockets(chain.nodes[i:] + chain.nodes[:i]) + f"={chain.folder}/submitter-{i}.key"
             for i in range(4)]
    load = subprocess.Popen([LOAD, chain.nodes[0].genesis, "note", "100", str(count), "1", "100",
                             *pairs], stdout=subprocess.PIPE)
    watched = chain.nodes[1].client()
    wait_until(lambda: watched.next_sequence(chain.signers[1].public) > 10, 30, "some progress")
    chain.nodes[3].process.send_signal(how)
    out, _ = load.communicate(timeout=120 * PATIENCE)
    assert load.returncode == 0, "a client's call failed"
    result = json.loads(out)
    assert result["failed"] == 0 and result["transactions"] == 4 * count
    for signer in chain.signers: # each once
        assert watched.next_sequence(signer.public) == count + 1
    if how == signal.SIGSTOP:
        chain.nodes[3].process.send_signal(signal.SIGCONT)


def test_a_head_is_asked_of_f_plus_1_nodes(chain):
    chain.nodes[0].client().submit(chain.signers[0].note(b"a block"))
    assert ask(chain, chain.nodes[:1], "head").endswith(" nodes 1\n")
    assert ask(chain, chain.nodes[:3], "head").endswith(" nodes 2\n")
    chain.nodes[0].kill()
    assert ask(chain, chain.nodes[:3], "head").endswith(" nodes 2\n")
    chain.nodes[1].kill()
    assert ask(chain, chain.nodes[:3], "head").endswith(" nodes 1\n")
    chain.nodes[2].kill()
    assert ask(chain, chain.nodes[:3], "head").startswith("error node-unreachable: ")


def test_a_node_that_hides_new_blocks_is_outbid(chain):
    """The liar answers with a head that is certified, fresh, and not the latest."""
    liar = Liar(chain.nodes[0], chain.folder / "liar.socket")
    first = ask(chain, str(chain.folder / "liar.socket"), "head")
    old = []
    liar.change = lambda body: old.append(body) or body
    ask(chain, str(chain.folder / "liar.socket"), "head")
    liar.change = lambda body: old[0]
    height = chain.nodes[1].client().submit(chain.signers[0].note(b"hidden"))["height"]
    assert ask(chain, str(chain.folder / "liar.socket"), "head") == first
    both = f"{chain.folder}/liar.socket,{chain.nodes[1].socket}"
    assert f"height {height} " in ask(chain, both, "head")
    liar.listener.close()


def test_what_a_liar_changed_is_asked_of_the_next_node(chain):
    note = chain.signers[0].note(b"to be believed")
    chain.nodes[1].client().submit(note)
    wait_until(lambda: chain.nodes[0].client().next_sequence(chain.signers[0].public) == 2, 30,
               "node 0 has it too")
    what = ("transaction", transaction_id(note).hex())
    truth = ask(chain, chain.nodes[1:2], *what)
    assert truth.startswith("bytes ")
    liar = Liar(chain.nodes[0], chain.folder / "liar.socket")
    liar.change = lambda body: body[:-1] + bytes([body[-1] ^ 1])
    lying = f"{chain.folder}/liar.socket"
    assert ask(chain, lying, *what).startswith("error ")
    assert ask(chain, f"{lying},{chain.nodes[1].socket}", *what) == truth
    liar.listener.close()


def test_receipts_of_a_whole_block_are_given_again_at_the_price_of_one_reading(chain):
    """A client that lost its node asks another one for all it had under way."""
    notes = [chain.signers[0].note(b"%d" % i) for i in range(3000)]
    began = time.monotonic()
    first = chain.nodes[0].client().submit_all(notes)
    took = time.monotonic() - began
    wait_until(lambda: chain.nodes[1].client().next_sequence(chain.signers[0].public) == 3001, 30,
               "node 1 has them")
    began = time.monotonic()
    assert chain.nodes[1].client().submit_all(notes) == first
    assert time.monotonic() - began < 3 * took + 3


def test_what_no_node_will_take_is_refused_once_and_for_all(chain):
    good = chain.signers[0].note(b"x")  # whose last byte is any of seventeen
    bad = good[:-1] + bytes([good[-1] ^ 1])
    (chain.folder / "bad").write_bytes(bad)
    answer = ask(chain, chain.nodes, "submit", chain.folder / "bad")
    assert answer.startswith("error transaction-rejected: transaction: the signature is not")


def test_a_censoring_leader_is_replaced():
    """The leader orders everybody's transactions but the first submitter's."""
    with Chain(4, submitters=2, rotate_blocks=10 ** 6, view_timeout_ms=4000) as chain:
        chain.nodes[0].program = CENSOR
        chain.start()
        assert leader(chain, 1) == 0
        client, victim, other = chain.nodes[1].client(), chain.signers[0], chain.signers[1]
        others = chain.nodes[2].client()
        note = victim.note(b"unwanted")
        receipts = []
        waiting = threading.Thread(target=lambda: receipts.append(client.submit(note)))
        waiting.start()
        while waiting.is_alive(): # blocks go on, so that nobody changes the view for lack of them
            assert others.submit(other.note(b"wanted"))["status"] == 0
        waiting.join()
        assert receipts[0]["status"] == 0
        status = [node.client().status() for node in chain.nodes[1:]]
        assert [s["view"] for s in status] == [1, 1, 1] # nobody blames the next leader for it
        assert [s["leader"] for s in status] == ["node-1"] * 3
        causes = {s["last_view_change"] for s in status}
        assert "censorship" in causes and causes <= {"censorship", "join"}


if LONG:
    def test_nobody_is_suspected_for_a_queue_that_is_longer_than_the_patience():
        with Chain(4, submitters=1, rotate_blocks=10 ** 6, view_timeout_ms=4000,
                   block_transactions_max=1) as chain:
            chain.start()
            client, signer = chain.nodes[1].client(), chain.signers[0]
            began, count = time.monotonic(), 0
            while time.monotonic() - began < 20: # more than 5 s of it wait all the time
                notes = [signer.note(b"%d" % i) for i in range(4000)]
                count += len(notes)
                assert all(receipt["status"] == 0 for receipt in client.submit_all(notes))
            assert client.next_sequence(signer.public) == count + 1
            assert client.status()["view"] == 0

    def test_nobody_is_suspected_for_so_many_submitters_that_a_turn_takes_longer_than_the_patience():
        with Chain(4, submitters=1000, rotate_blocks=10 ** 6, view_timeout_ms=4000,
                   block_transactions_max=1) as chain:
            chain.start()
            client = chain.nodes[1].client()
            notes = [signer.note(b"%d" % i) for i in range(4) for signer in chain.signers]
            assert all(receipt["status"] == 0 for receipt in client.submit_all(notes))
            assert client.status()["view"] == 0
