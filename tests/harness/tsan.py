"""Everything that has threads, built with the thread sanitizer: the unit tests, and real nodes and
gateways under the process tests. Meson's suite tsan-long runs it; it builds in a folder of its own.

    tests/harness/tsan.py [FOLDER]

Every report of every process, also of daemons that a test only starts, is a file; one is a failure.
First of all a program that has a race must be reported, or nothing else here means anything."""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# All that starts threads: agreement and its clients, the map's renewal and its merges, epochs, transfer,
# backup and checkpoint; the gateway's workers, its two lanes to the chain, its vault and its listeners.
PROCESS_TESTS = [f"test_{name}.py" for name in (
    "ledger_nodes", "ledger_failover", "ledger_client", "ledger_map", "ledger_members",
    "ledger_rollback", "ledger_catch_up", "ledger_budget", "ledger_warnings", "ledger_checkpoint",
    "ledger_backup", "ledger_epoch_ends", "ledger_power_loss", "ledger_disk_full", "main_job_alone",
    "rest", "sync_modes", "vault_power_loss")]
TIME_FACTOR = "10"
UNIT_FACTOR = "30"  # some have a million values, and a limit that is meant without a sanitizer
# Where addresses are random, LMDB's huge maps sometimes find no place between the sanitizer's own.
FIXED = ["setarch", "-R"]
PYTEST_S_MAX = 3000


def build(folder):
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(folder), "-Db_sanitize=thread", "-Db_lundef=false"],
                       cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(folder)], check=True, stdout=subprocess.DEVNULL)


def reports(logs):
    return sorted(logs.glob("tsan.*"))


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build-tsan").resolve()
    build(folder)
    logs = folder / "tsan-reports"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    env = {**os.environ, "RENKEI_BUILD": str(folder), "PYTHONDONTWRITEBYTECODE": "1",
           "RENKEI_TEST_TIME_FACTOR": TIME_FACTOR,
           "TSAN_OPTIONS": f"exitcode=66:second_deadlock_stack=1:log_path={logs}/tsan"}
    env.pop("LD_PRELOAD", None)
    subprocess.run([*FIXED, folder / "tests" / "harness" / "race"], env=env)
    if len(reports(logs)) != 1:
        print("the thread sanitizer did not report a program that has a race")
        return 1
    reports(logs)[0].unlink()
    unit = subprocess.run([*FIXED, "meson", "test", "-C", str(folder), "--no-rebuild", "--suite",
                           "unit", "--timeout-multiplier", UNIT_FACTOR], env=env).returncode
    tests = [f"tests/integration/{name}" for name in PROCESS_TESTS]
    process = subprocess.run([*FIXED, "/usr/bin/python3", "-B", "-m", "pytest", "-p",
                              "no:cacheprovider", "-q", "--no-header", "--tb=short", *tests],
                             cwd=ROOT, env=env, timeout=PYTEST_S_MAX).returncode
    for report in reports(logs):
        print(report.read_text(errors="replace"))
    print(f"{len(reports(logs))} reports; unit tests ended with {unit}, "
          f"process tests with {process}")
    return 1 if reports(logs) or unit != 0 or process != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
