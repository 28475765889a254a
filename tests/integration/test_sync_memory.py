"""What worker and gateway hold in memory does not grow with a table's rows.

The table is a view over MariaDB's SEQUENCE engine, so that ten million rows take no disk. Measured
is what the kernel counts: VmHWM, the most that was ever resident, which holds the pages of the
vault's file that were mapped at that moment too; and RssAnon beside it, sampled.

RENKEI_TEST_LONG=1 reads ten million rows (RENKEI_MEMORY_ROWS chooses), the ordinary run compares two
small tables."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import threading
import time

import pytest

from tests.harness.databases import MariaDB
from tests.harness.gateways import Chain, wait_until
from tests.harness.sources import PASSWORD

LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
SANITIZED = "ASAN_OPTIONS" in os.environ
ROWS = int(os.environ.get("RENKEI_MEMORY_ROWS",
                          "10000000" if LONG else "40000" if SANITIZED else "200000"))
WORKER_MIB_MAX, GATEWAY_MIB_MAX = 64, 128
PASS_S_MAX = 4 * 3600 if LONG else 600
MAPPING = """\
source: big
connector: mysql
connection:
  socket: "{socket}"
  user: renkei
  password_file: "{password_file}"
  database: emr
tables:
  - table: visits
    category: EMR05
    key: [visit_no]
    patient: patient
"""
# Record numbers are not in the order of their keys: a hash spreads them, as hospitals' ids are.
VIEW = """CREATE OR REPLACE VIEW visits AS SELECT seq AS visit_no,
    concat('p', crc32(seq) MOD {patients}) AS patient, _utf8mb4'経過良好' AS note,
    'drug' AS drug FROM seq_1_to_{rows}"""


def memory_of(pid):
    """What /proc says of a process, in MiB."""
    words = pathlib.Path(f"/proc/{pid}/status").read_text().split("\n")
    return {name: int(value.split()[0]) / 1024 for name, _, value in
            (line.partition(":") for line in words) if name.startswith(("VmHWM", "Rss"))}


def workers_of(pid):
    found = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended since
            found += [int(child) for child in path.read_text().split()]
    return found


class Watch(threading.Thread):
    """Samples a gateway and its worker until it is stopped: the most of each measure."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.stopping = gateway, threading.Event()
        self.most = {"gateway": {}, "worker": {}}

    def look(self, who, pid):
        try:
            for name, value in memory_of(pid).items():
                self.most[who][name] = max(self.most[who].get(name, 0), value)
        except OSError:
            pass  # it ended

    def run(self):
        while not self.stopping.wait(0.05):
            self.look("gateway", self.gateway)
            for pid in workers_of(self.gateway):
                self.look("worker", pid)

    def stop(self):
        self.stopping.set()
        self.join(10)
        return self.most


@pytest.fixture
def clinic():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-memory-"))
    folder.chmod(0o755)
    db = MariaDB(folder / "server").start()
    hospital = Chain(["clinic"], folder=folder / "chain").init()["clinic"]
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o600)
    try:
        db.sql("CREATE DATABASE emr CHARACTER SET utf8mb4")
        db.sql(VIEW.format(rows=10, patients=10), "emr")
        db.user("renkei", PASSWORD, "emr")
        hospital.add_source(MAPPING.format(socket=db.socket, password_file=password_file))
        hospital.start_node()
        hospital.wait_node()
        hospital.start_gateway()
        hospital.wait_gateway()
        yield hospital, db
        assert set(hospital.end()) == {0}
    finally:
        hospital.kill()
        db.close()
        shutil.rmtree(folder, ignore_errors=True)


def run_pass(hospital):
    assert hospital.admin("POST", "/admin/v1/sync", {"mode": "full"})[0] == 202
    answer = wait_until(
        lambda: (lambda a: not a["running"] and a)(hospital.admin("GET", "/admin/v1/sync")[1]),
        "the end of the pass", PASS_S_MAX)
    progress = answer["sources"][0]["progress"]
    assert progress["state"] == "done", progress
    return progress["counts"]


def peaks(hospital, db, rows, name):
    """Two passes over a table of so many rows; the peaks of each."""
    db.sql(VIEW.format(rows=rows, patients=max(rows // 20, 1)), "emr")
    found = {}
    for which in ("first", "second"):
        watch, began = Watch(hospital.gateway_program.process.pid), time.monotonic()
        watch.start()
        counts = run_pass(hospital)
        found[which] = watch.stop()
        seconds = time.monotonic() - began
        print(f"{name} {rows} rows, {which} pass, {seconds:.0f} s ({rows / seconds:.0f} rows/s): "
              + "; ".join(f"{who} " + ", ".join(f"{k} {v:.1f} MiB" for k, v in most.items())
                          for who, most in found[which].items()), flush=True)
        assert counts["read"] == rows
    assert counts["unchanged"] == rows
    return found


def test_memory_does_not_grow_with_the_rows(clinic):
    hospital, db = clinic
    small = peaks(hospital, db, ROWS // 10, "a tenth:")
    large = peaks(hospital, db, ROWS, "all:")
    if SANITIZED:  # its own memory is counted too, and freed memory is kept back for a while
        return
    for which in ("first", "second"):
        assert large[which]["worker"]["VmHWM"] < WORKER_MIB_MAX
        assert large[which]["gateway"]["VmHWM"] < GATEWAY_MIB_MAX
    assert large["second"]["worker"]["RssAnon"] < small["second"]["worker"]["RssAnon"] + 8
