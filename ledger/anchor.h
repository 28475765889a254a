/*
 * The body of an anchor transaction: the leaves of one batch of one source, compact. A mapping
 * digest stands once for every distinct value, zero hashes do not stand at all, so that a created
 * record costs 82 bytes. Pure: no input or output.
 */
#ifndef LEDGER_ANCHOR_H
#define LEDGER_ANCHOR_H

#include "base/bytes.h"
#include "base/hash.h"
#include "ledger/leaf.h"
#include "ledger/transaction.h"

enum {
    ANCHOR_LEAVES_MAX = 4096,
    ANCHOR_MAPPINGS_MAX = 64,
    ANCHOR_SNAPSHOT_BYTES_MAX = 64,
    /* References to the patient's and the doctor's key, then an encrypted index entry; 0 where there
     * are no slots. */
    ANCHOR_SLOT_BYTES_MIN = 2 * HASH_BYTES,
    ANCHOR_SLOT_BYTES_MAX = 256,
};

/* Borrows from the body. */
struct anchor {
    struct hash source;
    uint64_t batch;
    struct bytes snapshot;
    uint32_t mapping_count;
    const uint8_t *mappings; /* mapping_count digests in the order of their first use */
    uint32_t leaf_count;     /* at least 1 */
    struct hash root;        /* RFC 6962, over the leaves of this anchor */
    struct bytes leaves;
    uint32_t slot_bytes;
    struct bytes slots; /* leaf_count slots of slot_bytes each */
};

/* Whose record a leaf's is, by reference; the doctor's is zero where there is none. Only where there are
 * slots. */
void anchor_people(const struct anchor *anchor, uint32_t index, struct hash *ret_patient,
                   struct hash *ret_doctor);

/* Checks the whole layout, every leaf and slot included, but not the root. */
MUST_CHECK enum error_code anchor_decode(struct bytes body, struct anchor *ret_anchor,
                                         struct error *err);

/* Leaf by leaf over a decoded anchor. */
struct anchor_cursor {
    const struct anchor *anchor;
    const uint8_t *at;
    uint32_t index;
};
struct anchor_cursor anchor_cursor(const struct anchor *anchor);
/* False after the last. */
bool anchor_next(struct anchor_cursor *cursor, struct leaf *ret_leaf);

enum {
    LEAF_COMPACT_BYTES_MAX = 2 + LOCATOR_BYTES + 4 + 4 * HASH_BYTES,
    /* What of an anchor transaction stands before its leaves: body's length, format, source, batch,
     * snapshot, mappings. */
    ANCHOR_HEAD_BYTES_MAX = TRANSACTION_BODY_AT + 4 + 1 + HASH_BYTES + 8 + 4 +
                            ANCHOR_SNAPSHOT_BYTES_MAX + 4 + ANCHOR_MAPPINGS_MAX * HASH_BYTES,
};
/* One leaf of an anchor transaction that was checked before: head are ANCHOR_HEAD_BYTES_MAX of its bytes
 * or all, compact are LEAF_COMPACT_BYTES_MAX from where the leaf begins, or all. ERROR_CORRUPT where they
 * are no such bytes. */
MUST_CHECK enum error_code anchor_leaf_at(struct bytes head, struct bytes compact,
                                          struct leaf *ret_leaf, struct error *err);

/* The hashes of all leaves into ret_hashes[leaf_count]; ERROR_TX_REJECTED where the root is not
 * theirs. */
MUST_CHECK enum error_code anchor_hashes(const struct anchor *anchor, struct hash *ret_hashes,
                                         struct error *err);

/* The map keys of all leaves' locators into ret_keys[leaf_count]. */
void anchor_map_keys(const struct anchor *anchor, struct hash *ret_keys);

struct ledger_anchor;
/* Appends the body. slots: NULL data where there are none. */
MUST_CHECK enum error_code anchor_encode(const struct ledger_anchor *anchor, uint32_t slot_bytes,
                                         struct bytes slots, struct buffer *out,
                                         struct error *err);

#endif
