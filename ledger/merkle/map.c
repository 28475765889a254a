#include "ledger/merkle/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char key_domain[] = "renkei/map/1\n";

enum { LOCATOR_BYTES_HERE = 16, BATCH = 64 };

struct hash map_key(const uint8_t locator[16]) {
    struct bytes parts[] = {bytes_of(key_domain, sizeof key_domain - 1),
                            bytes_of(locator, LOCATOR_BYTES_HERE)};
    return sha256_of_parts(parts, 2);
}

void map_keys(const uint8_t *locators, size_t stride, size_t count, struct hash *ret_keys) {
    struct sha256_message messages[BATCH];
    for (size_t at = 0; at < count; at += BATCH) {
        size_t some = count - at < BATCH ? count - at : (size_t)BATCH;
        for (size_t i = 0; i < some; i++)
            messages[i] = (struct sha256_message){
                bytes_of(key_domain, sizeof key_domain - 1),
                bytes_of(locators + (at + i) * stride, LOCATOR_BYTES_HERE)};
        sha256_many(messages, some, ret_keys + at);
    }
}

void map_leaf_set(struct map_leaf *leaf, const struct hash *key, const struct map_value *value) {
    leaf->key = *key;
    wire_store_u32(leaf->value, value->version);
    wire_store_u64(leaf->value + 4, value->log_index);
    memcpy(leaf->value + 12, value->leaf.byte, HASH_BYTES);
}

void map_leaf_hashes(const struct map_leaf *leaves, size_t count, struct hash *ret_hashes) {
    static const uint8_t prefix = 0x00;
    struct sha256_message messages[BATCH];
    for (size_t at = 0; at < count; at += BATCH) {
        size_t some = count - at < BATCH ? count - at : (size_t)BATCH;
        for (size_t i = 0; i < some; i++)
            messages[i] = (struct sha256_message){bytes_of(&prefix, 1),
                                                  bytes_of(&leaves[at + i], sizeof leaves[0])};
        sha256_many(messages, some, ret_hashes + at);
    }
}
_Static_assert(sizeof(struct map_leaf) == HASH_BYTES + MAP_VALUE_BYTES, "hashed as it stands");

struct hash map_leaf_hash(const struct hash *key, const struct map_value *value) {
    struct map_leaf leaf;
    struct hash hash;
    map_leaf_set(&leaf, key, value);
    map_leaf_hashes(&leaf, 1, &hash);
    return hash;
}

static struct hash inner_hash(const struct hash *left, const struct hash *right) {
    uint8_t raw[1 + 2 * HASH_BYTES];
    raw[0] = 0x01;
    memcpy(raw + 1, left->byte, HASH_BYTES);
    memcpy(raw + 1 + HASH_BYTES, right->byte, HASH_BYTES);
    return sha256_of(bytes_of(raw, sizeof raw));
}

struct map_node map_join(const struct map_node *left, const struct map_node *right) {
    if (left->kind == MAP_EMPTY && right->kind != MAP_INNER)
        return *right;
    if (right->kind == MAP_EMPTY && left->kind != MAP_INNER)
        return *left;
    return (struct map_node){inner_hash(&left->hash, &right->hash), MAP_INNER};
}

void map_join_many(const struct map_node *children, size_t count, struct map_node *ret_nodes) {
    static const uint8_t prefix = 0x01;
    struct hash pairs[BATCH][2];
    struct sha256_message messages[BATCH];
    struct hash hashes[BATCH];
    size_t owner[BATCH];
    size_t waiting = 0;
    for (size_t i = 0; i < count; i++) {
        const struct map_node *left = &children[2 * i];
        const struct map_node *right = &children[2 * i + 1];
        bool inner = (left->kind != MAP_EMPTY || right->kind == MAP_INNER) &&
                     (right->kind != MAP_EMPTY || left->kind == MAP_INNER);
        if (!inner) {
            ret_nodes[i] = map_join(left, right);
        } else {
            pairs[waiting][0] = left->hash;
            pairs[waiting][1] = right->hash;
            messages[waiting] = (struct sha256_message){
                bytes_of(&prefix, 1), bytes_of(pairs[waiting], sizeof pairs[waiting])};
            owner[waiting++] = i;
        }
        if (waiting < BATCH && i + 1 < count)
            continue;
        sha256_many(messages, waiting, hashes);
        for (size_t j = 0; j < waiting; j++)
            ret_nodes[owner[j]] = (struct map_node){hashes[j], MAP_INNER};
        waiting = 0;
    }
}

bool map_bit(const struct hash *key, unsigned depth) {
    return (key->byte[depth / 8] >> (7 - depth % 8) & 1) != 0;
}

/* How many of the entries have a zero at this depth: they come first. */
static size_t split(const struct map_entry *entries, size_t count, unsigned depth) {
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map_bit(&entries[middle].key, depth))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct map_node map_subtree(const struct map_entry *entries, size_t count, unsigned depth) {
    struct map_node node;
    map_subtrees(entries, &count, 1, depth, &node);
    return node;
}

/* Inner nodes that are to be hashed, each after those below it. */
struct plan {
    const struct map_entry *entries;
    size_t entry_count; /* hash number i is that of entry i; then a zero one; then those of nodes */
    struct plan_node {
        size_t left, right; /* numbers of hashes */
        unsigned height;    /* above entries */
        struct hash hash;
    } *nodes;
    size_t count;
    size_t capacity;
};

static const struct hash *plan_hash(const struct plan *p, size_t number) {
    static const struct hash zero;
    if (number < p->entry_count)
        return &p->entries[number].hash;
    return number == p->entry_count ? &zero : &p->nodes[number - p->entry_count - 1].hash;
}

static unsigned plan_height(const struct plan *p, size_t number) {
    return number <= p->entry_count ? 0 : p->nodes[number - p->entry_count - 1].height;
}

/* The number of the hash of the entries [first, first + count). */
static size_t plan_subtree(struct plan *p, size_t first, size_t count, unsigned depth) {
    if (count <= 1)
        return count == 1 ? first : p->entry_count;
    assert(depth < MAP_DEPTH_MAX); /* two entries would have one key */
    size_t left_count = split(p->entries + first, count, depth);
    size_t left = plan_subtree(p, first, left_count, depth + 1);
    size_t right = plan_subtree(p, first + left_count, count - left_count, depth + 1);
    if (p->count == p->capacity) {
        p->capacity = p->capacity < BATCH ? BATCH : 2 * p->capacity;
        p->nodes = realloc(p->nodes, p->capacity * sizeof *p->nodes);
        if (p->nodes == NULL)
            abort(); /* a validator without its root is worse than one that stops */
    }
    unsigned a = plan_height(p, left);
    unsigned b = plan_height(p, right);
    p->nodes[p->count] = (struct plan_node){left, right, 1 + (a > b ? a : b), {{0}}};
    return p->entry_count + 1 + p->count++;
}

/* Some nodes of one height, up to BATCH of them. */
static void hash_nodes(struct plan *p, struct plan_node *const *nodes, size_t count) {
    static const uint8_t prefix = 0x01;
    struct hash pairs[BATCH][2];
    struct sha256_message messages[BATCH] = {{{0}, {0}}};
    struct hash hashes[BATCH];
    for (size_t i = 0; i < count; i++) {
        pairs[i][0] = *plan_hash(p, nodes[i]->left);
        pairs[i][1] = *plan_hash(p, nodes[i]->right);
        messages[i] =
            (struct sha256_message){bytes_of(&prefix, 1), bytes_of(pairs[i], sizeof pairs[i])};
    }
    sha256_many(messages, count, hashes);
    for (size_t i = 0; i < count; i++)
        nodes[i]->hash = hashes[i];
}

static void run_plan(struct plan *p) {
    size_t left = p->count;
    for (unsigned height = 1; left > 0; height++) {
        struct plan_node *some[BATCH];
        size_t count = 0;
        for (size_t i = 0; i < p->count; i++) {
            if (p->nodes[i].height == height)
                some[count++] = &p->nodes[i];
            if (count < BATCH && i + 1 < p->count)
                continue;
            hash_nodes(p, some, count);
            left -= count;
            count = 0;
        }
    }
}

void map_subtrees(const struct map_entry *entries, const size_t *ends, size_t count,
                  unsigned depth, struct map_node *ret_nodes) {
    struct plan p = {.entries = entries, .entry_count = count > 0 ? ends[count - 1] : 0};
    SCOPED_FREE size_t *roots = calloc(count + 1, sizeof *roots);
    if (roots == NULL)
        abort();
    for (size_t i = 0; i < count; i++) {
        size_t first = i > 0 ? ends[i - 1] : 0;
        roots[i] = plan_subtree(&p, first, ends[i] - first, depth);
    }
    run_plan(&p);
    for (size_t i = 0; i < count; i++) {
        size_t records = ends[i] - (i > 0 ? ends[i - 1] : 0);
        ret_nodes[i].hash = *plan_hash(&p, roots[i]);
        ret_nodes[i].kind = records == 0 ? MAP_EMPTY : records == 1 ? MAP_LEAF : MAP_INNER;
    }
    free(p.nodes);
}

const struct map_entry *map_descend(const struct map_entry *entries, size_t count, unsigned depth,
                                    const struct hash *key, struct map_proof *proof) {
    while (count > 1) {
        assert(depth < MAP_DEPTH_MAX);
        size_t left = split(entries, count, depth);
        bool right = map_bit(key, depth);
        struct map_node other = right ? map_subtree(entries, left, depth + 1)
                                      : map_subtree(entries + left, count - left, depth + 1);
        proof->sibling[depth++] = other.hash;
        entries = right ? entries + left : entries;
        count = right ? count - left : left;
    }
    proof->depth = depth;
    return count == 1 ? entries : NULL;
}

enum map_answer map_verify(const struct map_proof *proof, const struct hash *key,
                           const struct hash *root) {
    if (proof->depth > MAP_DEPTH_MAX)
        return MAP_WRONG;
    struct hash hash = {{0}};
    if (proof->some)
        hash = map_leaf_hash(&proof->key, &proof->value);
    for (unsigned i = 0; proof->some && i < proof->depth; i++)
        if (map_bit(&proof->key, i) != map_bit(key, i))
            return MAP_WRONG; /* that leaf does not stand on the key's path */
    for (unsigned depth = proof->depth; depth > 0; depth--)
        hash = map_bit(key, depth - 1) ? inner_hash(&proof->sibling[depth - 1], &hash)
                                       : inner_hash(&hash, &proof->sibling[depth - 1]);
    if (!hash_equal(&hash, root))
        return MAP_WRONG;
    return proof->some && hash_equal(&proof->key, key) ? MAP_PRESENT : MAP_ABSENT;
}

void map_proof_encode(const struct map_proof *proof, struct buffer *out) {
    uint8_t bits[MAP_DEPTH_MAX / 8] = {0};
    assert(proof->depth <= MAP_DEPTH_MAX);
    for (unsigned i = 0; i < proof->depth; i++)
        if (!hash_is_zero(&proof->sibling[i]))
            bits[i / 8] |= (uint8_t)(0x80 >> i % 8);
    wire_u16(out, (uint16_t)proof->depth);
    wire_fixed(out, bits, (proof->depth + 7) / 8);
    for (unsigned i = 0; i < proof->depth; i++)
        if (!hash_is_zero(&proof->sibling[i]))
            wire_fixed(out, proof->sibling[i].byte, HASH_BYTES);
    wire_u8(out, proof->some ? 1 : 0);
    if (!proof->some)
        return;
    wire_fixed(out, proof->key.byte, HASH_BYTES);
    wire_u32(out, proof->value.version);
    wire_u64(out, proof->value.log_index);
    wire_fixed(out, proof->value.leaf.byte, HASH_BYTES);
}

void map_proof_decode(struct wire_reader *r, struct map_proof *ret_proof) {
    uint8_t bits[MAP_DEPTH_MAX / 8] = {0};
    memset(ret_proof, 0, sizeof *ret_proof);
    uint32_t depth = wire_read_u16(r);
    if (depth > MAP_DEPTH_MAX) {
        r->failed = true;
        return;
    }
    ret_proof->depth = depth;
    wire_read_fixed(r, bits, (depth + 7) / 8);
    for (unsigned i = 0; i < (depth + 7) / 8 * 8; i++) {
        bool some = (bits[i / 8] & 0x80 >> i % 8) != 0;
        if (some && i >= depth)
            r->failed = true;
        else if (some) {
            wire_read_fixed(r, ret_proof->sibling[i].byte, HASH_BYTES);
            if (hash_is_zero(&ret_proof->sibling[i]))
                r->failed = true; /* there is one way to write a proof */
        }
    }
    uint8_t some = wire_read_u8(r);
    ret_proof->some = some == 1;
    if (some > 1)
        r->failed = true;
    if (!ret_proof->some)
        return;
    wire_read_fixed(r, ret_proof->key.byte, HASH_BYTES);
    ret_proof->value.version = wire_read_u32(r);
    ret_proof->value.log_index = wire_read_u64(r);
    wire_read_fixed(r, ret_proof->value.leaf.byte, HASH_BYTES);
}
