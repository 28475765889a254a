"""No value is ever wrong silently: random rows with every type and every charset, pulled by the real
worker, against an independent reader per database (its own client) and an independent conversion
(conversion.py).

The worker tells of a new row its two salted digests. The document and the raw preimage that they must
be of are written here, so that one equal digest says that every byte of the row is as docs/types.md and
docs/formats.md say. RENKEI_SEED replays a run; RENKEI_TEST_LONG=1 takes more than a million values.
"""

import dataclasses
import hashlib
import json
import os
import random
import struct

import pytest

from tests.conformance import conversion
from tests.conformance import differential as d
from tests.conformance.worker import Worker

LONG = os.environ.get("RENKEI_TEST_LONG") == "1"
VALUES = 1_100_000 if LONG else 100_000
SEED = int(os.environ.get("RENKEI_SEED", "20260101"))
DIFFERENCES_SHOWN_MAX = 10
PLAIN = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """All databases filled, read once by their own clients."""
    folder = tmp_path_factory.mktemp("differential")
    server = d.start_postgresql()
    databases = [d.DifferentialMariaDB(random.Random(SEED))]
    databases += [d.DifferentialPostgreSQL(random.Random(f"{SEED} {e}"), server, e)
                  for e in ("UTF8", "EUC_JP", "SQL_ASCII")]
    databases.append(d.DifferentialSQLite(random.Random(f"{SEED} sqlite"), folder))
    rows = VALUES // sum(len(database.columns) * database.readers for database in databases)
    found = {}
    sources = []
    try:
        for database in databases:
            database.start(rows)
            database.cells = database.read()
            assert len(database.cells) == rows
            if database.name != "sqlite":
                found[database.name] = (database, *database.connection())
            for name, driver, settings in database.odbc():
                sources.append((name, driver, settings))
                found[name] = (database, "odbc", odbc_options(database, name))
        env = d.configure(folder / "odbc", sources)
        yield found, env, folder
    finally:
        databases[0].stop()
        server.close()


def odbc_options(database, name):
    options = {"dsn": name}
    if database.name != "sqlite":
        _, native = database.connection()
        options.update(user="renkei", password_file=native["password_file"])
    return options


def mapping(folder, name, database, connector, options, policy):
    path = folder / f"{name}-{policy}.yaml"
    charset = "charset: cp932\n" if database.name in ("postgresql-sql_ascii", "sqlite") else ""
    fields = "".join(f"      - {{column: {c.name}{', ' if c.options else ''}{c.options}}}\n" for c in database.columns)
    path.write_text(
        f"source: main\nconnector: {connector}\nconnection:\n" +
        "".join(f"  {k}: \"{v}\"\n" for k, v in options.items()) +
        f"{charset}invalid_text: {policy}\ntime_zone: \"+0{d.HOURS_EAST}:00\"\ntables:\n"
        f"  - table: {d.TABLE}\n    category: EMR03\n    key: [id, k]\n    patient: pid\n    fields:\n{fields}")
    return path


def escaped(raw):
    return "".join(chr(b) if b in PLAIN else f"%{b:02X}" for b in raw)


class Expected:
    """What the worker must say of one row."""

    def __init__(self, made, cells, order):
        by_name = {c.name: (c.column, cell) for c, cell in zip(made, cells)}
        self.key = ",".join(escaped(by_name[name][1]) for name in ("id", "k"))
        self.address = f"renkei://h1/main/{d.TABLE}/{self.key}"
        self.values = {name: conversion.convert(column, cell) for name, (column, cell) in by_name.items()}
        self.reasons = {(name, reason) for name, value in self.values.items() for reason in value.reasons}
        self.quarantined = any(value.json is None for value in self.values.values())
        self.patient = None
        if by_name["pid"][1] is not None:
            self.patient, found = conversion.decode(by_name["pid"][1], by_name["pid"][0].charset)
            self.patient = self.patient.rstrip(" ")
            self.quarantined = self.quarantined or "invalid-bytes" in found
        self.cells = [by_name[name][1] for name in order]

    def document(self):
        names = sorted(self.values, key=lambda name: name.encode("utf-16-be"))
        fields = ",".join(f'"{name}":{self.values[name].json}' for name in names)
        return f'{{"address":"{self.address}","category":"EMR03","fields":{{{fields}}}}}'

    def preimage(self):
        address = self.address.encode()
        out = [b"\1", struct.pack(">I", len(address)), address, struct.pack(">I", len(self.cells))]
        for cell in self.cells:
            out.append(struct.pack(">BI", cell is None, len(cell or b"")) + (cell or b""))
        return b"".join(out)


def differences(worker, expected, row, order):
    """What is not as it should be in one row; the values themselves only where something differs."""
    names = {(order[reason["column"]], reason["reason"]) for reason in row["reasons"]}
    if names != expected.reasons:
        yield f"reasons: {sorted(names - expected.reasons)} too many, {sorted(expected.reasons - names)} missing"
    if (row["row"] == "quarantined") != expected.quarantined:
        yield f"{row['row']}, expected {'quarantined' if expected.quarantined else 'new'}"
    if row["address"] != expected.address:
        yield f"address {row['address']}"
    if row["patient"] != (expected.patient or ""):
        yield f"patient: found {row['patient']!r}, expected {expected.patient!r}"
    if row["row"] != "new" or expected.quarantined:
        return
    r, document, raw = bytes.fromhex(row["r"]), expected.document().encode(), expected.preimage()
    if hashlib.sha256(b"renkei/content/1\n" + r + document).hexdigest() != row["content"]:
        yield "content:\n" + explain(worker, expected)
    if hashlib.sha256(b"renkei/raw/1\n" + r + raw).hexdigest() != row["raw"]:
        yield "raw:\n" + explain_raw(worker, expected, order)


def explain(worker, expected):
    document = worker.fetch(d.TABLE, expected.key)[0]["document"]
    found = json.loads(document)["fields"]
    return "\n".join(f"    {name}: found {found.get(name)!r}, expected {value.json}"
                     for name, value in expected.values.items()
                     if json.loads(value.json) != found.get(name)) or f"    {document}\n    {expected.document()}"


def explain_raw(worker, expected, order):
    raw = bytes.fromhex(worker.fetch(d.TABLE, expected.key)[0]["raw"])
    at = 9 + len(expected.address.encode())
    lines = []
    for name, cell in zip(order, expected.cells):
        null, size = struct.unpack_from(">BI", raw, at)
        found = None if null else raw[at + 5:at + 5 + size]
        at += 5 + size
        if found != cell:
            lines.append(f"    {name}: found {found!r}, expected {cell!r}")
    return "\n".join(lines)


TARGETS = ["mariadb", "postgresql-utf8", "postgresql-euc_jp", "postgresql-sql_ascii", "odbc-sqlite",
           "odbc-mariadb", "odbc-ansi-utf8", "odbc-ansi-euc_jp", "odbc-ansi-sql_ascii", "odbc-unicode-utf8",
           "odbc-unicode-euc_jp", "odbc-unicode-sql_ascii"]



def compare(world, target, policy):
    """Pulls everything; gives how many values there were and what differs."""
    found, env, folder = world
    database, connector, options = found[target]
    path = mapping(folder, target, database, connector, options, policy)
    if connector == "odbc":
        env = {**env, "ASAN_OPTIONS": "detect_leaks=0"}
    made = [dataclasses.replace(c, column=dataclasses.replace(c.column, replaces=policy == "replace"))
            for c in database.columns]
    with Worker(path, env=env) as worker:
        order = worker.plan_of_pull(d.TABLE)["columns"]
        worker.send("forget")
        rows, totals = worker.pull(d.TABLE)
        by_key, shown = {row["key"]: row for row in rows}, []
        for cells in database.cells:
            if connector == "odbc":
                cells = [c.by_odbc(cell) if c.by_odbc else cell for c, cell in zip(made, cells)]
            expected = Expected(made, cells, order)
            row = by_key.pop(expected.key, None)
            told = ["no such row"] if row is None else list(differences(worker, expected, row, order))
            shown += [f"{expected.key}: {words}" for words in told]
            if len(shown) >= DIFFERENCES_SHOWN_MAX:
                break
    shown += [f"{key}: a row that nobody wrote" for key in list(by_key)[:1] if len(shown) < DIFFERENCES_SHOWN_MAX]
    values = len(database.cells) * len(order)
    print(f"{target}, {policy}: seed {SEED}, {values} values in {totals['rows']} rows, "
          f"{totals['quarantined']} rows quarantined, {len(shown)} differences")
    assert totals["rows"] == len(database.cells) or shown
    assert not shown, f"seed {SEED}\n" + "\n".join(shown)
    return totals


@pytest.mark.parametrize("target", TARGETS)
def test_every_value_is_what_another_reader_and_converter_say(world, target):
    compare(world, target, "replace")


@pytest.mark.parametrize("target", ["mariadb", "postgresql-sql_ascii", "odbc-sqlite"])
def test_what_is_invalid_is_set_aside_and_nothing_else(world, target):
    assert compare(world, target, "quarantine")["quarantined"] > 0
