#!/usr/bin/python3
"""Seeded protocol bugs, one at a time: each patch of tests/sim/mutants is applied to a copy of
ledger/pbft, built with the simulator, and must be caught by random schedules, by the
scenarios, or by the unit tests of votes and of NEW-VIEW.

usage: run_mutants.py [--jobs N] [--only NAME] [--cc CC] ROOT
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

WORLD = ("check.c", "hash_fast.c", "host.c", "liar.c", "members.c", "schedule.c", "world.c")
PROGRAMS = ("sim", "scenario")
UNIT_TESTS = [pathlib.Path("tests/unit/pbft") / name for name in ("test_new_view.c", "test_vote.c")]
BASE = ("arena.c", "bytes.c", "clock.c", "error.c", "text.c", "wire.c")
HASHES = ("hash.c", "sha256_many.c")  # the simulator has its own
SCHEDULES_MAX = 40000
SCHEDULES_FIRST = 4000  # what schedules find, these find; the rest are tried where all else failed
SECONDS_MAX = "600"  # by number, not by time: a busy machine must find the same
FLAGS = ["-std=c17", "-O2", "-D_GNU_SOURCE", "-w"]


def compile_core(options, tree, root, sources, folder):
    """The objects of these sources of the core, by their names."""
    objects = {}
    for source in sources:
        objects[source.name] = str(folder / (source.stem + ".o"))
        subprocess.run([options.cc, *FLAGS, f"-I{tree}", f"-I{root}", "-c", str(source), "-o",
                        objects[source.name]], check=True, capture_output=True)
    return objects


def build(options, root, copy, work, objects, core_objects):
    """What the patch changed of the core (all of it where that is a header), then all programs."""
    sources = sorted((copy / "ledger/pbft").glob("*.[ch]"))
    changed = {s for s in sources if s.read_bytes() != (root / "ledger/pbft" / s.name).read_bytes()}
    if any(s.suffix == ".h" for s in changed):
        changed = set(sources)
    fresh = [s for s in sources if s in changed and s.suffix == ".c"]
    core = list({**core_objects, **compile_core(options, copy, root, fresh, work)}.values())
    base = [str(objects / (name + ".o")) for name in BASE]
    for test in UNIT_TESTS:
        subprocess.run([options.cc, *core, *base, *(str(objects / (h + ".o")) for h in HASHES),
                        str(objects / (test.name + ".o")), "-lcmocka", "-lcrypto", "-o",
                        str(work / test.stem)], check=True, capture_output=True)
    for program in PROGRAMS:
        world = [str(objects / (name + ".o")) for name in (*WORLD, program + ".c")]
        subprocess.run([options.cc, *core, *world, *base, "-o", str(work / program)], check=True,
                       capture_output=True)


def verdict(run):
    """What a failed run found, in one line."""
    if run.returncode < 0:
        impossible = re.search(r"Assertion .*", run.stderr)
        return impossible.group(0) if impossible else f"it crashed (signal {-run.returncode})"
    lines = [line for line in run.stdout.splitlines()
             if line.startswith("BROKEN") or ".scn:" in line]
    if not lines:
        lines = re.findall(r"\[  FAILED  \] [a-z_]+$", run.stderr, re.M)
    return re.sub(r"\S*/", "", lines[0], count=1) if lines else run.stdout.strip()[-200:]


def try_mutant(patch, options, root, objects, core_objects):
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        work = pathlib.Path(folder)
        copy = work / "tree"
        shutil.copytree(root / "ledger/pbft", copy / "ledger/pbft")
        applied = subprocess.run(["patch", "-p1", "--silent", "-d", str(copy), "-i", str(patch)],
                                 capture_output=True, text=True)
        if applied.returncode != 0:
            return patch.stem, None, 0, "the patch does not apply: " + applied.stdout.strip()
        try:
            build(options, root, copy, work, objects, core_objects)
        except subprocess.CalledProcessError as error:
            return patch.stem, None, 0, "it does not build: " + error.stderr.decode()[:200]
        scenarios = sorted(map(str, (root / "tests/scenarios").glob("*.scn")))
        start = time.monotonic()
        sim = [str(work / "sim"), "--seconds", SECONDS_MAX, "--schedules"]
        for command in ([*sim, str(SCHEDULES_FIRST)], [str(work / "scenario"), *scenarios],
                        *([str(work / test.stem)] for test in UNIT_TESTS),
                        [*sim, str(SCHEDULES_MAX)]):
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode != 0:
                return patch.stem, True, time.monotonic() - start, verdict(run)
        return patch.stem, False, time.monotonic() - start, "nothing noticed it"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only")
    parser.add_argument("--cc", default="cc")
    parser.add_argument("root", type=pathlib.Path)
    options = parser.parse_args()
    root = options.root.resolve()
    patches = sorted((root / "tests/sim/mutants").glob("*.patch"))
    if options.only:
        patches = [p for p in patches if p.stem == options.only]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        objects = pathlib.Path(folder)
        sources = [root / "base" / name for name in BASE]
        sources += [root / "tests/sim" / name for name in WORLD]
        sources += [root / "tests/sim" / (program + ".c") for program in PROGRAMS]
        sources += [root / test for test in UNIT_TESTS]
        sources += [root / "base" / name for name in HASHES]
        for source in sources:
            subprocess.run([options.cc, *FLAGS, f"-I{root}", "-c", str(source), "-o",
                            str(objects / (source.name + ".o"))], check=True)
        core_objects = compile_core(options, root, root,
                                    sorted((root / "ledger/pbft").glob("*.c")), objects)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            results = pool.map(lambda p: try_mutant(p, options, root, objects, core_objects),
                               patches)
            for name, caught, seconds, what in results:
                missed += caught is not True
                word = "caught" if caught else "MISSED" if caught is False else "BROKEN PATCH"
                print(f"{word}  {name:42} {seconds:6.2f} s  {what}", flush=True)
    print(f"{len(patches) - missed} of {len(patches)} mutants caught")
    return 1 if missed or not patches else 0


if __name__ == "__main__":
    sys.exit(main())
