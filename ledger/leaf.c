#include "ledger/leaf.h"

#include <string.h>

#include "base/wire.h"
#include "ledger/merkle/merkle.h"

enum { LEAF_FORMAT = 1, LEAF_SHA256 = 1, LEAF_RESERVED_AT = 184 };

void leaf_encode(const struct leaf *leaf, uint8_t ret_bytes[LEAF_BYTES]) {
    uint8_t *at = ret_bytes;
    memset(at, 0, LEAF_BYTES);
    at[0] = LEAF_FORMAT;
    at[1] = LEAF_SHA256;
    at[2] = (uint8_t)leaf->operation;
    at[3] = (uint8_t)leaf->origin;
    wire_store_u32(at + 4, leaf->version);
    memcpy(at + 8, leaf->locator.byte, LOCATOR_BYTES);
    memcpy(at + 24, leaf->previous.byte, HASH_BYTES);
    memcpy(at + 56, leaf->content.byte, HASH_BYTES);
    memcpy(at + 88, leaf->raw.byte, HASH_BYTES);
    memcpy(at + 120, leaf->mapping.byte, HASH_BYTES);
    memcpy(at + 152, leaf->attachments.byte, HASH_BYTES);
}

enum error_code leaf_check(const struct leaf *leaf, struct error *err) {
    if (leaf->operation < LEAF_CREATE || leaf->operation > LEAF_DELETE)
        return error_set(err, ERROR_PROTOCOL, "leaf: operation %d, expected 1 to 3",
                         (int)leaf->operation);
    if (leaf->origin < LEAF_DECLARED || leaf->origin > LEAF_OBSERVED)
        return error_set(err, ERROR_PROTOCOL, "leaf: origin %d, expected 1 or 2",
                         (int)leaf->origin);
    if (leaf->version == 0)
        return error_set(err, ERROR_PROTOCOL, "leaf: version 0, expected 1 or more");
    if ((leaf->version == 1) != hash_is_zero(&leaf->previous))
        return error_set(err, ERROR_PROTOCOL,
                         "leaf: version %u %s a previous leaf hash", leaf->version,
                         leaf->version == 1 ? "has" : "lacks");
    if (leaf->version == 1 && leaf->operation != LEAF_CREATE)
        return error_set(err, ERROR_PROTOCOL, "leaf: version 1 has operation %d, expected create",
                         (int)leaf->operation);
    bool without = hash_is_zero(&leaf->content) && hash_is_zero(&leaf->raw);
    bool with = !hash_is_zero(&leaf->content) && !hash_is_zero(&leaf->raw);
    if (leaf->operation == LEAF_DELETE ? !without : !with)
        return error_set(err, ERROR_PROTOCOL, "leaf: digests do not fit operation %d",
                         (int)leaf->operation);
    return ERROR_NONE;
}

enum error_code leaf_decode(const uint8_t bytes[LEAF_BYTES], struct leaf *ret_leaf,
                            struct error *err) {
    if (bytes[0] != LEAF_FORMAT || bytes[1] != LEAF_SHA256)
        return error_set(err, ERROR_PROTOCOL, "leaf: format %u, algorithm %u; expected 1 and 1",
                         bytes[0], bytes[1]);
    for (int i = LEAF_RESERVED_AT; i < LEAF_BYTES; i++)
        if (bytes[i] != 0)
            return error_set(err, ERROR_PROTOCOL, "leaf: reserved byte %d is not zero", i);
    struct leaf leaf = {
        .operation = (enum leaf_operation)bytes[2],
        .origin = (enum leaf_origin)bytes[3],
        .version = wire_load_u32(bytes + 4),
    };
    memcpy(leaf.locator.byte, bytes + 8, LOCATOR_BYTES);
    memcpy(leaf.previous.byte, bytes + 24, HASH_BYTES);
    memcpy(leaf.content.byte, bytes + 56, HASH_BYTES);
    memcpy(leaf.raw.byte, bytes + 88, HASH_BYTES);
    memcpy(leaf.mapping.byte, bytes + 120, HASH_BYTES);
    memcpy(leaf.attachments.byte, bytes + 152, HASH_BYTES);
    TRY(leaf_check(&leaf, err));
    *ret_leaf = leaf;
    return ERROR_NONE;
}

struct hash leaf_hash(const struct leaf *leaf) {
    uint8_t raw[1 + LEAF_BYTES];
    raw[0] = 0x00; /* RFC 6962's prefix of a leaf, in one buffer: one call into the hash */
    leaf_encode(leaf, raw + 1);
    return sha256_of(bytes_of(raw, sizeof raw));
}

void leaf_hashes(const struct leaf *leaves, size_t count, struct hash *ret_hashes) {
    enum { AT_ONCE = 16 };
    static const uint8_t prefix[1] = {0x00};
    uint8_t raw[AT_ONCE][LEAF_BYTES];
    struct sha256_message messages[AT_ONCE];
    for (size_t i = 0; i < count;) {
        size_t part = 0;
        for (; part < AT_ONCE && i + part < count; part++) {
            leaf_encode(&leaves[i + part], raw[part]);
            messages[part] = (struct sha256_message){bytes_of(prefix, sizeof prefix),
                                                     bytes_of(raw[part], LEAF_BYTES)};
        }
        sha256_many(messages, part, ret_hashes + i);
        i += part;
    }
}
