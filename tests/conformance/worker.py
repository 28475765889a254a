"""Drives renkei-worker-probe: a worker through the gateway's own door, commands in, JSON out."""

import json
import os
import subprocess

from tests.conformance.probe import BUILD

PROGRAM = BUILD / "tests/conformance/renkei-worker-probe"
WORKER = BUILD / "gateway/worker/renkei-worker"
# How much slower than a quiet machine without sanitizers this one may be.
PATIENCE = float(os.environ.get("RENKEI_TEST_TIME_FACTOR", "1"))


class WorkerError(Exception):
    def __init__(self, answer):
        self.name = answer["error"]
        self.message = answer["message"]
        self.hint = answer["hint"]
        super().__init__(f"{self.name}: {self.message} ({self.hint})")


class Worker:
    def __init__(self, mapping, plugins=BUILD / "connectors", call_ms=0, memory=0, rate=0,
                 source="main", env=None, cpu=0, latency_factor=0, windows=""):
        self.process = subprocess.Popen(
            [PROGRAM, WORKER, plugins, mapping, "h1", source, str(int(call_ms * PATIENCE)),
             str(memory),
             str(rate), str(cpu), str(latency_factor), windows],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.process.stdin.closed:
            return b""
        self.process.stdin.close()
        words = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        assert self.process.wait(60) in (0, 1), words.decode("utf-8", "replace")
        return words

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def until(self, last):
        """Answers up to the one that has this member."""
        found = []
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError("the probe died: " +
                                     self.process.stderr.read().decode("utf-8", "replace"))
            answer = json.loads(line)
            if "error" in answer:
                raise WorkerError(answer)
            if last in answer:
                return found, answer
            found.append(answer)

    def pull(self, table, mode="full", watermark="", quietly=False):
        """Gives rows and totals."""
        self.send(f"{'pull-quietly' if quietly else 'pull'} {table} {mode} {watermark}")
        found, totals = self.until("rows")
        self.loads = [answer for answer in found if "load" in answer]
        return [answer for answer in found if "row" in answer], totals

    def plan_of_pull(self, table):
        self.send(f"pull-quietly {table} full")
        found, _ = self.until("rows")
        return next(answer for answer in found if answer.get("start"))

    def fetch(self, table, *keys):
        self.send(f"fetch {table} {' '.join(keys)}")
        return self.until("fetched")[0]

    def patient(self, table, patient, rows=100):
        self.send(f"patient {table} {patient} {rows}")
        return self.until("fetched")[0]

    def preview(self, table, rows=10):
        self.send(f"preview {table} {rows}")
        return self.until("previewed")[0]

    def describe(self):
        self.send("describe")
        return self.until("connector")[1]

    def pid(self):
        self.send("process")
        return self.until("process")[1]["process"]
