"""The conformance suite: every connector against a real server of its kind.

What each test compares with is the database's own word (HEX, encode, the rows that were written),
never our own code a second time.
"""

import json
import os
import pathlib
import time

import pytest

from tests.conformance import probe as p
from tests.conformance.probe import BUILD, Fault
from tests.conformance.targets import PASSWORD, SLOW_VIEW_S, TARGETS, not_applicable
from tests.conformance.worker import Worker

# Characters that servers and drivers lose: NEC row 13, IBM extensions, the wave dash, 0x5C and 0x60
# as second bytes, half-width kana, backslash and tilde.
HARD = ["①㈱髙﨑", "～－∥", "ソ表十予", "ｱｲｳﾊﾟ", "\\~|`'\"", "山田 太郎", "a" * 30]
PLAIN = ["表予約", "ソ十", "東京", "ｱｲｳ", "\\~|`'\"", "山田 太郎", "a" * 30]
GAIJI = [bytes.fromhex("F040"), bytes.fromhex("F9FC"), bytes.fromhex("EEE0FBFC")]
# A hospital's own characters, U+E000 to U+E002, which its table explains, and the last one, which none does.
OWN_CHARACTERS = {
    "cp932": ["F040", "F041", "F042", "F9FC"],
    "euc_jp": ["F5A1", "F5A2", "F5A3", "FEFE"],
    "utf-8": ["EE8080", "EE8081", "EE8082", "EE9D97"],
}
OWN_TABLE = 'F040 U+9AD9\nF041 U+845B U+E0100  # with a variation selector\nU+E002 "(はしご高)"\n'
MARKER = "zaboon-marker-41"
CANCELLED_QUERIES = 1000 if os.environ.get("RENKEI_TEST_LONG") == "1" else 50


def needs(*names):
    """A test that is not applicable to targets without these properties."""
    def mark(test):
        test.needs = names
        return test
    return mark


def pytest_generate_tests(metafunc):
    needed = set(getattr(metafunc.function, "needs", ()))
    for t in TARGETS:
        for name in needed & set(t.without):
            not_applicable(t.name, metafunc.function.__name__, t.without[name])
    fitting = [t for t in TARGETS if not needed & set(t.without)]
    metafunc.parametrize("target", fitting, ids=lambda t: t.name, indirect=True, scope="module")


@pytest.fixture(scope="module")
def target(request):
    t = request.param()
    t.start()
    yield t
    t.stop()


def texts(target):
    """Byte strings that this target's encoding can hold."""
    if target.encoding == "euc_jp":
        return [text.encode("euc_jp") for text in PLAIN]
    found = [text.encode(target.encoding) for text in HARD]
    return found + (GAIJI if target.encoding == "cp932" else [])


def drop(target, table):
    target.admin(f"DROP TABLE {target.quote(table)}")


def test_bytes_are_what_the_database_says(target):
    cells = texts(target)
    target.create("plain", [("id", f"{target.int_type} primary key"), ("v", target.text_type)],
                  [f"{i}, {target.literal(cell)}" for i, cell in enumerate(cells)])
    with target.probe().open() as probe:
        rows = sorted(probe.rows("plain", ["id", "v"]), key=lambda row: int(row[0]))
    said = target.hex_of("plain", "v", "id")
    assert [row[1] for row in rows] == said == cells
    drop(target, "plain")


def test_null_and_empty_are_told_apart(target):
    target.create("empties", [("id", f"{target.int_type} primary key"), ("v", target.text_type),
                              ("b", target.blob_type or target.text_type)],
                  ["1, NULL, NULL", "2, '', ''", "3, 'x', 'x'"])
    with target.probe().open() as probe:
        rows = sorted(probe.rows("empties", ["id", "v", "b"]))
    empty = None if target.lacks("empty_texts") else b""
    assert rows == [[b"1", None, None], [b"2", empty, empty], [b"3", b"x", b"x"]]
    drop(target, "empties")


@pytest.mark.parametrize("size", [254, 511, 512, 513, 65535, 65536, 300001])
def test_long_cells_come_whole(target, size):
    cell = ("表" * (size // 2)).encode("euc_jp" if target.encoding == "euc_jp" else "cp932")
    if target.encoding == "utf-8":
        cell = ("表" * (size // 3)).encode("utf-8")
    cell += b"z" * (size - len(cell))
    target.create("longs", [("id", f"{target.int_type} primary key"), ("v", target.text_type),
                            ("after_it", target.text_type)],
                  [f"1, {target.literal(cell)}, 'behind'", "2, 'short', 'behind'"])
    with target.probe().open() as probe:
        rows = sorted(probe.rows("longs", ["id", "v", "after_it"]))
    # Where a driver cannot hand it over it is told, never cut.
    too_long = target.text_bytes_max and size > target.text_bytes_max and target.lacks("long_texts")
    assert rows == [[b"1", p.TOO_LONG if too_long else cell, b"behind"], [b"2", b"short", b"behind"]]
    drop(target, "longs")


@needs("blobs")
def test_binary_cells_are_the_bytes(target):
    blob = bytes(range(256)) * 5
    literal = {"bytea": f"'\\x{blob.hex()}'"}.get(target.blob_type, f"X'{blob.hex()}'")
    target.create("blobs", [("id", f"{target.int_type} primary key"), ("b", target.blob_type)],
                  [f"1, {literal}"])
    with target.probe().open() as probe:
        assert probe.rows("blobs", ["b"]) == [[blob]]
        assert probe.columns("blobs")[b"b"]["type"] == p.T_BINARY
    drop(target, "blobs")


def test_japanese_names_and_keys(target):
    keys = [cell for cell in texts(target) if len(cell) <= 40]
    target.create("予約表", [("表", f"{target.key_type} primary key"), ("番号", target.int_type)],
                  [f"{target.literal(key)}, {i}" for i, key in enumerate(keys)])
    with target.probe().open() as probe:
        position = probe.columns("予約表")["表".encode()]["key_position"]
        assert position == (0 if target.lacks("keys") else 1)
        for i, key in enumerate(keys):
            found = probe.rows("予約表", ["表", "番号"], key=["表"], values=[[key]])
            assert found == [[key, str(i).encode()]], key
        found = probe.rows("予約表", ["表"], key=["表"], values=[[key] for key in keys])
        assert sorted(row[0] for row in found) == sorted(keys)
        assert probe.rows("予約表", ["表"], key=["表"], values=[["nobody".encode()]]) == []
    drop(target, "予約表")


def test_a_hospitals_own_characters_are_what_its_table_says(target, tmp_path):
    own = [bytes.fromhex(code) for code in OWN_CHARACTERS[target.encoding]]
    target.create("own", [("id", f"{target.int_type} primary key"), ("v", target.text_type)],
                  [f"{i}, {target.literal(b'(' + code + b')')}" for i, code in enumerate(own)])
    (tmp_path / "own.txt").write_text(OWN_TABLE)
    plugin = pathlib.Path(target.plugin) if os.path.sep in target.plugin else BUILD / f"connectors/{target.plugin}.so"
    with target.probe().open() as probe:
        (tmp_path / f"{probe.name}.so").symlink_to(plugin.resolve())  # the file may have another name
    (tmp_path / "main.yaml").write_text(
        f"source: main\nconnector: {probe.name}\ngaiji: own.txt\ncharset: {target.encoding.replace('_', '-')}\n"
        f"connection: {json.dumps({k: str(v) for k, v in target.options().items()})}\n"
        "tables:\n  - {table: own, category: EMR01, key: [id], fields: [{column: v}]}\n")
    with Worker(tmp_path / "main.yaml", plugins=tmp_path, env=target.env) as worker:
        rows, _ = worker.pull("own")
        found = [json.loads(row["document"])["fields"]["v"] for row in worker.fetch("own", "0", "1", "2", "3")]
    last = "\ue3ab" if target.encoding == "euc_jp" else "\ue757"
    assert found == ["(髙)", "(葛\U000e0100)", "((はしご高))", f"({last})"]
    reasons = {row["key"]: [reason["reason"] for reason in row["reasons"]] for row in rows}
    assert reasons == {"0": [], "1": [], "2": [], "3": ["gaiji"]}
    drop(target, "own")


def test_composite_and_padded_keys(target):
    target.create("pairs", [("a", target.int_type), ("b", "char(6)"), ("v", target.text_type)],
                  [f"{a}, '{b}', '{a}{b}'" for a in range(5) for b in ("x", "y1", "zz")])
    with target.probe().open() as probe:
        rows = probe.rows("pairs", ["a", "b", "v"])
        assert len(rows) == 15
        asked = [[row[0], row[1]] for row in rows[::2]]
        found = probe.rows("pairs", ["a", "b", "v"], key=["a", "b"], values=asked)
        assert sorted(found) == sorted(rows[::2])
    drop(target, "pairs")


@needs("key_ranges")
def test_key_ranges_visit_every_row_once(target):
    target.create("ranges", [("a", target.int_type), ("b", target.key_type)],
                  [f"{i // 7}, '{i % 7}'" for i in range(700)])
    with target.probe().open() as probe:
        everything = sorted(tuple(row) for row in probe.rows("ranges", ["a", "b"]))
        found, after = [], ()
        while True:
            rows = probe.rows("ranges", ["a", "b"], key=["a", "b"], after=after, order=True,
                              limit=64)
            found += [tuple(row) for row in rows]
            if len(rows) < 64:
                break
            after = rows[-1]
    assert sorted(found) == everything and len(found) == 700
    drop(target, "ranges")


def test_equals_and_watermark(target):
    target.create("marks", [("id", f"{target.int_type} primary key"), ("p", target.key_type),
                            ("w", target.int_type)],
                  [f"{i}, 'p{i % 3}', {i * 10}" for i in range(30)])
    with target.probe().open() as probe:
        rows = probe.rows("marks", ["id"], equals=("p", b"p1"))
        assert sorted(int(row[0]) for row in rows) == list(range(1, 30, 3))
        if not target.lacks("watermark"):
            rows = probe.rows("marks", ["id"], watermark=("w", b"250"))
            assert sorted(int(row[0]) for row in rows) == [25, 26, 27, 28, 29]
    drop(target, "marks")


def test_what_is_not_possible_is_refused(target):
    target.create("orders", [("id", f"{target.int_type} primary key"), ("w", target.int_type)], ["1, 2", "2, 3"])
    with target.probe().open() as probe:
        questions = []
        if target.lacks("key_ranges"):
            questions += [dict(key=["id"], order=True), dict(key=["id"], after=[b"1"])]
        if target.lacks("watermark"):
            questions += [dict(watermark=("w", b"3"))]
        for question in questions:
            with pytest.raises(Fault) as fault:
                probe.rows("orders", ["id"], **question)
            assert fault.value.status == p.UNSUPPORTED
        assert sorted(probe.rows("orders", ["id"])) == [[b"1"], [b"2"]]
    drop(target, "orders")


@needs("snapshot")
def test_a_snapshot_does_not_move(target):
    target.create("moving", [("id", f"{target.int_type} primary key")], ["1", "2"])
    with target.probe().open() as probe:
        assert probe.begin()
        assert len(probe.rows("moving", ["id"])) == 2
        if target.name == "odbc-sqlite":
            # A reader holds writers up in SQLite's rollback mode: nobody can move it.
            with pytest.raises(Exception):
                c = target.server.connect()
                c.execute("PRAGMA busy_timeout=10")
                c.execute("INSERT INTO moving VALUES (3)")
        else:
            target.admin("INSERT INTO moving VALUES (3)")
        assert len(probe.rows("moving", ["id"])) == 2
        probe.send("end")
        expected = 2 if target.name == "odbc-sqlite" else 3
        assert len(probe.rows("moving", ["id"])) == expected
    drop(target, "moving")


def test_a_session_refuses_writes(target):
    target.create("readable", [("id", f"{target.int_type} primary key")])
    with target.probe().open() as probe:
        assert probe.server()["read_only"] == 1
        if not target.lacks("rights"):
            rights = probe.listing("rights")
            assert rights and all(r["write"] == 0 for r in rights), rights
    drop(target, "readable")


@needs("rights")
def test_rights_beyond_reading_are_told(target):
    target.create("open_table", [("id", f"{target.int_type} primary key")])
    who = "renkei@localhost" if target.plugin == "mysql" else "renkei"
    target.admin(f"GRANT INSERT ON open_table TO {who}")
    with target.probe().open() as probe:
        writing = [r["right"] for r in probe.listing("rights") if r["write"] == 1]
    assert len(writing) == 1 and b"INSERT" in writing[0] and b"open_table" in writing[0]
    target.admin(f"REVOKE INSERT ON open_table FROM {who}")
    drop(target, "open_table")


def test_missing_table_and_column(target):
    target.create("present", [("id", f"{target.int_type} primary key")], ["1"])
    with target.probe().open() as probe:
        with pytest.raises(Fault) as fault:
            probe.rows("absent", ["id"])
        assert fault.value.status == p.NO_TABLE and "absent" in fault.value.message
        with pytest.raises(Fault) as fault:
            probe.columns("absent")
        assert fault.value.status == p.NO_TABLE
        with pytest.raises(Fault) as fault:
            probe.rows("present", ["typo"])
        assert fault.value.status == p.NO_COLUMN and "typo" in fault.value.message
        assert probe.rows("present", ["id"]) == [[b"1"]]
    drop(target, "present")


@needs("password")
def test_wrong_password(target):
    path = target.server.folder / "wrong"
    path.write_text(MARKER)
    with target.probe(password_file=path) as probe:
        with pytest.raises(Fault) as fault:
            probe.open()
        words = probe.end()
    assert fault.value.status == p.LOGIN
    assert MARKER not in fault.value.message and MARKER.encode() not in words


def test_unknown_option_and_missing_file(target):
    with target.probe(no_such_option="x") as probe:
        with pytest.raises(Fault) as fault:
            probe.open()
        assert fault.value.status == p.OPTION and "no_such_option" in fault.value.message
    if not target.lacks("password"):
        with target.probe(password_file="/no/such/file") as probe:
            with pytest.raises(Fault) as fault:
                probe.open()
            assert fault.value.status == p.OPTION and "/no/such/file" in fault.value.message


def test_values_and_passwords_stay_out_of_messages(target):
    target.create("secrets", [("id", f"{target.int_type} primary key"), ("v", target.key_type)],
                  [f"1, '{MARKER}'"])
    with target.probe().open() as probe:
        said = []
        for question in (dict(columns=["id", "typo"], key=["v"], values=[[MARKER]]),
                         dict(columns=["id"], key=["typo"], values=[[MARKER]]),
                         dict(columns=["id"], key=["id"], values=[[MARKER]]),
                         dict(columns=["id"], equals=("id", MARKER.encode()))):
            try:
                assert probe.rows("secrets", **question) == []
            except Fault as fault:
                said.append(fault.message)
        words = probe.end().decode("utf-8", "replace")
    for message in said + [words]:
        assert MARKER not in message and MARKER.encode().hex() not in message.lower()
        assert PASSWORD not in message
    drop(target, "secrets")


def many(target, table, count):
    target.create(table, [("id", f"{target.int_type} primary key"), ("v", target.text_type)],
                  [f"{i}, '{'w' * 400}'" for i in range(count)])


@needs("cancel")
def test_cancels_at_any_moment(target):
    """A driver that frees under the feet of the call that runs shows within a few of these."""
    many(target, "storm", 3000)
    with target.probe().open() as probe:
        for _ in range(CANCELLED_QUERIES):
            probe.ask("storm", ["id", "v"], extra=["count", "cancel-often"])
            try:
                probe.read()
                assert probe.summary["rows"] == 3000 and probe.summary["whole"] is True
            except Fault as fault:
                assert fault.status == p.CANCELLED, fault
            # What comes behind a cancelled query is not hit by what was meant for it.
            assert probe.rows("storm", ["id"], equals=("id", b"7")) == [[b"7"]]
    drop(target, "storm")


@needs("cancel", "slow_view")
def test_a_query_without_rows_is_cancelled(target):
    target.admin(f"CREATE VIEW slow AS {target.slow_view}")
    with target.probe().open() as probe:
        asked = time.monotonic()
        probe.ask("slow", ["n"], extra=["cancel-often"])
        with pytest.raises(Fault) as fault:
            probe.read()
        assert fault.value.status == p.CANCELLED, fault.value
        assert time.monotonic() - asked < SLOW_VIEW_S / 2
    target.admin("DROP VIEW slow")


def test_cancel_and_lost_connection(target):
    many(target, "big", 20000)
    with target.probe().open() as probe:
        if not target.lacks("cancel"):
            probe.ask("big", ["id", "v"], extra=["count", "cancel-after 1"])
            with pytest.raises(Fault) as fault:
                probe.read()
            assert fault.value.status == p.CANCELLED
        # The session lives on, and a stop in the middle of a result leaves it usable.
        probe.ask("big", ["id"], extra=["count", "stop-after 1"])
        probe.read()
        assert probe.summary["whole"] is False
        probe.ask("big", ["id"], extra=["count"])
        probe.read()
        assert probe.summary["rows"] == 20000 and probe.summary["whole"] is True
    if target.lacks("server"):
        drop(target, "big")
        return
    with target.probe().open() as probe:
        probe.ask("big", ["id", "v"], extra=["count", "pause-after 1"])
        probe.until("paused")
        target.server.kill()
        probe.send("go")
        if target.holds_result:
            probe.read()
            assert probe.summary["rows"] == 20000
        else:
            with pytest.raises(Fault) as fault:
                probe.read()
            assert fault.value.status == p.LOST, fault.value
    with target.probe() as probe:
        with pytest.raises(Fault) as fault:
            probe.open()
        assert fault.value.status == p.UNREACHABLE, fault.value
    target.server.start()
    with target.probe().open() as probe:
        probe.ask("big", ["id"], extra=["count"])
        probe.read()
        assert probe.summary["rows"] == 20000
    drop(target, "big")
