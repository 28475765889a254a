"""The account that `renkei grants` makes can pull and has no other right: every other one is tried, with
the session's own read-only setting taken away first."""
import json
import os
import pathlib
import subprocess

import pytest

from tests.conformance.probe import Probe
from tests.harness.databases import MariaDB, PostgreSQL, ServerError, run

BUILD = pathlib.Path(os.environ.get("RENKEI_BUILD", "build")).resolve()
RENKEI = BUILD / "gateway/cli/renkei"
PASSWORD = "himitsu'7Q-marker"


def renkei(folder, *words):
    return subprocess.run([RENKEI, *words], cwd=folder, text=True, capture_output=True, timeout=300)


def write_mapping(folder, connector, connection):
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "main.yaml").write_text(
        f"source: main\nconnector: {connector}\ncharset: utf-8\nconnection:\n" +
        "".join(f"  {k}: {v}\n" for k, v in connection.items()) +
        "  password_file: password\n"
        "tables:\n"
        "  - {table: visits, category: EMR05, key: [no]}\n"
        "  - {table: 予約表, category: EMR06, key: [番号]}\n")


def grants(folder):
    shown = renkei(folder, "grants", "main.yaml")
    assert shown.returncode == 0, shown.stderr
    assert PASSWORD not in shown.stdout and "himitsu" not in shown.stdout + shown.stderr
    as_json = renkei(folder, "grants", "main.yaml", "--json")
    assert len(json.loads(as_json.stdout)) == len(shown.stdout.splitlines())
    return shown.stdout


def can_pull(folder):
    shown = renkei(folder, "preview", "main.yaml", "--json")
    assert shown.returncode == 0, shown.stderr
    assert "first visit" in shown.stdout and "予約済" in shown.stdout
    checked = renkei(folder, "check", "main.yaml", "--json")
    assert checked.returncode == 0, checked.stderr
    return [row["finding"] for row in json.loads(checked.stdout) if row["level"] == "warning"]


TABLES = """
    CREATE TABLE visits (no INT PRIMARY KEY, note VARCHAR(40));
    INSERT INTO visits VALUES (1, 'first visit');
    CREATE TABLE {q}予約表{q} ({q}番号{q} INT PRIMARY KEY, v VARCHAR(40));
    INSERT INTO {q}予約表{q} VALUES (1, '予約済');
    CREATE TABLE salaries (no INT PRIMARY KEY, yen INT);
    INSERT INTO salaries VALUES (1, 1000000);
"""
# What no reader may do, wherever it is written alike.
WRITES = ["INSERT INTO visits VALUES (2, 'x')", "UPDATE visits SET note = 'x'",
          "DELETE FROM visits", "DROP TABLE visits", "ALTER TABLE visits ADD COLUMN x INT",
          "CREATE TABLE mine (no INT)", "CREATE INDEX i ON visits (note)", "TRUNCATE TABLE visits",
          "CREATE VIEW mine AS SELECT * FROM visits", "SELECT * FROM salaries"]


def test_mariadb(tmp_path):
    with MariaDB() as db:
        db.sql("CREATE DATABASE emr CHARACTER SET utf8mb4; CREATE DATABASE other")
        db.sql(TABLES.format(q="`"), "emr")
        write_mapping(tmp_path, "mysql", {"socket": db.socket, "user": "renkei", "database": "emr"})
        assert renkei(tmp_path, "preview", "main.yaml").returncode != 0
        db.sql(grants(tmp_path))
        findings = can_pull(tmp_path)
        assert not any("right" in finding for finding in findings), findings

        def as_account(sql):
            return run(["mariadb", "--no-defaults", f"--socket={db.socket}", "--user=renkei",
                        f"--password={PASSWORD}", "emr"],
                       f"SET SESSION TRANSACTION READ WRITE; {sql}")

        assert b"first visit" in as_account("SELECT * FROM visits")
        for sql in WRITES + [
                "LOCK TABLES visits WRITE", "CREATE DATABASE mine", "USE other",
                "SELECT * FROM mysql.global_priv", "CREATE USER x", "SET GLOBAL read_only = 0",
                "GRANT SELECT ON emr.visits TO root@localhost", "SHUTDOWN",
                "SELECT * FROM visits INTO OUTFILE '/tmp/renkei-never'",
                "SELECT LOAD_FILE('/etc/passwd') + 1 FROM salaries",
                "CREATE TEMPORARY TABLE mine (no INT)", "SHOW BINARY LOGS", "FLUSH TABLES",
                "CREATE PROCEDURE p() SELECT 1", "SET PASSWORD FOR root@localhost = ''"]:
            with pytest.raises(ServerError) as error:
                as_account(sql)
            assert "denied" in str(error.value), (sql, str(error.value))
        assert db.sql("SELECT COUNT(*), MAX(note) FROM visits", "emr") == [[b"1", b"first visit"]]


def test_postgresql(tmp_path):
    with PostgreSQL() as db:
        db.create("emr", "UTF8")
        db.sql(TABLES.format(q='"'), "emr", encoding="UTF8")
        write_mapping(tmp_path, "postgresql",
                      {"socket": db.socket, "port": db.port, "user": "renkei", "database": "emr"})
        assert renkei(tmp_path, "preview", "main.yaml").returncode != 0
        db.sql(grants(tmp_path), "emr", encoding="UTF8")
        findings = can_pull(tmp_path)
        assert not any("right" in finding for finding in findings), findings

        def as_account(sql):
            return run([db.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", db.socket,
                        "-p", db.port, "-U", "renkei", "-d", "emr"],
                       f"SET default_transaction_read_only = off; {sql}",
                       env={**os.environ, "PGPASSWORD": PASSWORD, "LC_MESSAGES": "C"})

        assert b"first visit" in as_account("SELECT * FROM visits")
        for sql in WRITES + [
                "BEGIN; LOCK TABLE visits IN EXCLUSIVE MODE", "CREATE DATABASE mine", "CREATE SCHEMA mine",
                "SELECT * FROM pg_authid", "CREATE ROLE x", "ALTER SYSTEM SET work_mem = '1MB'",
                "GRANT SELECT ON visits TO PUBLIC; INSERT INTO visits VALUES (3, 'x')",
                "COPY visits TO '/tmp/renkei-never'", "COPY visits TO PROGRAM 'true'",
                "COPY visits FROM PROGRAM 'true'", "SELECT pg_read_file('/etc/passwd')",
                "SELECT lo_import('/etc/passwd')", "SET ROLE postgres", "CREATE EXTENSION dblink",
                "ALTER ROLE postgres PASSWORD 'x'", "SELECT pg_switch_wal()",
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"]:
            with pytest.raises(ServerError) as error:
                as_account(sql)
            said = str(error.value)
            assert "denied" in said or "must be" in said, (sql, said)
        assert db.sql("SELECT COUNT(*), MAX(note) FROM visits", "emr") == [[b"1", b"first visit"]]


def test_sessions_of_ours_are_read_only_whatever_the_account_may(tmp_path):
    """The account that may do everything: the session still refuses to write."""
    with PostgreSQL() as db, MariaDB() as maria:
        with Probe("postgresql", {"socket": db.socket, "port": db.port, "user": "postgres",
                                  "database": "postgres"}).open() as probe:
            assert probe.server()["read_only"] == 1
        with Probe("mysql", {"socket": maria.socket, "user": "root", "database": "mysql"}).open() \
                as probe:
            assert probe.server()["read_only"] == 1


def test_odbc_is_advised_and_others_are_refused(tmp_path):
    (tmp_path / "main.yaml").write_text(
        "source: main\nconnector: odbc\ncharset: utf-8\nconnection: {dsn: emr}\n"
        "tables: [{table: visits, category: EMR05, key: [no]}]\n")
    shown = renkei(tmp_path, "grants", "main.yaml")
    assert shown.returncode == 0 and "-- visits\n" in shown.stdout
    assert all(line.startswith("-- ") for line in shown.stdout.splitlines())
    (tmp_path / "main.yaml").write_text(
        "source: main\nconnector: csv\nconnection: {folder: .}\n"
        "tables: [{table: visits, category: EMR05, key: [no]}]\n")
    assert renkei(tmp_path, "grants", "main.yaml").returncode != 0
