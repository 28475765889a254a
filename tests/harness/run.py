"""Builds and runs every test and counts them; tests/run is the command.

A cmocka program says what it ran in TAP lines, pytest in a JUnit file, and both are counted test by
test. A program that says neither counts as one test. A program that ends with an error but names no
failed test (a crash, a sanitizer's report) counts as one failure more, so that nothing is lost.

The simulations compute and never wait; the process tests wait more than they compute. So the former
run beside the latter, in the time that these leave over: they are idle to the scheduler, and what they
find is decided by numbers of schedules, never by seconds.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build-tests"
PYTEST_FOLDERS = ("tests/conformance", "tests/integration")
PYTEST_S_MAX = 3600
LONG_FACTOR = 10
MESON_TIMEOUT_FACTOR = 10  # a limit ends what hangs, it does not measure
BESIDE = ("sim", "mutants", "scenarios", "model")  # suites that run in what time the others leave

# The sanitizers end a program at the first report, also in the daemons that a test starts.
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
}


class Tally:
    """What passed and what failed, by suite."""

    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def add(self, suite, passed, failed, skipped=()):
        self.passed += passed
        self.failed += [f"{suite}: {name}" for name in failed]
        self.skipped += [f"{suite}: {name}" for name in skipped]

    def add_all(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def say(text):
    print(text, flush=True)


class Beside(threading.Thread):
    """Suites that run while the others do; what they say is said at the end."""

    def __init__(self, suites, env):
        super().__init__()
        self.suites, self.env, self.tally, self.words = suites, env, Tally(), []

    def run(self):
        for suite in self.suites:
            run_meson(suite, self.tally, self.env, self.words.append,
                      lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)))

    def finish(self, tally):
        self.join()
        for words in self.words:
            say(words)
        tally.add_all(self.tally)


def build():
    say("== building with the address and undefined sanitizers")
    if not (BUILD / "build.ninja").exists():
        subprocess.run(
            ["meson", "setup", str(BUILD), "-Dwerror=true", "-Db_sanitize=address,undefined"],
            cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    log = BUILD / "build.log"
    with open(log, "wb") as out:
        status = subprocess.run(["ninja", "-C", str(BUILD)], stdout=out, stderr=out).returncode
    if status != 0:
        sys.stdout.write(log.read_text(errors="replace")[-8000:])
        raise SystemExit("the build failed; its whole log is " + str(log))


def meson_suites():
    tests = json.loads(subprocess.check_output(["meson", "introspect", "--tests", str(BUILD)]))
    names = {suite.split(":")[-1] for test in tests for suite in test["suite"]}
    return sorted(names, key=lambda name: ({"tidy": 0, "unit": 1}.get(name, 2), name))


def count_tap(text):
    """(passed, names of failed) of a program that wrote TAP; None if it did not."""
    lines = re.findall(r"^(not ok|ok) \d+(?: - (.*))?$", text, re.M)
    if not lines:
        return None
    failed = [name for verdict, name in lines if verdict == "not ok"]
    return len(lines) - len(failed), failed


def count_program(record):
    """(passed, names of failed) of one line of Meson's testlog.json."""
    name = record["name"].split(":")[-1].split(" / ")[-1]
    ended_well = record["result"] in ("OK", "EXPECTEDFAIL")
    counted = count_tap(record.get("stdout") or "")
    if counted is None:
        return (1, []) if ended_well else (0, [f"{name} ({record['result']})"])
    passed, failed = counted
    failed = [f"{name}: {test}" for test in failed]
    if not ended_well and not failed:
        failed = [f"{name} ({record['result']}, exit status {record['returncode']})"]
    return passed, failed


def run_meson(suite, tally, env, say=say, prepare=None):
    """prepare: what the processes do first of all."""
    say(f"== {suite}")
    logs = BUILD / "meson-logs"
    path = logs / f"testlog-{suite}.json"
    path.unlink(missing_ok=True)
    with open(logs / f"progress-{suite}.txt", "wb") as out:
        subprocess.run(
            ["meson", "test", "-C", str(BUILD), "--no-rebuild", "--suite", suite, "--logbase",
             f"testlog-{suite}", "--timeout-multiplier", str(MESON_TIMEOUT_FACTOR)],
            env=env, stdout=out, stderr=out, preexec_fn=prepare)
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if not records:
        tally.add(suite, 0, [f"{suite}: Meson ran nothing, see {out.name}"])
    for record in records:
        if record["result"] == "SKIP":
            tally.add(suite, 0, [], [record["name"]])
            continue
        passed, failed = count_program(record)
        tally.add(suite, passed, failed)
        words = "ok" if not failed else "FAILED"
        say(f"   {words:6} {record['name']}: {passed} passed, {len(failed)} failed, "
            f"{record['duration']:.1f} s")
        if failed:
            say((record.get("stdout") or "")[-4000:] + (record.get("stderr") or "")[-8000:])


def start_pytest(folder, env, out):
    """(process, report); out: where it writes, None: to where we do."""
    report = BUILD / "meson-logs" / f"pytest-{pathlib.Path(folder).name}.xml"
    report.unlink(missing_ok=True)
    command = ["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "--no-header",
               "--tb=short", f"--junitxml={report}", "-o", "junit_family=xunit2", folder]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out), report


def count_pytest(suite, status, report, tally):
    if not report.exists():
        tally.add(suite, 0, [f"pytest ended with status {status} and no report"])
        return
    passed, failed, skipped = 0, [], []
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed.append(name)
        elif "skipped" in kinds:
            skipped.append(name)
        else:
            passed += 1
    if status != 0 and not failed:
        failed.append(f"pytest ended with status {status}")
    tally.add(suite, passed, failed, skipped)


def run_pytest(folders, tally, env):
    """One process a folder, side by side: they share no server, folder or port, and wait more than they
    compute. What the first one says is seen at once, the others' when they have ended."""
    deadline = time.monotonic() + PYTEST_S_MAX
    running = []
    for folder in folders:
        out = tempfile.TemporaryFile() if running else None
        running.append((pathlib.Path(folder).name, *start_pytest(folder, env, out), out))
    for suite, process, report, out in running:
        say(f"== {suite}")
        try:
            status = process.wait(max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = -1
        if out is not None:
            out.seek(0)
            say(out.read().decode("utf-8", "replace"))
            out.close()
        count_pytest(suite, status, report, tally)


def cpu_seconds():
    times = os.times()
    return times.children_user + times.children_system


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", action="append", help="only this suite; may be repeated")
    parser.add_argument("--long", action="store_true", help="also what takes long")
    parser.add_argument("--no-install", action="store_true", help="never installs a package")
    args = parser.parse_args()
    started = time.monotonic()
    build()
    env = {**os.environ, **SANITIZER_ENV, "RENKEI_BUILD": str(BUILD), "CMOCKA_MESSAGE_OUTPUT": "TAP",
           "RENKEI_TEST_TIME_FACTOR": str(LONG_FACTOR if args.long else 3),
           "RENKEI_TEST_LONG": "1" if args.long else "0", "PYTHONDONTWRITEBYTECODE": "1"}
    tally = Tally()
    suites = meson_suites()
    folders = [f for f in PYTEST_FOLDERS if pathlib.Path(f).name not in suites]
    if args.suite:
        known = set(suites) | {pathlib.Path(f).name for f in folders}
        unknown = [s for s in args.suite if s not in known]
        if unknown:
            parser.error(f"no such suite: {unknown[0]}; there are: {' '.join(sorted(known))}")
    chosen = [suite for suite in suites if (suite in args.suite if args.suite else suite != "bench"
                                            and (args.long or "long" not in suite.split("-")))]
    folders = [f for f in folders if not args.suite or pathlib.Path(f).name in args.suite]
    beside = Beside([s for s in BESIDE if s in chosen], env)
    beside.start()
    for suite in (s for s in chosen if s not in BESIDE):
        run_meson(suite, tally, env)
    run_pytest(folders, tally, env)
    beside.finish(tally)
    for name in tally.skipped:
        say(f"skipped: {name}")
    for name in tally.failed:
        say(f"failed: {name}")
    say(f"in {time.monotonic() - started:.0f} s, {cpu_seconds():.0f} s of them computing")
    say(f"{tally.passed} passed, {len(tally.failed)} failed")
    return 1 if tally.failed or tally.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
