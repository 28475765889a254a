"""Builds and runs every test and counts them; tests/run is the command.

A cmocka program says what it ran in TAP lines, pytest in a JUnit file, and both are counted test by
test. A program that says neither counts as one test. A program that ends with an error but names no
failed test (a crash, a sanitizer's report) counts as one failure more, so that nothing is lost.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build-tests"
PYTEST_FOLDERS = ("tests/conformance", "tests/integration")
PYTEST_S_MAX = 1800
LONG_FACTOR = 10

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


def say(text):
    print(text, flush=True)


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


def run_meson(suite, tally, env):
    say(f"== {suite}")
    logs = BUILD / "meson-logs"
    path = logs / f"testlog-{suite}.json"
    path.unlink(missing_ok=True)
    with open(logs / f"progress-{suite}.txt", "wb") as out:
        subprocess.run(
            ["meson", "test", "-C", str(BUILD), "--no-rebuild", "--suite", suite, "--logbase",
             f"testlog-{suite}", "--timeout-multiplier", env["RENKEI_TEST_TIME_FACTOR"]],
            env=env, stdout=out, stderr=out)
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


def run_pytest(folder, tally, env):
    suite = pathlib.Path(folder).name
    if not list((ROOT / folder).glob("**/test_*.py")):
        return
    say(f"== {suite}")
    report = BUILD / "meson-logs" / f"pytest-{suite}.xml"
    report.unlink(missing_ok=True)
    command = ["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "--no-header",
               "--tb=short", f"--junitxml={report}", "-o", "junit_family=xunit2", folder]
    try:
        status = subprocess.run(command, cwd=ROOT, env=env, timeout=PYTEST_S_MAX).returncode
    except subprocess.TimeoutExpired:
        status = -1
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
    for suite in suites:
        ordinary = suite != "bench" and (args.long or "long" not in suite.split("-"))
        if suite in args.suite if args.suite else ordinary:
            run_meson(suite, tally, env)
    for folder in folders:
        if not args.suite or pathlib.Path(folder).name in args.suite:
            run_pytest(folder, tally, env)
    for name in tally.skipped:
        say(f"skipped: {name}")
    for name in tally.failed:
        say(f"failed: {name}")
    say(f"in {time.monotonic() - started:.0f} s")
    say(f"{tally.passed} passed, {len(tally.failed)} failed")
    return 1 if tally.failed or tally.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
