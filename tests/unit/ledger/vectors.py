#!/usr/bin/env python3
"""Writes vectors.h: the ledger's formats as docs/formats.md describes them, built a second time with
Python's hashlib and cryptography. Run it again when a format changes and commit what it writes."""
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root(leaves):
    """MTH of RFC 6962, section 2.1, by its definition; leaves are hashes already."""
    if not leaves:
        return sha()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\x01", root(leaves[:k]), root(leaves[k:]))


def u32bytes(data):
    return struct.pack(">I", len(data)) + data


def leaf(op, origin, version, locator, previous, content, raw, mapping, attachments):
    return (struct.pack(">BBBBI", 1, 1, op, origin, version) + locator + previous + content + raw
            + mapping + attachments + bytes(16))


ZERO = bytes(32)
seed = bytes(range(32))
key = Ed25519PrivateKey.from_private_bytes(seed)
public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
chain = b"\xc0" * 32
loc1, loc2 = b"\x11" * 16, b"\x22" * 16
map1, map2 = b"\xa1" * 32, b"\xa2" * 32

leaves = [
    leaf(1, 1, 1, loc1, ZERO, b"\x01" * 32, b"\x02" * 32, map1, ZERO),
    leaf(2, 2, 7, loc2, b"\x07" * 32, b"\x03" * 32, b"\x04" * 32, map2, b"\x55" * 32),
    leaf(3, 2, 2, loc1, sha(b"\x00", leaf(1, 1, 1, loc1, ZERO, b"\x01" * 32, b"\x02" * 32, map1, ZERO)),
         ZERO, ZERO, map1, ZERO),
]
hashes = [sha(b"\x00", l) for l in leaves]
compact = (
    bytes([0x01, 0]) + loc1 + b"\x01" * 32 + b"\x02" * 32
    + bytes([0x02 | 0x04 | 0x08 | 0x10, 1]) + loc2 + struct.pack(">I", 7) + b"\x07" * 32
    + b"\x03" * 32 + b"\x04" * 32 + b"\x55" * 32
    + bytes([0x03 | 0x04 | 0x08, 0]) + loc1 + struct.pack(">I", 2) + hashes[0])
body = (b"\x01" + b"\x77" * 32 + struct.pack(">Q", 5) + u32bytes(b"snapshot-1")
        + struct.pack(">I", 2) + map1 + map2 + struct.pack(">I", 3) + root(hashes) + compact
        + struct.pack(">H", 0))
unsigned = (struct.pack(">BBH", 1, 1, 1) + chain + public + struct.pack(">QQ", 9, 1700000000123)
            + u32bytes(body) + struct.pack(">H", 0))
tx_id = sha(b"renkei/transaction/1\n", unsigned)
signature = key.sign(tx_id)
header = (struct.pack(">BBH", 1, 1, 0) + chain + struct.pack(">QQ", 1, 42) + b"\x0b" * 32
          + struct.pack(">QII", 1700000000456, 1, 5 + len(unsigned) + 64)
          + sha(b"\x00", tx_id, signature, b"\x00") + struct.pack(">Q", 3) + root(hashes)
          + struct.pack(">Q", 0) + ZERO + b"\x0e" * 32)
vote = sha(b"renkei/vote/1\n", chain, struct.pack(">Q", 1), b"\x03", struct.pack(">QQ", 6, 42),
           sha(b"renkei/block/1\n", header))
incident = (b"\x01\x01" + loc1 + struct.pack(">I", 3) + b"\x08" * 32 + b"\x09" * 32
            + struct.pack(">Q", 1700000000789))


def reference(secret, counter):
    return hmac.new(secret, b"renkei/reference/1\n" + struct.pack(">Q", counter), "sha256").digest()


def key_commitment(r, public_key):
    return sha(b"renkei/key/1\n", r, public_key)


patient_secret, doctor_secret = b"\x91" * 32, b"\x92" * 32
person = (bytes([1, 1, 1, 0]) + struct.pack(">I", 1) + reference(patient_secret, 0)
          + key_commitment(b"\x93" * 32, b"patient's SubjectPublicKeyInfo") + b"\x94" * 32)
person_revoked = (bytes([1, 2, 3, 0]) + struct.pack(">I", 2) + reference(doctor_secret, 0)
                  + ZERO + ZERO)
permission = (bytes([1, 1]) + b"\x95" * 16 + struct.pack(">I", 1) + reference(patient_secret, 1)
              + reference(doctor_secret, 1) + public + b"\x96" * 32)
permission_revoked = (bytes([1, 2]) + b"\x95" * 16 + struct.pack(">I", 2)
                      + reference(patient_secret, 2) + ZERO + ZERO + b"\x97" * 32)
query = (b"\x01" + b"\x95" * 16 + reference(patient_secret, 3) + reference(doctor_secret, 2)
         + b"\x98" * 32 + u32bytes(b"sealed"))
slots = (reference(patient_secret, 4) + reference(doctor_secret, 3) + b"entry 0."
         + reference(patient_secret, 5) + ZERO + b"entry 1.")
slotted = [leaves[0], leaf(1, 1, 1, loc2, ZERO, b"\x01" * 32, b"\x02" * 32, map1, ZERO)]
slotted_anchor = (b"\x01" + b"\x77" * 32 + struct.pack(">Q", 1) + u32bytes(b"")
                  + struct.pack(">I", 1) + map1 + struct.pack(">I", 2)
                  + root([sha(b"\x00", l) for l in slotted])
                  + b"".join(bytes([1, 0]) + l + b"\x01" * 32 + b"\x02" * 32 for l in (loc1, loc2))
                  + struct.pack(">H", 72) + slots)


def show(name, data):
    lines = [f"static const uint8_t {name}[] = {{"]
    for i in range(0, len(data), 16):
        lines.append("    " + " ".join(f"0x{b:02x}," for b in data[i:i + 16]))
    return "\n".join(lines + ["};", ""])


roots = [root([sha(b"\x00", struct.pack(">I", i)) for i in range(n)]) for n in range(0, 70)]
with open(__file__.replace(".py", ".h"), "w", encoding="ascii") as out:
    out.write("/* Written by vectors.py; do not edit. */\n#include <stdint.h>\n\n")
    for name, data in [("vector_seed", seed), ("vector_public", public), ("vector_chain", chain),
                       ("vector_leaf_1", leaves[0]), ("vector_leaf_2", leaves[1]),
                       ("vector_leaf_3", leaves[2]), ("vector_leaf_hashes", b"".join(hashes)),
                       ("vector_transaction", unsigned + signature),
                       ("vector_transaction_id", tx_id), ("vector_header", header),
                       ("vector_block_hash", sha(b"renkei/block/1\n", header)),
                       ("vector_commit_vote", vote), ("vector_incident", incident),
                       ("vector_person", person), ("vector_person_revoked", person_revoked),
                       ("vector_permission", permission),
                       ("vector_permission_revoked", permission_revoked),
                       ("vector_query", query), ("vector_slotted_anchor", slotted_anchor),
                       ("vector_references", b"".join(
                           [*(reference(patient_secret, i) for i in range(6)),
                            *(reference(doctor_secret, i) for i in range(4))])),
                       ("vector_roots_of_0_to_69", b"".join(roots))]:
        out.write(show(name, data) + "\n")
