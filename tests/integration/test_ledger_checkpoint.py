"""A hospital's own chain, anchored on the one that it joins: its head, proven from its genesis on. The
expected bytes are put together here from what a node answers, with code that shares nothing with ours."""
import json
import struct
import subprocess

import pytest

from tests.harness.ledger import (NODE, Chain, Leaf, Reader, Refused, operation, parse_header, transaction_id,
                                  u32bytes, wait_until)
from tests.integration.test_ledger_members import QUICK, Members, command, raw


def body_of(chain):
    """What the checkpoint of a chain's head must be; the head is fetched between two equal ones."""
    client = chain.nodes[0].client()
    r = client.call(10, struct.pack(">Q", 0))
    count = r.int(4)
    epochs = r.data[r.at:]
    r = client.call(2)
    header, certificate = r.raw(244), r.bytes()
    r.end()
    genesis = chain.nodes[0].genesis.read_bytes()
    return (b"\1" + u32bytes(genesis) + struct.pack(">I", count) + epochs + header
            + u32bytes(certificate), parse_header(header))


def write_checkpoint(chain, path):
    """The file that the command writes, equal to ours made of the same head."""
    for _ in range(20): # an empty block may come between
        before, head = body_of(chain)
        told = command(chain.nodes[0], "checkpoint", "--out", path)
        after, _ = body_of(chain)
        if before == after:
            assert path.read_bytes() == before
            assert told.splitlines()[0] == f"chain    {chain.id.hex()}"
            assert f"block    {head['height']} of" in told and head["hash"].hex() in told
            return head
    raise AssertionError("the chain never stood still")


def test_a_chain_of_one_is_anchored_on_the_chain_that_its_hospital_joins():
    with Chain(1, **{**QUICK, "empty_block_ms": 30000}) as own, Chain(4, **QUICK) as joint:
        own.start()
        joint.start()
        path = joint.folder / "own.checkpoint"
        own.nodes[0].client().submit(own.signers[0].anchor([Leaf() for _ in range(5)]))
        members = Members(own)
        assert members.change(operation("add-observer", "ward-2", b"k" * 32, b"p" * 32)
                              )["status"] == 0 # so that it has a second epoch
        own.nodes[0].client().submit(own.signers[0].anchor([Leaf() for _ in range(3)]))
        first = write_checkpoint(own, path)
        assert first["epoch"] == 1 and first["log_size"] == 8
        missing = command(joint.nodes[2], "anchored", own.nodes[0].genesis, status=4)
        assert "the chain has none of that chain" in missing

        told = command(joint.nodes[0], "anchor", path)
        assert told.splitlines()[-1].startswith("anchored in block ")
        wait_until(lambda: shown(joint, own)["height"] == first["height"], 30, "all have executed it")
        found = shown(joint, own)
        assert found["block"] == first["hash"].hex() and found["leaves"] == 8
        assert found["log_root"] == first["log_root"].hex() and found["chain"] == own.id.hex()
        assert f"block    {first['height']} of" in command(joint.nodes[1], "anchored",
                                                           own.nodes[0].genesis)
        genesis = u32bytes(own.nodes[0].genesis.read_bytes())
        skips = bytearray(path.read_bytes()) # the head of epoch 1 without the step that leads to it
        r = Reader(bytes(skips[1 + len(genesis) + 4:]))
        r.raw(244), r.bytes(), r.bytes()
        skips = skips[:1] + genesis + struct.pack(">I", 0) + r.data[r.at:]
        with pytest.raises(Refused) as refused:
            joint.nodes[0].client().submit(joint.signers[0].transaction(6, bytes(skips), sequence=1))
        assert "the members of epoch 1 are unproven" in refused.value.message
        again = command(joint.nodes[1], "anchor", path, status=42)
        assert "at this height or above it, is there already" in again

        own.nodes[0].client().submit(own.signers[0].anchor([Leaf()]))
        later = joint.folder / "later.checkpoint"
        second = write_checkpoint(own, later)
        command(joint.nodes[3], "anchor", later)
        assert shown(joint, own, 3)["height"] == second["height"] > first["height"]
        assert "there already" in command(joint.nodes[0], "anchor", path, status=42) # not back again
        joint.kill_all()
        joint.start()
        assert shown(joint, own)["height"] == second["height"]


def shown(joint, own, at=2):
    return json.loads(command(joint.nodes[at], "anchored", "--json", own.nodes[0].genesis))


def test_what_is_not_proven_is_refused_by_the_command_and_by_every_node():
    with Chain(1, **{**QUICK, "empty_block_ms": 30000}) as own, Chain(1, **QUICK) as joint:
        own.start()
        joint.start()
        own.nodes[0].client().submit(own.signers[0].anchor([Leaf()]))
        path = joint.folder / "own.checkpoint"
        write_checkpoint(own, path)
        good = path.read_bytes()
        client, signer = joint.nodes[0].client(), joint.signers[0]
        places = {"format": 0, "genesis": 40, "header": len(good) - 200, "certificate": len(good) - 9}
        for name, at in places.items():
            bad = bytearray(good)
            bad[at] ^= 1
            path.write_bytes(bad)
            done = subprocess.run([NODE, "anchor", "--config", joint.nodes[0].config, path], text=True,
                                  capture_output=True, timeout=60)
            assert done.returncode != 0 and str(path) in done.stderr, name
            with pytest.raises(Refused):
                client.submit(signer.transaction(6, bytes(bad), sequence=1))
        for cut in (1, 100, len(good) - 1):
            with pytest.raises(Refused):
                client.submit(signer.transaction(6, good[:cut], sequence=1))
        with pytest.raises(Refused):
            client.submit(signer.transaction(6, good + b"\0", sequence=1))
        wait_until(lambda: client.head()["height"] > 0, 30, "a first empty block")
        itself, _ = body_of(joint)
        with pytest.raises(Refused) as refused:
            client.submit(signer.transaction(6, itself, sequence=1))
        assert refused.value.message == "checkpoint: it is of this chain itself"
        anchored = signer.transaction(6, good, sequence=1) # a gateway may, too
        assert client.submit(anchored)["status"] == 0
        assert client.call(12, own.id).raw(33) == b"\1" + transaction_id(anchored)
        assert joint.nodes[0].stop() == 0 and own.nodes[0].stop() == 0
