"""renkei-node backup, restore and fsck by the operator's commands, on real nodes."""
import contextlib
import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import threading

import pytest

from tests.harness.ledger import (HEADER, NODE, Chain, Leaf, merkle_root, operation, sha,
                                  transaction_id, u32bytes, wait_until)
from tests.integration.test_ledger_members import Members

QUICK = {"clock_drift_ms_max": 300, "view_timeout_ms": 1000, "empty_block_ms": 1000}


def command(node, *words, status=0):
    done = subprocess.run([NODE, words[0], "--config", node.config, *words[1:]], text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout if status == 0 else done.stdout + done.stderr


def fsck(node, *words, status=0):
    out = command(node, "fsck", "--json", *words, status=status)
    return json.loads(out.splitlines()[0])


def anchors(chain, node, count, leaves=3):
    receipts = []
    with contextlib.closing(node.client()) as client:
        for _ in range(count):
            transaction = chain.signers[0].anchor([Leaf() for _ in range(leaves)])
            receipts.append((transaction, client.submit(transaction)))
    return receipts


def status(node):
    with contextlib.closing(node.client()) as client:
        return client.status()


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x10]))


def test_a_running_node_is_backed_up_and_the_restored_one_votes_in_the_next_epoch():
    with Chain(4, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        first = anchors(chain, chain.nodes[0], 5)
        assert members.change(operation("add-observer", "monitor", os.urandom(32), os.urandom(32)))[
            "status"] == 0  # the backup proves an epoch's end, too
        members.wait_epoch(1)
        enough, error = threading.Event(), []

        def load():
            try:
                for leaves in itertools.cycle((3, 1500)):  # written at once, and by a thread
                    if enough.is_set():
                        break
                    anchors(chain, chain.nodes[0], 1, leaves)
            except BaseException as e:
                error.append(e)
        thread = threading.Thread(target=load)
        thread.start()
        node = chain.nodes[3]
        saved = chain.folder / 'the "saved" one'
        for i in range(5):  # while blocks are written
            shutil.rmtree(saved, ignore_errors=True)
            told = json.loads(command(node, "backup", "--json", saved))
            assert told["folder"] == str(saved)
            assert told["height"] >= first[-1][1]["height"]
        command(node, "backup", saved, status=5)
        assert "--config" not in command(node, "restore", saved, status=12)  # it runs
        enough.set()
        thread.join()
        assert not error
        assert not list(saved.rglob("*vote*")) and not list(saved.rglob("*key*"))
        manifest = json.loads((saved / "backup.json").read_text())
        assert manifest["height"] == told["height"] and manifest["chain_id"] == chain.id.hex()

        node.kill()
        command(node, "restore", saved, status=5)  # the folder is not empty
        shutil.rmtree(node.folder / "data")
        shutil.rmtree(node.folder / "data.restoring")
        text = command(node, "restore", saved)
        assert text.startswith(f"restored to {node.folder}/data: {told['height']} blocks")
        assert "follows without voting until the next epoch" in text
        node.start()
        assert status(node)["votes"] == "no" and status(node)["role"] == "observer"
        with contextlib.closing(node.client()) as client:
            height = status(chain.nodes[0])["height"]
            wait_until(lambda: client.head()["height"] >= height, 30, "it catches up")
            for transaction, receipt in first:
                assert client.submit(transaction) == receipt
        wait_until(lambda: status(node)["key_ready"], 30, "its key is ready")
        assert members.change(operation("remove-observer", "monitor"),
                              client=chain.nodes[0].client())["status"] == 0
        wait_until(lambda: status(node)["votes"] == "yes", 30, "it votes again")
        chain.nodes[1].kill()
        anchors(chain, chain.nodes[0], 2)


def test_a_node_that_is_alone_is_restored_only_if_its_operator_says_so():
    with Chain(1, **QUICK) as chain:
        chain.start()
        node = chain.nodes[0]
        first = anchors(chain, node, 4)
        saved, bad = chain.folder / "saved", chain.folder / "bad"
        command(node, "backup", saved)
        anchors(chain, node, 2)  # given up by what follows
        assert node.stop() == 0
        shutil.rmtree(node.folder / "data")
        shutil.copytree(saved, bad)
        flip(bad / "blocks" / "00000001", 200)
        assert "checksum" in command(node, "restore", bad, status=8)
        shutil.rmtree(node.folder / "data.restoring")
        with open(saved / "blocks" / "00000001", "r+b") as f:
            whole = f.read()
            f.truncate(len(whole) - 1)
        assert "blocks up to" in command(node, "restore", saved, status=8)
        shutil.rmtree(node.folder / "data.restoring")
        (saved / "blocks" / "00000001").write_bytes(whole)
        command(node, "restore", "--alone", saved)
        node.start()
        assert status(node)["votes"] == "yes"
        chain.signers[0].sequence = 5
        anchors(chain, node, 2)
        with contextlib.closing(node.client()) as client:
            for transaction, receipt in first:
                assert client.submit(transaction) == receipt

    with Chain(4) as chain:
        chain.start()
        node = chain.nodes[0]
        anchors(chain, node, 1)
        command(node, "backup", chain.folder / "saved")
        node.kill()
        shutil.rmtree(node.folder / "data")
        assert "found 4 validators" in command(node, "restore", "--alone", chain.folder / "saved",
                                               status=2)


@pytest.fixture(scope="module")
def stopped():
    """A node with some of everything on its disk, ended in order."""
    with Chain(1, **QUICK) as chain:
        chain.start()
        node = chain.nodes[0]
        promised = anchors(chain, node, 18, 4096) # so many that all files are written
        wait_until(lambda: promised.extend(anchors(chain, node, 1, 4096)) or
                   list((node.folder / "data" / "map").iterdir()), 60, "a run of the map")
        assert node.stop() == 0
        node.start()
        promised += anchors(chain, node, 5)
        leaves = status(node)["leaves"]
        assert node.stop() == 0
        shutil.copytree(node.folder / "data", chain.folder / "good")
        yield chain, node, promised, leaves


@pytest.fixture
def data(stopped):
    chain, node, _, _ = stopped
    shutil.rmtree(node.folder / "data")
    shutil.copytree(chain.folder / "good", node.folder / "data")
    return node.folder / "data"


def test_fsck_of_a_whole_folder_finds_nothing_and_of_a_running_node_nothing_either(stopped, data):
    chain, node, promised, leaves = stopped
    before = {p: p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name != "lock"}
    found = fsck(node)
    assert found["findings"] == [] and found["notes"] == []
    assert found["height"] >= 23 and found["leaves"] == leaves
    assert {p: p.read_bytes() for p in before} == before, "it changed something"
    with open(data / "blocks" / "00000001", "ab") as f:
        f.write(b"torn")
    assert fsck(node)["notes"][0].endswith("are no whole block")
    node.start()
    command(node, "fsck", status=12)
    assert node.stop() == 0


@pytest.mark.parametrize("file, part, text", [
    ("blocks/00000001", 0.5, "found checksum"),
    ("blocks/00000001", 0.0, "found no record"),
    ("votes", 0.3, "damaged at byte"),
])
def test_fsck_names_where_a_block_or_a_vote_is_damaged(stopped, data, file, part, text):
    chain, node, promised, leaves = stopped
    flip(data / file, int((data / file).stat().st_size * part))
    found = fsck(node, "--repair", status=8)
    assert [f["file"] for f in found["findings"]] == [file]
    assert not found["findings"][0]["made_anew"] and text in found["findings"][0]["text"]
    assert not found["repaired"]


def test_fsck_names_each_file_with_one_wrong_bit_that_is_made_anew_and_repairs_them(stopped, data):
    chain, node, promised, leaves = stopped
    runs = sorted(data.glob("map/*"), key=lambda p: p.stat().st_size)
    expected = {"heights": "expected segment 1", "places": "expected block",
                "log/00": "expected theirs", "log/05": "expected theirs",
                f"map/{runs[-1].name}": "found that"}
    for file in expected:
        at = int((data / file).stat().st_size * 0.6)
        flip(data / file, at // 32 * 32 + 8)  # no byte of an entry that is not used
    found = fsck(node, status=8)
    assert {f["file"] for f in found["findings"]} == set(expected)
    assert all(f["made_anew"] and expected[f["file"]] in f["text"] for f in found["findings"])
    text = command(node, "fsck", "--repair")
    assert "DAMAGED places: byte" in text and "the next start makes it anew" in text
    node.start()
    with contextlib.closing(node.client()) as client:
        for transaction, receipt in promised:
            assert client.submit(transaction) == receipt
    assert node.stop() == 0
    assert fsck(node)["findings"] == []


def state_entry(database, key, value, new_key=None, new_value=None):
    """Replaces an entry of the state where it stands in LMDB's file: there a value follows its key."""
    data = database.read_bytes()
    assert key + value in data
    database.write_bytes(data.replace(key + value, (new_key or key) + (new_value or value)))


def place_bytes(receipt):
    return struct.pack(">QIBQ", receipt["height"], receipt["index"], receipt["status"],
                       receipt["log_index"])


def state_of(found):
    assert all(f["file"] == "state/" and f["made_anew"] for f in found["findings"])
    return sorted(f["text"] for f in found["findings"])


def test_fsck_names_what_the_state_has_otherwise_than_the_blocks_make_it(stopped, data):
    chain, node, promised, leaves = stopped
    database = data / "state" / "data.mdb"
    (first, one), (second, two), (third, three) = sorted(promised[1:4],
                                                         key=lambda p: transaction_id(p[0]))
    key = b"T" + transaction_id(first)
    state_entry(database, key, place_bytes(one), new_value=place_bytes({**one, "status": 1}))
    other = b"T" + transaction_id(second)  # one that is not there but as another
    state_entry(database, other, place_bytes(two), new_key=other[:-1] + bytes([other[-1] ^ 1]))
    owner, raw = b"S" + chain.signers[0].public, database.read_bytes()
    counts = {struct.unpack_from(">QQQ", raw, m.end()) for m in re.finditer(re.escape(owner), raw)}
    for sequence, records, versions in sorted(counts):  # the last one; what it was before stands there, too
        assert records == versions >= 4096
        state_entry(database, owner, struct.pack(">QQQ", sequence, records, versions),
                    new_value=struct.pack(">QQQ", sequence, records - 1, versions))
    anchor = (b"A" + struct.pack(">QI", three["height"], three["index"])).ljust(33, b"\0")
    state_entry(database, anchor, transaction_id(third), new_value=bytes(32))
    kept = {p: p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name != "lock"}
    told = state_of(fsck(node, status=8))
    assert [t.split(":")[0] for t in told] == ["anchors", "submitters", "transactions"]
    assert told[0].endswith("id: found another, expected that of the blocks")
    assert told[1].endswith(f"records: found {records - 1}, expected {records}")
    assert ": 1 entries are not as the blocks make them, 1 are missing, 1 are too many;" in told[2]
    assert told[2].endswith(f"the first, {key[1:9].hex()}: status: found 1, expected 0")
    assert {p: p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name != "lock"} == kept


@pytest.mark.parametrize("byte", [0, 255])
def test_fsck_outlives_a_state_whose_pages_are_damaged(stopped, data, byte, monkeypatch):
    chain, node, promised, leaves = stopped
    # The reader of the pages may crash; the thread sanitizer is to say nothing of that.
    monkeypatch.setenv("TSAN_OPTIONS", os.environ.get("TSAN_OPTIONS", "")
                       + ":handle_segv=0:handle_sigbus=0")
    database = data / "state" / "data.mdb"
    pages = database.read_bytes()
    database.write_bytes(pages[:2 * 4096] + bytes([byte]) * (len(pages) - 2 * 4096))
    told = state_of(fsck(node, status=8))
    assert told and all("found" in t or "cannot be read" in t for t in told)
    database.write_bytes(bytes([byte]) * len(pages))  # the first pages, too
    assert len(state_of(fsck(node, status=8))) == 1
    shutil.rmtree(data / "state")
    assert fsck(node)["notes"] == ["state/: there is none; the next start makes it"]


def crc32c(data):
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
        table.append(i)
    crc = 0xffffffff
    for b in data:
        crc = crc >> 8 ^ table[(crc ^ b) & 0xff]
    return crc ^ 0xffffffff


def test_fsck_finds_what_is_certified_and_yet_invalid(stopped, data):
    """The last block anew, with a transaction that its submitter did not sign: by whoever has the key."""
    chain, node, promised, leaves = stopped
    segment = data / "blocks" / "00000001"
    raw = segment.read_bytes()
    last = raw.rindex(b"RBLK")
    block_len, certificate_len, height, synced = struct.unpack_from(">IIQQ", raw, last + 4)
    block = raw[last + 32:last + 32 + block_len]
    certificate = raw[last + 32 + block_len:last + 32 + block_len + certificate_len]
    header = list(HEADER.unpack(block[:HEADER.size]))
    assert header[8] == 1, "it has one transaction"
    status, transaction = block[HEADER.size:HEADER.size + 1], block[HEADER.size + 5:]
    transaction = transaction[:-1] + bytes([transaction[-1] ^ 1])
    header[10] = merkle_root([sha(b"\0", transaction_id(transaction), transaction[-64:], status)])
    head = HEADER.pack(*header)
    digest = sha(b"renkei/block/1\n", head)
    epoch_view_height = certificate[2:26]
    statement = sha(b"renkei/vote/1\n", chain.id, certificate[2:10], b"\x03", certificate[10:26],
                    digest)
    certificate = (certificate[:2] + epoch_view_height + digest + b"\0\x01\0\0"
                   + chain.votes[0].sign(statement))
    record = struct.pack(">4sIIQQ", b"RBLK", block_len, len(certificate), height, synced)
    body = head + status + u32bytes(transaction) + certificate
    segment.write_bytes(raw[:last] + record + struct.pack(">I", crc32c(record + body)) + body)
    found = fsck(node, "--repair", status=8)
    assert [(f["file"], f["made_anew"]) for f in found["findings"]] == [("blocks/00000001", False)]
    assert found["findings"][0]["text"].startswith(f"block {height}: ")
    assert "signature" in found["findings"][0]["text"] and not found["repaired"]
