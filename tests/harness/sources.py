"""The same small table in each kind of database, for scenarios that must hold for all connectors.

    record_no  integer, the key
    patient    whose record it is
    note       Shift_JIS bytes, exactly as a test means them
    drug       text
    seen       a date with a time of day, which documents show as yyyy/mm/dd
"""

from tests.harness.databases import MariaDB, PostgreSQL, SQLiteODBC

PASSWORD = "not-a-real-password"

MAPPING = """\
source: {source}
connector: {connector}
connection:
{connection}
{more}tables:
  - table: records
    category: EMR05
    key: [record_no]
    patient: patient
    date: seen
    fields:
      - column: patient
      - column: note
      - column: drug
      - column: seen
        type: date
"""


class Source:
    """What scenarios do to a table behind the gateway's back."""

    source = connector = ""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD)
        self.password_file.chmod(0o600)

    def mapping(self, **changes):
        connection = {**self.connection(), **changes}
        lines = "\n".join(f'  {key}: "{value}"' for key, value in connection.items()
                          if value is not None)
        return MAPPING.format(source=self.source, connector=self.connector, connection=lines,
                              more=self.more())

    def more(self):
        return ""

    def insert(self, rows):
        """rows: (record_no, patient, note as bytes, drug, seen)"""
        values = ",".join(
            f"({no},'{patient}',{self.text(note)},'{drug}','{seen}')"
            for no, patient, note, drug, seen in rows)
        self.run(f"INSERT INTO records VALUES {values}")

    def set_note(self, no, note):
        self.run(f"UPDATE records SET note = {self.text(note)} WHERE record_no = {no}")

    def set_seen(self, no, seen):
        self.run(f"UPDATE records SET seen = '{seen}' WHERE record_no = {no}")

    def delete(self, no):
        self.run(f"DELETE FROM records WHERE record_no = {no}")

    def address(self, hospital, no):
        return f"renkei://{hospital}/{self.source}/records/{no}"


class MySQLSource(Source):
    source, connector = "mysql-emr", "mysql"

    def start(self):
        self.db = MariaDB(self.folder / "server").start()
        self.db.sql("CREATE DATABASE emr CHARACTER SET cp932")
        self.db.user("renkei", PASSWORD, "emr")
        self.run("CREATE TABLE records (record_no INT NOT NULL PRIMARY KEY, patient VARCHAR(32) "
                 "NOT NULL, note VARCHAR(1000) NOT NULL, drug VARCHAR(100) NOT NULL, "
                 "seen DATETIME NOT NULL, KEY (patient)) ENGINE=InnoDB CHARACTER SET cp932")
        return self

    def connection(self):
        return {"socket": self.db.socket, "user": "renkei", "password_file": self.password_file,
                "database": "emr"}

    def run(self, text):
        return self.db.sql(text, "emr")

    def text(self, note):
        return f"_cp932 X'{note.hex()}'" if note else "''"


class PostgreSQLSource(Source):
    source, connector = "postgresql-emr", "postgresql"

    def start(self):
        self.db = PostgreSQL(self.folder / "server").start()
        self.db.create("emr", "SQL_ASCII")
        self.run("CREATE TABLE records (record_no INTEGER PRIMARY KEY, patient VARCHAR(32) NOT "
                 "NULL, note TEXT NOT NULL, drug TEXT NOT NULL, seen TIMESTAMP NOT NULL)")
        self.run("CREATE INDEX ON records (patient)")
        self.db.user("renkei", PASSWORD, "emr")
        return self

    def connection(self):
        return {"host": self.db.socket, "port": self.db.port, "user": "renkei",
                "password_file": self.password_file, "database": "emr"}

    def more(self):
        return "charset: cp932\n"

    def run(self, text):
        return self.db.sql(text, "emr")

    def text(self, note):
        return f"convert_from('\\x{note.hex()}'::bytea, 'SQL_ASCII')"


class ODBCSource(Source):
    source, connector = "odbc-emr", "odbc"

    def start(self):
        self.db = SQLiteODBC(self.folder / "server").start()
        self.run("CREATE TABLE records (record_no INTEGER NOT NULL PRIMARY KEY, patient TEXT NOT "
                 "NULL, note TEXT NOT NULL, drug TEXT NOT NULL, seen TEXT NOT NULL)")
        self.run("CREATE INDEX records_patient ON records (patient)")
        return self

    def connection(self):
        return {"dsn": self.db.dsn}

    def more(self):
        lines = "".join(f'  {key}: "{value}"\n' for key, value in self.db.env.items())
        return f"charset: cp932\nenvironment:\n{lines}"

    def run(self, text):
        return self.db.sql(text)

    def text(self, note):
        return f"CAST(X'{note.hex()}' AS TEXT)"


KINDS = {"mysql": MySQLSource, "postgresql": PostgreSQLSource, "odbc": ODBCSource}
