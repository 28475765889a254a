"""The map: that a version is the latest, and that a record is not there, proved from the genesis alone;
checked by our client and by tests/harness/ledger.py, which shares no code with it."""
import os
import struct
import subprocess

import pytest

from tests.harness.ledger import BUILD, Chain, HEADER, Leaf, parse_header, wait_until

PROBE = BUILD / "tests" / "integration" / "ledger_probe"


def prove_since(client, height, locators):
    """Proofs by a map root of this height or later."""
    wait_until(lambda: client.head()["map_height"] >= height, 30, f"a map root of block {height}")
    return client.prove(locators)[1]


def probe(node, locator):
    return subprocess.run([PROBE, node.socket, node.genesis, "prove", locator.hex()],
                          stdout=subprocess.PIPE).stdout.decode()


@pytest.mark.parametrize("n", [1, 4])
def test_the_latest_version_and_absence_are_proved(n):
    with Chain(n) as chain:
        chain.start()
        client, signer = chain.nodes[0].client(), chain.signers[0]
        unknown = [os.urandom(16) for _ in range(40)]
        assert client.prove(unknown)[1] == [None] * 40
        leaves = [Leaf() for _ in range(300)]
        client.submit(signer.anchor(leaves))
        changed = [leaf.next() for leaf in leaves[:50]]
        height = client.submit(signer.anchor(changed))["height"]
        for node in chain.nodes:
            client = node.client()
            found = prove_since(client, height, [l.locator for l in leaves[:100]] + unknown)
            assert [v and v["leaf"] for v in found] == \
                [l.bytes() for l in changed + leaves[50:100]] + [None] * 40
            assert "version 2 log 300\n" in probe(node, leaves[0].locator)
            assert probe(node, unknown[0]) == "unknown\n"


def test_a_root_says_of_which_height_it_is_and_comes_soon_though_nothing_else_happens():
    with Chain(4) as chain:
        chain.start()
        client, signer = chain.nodes[2].client(), chain.signers[0]
        before = client.head()
        assert before["map_height"] == 0 and before["map_root"] == bytes(32)
        leaf = Leaf()
        height = client.submit(signer.anchor([leaf]))["height"]
        prove_since(client, height, [leaf.locator])
        head = client.head()
        assert head["map_height"] <= head["height"] - chain.genesis["parameters"]["window"]
        # That block's own log is what the map is of.
        header = parse_header(client.block(head["map_height"])[2][:HEADER.size])
        assert header["log_size"] == 1 == head["log_size"]


def test_the_map_comes_back_after_kills_and_when_it_is_lost_or_damaged():
    with Chain(4) as chain:
        chain.start()
        signer = chain.signers[0]
        client = chain.nodes[0].client()
        leaves = [Leaf() for _ in range(4096)]
        for i in range(18):  # more than stays in memory, once the state on disk has it
            batch = leaves if i == 0 else [Leaf() for _ in range(4096)]
            client.submit(signer.anchor(batch))
        height = client.submit(signer.anchor([leaves[9].next()]))["height"]
        prove_since(client, height, [leaves[9].locator])
        maps = [node.folder / "data" / "map" for node in chain.nodes]

        def written():  # a renewal looks what may be written
            height = client.submit(signer.anchor([Leaf() for _ in range(4096)]))["height"]
            prove_since(client, height, [leaves[9].locator])
            return all(any(map.iterdir()) for map in maps)
        wait_until(written, 60, "the map's files")
        chain.kill_all()
        for run in maps[0].iterdir():
            data = bytearray(run.read_bytes())
            data[80] ^= 1
            run.write_bytes(data)
        subprocess.run(["rm", "-r", maps[1]], check=True)
        chain.start()
        height = chain.nodes[0].client().submit(signer.anchor([leaves[8].next()]))["height"]
        for node in chain.nodes:
            found = prove_since(node.client(), height, [l.locator for l in leaves[:20]])
            assert [struct.unpack(">I", v["leaf"][4:8])[0] for v in found] == \
                [1] * 8 + [2, 2] + [1] * 10
