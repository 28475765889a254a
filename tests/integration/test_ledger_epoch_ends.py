"""The end of an epoch at every write: five nodes on record while a submitter joins, a validator gets new
keys, one is removed, one is suspended, one comes back with another key. From what their disks held when a
node had an epoch's last block in its vote log and nothing of it anywhere else, after a kill and after a
loss of power, all of them start again, agree, go on, and change their members once more.

RENKEI_POINTS: how many moments besides each epoch's end (0: every write). RENKEI_SEED: of the choice."""
import contextlib
import os
import random
import shutil
import stat
import struct
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.harness.ledger import (HEADER, Chain, Leaf, Signer, change_body, make_tls, operation, quorum, sha,
                                  wait_until, write_private)
from tests.harness.power_loss import RENAME, SYNCED, SYNCING, VARIANTS, WRITE, Disk, read_record, write_image
from tests.integration.test_ledger_power_loss import PRELOAD, check_votes

LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
POINTS = int(os.environ.get("RENKEI_POINTS", "300" if LONG else "1"))
SEED = int(os.environ.get("RENKEI_SEED", str(random.randrange(1 << 30))))
DRIFT_MS = 300
KEPT = (b"log", b"record", b"node.socket")  # not the node's own


def raw(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def committed_in(data):
    """The heights whose certificates a vote log has."""
    found, at = set(), 0
    while at + 24 <= len(data):
        magic, kind, length = struct.unpack_from(">III", data, at)
        if magic != 0x52564f54 or len(data) < at + 24 + length:
            break
        if kind == 4:
            found.add(struct.unpack_from(">Q", data, at + 24 + 18)[0])
        at += 24 + length
    return found


class Operators:
    """Every vote key that is or was in use, and changes that Q of those in force sign."""

    def __init__(self, chain):
        self.chain = chain
        self.keys = {raw(key): key for key in chain.votes}

    def submit(self, client, kind, body, key):
        signer = Signer(self.chain.id)
        signer.key, signer.public = key, raw(key)
        signer.sequence = client.next_sequence(signer.public)
        return client.submit(signer.transaction(kind, body))

    def change(self, client, *operations):
        members = client.members()
        held = [i for i, v in enumerate(members["validators"]) if v[3] in self.keys]
        keys = {i: self.keys[members["validators"][i][3]]
                for i in held[:quorum(len(members["validators"]))]}
        body = change_body(self.chain.id, members["epoch"], operations, keys)
        receipt = self.submit(client, 4, body, keys[held[0]])
        assert receipt["status"] == 0
        return receipt

    def accuse(self, client, name):
        """Evidence that a validator signed two blocks for one place."""
        members = client.members()
        at = [v[1].decode() for v in members["validators"]].index(name)
        key = self.keys[members["validators"][at][3]]
        domain = struct.pack(">Q", members["epoch"])
        place = struct.pack(">QQ", 0, 1 << 40)
        body = b"\x01\x02" + self.chain.id + domain + struct.pack(">H", at) + place
        for digest in (b"\x11" * 32, b"\x22" * 32):
            body += digest + key.sign(sha(b"renkei/vote/1\n", self.chain.id, domain, b"\x02", place, digest))
        receipt = self.submit(client, 5, body, self.keys[members["validators"][0][3]])
        assert receipt["status"] == 0
        return receipt


class Run:
    """A chain of five whose members change under load, with every write on record."""

    def __init__(self):
        self.chain = chain = Chain(5, view_timeout_ms=500, empty_block_ms=1000, clock_drift_ms_max=DRIFT_MS)
        self.operators = Operators(chain)
        self.acknowledged = []  # (ns, transaction, receipt)
        self.ends = []          # heights of the epochs' last blocks
        self.before = []
        renewed = {i: self.next_keys(i) for i in (1, 4)}
        self.renewed = {key for _, key, _, _ in renewed.values()}
        try:
            for node in chain.nodes:
                keep = chain.folder / f"before-{node.index}"
                shutil.copytree(node.folder, keep, copy_function=shutil.copy2)
                self.before.append(keep)
                node.start(wait=False, RENKEI_DISK_ROOT=str(node.folder), **PRELOAD,
                           RENKEI_DISK_RECORD=str(node.folder / "record"),
                           ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
            for node in chain.nodes:
                wait_until(node.ready, 60, f"socket: {node.read_log()}")
            self.drive(renewed)
        finally:
            chain.kill_all()
        self.events = sorted((e for node in chain.nodes
                              for e in read_record(node.folder / "record", node.index)),
                             key=lambda e: e.ns)

    def next_keys(self, index):
        folder = self.chain.nodes[index].folder
        fresh = folder / "fresh"
        fresh.mkdir()
        key = Ed25519PrivateKey.generate()
        self.operators.keys[raw(key)] = key
        write_private(fresh / "vote.key", key)
        pin = make_tls(fresh, f"node-{index}")
        for file in ("tls.key", "tls.crt", "vote.key"):
            os.replace(fresh / file, folder / f"{file}.next")
        fresh.rmdir()
        return (f"node-{index}", raw(key), pin, self.chain.validators[index]["address"])

    def anchors(self, nodes, count=3):
        signer = self.chain.signers[0]
        for i in range(count):
            batch = [signer.anchor([Leaf(), Leaf()]) for _ in range(1 + i % 2)]
            with contextlib.closing(self.chain.nodes[nodes[i % len(nodes)]].client()) as client:
                receipts = client.submit_all(batch)
            now = time.monotonic_ns()
            self.acknowledged += [(now, t, r) for t, r in zip(batch, receipts)]

    def end_epoch(self, change, nodes):
        with contextlib.closing(self.chain.nodes[0].client()) as client:
            self.ends.append(change(client)["height"])
        for i in nodes:
            with contextlib.closing(self.chain.nodes[i].client()) as client:
                wait_until(lambda c=client: c.status()["epoch"] == len(self.ends), 60,
                           f"node {i} in epoch {len(self.ends)}")

    def drive(self, renewed):
        operators, clinic = self.operators, Signer(self.chain.id)
        everybody, four = range(5), range(4)
        change = lambda *operations: lambda client: operators.change(client, *operations)
        with contextlib.closing(self.chain.nodes[1].client()) as client:
            wait_until(lambda: client.status()["next_key_ready"], 30, "the next key")
        self.anchors(everybody)
        self.end_epoch(change(operation("add-submitter", "clinic", clinic.public, role=1)), everybody)
        self.anchors(everybody)
        self.end_epoch(change(operation("replace-validator", *renewed[1])), everybody)
        self.anchors(everybody)
        self.end_epoch(change(operation("remove-validator", "node-4")), four)
        self.anchors(four)
        self.end_epoch(lambda client: operators.accuse(client, "node-3"), four)
        self.anchors(four)
        self.end_epoch(change(operation("add-validator", *renewed[4])), everybody)
        self.anchors(everybody)
        self.end_epoch(change(operation("remove-submitter", "clinic")), everybody)
        self.anchors(everybody)

    def close(self):
        self.chain.__exit__(None)

    def disks(self):
        disks = [Disk(node.folder) for node in self.chain.nodes]
        for disk, keep in zip(disks, self.before):
            disk.load(keep, self.before_name(disk, keep))
        return disks

    @staticmethod
    def before_name(disk, keep):
        return lambda path: disk.root + path[len(os.fsencode(str(keep))):]

    def end_moments(self):
        """(event, epoch): a node's vote log has the last block's certificate, and nothing else has."""
        disks, found = self.disks(), []
        known = [set() for _ in disks]
        for at, e in enumerate(self.events):
            disk = disks[e.node]
            disk.play(e)
            votes = disk.names.get(disk.root + b"/data/votes")
            if e.operation != SYNCED or votes is None or disk.open.get(e.number) is not votes:
                continue
            now = committed_in(bytes(votes.safe))
            found += [(at, self.ends.index(h)) for h in now - known[e.node] if h in self.ends]
            known[e.node] |= now
        return found

    def images(self, moments):
        disks, at = self.disks(), 0
        for moment in moments:
            while at <= moment:
                disks[self.events[at].node].play(self.events[at])
                at += 1
            yield self.events[moment].ns, disks


def put_back(run, disks, variant, seed):
    for node, disk in zip(run.chain.nodes, disks):
        for name in os.listdir(os.fsencode(str(node.folder))):
            path = os.path.join(os.fsencode(str(node.folder)), name)
            if name not in KEPT:
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        write_image(disk.image(variant, seed * 100 + node.index), disk.folders, disk.root, node.folder)
        (node.folder / "data").mkdir(mode=0o700, exist_ok=True)  # it may not be there so early
        (node.folder / "data").chmod(0o700)
        for path in node.folder.glob("*.key*"):
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def check_restart(run, ns, disks, variant, seed):
    chain = run.chain
    sent = [bytes(d.names[p].safe) if (p := d.root + b"/data/votes") in d.names else b"" for d in disks]
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
        client.submit(fresh[0])  # the chain goes on
        last = run.operators.change(client, operation("add-submitter", "later", os.urandom(32), role=1))
        validators = {v[1].decode(): v[3] for v in client.members()["validators"]}
    blocks = []
    for node in chain.nodes:
        if f"node-{node.index}" not in validators:
            continue
        with contextlib.closing(node.client()) as client:
            wait_until(lambda c=client: c.head()["height"] >= last["height"], 30,
                       f"the last block at node {node.index}")
            wait_until(lambda c=client: c.status()["role"] == "validator", 30,
                       f"node {node.index} votes: {client.status()['role']}")
            for transaction, receipt in promised:
                assert client.submit(transaction) == receipt, "an acknowledged one is lost"
            blocks.append([client.block(h)[2] for h in range(1, last["height"] + 1)])
    assert len(blocks) >= 4
    assert all(b == blocks[0] for b in blocks), "fork"
    entries = [b[HEADER.size:] for b in blocks[0] if len(b) > HEADER.size]
    assert len(set(entries)) == len(entries), "doubled"
    for node in chain.nodes:  # in order: what a sanitizer has to say is in the exit status
        assert node.stop() == 0, node.read_log()
        if validators.get(f"node-{node.index}") in run.renewed:
            assert not list(node.folder.glob("*.next")), "its new keys are in the old ones' places"
    for node, before in zip(chain.nodes, sent):
        check_votes(before, node.folder / "data" / "votes")


def chosen(run, dice):
    """Each epoch's end at one node in an ordinary run, at all in a long one; and other writes, first of all
    those that put a new key into the old one's place."""
    ends = run.end_moments()
    assert {epoch for _, epoch in ends} == set(range(len(run.ends)))
    # A founder's votes are known in later epochs when it has executed a block: from then on.
    begun = run.acknowledged[3][0]
    renames = [i for i, e in enumerate(run.events) if e.operation == RENAME and e.ns >= begun]
    writes = [i for i, e in enumerate(run.events)
              if e.operation in (WRITE, SYNCING, SYNCED) and e.ns >= begun]
    picked = {at for at, _ in ends} | set(renames) | set(writes)
    if POINTS > 0:
        picked = {dice.choice([at for at, epoch in ends if epoch == wanted])
                  for wanted in range(len(run.ends))}
        picked |= {dice.choice(renames), *dice.sample(writes, POINTS)}
    return sorted(picked), {at for at, _ in ends}


def test_an_epoch_ends_at_every_write_and_all_start_again():
    dice = random.Random(SEED)
    with contextlib.closing(Run()) as run:
        moments, ends = chosen(run, dice)
        print(f"RENKEI_SEED={SEED}: {len(run.events)} writes, {len(ends)} ends of epochs, "
              f"{len(moments)} tried, {len(run.acknowledged)} acknowledged transactions")
        for number, (ns, disks) in enumerate(run.images(moments)):
            moment = moments[number]
            variant = "lost" if moment in ends else (*VARIANTS, "killed")[(number + SEED) % 5]
            try:
                check_restart(run, ns, disks, variant, SEED + number)
            except BaseException:
                print(f"at event {moment}, {run.events[moment][:5]}, variant {variant}")
                for node in run.chain.nodes:
                    print(f"--- node {node.index}", node.read_log())
                raise
