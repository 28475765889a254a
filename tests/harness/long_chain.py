"""Chains that are long before their nodes start: blocks made and certified by chain_make with the
validators' own keys, then copied to the nodes that shall have them."""
import hashlib
import shutil
import struct
import subprocess

from tests.harness.ledger import BUILD, write_private

MAKE = BUILD / "tests" / "harness" / "chain_make"


def locator(number):
    """The record that leaf `number` of such a chain created."""
    return hashlib.sha256(b"locator" + struct.pack(">Q", number)).digest()[:16]


def lengthen(chain, kind, count, each, nodes=None):
    """Gives these nodes (all of them by default), which must not run, `count` further blocks with
    one note of `each` bytes or one anchor of `each` new leaves."""
    nodes = chain.nodes if nodes is None else nodes
    key = chain.folder / "submitter.key"
    write_private(key, chain.signers[0].key)
    first = nodes[0].folder / "data"
    subprocess.run([MAKE, "chain", chain.nodes[0].genesis, first, kind, str(count), str(each), key,
                    *(n.folder / "vote.key" for n in chain.nodes)], check=True,
                   stdout=subprocess.DEVNULL)
    for node in nodes[1:]:
        shutil.rmtree(node.folder / "data", ignore_errors=True)
        subprocess.run(["cp", "-r", "--sparse=always", first, node.folder / "data"], check=True)
    for node in nodes:
        (node.folder / "data" / "votes").unlink(missing_ok=True)
        subprocess.run([MAKE, "votes", node.genesis, node.folder / "data",
                        node.folder / "vote.key"], check=True)
    chain.signers[0].sequence += count
