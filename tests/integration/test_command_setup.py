"""The `renkei` command by itself: help, usage errors, and the folders it makes."""
import json
import os
import pathlib
import stat
import subprocess

import pytest

BUILD = pathlib.Path(os.environ.get("RENKEI_BUILD", "build")).resolve()
RENKEI = BUILD / "gateway/cli/renkei"
COMMANDS = ["init", "genesis", "join", "start", "stop", "discover", "grants", "check", "preview",
            "sync", "status", "chain", "quarantine", "characters", "keysets", "enrol", "patients",
            "backup", "restore", "keygen", "document", "sign"]


def renkei(*arguments, folder=None):
    return subprocess.run([RENKEI, *map(str, arguments)], cwd=folder, capture_output=True,
                          text=True, timeout=300)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_shows_an_example(command):
    shown = renkei(command, "--help")
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) <= 24
    assert f"renkei {command}" in shown.stdout.split("example:")[1]


def test_every_command_stands_in_the_help():
    listed = [line.split()[0] for line in renkei("--help").stdout.splitlines()
              if line.startswith("  ")]
    assert listed == COMMANDS


@pytest.mark.parametrize("arguments, status, message, hint", [
    (["synk"], 2, "unknown command 'synk'", "did you mean 'renkei sync'?"),
    (["sync", "--declaerd"], 2, "renkei sync: unknown option --declaerd",
     "did you mean --declared?"),
    (["sync", "--json=yes"], 2, "renkei sync: --json takes no value", "run the command with --help"),
    (["init"], 2, "renkei init: --hospital NAME is missing",
     "for example: renkei init --hospital clinic --folder ./clinic"),
    (["enrol", "999-99-9999"], 2, "renkei enrol: PATIENT PUBLIC-KEY is missing",
     "for example: renkei enrol 999-99-9999 patient.jwk"),
    (["init", "--hospital", "St. Luke"], 2,
     "hospital: found 'St. Luke', expected up to 63 of a-z, 0-9 and -",
     "it stands in every address: renkei://NAME/..."),
    (["document", "--key", "none.pem", "--gateway", "http://x"], 2,
     "url: found 'http://x/v1/me/document?view=verified', expected https://host:port/...",
     "run the command with --help"),
])
def test_a_wrong_call_says_what_and_gives_a_hint(arguments, status, message, hint, tmp_path):
    shown = renkei(*arguments, folder=tmp_path)
    assert shown.returncode == status
    assert shown.stdout == ""
    assert shown.stderr == f"renkei: wrong use of the command: {message}\n  hint: {hint}\n"
    assert list(tmp_path.iterdir()) == []


def test_init_makes_a_private_folder_and_never_writes_over_a_key(tmp_path):
    made = renkei("init", "--hospital", "clinic", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "clinic"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for secret in ["signer.pem", "tls/gateway.key", "node/vote.key", "node/tls.key"]:
        assert stat.S_IMODE((folder / secret).stat().st_mode) == 0o600, secret
    genesis = json.loads((folder / "node/genesis.json").read_text())
    assert [v["name"] for v in genesis["validators"]] == ["clinic"]
    before = (folder / "signer.pem").read_bytes()
    again = renkei("init", "--hospital", "clinic", folder=tmp_path)
    assert again.returncode == 5
    assert "clinic/gateway.yaml exists already" in again.stderr
    assert (folder / "signer.pem").read_bytes() == before


def test_members_found_a_chain_that_each_installs(tmp_path):
    names = ["west", "east", "north"]
    for port, name in enumerate(names, start=17000):
        more = ["--node-only"] if name == "north" else ["--machine", f"127.0.0.1:{port + 100}"]
        made = renkei("init", "--hospital", name, "--join", "--node", f"127.0.0.1:{port}", *more,
                      folder=tmp_path)
        assert made.returncode == 0, made.stderr
        assert not (tmp_path / name / "node/genesis.json").exists()
    members = [argument for name in names for argument in ("--member", f"{name}/member.json")]
    founded = renkei("genesis", "--name", "region", *members, "--json", folder=tmp_path)
    assert founded.returncode == 0, founded.stderr
    assert json.loads(founded.stdout)["validators"] == 3
    genesis = json.loads((tmp_path / "genesis.json").read_text())
    assert [s["name"] for s in genesis["submitters"]] == ["west", "east"]

    joined = renkei("join", "--folder", "west", "--genesis", "genesis.json", "--member",
                    "east/member.json", folder=tmp_path)
    assert joined.returncode == 0, joined.stderr
    assert ((tmp_path / "west/node/genesis.json").read_bytes() ==
            (tmp_path / "genesis.json").read_bytes())
    config = (tmp_path / "west/gateway.yaml").read_text()
    assert ("hospitals:\n  - name: east\n    url: https://127.0.0.1:17101\n"
            "    certificate: tls/east-machine.crt\n") in config
    assert ((tmp_path / "west/tls/east-machine.crt").read_text() ==
            (tmp_path / "east/tls/machine.crt").read_text())


def test_a_member_file_cannot_write_into_the_configuration(tmp_path):
    for name in ["west", "east"]:
        renkei("init", "--hospital", name, "--join", "--node", "127.0.0.1:17000", "--machine",
               "127.0.0.1:17001", folder=tmp_path)
    renkei("genesis", "--name", "region", "--member", "west/member.json", folder=tmp_path)
    member = json.loads((tmp_path / "east/member.json").read_text())
    member["gateway"]["url"] = "https://x\nadmin_socket: /tmp/evil"
    (tmp_path / "east/member.json").write_text(json.dumps(member))
    before = (tmp_path / "west/gateway.yaml").read_text()
    joined = renkei("join", "--folder", "west", "--genesis", "genesis.json", "--member",
                    "east/member.json", folder=tmp_path)
    assert joined.returncode == 3
    assert "east/member.json: the name or the gateway's url is not valid" in joined.stderr
    assert (tmp_path / "west/gateway.yaml").read_text() == before


def test_keygen_writes_a_key_that_openssl_reads(tmp_path):
    made = renkei("keygen", "--out", "me.pem", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    text = subprocess.run(["openssl", "pkey", "-in", "me.pem", "-noout", "-text"], cwd=tmp_path,
                          capture_output=True, text=True, check=True).stdout
    assert "prime256v1" in text
    public = json.loads((tmp_path / "me.jwk").read_text())
    assert sorted(public) == ["crv", "kty", "x", "y"]
    secret = (tmp_path / "me.pem").read_text().splitlines()[1]
    assert secret not in made.stdout + made.stderr
    assert renkei("keygen", "--out", "me.pem", folder=tmp_path).returncode == 5


def test_without_a_gateway_the_error_says_where_it_looked(tmp_path):
    renkei("init", "--hospital", "clinic", "--folder", ".", folder=tmp_path)
    shown = renkei("status", folder=tmp_path)
    assert shown.returncode == 45
    assert shown.stderr.startswith(
        "renkei: the gateway cannot be reached: ./admin.sock: No such file or directory\n")
    assert "renkei start" in shown.stderr


def test_stop_says_when_nothing_runs(tmp_path):
    shown = renkei("stop", "--folder", tmp_path)
    assert shown.returncode == 4
    assert f"nothing runs in {tmp_path}" in shown.stderr
