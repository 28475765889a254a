"""What SQLite's ODBC driver leaves out of a value without a word: digits of doubles, texts behind a NUL.
Each is handed over whole, or refused."""

import random
import struct

import pytest

from tests.conformance.probe import Fault, Probe
from tests.harness.databases import SQLiteODBC

CELL_BYTES_MAX = 512  # of a bound cell; longer ones come in another way


@pytest.fixture
def db():
    server = SQLiteODBC().start()
    yield server
    server.close()


def fill(db, columns, rows):
    c = db.connect()
    c.execute(f"CREATE TABLE t ({columns})")
    c.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(rows[0]))})", rows)
    c.close()


def pull(db, columns, snapshot=True):
    # Leaks of the driver's are not ours.
    with Probe("odbc", {"dsn": db.dsn}, env={**db.env, "ASAN_OPTIONS": "detect_leaks=0"}).open() as probe:
        if snapshot:
            probe.begin()
        return probe.rows("t", columns, key=columns[:1], order=True)


def written(rng):
    """Doubles as people write them, and their neighbours, which 15 digits do not tell apart."""
    for _ in range(800):
        value = float(f"{rng.randrange(10 ** rng.randrange(1, 16))}e{rng.randrange(-14, 4)}")
        value = rng.choice((value, -value))
        bits = struct.unpack("<q", struct.pack("<d", value))[0]
        yield from (struct.unpack("<d", struct.pack("<q", bits + by))[0] for by in (0, 1))
    yield from (0.29, 1.15, 999999999.9999995, 1e9, 1e9 + 0.5, -1e9, 123456789.123456, 0.1 + 0.2, 5e-324,
                1.2217908456497566e17, -1.6767655186047677e17, 7.687358525359848e16, 1.7976931348623157e308,
                922337203685477.625, 4503599627370497.5, 2251799813.685248)


def test_every_double_is_the_double_that_is_stored(db):
    values = list(written(random.Random(20260101)))
    fill(db, "no INTEGER PRIMARY KEY, r REAL, n NUMERIC, i INTEGER, x",
         [(no, value, value, value, value) for no, value in enumerate(values)])
    for (no, *cells), value in zip(pull(db, ["no", "r", "n", "i", "x"]), values):
        for cell in cells:
            assert float(cell) == value, (no, cell, value)
        # No more digits than a double has; elsewhere a whole number is an integer, and texts stay.
        assert len(cells[0].split(b"e")[0].replace(b".", b"").strip(b"-0")) <= 17, cells


# A column's type, and whether SQLite keeps the text as it is there.
TYPES = ["TEXT", "VARCHAR(20)", "INTEGER", "DATE", "DATETIME", "NUMERIC", "REAL", ""]


@pytest.mark.parametrize("declared", TYPES)
def test_no_text_is_cut_at_its_nul(db, declared):
    texts = [b"plain", b"12\0", b"\0", b"2011-03-24\0x", b"", b"a" * CELL_BYTES_MAX + b"\0b", b"\x95\x5c\0\x8f"]
    c = db.connect()
    c.execute(f"CREATE TABLE t (no INTEGER PRIMARY KEY, v {declared}, w TEXT)")
    for no, text in enumerate([b"1", *texts]):
        c.execute(f"INSERT INTO t VALUES ({no}, CAST(X'{text.hex()}' AS TEXT), 'w')")
    c.execute(f"INSERT INTO t VALUES ({len(texts) + 1}, NULL, NULL)")
    c.close()
    rows = pull(db, ["no", "v", "w"])
    assert [row[1] for row in rows[1:]] == [*texts, None]
    assert float(rows[0][1]) == 1 and [row[2] for row in rows] == [b"w"] * (len(texts) + 1) + [None]


@pytest.mark.parametrize("declared", TYPES)
def test_a_blob_among_texts_is_its_bytes(db, declared):
    fill(db, f"no INTEGER PRIMARY KEY, v {declared}, w TEXT",
         [(1, "a", "b"), (2, b"\x01\0\xff", "X'0100FF'"), (3, b"", "c"), (4, "X'41'", None)])
    assert pull(db, ["no", "v", "w"]) == [
        [b"1", b"a", b"b"], [b"2", b"\x01\0\xff", b"X'0100FF'"], [b"3", b"", b"c"], [b"4", b"X'41'", None]]


def test_a_cut_text_is_not_made_up_for_by_another(db):
    """The sum of bytes is the same: what the NUL costs, the blob's quotes and digits bring."""
    fill(db, "no INTEGER PRIMARY KEY, v TEXT, w TEXT", [(1, "a\0bcde", b"\x01\x02")])
    assert pull(db, ["no", "v", "w"]) == [[b"1", b"a\0bcde", b"\x01\x02"]]


def test_a_table_of_many_columns_is_checked(db):
    names = [f"c{i}" for i in range(1000)]
    fill(db, ", ".join(f"{name} {'TEXT' if i % 2 else 'INTEGER'}" for i, name in enumerate(names)),
         [[str(i) if i < 999 else "ab\0c" for i in range(1000)]])
    assert pull(db, names)[0] == [str(i).encode() for i in range(999)] + [b"ab\0c"]


def test_a_database_of_utf_16_is_read_or_refused(db):
    c = db.connect()
    c.execute("PRAGMA encoding='UTF-16le'")
    c.execute("CREATE TABLE t (no INTEGER PRIMARY KEY, v TEXT, n REAL)")
    c.execute("INSERT INTO t VALUES (1, '表', 0.1), (2, NULL, 0.30000000000000004)")
    assert pull(db, ["no", "v", "n"]) == [[b"1", "表".encode(), b"0.1"], [b"2", None, b"0.30000000000000004"]]
    c.execute("INSERT INTO t VALUES (3, 'a' || char(0) || 'b', 1)")
    c.close()
    with pytest.raises(Fault) as fault:
        pull(db, ["no", "v", "n"])
    assert fault.value.message == (
        "t: a text with a NUL byte, or a blob in a column of another type; in a database of UTF-16 the driver"
        " cannot give either whole")
