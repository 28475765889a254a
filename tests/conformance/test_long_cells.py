"""Cells and rows past the limits of connector.h, on real databases: each costs its own row, told with
table, key, column and reason, and neither the pull nor the worker's memory."""

import os
import re

import pytest

from tests.conformance.probe import TOO_LONG, Probe
from tests.conformance.targets import PASSWORD
from tests.conformance.worker import Worker
from tests.harness.databases import ODBC, MariaDB, PostgreSQL, SQLiteODBC

CELL_BYTES_MAX = 16 << 20  # RENKEI_CELL_BYTES_MAX
ROW_BYTES_MAX = 24 << 20   # RENKEI_ROW_BYTES_MAX
WORKER_BYTES_MAX = 64 << 20
ROW_WORKER_BYTES_MAX = 256 << 20  # with a row at the limits; half of what worker_memory_mib is by default
# What a database can hold at most takes it a minute to write; past the worker's memory are both.
LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
HUGE_BYTES = 1_000_000_000 if LONG else 100_000_000


class Maria:
    name = plugin = "mysql"
    env = {}
    cells = {"most": f"REPEAT('m', {CELL_BYTES_MAX})", "over": f"REPEAT('o', {CELL_BYTES_MAX + 1})",
             "huge": f"REPEAT('h', {HUGE_BYTES})"}

    def __init__(self):
        self.server = MariaDB().start()
        self.server.sql("CREATE DATABASE emr CHARACTER SET cp932")
        self.server.user("renkei", PASSWORD, "emr")
        self.options = {"socket": self.server.socket, "user": "renkei", "database": "emr"}

    def create(self, table, columns, engine="InnoDB"):
        names = ", ".join(f"{c} LONGTEXT" for c in columns)
        self.sql(f"CREATE TABLE {table} (no INT PRIMARY KEY, {names}, w INT) ENGINE={engine}")

    def sql(self, text):
        return self.server.sql(text, "emr")


class Postgres:
    name = plugin = "postgresql"
    env = {}
    cells = {"most": f"repeat('m', {CELL_BYTES_MAX})", "over": f"repeat('o', {CELL_BYTES_MAX + 1})",
             "huge": f"repeat('h', {HUGE_BYTES})"}

    def __init__(self):
        self.server = PostgreSQL().start()
        self.server.create("emr", "SQL_ASCII")
        self.server.user("renkei", PASSWORD, "emr")
        self.options = {"socket": self.server.socket, "port": self.server.port, "user": "renkei",
                        "database": "emr"}

    def create(self, table, columns, engine=None):
        names = ", ".join(f"{c} text" for c in columns)
        self.sql(f"CREATE TABLE {table} (no INT PRIMARY KEY, {names}, w INT)")

    def sql(self, text):
        return self.server.sql(text, "emr")


def by_odbc(db, driver, **settings):
    odbc = ODBC(db.server.folder / "odbc")
    odbc.data_source("emr", driver, settings)
    db.plugin, db.env = "odbc", dict(odbc.env, ASAN_OPTIONS="detect_leaks=0")
    db.options = {"dsn": "emr", "user": "renkei"}


class MariaODBC(Maria):
    name = "odbc-mysql"

    def __init__(self):
        super().__init__()
        by_odbc(self, "MariaDB Unicode", SOCKET=self.server.socket, DATABASE="emr")


class PostgresODBC(Postgres):
    name = "odbc-postgresql"

    def __init__(self):
        super().__init__()
        by_odbc(self, "PostgreSQL ANSI", Servername=self.server.socket, Port=self.server.port, Database="emr")


def started(kind):
    db = kind()
    path = db.server.folder / "password"
    path.write_text(PASSWORD + "\n")
    db.options["password_file"] = path
    return db


# Read row by row; the ODBC drivers hold more of them in memory (docs/connectors.md), and more time.
STREAMED = [Maria, Postgres]
ALL = STREAMED + [MariaODBC, PostgresODBC]


def on(kinds):
    return pytest.mark.parametrize("db", kinds, indirect=True, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def db(request):
    db = started(request.param)
    yield db
    db.server.close()


def mapping(db, table):
    path = db.server.folder / "mapping.yaml"
    path.write_text(f"source: main\nconnector: {db.plugin}\ncharset: cp932\nconnection:\n" +
                    "".join(f"  {k}: {v}\n" for k, v in db.options.items()) +
                    f"tables:\n  - {{table: {table}, category: EMR03, key: [no]}}\n")
    return path


def peak_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024


def is_sanitized(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        return "libasan" in maps.read()


@on(ALL)
def test_a_huge_cell_costs_its_row_alone(db):
    db.create("giga", ["v"])
    db.sql(f"INSERT INTO giga VALUES (1, 'before', 1), (2, {db.cells['huge']}, 2),"
           f" (3, 'between', 3), (4, {db.cells['over']}, 4), (5, NULL, 5), (6, '', 6)")
    with Worker(mapping(db, "giga"), env=db.env) as w:
        rows, totals = w.pull("giga")
        assert {row["key"]: row["row"] for row in rows} == {
            "1": "new", "2": "quarantined", "3": "new", "4": "quarantined", "5": "new", "6": "new"}
        for row in rows:
            assert [(r["reason"], r["column"]) for r in row["reasons"]] == (
                [("limit", 1)] if row["key"] in "24" else []), row
        assert totals["rows"] == 6 and totals["quarantined"] == 2
        # By its key, as retrieval reads it, it is told in the same way.
        found = w.fetch("giga", "2", "3")
        assert [(row["found"], row["quarantined"]) for row in found] == [(True, True),
                                                                         (True, False)]
        if not is_sanitized(w.pid()):
            assert peak_bytes(w.pid()) < WORKER_BYTES_MAX, peak_bytes(w.pid())
    db.sql("DROP TABLE giga")


@on(ALL if LONG else STREAMED)
def test_the_longest_cell_comes_whole(db):
    db.create("longest", ["v"])
    db.sql(f"INSERT INTO longest VALUES (1, {db.cells['most']}, 1)")
    with Probe(db.plugin, db.options, env=db.env).open() as probe:
        for snapshot in (False, True):
            if snapshot:
                probe.begin()
            assert probe.rows("longest", ["no", "v", "w"]) == [
                [b"1", b"m" * CELL_BYTES_MAX, b"1"]]
    db.sql("DROP TABLE longest")


@on(ALL if LONG else STREAMED)
def test_a_row_of_many_long_cells_is_cut(db):
    columns = [f"c{i}" for i in range(6)]
    db.create("wide", columns)
    ten = f"REPEAT('x', {10 << 20})"
    db.sql("INSERT INTO wide VALUES (1, 'a', 'b', 'c', 'd', 'e', 'f', 1),"
           f" (2, {ten}, 'b', {ten}, 'd', {ten}, NULL, 2), (3, 'a', 'b', 'c', 'd', 'e', 'f', 3)")
    with Probe(db.plugin, db.options, env=db.env).open() as probe:
        probe.begin()
        rows = probe.rows("wide", ["no", *columns, "w"])
    assert rows[0] == [b"1", b"a", b"b", b"c", b"d", b"e", b"f", b"1"]
    assert rows[1] == [b"2", TOO_LONG, b"b", TOO_LONG, b"d", TOO_LONG, None, b"2"]
    assert rows[2][0] == b"3"
    db.sql("DROP TABLE wide")


@on(ALL if LONG else STREAMED)
def test_rows_at_the_limits_do_not_end_the_worker(db):
    """Four cells just under RENKEI_CELL_BYTES_MAX are past RENKEI_ROW_BYTES_MAX; two of half of that are the
    longest row of all that is read."""
    db.create("four", list("abcd"))
    cell, half = f"REPEAT('x', {CELL_BYTES_MAX - 1})", f"REPEAT('x', {ROW_BYTES_MAX // 2 - 100})"
    db.sql(f"INSERT INTO four VALUES (1, {cell}, {cell}, {cell}, {cell}, 1), (2, {cell}, 'b', NULL, 'd', 2),"
           f" (3, {half}, 'b', {half}, 'd', 3)")
    with Worker(mapping(db, "four"), env=db.env) as w:
        rows, totals = w.pull("four")
        assert {row["key"]: row["row"] for row in rows} == {"1": "quarantined", "2": "new", "3": "new"}
        if not is_sanitized(w.pid()):
            print(f"{db.name}: {peak_bytes(w.pid()) >> 20} MiB")
            assert peak_bytes(w.pid()) < ROW_WORKER_BYTES_MAX, peak_bytes(w.pid())
    db.sql("DROP TABLE four")


@on(STREAMED)
def test_many_big_cells_keep_the_memory_small(db):
    db.create("many", ["v"], engine="MyISAM")
    source = "seq_1_to_120" if db.name == "mysql" else "generate_series(1, 120) s(seq)"
    db.sql(f"INSERT INTO many SELECT seq, REPEAT('v', 1000000), seq FROM {source}")
    with Worker(mapping(db, "many")) as w:
        rows, totals = w.pull("many", quietly=True)
        assert totals["rows"] == totals["new"] == 120
        if not is_sanitized(w.pid()):
            assert peak_bytes(w.pid()) < WORKER_BYTES_MAX, peak_bytes(w.pid())
    db.sql("DROP TABLE many")


def test_a_huge_cell_of_sqlite_costs_its_row_alone():
    """It cannot leave a text out without reading it: the worker's memory is the limit there."""
    with SQLiteODBC() as server:
        c = server.connect()
        c.execute("CREATE TABLE t (no INTEGER PRIMARY KEY, v TEXT, b BLOB, w TEXT)")
        for no, size in enumerate((1, CELL_BYTES_MAX, CELL_BYTES_MAX + 1, 100_000_000, 2)):
            c.execute(f"INSERT INTO t VALUES ({no}, ?, NULL, 'w')", ("m" * size,))
        c.execute("INSERT INTO t VALUES (5, 'a', zeroblob(?), 'b' || char(0))", (CELL_BYTES_MAX + 1,))
        c.close()
        with Probe("odbc", {"dsn": server.dsn}, env={**server.env, "ASAN_OPTIONS": "detect_leaks=0"}).open() as probe:
            probe.begin()
            assert probe.rows("t", ["no", "v", "b", "w"]) == [
                [b"0", b"m", None, b"w"], [b"1", b"m" * CELL_BYTES_MAX, None, b"w"], [b"2", TOO_LONG, None, b"w"],
                [b"3", TOO_LONG, None, b"w"], [b"4", b"mm", None, b"w"], [b"5", b"a", TOO_LONG, b"b\0"]]
