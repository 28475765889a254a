"""What a pass refuses to anchor by itself: a table that loses too many rows at once, and a change in a
table that the hospital declared immutable. Both are said in the command, status, metrics and log."""

import json
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from tests.harness.gateways import Chain, Refused
from tests.harness.patient import Key, Patient
from tests.harness.sources import MySQLSource

NOTE, SEEN = "ソ表十".encode("cp932"), "2011-03-24 00:00:00"
IMMUTABLE = """\
  - table: charts
    category: EMR06
    key: [chart_no]
    patient: patient
    immutable: true
"""


@pytest.fixture
def clinic():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-alarms-"))
    folder.chmod(0o755)
    source = MySQLSource(folder / "mysql").start()
    hospital = Chain(["clinic"], folder=folder / "chain").init()["clinic"]
    try:
        source.insert([(no, "p1", NOTE, "drug", SEEN) for no in range(1000)])
        source.run("CREATE TABLE charts (chart_no INT PRIMARY KEY, patient VARCHAR(32), text TEXT)")
        source.run("INSERT INTO charts SELECT record_no, 'p2', 'planted-marker' FROM records "
                   "WHERE record_no < 20")
        hospital.add_source(source.mapping() + IMMUTABLE)
        hospital.start_node()
        hospital.wait_node()
        hospital.start_gateway()
        hospital.wait_gateway()
        hospital.sync()
        yield hospital, source
        assert set(hospital.end()) == {0}
        log = pathlib.Path(hospital.gateway_program.log).read_text()
        assert "planted-marker" not in log
    finally:
        hospital.kill()
        source.db.close()
        shutil.rmtree(folder, ignore_errors=True)


def tables(hospital):
    return {t["table"]: t for t in hospital.status()["sources"][0]["tables"]}


def metrics(hospital):
    return subprocess.check_output(["curl", "-sS", "--unix-socket", hospital.folder / "admin.sock",
                                    "http://gateway/metrics"], text=True)


def events(hospital, name):
    lines = pathlib.Path(hospital.gateway_program.log).read_text().split("\n")
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in found if event.get("event") == name]


def test_many_vanished_rows_wait_for_an_operator(clinic):
    hospital, source = clinic
    leaves = hospital.status()["chain"]["leaves"]
    source.run("DELETE FROM records WHERE record_no < 101")
    source.insert([(5000, "p1", NOTE, "drug", SEEN)])
    with pytest.raises(Refused) as refused:
        hospital.sync()
    assert refused.value.status == 32
    assert ("mysql-emr/records: 101 of its 1000 records have vanished from the database, at most "
            "10 % are anchored as deleted unasked") in refused.value.err
    assert "renkei sync mysql-emr --accept-deletions records" in refused.value.err
    assert hospital.status()["chain"]["leaves"] == leaves + 1, "what is new is anchored all the same"
    assert tables(hospital)["records"]["vanished"] == 101
    assert 'renkei_vanished_rows{source="mysql-emr",table="records"} 101' in metrics(hospital)
    assert len(events(hospital, "deletions-held-back")) == 1
    assert "have vanished" in hospital.command("status")
    key = Key()
    hospital.enrol("p1", key)
    verdicts = [r["verdict"] for r in Patient(key, hospital).records().values()]
    assert verdicts.count("missing") == 101, "a patient sees that the rows are gone"

    hospital.sync("mysql-emr", "--accept-deletions", "records")
    assert tables(hospital)["records"]["vanished"] == 0
    assert tables(hospital)["records"]["deleted"] == 101
    hospital.sync()


def test_a_changed_row_of_an_immutable_table_is_an_alarm_and_no_new_version(clinic):
    hospital, source = clinic
    leaves = hospital.status()["chain"]["leaves"]
    source.run("UPDATE charts SET text = 'planted-marker two' WHERE chart_no = 3;"
               "DELETE FROM charts WHERE chart_no = 4; INSERT INTO charts VALUES (50, 'p2', 'new')")
    hospital.sync()
    assert hospital.status()["chain"]["leaves"] == leaves + 1, "only the new row"
    assert tables(hospital)["charts"]["immutableChanged"] == 2
    assert 'renkei_immutable_changed_rows{source="mysql-emr",table="charts"} 2' in metrics(hospital)
    assert len(events(hospital, "immutable-table-changed")) == 2
    assert "2 rows of immutable tables changed or are gone" in hospital.command("status")
    rows = json.loads(hospital.command("quarantine", "--json"))
    assert sorted((row["key"], row["reason"]) for row in rows) == [
        ("3", "immutable-changed"), ("4", "immutable-deleted")]
    key = Key()
    hospital.enrol("p2", key)
    records = Patient(key, hospital).records()
    verdicts = {int(a.rpartition("/")[2]): r["verdict"] for a, r in records.items()}
    assert (verdicts[3], verdicts[4], verdicts[5], verdicts[50]) == ("mismatch", "missing", "match",
                                                                     "match")
    source.run("UPDATE charts SET text = 'planted-marker' WHERE chart_no = 3;"
               "INSERT INTO charts VALUES (4, 'p2', 'planted-marker')")
    hospital.sync()
    assert tables(hospital)["charts"]["immutableChanged"] == 0
    assert json.loads(hospital.command("quarantine", "--json")) == []
