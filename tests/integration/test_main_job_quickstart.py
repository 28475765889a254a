"""deploy/quickstart as a user runs it: what it shows, and that it leaves the machine as it was."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import pytest

from tests.harness.gateways import BUILD, ROOT

QUICKSTART = ROOT / "deploy/quickstart"
QUICKSTART_S_MAX = 600
PATIENTS = "500"


def listening_ports():
    """TCP ports of this machine that somebody listens on."""
    ports = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(path).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                ports.add(int(words[1].rpartition(":")[2], 16))
    return ports


@pytest.fixture
def occupied():
    """Ports 3306 and 5432, taken by this test where nobody else has them."""
    held = []
    for port in (3306, 5432):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            s.listen()
        except OSError:
            s.close()
            continue
        held.append(s)
    assert {3306, 5432} <= listening_ports()
    yield
    for s in held:
        s.close()


def watched_files():
    """What stands for services and their configuration on this machine."""
    files = {}
    for folder in ("/etc/postgresql", "/etc/mysql", "/etc/systemd/system", "/var/lib/postgresql",
                   "/var/lib/mysql", "/etc/postgresql-common", "/run/postgresql", "/run/mysqld"):
        for path in sorted(pathlib.Path(folder).glob("**/*")):
            stat = path.lstat()
            files[str(path)] = (stat.st_size, stat.st_mtime_ns, stat.st_mode)
    files["odbc"] = [pathlib.Path(p).read_bytes() if os.path.exists(p) else None
                     for p in ("/etc/odbc.ini", "/etc/odbcinst.ini")]
    return files


def processes_with(word):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


def quickstart(*words):
    result = subprocess.run(
        [str(QUICKSTART), "--no-install", "--build", str(BUILD), "--patients", PATIENTS, *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=QUICKSTART_S_MAX, text=True)
    return result.returncode, re.sub(r"\033\[[0-9;]*[mK]", "", result.stdout)


def test_it_shows_the_main_job_with_ports_occupied_and_leaves_nothing_behind(occupied, tmp_path):
    folder = f"/tmp/renkei-quickstart-test-{os.getpid()}"
    before = watched_files()
    status, shown = quickstart("--folder", folder)
    assert status == 0, shown[-6000:]
    expected = (ROOT / "deploy/quickstart.d/expected-plain.json").read_text()
    assert expected in shown, "the plain view is the committed file"
    assert "mismatch: renkei://clinic/emr/visits/1 is not what was anchored" in shown
    assert '"version":2,"origin":"observed"' in shown
    assert re.search(r"^match +2011/03/24 +renkei://clinic/emr/visits/1$", shown, re.M)
    assert re.search(r"^mismatch +2011/03/24 +renkei://clinic/emr/visits/1$", shown, re.M)
    assert not os.path.exists(folder)
    assert processes_with(folder) == []
    assert watched_files() == before
    assert {3306, 5432} <= listening_ports()


def test_the_expected_plain_view_is_the_published_figure_with_the_tables_values():
    personal, two, one, three = json.loads(
        (ROOT / "deploy/quickstart.d/expected-plain.json").read_text())
    assert personal["userName"] == "Bill Windows" and personal["birthday"] == "1953/09/09"
    assert two["recordDate"] == "2010/08/06" and one["timestamp"] == "2011/03/24"
    assert two["medications"] == "HUMULIN INJ 70/30 20 units ac"
    assert one["Assessment"] == "Sub optimal sugar, control with retinopathy"
    assert one["Allergy"] == "False" and three["abnormal"] == "True"
    assert {r["IdentificationID"] for r in (personal, one, two, three)} == {"999-99-9999"}


def test_a_folder_that_it_did_not_make_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    status, shown = quickstart("--folder", str(tmp_path))
    assert status == 1
    assert f"quickstart: {tmp_path} exists and was not made by the quickstart" in shown
    assert (tmp_path / "mine").read_text() == "mine"


def test_on_a_terminal_it_waits_for_no_key():
    """psql and others open a pager on a terminal; nobody is there to leave it."""
    folder = f"/tmp/renkei-quickstart-terminal-{os.getpid()}"
    master, slave = os.openpty()
    shown = bytearray()
    process = subprocess.Popen(
        [str(QUICKSTART), "--no-install", "--build", str(BUILD), "--patients", PATIENTS,
         "--folder", folder],
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env=dict(os.environ, TERM="xterm", PAGER="less"))
    os.close(slave)
    os.set_blocking(master, True)
    reader = threading.Thread(target=read_all, args=(master, shown), daemon=True)
    reader.start()
    try:
        assert process.wait(QUICKSTART_S_MAX / 4) == 0, shown.decode(errors="replace")[-2000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
    reader.join(60)
    assert b"(END)" not in shown
    assert b"\x1b[1m== Done in" in shown


def read_all(descriptor, shown):
    """Until the other side of the terminal is closed, which Linux tells by EIO."""
    try:
        while True:
            shown += os.read(descriptor, 65536)
    except OSError:
        os.close(descriptor)
