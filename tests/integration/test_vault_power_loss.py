"""Power loss at every durable write of the gateway's vault and of its node, while a sync goes on: the vault
opens again, it knows all that the chain has, and the next pass leaves the chain with the table, each row once.

The node is put back as of the same moment, with all that it had written: the most that a chain may
have of a gateway whose disk lost what was not synced.

RENKEI_POINTS: how many moments (0: every one, as in a long run). RENKEI_SEED: of the choice and of
the variants."""
import contextlib
import os
import pathlib
import random
import shutil
import tempfile

import pytest

from tests.harness.gateways import BUILD, Chain, Refused, wait_until
from tests.harness.ledger import Client
from tests.harness.patient import Key, Patient
from tests.harness.power_loss import (SYNCED, SYNCING, VARIANTS, Disk, read_record, write_image)
from tests.harness.sources import ODBCSource
from tests.integration.test_sync_random_kills import check_chain, check_records

LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
POINTS = int(os.environ.get("RENKEI_POINTS", "0" if LONG else "2"))
SEED = int(os.environ.get("RENKEI_SEED", str(random.randrange(1 << 30))))
RECORDER = BUILD / "tests" / "harness" / "disk_recorder.so"
NOTES = [text.encode("cp932") for text in ("経過良好", "ソ表十 ①㈱髙﨑", "ﾊﾝｶｸ")]
SEEN = "2011-03-01 00:00:00"
FIRST_ROWS = 40
MANY_ROWS = 9000  # of three transactions, which the gateway has under way together
SECTOR = 512


class Run:
    """A table that changes, a gateway that anchors it, and a record of all that it and its node wrote."""

    def __init__(self, lies=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-vault-power-"))
        self.folder.chmod(0o755)
        self.source = ODBCSource(self.folder / "emr").start()
        self.chain = Chain(["clinic"], folder=self.folder / "chain").init()
        self.hospital = self.chain["clinic"]
        self.vault, self.node = self.hospital.folder / "vault", self.hospital.folder / "node/data"
        self.key = Key()
        self.live = {}
        self.insert(range(FIRST_ROWS))
        self.hospital.add_source(self.source.mapping(), "    deletions_percent_max: 100\n")
        self.chain.start()
        self.hospital.enrol("p1", self.key)
        self.hospital.sync()
        assert set(self.hospital.end()) == {0}
        for name, folder in (("vault", self.vault), ("node", self.node)):
            shutil.copytree(folder, self.folder / f"{name}-before")
        self.start(lies)
        self.drive()
        self.hospital.kill()
        self.events = sorted((e for at, name in enumerate(("vault", "node"))
                              for e in read_record(self.folder / f"{name}-record", at)),
                             key=lambda e: e.ns)
        begun = next(e.ns for e in self.events if e.node == 0)  # the node's start is no matter here
        self.moments = [i for i, e in enumerate(self.events) if e.ns > begun
                        and (e.operation == SYNCED or e.node == 0 and e.operation == SYNCING)]

    def start(self, lies):
        for name, folder, program, wait in (
                ("node", self.node, self.hospital.node_program, self.hospital.wait_node),
                ("vault", self.vault, self.hospital.gateway_program, self.hospital.wait_gateway)):
            extra = {"RENKEI_DISK_LIES": lies} if lies and name == "vault" else {}
            program.start(LD_PRELOAD=str(RECORDER), RENKEI_DISK_ROOT=str(folder),
                          RENKEI_DISK_RECORD=str(self.folder / f"{name}-record"), **extra,
                          ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "")
                          + ":verify_asan_link_order=0")
            wait()

    def insert(self, numbers):
        rows = {no: NOTES[no % 3] for no in numbers}
        self.source.insert([(no, f"p{no % 4 if no < 100 else 9}", note, "drug", SEEN)
                            for no, note in rows.items()])
        self.live.update(rows)

    def change(self, no, note):
        self.source.set_note(no, note)
        self.live[no] = note

    def delete(self, no):
        self.source.delete(no)
        del self.live[no]

    def drive(self):
        self.insert(range(FIRST_ROWS, FIRST_ROWS + 10))
        for no in range(0, 20, 2):
            self.change(no, NOTES[0] + b"2")
        self.hospital.sync()
        self.insert(range(1000, 1000 + MANY_ROWS))
        for no in range(1, 10, 2):
            self.delete(no)
        self.hospital.sync()
        self.insert([1])  # a key that was deleted comes back
        self.change(2, NOTES[1] + b"3")
        self.hospital.sync()

    def images(self, moments):
        """(number of the moment, disks of vault and node) for each of these indices of events."""
        disks = [Disk(self.vault), Disk(self.node)]
        for disk, name in zip(disks, ("vault", "node")):
            before = os.fsencode(str(self.folder / f"{name}-before"))
            disk.load(self.folder / f"{name}-before",
                      lambda path, d=disk, b=before: d.root + path[len(b):])
        at = 0
        for moment in moments:
            while at <= moment:
                disks[self.events[at].node].play(self.events[at])
                at += 1
            yield moment, disks

    def close(self):
        self.hospital.kill()
        self.source.db.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def put_back(folder, disk, image):
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    write_image(image, disk.folders, disk.root, folder)


def records_of(run):
    """The patient's. A worker that a starved machine started too late leaves rows unread for a moment."""
    records = {}

    def known():
        records.update(Patient(run.key, run.hospital).records())
        unread = {address: r.get("error") for address, r in records.items()
                  if r["verdict"] == "unknown"}
        print(*(f"{address}: {error}\n" for address, error in unread.items()), end="")
        return not unread
    with contextlib.suppress(TimeoutError):  # check_records says what is wrong then
        wait_until(known, "every row is read", 10)
    return records


def check_restart(run, disks, variant, seed):
    """Starts gateway and node on these disks; the next pass does what is left to do, and no more."""
    hospital, (vault, node) = run.hospital, disks
    put_back(run.vault, vault, vault.image(variant, seed, SECTOR))
    put_back(run.node, node, node.image("killed", seed))
    hospital.start_node()
    hospital.wait_node()
    hospital.start_gateway()
    hospital.wait_gateway()  # the vault opens
    try:
        hospital.sync()
    except Refused as error:
        raise AssertionError(f"the next pass: {error}") from error
    status = hospital.status()
    assert status["pending"] == 0
    assert status["sources"][0]["tables"][0]["records"] == len(run.live)
    with contextlib.closing(Client(hospital.folder / "node/node.sock",
                                   hospital.folder / "node/genesis.json")) as client:
        contents = check_chain(client)
    assert len(contents) == len(run.live), "a row is missing, or is there twice"
    shown = check_records(records_of(run), contents)
    assert shown == {no: note for no, note in run.live.items() if no < 100 and no % 4 == 1}
    assert set(hospital.end()) == {0}


def test_power_loss_at_any_durable_write_leaves_a_vault_that_knows_all_that_is_anchored():
    dice = random.Random(SEED)
    with contextlib.closing(Run()) as run:
        moments = run.moments if POINTS == 0 or POINTS >= len(run.moments) \
            else sorted(dice.sample(run.moments, POINTS))
        print(f"RENKEI_SEED={SEED}: {len(run.moments)} durable writes, "
              f"{len(moments)} tried")
        assert len(run.moments) > 20
        for number, (moment, disks) in enumerate(run.images(moments)):
            variant = random.Random(SEED + number).choice(VARIANTS)
            try:
                check_restart(run, disks, variant, SEED + number)
            except BaseException:
                print(f"at event {moment} of {len(run.events)}, variant {variant}")
                print(run.hospital.gateway_program.words(), run.hospital.node_program.words())
                raise


def test_without_the_sync_the_vault_does_not_know_what_is_anchored():
    """The negative control: the vault's disk lies, and the same check must see it."""
    with contextlib.closing(Run(lies="/vault/")) as run:
        (_, disks), = run.images([len(run.events) - 1])
        with pytest.raises(AssertionError, match="the vault is older than the chain"):
            check_restart(run, disks, "lost", SEED)
