"""What each reading mode finds, against a real MariaDB."""

import pathlib
import shutil
import tempfile

import pytest

from tests.harness.gateways import Chain, wait_until
from tests.harness.sources import MySQLSource

NOTE = "ソ表十".encode("cp932")


@pytest.fixture
def clinic():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-modes-"))
    folder.chmod(0o755)
    source = MySQLSource(folder / "mysql").start()
    hospital = Chain(["clinic"], folder=folder / "chain").init()["clinic"]
    try:
        source.insert([(no, "p1", NOTE, "drug", f"2011-03-{no:02} 00:00:00")
                       for no in range(1, 21)])
        mapping = source.mapping().replace("    date: seen\n",
                                           "    date: seen\n    watermark: seen\n")
        hospital.add_source(mapping)
        hospital.start_node()
        hospital.wait_node()
        hospital.start_gateway()
        hospital.wait_gateway()
        yield hospital, source
        assert set(hospital.end()) == {0}
    finally:
        hospital.kill()
        source.db.close()
        shutil.rmtree(folder, ignore_errors=True)


def counts(hospital, mode):
    hospital.sync("--mode", mode)
    return hospital.status()["sources"][0]["progress"]["counts"]


def test_watermark_reads_what_moved_with_an_overlap_of_one_pass_and_deletes_nothing(clinic):
    hospital, source = clinic
    assert counts(hospital, "full")["created"] == 20
    assert counts(hospital, "watermark")["read"] == 20, "there is no pass before the last yet"
    source.insert([(30, "p1", NOTE, "drug", "2011-03-25 08:00:00")])
    source.set_seen(5, "2011-03-26 00:00:00")
    source.delete(7)
    moved = counts(hospital, "watermark")
    assert (moved["read"], moved["created"], moved["modified"], moved["deleted"]) == (3, 1, 1, 0)
    source.insert([(31, "p1", NOTE, "drug", "2011-03-22 00:00:00")])  # committed late
    late = counts(hospital, "watermark")
    assert (late["created"], late["unchanged"]) == (1, 3)
    assert counts(hospital, "full")["deleted"] == 1


def test_keys_finds_deletions_and_anchors_no_new_row(clinic):
    hospital, source = clinic
    counts(hospital, "full")
    source.delete(7)
    source.insert([(30, "p1", NOTE, "drug", "2011-03-25 08:00:00")])
    found = counts(hospital, "keys")
    assert (found["read"], found["deleted"], found["created"]) == (20, 1, 0)
    assert counts(hospital, "full")["created"] == 1


def test_modes_and_tables_have_schedules_of_their_own(clinic):
    hospital, source = clinic
    assert hospital.gateway_program.end() == 0
    config = hospital.folder / "gateway.yaml"
    config.write_text(config.read_text().replace(
        "  - mapping: mysql-emr.yaml\n",
        "  - mapping: mysql-emr.yaml\n    watermark_interval: 1h\n    tables:\n"
        "      - table: records\n        watermark_interval: 1s\n        keys_interval: 2s\n"))
    hospital.start_gateway()
    hospital.wait_gateway()
    counts(hospital, "full")

    def table():
        [found] = hospital.status()["sources"][0]["tables"]
        return found["records"], found["deleted"]
    source.insert([(40, "p1", NOTE, "drug", "2012-01-01 00:00:00")])
    wait_until(lambda: table() == (21, 0), "the row that a pass by watermark finds")
    source.delete(7)
    wait_until(lambda: table() == (20, 1), "the deletion that a pass over keys finds")


def test_the_overlap_of_a_watermark_is_what_the_operator_says(clinic):
    hospital, source = clinic
    assert hospital.gateway_program.end() == 0
    config = hospital.folder / "gateway.yaml"
    config.write_text(config.read_text().replace(
        "  - mapping: mysql-emr.yaml\n", "  - mapping: mysql-emr.yaml\n    watermark_overlap: 72h\n"))
    hospital.start_gateway()
    hospital.wait_gateway()
    counts(hospital, "full")
    source.insert([(30, "p1", NOTE, "drug", "2011-03-18 00:00:00"),   # late, and within three days of the 20th
                   (31, "p1", NOTE, "drug", "2011-03-16 23:59:59")])  # too late: a full pass finds it
    late = counts(hospital, "watermark")
    assert (late["read"], late["created"]) == (5, 1)
    assert counts(hospital, "full")["created"] == 1
