"""`renkei check` against a real MariaDB: what will work, but slowly or not for long."""
import json
import os
import pathlib
import subprocess

import pytest

from tests.harness.databases import MariaDB

BUILD = pathlib.Path(os.environ.get("RENKEI_BUILD", "build")).resolve()
RENKEI = BUILD / "gateway/cli/renkei"

MAPPING = """\
source: main
connector: mysql
connection: {{socket: "{socket}", user: renkei, password_file: password, database: emr}}
tables:
  - {{table: visits, category: EMR05, key: [{key}], patient: patient_no}}
"""


@pytest.fixture(scope="module")
def database():
    with MariaDB() as db:
        db.sql("CREATE DATABASE emr CHARACTER SET cp932")
        db.sql("CREATE TABLE visits (visit_no INT PRIMARY KEY, serial INT, patient_no VARCHAR(20))"
               " ENGINE=InnoDB", "emr")
        db.user("renkei", "secret", "emr")
        yield db


def warnings(database, folder, key):
    (folder / "password").write_text("secret")
    (folder / "main.yaml").write_text(MAPPING.format(socket=database.socket, key=key))
    shown = subprocess.run([RENKEI, "check", "main.yaml", "--json"], cwd=folder, text=True,
                           capture_output=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    return [row["finding"] for row in json.loads(shown.stdout) if row["level"] == "warning"]


def test_what_has_no_index_is_said_until_it_has_one(database, tmp_path):
    slow = "the patient column has no index: each document reads the whole table"
    assert warnings(database, tmp_path, "visit_no") == [slow]
    assert warnings(database, tmp_path, "serial") == [
        "the key is not the primary key: two rows with one key go to quarantine", slow]
    database.sql("CREATE INDEX by_patient ON visits (patient_no)", "emr")
    assert warnings(database, tmp_path, "visit_no") == []
