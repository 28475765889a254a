"""The databases of the differential test: their tables, how random values get in, and how each
database's own client tells what is in there. See test_differential.py."""

import sqlite3
import uuid

from tests.conformance import generate as g
from tests.conformance.conversion import Column
from tests.conformance.generate import Made
from tests.harness.databases import MariaDB, ODBC, PostgreSQL, run

PASSWORD = "himitsu-7Q-marker"
TABLE = "everything"
HOURS_EAST = 9
NULLS = 0.04
INSERT_ROWS = 200
KEY_CHARACTERS = 24  # escaped, the key stays below its limit


# --- MariaDB ---


def mariadb_text(name, declared, charset, word, more="", most=40):
    """A text column; word: the server's name of the charset, as which the bytes go in."""
    def write(rng):
        raw = g.text_bytes(rng, charset, most)
        return f"_{word} X'{raw.hex()}'" if raw else "''"
    decoded = {"utf-8-bmp": "utf-8", "ucs2": "utf-16-be"}.get(charset, charset)
    return Made(name, f"{declared} CHARACTER SET {word} {more}", Column("text", decoded), write)


def quoted(make):
    return lambda rng: f"'{make(rng)}'"


def mariadb_mapped(name, write, charset="cp932", options="", declared="varchar(60)", **column):
    def literal(rng):
        return f"_cp932 X'{write(rng).encode('cp932', 'replace').hex()}'"
    return Made(name, f"{declared} CHARACTER SET cp932", Column("text", "cp932", **column), literal, options)


def mariadb_columns():
    zone = dict(offset_minutes=60 * HOURS_EAST)
    return [
        Made("id", "int NOT NULL", Column("integer"), None),
        mariadb_text("k", "varchar(24)", "cp932", "cp932", "NOT NULL", KEY_CHARACTERS),
        mariadb_text("pid", "varchar(60)", "cp932", "cp932"),
        mariadb_text("t_cp932", "varchar(60)", "cp932", "cp932"),
        mariadb_text("t_sjis", "text", "cp932", "cp932"),
        mariadb_text("t_eucjpms", "varchar(200)", "euc-jp", "eucjpms"),
        mariadb_text("t_utf8", "varchar(60)", "utf-8-bmp", "utf8mb3"),
        mariadb_text("t_utf8mb4", "longtext", "utf-8", "utf8mb4"),
        mariadb_text("t_latin1", "varchar(60)", "latin1", "latin1"),
        mariadb_text("t_ascii", "varchar(60)", "ascii", "ascii"),
        mariadb_text("t_utf16", "varchar(60)", "utf-16-be", "utf16"),
        mariadb_text("t_ucs2", "varchar(60)", "ucs2", "ucs2"),
        mariadb_text("t_utf16le", "varchar(60)", "utf-16-le", "utf16le"),
        mariadb_text("t_char", "char(40)", "cp932", "cp932"),
        Made("t_iso", "varchar(400) CHARACTER SET latin1", Column("text", "iso-2022-jp"),
             lambda rng: f"_latin1 X'{g.text_bytes(rng, 'iso-2022-jp').hex()}'", "charset: iso-2022-jp"),
        *[Made(f"d_{charset[:4].replace('-', '')}", "varchar(100) CHARACTER SET latin1", Column("text", charset),
               lambda rng, charset=charset: f"_latin1 X'{g.dirty_bytes(rng, charset).hex()}'",
               f"charset: {charset}") for charset in ("cp932", "euc-jp", "utf-8", "ascii")],
        Made("i_tiny", "tinyint", Column("integer"), g.integer(8)),
        Made("i_bool", "tinyint(1)", Column("integer"), g.integer(8)),
        Made("i_small", "smallint", Column("integer"), g.integer(16)),
        Made("i_medium", "mediumint unsigned", Column("integer"), g.integer(24, False)),
        Made("i_big", "bigint", Column("integer"), g.integer(64)),
        Made("i_ubig", "bigint unsigned", Column("integer"), g.integer(64, False)),
        Made("i_zero", "int(10) unsigned zerofill", Column("integer"), g.integer(32, False)),
        Made("n_65", "decimal(65,0)", Column("decimal"), g.exact(65, 0)),
        Made("n_65_30", "decimal(65,30)", Column("decimal"), g.exact(65, 30)),
        Made("n_money", "decimal(12,2)", Column("decimal"), g.exact(12, 2)),
        Made("f_double", "double", Column("float"), lambda rng: repr(g.double(rng))),
        Made("f_float", "float", Column("float"), g.single),
        Made("b_1", "bit(1)", Column("bit", bits=1), lambda rng: f"b'{rng.getrandbits(1)}'"),
        Made("b_9", "bit(9)", Column("bit", bits=9), lambda rng: f"b'{rng.getrandbits(9):b}'"),
        Made("b_64", "bit(64)", Column("bit", bits=64), lambda rng: f"b'{rng.getrandbits(64):b}'"),
        Made("at_date", "date", Column("date"), quoted(g.zero_day)),
        Made("at_datetime", "datetime", Column("timestamp"), lambda rng: f"'{g.zero_day(rng)} {g.clock(rng)}'"),
        Made("at_micro", "datetime(6)", Column("timestamp"), lambda rng: f"'{g.day(rng)} {g.clock(rng, 6)}'"),
        Made("at_stamp", "timestamp(3) NULL", Column("zone", **zone),
             lambda rng: f"'{g.day(rng, 1971, 2037)} {g.clock(rng, 3)}'"),
        Made("at_time", "time(6)", Column("time"),
             lambda rng: f"'{rng.choice(('', '-'))}{rng.randrange(839):02}:{g.clock(rng, 6)[3:]}'"),
        Made("at_year", "year", Column("year"), lambda rng: str(rng.choice((0, 1901, 2155, rng.randrange(1901, 2156))))),
        Made("e_enum", "enum('有','無','不明','ソ表') CHARACTER SET cp932", Column("enum", "cp932"),
             lambda rng: rng.choice(("1", "2", "3", "4"))),
        Made("e_set", "set('咳','熱','十') CHARACTER SET cp932", Column("enum", "cp932"),
             lambda rng: str(rng.randrange(8))),
        Made("x_blob", "longblob", Column("binary"), lambda rng: f"X'{rng.randbytes(rng.choice((0, 1, 700, rng.randrange(60)))).hex()}'"),
        Made("x_fixed", "binary(8)", Column("binary"), lambda rng: f"X'{rng.randbytes(rng.randrange(9)).hex()}'"),
        Made("x_uuid", "uuid", Column("uuid"), lambda rng: f"'{uuid.UUID(int=rng.getrandbits(128), version=4)}'"),
        Made("x_inet", "inet6", Column("other"), lambda rng: f"'2001:db8::{rng.getrandbits(16):x}'"),
        Made("x_point", "point", Column("binary"), lambda rng: f"ST_GeomFromText('POINT({rng.randrange(99)} {rng.randrange(99)}.5)')"),
        mariadb_text("x_long", "longtext", "cp932", "cp932"),
        mariadb_mapped("m_number", g.written_number, options="type: number", mapped="number"),
        mariadb_mapped("m_bool", g.written_bool, options="type: bool", mapped="bool"),
        mariadb_mapped("m_flag", g.written_day, options="type: date, era: flag", mapped="date", era="flag"),
        mariadb_mapped("m_strict", g.written_day, options="type: date, era: strict", mapped="date", era="strict"),
        Made("m_int_text", "bigint", Column("integer", mapped="string"), g.integer(64), "type: string"),
        Made("m_bit_number", "bit(64)", Column("bit", bits=64, mapped="number"),
             lambda rng: f"b'{rng.getrandbits(64):b}'", "type: number"),
        Made("m_int_date", "int", Column("integer", mapped="date"),
             lambda rng: "0" if rng.random() < 0.1 else g.day(rng, 1000).replace("-", ""), "type: date"),
        Made("m_stamp_text", "datetime", Column("timestamp", mapped="string"),
             lambda rng: f"'{g.zero_day(rng)} {g.clock(rng)}'", "type: string"),
    ]


def long_text(make):
    """Now and then a cell that is longer than any buffer of a driver's."""
    def write(rng):
        raw = b"".join(make(rng) for _ in range(rng.choice((0, 1, 1, 1, 30, 200))))
        return raw
    return write


class Database:
    """A server with one table of random rows."""

    name = ""
    readers = 1  # connectors and drivers that read it

    def __init__(self, rng):
        self.rng = rng
        self.columns = self.describe()

    def rows(self, count):
        """SQL literals, row by row."""
        for i in range(count):
            yield ", ".join(
                str(i + 1) if c.write is None else
                "NULL" if "NOT NULL" not in c.declared and self.rng.random() < NULLS else c.write(self.rng)
                for c in self.columns)

    def insert(self, count, execute):
        batch = []
        for row in self.rows(count):
            batch.append(f"({row})")
            if len(batch) == INSERT_ROWS:
                execute(f"INSERT INTO {TABLE} VALUES " + ",\n".join(batch))
                batch.clear()
        if batch:
            execute(f"INSERT INTO {TABLE} VALUES " + ",\n".join(batch))


class DifferentialMariaDB(Database):
    name = "mariadb"
    readers = 2

    def describe(self):
        columns = mariadb_columns()
        for c in columns:
            if c.name == "x_long":
                make = long_text(lambda rng: g.text_bytes(rng, "cp932"))
                c.write = lambda rng: f"_cp932 X'{make(rng).hex()}'"
        return columns

    def start(self, rows):
        self.server = MariaDB().start()
        self.server.sql("CREATE DATABASE emr CHARACTER SET cp932")
        self.server.user("renkei", PASSWORD, "emr")
        lines = ", ".join(f"{c.name} {c.declared}" for c in self.columns)
        self.server.sql(f"CREATE TABLE {TABLE} ({lines}, PRIMARY KEY (id, k)) ENGINE=InnoDB", "emr")
        statements = ["SET time_zone='+00:00', sql_mode='ALLOW_INVALID_DATES'"]
        self.insert(rows, statements.append)
        self.server.sql(";\n".join(statements), "emr")
        return self

    def stop(self):
        self.server.close()

    def connection(self):
        path = self.server.folder / "password"
        path.write_text(PASSWORD + "\n")
        return "mysql", {"socket": self.server.socket, "user": "renkei", "database": "emr", "password_file": path}

    def read(self):
        """By the mariadb client: HEX of every cell's text, in the session that has no opinion."""
        def told(c):
            if c.column.kind == "bit":
                return f"LPAD(BIN({c.name}+0), {c.column.bits}, '0')"
            return c.name if c.column.kind in ("text", "enum", "binary") else f"CAST({c.name} AS CHAR)"
        cells = ", ".join(f"IFNULL(HEX({told(c)}), '-')" for c in self.columns)
        found = self.server.sql(f"SET time_zone='+00:00'; SELECT {cells} FROM {TABLE} ORDER BY id", "emr")
        return [[None if cell == b"-" else bytes.fromhex(cell.decode()) for cell in row] for row in found]

    def odbc(self):
        settings = {"SOCKET": self.server.socket, "DATABASE": "emr"}
        return [("odbc-mariadb", "MariaDB Unicode", settings)]


# --- PostgreSQL ---


def postgresql_columns(encoding):
    charset = {"UTF8": "utf-8", "EUC_JP": "euc-jp", "SQL_ASCII": "cp932"}[encoding]
    codec = {"UTF8": "utf-8", "EUC_JP": "euc_jp", "SQL_ASCII": "cp932"}[encoding]
    zone = dict(offset_minutes=60 * HOURS_EAST)

    def literal(raw):
        return f"convert_from('\\x{raw.hex()}', '{encoding}')"

    def typed(make, kind):
        return lambda rng: f"'{make(rng)}'::{kind}"

    def written(make):
        return lambda rng: literal(make(rng).encode(codec, "replace"))

    def text(rng):
        return literal(g.text_bytes(rng, charset))

    def special(make, *words):
        return lambda rng: f"'{rng.choice(words)}'" if rng.random() < 0.06 else f"'{make(rng)}'"

    def nested(text):
        """A text within which the server looks for backslashes: in SQL_ASCII it takes the second bytes of
        表 and ソ for such."""
        return literal("".join(c for c in text if len(c.encode(codec, "replace")) == 1 or
                               b"\\" not in c.encode(codec, "replace")).encode(codec, "replace"))

    def json_of(rng):
        return nested(g.json_text(rng)) + "::json"

    def safe_json(rng):
        return nested(g.json_text(rng, encoding == "UTF8")) + "::jsonb"

    def array_of(rng):
        return nested(g.array_text(rng, lambda r: g.text_bytes(r, charset, 8).decode(codec, "ignore"))) + "::text[]"
    make_long = long_text(lambda rng: g.text_bytes(rng, charset))
    columns = [
        Made("id", "int NOT NULL", Column("integer"), None),
        Made("k", "varchar(80) NOT NULL", Column("text", charset),
             lambda rng: literal(g.text_bytes(rng, charset, KEY_CHARACTERS))),
        Made("pid", "varchar(90)", Column("text", charset), text),
        Made("t_text", "text", Column("text", charset), text),
        Made("t_char", "char(90)", Column("text", charset), text),
        Made("t_domain", "japanese", Column("text", charset), text),
        Made("t_long", "text", Column("text", charset), lambda rng: literal(make_long(rng))),
        Made("i_2", "int2", Column("integer"), g.integer(16)),
        Made("i_8", "int8", Column("integer"), quoted(g.integer(64))),
        Made("i_domain", "positive", Column("integer"), lambda rng: str(rng.randrange(1, 2**31))),
        Made("n_any", "numeric", Column("decimal"), special(g.exact(90, 40), "NaN", "Infinity", "-Infinity")),
        Made("n_money", "numeric(12,2)", Column("decimal"), g.exact(12, 2)),
        Made("f_8", "float8", Column("float"), special(lambda rng: repr(g.double(rng)), "NaN", "Infinity", "-Infinity", "-0")),
        Made("f_4", "float4", Column("float"), special(g.single, "NaN", "Infinity")),
        Made("b_bool", "bool", Column("bool", bits=1), lambda rng: rng.choice(("true", "false")),
             by_odbc={b"t": b"true", b"f": b"false"}.get),
        Made("b_1", "bit(1)", Column("bit", bits=1), lambda rng: f"B'{rng.getrandbits(1)}'"),
        Made("b_9", "bit(9)", Column("bit", bits=9), lambda rng: f"B'{rng.getrandbits(9):09b}'"),
        Made("b_var", "varbit", Column("bit"), lambda rng: f"B'{rng.getrandbits(40):b}'"),
        Made("at_date", "date", Column("date"), special(g.day, "infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "5874897-12-31")),
        Made("at_stamp", "timestamp", Column("timestamp"),
             special(lambda rng: f"{g.day(rng)} {g.clock(rng, 6)}", "infinity", "-infinity", "0044-03-15 12:00 BC", "20000-01-01")),
        Made("at_zone", "timestamptz", Column("zone", **zone),
             special(lambda rng: f"{g.day(rng)} {g.clock(rng, 6)}+00", "infinity", "0044-03-15 12:00+00 BC", "9999-12-31 20:00+00")),
        Made("at_time", "time", Column("time"), lambda rng: f"'{g.clock(rng, 6)}'"),
        Made("at_timetz", "timetz", Column("time"), lambda rng: f"'{g.clock(rng, 3)}+{rng.randrange(14):02}:30'"),
        Made("x_interval", "interval", Column("interval"),
             lambda rng: f"'{rng.randrange(-50, 50)} years {rng.randrange(40)} days {g.clock(rng, 2)}'"),
        Made("x_money", "money", Column("money", charset), lambda rng: f"'{rng.randrange(-10**9, 10**9)}.{rng.randrange(100):02}'"),
        Made("x_uuid", "uuid", Column("uuid"), lambda rng: f"'{uuid.UUID(int=rng.getrandbits(128), version=4)}'"),
        Made("x_json", "json", Column("json", charset), json_of),
        Made("x_jsonb", "jsonb", Column("json", charset), safe_json),
        Made("x_array", "text[]", Column("array", charset), array_of),
        Made("x_ints", "int[]", Column("array", charset), typed(lambda rng: g.array_text(rng, g.integer(32)), "int[]")),
        Made("x_bytes", "bytea", Column("binary"), lambda rng: f"'\\x{rng.randbytes(rng.choice((0, 1, 700, rng.randrange(60)))).hex()}'"),
        Made("x_enum", "answer", Column("enum", charset), lambda rng: literal(rng.choice(("有", "無", "不明")).encode(codec)) + "::answer"),
        Made("x_inet", "inet", Column("other", charset), lambda rng: f"'10.0.{rng.randrange(256)}.0/24'"),
        Made("x_point", "point", Column("geometry", charset), lambda rng: f"'({rng.randrange(99)},{rng.randrange(99)}.5)'"),
        Made("x_range", "int4range", Column("other", charset), lambda rng: f"'[{rng.randrange(9)},{rng.randrange(10, 99)})'"),
        Made("x_pair", "pair", Column("other", charset), lambda rng: f"ROW({rng.randrange(99)}, {text(rng)})"),
        Made("m_number", "text", Column("text", charset, mapped="number"), written(g.written_number), "type: number"),
        Made("m_bool", "text", Column("text", charset, mapped="bool"), written(g.written_bool), "type: bool"),
        Made("m_flag", "text", Column("text", charset, mapped="date", era="flag"), written(g.written_day), "type: date, era: flag"),
        Made("m_reject", "text", Column("text", charset, mapped="date", era="reject"), written(lambda rng: g.written_day(rng) if rng.random() < 0.1 else g.day(rng).replace("-", "/")), "type: date, era: reject"),
        Made("m_zone_text", "timestamptz", Column("zone", mapped="string", **zone),
             lambda rng: f"'{g.day(rng)} {g.clock(rng, 6)}+00'", "type: string"),
    ]
    if encoding == "SQL_ASCII":
        columns += [
            Made(f"d_{charset[:4].replace('-', '')}", "text", Column("text", charset),
                 lambda rng, charset=charset: literal(g.dirty_bytes(rng, charset)), f"charset: {charset}")
            for charset in ("cp932", "euc-jp", "utf-8", "ascii", "latin1")]
    return columns


class DifferentialPostgreSQL(Database):
    """One database of a cluster that all encodings share."""

    readers = 3

    SETTINGS = ("SET DateStyle='ISO, YMD'; SET TimeZone='UTC'; SET IntervalStyle='postgres';"
                "SET extra_float_digits=3; SET lc_monetary='C'; SET bytea_output='hex';")
    ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"\\": b"\\"}

    def __init__(self, rng, server, encoding):
        self.server, self.encoding = server, encoding
        self.name = f"postgresql-{encoding.lower()}"
        self.database = f"emr_{encoding.lower()}"
        super().__init__(rng)

    def describe(self):
        return postgresql_columns(self.encoding)

    def start(self, rows):
        self.server.create(self.database, self.encoding)
        enum = ", ".join(f"'{label}'" for label in ("有", "無", "不明"))
        codec = {"UTF8": "utf-8", "EUC_JP": "euc_jp", "SQL_ASCII": "cp932"}[self.encoding]
        lines = ", ".join(f"{c.name} {c.declared}" for c in self.columns)
        self.server.sql(
            f"CREATE TYPE answer AS ENUM ({enum}); CREATE DOMAIN japanese AS text;"
            f"CREATE DOMAIN positive AS int4 CHECK (VALUE > 0); CREATE TYPE pair AS (n int, t text);"
            f"CREATE TABLE {TABLE} ({lines}, PRIMARY KEY (id, k))".encode(codec), self.database, self.encoding)
        statements = []
        self.insert(rows, statements.append)
        self.server.sql(";\n".join([self.SETTINGS, *statements]), self.database, self.encoding)
        return self

    def stop(self):
        pass

    def connection(self):
        path = self.server.folder / "password"
        path.write_text(PASSWORD + "\n")
        return "postgresql", {"socket": self.server.socket, "port": self.server.port, "user": "renkei",
                              "database": self.database, "password_file": path}

    def read(self):
        """By psql's COPY, unescaped here."""
        names = ", ".join(c.name for c in self.columns)
        out = run([self.server.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.server.socket,
                   "-p", self.server.port, "-U", "postgres", "-d", self.database],
                  f"SET client_encoding='{self.encoding}'; {self.SETTINGS}"
                  f"COPY (SELECT {names} FROM {TABLE} ORDER BY id) TO STDOUT;")
        return [[self.unescape(cell, c) for cell, c in zip(line.split(b"\t"), self.columns)]
                for line in out.split(b"\n")[:-1]]

    def unescape(self, cell, made):
        if cell == b"\\N":
            return None
        parts = cell.split(b"\\")
        plain, at = parts[0], 1
        while at < len(parts):
            if parts[at] == b"":  # an escaped backslash
                plain += b"\\" + (parts[at + 1] if at + 1 < len(parts) else b"")
                at += 2
            else:
                plain += self.ESCAPES[parts[at][:1]] + parts[at][1:]
                at += 1
        return bytes.fromhex(plain[2:].decode()) if made.column.kind == "binary" else plain

    def odbc(self):
        settings = {"Servername": self.server.socket, "Port": self.server.port, "Database": self.database}
        return [(f"odbc-{short}-{self.encoding.lower()}", driver, settings)
                for short, driver in (("ansi", "PostgreSQL ANSI"), ("unicode", "PostgreSQL Unicode"))]


# --- SQLite by ODBC ---


class DifferentialSQLite(Database):
    name = "sqlite"

    def describe(self):
        def blob(raw):
            return f"CAST(X'{raw.hex()}' AS TEXT)"

        def written(make):
            return lambda rng: blob(make(rng).encode("cp932", "replace"))
        make_long = long_text(lambda rng: g.text_bytes(rng, "cp932"))
        texts = [Made(f"t_{charset[:5].replace('-', '')}", "varchar(100)", Column("text", charset),
                      lambda rng, charset=charset: blob(g.text_bytes(rng, charset)), f"charset: {charset}")
                 for charset in ("cp932", "euc-jp", "utf-8", "latin1")]
        dirty = [Made(f"d_{charset[:4].replace('-', '')}", "text", Column("text", charset),
                      lambda rng, charset=charset: blob(g.dirty_bytes(rng, charset)), f"charset: {charset}")
                 for charset in ("cp932", "euc-jp", "utf-8", "ascii")]
        return [
            Made("id", "integer NOT NULL", Column("integer"), None),
            Made("k", "varchar(40) NOT NULL", Column("text", "cp932"), lambda rng: blob(g.text_bytes(rng, "cp932", KEY_CHARACTERS))),
            Made("pid", "varchar(40)", Column("text", "cp932"), lambda rng: blob(g.text_bytes(rng, "cp932"))),
            *texts, *dirty,
            Made("t_long", "text", Column("text", "cp932"), lambda rng: blob(make_long(rng))),
            Made("i_8", "integer", Column("integer"), g.integer(64)),
            Made("i_big", "bigint", Column("integer"), g.integer(63)),
            Made("f_8", "double", Column("float"), lambda rng: repr(g.double(rng))),
            Made("n_money", "decimal(10,2)", Column("text", "cp932"), lambda rng: f"{rng.randrange(-10**8, 10**8) / 100:.2f}"),
            Made("at_date", "date", Column("date"), quoted(g.day)),
            Made("at_stamp", "datetime", Column("timestamp"), lambda rng: f"'{g.day(rng)} {g.clock(rng)}'"),
            Made("x_blob", "blob", Column("binary"), lambda rng: f"X'{rng.randbytes(rng.choice((0, 1, 700, rng.randrange(60)))).hex()}'"),
            Made("m_number", "text", Column("text", "cp932", mapped="number"), written(g.written_number), "type: number"),
            Made("m_bool", "text", Column("text", "cp932", mapped="bool"), written(g.written_bool), "type: bool"),
            Made("m_flag", "text", Column("text", "cp932", mapped="date", era="flag"), written(g.written_day), "type: date, era: flag"),
            Made("m_strict", "text", Column("text", "cp932", mapped="date", era="strict"), written(g.written_day), "type: date, era: strict"),
        ]

    def __init__(self, rng, folder):
        self.path = folder / "everything.sqlite"
        super().__init__(rng)

    def start(self, rows):
        lines = ", ".join(f"{c.name} {c.declared}" for c in self.columns)
        c = sqlite3.connect(self.path)
        c.execute(f"CREATE TABLE {TABLE} ({lines}, PRIMARY KEY (id, k))")
        self.insert(rows, c.execute)
        c.commit()
        c.close()
        return self

    def stop(self):
        pass

    def read(self):
        """By Python's sqlite3: a text's own bytes, a number as SQLite writes it, but a double that needs
        more than its 15 digits as Python does."""
        c = sqlite3.connect(self.path)
        c.text_factory = bytes
        names = [m.name for m in self.columns]
        texts = ", ".join(f"CAST({name} AS BLOB)" for name in names)
        doubles = ", ".join(f"CASE typeof({name}) WHEN 'real' THEN {name} END" for name in names)
        found = c.execute(f"SELECT {texts}, {doubles} FROM {TABLE} ORDER BY id").fetchall()
        c.close()
        return [[self.whole(text, double) for text, double in zip(row, row[len(names):])] for row in found]

    @staticmethod
    def whole(text, double):
        if double is None or float(text) == double:
            return text
        return next(more for more in (b"%.16g" % double, b"%.17g" % double) if float(more) == double)

    def odbc(self):
        return [("odbc-sqlite", "SQLite3", {"Database": self.path, "StepAPI": "1"})]


def configure(folder, targets):
    """unixODBC's files for all data sources: name -> (driver, settings)."""
    odbc = ODBC(folder)
    for name, driver, settings in targets:
        odbc.data_source(name, driver, settings)
    return odbc.env


def start_postgresql():
    server = PostgreSQL().start()
    server.sql(f"CREATE ROLE renkei LOGIN PASSWORD '{PASSWORD}';"
               "GRANT pg_read_all_data TO renkei")
    return server
