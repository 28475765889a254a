"""The vault's disk fills up during a sync: the pass stops, says how much is needed, and goes on once
there is room; nothing is anchored twice."""

import pathlib
import shutil
import tempfile

import pytest

from tests.harness.gateways import GATEWAY, Chain, Program, Refused, wait_until
from tests.harness.patient import Key, Patient
from tests.harness.small_disk import SmallDisk
from tests.harness.sources import MySQLSource

ROWS = 60000


@pytest.fixture
def clinic():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-full-"))
    folder.chmod(0o755)
    source = MySQLSource(folder / "mysql").start()
    hospital = Chain(["clinic"], folder=folder / "chain").init()["clinic"]
    disk = None
    try:
        source.run("INSERT INTO records SELECT seq, concat('p', seq MOD 1000), 'note', 'drug', "
                   f"'2011-03-24' FROM seq_1_to_{ROWS}")
        hospital.add_source(source.mapping())
        disk = SmallDisk(hospital.folder / "vault", 12)
        hospital.gateway_program = Program(
            "the gateway", disk.inside([GATEWAY, "--config", hospital.folder / "gateway.yaml"]),
            hospital.gateway_program.log)
        hospital.start_node()
        hospital.wait_node()
        hospital.start_gateway()
        hospital.wait_gateway()
        yield hospital, disk
        assert set(hospital.end()) == {0}
    finally:
        hospital.kill()
        source.db.close()
        if disk:
            disk.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_full_disk_stops_a_pass_cleanly_and_it_goes_on_with_room(clinic):
    hospital, disk = clinic
    with pytest.raises(Refused) as refused:
        hospital.sync()
    assert refused.value.status == 7
    assert "MiB are needed to go on" in refused.value.err
    status = hospital.status()
    assert status["sources"][0]["error"]["code"] == "disk-full"
    assert status["sources"][0]["tables"][0]["records"] < ROWS

    hospital.gateway_program.end()  # it ends and comes up on a full disk, too
    hospital.start_gateway()
    hospital.wait_gateway()
    with pytest.raises(Refused) as refused:
        hospital.sync()
    assert refused.value.status == 7

    disk.resize(200)
    hospital.sync()
    assert hospital.status()["chain"]["leaves"] == ROWS, "nothing twice, nothing missing"
    wait_until(lambda: hospital.status()["pending"] == 0, "the last anchor")
    assert "error" not in hospital.status()["sources"][0]
    key = Key()
    hospital.enrol("p7", key)
    records = Patient(key, hospital).records()
    assert len(records) == ROWS // 1000
    assert {record["verdict"] for record in records.values()} == {"match"}
