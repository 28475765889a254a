/*
 * The append-only Merkle tree of RFC 6962, section 2.1: a compact frontier that grows leaf by leaf,
 * roots, inclusion and consistency proofs, and their verification.
 *
 * Owns: hashes and shapes. May use: base. Refuses: to store anything; complete subtrees are handed
 * to a sink as they come into being and asked for through a reader when a proof is made.
 */
#ifndef LEDGER_MERKLE_H
#define LEDGER_MERKLE_H

#include "base/hash.h"

enum {
    MERKLE_LEVELS_MAX = 48, /* 2^47 leaves: more than a chain will ever hold */
    MERKLE_PATH_MAX = 2 * MERKLE_LEVELS_MAX,
};

/* SHA-256(0x00 || data) and SHA-256(0x01 || left || right). */
struct hash merkle_leaf_hash(struct bytes data);
struct hash merkle_node_hash(const struct hash *left, const struct hash *right);

/* peak[k] is the hash of a complete subtree of 2^k leaves where bit k of size is set; the subtree of
 * the highest set bit stands leftmost. */
struct merkle_frontier {
    uint64_t size;
    struct hash peak[MERKLE_LEVELS_MAX];
};

/* Told of every complete subtree, the leaf (level 0) included: index counts the subtrees of its
 * level from the left. */
struct merkle_sink {
    void (*node)(void *self, unsigned level, uint64_t index, const struct hash *hash);
    void *self;
};

void merkle_frontier_init(struct merkle_frontier *frontier);
/* sink may be NULL. */
void merkle_append(struct merkle_frontier *frontier, const struct hash *leaf_hash,
                   const struct merkle_sink *sink);
/* The same for several, which costs a third each. The sink is told level by level, each level from
 * the left. */
void merkle_append_many(struct merkle_frontier *frontier, const struct hash *leaf_hashes,
                        size_t count, const struct merkle_sink *sink);
/* SHA-256 of nothing for an empty tree. */
struct hash merkle_root(const struct merkle_frontier *frontier);
/* The root over count leaf hashes. */
struct hash merkle_root_of(const struct hash *leaves, size_t count);

/* Gives the hash of a complete subtree, of which the tree has one: false where it cannot be read. */
struct merkle_reader {
    bool (*node)(void *self, unsigned level, uint64_t index, struct hash *ret_hash);
    void *self;
};

struct merkle_path {
    uint32_t count;
    struct hash hash[MERKLE_PATH_MAX];
};

/* PATH(index, D[size]). False where index >= size or the reader fails. */
MUST_CHECK bool merkle_inclusion(const struct merkle_reader *reader, uint64_t index, uint64_t size,
                                 struct merkle_path *ret_path);
/* PROOF(old_size, D[size]), for 0 < old_size <= size. */
MUST_CHECK bool merkle_consistency(const struct merkle_reader *reader, uint64_t old_size,
                                   uint64_t size, struct merkle_path *ret_path);

/* The same proof over leaves in memory. */
MUST_CHECK bool merkle_inclusion_of(const struct hash *leaves, size_t count, size_t index,
                                    struct merkle_path *ret_path);

/* A path that is too long or too short does not verify. */
MUST_CHECK bool merkle_verify_inclusion(const struct hash *leaf_hash, uint64_t index, uint64_t size,
                                        const struct merkle_path *path, const struct hash *root);
MUST_CHECK bool merkle_verify_consistency(uint64_t old_size, const struct hash *old_root,
                                          uint64_t size, const struct hash *root,
                                          const struct merkle_path *path);

#endif
