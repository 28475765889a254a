"""Waiting for conditions, and ports that nobody else is given: what every suite's harness shares."""

import fcntl
import os
import pathlib
import socket
import tempfile
import time

# What is waited for has a limit so that a test ends, not so that it measures: a machine that is
# several times slower than the one it was written on, and busy, must pass too.
PATIENCE = 6
POLL_S = 0.01

# Below the range that the kernel gives to outgoing connections and to who asks for any port: such a
# port stays free between two starts of the daemon that it belongs to.
PORT_MIN, PORT_MAX = 10000, 32000
PORTS = pathlib.Path(tempfile.gettempdir()) / f"renkei-test-ports-{os.getuid()}"
_taken = []  # [the file's descriptor, port, port, ...]


def wait_until(condition, what, seconds, late=TimeoutError):
    """The condition's first true value. seconds: what an idle machine takes at most."""
    limit = seconds * PATIENCE
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise late(f"{what}: not within {limit} s")
        time.sleep(POLL_S)


def _bindable(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def _take(port):
    """A lock on the port's byte of a file marks it as this process's until that ends."""
    try:
        fcntl.lockf(_taken[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return _bindable(port)


def free_port():
    """A port of 127.0.0.1 that nobody listens on, and that no other test is given meanwhile."""
    if not _taken:
        _taken.append(os.open(PORTS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    span = PORT_MAX - PORT_MIN
    start = os.getpid() * 131 + len(_taken)
    for port in (PORT_MIN + (start + i) % span for i in range(span)):
        if port not in _taken[1:] and _take(port):
            _taken.append(port)
            return port
    raise OSError(f"no free port in {PORT_MIN}..{PORT_MAX}")


def free_ports(count):
    return [free_port() for _ in range(count)]
