"""What the conformance suite runs against: each connector with a real server behind it.

A target knows how its database writes bytes, types and hexadecimal; the tests know the rest. A
plugin of another's making is tested by a configuration: tests/conformance/run.
"""

import os
import pathlib
import shutil
import tempfile

import yaml

from tests.conformance.probe import Probe
from tests.harness.databases import MariaDB, PostgreSQL, SQLiteODBC, run

PASSWORD = "himitsu-7Q-marker"
SLOW_VIEW_S = 60


class Target:
    """One connector, one database, one read-only account."""

    name = ""
    plugin = ""
    has_server = True      # a process that can be killed
    has_password = True
    has_rights = False
    has_snapshot = True
    has_cancel = has_key_ranges = has_watermark = has_blobs = True
    has_keys = True        # the source knows which columns are the key
    holds_result = False   # the driver has the whole result in memory before the first row
    int_type, text_type, blob_type, key_type = "int", "text", "blob", "varchar(60)"
    encoding = "cp932"     # what the test's texts are stored in
    slow_view = None       # a query with the column n that needs SLOW_VIEW_S for its first row

    def __init__(self):
        self.server = None
        self.env = {}

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
    has_rights = True
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
    has_rights = True
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
    has_server = has_password = False
    key_type = "varchar(60)"
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
    has_rights = False
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
    has_rights = False
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


TARGETS = [MySQL, PostgreSQLAscii, PostgreSQLUtf8, PostgreSQLEucJp, SQLite, ODBCMariaDB,
           ODBCPostgreSQL, ODBCPostgreSQLUnicode]



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
    has = {f"has_{name}": name not in config.get("without", []) for name in (
        "server", "password", "rights", "snapshot", "cancel", "key_ranges", "watermark", "keys")}
    if has["has_server"] or has["has_password"]:
        raise SystemExit(f"{path}: the tests that end a server or try a wrong password are for targets in Python: "
                         "write 'without: [server, password, ...]'")
    types = config["types"]
    return type("Configured", (ThirdParty,), {
        **has, "config": config, "plugin": plugin, "name": pathlib.Path(plugin).stem, "encoding": config["encoding"],
        "int_type": types["int"], "text_type": types["text"], "key_type": types["key"], "blob_type": types.get("blob"),
        "has_blobs": types.get("blob") is not None})


if os.environ.get("RENKEI_CONFORMANCE_CONFIG"):
    TARGETS = [third_party(os.environ["RENKEI_CONFORMANCE_PLUGIN"], os.environ["RENKEI_CONFORMANCE_CONFIG"])]
