"""An Access file by MDBTools: what Jackcess wrote (data/MakeClinic.java, whose rows stand here again)
against what the worker makes of it. MDBTools loses things; each loss is told, and none is a value."""

import base64
import gzip
import json
import pathlib

import pytest

from tests.conformance.worker import Worker, WorkerError
from tests.harness.databases import ODBC

CLINIC = pathlib.Path(__file__).parent / "data/clinic.mdb.gz"
SCAN = bytes(i * 7 % 256 for i in range(100000))

# What the documents must be: the values as they were written, in the forms of docs/types.md.
WRITTEN = {
    "1": dict(pid="p1", name="山田 太郎", note="髙﨑①㈱～－ソ表十", seen="2011/03/24", fee=12345.6789, smokes=True,
              weight=58.25, ratio=0.5, visits=3, ward=7, dose="123456789012.345678",
              uid="01234567-89AB-CDEF-0123-456789ABCDEF", scan="AAH/QQ=="),
    # The second row's note is longer than the driver's buffer: see below.
    "3": dict(pid="p1", name=None, note=None, seen=None, fee="922337203685477.5807", smokes=True, weight=0.1,
              ratio="340282350000000000000000000000000000000", visits=32767, ward=0, dose=0, uid=None, scan=None),
    "4": dict(pid="p4", name=None, note=None, seen=None, fee=None, smokes=False, weight=None, ratio=None, visits=None,
              ward=None, dose=None, uid=None, scan=None),
    "5": dict(pid="p5", name="葛\ufffd\ufffd城 \ufffd\ufffd田", note="一行目\r\n二行目\tタブ", seen="1926/12/25", fee=0,
              smokes=False, weight=123456789.1234568, ratio=0.001, visits=0, ward=1, dose=1, uid=None, scan=None),
}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mdb")
    path = folder / "clinic.mdb"
    path.write_bytes(gzip.decompress(CLINIC.read_bytes()))
    odbc = ODBC(folder / "odbc")
    odbc.data_source("clinic", "MDBTools", {"Database": path})

    def worker(policy="replace", more=""):
        mapping = folder / f"{policy}{len(more)}.yaml"
        fields = [f"{{column: {name}{', type: number' if name == 'dose' else ''}}}" for name in WRITTEN["1"]]
        mapping.write_text(f"source: main\nconnector: odbc\nconnection: {{dsn: clinic}}\ninvalid_text: {policy}\n"
                           f"tables:\n  - {{table: patients, category: EMR01, key: [no], patient: pid,{more}"
                           f" fields: [{', '.join(fields)}]}}\n"
                           "  - {table: 患者, category: EMR01, key: [番号]}\n")
        return Worker(mapping, env={**odbc.env, "ASAN_OPTIONS": "detect_leaks=0"})
    return worker


def fields(row):
    return json.loads(row["document"])["fields"]


def test_documents_are_what_was_written(clinic):
    with clinic() as w:
        rows, totals = w.pull("patients")
        assert {row["key"]: row["row"] for row in rows} == {**dict.fromkeys(WRITTEN, "new"), "2": "quarantined"}
        for row in w.fetch("patients", *WRITTEN):
            assert row["match"]
            found, expected = fields(row), dict(WRITTEN[row["key"]])
            if row["key"] == "5":
                assert base64.b64decode(found.pop("scan")) == SCAN
                expected.pop("scan")
            assert found == expected
        assert w.pull("patients")[1]["same"] == 4


def reasons(worker, key):
    order = worker.plan_of_pull("patients")["columns"]
    worker.send("forget")
    row = next(row for row in worker.pull("patients")[0] if row["key"] == key)
    return row["row"], {(order[r["column"]], r["reason"]) for r in row["reasons"]}


def test_what_the_driver_cuts_or_loses_is_told(clinic):
    with clinic() as w:
        # 100,000 bytes of text, of which the driver gives 16,383 and says nothing.
        assert reasons(w, "2") == ("quarantined", {("note", "limit")})
        # The driver has no date beyond the year 4637, and says 1900-01-00.
        assert ("seen", "zero-date") in reasons(w, "3")[1]
        # Characters beyond 16 bits come as ??.
        assert reasons(w, "5") == ("new", {("name", "invalid-bytes")})
    with clinic("quarantine") as w:
        assert reasons(w, "5") == ("quarantined", {("name", "invalid-bytes")})


def test_rows_are_chosen_here_and_not_by_the_driver(clinic):
    with clinic() as w:
        assert [row["key"] for row in w.patient("patients", "p1")] == ["1", "3"]
        assert w.patient("patients", "p'1") == [] and w.patient("patients", "P1") == []
        assert [row["found"] for row in w.fetch("patients", "5", "99", "-1")] == [True, False, False]
        assert fields(w.fetch("患者", "2")[0]) == {"番号": 2, "氏名": "予約"}
        assert [row["key"] for row in w.preview("患者", 1)] == ["1"]


def test_a_watermark_is_refused(clinic):
    with clinic(more=" watermark: no,") as w:
        w.pull("patients")
        with pytest.raises(WorkerError) as error:
            w.pull("patients", "watermark", "2")
        assert "not by such a query" in error.value.message
