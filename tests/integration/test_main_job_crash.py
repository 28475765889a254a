"""kill -9 of every process during a sync; after the restart every record is anchored exactly once."""

import pathlib
import shutil
import tempfile

import pytest

from tests.harness.gateways import Chain, wait_until
from tests.harness.patient import Key, Patient
from tests.harness.sources import MySQLSource

ROWS = 20000
SEEN = "2011-03-24 00:00:00"
NOTE = "経過良好 ソ表十".encode("cp932")


@pytest.mark.parametrize("part", [0.02, 0.3, 0.7])
def test_kill_9_of_all_processes_during_sync_anchors_every_record_once(part):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-crash-"))
    folder.chmod(0o755)
    source = MySQLSource(folder / "mysql").start()
    chain = Chain(["clinic"], ["east", "west", "north"], folder / "chain")
    try:
        source.insert([(no, f"p{no % 500}", NOTE, "drug", SEEN) for no in range(ROWS)])
        chain.init()
        clinic = chain["clinic"]
        slow = f"    rows_per_second: {ROWS // 3}\n"  # so that the kill comes in the middle
        clinic.add_source(source.mapping(), slow)
        chain.start()
        clinic.admin("POST", "/admin/v1/sync", {})
        wait_until(lambda: clinic.status()["chain"]["leaves"] > ROWS * part, "a part is anchored")
        for hospital in chain:
            hospital.kill()
        config = clinic.folder / "gateway.yaml"
        config.write_text(config.read_text().replace(slow, ""))
        for hospital in chain:
            hospital.start_node()
        for hospital in chain:
            hospital.wait_node()
        assert ROWS * part < clinic.node_status()["leaves"] < ROWS, "the kill came in the middle"
        clinic.start_gateway()
        clinic.wait_gateway()
        clinic.sync()
        head = wait_until(lambda: clinic.status().get("chain"), "the chain's head")
        assert head["leaves"] == ROWS, "not one record twice, not one left out"
        key = Key()
        clinic.enrol("p7", key)
        records = Patient(key, clinic).records()
        assert len(records) == ROWS // 500
        assert {(r["verdict"], len(r["history"])) for r in records.values()} == {("match", 1)}
        clinic.sync()
        assert clinic.status()["chain"]["leaves"] == ROWS, "a further sync anchors nothing"
        chain.__exit__(None)
    finally:
        for hospital in chain:
            hospital.kill()
        source.db.close()
        shutil.rmtree(folder, ignore_errors=True)
