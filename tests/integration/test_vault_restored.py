"""The gateway's host is lost: its vault is restored from a backup, and every verdict is as before. A
backup that is older than the chain is noticed, and nothing is anchored a second time."""

import pathlib
import shutil
import tempfile

import pytest

from tests.harness.gateways import Chain, Refused, wait_until
from tests.harness.patient import Key, Patient
from tests.harness.sources import MySQLSource

NOTE, SEEN = "ソ表十".encode("cp932"), "2011-03-24 00:00:00"


@pytest.fixture
def clinic():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-restore-"))
    folder.chmod(0o755)
    source = MySQLSource(folder / "mysql").start()
    chain = Chain(["clinic"], folder=folder / "chain").init()
    hospital = chain["clinic"]
    try:
        source.insert([(no, "p1", NOTE, "drug", SEEN) for no in range(20)])
        hospital.add_source(source.mapping())
        chain.start()
        hospital.sync()
        yield hospital, source
        assert set(hospital.end()) == {0}
    finally:
        hospital.kill()
        source.db.close()
        shutil.rmtree(folder, ignore_errors=True)


def lose_and_restore(hospital, backup, key):
    hospital.gateway_program.kill()
    shutil.rmtree(hospital.folder / "vault")
    hospital.command("restore", backup, "--key", key)
    hospital.start_gateway()
    hospital.wait_gateway()


def test_a_restored_vault_gives_the_same_verdicts_and_a_stale_one_is_noticed(clinic, tmp_path):
    hospital, source = clinic
    key = Key()
    hospital.enrol("p1", key)
    backup, backup_key = tmp_path / "vault.backup", tmp_path / "backup.key"
    hospital.command("backup", backup, "--key", backup_key)
    before = Patient(key, hospital).records()
    with pytest.raises(Refused) as refused:
        hospital.command("restore", backup, "--key", backup_key)
    assert "has a vault already" in refused.value.err

    lose_and_restore(hospital, backup, backup_key)
    after = Patient(key, hospital).records()
    assert {a: r["verdict"] for a, r in after.items()} == {a: "match" for a in before}
    for address, record in after.items():
        assert record["history"] == before[address]["history"]
    source.insert([(100, "p1", NOTE, "drug", SEEN)])
    hospital.sync()
    leaves = hospital.status()["chain"]["leaves"]
    assert leaves == 21

    lose_and_restore(hospital, backup, backup_key)  # older than the chain by one transaction
    hospital.admin("POST", "/admin/v1/sync", {})
    wait_until(lambda: "the vault knows of" in str(hospital.status()), "the stale vault is noticed")
    assert hospital.status()["chain"]["leaves"] == leaves
