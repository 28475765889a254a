"""Random kills of worker, gateway, nodes and database server while rows are inserted, changed and
deleted and passes of every mode go on; afterwards the chain, read by a client that shares no code
with ours, holds the table: each row once, each version after the one before it.

On a chain of one node everything waits for it. On one of four the gateway goes on by another node's
socket: one that was killed often stays away until the next kill.

What the table must hold is known to the writer: each of its transactions also writes its number, so
that after a crash of the server it finds out whether the one in doubt was committed.

RENKEI_KILLS and RENKEI_KILL_SEED choose how many and which; the long run is made of slices of
different seeds: RENKEI_KILLS=100 RENKEI_KILL_SEED=7 pytest ... -k mysql-4."""

import collections
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

from tests.harness.gateways import Chain, Refused, wait_until
from tests.harness.ledger import Client, Reader, sha
from tests.harness.patient import Key, Patient
from tests.harness.sources import KINDS

LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
KILLS = int(os.environ.get("RENKEI_KILLS", "500" if LONG else "10"))
SEED = int(os.environ.get("RENKEI_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
KILLS_BETWEEN_CHECKS = 50
ROWS = 1500
PATIENTS = 10
SERVER_BACK_S_MAX = 300
NOTES = [text.encode("cp932") for text in ("経過良好", "ソ表十 ①㈱髙﨑", "ﾊﾝｶｸ", "2回目")]
VICTIMS = {1: ["worker", "gateway", "node", "server", "session", "gateway and node",
               "server and gateway", "everything"],
           4: ["worker", "gateway", "node", "another node", "two nodes", "server", "session",
               "gateway and node", "gateway and another node", "server and gateway", "everything"]}
# The ordinary run takes a slice of two of the four.
CASES = [("mysql", 4), ("postgresql", 1), ("mysql", 1), ("postgresql", 4)]
CASES = CASES if LONG or "RENKEI_KILLS" in os.environ else CASES[:2]
CREATE, MODIFY, DELETE = 1, 2, 3


# --- the writer -----------------------------------------------------------------------------------

class Shell:
    """The database's own client, kept open; a statement's answer is its last line."""

    def __init__(self, source):
        db = source.db
        if source.connector == "mysql":
            command = ["mariadb", "--no-defaults", f"--socket={db.socket}", "--user=root",
                       "--batch", "--raw", "--skip-column-names", "--unbuffered", "--skip-reconnect",
                       "--binary-mode", "--default-character-set=utf8mb4", "emr"]
        else:
            command = [db.program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h",
                       db.socket, "-p", str(db.port), "-U", "postgres", "-d", "emr"]
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PGCLIENTENCODING": "SQL_ASCII", "PGCONNECT_TIMEOUT": "5"})

    def ask(self, statements):
        """The last line that these statements print; None where the server is gone."""
        try:
            self.process.stdin.write((statements + " SELECT 'END';\n").encode())
            self.process.stdin.flush()
            last = b""
            for line in self.process.stdout:
                if line == b"END\n":
                    return last.rstrip(b"\n").decode()
                last = line
        except OSError:
            pass
        return None

    def close(self):
        self.process.kill()
        self.process.communicate()


class Writer(threading.Thread):
    """Inserts, changes and deletes until it is stopped, and knows what was committed."""

    def __init__(self, source, seed, live):
        super().__init__(daemon=True)
        self.source, self.rng, self.live = source, random.Random(seed), live
        self.next_no, self.number = ROWS, 0
        self.stopping, self.error, self.in_doubt = threading.Event(), None, 0
        self.done = collections.Counter()

    def run(self):
        shell = None
        try:
            while not self.stopping.is_set():
                after, text, kinds = self.draw()
                shell = shell or Shell(self.source)
                if shell.ask(f"BEGIN; {text} INSERT INTO written VALUES ({self.number}); COMMIT;") \
                        is None:
                    shell.close()
                    shell = None
                    if not self.was_committed():
                        continue
                self.live = after
                self.done.update(kinds)
                self.stopping.wait(self.rng.random() * 0.01)
        except Exception as error:  # noqa: BLE001 (shown by who stops us)
            self.error = error
        finally:
            if shell:
                shell.close()

    def was_committed(self):
        """Asked of a server that is back: the transaction in doubt is there, or it never will be.

        PostgreSQL's processes outlive the one that was killed, and until the last of them is gone no new
        server starts: one that is still letting a client in may take its minute for that."""
        self.in_doubt += 1
        deadline = time.monotonic() + SERVER_BACK_S_MAX
        while time.monotonic() < deadline:
            shell = Shell(self.source)
            found = shell.ask(f"SELECT count(*) FROM written WHERE n = {self.number};")
            shell.close()
            if found is not None:
                return found == "1"
            time.sleep(0.02)
        raise TimeoutError("the server did not come back")

    def draw(self):
        """The next transaction: the table after it, its statements and what they do."""
        self.number += 1
        after, kinds, text = dict(self.live), [], ""
        seen = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1300000000 + self.number))
        for _ in range(self.rng.randrange(1, 6)):
            kind = self.rng.choice(["insert", "update", "update", "delete"])
            if kind == "insert" or len(after) < ROWS // 2:
                kind, no, self.next_no = "insert", self.next_no, self.next_no + 1
                after[no] = self.rng.choice(NOTES)
                text += (f"INSERT INTO records VALUES ({no}, 'p{no % PATIENTS}', "
                         f"{self.source.text(after[no])}, 'drug', '{seen}'); ")
            elif kind == "update":
                no = self.rng.choice(list(after))
                after[no] = self.rng.choice(NOTES) + str(self.number).encode()
                text += (f"UPDATE records SET note = {self.source.text(after[no])}, "
                         f"seen = '{seen}' WHERE record_no = {no}; ")
            else:
                no = self.rng.choice(list(after))
                del after[no]
                text += f"DELETE FROM records WHERE record_no = {no}; "
            kinds.append(kind)
        return after, text, kinds

    def stop(self):
        self.stopping.set()
        self.join(SERVER_BACK_S_MAX + 60)
        assert not self.is_alive()
        if self.error:
            raise self.error


# --- passes and kills -----------------------------------------------------------------------------

class Admin:
    """The administration socket, asked without a process for each call."""

    def __init__(self, hospital):
        self.path = str(hospital.folder / "admin.sock")

    def call(self, method, path, body=None):
        """(status, JSON), or None where nobody answers."""
        connection = http.client.HTTPConnection("gateway", timeout=20)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(20)
            connection.sock.connect(self.path)
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def progress(self):
        answer = self.call("GET", "/admin/v1/sync")
        return answer[1]["sources"][0]["progress"] if answer and answer[0] == 200 else None


class Passes(threading.Thread):
    """Asks for one pass after another, in every mode."""

    def __init__(self, hospital, seed):
        super().__init__(daemon=True)
        self.admin, self.rng, self.stopping = Admin(hospital), random.Random(seed), threading.Event()
        self.started = collections.Counter()

    def run(self):
        while not self.stopping.is_set():
            mode = self.rng.choice(["full", "full", "watermark", "keys"])
            answer = self.admin.call("POST", "/admin/v1/sync", {"mode": mode})
            if answer and answer[0] == 202:
                self.started[mode] += 1
            self.stopping.wait(0.01)

    def stop(self):
        self.stopping.set()
        self.join(60)


def children_of(pid):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def kill_server(source):
    """As a power cut of the database's machine would: PostgreSQL's processes are a group."""
    os.killpg(source.db.process.pid, signal.SIGKILL)
    source.db.kill()


def kill_session(source):
    """The server's end of a session of ours: PostgreSQL starts anew after a backend's SIGKILL."""
    if source.connector == "mysql":
        shell = Shell(source)
        shell.ask("SELECT concat('KILL ', id) INTO @k FROM information_schema.processlist WHERE "
                  "user = 'renkei' LIMIT 1; SET @k = coalesce(@k, 'DO 0'); EXECUTE IMMEDIATE @k;")
        shell.close()
        return
    for pid in children_of(source.db.process.pid):
        with contextlib.suppress(OSError):  # it may have ended since
            if b"postgres: renkei" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                return


def nodes_of(chain, victim, rng):
    """The hospitals whose nodes this kill takes: the gateway's own stands first."""
    own, *others = chain
    if victim == "everything":
        return [own, *others]
    if victim == "two nodes":
        return rng.sample([own, *others], 2)
    if "another node" in victim:
        return [rng.choice(others)]
    return [own] if "node" in victim else []


def kill(chain, source, victim, rng):
    hospital = chain["clinic"]
    if victim == "worker":
        for pid in children_of(hospital.gateway_program.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if victim == "session":
        kill_session(source)
    if "gateway" in victim or victim == "everything":
        hospital.gateway_program.kill()
    for member in nodes_of(chain, victim, rng):
        member.node_program.kill()
    if "server" in victim or victim == "everything":
        kill_server(source)


def restart(chain, source, away=None):
    """In no order: each must wait for the others by itself. away: whose node stays as it is."""
    hospital = chain["clinic"]
    if not hospital.gateway_program.alive():
        hospital.start_gateway()
    if source.db.process is None:
        source.db.start()
    for member in chain:
        if member is not away and not member.node_program.alive():
            member.start_node()
            member.wait_node()
    hospital.wait_gateway()


def kill_and_restart(chain, source, rng, met):
    """One kill, in a moment of a pass that is drawn; which state it met is counted."""
    admin, nodes = Admin(chain["clinic"]), len(list(chain))
    victim = rng.choice(VICTIMS[nodes])

    def running():
        progress = admin.progress()
        return progress and progress["state"] in ("queued", "reading", "anchoring") and progress
    wait_until(running, "a pass to be killed")
    time.sleep(rng.random() * 0.12)  # the moment of the kill is what is drawn, nothing waits
    progress = admin.progress() or {}
    kill(chain, source, victim, rng)
    met[f"{victim} while {progress.get('state')}"] += 1
    # A quorum is there without one of four, and the gateway must do with it.
    dead = [member for member in chain if not member.node_program.alive()]
    away = rng.choice(dead) if nodes > 1 and dead and rng.random() < 0.7 else None
    restart(chain, source, away)
    met["a node stays away"] += away is not None


# --- the check ------------------------------------------------------------------------------------

def anchored_leaves(client):
    """(operation, locator, version, previous, content, hash) of every leaf that took effect."""
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


def check_records(records, contents):
    """A patient's live records by number; each one's digest is on the chain."""
    shown = {}
    for address, record in records.items():
        if record["history"][0]["operation"] == "delete":
            continue
        assert record["verdict"] == "match", (address, record.get("error"))
        document = {"address": address, "category": record["category"], "fields": record["fields"]}
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(b"renkei/content/1\n" + bytes.fromhex(record["history"][0]["r"])
                                + canonical.encode()).digest()
        assert digest in contents, address
        shown[int(address.rpartition("/")[2])] = record["fields"]["note"].encode("cp932")
    return shown


def table_of(source):
    """The table as the server's own client reads it."""
    as_hex = ("hex(note)" if source.connector == "mysql"
              else "encode(convert_to(note, 'SQL_ASCII'), 'hex')")
    return {int(no): bytes.fromhex(note.decode())
            for no, note in source.run(f"SELECT record_no, {as_hex} FROM records")}


def sync_to_the_end(hospital):
    refused = []

    def done():
        try:
            hospital.sync()
            return True
        except Refused as error:  # a worker that was killed costs a pass
            refused.append(str(error))
            return False
    try:
        wait_until(done, "a whole pass", 120)
    except TimeoutError as error:
        raise AssertionError(refused[-1]) from error


def check_all(chain, source, live, keys):
    """Nothing is missing, nothing is there twice, and nothing else is there."""
    hospital = chain["clinic"]
    sync_to_the_end(hospital)
    wait_until(lambda: len({m.node_status()["height"] for m in chain}) == 1, "equal heights")
    assert table_of(source) == live, "the server lost or invented a transaction"
    client = Client(hospital.folder / "node/node.sock", hospital.folder / "node/genesis.json")
    contents = check_chain(client)
    client.close()
    assert len(contents) == len(live)
    shown = {}
    for key in keys:
        shown.update(check_records(Patient(key, hospital).records(), contents))
    assert shown == live
    status = hospital.status()
    assert status["pending"] == 0
    assert status["sources"][0]["tables"][0]["records"] == len(live)
    assert status["sources"][0]["tables"][0]["quarantined"] == 0


# --- the test -------------------------------------------------------------------------------------

def run_kills(chain, source, rng, live, kills, met):
    writer = Writer(source, rng.random(), live)
    passes = Passes(chain["clinic"], rng.random())
    writer.next_no = max(live) + 1
    writer.number = int(source.run("SELECT coalesce(max(n), 0) FROM written")[0][0])
    writer.start()
    passes.start()
    try:
        for _ in range(kills):
            kill_and_restart(chain, source, rng, met)
    finally:
        passes.stop()
        writer.stop()
    restart(chain, source)
    met["transactions in doubt"] += writer.in_doubt
    met.update({f"rows: {kind}": count for kind, count in writer.done.items()})
    met.update({f"passes: {mode}": count for mode, count in passes.started.items()})
    return writer.live


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def clinic(request):
    kind, nodes = request.param
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-kills-"))
    folder.chmod(0o755)
    source = KINDS[kind](folder / "server").start()
    chain = Chain(["clinic"], [f"node-{i}" for i in range(1, nodes)], folder / "chain").init()
    hospital = chain["clinic"]
    try:
        source.run("CREATE TABLE written (n INT PRIMARY KEY)")
        source.insert([(no, f"p{no % PATIENTS}", NOTES[no % 4], "drug", "2011-03-01 00:00:00")
                       for no in range(ROWS)])
        mapping = source.mapping().replace("    date: seen\n",
                                           "    date: seen\n    watermark: seen\n")
        # Passes are cut so often that many deletions may wait for one.
        hospital.add_source(mapping, "    deletions_percent_max: 100\n")
        others = ", ".join(str(h.folder / "node/node.sock") for h in chain if h is not hospital)
        with open(hospital.folder / "gateway.yaml", "a") as config:
            config.write(f"more_node_sockets: [{others}]\n" if others else "")
        chain.start()
        yield chain, source
    finally:
        for member in chain:
            member.kill()
        source.db.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_after_random_kills_the_chain_is_the_table(clinic):
    chain, source = clinic
    hospital = chain["clinic"]
    rng = random.Random(f"{SEED} {source.connector} {len(list(chain))}")
    print(f"RENKEI_KILL_SEED={SEED} RENKEI_KILLS={KILLS}")
    live = {no: NOTES[no % 4] for no in range(ROWS)}
    keys = [Key() for _ in range(PATIENTS)]
    for patient, key in enumerate(keys):
        hospital.enrol(f"p{patient}", key)
    met, done, started = collections.Counter(), 0, time.monotonic()
    while done < KILLS:
        kills = min(KILLS - done, KILLS_BETWEEN_CHECKS)
        live = run_kills(chain, source, rng, live, kills, met)
        check_all(chain, source, live, keys)
        done += kills
        print(f"{source.connector}, {len(list(chain))} nodes: {done} kills, {len(live)} rows, "
              f"{time.monotonic() - started:.0f} s, chain is the table")
    for what in sorted(met):
        print(f"  {what}: {met[what]}")
    assert {status for member in chain for status in member.end()} <= {0, None}
