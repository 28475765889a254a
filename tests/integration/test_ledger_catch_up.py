"""A validator that was away for long, and a new one, catch up by verified transfer while the chain
runs, from peers of which every one lies about some blocks. RENKEI_BLOCKS: how far behind they are
(100,000 with tests/run --long)."""
import json
import os
import struct
import threading
import time

from tests.harness.ledger import Chain, HEADER, wait_until
from tests.harness.long_chain import lengthen

BLOCKS = int(os.environ.get("RENKEI_BLOCKS",
                            "100000" if os.environ.get("RENKEI_TEST_LONG") == "1" else "2000"))
EARLY = 200    # blocks that the one that was away has
LIE_EVERY = min(200, BLOCKS // 50) # each of five peers lies in every few pieces that it is asked for
CRC_TABLE = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
    CRC_TABLE.append(i)


def crc32c(data):
    c = 0xffffffff
    for byte in data:
        c = CRC_TABLE[(c ^ byte) & 0xff] ^ c >> 8
    return c ^ 0xffffffff


def change_block(data, height, at):
    """Flips a bit of a stored block, at a byte counted from the header's first or (negative) from
    the block's end, and sets the record's checksum right: the node itself cannot tell."""
    with open(data / "heights", "rb") as f:
        f.seek(16 * (height - 1))
        segment, offset = struct.unpack(">IQ", f.read(12))
    with open(data / "blocks" / f"{segment:08}", "r+b") as f:
        f.seek(offset)
        head = f.read(32)
        block, certificate = struct.unpack(">II", head[4:12])
        body = bytearray(f.read(block + certificate))
        body[at if at >= 0 else block + at] ^= 1
        f.seek(offset + 28)
        f.write(struct.pack(">I", crc32c(head[:28] + body)) + body)


def tell_lies(nodes, top):
    """Node k lies about every fifth lie's height, in turn about entries and about headers; each
    block is told truly by all others. The heights by node."""
    lies = {node.index: set() for node in nodes}
    for number, height in enumerate(range(EARLY + LIE_EVERY // 2, top - 20, LIE_EVERY)):
        node = nodes[number % len(nodes)]
        change_block(node.folder / "data", height, 90 if number % 2 else -70)
        lies[node.index].add(height)
    return lies


def refusals(node):
    out = []
    for line in node.log_text().splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("event") == "transfer-refused":
            out.append((entry["peer"], int(entry["height"]), entry["what"]))
    return out


def reaches(node, height, seconds):
    client = node.client()
    wait_until(lambda: client.head()["height"] >= height, seconds,
               f"node {node.index} at height {height}")
    return client


class Load(threading.Thread):
    """Keeps the chain running."""

    def __init__(self, chain):
        super().__init__(daemon=True)
        self.client, self.signer = chain.nodes[0].client(), chain.signers[0]
        self.enough = threading.Event()
        self.receipts = []

    def run(self):
        while not self.enough.wait(0.05):
            self.receipts.append(self.client.submit(self.signer.note(b"meanwhile")))


def test_one_that_was_away_and_a_new_one_catch_up_though_peers_lie():
    with Chain(7) as chain:
        old, new = chain.nodes[5:]
        full = chain.nodes[:5]
        lengthen(chain, "notes", EARLY, 100, chain.nodes[:6])
        lengthen(chain, "notes", BLOCKS, 100, full)
        top = EARLY + BLOCKS
        lies = tell_lies(full, top)
        for node in full:
            node.start(wait=False)
        for node in full:
            wait_until(node.ready, 30, "socket")
        load = Load(chain)
        load.start()
        began = time.monotonic()
        old.start()
        new.start()
        reaches(new, top // 3, 600)
        new.kill()
        new.start()
        resumed = new.client().head()["height"]
        assert resumed >= top // 3, "what was fetched is kept"
        for node in (old, new):
            reaches(node, top, 900)
        seconds = time.monotonic() - began
        load.enough.set()
        load.join(60)
        assert len(load.receipts) > 3 and load.receipts[-1]["height"] > top
        print(f"{BLOCKS} blocks behind: caught up in {seconds:.1f} s, "
              f"{BLOCKS / seconds:.0f} blocks/s each, both at once")
        last = load.receipts[-1]["height"]
        for node in (old, new):
            client, truthful = reaches(node, last, 60), full[0].client()
            told = refusals(node)
            assert told, "they met at least one lie"
            for peer, height, what in told:
                assert height in lies[int(peer[len("node-"):])], (peer, height, what)
            assert {what for _, _, what in told} <= {
                "its entries are not what its header binds",
                "a transferred block's certificate is of another block"}
            assert sum(p.get("transfer_refused", 0) for p in client.status()["peers"]) > 0
            for height in [h for k in lies for h in lies[k] if k != 0][:20] + [last]:
                assert client.block(height)[2] == truthful.block(height)[2] # and it verifies
