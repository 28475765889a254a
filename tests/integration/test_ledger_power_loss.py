"""Power loss at every durable write: what each node's disk would hold then is made again from a record
of all that the nodes wrote and synced, the nodes start on it, and nothing that was acknowledged is
lost, nothing doubled, nothing signed that contradicts what was signed before. All nodes lose power at
once, which is worse than one.

RENKEI_POINTS: how many moments (0: every one, as in a long run). RENKEI_SEED: of the choice and of the variants."""
import contextlib
import os
import random
import shutil
import struct
import time

import pytest

from tests.harness.ledger import BUILD, Chain, Leaf, parse_header, sha, wait_until, HEADER
from tests.harness.power_loss import (SYNCED, SYNCING, VARIANTS, Disk, read_record, write_image)

LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
POINTS = int(os.environ.get("RENKEI_POINTS", "0" if LONG else "-1"))
SEED = int(os.environ.get("RENKEI_SEED", str(random.randrange(1 << 30))))
RECORDER = BUILD / "tests" / "harness" / "disk_recorder.so"
PRELOAD = {"LD_PRELOAD": str(RECORDER)}


def start_recorded(chain, lies=None):
    for node in chain.nodes:
        extra = {"RENKEI_DISK_LIES": lies} if lies else {}
        asan = os.environ.get("ASAN_OPTIONS", "")
        node.start(wait=False, RENKEI_DISK_ROOT=str(node.folder / "data"),
                   RENKEI_DISK_RECORD=str(node.folder / "record"), **PRELOAD, **extra,
                   ASAN_OPTIONS=asan + ":verify_asan_link_order=0")
    for node in chain.nodes:
        wait_until(node.ready, 60, f"socket: {node.read_log()}")


class Run:
    """A chain that ran under load with every write on record, and what its clients were told when."""

    def __init__(self, n, transactions, leaves, lies=None):
        self.chain = Chain(n, view_timeout_ms=500)
        self.acknowledged = []  # (ns, transaction, receipt)
        try:
            start_recorded(self.chain, lies)
            signer = self.chain.signers[0]
            clients = [node.client() for node in self.chain.nodes]
            for i in range(transactions):
                batch = [signer.anchor([Leaf() for _ in range(leaves)]) for _ in range(1 + i % 3)]
                receipts = clients[i % n].submit_all(batch)
                now = time.monotonic_ns()
                self.acknowledged += [(now, t, r) for t, r in zip(batch, receipts)]
            self.next_sequence = signer.sequence
        finally:
            self.chain.kill_all()
        self.events = sorted((e for node in self.chain.nodes
                              for e in read_record(node.folder / "record", node.index)),
                             key=lambda e: e.ns)
        self.moments = [i for i, e in enumerate(self.events) if e.operation in (SYNCING, SYNCED)]

    def close(self):
        self.chain.__exit__(None)

    def images(self, moments):
        """(ns, disks) for each of these indices of events, in order."""
        disks = [Disk(node.folder / "data") for node in self.chain.nodes]
        at = 0
        for moment in moments:
            while at <= moment:
                disks[self.events[at].node].play(self.events[at])
                at += 1
            yield self.events[moment].ns, disks


def votes_in(data):
    """What a vote log says was signed: {(epoch, type, view, height): block hash}; and by epoch the view
    below which nothing may be signed any more."""
    signed, views, at = {}, {}, 0
    while at + 24 <= len(data):
        magic, kind, length = struct.unpack_from(">III", data, at)
        body = data[at + 24:at + 24 + length]
        if magic != 0x52564f54 or len(body) < length:
            break
        at += 24 + length
        if kind != 1:
            continue
        epoch = struct.unpack_from(">Q", body, 2)[0]
        if body[1] == 3:
            header = body[19 + 4:]
            key = (epoch, body[10], struct.unpack_from(">Q", body, 11)[0],
                   parse_header(header)["height"])
            signed.setdefault(key, set()).add(sha(b"renkei/block/1\n", header))
        elif body[1] == 4:
            certificate = body[14:14 + struct.unpack_from(">I", body, 10)[0]]
            key = (epoch, 3, *struct.unpack_from(">QQ", certificate, 10))
            signed.setdefault(key, set()).add(certificate[26:58])
        elif body[1] == 1:
            views[epoch] = max(views.get(epoch, 0), struct.unpack_from(">Q", body, 10)[0])
    return signed, views


def check_votes(before, path):
    """before: the log of what may have been sent when the power went."""
    signed, views = votes_in(before)
    later, _ = votes_in(path.read_bytes())
    for key, hashes in later.items():
        known = signed.get(key)
        assert len(hashes) == 1 and (known is None or hashes == known), f"contradicts itself: {key}"
        assert known is not None or key[2] >= views.get(key[0], 0), f"signed in a view it had left: {key}"


def put_back(run, disks, variant, seed):
    for node, disk in zip(run.chain.nodes, disks):
        data = node.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700)
        write_image(disk.image(variant, seed * 100 + node.index), disk.folders, disk.root, data)


def check_restart(run, ns, disks, variant, seed):
    """Starts the chain on these disks and asks for all that was promised by then."""
    chain = run.chain
    sent = [bytes(d.names[p].safe) if (p := d.root + b"/votes") in d.names else b"" for d in disks]
    put_back(run, disks, variant, seed)
    promised = [(t, r) for told, t, r in run.acknowledged if told <= ns]
    signer = chain.signers[0]
    for node in chain.nodes:
        node.start(wait=False)
    for node in chain.nodes:
        wait_until(node.ready, 30, "socket")
    with contextlib.closing(chain.nodes[0].client()) as client:
        expected = client.next_sequence(signer.public)
        fresh = [t for _, t, _ in run.acknowledged][expected - 1:expected] or [signer.note(
            b"after", sequence=expected)]
        last = client.submit(fresh[0])  # the chain goes on
    blocks = []
    for node in chain.nodes:
        with contextlib.closing(node.client()) as client:
            wait_until(lambda c=client: c.head()["height"] >= last["height"], 30, "the last block")
            for transaction, receipt in promised:
                assert client.submit(transaction) == receipt, "an acknowledged one is lost"
            blocks.append([client.block(h)[2] for h in range(1, last["height"] + 1)])
    assert all(b == blocks[0] for b in blocks), "fork"
    entries = [b[HEADER.size:] for b in blocks[0] if len(b) > HEADER.size]
    assert len(set(entries)) == len(entries), "doubled"
    chain.kill_all()
    for node, before in zip(chain.nodes, sent):
        check_votes(before, node.folder / "data" / "votes")


def chosen(run, dice, ordinary):
    points = ordinary if POINTS < 0 else POINTS
    if points == 0 or points >= len(run.moments):
        return run.moments
    return sorted(dice.sample(run.moments, points))


@pytest.mark.parametrize("n, transactions, leaves, ordinary",
                         [(4, 12, 2, 4), (1, 20, 2, 10), (1, 18, 4096, 5)])
def test_power_loss_at_any_durable_write_loses_nothing_acknowledged(n, transactions, leaves, ordinary):
    """The last case is long enough for the state to go to the database. ordinary: moments of an
    ordinary run."""
    dice = random.Random(SEED)
    with contextlib.closing(Run(n, transactions, leaves)) as run:
        moments = chosen(run, dice, ordinary)
        print(f"RENKEI_SEED={SEED}: {len(run.moments)} durable writes, {len(moments)} tried, "
              f"{len(run.acknowledged)} acknowledged transactions")
        for number, (ns, disks) in enumerate(run.images(moments)):
            variant = VARIANTS[(number + SEED) % len(VARIANTS)]
            try:
                check_restart(run, ns, disks, variant, SEED + number)
            except AssertionError:
                print(f"at event {moments[number]}, variant {variant}")
                for node in run.chain.nodes:
                    print(node.read_log())
                raise


@pytest.mark.parametrize("lies", ["/", "/votes"])
def test_without_the_sync_acknowledged_transactions_are_lost(lies):
    """The negative control: the disk lies, and the same check must see it."""
    with contextlib.closing(Run(1, 10, 2, lies)) as run:
        last = [len(run.events) - 1]
        (ns, disks), = run.images(last)
        with pytest.raises(AssertionError):
            check_restart(run, ns, disks, "lost", SEED)
