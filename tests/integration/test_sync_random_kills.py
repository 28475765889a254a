"""Random kills of worker, gateway and node while rows are inserted, changed and deleted; afterwards
the chain, read by a client that shares no code with ours, holds the table: each row once.

RENKEI_KILL_ROUNDS and RENKEI_KILL_SEED choose how many and which."""

import hashlib
import json
import os
import pathlib
import random
import shutil
import struct
import tempfile
import time

from tests.harness.gateways import Chain, Refused, wait_until
from tests.harness.ledger import Client, Reader, sha
from tests.harness.patient import Key, Patient
from tests.harness.sources import MySQLSource

ROUNDS = int(os.environ.get("RENKEI_KILL_ROUNDS", "6"))
SEED = int(os.environ.get("RENKEI_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
ROWS = 6000
PATIENTS = 50
SEEN = "2011-03-24 00:00:00"
NOTES = [text.encode("cp932") for text in ("経過良好", "ソ表十 ①㈱髙﨑", "ﾊﾝｶｸ", "2回目")]
CREATE, MODIFY, DELETE = 1, 2, 3


def change_rows(source, rng, live, numbers):
    """A few inserts, updates and deletions, in the table and in our picture of it."""
    added = []
    for _ in range(20):
        no = next(numbers)
        live[no] = rng.choice(NOTES)
        added.append((no, f"p{no % PATIENTS}", live[no], "drug", SEEN))
    source.insert(added)
    for no in rng.sample(sorted(live), 10):
        live[no] = rng.choice(NOTES) + str(no).encode()
        source.set_note(no, live[no])
    for no in rng.sample(sorted(live), 5):
        del live[no]
        source.delete(no)


def workers_of(pid):
    """The gateway's children."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def kill_one(hospital, victim):
    if victim == "worker":
        for pid in workers_of(hospital.gateway_program.process.pid):
            os.kill(pid, 9)
    if victim in ("gateway", "both"):
        hospital.gateway_program.kill()
    if victim in ("node", "both"):
        hospital.node_program.kill()


def restart(chain, hospital):
    if not hospital.node_program.alive():
        hospital.start_node()
        hospital.wait_node()
    if not hospital.gateway_program.alive():
        hospital.start_gateway()
        hospital.wait_gateway()


def anchored_leaves(client):
    """(operation, locator, version, previous, content) of every leaf that took effect, in order."""
    for height in range(1, client.head()["height"] + 1):
        _, entries, _, _ = client.block(height)
        for transaction, status in entries:
            if struct.unpack(">H", transaction[2:4])[0] == 1 and status == 0:
                yield from leaves_of(Reader(transaction[84:-66]).bytes())


def leaves_of(body):
    r = Reader(body)
    r.raw(1 + 32 + 8)
    r.bytes()
    mappings = [r.raw(32) for _ in range(r.int(4))]
    count = r.int(4)
    r.raw(32)
    for _ in range(count):
        flags, mapping, locator = r.int(1), mappings[r.int(1)], r.raw(16)
        version, previous = (r.int(4), r.raw(32)) if flags & 8 else (1, bytes(32))
        operation = flags & 3
        content, raw = (r.raw(32), r.raw(32)) if operation != DELETE else (bytes(32), bytes(32))
        leaf = (struct.pack(">BBBBI", 1, 1, operation, 2 if flags & 4 else 1, version) + locator
                + previous + content + raw + mapping + bytes(48))
        yield operation, locator, version, previous, content, sha(b"\0", leaf)


def check_chain(client):
    """Every record's versions follow one another; the digests of those that are live."""
    latest = {}
    for operation, locator, version, previous, content, leaf in anchored_leaves(client):
        before = latest.get(locator)
        assert version == (before["version"] + 1 if before else 1)
        assert previous == (before["leaf"] if before else bytes(32))
        assert (operation == CREATE) == (before is None or before["operation"] == DELETE)
        latest[locator] = {"version": version, "leaf": leaf, "operation": operation,
                           "content": content}
    return {v["content"] for v in latest.values() if v["operation"] != DELETE}


def check_records(records, live, patient, contents):
    """A patient's document is the table's rows, and each one's digest is on the chain."""
    shown = {}
    for address, record in records.items():
        if record["history"][0]["operation"] == "delete":
            continue
        assert record["verdict"] == "match", address
        document = {"address": address, "category": record["category"], "fields": record["fields"]}
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(b"renkei/content/1\n" + bytes.fromhex(record["history"][0]["r"])
                                + canonical.encode()).digest()
        assert digest in contents, address
        shown[int(address.rpartition("/")[2])] = record["fields"]["note"].encode("cp932")
    assert shown == {no: note for no, note in live.items() if no % PATIENTS == patient}


def run_rounds(chain, hospital, source, rng, live, numbers):
    for _ in range(ROUNDS):
        try:
            hospital.admin("POST", "/admin/v1/sync", {})
        except Exception as error:  # noqa: BLE001 (whatever it is, the seed must be seen with it)
            raise AssertionError(f"seed {SEED}") from error
        change_rows(source, rng, live, numbers)
        time.sleep(rng.random() * 0.3)  # the moment of the kill is what is drawn, nothing waits
        kill_one(hospital, rng.choice(["worker", "gateway", "node", "both"]))
        change_rows(source, rng, live, numbers)
        restart(chain, hospital)


def sync_to_the_end(hospital):
    def done():
        try:
            hospital.sync()
            return True
        except Refused:  # a worker that was killed costs a pass
            return False
    wait_until(done, "a whole pass", 120)


def test_after_random_kills_the_chain_is_the_table():
    rng = random.Random(SEED)
    print(f"RENKEI_KILL_SEED={SEED}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-kills-"))
    folder.chmod(0o755)
    source = MySQLSource(folder / "mysql").start()
    chain = Chain(["clinic"], folder=folder / "chain")
    hospital = chain["clinic"]
    live = {no: NOTES[no % 4] for no in range(ROWS)}
    numbers = iter(range(ROWS, 1 << 30))
    try:
        source.insert([(no, f"p{no % PATIENTS}", note, "drug", SEEN)
                       for no, note in live.items()])
        chain.init()
        hospital.add_source(source.mapping())
        chain.start()
        run_rounds(chain, hospital, source, rng, live, numbers)
        sync_to_the_end(hospital)
        client = Client(hospital.folder / "node/node.sock", hospital.folder / "node/genesis.json")
        contents = check_chain(client)
        client.close()
        assert len(contents) == len(live), f"seed {SEED}"
        for patient in (3, 17):
            key = Key()
            hospital.enrol(f"p{patient}", key)
            check_records(Patient(key, hospital).records(), live, patient, contents)
        chain.__exit__(None)
    finally:
        for each in chain:
            each.kill()
        source.db.close()
        shutil.rmtree(folder, ignore_errors=True)
