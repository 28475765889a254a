"""A hospital by itself: from `renkei init` to the first verified document, as the README says."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from tests.harness.databases import MariaDB
from tests.harness.gateways import BUILD, ROOT
from tests.harness.wait import free_ports

LINES_MAX = 15
README_S_MAX = 600


@pytest.fixture
def clinic():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="renkei-alone-"))
    folder.chmod(0o755)
    db = MariaDB(folder / "mariadb").start()
    db.sql("CREATE DATABASE emr CHARACTER SET cp932")
    db.user("renkei", "secret", "emr")
    db.sql("CREATE TABLE visits (visit_no INT PRIMARY KEY, patient_id VARCHAR(20), "
           "drug VARCHAR(100), visited DATETIME) CHARACTER SET cp932", "emr")
    db.sql(b"INSERT INTO visits VALUES (1, 'P-1', _cp932 X'878A8360835C8A8C95D3', "
           b"'2024-05-01 09:30:00'), (2, 'P-2', 'other', '2024-05-02 10:00:00')", "emr")
    try:
        yield folder, db
    finally:
        db.close()
    shutil.rmtree(folder, ignore_errors=True)


def readme_lines():
    """The commands of README's section on one's own database, one a line."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## Your own database", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"```sh\n(.*?)```", section, re.S).group(1)
    return [line for line in block.splitlines() if line.strip() and not line.startswith("#")]


def test_the_readmes_lines_lead_to_a_verified_document(clinic):
    folder, db = clinic
    lines = readme_lines()
    assert len(lines) <= LINES_MAX
    port, = free_ports(1)
    # Building was done already; the socket and the port are this test's own.
    script = "\n".join(line for line in lines if not line.startswith(("git ", "deploy/", "meson ")))
    script = script.replace("/run/mysqld/mysqld.sock", str(db.socket)).replace("8443", str(port))
    assert str(db.socket) in script
    script = (f"set -e\nrenkei() {{ {BUILD}/gateway/cli/renkei \"$@\"; }}\n"
              f"trap 'renkei stop' EXIT\ncd {ROOT}\n" + script)
    shown = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=README_S_MAX, text=True,
                           env={**os.environ, "HOME": str(folder)})
    assert shown.returncode == 0, shown.stdout
    document = json.loads(shown.stdout[shown.stdout.index('{\n  "servedBy"'):])
    record, = document["records"]
    assert record["verdict"] == "match"
    assert record["fields"]["drug"] == bytes.fromhex("878A8360835C8A8C95D3").decode("cp932")
    assert record["fields"]["visited"] == "2024/05/01"
    assert document["hospitals"][0]["chain"]["assurance"] == "self-attested"
