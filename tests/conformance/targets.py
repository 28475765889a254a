"""What the conformance suite runs against: each connector with a real server behind it.

A target knows how its database writes bytes, types and hexadecimal; the tests know the rest. A
plugin of another's making is tested by a target of its own: RENKEI_CONFORMANCE names a Python file
that defines `targets`, a list of such classes.
"""

import importlib.util
import os

from tests.conformance.probe import Probe
from tests.harness.databases import MariaDB, PostgreSQL, SQLiteODBC

PASSWORD = "himitsu-7Q-marker"


class Target:
    """One connector, one database, one read-only account."""

    name = ""
    plugin = ""
    has_server = True      # a process that can be killed
    has_password = True
    has_rights = False
    has_snapshot = True
    holds_result = False   # the driver has the whole result in memory before the first row
    int_type, text_type, blob_type, key_type = "int", "text", "blob", "varchar(60)"
    encoding = "cp932"     # what the test's texts are stored in

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

if os.environ.get("RENKEI_CONFORMANCE"):
    spec = importlib.util.spec_from_file_location("third_party",
                                                  os.environ["RENKEI_CONFORMANCE"])
    third_party = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(third_party)
    TARGETS = third_party.targets
