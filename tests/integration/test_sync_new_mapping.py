"""A new mapping does not make a record look new, and hides no change: until the next sync, a row is
compared as the mapping that it was anchored under reads it."""

import hashlib
import json
import pathlib
import shutil
import tempfile

import pytest

from tests.harness.gateways import Chain
from tests.harness.patient import Key, Patient
from tests.harness.sources import KINDS

NOTE, OTHER = "経過良好 ソ表十".encode("cp932"), "再診".encode("cp932")
SEEN = "2011-03-24 09:30:00"


@pytest.fixture(scope="module", params=list(KINDS))
def world(request):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-mapping-"))
    folder.chmod(0o755)
    source = KINDS[request.param](folder / "server").start()
    hospital = Chain(["clinic"], folder=folder / "chain").init()["clinic"]
    try:
        path = hospital.add_source(source.mapping())
        hospital.start_node()
        hospital.wait_node()
        hospital.start_gateway()
        hospital.wait_gateway()
        key = Key()
        hospital.enrol("p1", key)
        yield hospital, source, path, key
        assert set(hospital.end()) == {0}
    finally:
        hospital.kill()
        source.db.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def clinic(world):
    """Four rows, anchored under the first mapping."""
    hospital, source, path, key = world
    source.run("DELETE FROM records")
    source.insert([(no, "p1", NOTE, "HUMULIN INJ 70/30", SEEN) for no in range(1, 5)])
    under(hospital, path, source.mapping())
    hospital.sync()
    return hospital, source, path, key


def under(hospital, path, text):
    """The gateway goes on with another mapping."""
    assert hospital.gateway_program.end() == 0
    path.write_text(text)
    hospital.start_gateway()
    hospital.wait_gateway()


def seen_by(key, hospital):
    """Number -> (verdict, category, fields); a match's fields give the digest that is anchored."""
    shown = {}
    for address, record in Patient(key, hospital).records().items():
        number = int(address.rpartition("/")[2])
        if "fields" not in record:
            shown[number] = (record["verdict"], record["category"], None)
            continue
        document = {"address": address, "category": record["category"], "fields": record["fields"]}
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        latest = record["history"][0]
        digest = hashlib.sha256(b"renkei/content/1\n" + bytes.fromhex(latest["r"])
                                + canonical.encode()).hexdigest()
        assert (digest == latest["content"]) == (record["verdict"] == "match"), address
        shown[number] = (record["verdict"], record["category"], record["fields"])
    return shown


def verdicts(shown):
    return {no: verdict for no, (verdict, _, _) in shown.items()}


def test_the_verdict_is_right_at_once_after_a_new_mapping(clinic):
    hospital, source, path, key = clinic
    before = seen_by(key, hospital)
    assert verdicts(before) == {1: "match", 2: "match", 3: "match", 4: "match"}
    assert before[1][2]["seen"] == "2011/03/24"
    first = path.read_text()
    # Another category and name, a date that is now shown as it stands, a field more.
    under(hospital, path, first.replace("EMR05", "EMR03").replace("        type: date\n", "")
          .replace("      - column: drug\n", "      - column: drug\n        name: medicine\n"
                   "      - column: record_no\n"))
    assert seen_by(key, hospital) == before, "what was anchored is what is shown"
    source.set_note(2, OTHER)
    source.set_seen(3, "2011-03-24 10:45:00")  # the day is the same: only the raw bytes tell
    source.delete(4)
    after = seen_by(key, hospital)
    assert verdicts(after) == {1: "match", 2: "mismatch", 3: "mismatch", 4: "missing"}
    assert after[2][1] == "EMR03" and after[2][2]["medicine"] == "HUMULIN INJ 70/30"
    hospital.sync()
    after = seen_by(key, hospital)
    assert verdicts(after) == {1: "match", 2: "match", 3: "match", 4: "match"}
    assert after[1][1] == "EMR03" and "medicine" in after[1][2] and "record_no" in after[1][2]


def test_what_the_new_mapping_does_not_read_is_not_shown_and_its_change_is_told(clinic):
    hospital, source, path, key = clinic
    first = path.read_text()
    under(hospital, path, first.replace("      - column: drug\n", ""))
    shown = seen_by(key, hospital)
    assert set(verdicts(shown).values()) == {"unanchored"}
    assert all("drug" not in fields for _, _, fields in shown.values())
    source.run("UPDATE records SET drug = 'MORPHINE' WHERE record_no = 1")
    assert verdicts(seen_by(key, hospital)) == {1: "mismatch", 2: "unanchored", 3: "unanchored",
                                          4: "unanchored"}
    # And under the first one again nothing has happened but that.
    under(hospital, path, first)
    assert verdicts(seen_by(key, hospital)) == {1: "mismatch", 2: "match", 3: "match", 4: "match"}


def test_a_table_that_cannot_be_read_so_any_more_waits_for_a_sync(clinic):
    hospital, source, path, key = clinic
    text = path.read_text()
    source.run("ALTER TABLE records RENAME COLUMN drug TO drug_name")
    under(hospital, path, text.replace("column: drug\n", "column: drug_name\n"))
    assert set(verdicts(seen_by(key, hospital)).values()) == {"unanchored"}
    hospital.sync()
    assert set(verdicts(seen_by(key, hospital)).values()) == {"match"}
    source.run("ALTER TABLE records RENAME COLUMN drug_name TO drug")
