"""A validator whose vote log is older than its votes: a disk image was put back, the log alone was, the
folder was emptied, or a clone of it runs. It says so, and follows without voting until the next epoch."""
import contextlib
import os
import shutil


from tests.harness.ledger import Chain, Leaf, Node, free_port, operation, wait_until
from tests.integration.test_ledger_members import Members

LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
QUICK = {"clock_drift_ms_max": 300, "view_timeout_ms": 1000, "empty_block_ms": 1000}


def anchors(chain, node, count):
    signer = chain.signers[0]
    with contextlib.closing(node.client()) as client:
        for _ in range(count):
            assert client.submit(signer.anchor([Leaf()]))["status"] == 0


def status(node):
    with contextlib.closing(node.client()) as client:
        return client.status()


def check_mute(chain, node, found):
    wait_until(lambda: status(node)["votes"] == "no", 30, f"it does not vote: {node.read_log()}")
    now = status(node)
    assert now["role"] == "observer"
    assert [w["what"] for w in now["warnings"] if w["what"] == "votes-unknown"]
    with contextlib.closing(node.client()) as client:
        metrics = client.metrics()
    assert "renkei_node_votes 0" in metrics and "renkei_node_votes_unknown 1" in metrics
    log = node.log_text()
    assert '"event":"votes-forgotten"' in log and f'"found":"{found}"' in log, log
    height = status(chain.nodes[0])["height"]
    wait_until(lambda: status(node)["height"] >= height, 30, "it follows")


def check_votes_again(chain, node):
    members = Members(chain)
    wait_until(lambda: status(node)["key_ready"], 30, "its key is ready")
    receipt = members.change(operation("add-observer", "monitor", os.urandom(32), os.urandom(32)),
                             client=chain.nodes[0].client())
    assert receipt["status"] == 0
    wait_until(lambda: status(node)["votes"] == "yes", 30, "it votes in the next epoch")
    chain.nodes[0].kill()  # now its votes are needed
    anchors(chain, chain.nodes[1], 2)


def test_a_disk_image_that_was_put_back_is_noticed():
    with Chain(4, **QUICK) as chain:
        chain.start()
        node = chain.nodes[3]
        anchors(chain, chain.nodes[0], 5)
        assert node.stop() == 0
        shutil.copytree(node.folder / "data", chain.folder / "old")
        node.start()
        wait_until(lambda: status(node)["votes"] == "yes", 30, "it votes")
        anchors(chain, node, 25)
        node.kill()
        shutil.rmtree(node.folder / "data")
        shutil.copytree(chain.folder / "old", node.folder / "data")
        anchors(chain, chain.nodes[0], 5)
        node.start()
        check_mute(chain, node, "a vote in a block's certificate")
        assert node.stop() == 0
        node.start()  # it has not forgotten that it forgot
        assert status(node)["votes"] == "no"
        anchors(chain, chain.nodes[1], 3)
        check_votes_again(chain, node)


def test_a_vote_log_that_alone_was_put_back_is_noticed():
    with Chain(4, **QUICK) as chain:
        chain.start()
        node = chain.nodes[2]
        anchors(chain, node, 5)
        assert node.stop() == 0
        shutil.copy(node.folder / "data" / "votes", chain.folder / "old-votes")
        node.start()
        wait_until(lambda: status(node)["votes"] == "yes", 30, "it votes")
        anchors(chain, node, 5)
        chain.kill_all()
        shutil.copy(chain.folder / "old-votes", node.folder / "data" / "votes")
        for n in chain.nodes:
            n.start(wait=False)
        for n in chain.nodes:
            wait_until(n.ready, 30, "socket")
        check_mute(chain, node, "blocks above the end of the vote log")
        check_votes_again(chain, node)


def test_a_founder_whose_folder_was_emptied_is_no_founder():
    with Chain(4, **QUICK) as chain:
        chain.start()
        node = chain.nodes[1]
        anchors(chain, node, 25)
        node.kill()
        shutil.rmtree(node.folder / "data")
        node.start()
        check_mute(chain, node, "a vote in a block's certificate")
        anchors(chain, chain.nodes[0], 3)
        check_votes_again(chain, node)


def test_a_restart_is_no_roll_back():
    with Chain(4, **QUICK) as chain:
        chain.start()
        for i in range(12 if LONG else 3): # each kill test of the ordinary run would notice, too
            victim = chain.nodes[i % 4]
            anchors(chain, chain.nodes[(i + 1) % 4], 3)
            victim.kill()
            anchors(chain, chain.nodes[(i + 1) % 4], i)
            victim.start()
            wait_until(lambda: status(victim)["votes"] == "yes", 30, victim.read_log())
        assert all('"votes-forgotten"' not in n.log_text() for n in chain.nodes)


def clone_of(chain, node):
    """The same keys and the same folder, elsewhere, as of now."""
    clone = Node(chain.folder / "clone", 9)
    clone.folder.mkdir()
    for name in ("vote.key", "tls.key", "tls.crt", "genesis.json"):
        shutil.copy2(node.folder / name, clone.folder / name)
    clone.config.write_text(node.config.read_text() + f"listen: 127.0.0.1:{free_port()}\n")
    shutil.copytree(node.folder / "data", clone.folder / "data")
    return clone


def test_of_a_node_and_its_clone_one_at_most_votes_and_nothing_forks():
    with Chain(4, **QUICK) as chain:
        chain.start()
        node = chain.nodes[3]
        anchors(chain, chain.nodes[0], 5)
        assert node.stop() == 0
        clone = clone_of(chain, node)
        node.start()
        wait_until(lambda: status(node)["votes"] == "yes", 30, "it votes")
        anchors(chain, node, 20)
        chain.nodes.append(clone)
        clone.start()

        def one_at_most():
            """Where the peers keep the first one's connection the clone never hears that it may vote."""
            anchors(chain, chain.nodes[0], 1)
            return [status(n)["votes"] for n in (node, clone)].count("yes") <= 1
        anchors(chain, chain.nodes[0], 20)
        wait_until(one_at_most, 60, "one of the two does not vote")
        height = status(chain.nodes[0])["height"]
        blocks = []
        for n in chain.nodes[:3]:
            with contextlib.closing(n.client()) as client:
                wait_until(lambda c=client: c.head()["height"] >= height, 30, "equal heights")
                blocks.append([client.block(h)[2] for h in range(1, height + 1)])
        assert blocks[0] == blocks[1] == blocks[2]
