"""Drivers that crash, hang and lie: each costs a clear error and at most one worker, never a wrong
value."""

import json

import pytest

from tests.conformance.probe import BUILD
from tests.conformance.worker import Worker, WorkerError
from tests.harness.databases import ODBC

LONG_BYTES = 100000


@pytest.fixture
def start(tmp_path):
    odbc = ODBC(tmp_path / "odbc")
    odbc.driver("Faulty", BUILD / "tests/conformance/faulty_odbc.so")

    def worker(fault, call_ms=3000):
        path = tmp_path / f"{fault}.yaml"
        path.write_text(f"source: main\nconnector: odbc\ncharset: cp932\n"
                        f"connection: {{driver: Faulty, database: {fault}}}\n"
                        "tables:\n  - {table: t, category: EMR01, key: [id]}\n")
        return Worker(path, call_ms=call_ms,
                      env={**odbc.env, "ASAN_OPTIONS": "detect_leaks=0:handle_segv=0"})
    return worker


@pytest.mark.parametrize("fault", ["good", "no-total"])
def test_what_is_right_comes_whole(start, fault):
    with start(fault) as w:
        rows = w.preview("t", 3)
        assert [row["key"] for row in rows] == ["1", "2", "3"]
        for letter, row in zip("bcd", rows):
            assert bytes.fromhex(row["cells"][1]) == letter.encode() * LONG_BYTES
            assert json.loads(row["document"])["fields"]["v"] == letter * LONG_BYTES


def test_a_connection_lost_behind_the_last_row_costs_nothing(start):
    with start("end") as w:
        w.describe()
        before = w.pid()
        for _ in range(2):
            rows, totals = w.pull("t")
            assert [row["key"] for row in rows] == ["1", "2", "3"] and totals["rows"] == 3
        assert w.pid() == before


@pytest.mark.parametrize("fault, name, words", [
    ("crash", "worker", "signal 11"),
    ("hang", "timeout", "did not answer in time"),
    ("lost", "source-lost", "08S01"),
    ("longer", "internal", "the driver"),
    ("shorter", "internal", "the driver"),
    ("negative", "internal", "reports a negative length"),
    ("half", "internal", "writes lengths of 32 bits"),
    ("null-later", "internal", "changed its mind about a cell"),
    ("garbage", "internal", "writes lengths of 32 bits"),
])
def test_what_is_wrong_is_an_error(start, fault, name, words):
    # What hangs is waited for to the end; a slow machine would see the same a little sooner.
    with start(fault, 500 if fault == "hang" else 3000) as w:
        for _ in range(2):  # the second time shows that the gateway's side goes on
            with pytest.raises(WorkerError) as error:
                w.preview("t", 3)
            assert error.value.name == name, error.value
            assert words in error.value.message
            assert "source main" in error.value.message


def test_a_cell_that_never_ends_costs_its_row(start):
    with start("endless") as w:
        rows = w.preview("t", 3)
        assert [row["quarantined"] for row in rows] == [False, True, False]
        assert [reason["reason"] for reason in rows[1]["reasons"]] == ["limit"]


@pytest.mark.parametrize("fault, restarts", [("longer", 0), ("lost", 0), ("crash", 1)])
def test_a_fault_costs_one_restart_at_most(start, fault, restarts):
    with start(fault) as w:
        w.describe()
        before = w.pid()
        with pytest.raises(WorkerError):
            w.preview("t", 3)
        assert w.pid() == (0 if restarts else before)
        w.describe()
        assert (w.pid() != before) == bool(restarts)
