"""What is said of Oracle's driver, on a driver of our own that does so (oracle_like_driver.c): each source's
worker has its own environment, '' is NULL, 38 digits are kept, a DATE has a time. Unverified against the
real one."""

import json

import pytest

from tests.conformance.probe import BUILD
from tests.conformance.worker import Worker, WorkerError
from tests.harness.databases import ODBC


@pytest.fixture
def start(tmp_path):
    """A worker whose environment comes from its mapping alone."""
    ini = ODBC(tmp_path / "odbc")
    ini.driver("Oracle", BUILD / "tests/conformance/oracle_like_odbc.so")
    ini.data_source("hospital", "Oracle", {"DBQ": "KARTE"})
    (tmp_path / "tns").mkdir()
    (tmp_path / "tns/tnsnames.ora").write_text("KARTE=(DESCRIPTION=)\n")

    def worker(source, lang, **changes):
        environment = {**ini.env, "TNS_ADMIN": tmp_path / "tns", "NLS_LANG": lang, **changes}
        path = tmp_path / f"{source}.yaml"
        path.write_text(
            f"source: {source}\nconnector: odbc\nconnection: {{dsn: hospital}}\nenvironment:\n" +
            "".join(f"  {k}: \"{v}\"\n" for k, v in environment.items() if v is not None) +
            "tables:\n  - {table: KARTE, category: EMR01, key: [ID]}\n")
        return Worker(path, source=source, env={"ASAN_OPTIONS": "detect_leaks=0"})
    return worker


def documents(worker):
    return [json.loads(row["document"])["fields"] for row in worker.preview("KARTE", 4)]


EXPECTED = [
    dict(ID="12345678901234567890123456789012345678", NAME="髙﨑 太郎",
         AMOUNT="-1234567890123456789012345678.0123456789", SEEN="2011/03/24"),
    dict(ID=2, NAME="ソ表", AMOUNT=0.5, SEEN="2011/03/24"),
    dict(ID=3, NAME=None, AMOUNT=None, SEEN=None),
    dict(ID=4, NAME="①～－", AMOUNT=0, SEEN="0001/01/01"),
]


def test_each_source_has_its_workers_own_environment(start):
    with start("utf", "JAPANESE_JAPAN.AL32UTF8") as utf, start("sjis", "JAPANESE_JAPAN.JA16SJISTILDE") as sjis:
        assert documents(utf) == documents(sjis) == EXPECTED
        cells = [bytes.fromhex(w.preview("KARTE", 1)[0]["cells"][1]) for w in (utf, sjis)]
        assert cells == ["髙﨑 太郎".encode(), bytes.fromhex("FBFCFAB12091BE9859")]
        said = {(r["column"], r["reason"]) for r in utf.preview("KARTE", 1)[0]["reasons"]}
        assert said == {(0, "big-number"), (2, "big-number"), (3, "time-dropped")}


def test_rows_are_found_by_parameters(start):
    with start("utf", ".AL32UTF8") as w:
        w.pull("KARTE")
        rows = w.fetch("KARTE", "4", EXPECTED[0]["ID"], "99")
        assert [row["found"] for row in rows] == [True, True, False] and rows[1]["match"]
        assert json.loads(rows[0]["document"])["fields"] == EXPECTED[3]


@pytest.mark.parametrize("lang", ["AMERICAN_AMERICA.US7ASCII", "JAPANESE_JAPAN", "x.WE8MSWIN1252", None])
def test_a_character_set_that_would_lose_characters_is_refused(start, lang):
    with start("wrong", lang) as w:
        with pytest.raises(WorkerError) as error:
            w.preview("KARTE", 1)
    assert "NLS_LANG: found" in error.value.message and ".AL32UTF8" in error.value.message


def test_a_service_that_is_not_known_is_told(start, tmp_path):
    with start("lost", ".AL32UTF8", TNS_ADMIN=tmp_path / "nowhere") as w:
        with pytest.raises(WorkerError) as error:
            w.preview("KARTE", 1)
    assert error.value.name == "source-unreachable" and "12154" in error.value.message
