"""The tables of docs/types.md under "Cell by cell", on the databases themselves: each line is a column of
a table with one row. The document says what it must become, so that the page and the test cannot drift.
"""

import json
import pathlib
import re

import pytest

from tests.conformance import differential as d
from tests.conformance.worker import Worker
from tests.harness.databases import MariaDB, SQLiteODBC

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/types.md"
ROWS_MIN = 20  # a table that was not found is no table that passed


def table_of(name):
    """(declared type, literal, document, reasons, document by ODBC, its reasons) of a table's lines."""
    text = PAGE.read_text()
    part = re.split(r"\n###? ", text[text.index(f"### {name}\n"):], maxsplit=1)[0]
    rows = []
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("| `"):
            continue
        words = [re.findall(r"`([^`]+)`", cell) for cell in cells]
        odbc = words[4] if len(words) > 4 and words[4] else words[2] + words[3]
        rows.append((words[0][0], words[1][0], words[2][0], set(words[3]), odbc[0], set(odbc[1:])))
    assert len(rows) >= ROWS_MIN
    return rows


def check(rows, connector, options, more="", env=None, folder=None):
    by_odbc = connector == "odbc"
    fields = ", ".join(f"{{column: c{i}}}" for i in range(len(rows)))
    path = folder / f"matrix-{len(list(folder.iterdir()))}.yaml"
    path.write_text(f"source: main\nconnector: {connector}\nconnection:\n" +
                    "".join(f"  {k}: \"{v}\"\n" for k, v in options.items()) + more +
                    "time_zone: \"+09:00\"\ntables:\n"
                    f"  - {{table: matrix, category: EMR01, key: [id], fields: [{fields}]}}\n")
    with Worker(path, env=env) as worker:
        order = worker.plan_of_pull("matrix")["columns"]
        [row] = worker.preview("matrix", 1)
    assert not row["quarantined"], row["reasons"]
    found = json.loads(row["document"])["fields"]
    reasons = {}
    for reason in row["reasons"]:
        reasons.setdefault(order[reason["column"]], set()).add(reason["reason"])
    told = []
    for i, (declared, literal, document, why, odbc, odbc_why) in enumerate(rows):
        expected, expected_why = (odbc, odbc_why) if by_odbc else (document, why)
        name = f"c{i}"
        if found[name] != json.loads(expected) or reasons.get(name, set()) != expected_why:
            told.append(f"{declared} {literal}: {json.dumps(found[name], ensure_ascii=False)} {sorted(reasons.get(name, []))}, "
                        f"expected {expected} {sorted(expected_why)}")
    assert not told, "\n".join(told)


def statements(rows):
    columns = ", ".join(f"c{i} {row[0]}" for i, row in enumerate(rows))
    return (f"CREATE TABLE matrix (id int PRIMARY KEY, {columns})",
            f"INSERT INTO matrix VALUES (1, {', '.join(row[1] for row in rows)})")


def test_mariadb(tmp_path):
    rows = table_of("MariaDB and MySQL")
    with MariaDB() as server:
        server.sql("CREATE DATABASE emr CHARACTER SET utf8mb4")
        server.user("renkei", d.PASSWORD, "emr")
        server.sql("SET sql_mode='ALLOW_INVALID_DATES', time_zone='+00:00'; " + "; ".join(statements(rows)), "emr")
        password = server.folder / "password"
        password.write_text(d.PASSWORD)
        check(rows, "mysql", {"socket": server.socket, "user": "renkei", "database": "emr",
                              "password_file": password}, folder=tmp_path)
        env = d.configure(tmp_path / "odbc", [("x", "MariaDB Unicode", {"SOCKET": server.socket, "DATABASE": "emr"})])
        check(rows, "odbc", {"dsn": "x", "user": "renkei", "password_file": password},
              env={**env, "ASAN_OPTIONS": "detect_leaks=0"}, folder=tmp_path)


def test_postgresql(tmp_path):
    rows = table_of("PostgreSQL")
    server = d.start_postgresql()
    try:
        server.create("emr", "UTF8")
        server.sql("SET TimeZone='UTC'; SET lc_monetary='C';"
                   "CREATE TYPE answer AS ENUM ('有', '無'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);"
                   "CREATE DOMAIN truth AS bool; CREATE TYPE pair AS (a int, b text);" + "; ".join(statements(rows)),
                   "emr", "UTF8")
        password = server.folder / "password"
        password.write_text(d.PASSWORD)
        check(rows, "postgresql", {"socket": server.socket, "port": server.port, "user": "renkei", "database": "emr",
                                   "password_file": password}, folder=tmp_path)
        for driver in ("PostgreSQL ANSI", "PostgreSQL Unicode"):
            env = d.configure(tmp_path / driver.split()[1], [("x", driver, {
                "Servername": server.socket, "Port": server.port, "Database": "emr"})])
            check(rows, "odbc", {"dsn": "x", "user": "renkei", "password_file": password},
                  env={**env, "ASAN_OPTIONS": "detect_leaks=0"}, folder=tmp_path)
    finally:
        server.close()


def test_sqlite(tmp_path):
    rows = table_of("SQLite by ODBC")
    with SQLiteODBC() as server:
        for statement in statements(rows):
            server.sql(statement)
        check(rows, "odbc", {"dsn": server.dsn}, more="charset: utf-8\n",
              env={**server.env, "ASAN_OPTIONS": "detect_leaks=0"}, folder=tmp_path)
