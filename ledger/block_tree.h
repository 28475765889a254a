/*
 * The Merkle tree of a block's transactions with all its nodes: made when the block is executed, for its
 * root, and kept for the paths of the receipts, which every client that waits is given. Pure.
 */
#ifndef LEDGER_BLOCK_TREE_H
#define LEDGER_BLOCK_TREE_H

#include "ledger/block.h"
#include "ledger/merkle/merkle.h"

/* A leaf and the nodes above it are two hashes at most: no tree takes more. */
enum { BLOCK_TREE_BYTES_MAX = 2 * BLOCK_TRANSACTIONS_MAX * HASH_BYTES + 4096 };

struct block_tree;
/* Of the transactions' leaves, at most BLOCK_TRANSACTIONS_MAX, which are copied. Ends the process where
 * memory runs out. */
struct block_tree *block_tree_new(const struct hash *leaves, uint32_t count);
void block_tree_free(struct block_tree *tree);
uint32_t block_tree_count(const struct block_tree *tree);
/* The transaction root of the block's header. */
struct hash block_tree_root(const struct block_tree *tree);
/* From a leaf, whose index must be below the count, to the root. */
void block_tree_path(const struct block_tree *tree, uint32_t index, struct merkle_path *ret_path);

#endif
