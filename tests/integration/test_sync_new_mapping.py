"""A new mapping does not make a record look new, and hides no change: until the next sync, a row is
compared as the mapping that it was anchored under reads it, and the next sync tells a row that only
reads differently from one that was changed."""

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
    if path.read_text() != source.mapping():
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


FIELDS = """\
      - column: note
      - column: drug
      - column: seen
        type: date
"""
# Another order, a column more, one less, and another category.
OTHER_FIELDS = """\
      - column: seen
        type: date
      - column: record_no
      - column: note
"""


def anchored(key, hospital):
    """Number -> (the latest version's origin, observed changes)."""
    return {int(address.rpartition("/")[2]):
            (record["anchored"]["origin"], record["anchored"]["observedChanges"])
            for address, record in Patient(key, hospital).records().items()}


def synced(hospital):
    """What a sync found changed, and how much of that only since the mapping changed."""
    said = hospital.sync(check=False)
    assert said.returncode == 0, said.stderr
    counts = hospital.status()["sources"][0]["progress"]["counts"]
    told = f"{counts['remapped']} of the changed rows only read differently"
    assert (told in said.stderr) == (counts["remapped"] > 0)
    return counts["modified"], counts["remapped"]


def changed_since(before, after):
    """Which rows have an observed change more; the others' latest version is declared."""
    more = {no for no in after if after[no][1] == before[no][1] + 1}
    for no, (origin, count) in after.items():
        assert origin == ("observed" if no in more else "declared"), no
        assert count == before[no][1] + (no in more), no
    return more


def test_the_next_sync_counts_as_observed_what_was_changed_and_nothing_else(clinic):
    hospital, source, path, key = clinic
    first = path.read_text()
    second = first.replace("EMR05", "EMR03").replace(FIELDS, OTHER_FIELDS)
    assert second.count("record_no") == 2
    start = anchored(key, hospital)
    under(hospital, path, second)
    assert synced(hospital) == (4, 4)
    assert changed_since(start, then := anchored(key, hospital)) == set()
    source.set_note(2, OTHER)
    under(hospital, path, first)
    assert synced(hospital) == (4, 3)
    assert changed_since(then, now := anchored(key, hospital)) == {2}
    # In a column that the next mapping does not read; and two values change their places, as their
    # columns do in the mapping.
    source.set_seen(3, "2011-03-24 10:45:00")
    source.run(f"UPDATE records SET drug = {source.text(NOTE)} WHERE record_no = 1")
    source.set_note(1, b"HUMULIN INJ 70/30")
    under(hospital, path, first.replace(FIELDS, "      - column: drug\n      - column: note\n")
          .replace("    date: seen\n", ""))
    assert synced(hospital) == (4, 2)
    assert changed_since(now, anchored(key, hospital)) == {1, 3}
    assert synced(hospital) == (0, 0)


REVOKE = {
    "mysql": "REVOKE SELECT ON emr.* FROM renkei@localhost; GRANT SELECT (record_no, patient, note, "
             "seen) ON emr.records TO renkei@localhost",
    "postgresql": "REVOKE SELECT ON records FROM renkei; GRANT SELECT (record_no, patient, note, "
                  "seen) ON records TO renkei"}
GRANT = {"mysql": "GRANT SELECT ON emr.* TO renkei@localhost",
         "postgresql": "GRANT SELECT ON records TO renkei"}


@pytest.mark.parametrize("world", list(REVOKE), indirect=True)  # a file has no rights by column
def test_a_column_that_may_not_be_read_any_more_costs_the_proof_and_not_the_sync(clinic):
    hospital, source, path, key = clinic
    text = path.read_text()
    before = anchored(key, hospital)
    source.run(REVOKE[source.connector])
    try:
        under(hospital, path, text.replace("      - column: drug\n", ""))
        assert synced(hospital) == (4, 0)
        assert changed_since(before, anchored(key, hospital)) == {1, 2, 3, 4}
    finally:
        source.run(GRANT[source.connector])


def test_a_table_that_cannot_be_read_so_any_more_waits_for_a_sync(clinic):
    hospital, source, path, key = clinic
    text = path.read_text()
    before = anchored(key, hospital)
    source.run("ALTER TABLE records RENAME COLUMN drug TO drug_name")
    under(hospital, path, text.replace("column: drug\n", "column: drug_name\n"))
    assert set(verdicts(seen_by(key, hospital)).values()) == {"unanchored"}
    hospital.sync()
    assert set(verdicts(seen_by(key, hospital)).values()) == {"match"}
    assert changed_since(before, then := anchored(key, hospital)) == {1, 2, 3, 4}
    # Back again, as a migration that somebody answers for.
    source.run("ALTER TABLE records RENAME COLUMN drug_name TO drug")
    under(hospital, path, text)
    hospital.sync("--declared")
    assert changed_since(then, anchored(key, hospital)) == set()
