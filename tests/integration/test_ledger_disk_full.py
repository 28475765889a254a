"""A node's disk fills up: the node stops in order, says how much is needed, has promised nothing that it
does not hold, and goes on where it stopped once there is room. The others go on meanwhile."""
import contextlib

import pytest

from tests.harness.ledger import NODE, Chain, Leaf, wait_until
from tests.harness.small_disk import SmallDisk

DISK_MIB = 24


@pytest.fixture
def stopped():
    with Chain(4, view_timeout_ms=1000, empty_block_ms=1000) as chain:
        node = chain.nodes[3]
        disk = SmallDisk(node.folder / "data", DISK_MIB)
        wrapper = node.folder / "small-disk"
        wrapper.write_text("#!/bin/sh\nexec " + " ".join(disk.inside([NODE])) + ' "$@"\n')
        wrapper.chmod(0o755)
        node.program = wrapper
        try:
            yield chain, node, disk
            node.kill()
        finally:
            disk.close()


@pytest.fixture
def chain(stopped):
    stopped[0].start()
    return stopped


def anchor(chain, node, leaves=4096):
    with contextlib.closing(node.client()) as client:
        transaction = chain.signers[0].anchor([Leaf() for _ in range(leaves)])
        return transaction, client.submit(transaction)


def ended(node):
    status = node.process.wait(timeout=60)
    node.process = None
    node.log.close()
    return status


def test_a_full_disk_stops_a_node_in_order_and_it_goes_on_with_room(chain):
    chain, node, disk = chain
    disk.resize(19)
    promised = []
    while node.process.poll() is None:
        promised.append(anchor(chain, chain.nodes[0]))
    assert ended(node) == 7
    log = node.log_text()
    assert "KiB are free, at least 16 MiB are needed to go on" in log
    assert "hint: free some space and start the node" in log
    assert len(promised) < 200

    node.start(wait=False)  # a disk that is still full is no harm
    assert ended(node) == 7
    promised.append(anchor(chain, chain.nodes[1]))  # the others go on

    disk.resize(400)
    node.start()
    height = promised[-1][1]["height"]
    with contextlib.closing(node.client()) as client:
        wait_until(lambda: client.head()["height"] >= height, 60, "it catches up")
        wait_until(lambda: client.status()["votes"] == "yes", 30, node.read_log())
        for transaction, receipt in promised:
            assert client.submit(transaction) == receipt
    chain.nodes[0].kill()  # now its votes are needed
    anchor(chain, chain.nodes[1])


def test_a_disk_that_is_filled_to_the_last_byte_loses_nothing_acknowledged(chain):
    """Writes fail, of whatever file, before the look at the free space says anything."""
    chain, node, disk = chain
    promised = []
    for _ in range(3):
        promised.append(anchor(chain, node))
    disk.run("sh", "-c", f"cat /dev/zero > {node.folder}/data/filler || true")
    with contextlib.suppress(ConnectionError, OSError):
        while node.process.poll() is None and len(promised) < 40:
            promised.append(anchor(chain, chain.nodes[0]))
    wait_until(lambda: node.process.poll() is not None, 30, "it ends")
    assert ended(node) == 7
    assert "at least 16 MiB are needed to go on" in node.log_text()
    disk.run("rm", f"{node.folder}/data/filler")
    disk.resize(400)
    node.start()
    with contextlib.closing(node.client()) as client:
        height = promised[-1][1]["height"]
        wait_until(lambda: client.head()["height"] >= height, 60, "it catches up")
        for transaction, receipt in promised:
            assert client.submit(transaction) == receipt


def test_a_part_of_the_data_folder_that_is_full_is_named_and_goes_on_with_room(stopped):
    """Each on a file system of its own, so that the free space of the data folder says nothing: it is the
    write that fails, of one after the other."""
    chain, node, disk = stopped
    disk.resize(400)
    full = {"blocks": "cannot write blocks:", "log": "cannot write log:",
            "map": f"cannot write {node.folder}/data/map/", "state": "state: committing:"}
    for part in full:
        disk.mount(f"{node.folder}/data/{part}", 400)
    chain.start()
    for part in full:
        disk.fill(f"{node.folder}/data/{part}")
    promised = []

    def stops():
        """What is in memory moves to the map and the state when there are 65,536 leaves."""
        promised.append(anchor(chain, chain.nodes[0]))
        return node.process.poll() is not None
    while full:
        before = len(node.log_text())
        wait_until(stops, 60, f"a write fails, to one of {list(full)}")
        assert ended(node) == 7
        log = node.log_text()[before:]
        named = [part for part, said in full.items() if f"the disk is full: {said}" in log]
        assert len(named) == 1 and "No space left on device" in log, log
        del full[named[0]]
        disk.resize(400, f"{node.folder}/data/{named[0]}")
        node.start(wait=False)
    wait_until(node.ready, 30, "socket")
    with contextlib.closing(node.client()) as client:
        height = promised[-1][1]["height"]
        wait_until(lambda: client.head()["height"] >= height, 60, "it catches up")
        for transaction, receipt in promised:
            assert client.submit(transaction) == receipt
