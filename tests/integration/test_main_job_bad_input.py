"""Everything that is usually wrong at first: each gives its clear error, and the daemon goes on."""

import json
import pathlib
import shutil
import tempfile

import pytest

from tests.harness.gateways import Chain, Refused, wait_until
from tests.harness.patient import Key, Patient
from tests.harness.sources import MySQLSource, ODBCSource

SEEN = "2011-03-24 00:00:00"
NOTE = "経過良好".encode("cp932")


class Clinic:
    """A hospital alone, one good source beside several that are wrong each in its own way."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-wrong-"))
        self.folder.chmod(0o755)
        self.mysql = MySQLSource(self.folder / "mysql").start()
        self.odbc = ODBCSource(self.folder / "odbc").start()
        for source in (self.mysql, self.odbc):
            source.insert([(1, "P-1", NOTE, "drug", SEEN), (2, "P-2", NOTE, "drug", SEEN)])
        self.chain = Chain(["clinic"], folder=self.folder / "chain").init()
        self.hospital = self.chain["clinic"]
        self.hospital.add_source(self.odbc.mapping())
        wrong = self.folder / "wrong-password"
        wrong.write_text("wrong")
        good = self.mysql.mapping()
        self.paths = {}
        for name, mapping in {
                "wrong-password": self.mysql.mapping(password_file=wrong),
                "database-down": self.mysql.mapping(socket=self.folder / "nobody.sock"),
                "missing-table": good.replace("table: records", "table: recods"),
                "missing-column": good.replace("column: drug", "column: drog"),
                "wrong-type": good.replace("column: drug", "column: drug\n        type: date"),
        }.items():
            mapping = mapping.replace("source: mysql-emr", f"source: {name}")
            self.paths[name] = self.hospital.add_source(mapping)

    def stop(self):
        self.chain.__exit__(None)
        self.mysql.db.close()
        self.odbc.db.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def clinic():
    clinic = Clinic()
    clinic.chain.start()
    try:
        yield clinic
    finally:
        clinic.stop()


def refused(clinic, *words):
    """The exit status and words of a command that must fail."""
    with pytest.raises(Refused) as caught:
        clinic.hospital.command(*words)
    return caught.value.status, caught.value.err


def goes_on(clinic):
    """The gateway still syncs its good source and serves its records."""
    clinic.hospital.sync("odbc-emr")
    key = Key()
    clinic.hospital.enrol("P-1", key)
    record = Patient(key, clinic.hospital).records()["renkei://clinic/odbc-emr/records/1"]
    assert record["verdict"] == "match"


# source, exit status, the exact words; {folder} is the test's
WRONG = [
    ("wrong-password", 21,
     "renkei: the source database refused the login: source wrong-password: Access denied for user "
     "'renkei'@'localhost' (using password: YES)\n"
     "  hint: check user, password file and the account's rights\n"),
    ("database-down", 20,
     "renkei: the source database cannot be reached: source database-down: Can't connect to local "
     "server through socket '{folder}/nobody.sock' (2)\n"
     "  hint: check that the database is up, its host, port and socket\n"),
    ("missing-table", 22,
     "renkei: the source database has no such table: source missing-table: no table recods in the "
     "database, or none that the account may see\n"
     "  hint: run 'renkei discover' to list the tables\n"),
    ("missing-column", 31,
     "renkei: the mapping does not fit the table: source missing-column: "
     "{folder}/chain/clinic/missing-column.yaml:17: table 'records': there is no column 'drog' for "
     "a field\n  hint: did you mean 'drug'?\n"),
]


@pytest.mark.parametrize("source, status, words", WRONG, ids=[w[0] for w in WRONG])
def test_a_source_that_cannot_be_read_says_why_and_the_daemon_goes_on(clinic, source, status,
                                                                      words):
    assert refused(clinic, "sync", source) == (status, words.format(folder=clinic.folder))
    goes_on(clinic)


def test_check_finds_the_same_before_the_gateway_runs(clinic):
    for source, status, words in WRONG:
        found, error = refused(clinic, "check", clinic.paths[source])
        assert found == status, (source, error)
        words = words.format(folder=clinic.folder).replace("source missing-column: ", "")
        assert error == words


def test_a_wrong_type_puts_rows_into_quarantine_with_the_reason_and_without_the_value(clinic):
    clinic.hospital.sync("wrong-type")
    rows = json.loads(clinic.hospital.command("quarantine", "--json"))
    text = json.dumps(rows)
    assert text.count("wrong-type") >= 2 and "drug" in text and "type" in text
    assert NOTE.decode("cp932") not in text
    goes_on(clinic)


def test_a_type_that_there_is_not_is_an_error_with_file_line_and_nearest_word(clinic):
    path = clinic.folder / "typo.yaml"
    path.write_text(clinic.mysql.mapping().replace("type: date", "type: dat"))
    status, error = refused(clinic, "check", path)
    line = path.read_text().splitlines().index("        type: dat") + 1
    assert status == 3
    assert f"{path}:{line}:" in error and "dat" in error and "date" in error


def test_an_unknown_key_names_the_nearest_one(clinic):
    path = clinic.folder / "unknown.yaml"
    path.write_text(clinic.mysql.mapping().replace("    patient: ", "    pacient: "))
    status, error = refused(clinic, "check", path)
    assert status == 3
    assert "pacient" in error and "patient" in error and f"{path}:" in error


def test_an_unreachable_node_is_said_and_the_gateway_recovers_by_itself(clinic):
    hospital = clinic.hospital
    goes_on(clinic)
    hospital.node_program.kill()
    key = Key()
    hospital.enrol("P-2", key)
    answer = Patient(key, hospital).get("/v1/me/document")
    body = answer.body.decode()
    assert "node-unreachable" in body, body
    assert '"verdict":"match"' not in body.replace(" ", "")
    assert hospital.gateway_program.alive()
    hospital.start_node()
    hospital.wait_node()
    wait_until(lambda: hospital.status().get("chain"), "the gateway finds its node again")
    goes_on(clinic)


MALFORMED = [
    ("GET", "/v1/nothing", 404), ("DELETE", "/v1/me/document", 405), ("GET", "/v1/me/document", 401),
    ("POST", "/v1/token", 400), ("GET", "/v1/me/document?view=sideways", 400),
    ("GET", "/v1/chain/blocks/minus-one", 400),
]


@pytest.mark.parametrize("method, path, status", MALFORMED)
def test_a_malformed_request_is_answered_by_a_problem_document(clinic, method, path, status):
    key = Key()
    clinic.hospital.enrol("P-1", key)
    client = Patient(key, clinic.hospital)
    if "view" in path or "chain" in path:
        answer = client.get(path)
    else:
        answer = client.send(method, path)
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == status and problem["code"] and problem["title"]
    goes_on(clinic)


def test_a_token_of_another_patient_opens_nothing(clinic):
    goes_on(clinic)
    mine, theirs = Key(), Key()
    clinic.hospital.enrol("P-1", mine)
    clinic.hospital.enrol("P-2", theirs)
    me, other = Patient(mine, clinic.hospital), Patient(theirs, clinic.hospital)
    me.sign_in()
    stolen = other.get("/v1/me/document", token=me.token)
    assert stolen.status == 401, "a token is bound to its own key"
    record = me.records()["renkei://clinic/odbc-emr/records/1"]
    answer = other.get(f"/v1/records/{record['id']}")
    assert answer.status in (403, 404) and NOTE.decode("cp932").encode() not in answer.body
    never = Patient(Key(), clinic.hospital)
    assert never.sign_in().status == 401
