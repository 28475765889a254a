"""The root of a table's keys, recomputed from the table and the chain by code that shares nothing with
ours; and that a keys pass asks the database for nothing but keys."""

import hashlib
import hmac
import json
import pathlib
import shutil
import struct
import subprocess
import tempfile

import pytest

from tests.harness.gateways import Chain, wait_until
from tests.harness.ledger import Client, Reader
from tests.harness.sources import KINDS

NOTE, SEEN = "ソ表十".encode("cp932"), "2011-03-24 00:00:00"


def tree(leaves):
    """RFC 6962, 2.1."""
    if len(leaves) <= 1:
        return hashlib.sha256(b"".join(b"\0" + leaf for leaf in leaves)).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + tree(leaves[:split]) + tree(leaves[split:])).digest()


def notes(hospital):
    """The key-set notes on the chain, in order."""
    client = Client(hospital.folder / "node/node.sock", hospital.folder / "node/genesis.json")
    found = []
    for height in range(1, client.head()["height"] + 1):
        for transaction, status in client.block(height)[1]:
            if struct.unpack(">H", transaction[2:4])[0] != 2 or status != 0:
                continue
            r = Reader(Reader(transaction[84:-66]).bytes())
            assert r.raw(16) == b"renkei/keyset/1\n"
            found.append({"source": r.raw(32), "pass": r.int(8), "mode": r.int(1),
                          "count": r.int(8), "root": r.raw(32), "snapshot": r.bytes().decode()})
            r.end()
    client.close()
    return found


def keyset(hospital):
    def committed():
        [found] = json.loads(subprocess.check_output(
            ["curl", "-sS", "--unix-socket", hospital.folder / "admin.sock",
             "http://gateway/admin/v1/keysets"]))["tables"]
        return "height" in found and found
    return wait_until(committed, "the key set's note")


def check_command(hospital, shown):
    """The command says the same, and the secret only where it is asked for."""
    [listed] = json.loads(hospital.command("keysets", "--json"))
    assert {**listed, "secret": shown["secret"]} == {**shown, "state": "on the chain"}
    [listed] = json.loads(hospital.command("keysets", shown["source"], "--secret", "--json"))
    assert listed == {**shown, "state": "on the chain"}
    text = hospital.command("keysets")
    assert shown["root"] in text and shown["secret"] not in text
    assert "'nobody'" in hospital.command("keysets", "nobody", check=False).stderr


def check(hospital, source, numbers, mode):
    shown, note = keyset(hospital), notes(hospital)[-1]
    check_command(hospital, shown)
    secret = bytes.fromhex(shown["secret"])
    root = tree(sorted({hmac.digest(secret, str(no).encode(), "sha256") for no in numbers}))
    assert note["root"] == root and shown["root"] == root.hex()
    assert note["count"] == shown["count"] == len(numbers)
    assert note["source"] == hashlib.sha256(f"clinic/{source.source}/records".encode()).digest()
    assert (note["mode"], note["pass"], note["snapshot"]) == (mode, shown["pass"],
                                                              shown["snapshot"])


@pytest.fixture(params=["mysql", "postgresql", "odbc"])
def clinic(request):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-keysets-"))
    folder.chmod(0o755)
    source = KINDS[request.param](folder / "server").start()
    hospital = Chain(["clinic"], folder=folder / "chain").init()["clinic"]
    try:
        source.insert([(no, "p1", NOTE, "drug", SEEN) for no in range(300)])
        hospital.add_source(source.mapping())
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


def test_the_root_on_the_chain_is_the_table_s_keys(clinic):
    hospital, source = clinic
    hospital.sync()
    check(hospital, source, range(300), 1)
    hospital.sync()  # nothing changed, and that is on the chain, too
    found = notes(hospital)
    assert [n["root"] for n in found] == [found[0]["root"]] * 2
    source.delete(7)
    source.insert([(1000, "p1", NOTE, "drug", SEEN)])  # not anchored yet, but it is there
    hospital.sync("--mode", "keys")
    check(hospital, source, {*range(300), 1000} - {7}, 3)
    hospital.sync()
    check(hospital, source, {*range(300), 1000} - {7}, 1)


@pytest.mark.parametrize("clinic", ["mysql"], indirect=True)  # its log shows what all are told
def test_a_keys_pass_reads_the_key_columns_only(clinic):
    hospital, source = clinic
    hospital.sync()
    log = source.db.folder / "general.log"
    log.touch()
    log.chmod(0o666)
    source.db.sql(f"SET GLOBAL general_log_file = '{log}'; SET GLOBAL general_log = 1")
    hospital.sync("--mode", "keys")
    asked = [line for line in log.read_text(errors="replace").split("\n")
             if "`records`" in line and "SELECT" in line]
    assert len(asked) == 1 and "record_no" in asked[0]
    assert not [name for name in ("patient", "note", "drug", "seen") if f"`{name}`" in asked[0]]
