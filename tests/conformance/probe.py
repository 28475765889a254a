"""Drives renkei-connector-probe: one connector plugin, commands in, JSON lines out."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RENKEI_BUILD", ROOT / "build"))
PROBE = BUILD / "tests/conformance/renkei-connector-probe"
PROBE_S_MAX = 300

# enum renkei_status
OK, END, UNREACHABLE, LOGIN, NO_TABLE, NO_COLUMN, QUERY, LOST = range(8)
CANCELLED, TIMEOUT, LIMIT, OPTION, NO_MEMORY, INTERNAL, UNSUPPORTED = range(8, 15)

# enum renkei_charset
(UNKNOWN, BINARY, ASCII, UTF8, CP932, SJIS, EUC_JP, ISO_2022_JP, UTF16LE, UTF16BE,
 LATIN1) = range(11)

# enum renkei_type
(T_OTHER, T_TEXT, T_INTEGER, T_DECIMAL, T_FLOAT, T_BOOL, T_DATE, T_TIME, T_TIMESTAMP,
 T_TIMESTAMP_ZONE, T_YEAR, T_BINARY, T_BIT, T_JSON, T_ARRAY, T_UUID, T_INTERVAL, T_MONEY, T_ENUM,
 T_GEOMETRY) = range(20)


# What stands for RENKEI_TOO_LONG.
TOO_LONG = "too long"


class Fault(Exception):
    """What a connector returned instead of rows."""

    def __init__(self, answer):
        self.status = answer["fault"]
        self.code = answer["server_code"]
        self.sqlstate = answer["sqlstate"]
        self.message = bytes.fromhex(answer["message"]).decode("utf-8")
        super().__init__(f"status {self.status}, server {self.code} {self.sqlstate}: "
                         f"{self.message}")


def as_hex(value):
    return (value.encode("utf-8") if isinstance(value, str) else value).hex()


class Probe:
    """One plugin in a process of its own. Commands are answered one by one."""

    def __init__(self, plugin, options=(), env=None):
        path = plugin if os.path.sep in str(plugin) else BUILD / "connectors" / f"{plugin}.so"
        self.process = subprocess.Popen(
            [PROBE, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})})
        for name, value in dict(options).items():
            self.send(f"option {name} {as_hex(str(value))}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Ends the probe in its orderly way; gives what it wrote to stderr."""
        if self.process.stdin.closed:
            return b""
        self.process.stdin.close()
        words = self.process.stderr.read()
        self.process.wait(PROBE_S_MAX)
        self.process.stdout.close()
        self.process.stderr.close()
        assert self.process.returncode in (0, 1), words.decode("utf-8", "replace")
        return words

    def send(self, *lines):
        for line in lines:
            self.process.stdin.write(line.encode("ascii") + b"\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(
                "the probe died: " + self.process.stderr.read().decode("utf-8", "replace"))
        return json.loads(line)

    def until(self, name):
        """Answers up to the one that has this member, or a Fault."""
        found = []
        while True:
            answer = self.answer()
            if "fault" in answer:
                raise Fault(answer)
            if name in answer:
                return found, answer
            found.append(answer)

    def open(self):
        self.send("open")
        self.name = self.until("open")[1]["open"]
        return self

    def server(self):
        self.send("server")
        return self.until("product")[1]

    def listing(self, command):
        """A command that prints any number of lines: a pause marks the end."""
        self.send(command, "pause")
        try:
            found, _ = self.until("paused")
        except Fault:
            self.until("paused")
            self.send("go")
            raise
        self.send("go")
        for answer in found:
            for name in ("table", "schema", "column", "declared", "right"):
                if name in answer:
                    answer[name] = bytes.fromhex(answer[name])
        return found

    def columns(self, table):
        return {c["column"]: c for c in self.listing(f"columns {as_hex(table)}")}

    def begin(self):
        self.send("begin")
        return bytes.fromhex(self.until("snapshot")[1]["snapshot"]).decode("utf-8")

    def ask(self, table, columns, key=(), values=(), after=(), order=False, limit=0, equals=None,
            watermark=None, schema=None, extra=()):
        """Sends a query; read() gives its rows."""
        lines = [f"table {as_hex(table)}"]
        if schema:
            lines.append(f"schema {as_hex(schema)}")
        lines += [f"column {as_hex(c)}" for c in columns]
        lines += [f"key {as_hex(k)}" for k in key]
        lines += [f"value {as_hex(v)}" for row in values for v in row]
        lines += [f"after {as_hex(v)}" for v in after]
        if equals:
            lines.append(f"equals {as_hex(equals[0])} {as_hex(equals[1])}")
        if watermark:
            lines.append(f"watermark {as_hex(watermark[0])} {as_hex(watermark[1])}")
        if order:
            lines.append("order")
        if limit:
            lines.append(f"limit {limit}")
        self.send(*lines, *extra, "rows")

    def read(self):
        found, self.summary = self.until("rows")
        return [[cell if cell in (None, TOO_LONG) else bytes.fromhex(cell)
                 for cell in answer["row"]] for answer in found if "row" in answer]

    def rows(self, *args, **kwargs):
        self.ask(*args, **kwargs)
        return self.read()
