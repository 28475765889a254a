"""A plugin's life: a file dropped into the folder works, a wrong one is refused with found and
required, and the example stays right."""

import pathlib
import re
import shutil
import subprocess

import pytest

from tests.conformance import probe as p
from tests.conformance.probe import BUILD, PROBE, ROOT, Fault, Probe
from tests.conformance.worker import Worker, WorkerError


def refusal(plugin):
    done = subprocess.run([PROBE, plugin], stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 1, done.stderr
    import json
    answer = json.loads(done.stdout)
    assert answer["error"] == "plugin"
    return bytes.fromhex(answer["message"]).decode()


@pytest.mark.parametrize("fault, words", [
    ("magic", "found magic deadbeef, expected 52454e4b"),
    ("abi", "found ABI version 2, expected 1"),
    ("size", "found a table of"),
    ("slot", "slot 'next': found NULL, expected a value"),
    ("symbol", "found no symbol 'renkei_connector', expected one"),
])
def test_a_wrong_plugin_is_refused(fault, words):
    assert words in refusal(BUILD / f"tests/conformance/bad_{fault}.so")


def test_what_is_no_plugin_is_refused(tmp_path):
    path = tmp_path / "text.so"
    path.write_text("not a shared object")
    assert "text.so" in refusal(path)


def mapping(folder, connector, connection):
    path = folder / "mapping.yaml"
    path.write_text(f"source: main\nconnector: {connector}\nconnection: {connection}\n"
                    "charset: cp932\ntables:\n"
                    "  - {table: 患者, category: EMR01, key: [番号], patient: 番号}\n")
    return path


def test_a_plugin_that_calls_itself_otherwise_is_refused(tmp_path):
    shutil.copy(BUILD / "tests/conformance/bad_name.so", tmp_path / "mysql.so")
    with Worker(mapping(tmp_path, "mysql", "{user: x, database: x}"), plugins=tmp_path) as w:
        with pytest.raises(WorkerError) as error:
            w.describe()
    assert error.value.name == "plugin"
    assert "found connector 'another', expected 'mysql'" in error.value.message


@pytest.mark.parametrize("name", ["../mysql", "a/b", "x" * 65])
def test_a_connectors_name_cannot_leave_the_folder(tmp_path, name):
    with Worker(mapping(tmp_path, name, "{user: x}"), plugins=tmp_path) as w:
        with pytest.raises(WorkerError) as error:
            w.describe()
    assert error.value.name in ("plugin", "config")


def test_a_missing_plugin_is_named(tmp_path):
    with Worker(mapping(tmp_path, "oracle", "{user: x}"), plugins=tmp_path) as w:
        with pytest.raises(WorkerError) as error:
            w.describe()
    assert error.value.name == "plugin" and "oracle.so" in error.value.message


@pytest.fixture
def csv(tmp_path):
    (tmp_path / "患者.csv").write_bytes(
        "番号,名前,備考\r\n".encode() + b"1," + bytes.fromhex("8740FBFC") + b',"a ""b"", c"\r\n'
        b'2,' + bytes.fromhex("835C955C") + b",\r\n" b'3,"","line\nend"\r\n')
    return tmp_path


def test_the_example_reads_its_files(csv):
    with Probe("csv", {"folder": csv}) as probe:
        probe.open()
        rows = probe.rows("患者", ["番号", "名前", "備考"])
        assert rows == [[b"1", bytes.fromhex("8740FBFC"), b'a "b", c'],
                        [b"2", bytes.fromhex("835C955C"), None], [b"3", b"", b"line\nend"]]
        assert probe.rows("患者", ["番号"], key=["番号"], values=[[b"3"], [b"1"]]) == \
            [[b"1"], [b"3"]]
        for wrong, status in ((("nobody", ["a"]), p.NO_TABLE), (("患者", ["a"]), p.NO_COLUMN)):
            with pytest.raises(Fault) as fault:
                probe.rows(*wrong)
            assert fault.value.status == status
        with pytest.raises(Fault) as fault:
            probe.rows("患者", ["番号"], key=["番号"], order=True)
        assert fault.value.status == p.UNSUPPORTED
    with open(csv / "患者.csv", "ab") as f:
        f.write(b"4,cut")
    with Probe("csv", {"folder": csv}) as probe:
        with pytest.raises(Fault) as fault:
            probe.open().rows("患者", ["番号"])
        assert fault.value.status == p.LOST


@pytest.mark.parametrize("line, words", [
    (b'5,"a"b,c', "a quote in the middle of a cell"), (b'5,a"b,c', "a quote in the middle of a cell"),
    (b"5,a", "a row of 2 cells, expected 3"), (b'5,"a,b', "the file ends within a line"),
])
def test_the_example_refuses_what_is_no_csv(csv, line, words):
    with open(csv / "患者.csv", "ab") as f:
        f.write(line + b"\r\n")
    with Probe("csv", {"folder": csv}) as probe:
        with pytest.raises(Fault) as fault:
            probe.open().rows("患者", ["番号"])
        assert words in fault.value.message and "5" not in fault.value.message.replace("5 cells", "")


def test_one_command_runs_the_suite_on_a_plugin(tmp_path):
    """As somebody who wrote a plugin would: the example plugin, under a name of its own."""
    plugin = tmp_path / "mine.so"
    shutil.copy(BUILD / "connectors/csv.so", plugin)
    done = subprocess.run(
        [ROOT / "tests/conformance/run", plugin, "--config", ROOT / "tests/conformance/example/csv.yaml"],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    passed = int(re.search(r"(\d+) passed", done.stdout).group(1))
    assert passed >= 18


def test_a_plugin_that_is_wrong_fails_the_suite(tmp_path):
    config = tmp_path / "target.yaml"
    text = (ROOT / "tests/conformance/example/csv.yaml").read_text()
    config.write_text(text.replace("snapshot, cancel, key_ranges", "snapshot, cancel"))
    done = subprocess.run([ROOT / "tests/conformance/run", BUILD / "connectors/csv.so", "--config", config,
                           "-k", "key_ranges"], capture_output=True, text=True)
    assert done.returncode == 1 and "1 failed" in done.stdout
    config.write_text(text.replace("encoding: cp932", ""))
    done = subprocess.run([ROOT / "tests/conformance/run", BUILD / "connectors/csv.so", "--config", config],
                          capture_output=True, text=True)
    assert done.returncode != 0 and "missing: encoding" in done.stdout + done.stderr


def test_a_plugin_dropped_into_the_folder_works(csv, tmp_path_factory):
    plugins = tmp_path_factory.mktemp("plugins")
    shutil.copy(BUILD / "connectors/csv.so", plugins / "csv.so")
    with Worker(mapping(csv, "csv", f"{{folder: {csv}}}"), plugins=plugins) as w:
        rows, totals = w.pull("患者")
        assert totals["new"] == 3 and rows[1]["patient"] == "2"
        assert "ソ表" in w.fetch("患者", "2")[0]["document"]
        assert w.pull("患者")[1]["same"] == 3


def test_each_plugin_exports_one_symbol():
    for plugin in sorted(pathlib.Path(BUILD / "connectors").glob("*.so")):
        out = subprocess.run(["nm", "-D", "--defined-only", plugin], capture_output=True,
                             text=True, check=True).stdout
        names = [line.split()[-1] for line in out.splitlines()
                 if "asan" not in line and "odr" not in line]
        assert names == ["renkei_connector"], (plugin, names)
