"""match, mismatch, missing, unanchored: what the patient sees of what happens in a database."""

import base64
import hashlib
import json

import pytest

BEFORE, AFTER = "1日3回 20単位".encode("cp932"), "1日3回 40単位".encode("cp932")


@pytest.fixture
def one(region, kind):
    """A patient with two anchored records, of which the second is left alone."""
    patient, client = region.new_patient(at=kind)
    numbers, addresses = region.new_records(kind, patient, [BEFORE, BEFORE])
    region.hospital(kind).sync()
    return region.sources[kind], region.hospital(kind), patient, client, numbers[0], addresses


def look(client, address):
    return client.records()[address]


def test_an_untouched_record_matches_and_says_since_when(one):
    _, _, _, client, _, addresses = one
    record = look(client, addresses[0])
    assert record["verdict"] == "match"
    assert record["fields"]["note"] == BEFORE.decode("cp932")
    assert record["fields"]["seen"] == "2011/03/24"
    assert record["anchored"]["since"] == record["history"][0]["anchored"]
    assert record["anchored"]["observedChanges"] == 0
    assert len(record["history"]) == 1


def test_a_changed_value_is_a_mismatch_then_observed_and_its_earlier_version_stays(one):
    source, hospital, _, client, number, addresses = one
    before = look(client, addresses[0])["history"]
    source.set_note(number, AFTER)
    met = look(client, addresses[0])
    assert met["verdict"] == "mismatch"
    assert met["history"] == before, "what was anchored stays listed"
    assert met["live"]["content"] != before[0]["content"]
    assert look(client, addresses[1])["verdict"] == "match", "the other record is untouched"
    hospital.sync()
    record = look(client, addresses[0])
    assert record["verdict"] == "match"
    assert record["fields"]["note"] == AFTER.decode("cp932")
    assert [v["version"] for v in record["history"]] == [2, 1]
    assert record["history"][0]["origin"] == "observed"
    assert record["history"][0]["operation"] == "modify"
    assert record["history"][1] == before[0]
    assert record["anchored"]["observedChanges"] == 1


def test_a_changed_time_of_day_is_a_mismatch_though_the_shown_date_is_the_same(one):
    source, hospital, _, client, number, addresses = one
    before = look(client, addresses[0])
    source.set_seen(number, "2011-03-24 15:30:00")
    met = look(client, addresses[0])
    assert met["fields"] == before["fields"], "the shown form drops the time of day"
    assert met["verdict"] == "mismatch"
    assert met["live"]["content"] == before["history"][0]["content"]
    assert met["live"]["raw"] != before["history"][0]["raw"]
    hospital.sync()
    record = look(client, addresses[0])
    assert record["verdict"] == "match"
    assert record["history"][0]["origin"] == "observed"
    assert record["history"][1] == before["history"][0]


def test_a_deleted_row_is_missing(one):
    source, hospital, _, client, number, addresses = one
    source.delete(number)
    record = look(client, addresses[0])
    assert record["verdict"] == "missing"
    assert "fields" not in record
    assert len(record["history"]) == 1
    assert look(client, addresses[1])["verdict"] == "match"


def test_a_new_row_is_unanchored_until_the_sync(one, region, kind):
    _, hospital, patient, client, _, _ = one
    _, addresses = region.new_records(kind, patient, [AFTER])
    record = look(client, addresses[0])
    assert record["verdict"] == "unanchored"
    assert record["fields"]["note"] == AFTER.decode("cp932")
    hospital.sync()
    assert look(client, addresses[0])["verdict"] == "match"


def test_one_document_holds_the_records_of_all_three_hospitals(region):
    patient, client = region.new_patient(at="mysql")
    expected = set()
    for kind in region.sources:
        expected |= set(region.new_records(kind, patient, [BEFORE])[1])
        region.hospital(kind).sync()
    document = client.document()
    assert {r["address"]: r["verdict"] for r in document["records"]} == {
        address: "match" for address in expected}
    assert document["complete"] is True
    assert {h["hospital"] for h in document["hospitals"]} == {"clinic", "hospital", "laboratory"}


def test_a_record_of_another_patient_is_answered_as_one_that_there_is_not(one, region, kind):
    _, hospital, _, _, number, addresses = one
    _, stranger = region.new_patient(at=kind)
    assert stranger.records() == {}
    answers = []
    for address in (addresses[0], region.sources[kind].address(hospital.name, 999999)):
        name = base64.urlsafe_b64encode(address.encode()).rstrip(b"=").decode()
        answer = stranger.get(f"/v1/records/{name}")
        problem = answer.json()
        del problem["instance"]
        problem["detail"] = problem["detail"].replace(address, "ADDRESS")
        answers.append((answer.status, problem))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


def test_anyone_can_recompute_the_content_digest_with_sha_256(one):
    _, _, _, client, _, addresses = one
    record = look(client, addresses[0])
    document = {name: record[name] for name in ("address", "category", "fields")}
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    version = record["history"][0]
    digest = hashlib.sha256(b"renkei/content/1\n" + bytes.fromhex(version["r"]) +
                            canonical.encode("utf-8")).hexdigest()
    assert digest == version["content"] == record["live"]["content"]
