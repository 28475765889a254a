"""`renkei check` against real databases: what will work, but slowly, not for long, or not as meant."""
import json
import os
import pathlib
import sqlite3
import subprocess

import pytest

from tests.harness.databases import MariaDB, PostgreSQL

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
                           capture_output=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    return [row["finding"] for row in json.loads(shown.stdout) if row["level"] == "warning"]


def test_what_has_no_index_is_said_until_it_has_one(database, tmp_path):
    slow = "the patient column has no index: each document reads the whole table"
    assert warnings(database, tmp_path, "visit_no") == [slow]
    assert warnings(database, tmp_path, "serial") == [
        "the key is not the primary key: two rows with one key go to quarantine", slow]
    database.sql("CREATE INDEX by_patient ON visits (patient_no)", "emr")
    assert warnings(database, tmp_path, "visit_no") == []


# A database declares nothing, or the wrong thing: what stands in it must tell.
SENTENCES = ["経過良好、次回は来週の予定", "アスピリン錠を処方した", "頭痛がひどいとのこと"]
DECLARED = """\
source: main
connector: postgresql
connection: {{host: "{host}", port: "{port}", user: renkei, password_file: password, database: emr}}
charset: {charset}
{more}tables:
  - {{table: notes, category: EMR05, key: [no]}}
"""


@pytest.fixture(scope="module")
def undeclared():
    with PostgreSQL() as db:
        db.create("emr", "SQL_ASCII")
        db.sql("CREATE TABLE notes (no INT PRIMARY KEY, sjis TEXT, euc TEXT, utf8 TEXT, "
               "seen TIMESTAMPTZ)", "emr")
        for no, text in enumerate(SENTENCES):
            values = ",".join(f"convert_from('\\x{text.encode(code).hex()}', 'SQL_ASCII')"
                              for code in ("cp932", "euc_jp", "utf-8"))
            db.sql(f"INSERT INTO notes VALUES ({no}, {values}, '2011-03-23 23:00:00+00')", "emr")
        db.user("renkei", "secret", "emr")
        yield db


def check_undeclared(db, folder, charset, *words, more='time_zone: "+09:00"\n'):
    (folder / "password").write_text("secret")
    (folder / "main.yaml").write_text(DECLARED.format(host=db.socket, port=db.port,
                                                      charset=charset, more=more))
    return subprocess.run([RENKEI, "check", "main.yaml", "--json", *words], cwd=folder, text=True,
                          capture_output=True, timeout=300)


@pytest.mark.parametrize("charset, others", [
    ("cp932", {"notes.euc": "euc-jp", "notes.utf8": "utf-8"}),
    ("euc-jp", {"notes.sjis": "cp932", "notes.utf8": "utf-8"}),
    ("utf-8", {"notes.sjis": "cp932", "notes.euc": "euc-jp"}),
    ("latin1", {"notes.sjis": "cp932", "notes.euc": "euc-jp", "notes.utf8": "utf-8"})])
def test_columns_in_another_charset_than_declared_are_named_with_evidence(undeclared, tmp_path,
                                                                          charset, others):
    shown = check_undeclared(undeclared, tmp_path, charset)
    assert shown.returncode == 0, shown.stderr
    found = {row["object"]: row["finding"] for row in json.loads(shown.stdout)
             if row["level"] == "warning" and row["object"].startswith("notes.")}
    assert {column: text.split(":")[0] for column, text in found.items()} == {
        column: f"declared {charset}, and looks like {real}" for column, real in others.items()}
    assert all("of 3 sampled values" in text for text in found.values())
    assert not any(sentence in shown.stdout for sentence in SENTENCES)
    silent = check_undeclared(undeclared, tmp_path, charset, "--no-rows")
    assert "looks like" not in silent.stdout


def test_instants_need_a_time_zone_before_they_are_days(undeclared, tmp_path):
    shown = check_undeclared(undeclared, tmp_path, "latin1", more="")
    assert shown.returncode == 31
    error = json.loads(shown.stderr)
    assert "column 'seen' holds instants, and the mapping has no 'time_zone'" in error["message"]
    assert error["hint"].endswith("time_zone: \"+09:00\" is Japan's")
    (tmp_path / "main.yaml").write_text((tmp_path / "main.yaml").read_text().replace(
        "tables:", 'time_zone: "+09:00"\ntables:'))
    preview = subprocess.run([RENKEI, "preview", "main.yaml", "--json"], cwd=tmp_path, text=True,
                             capture_output=True, timeout=300)
    assert preview.stdout.count('"2011/03/24"') == len(SENTENCES), preview.stdout[:2000]


def test_a_timestamp_of_mariadb_is_the_day_it_is_at_the_hospital(database, tmp_path):
    """The session reads instants in UTC; a morning in Japan must not become the day before."""
    database.sql("CREATE TABLE seen (no INT PRIMARY KEY, patient_no VARCHAR(20), at TIMESTAMP NULL,"
                 " KEY (patient_no)); SET time_zone='+09:00';"
                 "INSERT INTO seen VALUES (1, 'P', '2011-03-24 08:00:00')", "emr")
    (tmp_path / "password").write_text("secret")
    (tmp_path / "main.yaml").write_text('time_zone: "+09:00"\n' + MAPPING.format(
        socket=database.socket, key="no").replace("visits", "seen"))
    preview = subprocess.run([RENKEI, "preview", "main.yaml", "--json"], cwd=tmp_path, text=True,
                             capture_output=True, timeout=300)
    assert '"2011/03/24"' in preview.stdout, preview.stdout + preview.stderr
    discovered = subprocess.run(
        [RENKEI, "discover", "--connector", "mysql", "--set", f"socket={database.socket}", "--set",
         "user=renkei", "--set", "password_file=password", "--set", "database=emr", "--mapping",
         "found.yaml", "--folder", ".", "seen"], cwd=tmp_path, text=True, capture_output=True,
        timeout=300, env={**os.environ, "TZ": "Asia/Tokyo"})
    assert discovered.returncode == 0, discovered.stderr
    assert 'time_zone: "+09:00"' in (tmp_path / "found.yaml").read_text()


def test_discover_asks_for_the_charset_that_the_database_does_not_tell(tmp_path):
    with sqlite3.connect(tmp_path / "emr.sqlite") as database:
        database.execute("CREATE TABLE seen (no INTEGER PRIMARY KEY, note TEXT)")
    asks = "# charset: cp932"
    for more, expected in ([], True), (["--charset", "utf-8"], False):
        (tmp_path / "found.yaml").unlink(missing_ok=True)
        discovered = subprocess.run(
            [RENKEI, "discover", "--connector", "odbc", "--set", "driver=SQLite3", "--set",
             "database=emr.sqlite", "--mapping", "found.yaml", "--folder", ".", *more],
            cwd=tmp_path, text=True, capture_output=True, timeout=300)
        assert discovered.returncode == 0, discovered.stderr
        assert (asks in (tmp_path / "found.yaml").read_text()) == expected
