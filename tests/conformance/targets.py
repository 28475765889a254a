"""What the conformance suite runs against: each connector with a real server behind it.

A target knows how its database writes bytes, types and hexadecimal; the tests know the rest. A
plugin of another's making is tested by a configuration: tests/conformance/run.
"""

import hashlib
import lzma
import os
import pathlib
import re
import shutil
import tempfile

import pytest
import yaml

from tests.conformance.probe import Probe
from tests.harness.databases import ODBC, MariaDB, PostgreSQL, SQLiteODBC, run

PASSWORD = "himitsu-7Q-marker"
SLOW_VIEW_S = 60

# What a target may be without. Each one without says why; the tests' end lists it: conftest.py.
PROPERTIES = {
    "server",       # a process that can be killed
    "password",
    "rights",
    "snapshot",
    "cancel",
    "key_ranges",
    "watermark",
    "keys",         # the source knows which columns are the key
    "blobs",
    "slow_view",
    "empty_texts",  # an empty text is not NULL
    "long_texts",   # of more than text_bytes_max
}
NOT_APPLICABLE = {}  # (target, test): reasons

NO_RIGHTS = "ODBC has no call that tells an account's rights"
A_FILE = "the database is a file"


def not_applicable(target, test, reason):
    NOT_APPLICABLE.setdefault((target, test), set()).add(reason)


class Target:
    """One connector, one database, one read-only account."""

    name = ""
    plugin = ""
    without = {}           # of PROPERTIES: the reason
    holds_result = False   # the driver has the whole result in memory before the first row
    int_type, text_type, blob_type, key_type = "int", "text", "blob", "varchar(60)"
    encoding = "cp932"     # what the test's texts are stored in
    slow_view = None       # a query with the column n that needs SLOW_VIEW_S for its first row
    text_bytes_max = None  # of a text that comes whole

    def __init__(self):
        self.server = None
        self.env = {}

    def __init_subclass__(cls):
        assert not set(cls.without) - PROPERTIES, cls.without

    def lacks(self, name):
        """Whether what the running test is about to do is not applicable; it is listed then."""
        assert name in PROPERTIES, name
        if name in self.without:
            test = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split("[")[0]
            not_applicable(self.name, test + ", in part", self.without[name])
        return name in self.without

    def start(self):
        raise NotImplementedError

    def stop(self):
        self.server.close()

    def options(self):
        raise NotImplementedError

    def admin(self, sql):
        return self.server.sql(sql)

    def quote(self, name):
        return f'"{name}"'

    def literal(self, data):
        """Bytes as a text of the database, exactly these bytes."""
        raise NotImplementedError

    def hex_query(self, table, column, order):
        raise NotImplementedError

    def hex_of(self, table, column, order):
        """What the database itself says the bytes are, row by row; None for NULL."""
        rows = self.admin(self.hex_query(self.quote(table), self.quote(column),
                                         self.quote(order)))
        return [None if row[0] in (b"NULL", b"-", None) else bytes.fromhex(row[0].decode())
                for row in rows]

    def password_file(self):
        path = self.server.folder / "password"
        path.write_text(PASSWORD + "\n")
        return path

    def probe(self, **changes):
        options = {**self.options(), **changes}
        return Probe(self.plugin, {k: v for k, v in options.items() if v is not None},
                     env=self.env)

    def create(self, table, columns, rows=()):
        """columns: [(name, type)]; the first key columns' names end the list. rows: SQL texts."""
        names = ", ".join(f"{self.quote(n)} {t}" for n, t in columns)
        self.admin(f"CREATE TABLE {self.quote(table)} ({names})")
        for start in range(0, len(rows), 500):
            self.admin(f"INSERT INTO {self.quote(table)} VALUES " +
                       ", ".join(f"({row})" for row in rows[start:start + 500]))


class MySQL(Target):
    name, plugin = "mysql", "mysql"
    blob_type = "longblob"
    slow_view = f"SELECT SLEEP({SLOW_VIEW_S}) AS n"
    text_type = "longtext"

    def start(self):
        self.server = MariaDB().start()
        self.server.sql("CREATE DATABASE emr CHARACTER SET cp932")
        self.server.user("renkei", PASSWORD, "emr")

    def options(self):
        return {"socket": self.server.socket, "user": "renkei", "database": "emr",
                "password_file": self.password_file()}

    def admin(self, sql):
        return self.server.sql(sql, "emr")

    def quote(self, name):
        return f"`{name}`"

    def literal(self, data):
        return f"_cp932 X'{data.hex()}'"

    def hex_query(self, table, column, order):
        return f"SELECT HEX({column}) FROM {table} ORDER BY {order}"


class PostgreSQLAscii(Target):
    name, plugin = "postgresql-sql_ascii", "postgresql"
    blob_type = "bytea"
    encoding_name = "SQL_ASCII"
    slow_view = f"SELECT 1 AS n FROM (SELECT pg_sleep({SLOW_VIEW_S})) AS s"

    def start(self):
        self.server = PostgreSQL().start()
        self.server.create("emr", self.encoding_name)
        self.server.user("renkei", PASSWORD, "emr")

    def options(self):
        return {"socket": self.server.socket, "port": self.server.port, "user": "renkei",
                "database": "emr", "password_file": self.password_file()}

    def admin(self, sql):
        client = "SQL_ASCII" if self.encoding_name == "SQL_ASCII" else "UTF8"
        return self.server.sql(sql, "emr", encoding=client)

    def literal(self, data):
        return f"convert_from('\\x{data.hex()}', '{self.encoding_name}')"

    def hex_query(self, table, column, order):
        return (f"SELECT coalesce(encode(convert_to({column}, '{self.encoding_name}'), 'hex'), '-')"
                f" FROM {table} ORDER BY {order}")


class PostgreSQLUtf8(PostgreSQLAscii):
    name = "postgresql-utf8"
    encoding, encoding_name = "utf-8", "UTF8"


class PostgreSQLEucJp(PostgreSQLAscii):
    name = "postgresql-euc_jp"
    encoding, encoding_name = "euc_jp", "EUC_JP"


class SQLite(Target):
    name, plugin = "odbc-sqlite", "odbc"
    without = {"server": A_FILE, "password": A_FILE, "rights": NO_RIGHTS}
    # Hours, in fact.
    slow_view = ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000000000)"
                 " SELECT max(x) AS n FROM c")

    def start(self):
        self.server = SQLiteODBC().start()
        self.env = dict(self.server.env, ASAN_OPTIONS="detect_leaks=0")

    def options(self):
        return {"dsn": "emr"}

    def literal(self, data):
        return f"CAST(X'{data.hex()}' AS TEXT)"

    def hex_query(self, table, column, order):
        return (f"SELECT CASE WHEN {column} IS NULL THEN '-' ELSE HEX({column}) END"
                f" FROM {table} ORDER BY {order}")


class ODBCMariaDB(MySQL):
    name, plugin = "odbc-mariadb", "odbc"
    without = {"rights": NO_RIGHTS}
    holds_result = True

    def start(self):
        super().start()
        self.ini = SQLiteODBC(self.server.folder / "odbc")
        self.ini.odbc.data_source("emr", "MariaDB Unicode",
                                  {"SOCKET": self.server.socket, "DATABASE": "emr"})
        self.env = dict(self.ini.env, ASAN_OPTIONS="detect_leaks=0")

    def options(self):
        return {"dsn": "emr", "user": "renkei", "password_file": self.password_file()}


class ODBCPostgreSQL(PostgreSQLAscii):
    name, plugin = "odbc-postgresql", "odbc"
    without = {"rights": NO_RIGHTS}
    driver = "PostgreSQL ANSI"

    def start(self):
        super().start()
        self.ini = SQLiteODBC(self.server.folder / "odbc")
        self.ini.odbc.data_source("emr", self.driver,
                                  {"Servername": self.server.socket, "Port": self.server.port,
                                   "Database": "emr"})
        self.env = dict(self.ini.env, ASAN_OPTIONS="detect_leaks=0")

    def options(self):
        return {"dsn": "emr", "user": "renkei", "password_file": self.password_file()}


class ODBCPostgreSQLUnicode(ODBCPostgreSQL):
    name = "odbc-postgresql-unicode"
    driver = "PostgreSQL Unicode"


class MDBTools(Target):
    """Access files, which MDBTools reads and cannot write: each table that a test makes is a file of
    data/mdb, written by Jackcess (data/MakeTables.java) from the test's own words. A file's name tells
    the digest of what is in it, so that a test cannot meet another table than it made."""

    name, plugin = "odbc-mdbtools", "odbc"
    int_type, text_type, blob_type, key_type = "LONG", "MEMO", "OLE", "TEXT(60)"
    encoding = "utf-8"
    text_bytes_max = 16380
    without = {
        "server": A_FILE,
        "password": A_FILE,
        "rights": NO_RIGHTS,
        "snapshot": "quirk mdbtools: the driver has no transactions",
        "key_ranges": "quirk mdbtools: its SQL has no ORDER BY",
        "watermark": "quirk mdbtools: no comparison is left to the driver",
        "keys": "quirk mdbtools: the catalog call for keys crashes, the mapping names them",
        "slow_view": "quirk mdbtools: the driver has neither views nor anything that it computes",
        "empty_texts": "quirk mdbtools: the driver gives an empty text as NULL",
        "long_texts": "quirk mdbtools: the driver cuts a longer text, so that it counts as too long",
    }
    FILES = pathlib.Path(__file__).parent / "data/mdb"
    CELL = re.compile(r"\s*(?:(-?\d+)|(NULL)|X'([0-9a-f]*)'|'((?:[^']|'')*)')\s*(?:,|$)")

    def start(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-mdb-"))
        self.path = self.folder / "emr.mdb"
        self.rows = {}
        odbc = ODBC(self.folder / "odbc")
        odbc.data_source("emr", "MDBTools", {"Database": self.path})
        self.env = dict(odbc.env, ASAN_OPTIONS="detect_leaks=0")

    def stop(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def options(self):
        return {"dsn": "emr"}

    def literal(self, data):
        return f"X'{data.hex()}'"

    def cells(self, row):
        found = []
        for number, null, raw, text in self.CELL.findall(row):
            found.append("-" if null else "=" + (number or raw or text.replace("''", "'").encode().hex()))
        return found

    def create(self, table, columns, rows=()):
        kinds = [("*" if "primary key" in kind else "") + kind.replace(" primary key", "") for _, kind in columns]
        made = [self.cells(row) for row in rows]
        lines = [[table.encode().hex()], [name.encode().hex() for name, _ in columns], kinds, *made]
        spec = "".join("\t".join(line) + "\n" for line in lines).encode()
        name = (table if table.isascii() else "japanese") + "-" + hashlib.sha256(spec).hexdigest()[:12]
        record = os.environ.get("RENKEI_CONFORMANCE_RECORD")
        if record:
            pathlib.Path(record, f"{name}.txt").write_bytes(spec)
            pytest.skip("written down for MakeTables.java")
        self.path.write_bytes(lzma.decompress((self.FILES / f"{name}.mdb.xz").read_bytes()))
        self.rows = {name: [row[i] for row in made] for i, (name, _) in enumerate(columns)}

    def admin(self, sql):
        assert sql.startswith("DROP TABLE"), sql
        self.path.unlink()

    def hex_of(self, table, column, order):
        """What Jackcess was given."""
        order = sorted(range(len(self.rows[order])), key=lambda i: int(self.rows[order][i][1:]))
        return [None if self.rows[column][i] == "-" else bytes.fromhex(self.rows[column][i][1:]) for i in order]


TARGETS = [MySQL, PostgreSQLAscii, PostgreSQLUtf8, PostgreSQLEucJp, SQLite, ODBCMariaDB,
           ODBCPostgreSQL, ODBCPostgreSQLUnicode, MDBTools]


class ThirdParty(Target):
    """Somebody's plugin, by a configuration: docs/connectors.md, "Writing one"."""

    def start(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-conformance-"))

    def stop(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def options(self):
        return {name: self.place(value) for name, value in self.config["options"].items()}

    def place(self, text):
        return str(text).replace("FOLDER", str(self.folder))

    def admin(self, sql):
        out = run([self.place(word) for word in self.config["admin"]], sql)
        return [line.split(b"\t") for line in out.split(b"\n")[:-1]]

    def quote(self, name):
        return self.config["quote"] + name + self.config["quote"]

    def literal(self, data):
        return self.config["literal"].format(hex=data.hex())

    def hex_query(self, table, column, order):
        return self.config["hex_query"].format(table=table, column=column, order=order)


def third_party(plugin, path):
    """The class of a configured target; what is missing in the configuration is named."""
    with open(path, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    needed = {"options", "admin", "encoding", "quote", "types", "literal", "hex_query"}
    if needed - set(config):
        raise SystemExit(f"{path}: missing: {', '.join(sorted(needed - set(config)))}")
    without = {name: "the configuration says so" for name in config.get("without", [])}
    unknown = set(without) - (PROPERTIES - {"blobs", "slow_view", "long_texts"})
    if unknown:
        raise SystemExit(f"{path}: without: unknown: {', '.join(sorted(unknown))}")
    if {"server", "password"} - set(without):
        raise SystemExit(f"{path}: the tests that end a server or try a wrong password are for targets in Python: "
                         "write 'without: [server, password, ...]'")
    types = config["types"]
    if types.get("blob") is None:
        without["blobs"] = "the configuration has no type for it"
    without["slow_view"] = "for targets in Python"
    return type("Configured", (ThirdParty,), {
        "without": without, "config": config, "plugin": plugin, "name": pathlib.Path(plugin).stem,
        "encoding": config["encoding"], "int_type": types["int"], "text_type": types["text"],
        "key_type": types["key"], "blob_type": types.get("blob")})


if os.environ.get("RENKEI_CONFORMANCE_CONFIG"):
    TARGETS = [third_party(os.environ["RENKEI_CONFORMANCE_PLUGIN"], os.environ["RENKEI_CONFORMANCE_CONFIG"])]
