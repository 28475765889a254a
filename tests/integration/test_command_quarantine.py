"""Rows that could not be read and characters to look at, as the night shift sees them."""

import json
import pathlib
import shutil
import tempfile

import pytest

from tests.harness.gateways import Chain, Refused
from tests.harness.sources import ODBCSource

SEEN = "2011-03-24 00:00:00"
INVALID = bytes.fromhex("8320") + "経過".encode("cp932")
MARKER = "ひみつ"  # a value that no list may show

# What stands in the notes, and what the report must say of it: kind, code, times.
CHARACTERS = {
    ("wave-dash", "8160"): 3,
    ("gaiji", "F040"): 2,
    ("not-round-trip", "EEE0"): 1,
    ("invalid", "83"): 1,
}
NOTES = [bytes.fromhex("8160 8160 F040"), bytes.fromhex("F040 8160"), bytes.fromhex("EEE0"),
         "普通".encode("cp932")]


class Clinic:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-quarantine-"))
        self.folder.chmod(0o755)
        self.source = ODBCSource(self.folder / "odbc").start()
        self.chain = Chain(["clinic"], folder=self.folder / "chain").init()
        self.hospital = self.chain["clinic"]
        self.hospital.add_source(self.source.mapping())
        self.source.insert([(no, f"P-{no}", note, MARKER, SEEN)
                            for no, note in enumerate(NOTES, 1)])
        self.source.insert([(9, "P-9", INVALID, MARKER, SEEN)])

    def json(self, *words):
        return json.loads(self.hospital.command(*words, "--json"))

    def stop(self):
        self.chain.__exit__(None)
        self.source.db.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture()
def clinic():
    clinic = Clinic()
    clinic.chain.start()
    try:
        yield clinic
    finally:
        clinic.stop()


def test_a_row_in_quarantine_is_explained_corrected_and_replayed(clinic):
    clinic.hospital.sync()
    [row] = clinic.json("quarantine")
    assert (row["table"], row["key"], row["column"], row["reason"], row["anchored"]) == \
        ("records", "9", "note", "invalid-bytes", False)
    shown = clinic.hospital.command("quarantine", "show", str(row["id"]))
    assert "row       odbc-emr/records, key 9" in shown
    assert "reason    invalid-bytes, first at 83" in shown
    assert "nothing of the row is on the chain" in shown
    assert "renkei quarantine replay odbc-emr" in shown
    assert MARKER not in shown
    _, metrics = clinic.hospital.admin("GET", "/metrics")
    assert 'renkei_quarantined_rows{source="odbc-emr",table="records"} 1' in metrics

    [still] = clinic.json("quarantine", "replay")
    assert (still["read"], still["quarantined"], still["anchored"]) == (1, 1, 0)

    clinic.source.set_note(9, "経過良好".encode("cp932"))
    clinic.source.insert([(10, "P-10", NOTES[3], MARKER, SEEN)])  # no replay's business
    [done] = clinic.json("quarantine", "replay", "odbc-emr")
    assert (done["read"], done["created"], done["anchored"], done["quarantined"]) == (1, 1, 1, 0)
    assert clinic.json("quarantine") == []
    [status] = clinic.json("status")["sources"]
    assert status["tables"][0]["records"] == len(NOTES) + 1


def test_a_dropped_row_comes_back_with_the_next_pass_that_meets_it(clinic):
    clinic.hospital.sync()
    [row] = clinic.json("quarantine")
    clinic.hospital.command("quarantine", "drop", str(row["id"]))
    assert clinic.json("quarantine") == []
    clinic.hospital.sync()
    assert [again["key"] for again in clinic.json("quarantine")] == ["9"]


def test_words_that_are_no_action_and_rows_that_are_not_there(clinic):
    for words, status, text in (
            (("quarantine", "burn"), 2, "found 'burn', expected list, show, replay or drop"),
            (("quarantine", "show", "x"), 2, "found 'x', expected a row's id"),
            (("quarantine", "show", "77"), 4, "the quarantine has no row 77"),
            (("quarantine", "drop", "77"), 4, "the quarantine has no row 77"),
            (("quarantine", "replay", "nobody"), 4, "there is no source 'nobody'")):
        with pytest.raises(Refused) as caught:
            clinic.hospital.command(*words)
        assert text in caught.value.err
        assert caught.value.status == status, words


def test_the_character_report_counts_every_doubtful_character_by_column_and_code(clinic):
    assert clinic.json("characters") == []
    clinic.hospital.sync("--dry-run")  # before anything is anchored
    rows = clinic.json("characters")
    assert {(row["kind"], row["code"]): row["count"] for row in rows} == CHARACTERS
    assert {row["column"] for row in rows} == {"note"}
    keys = {(row["kind"], row["code"]): row["sampleKey"] for row in rows}
    assert keys[("gaiji", "F040")] == "1" and keys[("invalid", "83")] == "9"
    assert MARKER not in json.dumps(rows, ensure_ascii=False)
    clinic.hospital.sync()
    assert clinic.json("characters") == rows, "a full pass replaces what was before"
    for no in (1, 2, 3, 9):
        clinic.source.delete(no)
    clinic.hospital.sync()
    assert clinic.json("characters") == []
