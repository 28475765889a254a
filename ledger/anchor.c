#include "ledger/anchor.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/ledger.h"
#include "ledger/merkle/map.h"
#include "ledger/merkle/merkle.h"
#include "ledger/transaction.h"

enum { HASHED_AT_ONCE = 16, KEYS_AT_ONCE = 64 };
enum {
    ANCHOR_FORMAT = 1,
    FLAG_OPERATION = 0x03,
    FLAG_OBSERVED = 0x04,
    FLAG_PREVIOUS = 0x08,
    FLAG_ATTACHMENTS = 0x10,
    FLAG_ALL = 0x1f,
    LEAF_COMPACT_BYTES_MIN = 1 + 1 + LOCATOR_BYTES,
    LEAF_CREATED_BYTES = LEAF_COMPACT_BYTES_MIN + 2 * HASH_BYTES,
};

static struct hash read_hash(struct wire_reader *r) {
    struct hash h;
    wire_read_fixed(r, h.byte, HASH_BYTES);
    return h;
}

/* Reads one compact leaf. The mapping's number goes to ret_mapping; leaf->mapping is left alone. */
static bool read_leaf(struct wire_reader *r, struct leaf *ret_leaf, unsigned *ret_mapping) {
    unsigned flags = wire_read_u8(r);
    *ret_mapping = wire_read_u8(r);
    *ret_leaf = (struct leaf){
        .operation = (enum leaf_operation)(flags & FLAG_OPERATION),
        .origin = (flags & FLAG_OBSERVED) != 0 ? LEAF_OBSERVED : LEAF_DECLARED,
        .version = 1,
    };
    wire_read_fixed(r, ret_leaf->locator.byte, LOCATOR_BYTES);
    if ((flags & FLAG_PREVIOUS) != 0) {
        ret_leaf->version = wire_read_u32(r);
        ret_leaf->previous = read_hash(r);
        if (ret_leaf->version < 2) /* else there would be two encodings of version 1 */
            return false;
    }
    if (ret_leaf->operation != LEAF_DELETE) {
        ret_leaf->content = read_hash(r);
        ret_leaf->raw = read_hash(r);
    }
    if ((flags & FLAG_ATTACHMENTS) != 0) {
        ret_leaf->attachments = read_hash(r);
        if (hash_is_zero(&ret_leaf->attachments))
            return false;
    }
    return !r->failed && (flags & ~(unsigned)FLAG_ALL) == 0;
}

/* Walks all leaves: each one whole, mappings numbered in the order of their first use. */
static enum error_code check_leaves(struct wire_reader *r, uint32_t count, uint32_t mapping_count,
                                    struct error *err) {
    unsigned seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct leaf leaf;
        unsigned mapping;
        if (!read_leaf(r, &leaf, &mapping))
            return error_set(err, ERROR_PROTOCOL, "anchor: leaf %u is not well formed", i);
        if (leaf_check(&leaf, err) != ERROR_NONE)
            return error_wrap(err, ERROR_PROTOCOL, "anchor: leaf %u", i);
        if (mapping > seen || mapping >= mapping_count)
            return error_set(err, ERROR_PROTOCOL, "anchor: leaf %u names mapping %u of %u", i,
                             mapping, mapping_count);
        if (mapping == seen)
            seen++;
    }
    if (seen != mapping_count)
        return error_set(err, ERROR_PROTOCOL, "anchor: %u mapping digests, %u used",
                         mapping_count, seen);
    return ERROR_NONE;
}

static enum error_code check_mappings(const uint8_t *mappings, uint32_t count, struct error *err) {
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (memcmp(mappings + (size_t)i * HASH_BYTES, mappings + (size_t)j * HASH_BYTES,
                       HASH_BYTES) == 0)
                return error_set(err, ERROR_PROTOCOL, "anchor: mapping digest %u stands twice", i);
    return ERROR_NONE;
}

static bool slot_bytes_fit(uint32_t slot_bytes) {
    return slot_bytes == 0 ||
           (slot_bytes >= ANCHOR_SLOT_BYTES_MIN && slot_bytes <= ANCHOR_SLOT_BYTES_MAX);
}

void anchor_people(const struct anchor *anchor, uint32_t index, struct hash *ret_patient,
                   struct hash *ret_doctor) {
    assert(anchor->slot_bytes >= ANCHOR_SLOT_BYTES_MIN && index < anchor->leaf_count);
    const uint8_t *slot = anchor->slots.data + (size_t)index * anchor->slot_bytes;
    memcpy(ret_patient->byte, slot, HASH_BYTES);
    memcpy(ret_doctor->byte, slot + HASH_BYTES, HASH_BYTES);
}

/* Whose record it is must be said; which doctor's, where one stands behind it. */
static enum error_code check_slots(const struct anchor *a, struct error *err) {
    for (uint32_t i = 0; a->slot_bytes > 0 && i < a->leaf_count; i++) {
        struct hash patient;
        struct hash doctor;
        anchor_people(a, i, &patient, &doctor);
        if (hash_is_zero(&patient) || hash_equal(&patient, &doctor))
            return error_set(err, ERROR_PROTOCOL,
                             "anchor: slot %u has no patient's reference of its own", i);
    }
    return ERROR_NONE;
}

enum error_code anchor_decode(struct bytes body, struct anchor *ret_anchor, struct error *err) {
    struct wire_reader r = wire_reader(body);
    unsigned format = wire_read_u8(&r);
    if (format != ANCHOR_FORMAT)
        return error_set(err, ERROR_PROTOCOL, "anchor: format %u, expected 1", format);
    struct anchor a = {.source = read_hash(&r)};
    a.batch = wire_read_u64(&r);
    a.snapshot = wire_read_bytes(&r, ANCHOR_SNAPSHOT_BYTES_MAX);
    a.mapping_count = wire_read_count(&r, ANCHOR_MAPPINGS_MAX, HASH_BYTES);
    a.mappings = wire_read_raw(&r, (size_t)a.mapping_count * HASH_BYTES).data;
    a.leaf_count = wire_read_count(&r, ANCHOR_LEAVES_MAX, LEAF_COMPACT_BYTES_MIN);
    a.root = read_hash(&r);
    if (r.failed || a.leaf_count == 0 || a.mapping_count == 0)
        return error_set(err, ERROR_PROTOCOL,
                         "anchor: head not whole, or %u leaves and %u mappings (at most %d, %d)",
                         a.leaf_count, a.mapping_count, ANCHOR_LEAVES_MAX, ANCHOR_MAPPINGS_MAX);
    TRY(check_mappings(a.mappings, a.mapping_count, err));
    const uint8_t *leaves_at = r.at;
    TRY(check_leaves(&r, a.leaf_count, a.mapping_count, err));
    a.leaves = bytes_of(leaves_at, (size_t)(r.at - leaves_at));
    a.slot_bytes = wire_read_u16(&r);
    if (!slot_bytes_fit(a.slot_bytes))
        return error_set(err, ERROR_PROTOCOL,
                         "anchor: index slots of %u bytes, expected 0 or %d to %d", a.slot_bytes,
                         ANCHOR_SLOT_BYTES_MIN, ANCHOR_SLOT_BYTES_MAX);
    a.slots = wire_read_raw(&r, (size_t)a.slot_bytes * a.leaf_count);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "anchor: %zu bytes are not one whole anchor",
                         body.len);
    TRY(check_slots(&a, err));
    *ret_anchor = a;
    return ERROR_NONE;
}

struct anchor_cursor anchor_cursor(const struct anchor *anchor) {
    return (struct anchor_cursor){anchor, anchor->leaves.data, 0};
}

bool anchor_next(struct anchor_cursor *cursor, struct leaf *ret_leaf) {
    const struct anchor *a = cursor->anchor;
    if (cursor->index == a->leaf_count)
        return false;
    struct wire_reader r = {cursor->at, a->leaves.data + a->leaves.len, false};
    unsigned mapping;
    bool whole = read_leaf(&r, ret_leaf, &mapping);
    assert(whole); /* anchor_decode walked the same bytes */
    assert(mapping < a->mapping_count);
    memcpy(ret_leaf->mapping.byte, a->mappings + (size_t)mapping * HASH_BYTES, HASH_BYTES);
    cursor->at = r.at;
    cursor->index++;
    return true;
}

enum error_code anchor_leaf_at(struct bytes head, struct bytes compact, struct leaf *ret_leaf,
                               struct error *err) {
    struct wire_reader h = wire_reader(head);
    (void)wire_read_raw(&h, TRANSACTION_BODY_AT + 4); /* with the body's length */
    (void)wire_read_raw(&h, 1 + HASH_BYTES + 8); /* format, source, batch */
    (void)wire_read_bytes(&h, ANCHOR_SNAPSHOT_BYTES_MAX);
    uint32_t count = wire_read_count(&h, ANCHOR_MAPPINGS_MAX, HASH_BYTES);
    const uint8_t *mappings = wire_read_raw(&h, (size_t)count * HASH_BYTES).data;
    struct wire_reader r = wire_reader(compact);
    struct leaf leaf;
    unsigned mapping = 0;
    if (h.failed || !read_leaf(&r, &leaf, &mapping) || mapping >= count)
        return error_set(err, ERROR_CORRUPT, "anchor: no leaf where the log's places say one");
    memcpy(leaf.mapping.byte, mappings + (size_t)mapping * HASH_BYTES, HASH_BYTES);
    *ret_leaf = leaf;
    return ERROR_NONE;
}

enum error_code anchor_hashes(const struct anchor *anchor, struct hash *ret_hashes,
                              struct error *err) {
    struct anchor_cursor cursor = anchor_cursor(anchor);
    struct leaf leaves[HASHED_AT_ONCE];
    for (uint32_t done = 0; done < anchor->leaf_count;) {
        size_t count = 0;
        while (count < HASHED_AT_ONCE && anchor_next(&cursor, &leaves[count]))
            count++;
        leaf_hashes(leaves, count, ret_hashes + done);
        done += (uint32_t)count;
    }
    struct hash root = merkle_root_of(ret_hashes, anchor->leaf_count);
    if (!hash_equal(&root, &anchor->root))
        return error_set(err, ERROR_TX_REJECTED, "anchor: the root is not that of its %u leaves",
                         anchor->leaf_count);
    return ERROR_NONE;
}

void anchor_map_keys(const struct anchor *anchor, struct hash *ret_keys) {
    struct anchor_cursor cursor = anchor_cursor(anchor);
    struct leaf leaf;
    struct locator locators[KEYS_AT_ONCE];
    size_t count;
    do {
        for (count = 0; count < KEYS_AT_ONCE && anchor_next(&cursor, &leaf); count++)
            locators[count] = leaf.locator;
        if (count > 0)
            map_keys(locators[0].byte, sizeof locators[0], count, ret_keys);
        ret_keys += count;
    } while (count == KEYS_AT_ONCE);
}

struct mapping_table {
    uint32_t count;
    struct hash digest[ANCHOR_MAPPINGS_MAX];
};

static bool mapping_number(struct mapping_table *table, const struct hash *digest,
                           uint32_t *ret_number) {
    for (uint32_t i = 0; i < table->count; i++)
        if (hash_equal(&table->digest[i], digest)) {
            *ret_number = i;
            return true;
        }
    if (table->count == ANCHOR_MAPPINGS_MAX)
        return false;
    table->digest[table->count] = *digest;
    *ret_number = table->count++;
    return true;
}

static void write_leaf(struct buffer *out, const struct leaf *leaf, uint32_t mapping) {
    bool previous = leaf->version > 1;
    bool attachments = !hash_is_zero(&leaf->attachments);
    unsigned flags = (unsigned)leaf->operation & FLAG_OPERATION;
    flags |= leaf->origin == LEAF_OBSERVED ? FLAG_OBSERVED : 0U;
    flags |= previous ? FLAG_PREVIOUS : 0U;
    flags |= attachments ? FLAG_ATTACHMENTS : 0U;
    wire_u8(out, (uint8_t)flags);
    wire_u8(out, (uint8_t)mapping);
    wire_fixed(out, leaf->locator.byte, LOCATOR_BYTES);
    if (previous) {
        wire_u32(out, leaf->version);
        wire_fixed(out, leaf->previous.byte, HASH_BYTES);
    }
    if (leaf->operation != LEAF_DELETE) {
        wire_fixed(out, leaf->content.byte, HASH_BYTES);
        wire_fixed(out, leaf->raw.byte, HASH_BYTES);
    }
    if (attachments)
        wire_fixed(out, leaf->attachments.byte, HASH_BYTES);
}

/* The mappings in the order of their first use, which is what stands before the leaves. */
static enum error_code collect_mappings(const struct ledger_anchor *anchor,
                                        struct mapping_table *table, struct error *err) {
    uint32_t mapping;
    for (uint32_t i = 0; i < anchor->leaf_count; i++)
        if (!mapping_number(table, &anchor->leaves[i].mapping, &mapping))
            return error_set(err, ERROR_LIMIT, "anchor: more than %d distinct mappings",
                             ANCHOR_MAPPINGS_MAX);
    return ERROR_NONE;
}

static enum error_code write_leaves(const struct ledger_anchor *anchor,
                                    struct mapping_table *table, struct buffer *out,
                                    struct hash *ret_root, struct error *err) {
    struct merkle_frontier frontier;
    merkle_frontier_init(&frontier);
    struct hash made[HASHED_AT_ONCE];
    for (uint32_t i = 0; i < anchor->leaf_count; i++) {
        const struct leaf *leaf = &anchor->leaves[i];
        uint32_t mapping = 0;
        uint32_t left = anchor->leaf_count - i;
        if (anchor->leaf_hashes == NULL && i % HASHED_AT_ONCE == 0)
            leaf_hashes(leaf, left < HASHED_AT_ONCE ? left : HASHED_AT_ONCE, made);
        if (leaf_check(leaf, err) != ERROR_NONE)
            return error_wrap(err, ERROR_TX_REJECTED, "anchor: leaf %u", i);
        bool known = mapping_number(table, &leaf->mapping, &mapping);
        assert(known); /* collect_mappings met it */
        if (anchor->leaf_hashes == NULL)
            merkle_append(&frontier, &made[i % HASHED_AT_ONCE], NULL);
        write_leaf(out, leaf, mapping);
    }
    *ret_root = anchor->leaf_hashes != NULL
                    ? merkle_root_of(anchor->leaf_hashes, anchor->leaf_count)
                    : merkle_root(&frontier);
    return ERROR_NONE;
}

enum error_code anchor_encode(const struct ledger_anchor *anchor, uint32_t slot_bytes,
                              struct bytes slots, struct buffer *out, struct error *err) {
    if (anchor->leaf_count == 0 || anchor->leaf_count > ANCHOR_LEAVES_MAX)
        return error_set(err, ERROR_LIMIT, "anchor: %u leaves, expected 1 to %d",
                         anchor->leaf_count, ANCHOR_LEAVES_MAX);
    if (anchor->snapshot.len > ANCHOR_SNAPSHOT_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "anchor: snapshot label of %zu bytes, at most %d",
                         anchor->snapshot.len, ANCHOR_SNAPSHOT_BYTES_MAX);
    if (!slot_bytes_fit(slot_bytes) || slots.len != (size_t)slot_bytes * anchor->leaf_count)
        return error_set(err, ERROR_LIMIT, "anchor: %zu bytes of index slots of %u for %u leaves",
                         slots.len, slot_bytes, anchor->leaf_count);
    struct mapping_table table = {.count = 0};
    struct hash root = {{0}};
    TRY(collect_mappings(anchor, &table, err));
    (void)buffer_reserve(out, LEAF_CREATED_BYTES * (size_t)anchor->leaf_count);
    wire_u8(out, ANCHOR_FORMAT);
    wire_fixed(out, anchor->source.byte, HASH_BYTES);
    wire_u64(out, anchor->batch);
    wire_bytes(out, anchor->snapshot);
    wire_u32(out, table.count);
    for (uint32_t i = 0; i < table.count; i++)
        wire_fixed(out, table.digest[i].byte, HASH_BYTES);
    wire_u32(out, anchor->leaf_count);
    size_t root_at = out->len;
    wire_fixed(out, root.byte, HASH_BYTES); /* known when the leaves are written */
    TRY(write_leaves(anchor, &table, out, &root, err));
    TRY(buffer_check(out, "anchor", err));
    memcpy(out->data + root_at, root.byte, HASH_BYTES);
    wire_u16(out, (uint16_t)slot_bytes);
    wire_fixed(out, slots.data, slots.len);
    return buffer_check(out, "anchor", err);
}
