"""What keeps a worker from harming the gateway's machine, and a pull from harming its source: limits of
memory and CPU, the cap of rows, work windows, and the source's own latency."""

import datetime
import random
import socket
import threading
import time

import pytest

from tests.conformance.probe import BUILD
from tests.conformance.targets import PASSWORD
from tests.conformance.worker import PATIENCE, Worker, WorkerError
from tests.harness.databases import MariaDB, PostgreSQL

ROWS = 60000
OLD_ROWS = 100000


def rude_mapping(folder, mode):
    once = folder / "once"
    once.write_text("")
    path = folder / "rude.yaml"
    path.write_text(f"source: main\nconnector: rude\nconnection: {{mode: {mode}, once: {once}}}\n"
                    "tables: [{table: t, category: EMR03, key: [no]}]\n")
    return path


@pytest.mark.parametrize("mode, said", [
    ("greedy", "MiB of memory and was ended, at most 96 MiB are possible (worker_memory_mib)"),
    ("spinning", "the worker used the CPU for 2 s without an answer and was ended (worker_cpu)")])
def test_a_wild_plugin_costs_one_worker_and_a_clear_word(tmp_path, mode, said):
    plugins = BUILD / "tests/conformance"
    # Two seconds of CPU time may take a busy machine a minute.
    with Worker(rude_mapping(tmp_path, mode), plugins=plugins, call_ms=120000, memory=96 << 20,
                cpu=2) as w:
        with pytest.raises(WorkerError) as error:
            w.describe()
        assert error.value.name == "worker" and said in error.value.message, error.value
        assert "source main" in error.value.message
        assert w.describe()["product"] == "Rude"


def test_a_plugin_that_hoards_ends_itself_and_nothing_else(tmp_path):
    """It gets no more memory: how it then ends is its own matter."""
    plugins = BUILD / "tests/conformance"
    with Worker(rude_mapping(tmp_path, "hoarding"), plugins=plugins, call_ms=120000,
                memory=96 << 20, cpu=2) as w:
        with pytest.raises(WorkerError) as error:
            w.describe()
        assert error.value.name == "worker", error.value
        assert w.describe()["product"] == "Rude"


class Maria:
    name = "mysql"
    sequence = f"seq_1_to_{ROWS}"

    def __init__(self):
        self.server = MariaDB(tcp=True).start()
        self.server.sql("CREATE DATABASE emr CHARACTER SET cp932")
        self.server.user("renkei", PASSWORD, "emr", host="%")

    def sql(self, text):
        return self.server.sql(text, "emr")

    def sessions(self):
        return int(self.sql("SELECT COUNT(*) FROM information_schema.PROCESSLIST"
                            " WHERE USER = 'renkei'")[0][0])


class Postgres:
    name = "postgresql"
    sequence = f"generate_series(1, {ROWS}) s(seq)"

    def __init__(self):
        self.server = PostgreSQL(tcp=True).start()
        self.server.create("emr", "SQL_ASCII")
        self.server.user("renkei", PASSWORD, "emr")

    def sql(self, text):
        return self.server.sql(text, "emr")

    def sessions(self):
        return int(self.sql("SELECT COUNT(*) FROM pg_stat_activity"
                            " WHERE usename = 'renkei'")[0][0])


@pytest.fixture(scope="module", params=[Maria, Postgres], ids=lambda p: p.name)
def db(request):
    db = request.param()
    (db.server.folder / "password").write_text(PASSWORD + "\n")
    db.sql("CREATE TABLE big (no INT PRIMARY KEY, v VARCHAR(100))")
    # Its text is not in the order of the key, so that a stream by itself would not be either.
    db.sql(f"INSERT INTO big SELECT {ROWS} + 1 - seq, REPEAT('w', 90) FROM {db.sequence}")
    yield db
    db.server.close()


@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
def test_no_writer_of_a_table_without_snapshots_waits_100_ms(tmp_path, engine):
    """A key whose first column is the same in every row, as a hospital's number is: each range must be
    found by the index. A foreign writer updates rows all along, and the server's clock tells its waits."""
    with MariaDB() as server:
        server.sql("CREATE DATABASE emr CHARACTER SET cp932")
        server.user("renkei", PASSWORD, "emr")
        server.sql(f"CREATE TABLE old (h INT, n INT, b VARCHAR(20), v VARCHAR(300),"
                   f" PRIMARY KEY (h, n, b)) ENGINE={engine};"
                   f"INSERT INTO old SELECT 1, seq, seq MOD 7, REPEAT('x', 250)"
                   f" FROM seq_1_to_{OLD_ROWS}", "emr")
        (tmp_path / "password").write_text(PASSWORD + "\n")
        (tmp_path / "main.yaml").write_text(
            f"source: main\nconnector: mysql\nconnection: {{socket: {server.socket}, user: renkei,"
            f" database: emr, password_file: password}}\n"
            "tables: [{table: old, category: EMR05, key: [h, n, b]}]\n")
        waits, stop = [], threading.Event()

        def write(rounds=None):
            numbers = random.Random(7)
            while not stop.is_set() and (rounds is None or len(waits) < rounds):
                updates = "".join(
                    f"SET @t = SYSDATE(6); UPDATE old SET v = CONCAT('y', SUBSTR(v, 2)) WHERE h = 1"
                    f" AND n = {numbers.randint(1, OLD_ROWS)};"
                    f"SET @m = GREATEST(@m, TIMESTAMPDIFF(MICROSECOND, @t, SYSDATE(6)));"
                    for _ in range(100))
                out = server.sql(f"SET @m = 0; {updates} SELECT @m", "emr")
                waits.append(int(out[0][0]) / 1000)

        write(rounds=3)
        alone, waits = waits, []  # what this machine takes for it without us
        writer = threading.Thread(target=write)
        with Worker(tmp_path / "main.yaml") as w:
            plan = w.plan_of_pull("old")
            writer.start()
            try:
                _, totals = w.pull("old", quietly=True)
            finally:
                stop.set()
                writer.join()
    assert plan["engine"] == engine and plan["transactional"] == 0 and plan["snapshot"] == ""
    assert totals["rows"] == OLD_ROWS and len(waits) > 1
    assert max(waits) < 100 * PATIENCE + max(alone), (max(waits), max(alone))


def mapping(db, port=None, table="big", more=""):
    path = db.server.folder / "mapping.yaml"
    path.write_text(f"source: main\nconnector: {db.name}\ncharset: cp932\nconnection: {{host: "
                    f"127.0.0.1, port: {port or db.server.port}, user: renkei, database: emr, "
                    f"password_file: {db.server.folder}/password{more}}}\n"
                    f"tables: [{{table: {table}, category: EMR03, key: [no]}}]\n")
    return path


def clock(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%H:%M:%S")


def test_a_pull_stops_at_a_windows_end_and_goes_on_in_the_next(db):
    windows = f"{clock(-60)}-{clock(3)},{clock(7)}-{clock(600)}"
    seen = []
    with Worker(mapping(db), rate=ROWS // 6, windows=windows) as w:
        found = threading.Event()

        def look():
            while not found.wait(0.2):
                seen.append((time.monotonic() - started, db.sessions()))

        started = time.monotonic()
        looker = threading.Thread(target=look)
        looker.start()
        try:
            rows, totals = w.pull("big")
        finally:
            found.set()
            looker.join()
        closed = [load for load in w.loads if load["load"] == "closed"]
    # Every row once, in the order of the key, which a pull without windows need not keep.
    assert [int(row["key"]) for row in rows] == list(range(1, ROWS + 1))
    assert closed and 0 < closed[0]["read"] < ROWS and closed[0]["until"] > 0
    assert totals["closed_us"] > 1_000_000
    # While it is closed nothing of ours is in the database.
    assert 0 in [sessions for at, sessions in seen if at > 3], seen


def test_outside_of_every_window_nothing_is_opened(db):
    with Worker(mapping(db), windows=f"{clock(3600)}-{clock(7200)}") as w:
        w.send("pull-quietly big full")
        assert w.until("load")[1]["load"] == "closed"
        assert db.sessions() == 0
        w.process.kill()  # it waits for its window
        w.process.wait()
        w.process.stdin.close()


def test_the_server_ends_a_statement_that_takes_too_long(db):
    sleep = "SLEEP(0.05)" if db.name == "mysql" else "pg_sleep(0.05)::text"
    db.sql(f"CREATE VIEW slow AS SELECT no, {sleep} AS v FROM big WHERE no <= 400")
    started = time.monotonic()
    with Worker(mapping(db, table="slow", more=", statement_timeout_ms: 500")) as w:
        with pytest.raises(WorkerError) as error:
            w.pull("slow")
        assert error.value.name == "timeout", error.value
        assert time.monotonic() - started < 10 * PATIENCE  # the whole would take 20 s
        with pytest.raises(WorkerError) as error:
            w.fetch("slow", *[str(no) for no in range(1, 60)])
        assert error.value.name == "timeout", error.value
        # A statement within the time is answered by the same worker.
        assert w.fetch("slow", "1")[0]["found"]
    db.sql("DROP VIEW slow")


class SlowProxy:
    """Hands bytes on both ways; what the server says waits for `delay_s`."""

    def __init__(self, port):
        self.port_behind, self.delay_s = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.port_behind))
            # The first session is the one that reads: it keeps its speed, the probe tells.
            late = self.connections > 1
            threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, late), daemon=True).start()

    def _copy(self, source, target, late):
        try:
            while data := source.recv(65536):
                if late and self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


def test_a_source_that_answers_late_is_given_way_to(db):
    proxy = SlowProxy(db.server.port)
    path = mapping(db, proxy.port)
    try:
        with Worker(path, rate=ROWS // 12, latency_factor=4) as w:
            w.send("pull-quietly big full")
            assert w.until("load")[1]["load"] == "reading"
            proxy.delay_s = 0.3
            while w.until("load")[1]["load"] != "slowed":
                pass
            # It ends as soon as the source is well again.
            proxy.delay_s = 0
            while w.until("load")[1]["load"] != "reading":
                pass
            totals = w.until("rows")[1]
    finally:
        proxy.close()
    # The round trip that was late is not the best one.
    assert totals["slowed_us"] > 0 and 0 < totals["latency_base_us"] < 200000, totals
    assert totals["rows"] == ROWS


def test_a_pull_tells_what_it_asked_of_the_source(db):
    with Worker(mapping(db)) as w:
        _, totals = w.pull("big", quietly=True)
    # Snapshot, query, end of the snapshot.
    assert totals["rows"] == ROWS and totals["queries"] == 3 and totals["source_us"] > 0
    assert totals["closed_us"] == totals["slowed_us"] == totals["latency_us"] == 0
