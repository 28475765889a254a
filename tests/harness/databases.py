"""Real database servers in folders of their own, for tests and the quickstart.

Each server runs under an unprivileged user, listens on a Unix socket (and on a free port of
127.0.0.1 only where asked), and dies with its parent unless `stay=True`. Nothing of the machine's
own services is touched: no default port, no system folder, no service manager.

    with MariaDB() as db:
        db.sql("CREATE DATABASE emr CHARACTER SET cp932")
        db.user("renkei", "secret", "emr")

All three classes have: folder, start(), stop(), kill(), and work as context managers. `sql` takes
text or bytes; bytes go to the server as they are, so that a test can store exactly the bytes it
means (as hex literals: X'...' in MariaDB, convert_from/decode or E'\\x..' in PostgreSQL).
"""

import atexit
import os
import pathlib
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading

from tests.harness.wait import PATIENCE, free_port

SERVER_START_S_MAX = 60 * PATIENCE
SERVER_STOP_S_MAX = 30 * PATIENCE
CLIENT_S_MAX = 600
RUN_AS = "nobody"


_fresh = {}  # folders of servers that were never started, by the class


class ServerError(Exception):
    """A server or client ended with an error; the message holds its last words."""


def unprivileged(command, stay=False):
    """The command as the unprivileged user where we are root, ending with its parent."""
    prefix = ["setpriv"]
    if not stay:
        prefix += ["--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        user = pwd.getpwnam(RUN_AS)
        prefix += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if len(prefix) == 1:
        return list(command)
    return prefix + ["--"] + [str(word) for word in command]


def give_away(path):
    """Hands a folder and what is in it to the unprivileged user."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam(RUN_AS)
    os.chown(path, user.pw_uid, user.pw_gid)
    for folder, names, files in os.walk(path):
        for name in names + files:
            os.lchown(os.path.join(folder, name), user.pw_uid, user.pw_gid)


def new_folder(folder, prefix):
    if folder is None:
        # Not pytest's tmp_path: its parents are closed to other users.
        path = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
        path.chmod(0o755)
        return path, True
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path, False


def new_data(kind, make, path):
    """A new server's data folder: making one takes seconds, so one is made a process, and copied."""
    if kind not in _fresh:
        parent = pathlib.Path(tempfile.mkdtemp(prefix=f"renkei-new-{kind}-"))
        atexit.register(shutil.rmtree, parent, ignore_errors=True)
        parent.chmod(0o755)
        fresh = parent / "data"
        fresh.mkdir(mode=0o700)
        give_away(fresh)
        make(fresh)
        _fresh[kind] = fresh
    shutil.copytree(_fresh[kind], path, symlinks=True)
    give_away(path)


def run(command, data=None, env=None):
    """Runs a client to its end, gives its standard output as bytes."""
    if isinstance(data, str):
        data = data.encode("utf-8")
    done = subprocess.run(
        [str(word) for word in command], input=data, capture_output=True, timeout=CLIENT_S_MAX,
        env=env)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        raise ServerError(f"{command[0]} ended with {done.returncode}: {words[-1500:]}")
    return done.stdout


class Server:
    """What MariaDB and PostgreSQL share: a process that says on stderr when it is ready."""

    READY = b""

    def __init__(self, folder, prefix, tcp, stay):
        self.folder, self.temporary = new_folder(folder, prefix)
        self.data = self.folder / "data"
        self.socket_folder = self.folder / "run"
        self.port = free_port() if tcp else 0
        self.stay = stay
        self.process = None
        self.log_path = self.folder / "server.log"
        self._ready = threading.Event()
        self._reader = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stop()
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self, command):
        self._ready.clear()
        if self.stay:
            # The server outlives this process: its log goes to a file, not through a pipe.
            with open(self.log_path, "ab") as log:
                offset = log.tell()
                self.process = subprocess.Popen(
                    unprivileged(command, stay=True), stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log, cwd=self.folder, start_new_session=True)
            source = self._follow(offset)
        else:
            self.process = subprocess.Popen(
                unprivileged(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, cwd=self.folder, start_new_session=True)
            source = self.process.stderr
        self._reader = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._reader.start()
        if not self._ready.wait(SERVER_START_S_MAX) or self.process.poll() is not None:
            words = self.log_path.read_bytes()[-2000:].decode("utf-8", "replace")
            self.kill()
            raise ServerError(f"{command[0]} did not start in {self.folder}:\n{words}")

    def _follow(self, offset):
        """Lines of the log file until the server is ready; tail ends with the server."""
        tail = subprocess.Popen(
            ["tail", "-c", f"+{offset + 1}", "-F", f"--pid={self.process.pid}",
             str(self.log_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return tail.stdout

    def _read(self, source):
        log = None if self.stay else open(self.log_path, "ab", buffering=0)
        for line in source:
            if log:
                log.write(line)
            if self.READY in line and b"socket: ''" not in line:
                self._ready.set()
        self._ready.set()  # it ended: wake the starter, which looks at the exit status

    def stop(self):
        """Ends the server in its own orderly way and waits for it."""
        self._end(signal.SIGTERM)

    def kill(self):
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(SERVER_STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        if self._reader:
            self._reader.join(SERVER_STOP_S_MAX)
            self._reader = None


class MariaDB(Server):
    """A MariaDB server; the account `root` has no password on its Unix socket."""

    READY = b"ready for connections"

    def __init__(self, folder=None, tcp=False, stay=False, options=()):
        super().__init__(folder, "renkei-mariadb-", tcp, stay)
        self.socket = self.socket_folder / "mariadb.sock"
        self.options = list(options)

    @staticmethod
    def install(data):
        """The names of anonymous and test accounts are left out; root may come in by the socket
        without a password, which only this machine's tests can reach."""
        run(unprivileged([
            "mariadb-install-db", "--no-defaults", f"--datadir={data}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
            f"--tmpdir={data}", "--innodb-log-file-size=8M", "--innodb-fast-shutdown=0"]))

    def start(self):
        if not self.data.exists():
            self.socket_folder.mkdir(exist_ok=True)
            give_away(self.socket_folder)
            new_data("mariadb", self.install, self.data)
        network = (["--bind-address=127.0.0.1", f"--port={self.port}"] if self.port
                   else ["--skip-networking"])
        self._launch([
            "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.data}",
            f"--socket={self.socket}", f"--pid-file={self.socket_folder}/mariadb.pid",
            f"--tmpdir={self.data}", "--skip-name-resolve", "--innodb-buffer-pool-size=128M",
            "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=2",
            "--performance-schema=OFF", "--character-set-server=utf8mb4", "--sql-mode=",
            "--max-allowed-packet=1G", *network, *self.options])
        return self

    def sql(self, text, database=""):
        """Runs statements as root; the result is rows of cells as bytes, without names. Cells with
        tabs or line ends: select HEX(...)."""
        out = run(["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch",
                   "--raw", "--skip-column-names", "--binary-mode",
                   "--default-character-set=utf8mb4", *([database] if database else [])], text)
        return [line.split(b"\t") for line in out.split(b"\n")[:-1]]

    def user(self, name, password, database, host="localhost"):
        """An account that may read one database and nothing else."""
        self.sql(f"CREATE USER '{name}'@'{host}' IDENTIFIED BY '{password}';"
                 f"GRANT SELECT ON `{database}`.* TO '{name}'@'{host}'")


class PostgreSQL(Server):
    """A PostgreSQL cluster; the account `postgres` needs no password on the Unix socket, every
    other account needs its own (scram-sha-256)."""

    READY = b"database system is ready to accept connections"

    def __init__(self, folder=None, tcp=False, stay=False, options=()):
        super().__init__(folder, "renkei-postgresql-", tcp, stay)
        self.port = free_port()  # names the socket also where TCP is off
        self.tcp = tcp
        self.options = list(options)
        self.socket = self.socket_folder

    @staticmethod
    def program(name):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        if not found:
            raise ServerError(f"no {name} in /usr/lib/postgresql: install the package postgresql")
        return str(found[-1])

    @classmethod
    def install(cls, data):
        run(unprivileged([
            cls.program("initdb"), "-D", data, "-U", "postgres", "--encoding=SQL_ASCII",
            "--locale=C", "--auth=trust", "--no-sync"]))

    def start(self):
        if not self.data.exists():
            self.socket_folder.mkdir(exist_ok=True)
            give_away(self.socket_folder)
            new_data("postgresql", self.install, self.data)
            (self.data / "pg_hba.conf").write_text(
                "local all postgres trust\n"
                "local all all scram-sha-256\n"
                "host all all 127.0.0.1/32 scram-sha-256\n")
        self._launch([
            self.program("postgres"), "-D", self.data, "-k", self.socket_folder, "-p", self.port,
            "-c", "listen_addresses=" + ("127.0.0.1" if self.tcp else ""),
            "-c", "fsync=off", "-c", "shared_buffers=128MB", "-c", "max_connections=50",
            "-c", "log_timezone=UTC", "-c", "lc_messages=C",
            *[word for option in self.options for word in ("-c", option)]])
        return self

    def stop(self):
        # Fast shutdown: it does not wait for clients to leave.
        self._end(signal.SIGINT)

    def sql(self, text, database="postgres", encoding="SQL_ASCII"):
        """Runs statements as the superuser; the result is rows of cells as bytes. encoding is the
        client's: SQL_ASCII hands bytes through as they are."""
        out = run([self.program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-F",
                   "\t", "-h", self.socket_folder, "-p", self.port, "-U", "postgres", "-d",
                   database], text, env={**os.environ, "PGCLIENTENCODING": encoding})
        return [line.split(b"\t") for line in out.split(b"\n")[:-1]]

    def create(self, database, encoding):
        """A database in the given encoding (SQL_ASCII, UTF8, EUC_JP), locale C."""
        self.sql(f"CREATE DATABASE \"{database}\" ENCODING '{encoding}' LC_COLLATE 'C' "
                 f"LC_CTYPE 'C' TEMPLATE template0")

    def user(self, name, password, database):
        """An account that may read one database's present and later tables and nothing else."""
        self.sql(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'")
        self.sql(f"GRANT USAGE ON SCHEMA public TO \"{name}\";"
                 f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO \"{name}\";"
                 f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO \"{name}\"",
                 database)


class SQLiteODBC:
    """A SQLite file and the unixODBC configuration to reach it, all in one folder.

    env holds ODBCSYSINI and ODBCINI for the process that uses it; dsn is the data source's name.
    """

    def __init__(self, folder=None, dsn="emr"):
        self.folder, self.temporary = new_folder(folder, "renkei-sqlite-")
        self.dsn = dsn
        self.path = self.folder / "emr.sqlite"
        self.odbc = ODBC(self.folder / "odbc")
        self.env = self.odbc.env

    def start(self):
        self.odbc.data_source(self.dsn, "SQLite3", {"Database": self.path, "StepAPI": "1"})
        with self.connect():
            pass
        return self

    def connect(self):
        """A connection of Python's own sqlite3; text that is not UTF-8 is stored with
        CAST(X'..' AS TEXT). Autocommit."""
        c = sqlite3.connect(self.path, isolation_level=None)
        c.text_factory = bytes
        return c

    def sql(self, text):
        c = self.connect()
        try:
            return c.execute(text).fetchall() if text.lstrip().upper().startswith("SELECT") \
                else c.executescript(text).fetchall()
        finally:
            c.close()

    def stop(self):
        pass

    kill = stop

    def close(self):
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


class ODBC:
    """odbcinst.ini and odbc.ini in a folder of their own, so that no system file is read."""

    # Debian's drivers, by the names that its odbcinst.ini gives them.
    DRIVERS = {
        "SQLite3": "libsqlite3odbc.so",
        "MariaDB Unicode": "libmaodbc.so",
        "PostgreSQL ANSI": "psqlodbca.so",
        "PostgreSQL Unicode": "psqlodbcw.so",
        "MDBTools": "libmdbodbc.so",
    }

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.drivers = dict(self.DRIVERS)
        self.sources = {}
        self.env = {"ODBCSYSINI": str(self.folder), "ODBCINI": str(self.folder / "odbc.ini")}
        self._write()

    def driver(self, name, path):
        """A driver of a test's own."""
        self.drivers[name] = str(path)
        self._write()

    def data_source(self, name, driver, settings):
        self.sources[name] = {"Driver": driver, **settings}
        self._write()

    @staticmethod
    def library(name):
        if os.path.isabs(name):
            return name
        found = list(pathlib.Path("/usr/lib").glob(f"*/odbc/{name}"))
        return str(found[0]) if found else name

    def _write(self):
        # CommLog=0: Debian's own file has psqlodbc write its traffic to /tmp.
        self._write_ini("odbcinst.ini", {
            name: {"Driver": self.library(path), "CommLog": 0, "Debug": 0}
            for name, path in self.drivers.items()})
        self._write_ini("odbc.ini", self.sources)

    def _write_ini(self, name, sections):
        (self.folder / name).write_text("".join(
            f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in settings.items()) + "\n"
            for section, settings in sections.items()))
