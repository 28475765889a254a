/*
 * A leaf: what the chain says of one version of one record. A fixed layout of LEAF_BYTES bytes
 * (docs/formats.md), hashed as an RFC 6962 leaf. Pure: no input or output, no clock.
 */
#ifndef LEDGER_LEAF_H
#define LEDGER_LEAF_H

#include "base/hash.h"

enum { LEAF_BYTES = 200, LOCATOR_BYTES = 16 };

enum leaf_operation { LEAF_CREATE = 1, LEAF_MODIFY = 2, LEAF_DELETE = 3 };
enum leaf_origin { LEAF_DECLARED = 1, LEAF_OBSERVED = 2 };

struct locator {
    uint8_t byte[LOCATOR_BYTES];
};

struct leaf {
    enum leaf_operation operation;
    enum leaf_origin origin;
    uint32_t version; /* from 1 */
    struct locator locator;
    struct hash previous; /* hash of the leaf of version - 1; zero for version 1 */
    struct hash content;  /* zero for LEAF_DELETE */
    struct hash raw;      /* zero for LEAF_DELETE */
    struct hash mapping;
    struct hash attachments; /* zero until there are files */
};

/* What every leaf keeps to: version 1 is a create without a previous hash, later versions have one,
 * a delete has no digests and every other operation has both. */
MUST_CHECK enum error_code leaf_check(const struct leaf *leaf, struct error *err);

void leaf_encode(const struct leaf *leaf, uint8_t ret_bytes[LEAF_BYTES]);
/* Rejects unknown versions, algorithms, operations and origins, non-zero reserved bytes, and what
 * leaf_check rejects. */
MUST_CHECK enum error_code leaf_decode(const uint8_t bytes[LEAF_BYTES], struct leaf *ret_leaf,
                                       struct error *err);
/* SHA-256(0x00 || bytes) */
struct hash leaf_hash(const struct leaf *leaf);
/* The same of many, two at a time: about half the time. */
void leaf_hashes(const struct leaf *leaves, size_t count, struct hash *ret_hashes);

#endif
