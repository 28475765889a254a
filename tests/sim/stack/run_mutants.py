#!/usr/bin/python3
"""Seeded bugs of what stands around the protocol core, one at a time: each patch of
tests/sim/stack/mutants is applied to a copy of the files that it names, which are linked before the
archive of all the rest, and must be caught by random schedules of the full stack.

usage: run_mutants.py [--cc CC] [--only NAME] ARCHIVE ROOT [LIBRARY...]
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

FLAGS = ["-std=c17", "-O2", "-D_GNU_SOURCE", "-w"]
SCHEDULES = "600"  # by number, not by time: a busy machine must find the same


def try_mutant(patch, options, work):
    sources = re.findall(r"^\+\+\+ b/(\S+\.c)$", patch.read_text(), re.M)
    for source in sources:
        (work / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(options.root / source, work / source)
    subprocess.run(["patch", "-p1", "--silent", "-d", str(work), "-i", str(patch)], check=True)
    program = work / "sim_stack"
    subprocess.run([options.cc, *FLAGS, f"-I{options.root}", *(str(work / s) for s in sources),
                    str(options.archive), *(f"-l{name}" for name in options.libraries), "-o",
                    str(program)], check=True)
    run = subprocess.run([program, "--schedules", SCHEDULES, "--seconds", "600"],
                         capture_output=True, text=True)
    if run.returncode < 0:
        return f"it crashed (signal {-run.returncode})"
    return next((line for line in run.stdout.splitlines() if line.startswith("BROKEN")), None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--only")
    parser.add_argument("archive", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("root", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("libraries", nargs="*")
    options = parser.parse_args()
    patches = sorted((options.root / "tests/sim/stack/mutants").glob("*.patch"))
    missed = 0
    for patch in patches:
        if options.only not in (None, patch.stem):
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            found = try_mutant(patch, options, pathlib.Path(folder))
        missed += found is None
        print(f"{'caught' if found else 'MISSED'}  {patch.stem:36} "
              f"{time.monotonic() - start:6.2f} s  {found or 'nothing noticed it'}", flush=True)
    print(f"{len(patches)} mutants, {missed} missed")
    return 1 if missed or not patches else 0


if __name__ == "__main__":
    sys.exit(main())
