#include "ledger/block_tree.h"

#include <assert.h>
#include <stdlib.h>

#include "base/array.h"

struct block_tree {
    uint32_t count;
    struct hash root;
    size_t first[MERKLE_LEVELS_MAX]; /* where a level's nodes begin */
    struct hash node[];              /* of complete subtrees, level by level, leaves first */
};

static void keep(void *self, unsigned level, uint64_t index, const struct hash *hash) {
    struct block_tree *tree = self;
    assert(index < tree->count >> level);
    tree->node[tree->first[level] + index] = *hash;
}

static bool read_node(void *self, unsigned level, uint64_t index, struct hash *ret_hash) {
    const struct block_tree *tree = self;
    if (level >= MERKLE_LEVELS_MAX || index >= tree->count >> level)
        return false;
    *ret_hash = tree->node[tree->first[level] + index];
    return true;
}

struct block_tree *block_tree_new(const struct hash *leaves, uint32_t count) {
    assert(count <= BLOCK_TRANSACTIONS_MAX);
    struct block_tree *tree = array_new(1, sizeof *tree + 2 * (size_t)count * sizeof *tree->node);
    _Static_assert(sizeof *tree + 2 * BLOCK_TRANSACTIONS_MAX * HASH_BYTES <= BLOCK_TREE_BYTES_MAX,
                   "the largest tree keeps to its maximum");
    tree->count = count;
    for (unsigned level = 1; count >> level > 0; level++)
        tree->first[level] = tree->first[level - 1] + (count >> (level - 1));
    struct merkle_frontier frontier;
    struct merkle_sink sink = {keep, tree};
    merkle_frontier_init(&frontier);
    merkle_append_many(&frontier, leaves, count, &sink);
    tree->root = merkle_root(&frontier);
    return tree;
}

void block_tree_free(struct block_tree *tree) {
    free(tree);
}

uint32_t block_tree_count(const struct block_tree *tree) {
    return tree->count;
}

struct hash block_tree_root(const struct block_tree *tree) {
    return tree->root;
}

void block_tree_path(const struct block_tree *tree, uint32_t index, struct merkle_path *ret_path) {
    /* The reader's context is not written to. */
    struct merkle_reader reader = {read_node, (void *)(uintptr_t)tree};
    bool made = merkle_inclusion(&reader, index, tree->count, ret_path);
    assert(made);
}
