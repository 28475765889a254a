"""The worker process, from the gateway's side, on a real MariaDB: the salt exchange, retrieval, and
everything that may die under it."""

import hashlib
import json
import os
import signal
import threading
import time

import pytest

from tests.conformance.targets import PASSWORD
from tests.conformance.worker import PATIENCE, Worker, WorkerError
from tests.harness.databases import MariaDB

BIG_ROWS = 30000
MARKER = "zaboon-marker-42"


@pytest.fixture(scope="module")
def db():
    with MariaDB() as server:
        server.sql("CREATE DATABASE emr CHARACTER SET cp932")
        server.user("renkei", PASSWORD, "emr")
        server.sql(f"""
            CREATE TABLE visits (no INT PRIMARY KEY, pid VARCHAR(20), name VARCHAR(40),
                                 at DATETIME, w INT) ENGINE=InnoDB;
            CREATE TABLE big (no INT PRIMARY KEY, v VARCHAR(100)) ENGINE=InnoDB;
            INSERT INTO big SELECT seq, REPEAT('w', 80) FROM seq_1_to_{BIG_ROWS};
            CREATE TABLE old (a INT, b VARCHAR(10), v VARCHAR(200), PRIMARY KEY (a, b))
                ENGINE=MyISAM;
            INSERT INTO old SELECT seq DIV 10, seq MOD 10, REPEAT('x', 150) FROM seq_1_to_50000;
            CREATE TABLE spoiled (no INT PRIMARY KEY, v VARCHAR(40) CHARACTER SET latin1);
            INSERT INTO spoiled VALUES (1, 'good'), (2, _latin1 X'8220'), (3, 'good too')""", "emr")
        (server.folder / "password").write_text(PASSWORD + "\n")
        yield server


@pytest.fixture
def visits(db):
    db.sql("TRUNCATE visits; INSERT INTO visits VALUES"
           " (1, 'p1', _cp932 X'8740FBFC', '2011-03-24 10:11:12', 5),"
           " (2, 'p2', _cp932 X'835C955C', '2010-08-06 00:00:00', 7),"
           f" (3, 'p1', '{MARKER}', NULL, 9)", "emr")


def write_mapping(db, connection=None, environment=""):
    connection = connection or {"socket": db.socket, "user": "renkei", "database": "emr",
                                "password_file": db.folder / "password"}
    path = db.folder / "mapping.yaml"
    path.write_text("source: main\nconnector: mysql\nconnection:\n" +
                    "".join(f"  {k}: {v}\n" for k, v in connection.items()) + environment +
                    "tables:\n"
                    "  - {table: visits, category: EMR03, key: [no], patient: pid, date: at,"
                    " watermark: w}\n"
                    "  - {table: big, category: EMR04, key: [no]}\n"
                    "  - {table: old, category: EMR05, key: [a, b]}\n"
                    "  - {table: stamped, category: EMR05, key: [no], watermark: at}\n"
                    "  - {table: spoiled, category: EMR06, key: [no],"
                    " fields: [{column: v, charset: cp932}]}\n")
    return path


@pytest.fixture
def worker(db, visits):
    with Worker(write_mapping(db)) as w:
        yield w


def test_rows_are_new_then_the_same_then_changed(db, worker):
    rows, totals = worker.pull("visits")
    assert [row["row"] for row in rows] == ["new"] * 3 and totals["new"] == 3
    assert rows[0]["address"] == "renkei://h1/main/visits/1" and rows[0]["date"] == "2011/03/24"
    assert rows[1]["patient"] == "p2" and totals["watermark"] == "9"
    rows, totals = worker.pull("visits")
    assert [row["row"] for row in rows] == ["same"] * 3 and totals["same"] == 3
    # A time of day, which the shown form drops: only the raw digest sees it.
    db.sql("UPDATE visits SET at = '2010-08-06 00:00:01' WHERE no = 2;"
           "UPDATE visits SET name = 'x' WHERE no = 1; DELETE FROM visits WHERE no = 3;"
           "INSERT INTO visits (no, pid) VALUES (4, 'p4')", "emr")
    rows, totals = worker.pull("visits")
    seen = {row["key"]: (row["row"], row["content_changed"], row["raw_changed"]) for row in rows}
    assert seen == {"1": ("changed", True, True), "2": ("changed", False, True),
                    "4": ("new", False, False)}


def test_a_digest_is_what_sha256sum_says(worker):
    worker.pull("visits")
    for row in worker.fetch("visits", "1", "2", "3"):
        assert row["match"]
        r = bytes.fromhex(row["r"])
        digest = hashlib.sha256(b"renkei/content/1\n" + r + row["document"].encode()).hexdigest()
        assert digest == row["content"]


def test_fetch_finds_what_is_there(worker):
    worker.pull("visits")
    found = worker.fetch("visits", "2", "99", "1")
    assert [row["found"] for row in found] == [True, False, True]
    assert json.loads(found[0]["document"])["fields"]["name"] == "ソ表"
    with pytest.raises(WorkerError) as error:
        worker.fetch("visits", "1", "1")
    assert error.value.name == "bad-request"
    with pytest.raises(WorkerError) as error:
        worker.fetch("visits", "1,2")
    assert error.value.name == "bad-request"


def test_a_patients_rows(worker):
    assert [row["key"] for row in worker.patient("visits", "p1")] == ["1", "3"]
    assert worker.patient("visits", "P1") == []  # equal to the collation, not the same patient
    with pytest.raises(WorkerError) as error:
        worker.patient("visits", "p1", 1)
    assert error.value.name == "limit"


def test_keys_and_watermark_modes(worker):
    rows, totals = worker.pull("visits", "keys")
    assert [row["key"] for row in rows] == ["1", "2", "3"] and totals["new"] == 0
    rows, _ = worker.pull("visits", "watermark", "7")
    assert [row["key"] for row in rows] == ["2", "3"]


def test_a_date_that_is_yet_to_come_is_no_watermark(db, worker):
    db.sql("CREATE TABLE stamped (no int PRIMARY KEY, at datetime);"
           "INSERT INTO stamped VALUES (1, '2020-05-01 10:00:00'), (2, '9999-12-31 00:00:00')", "emr")
    assert worker.pull("stamped")[1]["watermark"] == "2020-05-01 10:00:00"


def test_a_row_that_cannot_be_read_blocks_no_other(worker):
    rows, totals = worker.pull("spoiled")
    assert [row["row"] for row in rows] == ["new", "quarantined", "new"]
    assert rows[1]["reasons"][0]["reason"] == "invalid-bytes" and totals["quarantined"] == 1


def test_a_table_without_snapshots_is_read_in_short_ranges(db, worker):
    # A foreign writer all along: it never waits over 100 ms.
    waits, stop = [], threading.Event()

    def write():
        # One client for all statements; each line's time is from its own clock.
        while not stop.is_set():
            out = db.sql("SET @t = SYSDATE(6); UPDATE old SET v = v WHERE a = 1 AND b = '1';"
                         "SELECT TIMESTAMPDIFF(MICROSECOND, @t, SYSDATE(6))", "emr")
            waits.append(int(out[0][0]) / 1000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        plan = worker.plan_of_pull("old")
        _, totals = worker.pull("old", quietly=True)
    finally:
        stop.set()
        writer.join()
    assert plan["engine"] == "MyISAM" and plan["transactional"] == 0 and plan["snapshot"] == ""
    assert totals["rows"] == 50000 and totals["same"] == 50000
    assert waits and max(waits) < 100 * PATIENCE, max(waits)


def test_a_worker_that_dies_is_told_and_started_again(worker):
    worker.send(f"kill-after {BIG_ROWS // 3}")
    with pytest.raises(WorkerError) as error:
        worker.pull("big", quietly=True)
    assert error.value.name == "worker"
    assert "source main" in error.value.message and "signal 9" in error.value.message
    assert worker.pull("big", quietly=True)[1]["rows"] == BIG_ROWS


def test_cancel_and_a_callback_that_fails(worker):
    worker.send(f"cancel-after {BIG_ROWS // 3}")
    with pytest.raises(WorkerError) as error:
        worker.pull("big", quietly=True)
    assert error.value.name == "source-cancelled"
    pid = worker.pid()
    worker.send(f"fail-after {BIG_ROWS // 3}")
    with pytest.raises(WorkerError) as error:
        worker.pull("big", quietly=True)
    assert (error.value.name, error.value.message) == ("io", "the vault says no")
    assert worker.pull("big", quietly=True)[1]["rows"] == BIG_ROWS
    assert worker.pid() == pid


def test_a_database_that_dies_in_the_middle(db, worker):
    worker.send("pause-after 2048")
    worker.send("pull-quietly big full")
    worker.until("paused")
    db.kill()
    worker.send("go")
    with pytest.raises(WorkerError) as error:
        worker.until("rows")
    assert error.value.name == "source-lost"
    with pytest.raises(WorkerError) as error:
        worker.fetch("visits", "1")
    assert error.value.name == "source-unreachable"
    db.start()
    assert worker.fetch("visits", "1")[0]["found"]
    # A session that died between two requests is renewed without a word.
    db.kill()
    db.start()
    assert worker.fetch("visits", "1")[0]["found"]


def test_a_hanging_worker_is_ended(db, visits):
    with Worker(write_mapping(db), call_ms=2500) as w:
        assert w.fetch("visits", "1")[0]["found"]
        os.kill(w.pid(), signal.SIGSTOP)
        with pytest.raises(WorkerError) as error:
            w.fetch("visits", "1")
        assert error.value.name == "timeout"
        assert w.fetch("visits", "1")[0]["found"]


def test_the_rate_is_kept(db, visits):
    rate = 5000  # far below what a sanitized worker on a busy machine reads
    with Worker(write_mapping(db), rate=rate) as w:
        started = time.monotonic()
        _, totals = w.pull("big", quietly=True)
        assert time.monotonic() - started > 0.9 * (BIG_ROWS - 1024) / rate
        assert totals["paused_us"] > 0


def test_wrong_mappings_are_told(db):
    connection = {"socket": db.socket, "user": "renkei", "database": "emr",
                  "password_flie": "/dev/null"}
    with Worker(write_mapping(db, connection)) as w:
        with pytest.raises(WorkerError) as error:
            w.describe()
    assert error.value.name == "config" and "password_flie" in error.value.message
    assert "password_file" in error.value.hint
    with Worker(write_mapping(db, environment="environment: {LD_PRELOAD: /x.so}\n")) as w:
        with pytest.raises(WorkerError) as error:
            w.describe()
    assert error.value.name == "config" and "LD_PRELOAD" in error.value.message


def test_secrets_and_values_stay_inside(db, worker):
    worker.pull("visits", quietly=True)
    pid = worker.pid()
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        assert PASSWORD.encode() not in f.read()
    with open(f"/proc/{pid}/environ", "rb") as f:
        assert PASSWORD.encode() not in f.read()
    said = []
    for command in (lambda: worker.fetch("visits", MARKER), lambda: worker.fetch("nix", MARKER),
                    lambda: worker.patient("big", MARKER)):
        try:
            command()
        except WorkerError as error:
            said.append(str(error))
    assert said
    said.append(worker.end().decode("utf-8", "replace"))
    for text in said:
        assert MARKER not in text and PASSWORD not in text
