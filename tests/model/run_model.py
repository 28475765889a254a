#!/usr/bin/python3
"""Checks tests/model/pbft.pml with Spin: one height exhaustively (partial-order reduction, compressed
states) where the leader of view 0 lies; one height where that of view 1 lies, and two heights, by
bitstate search for a bounded time; and the model broken on purpose, which must give a counterexample
each time.

usage: run_model.py [--seconds T] [--cc CC]
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

MODEL = pathlib.Path(__file__).resolve().with_name("pbft.pml")
EXHAUSTIVE_S_MAX = 900
EXHAUSTIVE = ["-DCOLLAPSE"]
BITSTATE = ["-DBITSTATE", "-DT_RAND"]
CONTROLS = [  # each with the liar that shows it
    ["-DQUORUM=2", "-DBYZ=0"],
    ["-DNO_CERTIFICATES", "-DBYZ=0"],
    ["-DLOWEST_VIEW", "-DBYZ=0"],
    ["-DNOT_BINDING", "-DBYZ=1", "-DHEIGHTS=1"],
    ["-DOVERTAKE", "-DBYZ=0"],
]


def check(options, defines, build, seconds):
    """(errors, whether the search was completed, states, seconds)"""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        subprocess.run(["spin", "-a", *defines, str(MODEL)], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([options.cc, "-O2", "-w", "-DSAFETY", "-DVECTORSZ=2048", *build, "-o", "pan",
                        "pan.c"], cwd=folder, check=True)
        start = time.monotonic()
        search = ["./pan", "-m20000", "-w26"] + (["-RS7"] if "-DT_RAND" in build else [])
        process = subprocess.Popen(search, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            output, _ = process.communicate(timeout=seconds)
            completed = "Search not completed" not in output
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it tells what it found so far
            output, _ = process.communicate()
            completed = False
        took = time.monotonic() - start
    errors = int(re.search(r"errors: (\d+)", output).group(1)) if "errors:" in output else 0
    states = re.findall(r"(\d+) states, stored|States= *([\d.e+]+)", output)
    return errors, completed, int(float(max(states[-1]))) if states else 0, took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=20, help="for each bitstate search")
    parser.add_argument("--cc", default="cc")
    options = parser.parse_args()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = pool.submit(check, options, ["-DHEIGHTS=1", "-DBYZ=0"], EXHAUSTIVE,
                            EXHAUSTIVE_S_MAX)
        part = [(heights, liar, pool.submit(check, options, [f"-DHEIGHTS={heights}",
                                                             f"-DBYZ={liar}"], BITSTATE,
                                            options.seconds))
                for heights, liar in ((1, 1), (2, 0), (2, 1))]
        broken = [(control, pool.submit(check, options, control, BITSTATE, EXHAUSTIVE_S_MAX))
                  for control in CONTROLS]
        errors, completed, states, took = whole.result()
        good = errors == 0 and completed
        failed += not good
        print(f"{'ok' if good else 'FAILED'}  1 height, liar 0: exhaustive, {states} states, "
              f"{errors} errors, {took:.1f} s", flush=True)
        for heights, liar, future in part:
            errors, completed, states, took = future.result()
            failed += errors != 0
            print(f"{'ok' if errors == 0 else 'FAILED'}  {heights} height{'s' * (heights - 1)}, "
                  f"liar {liar}: bitstate, {states} states"
                  f"{'' if completed else ' until the time was over'}, {errors} errors, "
                  f"{took:.1f} s", flush=True)
        for control, future in broken:
            errors, _, states, took = future.result()
            failed += errors == 0
            print(f"{'ok' if errors else 'FAILED'}  {' '.join(control)}: "
                  f"{'a counterexample' if errors else 'no counterexample'} after {states} states, "
                  f"{took:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
