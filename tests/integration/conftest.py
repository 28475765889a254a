"""One region for all scenarios: three hospitals, a database of another kind in each, and a fourth
node, on one chain of four validators. Scenarios use patients and records of their own."""

import itertools
import pathlib
import shutil
import tempfile

import pytest

from tests.harness.gateways import Chain
from tests.harness.patient import Key, Patient
from tests.harness.sources import KINDS

HOSPITALS = {"mysql": "clinic", "postgresql": "hospital", "odbc": "laboratory"}
SEEN = "2011-03-24 00:00:00"


class Region:
    def __init__(self, folder):
        self.folder = folder
        self.sources = {}
        self.chain = Chain(HOSPITALS.values(), ["university"], folder / "chain")
        self.numbers = itertools.count(1)

    def start(self):
        self.chain.init()
        for kind, hospital in HOSPITALS.items():
            self.sources[kind] = KINDS[kind](self.folder / kind).start()
            self.chain[hospital].add_source(self.sources[kind].mapping())
        self.chain.start()
        return self

    def stop(self):
        self.chain.__exit__(None)
        for source in self.sources.values():
            source.db.close()

    def hospital(self, kind):
        return self.chain[HOSPITALS[kind]]

    def new_patient(self, at="mysql"):
        """(patient id, client): enrolled at every hospital, asking the one of this kind."""
        patient = f"900-00-{next(self.numbers):04d}"
        key = Key()
        for kind in HOSPITALS:
            self.hospital(kind).enrol(patient, key)
        others = [self.hospital(kind) for kind in HOSPITALS if kind != at]
        return patient, Patient(key, self.hospital(at), others)

    def new_records(self, kind, patient, notes, drug="HUMULIN INJ 70/30", seen=SEEN):
        """Inserts a row a note; the addresses of the records."""
        numbers = [next(self.numbers) for _ in notes]
        self.sources[kind].insert([(no, patient, note, drug, seen)
                                   for no, note in zip(numbers, notes)])
        return numbers, [self.sources[kind].address(HOSPITALS[kind], no) for no in numbers]


@pytest.fixture(scope="session")
def region():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-region-"))
    folder.chmod(0o755)
    region = Region(folder)
    try:
        region.start()
        yield region
    finally:
        region.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=list(HOSPITALS))
def kind(request):
    return request.param
