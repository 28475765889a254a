/*
 * The map's tree: a sparse Merkle tree over records' keys, in which a subtree that holds one record
 * only is that record's hash, so that a path is as long as the tree is deep there (about the binary
 * logarithm of the number of records). It proves what a key's latest version is, or that there is
 * none. Byte layouts: docs/formats.md.
 *
 * Owns: hashes, shapes, proofs and their verification. May use: base. Refuses: to store anything.
 */
#ifndef LEDGER_MERKLE_MAP_H
#define LEDGER_MERKLE_MAP_H

#include "base/hash.h"
#include "base/wire.h"

enum {
    MAP_VALUE_BYTES = 4 + 8 + HASH_BYTES,
    MAP_DEPTH_MAX = 256,
    MAP_PROOF_BYTES_MAX = 2 + MAP_DEPTH_MAX / 8 + MAP_DEPTH_MAX * HASH_BYTES + 1 + HASH_BYTES +
                          MAP_VALUE_BYTES,
};

/* What the map says of a record. */
struct map_value {
    uint32_t version;
    uint64_t log_index; /* of the latest leaf, in the log */
    struct hash leaf;   /* its hash */
};

/* SHA-256("renkei/map/1\n" || locator): spreads the records evenly, whoever chose the locators. */
struct hash map_key(const uint8_t locator[16]);
/* Many at once, which is quicker: the locators stand `stride` bytes apart. */
void map_keys(const uint8_t *locators, size_t stride, size_t count, struct hash *ret_keys);
/* SHA-256(0x00 || key || version || log index || leaf hash) */
struct hash map_leaf_hash(const struct hash *key, const struct map_value *value);
/* Many at once, which is quicker. */
struct map_leaf {
    struct hash key;
    uint8_t value[MAP_VALUE_BYTES];
};
void map_leaf_set(struct map_leaf *leaf, const struct hash *key, const struct map_value *value);
void map_leaf_hashes(const struct map_leaf *leaves, size_t count, struct hash *ret_hashes);

/* A subtree's hash: zero where it is empty, the leaf's where it holds one, else
 * SHA-256(0x01 || left || right). */
enum map_kind { MAP_EMPTY = 0, MAP_LEAF = 1, MAP_INNER = 2 };
struct map_node {
    struct hash hash;
    enum map_kind kind;
};
struct map_node map_join(const struct map_node *left, const struct map_node *right);
/* ret_nodes[i] of children[2 i] and children[2 i + 1]. */
void map_join_many(const struct map_node *children, size_t count, struct map_node *ret_nodes);
bool map_bit(const struct hash *key, unsigned depth);

/* Ascending by key, no key twice. */
struct map_entry {
    struct hash key;
    struct hash hash; /* of the map's leaf */
    uint64_t log_index;
};
/* The subtree of entries that all agree in their first `depth` bits. */
struct map_node map_subtree(const struct map_entry *entries, size_t count, unsigned depth);
/* Many of them, which is quicker: ends[i] is the number of entries up to the end of subtree i. */
void map_subtrees(const struct map_entry *entries, const size_t *ends, size_t count,
                  unsigned depth, struct map_node *ret_nodes);

/* What stands at the end of a key's path: nothing, or one leaf, the key's own or another's. */
struct map_proof {
    uint32_t depth;
    struct hash sibling[MAP_DEPTH_MAX]; /* from the root down; zero: empty */
    bool some;
    struct hash key;
    struct map_value value;
};
/* The part of a proof below `depth`: siblings from there down, and the entry at its end, NULL where
 * nothing stands there. */
const struct map_entry *map_descend(const struct map_entry *entries, size_t count, unsigned depth,
                                    const struct hash *key, struct map_proof *proof);

enum map_answer { MAP_WRONG, MAP_ABSENT, MAP_PRESENT };
MUST_CHECK enum map_answer map_verify(const struct map_proof *proof, const struct hash *key,
                                      const struct hash *root);

void map_proof_encode(const struct map_proof *proof, struct buffer *out);
/* Accepts what encode writes; a failure is the reader's. */
void map_proof_decode(struct wire_reader *r, struct map_proof *ret_proof);

#endif
