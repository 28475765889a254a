"""Every character arrives in JSON as the bytes in the database say, by converters not ours."""

import subprocess

# One by one: those that are lost elsewhere, with the bytes that stand in the databases.
HARD = {
    "8740": "①", "878A": "㈱", "FBFC": "髙", "EEE0": "髙", "FAB1": "﨑", "ED95": "﨑", "8160": "～",
    "835C": "ソ", "955C": "表", "8F5C": "十", "815C": "―", "8161": "∥", "817C": "－", "8191": "￠",
    "8192": "￡", "81CA": "￢", "5C": "\\", "7E": "~", "B6DEAFBA": "ｶﾞｯｺ", "97 5C 96 F1": "予約",
    "F040": "\ue000", "F9FC": "\ue757", "22": '"', "2F": "/", "09": "\t",
}
ROW_CHARACTERS = 94


def double_byte_codes():
    """Every two-byte sequence that Python's cp932 decodes."""
    for lead in (*range(0x81, 0xA0), *range(0xE0, 0xFD)):
        for trail in (*range(0x40, 0x7F), *range(0x80, 0xFD)):
            code = bytes((lead, trail))
            try:
                code.decode("cp932")
            except UnicodeDecodeError:
                continue
            yield code


def by_uconv(data):
    return subprocess.run(["uconv", "-f", "ibm-943_P15A-2003", "-t", "utf-8"], input=data,
                          stdout=subprocess.PIPE, check=True).stdout.decode("utf-8")


def shown_notes(client, addresses):
    records = client.records()
    assert set(addresses) <= set(records), set(addresses) - set(records)
    assert {records[address]["verdict"] for address in addresses} == {"match"}
    return [records[address]["fields"]["note"] for address in addresses]


def test_hard_characters_one_by_one(region, kind):
    patient, client = region.new_patient()
    notes = [bytes.fromhex(code) for code in HARD]
    _, addresses = region.new_records(kind, patient, notes)
    region.hospital(kind).sync()
    shown = dict(zip(HARD, shown_notes(client, addresses)))
    assert shown == HARD
    assert list(shown.values()) == [by_uconv(note) for note in notes]


def test_every_double_byte_code(region, kind):
    patient, client = region.new_patient()
    codes = list(double_byte_codes())
    assert len(codes) > 9000
    notes = [b"".join(codes[i:i + ROW_CHARACTERS]) for i in range(0, len(codes), ROW_CHARACTERS)]
    _, addresses = region.new_records(kind, patient, notes)
    region.hospital(kind).sync()
    shown = shown_notes(client, addresses)
    assert shown == [note.decode("cp932") for note in notes]
    assert shown == [by_uconv(note) for note in notes]


def test_ascii_and_half_width_kana(region, kind):
    patient, client = region.new_patient()
    notes = [bytes(range(0x20, 0x7F)), bytes(range(0xA1, 0xE0))]
    _, addresses = region.new_records(kind, patient, notes)
    region.hospital(kind).sync()
    assert shown_notes(client, addresses) == [note.decode("cp932") for note in notes]
