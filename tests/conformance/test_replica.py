"""A replica is read where it is near enough, and what is read is said: real replication of MariaDB and
PostgreSQL, its end, and its repair."""

import shutil
import time

import pytest

from tests.conformance.targets import PASSWORD
from tests.conformance.worker import PATIENCE, Worker
from tests.harness.databases import MariaDB, PostgreSQL, give_away, run, unprivileged
from tests.harness.wait import free_port

WAIT_S_MAX = 30


class Maria:
    name = "mysql"

    def __init__(self):
        self.primary = MariaDB(tcp=True, options=["--server-id=1", "--log-bin=primary"]).start()
        self.primary.sql("CREATE USER copy@'%' IDENTIFIED BY 'copy';"
                         "GRANT REPLICATION SLAVE ON *.* TO copy@'%'; CREATE DATABASE emr")
        self.primary.user("renkei", PASSWORD, "emr", host="%")
        self.replica = MariaDB(tcp=True, options=["--server-id=2"]).start()
        self.replica.sql(
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={self.primary.port},"
            "MASTER_USER='copy', MASTER_PASSWORD='copy', MASTER_LOG_FILE='primary.000001',"
            "MASTER_LOG_POS=4, MASTER_CONNECT_RETRY=1; START SLAVE")

    def allow_to_ask(self):
        self.primary.sql("GRANT REPLICA MONITOR ON *.* TO renkei@'%'")

    def hold(self):
        self.replica.sql("STOP SLAVE SQL_THREAD")

    def go_on(self):
        self.replica.sql("START SLAVE SQL_THREAD")


class Postgres:
    name = "postgresql"

    def __init__(self):
        self.primary = PostgreSQL(tcp=True).start()
        hba = self.primary.data / "pg_hba.conf"
        hba.write_text(hba.read_text() + "local replication all trust\n")
        self.primary.sql("SELECT pg_reload_conf()")
        self.primary.create("emr", "UTF8")
        self.primary.user("renkei", PASSWORD, "emr")
        self.replica = PostgreSQL(tcp=True)
        self.replica.socket_folder.mkdir(exist_ok=True)
        give_away(self.replica.socket_folder)
        copy = self.primary.socket_folder / "copy"
        run(unprivileged([PostgreSQL.program("pg_basebackup"), "-D", copy, "-R", "-X", "stream",
                          "-c", "fast", "-U", "postgres", "-h", self.primary.socket_folder, "-p",
                          self.primary.port]))
        shutil.move(copy, self.replica.data)
        give_away(self.replica.data)
        self.replica.data.chmod(0o700)
        self.replica.READY = b"ready to accept read-only connections"
        self.replica.start()

    def allow_to_ask(self):
        pass

    def hold(self):
        self.replica.sql("SELECT pg_wal_replay_pause()")

    def go_on(self):
        self.replica.sql("SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module", params=[Maria, Postgres], ids=lambda kind: kind.name)
def pair(request):
    pair = request.param()
    pair.primary.sql("CREATE TABLE t (no INT PRIMARY KEY); INSERT INTO t VALUES (1)", "emr")
    (pair.primary.folder / "password").write_text(PASSWORD + "\n")
    until(lambda: rows_of(pair.replica) == 1)
    yield pair
    pair.replica.close()
    pair.primary.close()


def until(condition):
    deadline = time.monotonic() + WAIT_S_MAX * PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rows_of(server):
    try:
        return int(server.sql("SELECT COUNT(*) FROM t", "emr")[0][0])
    except Exception:  # not replicated yet
        return -1


def look(pair, replicas, lag_s=60):
    """What the worker says of the server it reads, and the keys that it reads there."""
    path = pair.primary.folder / "mapping.yaml"
    path.write_text(
        f"source: main\nconnector: {pair.name}\nconnection: {{host: 127.0.0.1, port: "
        f"{pair.primary.port}, user: renkei, database: emr, replicas: '{replicas}', "
        f"replica_lag_max_s: {lag_s}, password_file: {pair.primary.folder}/password}}\n"
        "tables: [{table: t, category: EMR03, key: [no]}]\n")
    with Worker(path) as w:
        note = w.describe()["note"]
        return note, [row["key"] for row in w.pull("t")[0]]


def test_a_replica_is_read_while_it_is_near_and_said(pair):
    replica = f"127.0.0.1:{pair.replica.port}"
    if pair.name == "mysql":
        assert look(pair, replica) == (
            f"reads replica {replica}, which does not tell the account how far behind it is", ["1"])
    pair.allow_to_ask()
    until(lambda: look(pair, replica)[0] == f"reads replica {replica}, 0 s behind")
    # One that is down is passed over, the next one is read.
    gone = f"127.0.0.1:{free_port()}"
    note, keys = look(pair, f"{gone}, {replica}")
    assert note.startswith(f"replica {gone} passed over: ") and keys == ["1"]
    assert note.endswith(f"; reads replica {replica}, 0 s behind")
    # None is left: the source itself, and it is said.
    note, keys = look(pair, gone)
    assert note.startswith(f"replica {gone} passed over: ") and keys == ["1"]
    assert note.endswith("; reads the source itself")
    # The source itself named as a replica is none.
    source = f"127.0.0.1:{pair.primary.port}"
    assert look(pair, source)[0] == (f"replica {source} passed over: it replicates nothing;"
                                     " reads the source itself")


def test_a_replica_that_stands_still_is_not_read(pair):
    replica = f"127.0.0.1:{pair.replica.port}"
    pair.allow_to_ask()
    pair.hold()
    pair.primary.sql("INSERT INTO t VALUES (2)", "emr")
    assert rows_of(pair.replica) == 1

    def passed_over():
        note, keys = look(pair, replica, lag_s=1)
        if "passed over" not in note:
            return False
        assert note.endswith("; reads the source itself") and keys == ["1", "2"]
        return True

    until(passed_over)
    pair.go_on()
    until(lambda: look(pair, replica, lag_s=1) == (f"reads replica {replica}, 0 s behind",
                                                   ["1", "2"]))
