"""Hospitals as tests see them: nodes, gateways and the renkei command, from outside.

    with Chain(folder, ["clinic", "hospital"]) as chain:
        chain["clinic"].add_source("emr.yaml", mapping_text)
        chain.start()
        chain["clinic"].sync()

Every process dies with the test. Nothing sleeps for a fixed time: what is waited for is a condition
with a deadline.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

from tests.harness import wait
from tests.harness.wait import PATIENCE, free_ports

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RENKEI_BUILD", ROOT / "build"))
RENKEI = BUILD / "gateway/cli/renkei"
NODE = BUILD / "ledger/renkei-node"
GATEWAY = BUILD / "gateway/renkei-gateway"

START_S_MAX = 60
STOP_S_MAX = 30 * PATIENCE
COMMAND_S_MAX = 600


class Refused(Exception):
    """The renkei command ended with an error; status, out and err say how."""

    def __init__(self, command, status, out, err):
        self.status, self.out, self.err = status, out, err
        super().__init__(f"{command} ended with {status}:\n{out}{err}")


def wait_until(condition, what, seconds=START_S_MAX):
    """The condition's first true value."""
    return wait.wait_until(condition, what, seconds)


def accepts(where):
    """Whether somebody listens on the Unix socket of this path, or on this port."""
    family = socket.AF_INET if isinstance(where, int) else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as s:
        try:
            s.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
            return True
        except OSError:
            return False


def renkei(*words, folder=None, data=None, env=None, check=True):
    """Runs the command to its end; its standard output as text."""
    command = [str(RENKEI), *map(str, words)]
    result = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, cwd=folder, timeout=COMMAND_S_MAX,
                            env={**os.environ, **(env or {})})
    if check and result.returncode != 0:
        raise Refused(command, result.returncode, result.stdout, result.stderr)
    return result if not check else result.stdout


class Program:
    """A daemon of ours, its words in a log file."""

    def __init__(self, name, command, log):
        self.name, self.command, self.log = name, [str(word) for word in command], log
        self.process = None

    def start(self, **environment):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **environment})

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_for(self, condition, what):
        def ready():
            if not self.alive():
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n"
                                   + self.words())
            return condition()
        try:
            return wait_until(ready, f"{self.name}: {what}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.words()}") from None

    def words(self):
        return pathlib.Path(self.log).read_bytes()[-4000:].decode("utf-8", "replace")

    def end(self, how=signal.SIGTERM):
        """Ends it and gives its exit status: a sanitizer's report shows there."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} did not end by itself:\n{self.words()}") from None
        status, self.process = self.process.returncode, None
        return status

    def kill(self):
        """As a power cut would, with the workers that it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.process = None


class Hospital:
    """One institution: a folder, a node and, but for node_only, a gateway."""

    def __init__(self, name, folder, gateway=True):
        self.name, self.folder, self.gateway = name, folder, gateway
        self.listen, self.machine, self.node_port = free_ports(3)
        self.env = {}
        self.node_program = Program(f"{name}'s node",
                                    [NODE, "--config", folder / "node/node.yaml"],
                                    f"{folder}-node.log")
        self.gateway_program = Program(f"{name}'s gateway",
                                       [GATEWAY, "--config", folder / "gateway.yaml"],
                                       f"{folder}-gateway.log")

    def init(self, alone):
        words = ["init", "--hospital", self.name, "--folder", self.folder]
        if self.gateway:
            words += ["--listen", f"127.0.0.1:{self.listen}"]
        if not alone:
            words += ["--join", "--node", f"127.0.0.1:{self.node_port}"]
            words += (["--machine", f"127.0.0.1:{self.machine}"] if self.gateway
                      else ["--node-only"])
        renkei(*words)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.listen}"

    @property
    def certificate(self):
        return self.folder / "tls/gateway.crt"

    def add_source(self, mapping, more=""):
        """A mapping by its text: written into the folder and added to gateway.yaml; more: further
        lines of its item there."""
        config = self.folder / "gateway.yaml"
        name = next(line.split(":")[1].strip() for line in mapping.splitlines()
                    if line.startswith("source:"))
        path = self.folder / f"{name}.yaml"
        path.write_text(mapping)
        text = config.read_text()
        if "\nsources:\n" not in text:
            text += "sources:\n"
        text = text.replace("\nsources:\n", f"\nsources:\n  - mapping: {name}.yaml\n{more}")
        config.write_text(text)
        return path

    def start_node(self):
        self.node_program.start()

    def start_gateway(self):
        self.gateway_program.start()

    def wait_node(self):
        self.node_program.wait_for(lambda: accepts(self.folder / "node/node.sock"), "its socket")

    def wait_gateway(self):
        self.gateway_program.wait_for(
            lambda: accepts(self.folder / "admin.sock") and accepts(self.listen), "its sockets")

    def command(self, *words, check=True):
        return renkei(*words, folder=self.folder, check=check)

    def sync(self, *words, check=True):
        return self.command("sync", *words, check=check)

    def admin(self, method, path, body=None):
        """A call over the administration socket, by curl: (status, JSON, text or None)."""
        command = ["curl", "-sS", "--unix-socket", str(self.folder / "admin.sock"), "-X", method,
                   "-w", "\n%{http_code}", f"http://gateway{path}"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "--data-binary", json.dumps(body)]
        out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        text, _, status = out.rpartition("\n")
        return int(status), json.loads(text) if text[:1] in ("{", "[") else text or None

    def status(self):
        return self.admin("GET", "/admin/v1/status")[1]

    def node_status(self):
        return json.loads(subprocess.check_output(
            [str(NODE), "status", "--config", str(self.folder / "node/node.yaml"), "--json"]))

    def enrol(self, patient, key):
        path = self.folder / f"key-{key.thumbprint[:8]}.jwk"
        path.write_text(json.dumps(key.public))
        return self.command("enrol", patient, path)

    def end(self):
        """The exit statuses of gateway and node."""
        return self.gateway_program.end(), self.node_program.end()

    def kill(self):
        self.gateway_program.kill()
        self.node_program.kill()


class Chain:
    """Hospitals on one chain. One name alone is a chain of one node, as `renkei init` makes it."""

    def __init__(self, names, nodes_only=(), folder=None):
        self.temporary = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="renkei-chain-"))
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self.hospitals = {}
        for name in (*names, *nodes_only):
            self.hospitals[name] = Hospital(name, self.folder / name, name not in nodes_only)

    def __getitem__(self, name):
        return self.hospitals[name]

    def __iter__(self):
        return iter(self.hospitals.values())

    def init(self):
        alone = len(self.hospitals) == 1
        for hospital in self:
            hospital.init(alone)
        if alone:
            return self
        members = {h.name: h.folder / "member.json" for h in self}
        genesis = self.folder / "genesis.json"
        renkei("genesis", "--name", "region", "--out", genesis,
               *(word for path in members.values() for word in ("--member", path)))
        for hospital in self:
            others = [path for name, path in members.items()
                      if name != hospital.name and self.hospitals[name].gateway]
            renkei("join", "--folder", hospital.folder, "--genesis", genesis,
                   *(word for path in others for word in ("--member", path)))
        return self

    def start(self, nodes=None):
        for hospital in self:
            hospital.start_node()
        for hospital in self:
            hospital.wait_node()
        for hospital in self:
            if hospital.gateway:
                hospital.start_gateway()
        for hospital in self:
            if hospital.gateway:
                hospital.wait_gateway()
        return self

    def __enter__(self):
        return self.init()

    def __exit__(self, kind, *_):
        statuses = []
        for hospital in self:
            if kind is not None:
                hospital.kill()
            else:
                statuses += [s for s in hospital.end() if s is not None]
        if self.temporary and kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        # A leak or another report of a sanitizer shows in how a daemon ends.
        if kind is None:
            assert set(statuses) <= {0}, f"daemons ended with {statuses}, logs in {self.folder}"
