/*
 * The Merkle tree over the map's runs, in memory: 64 shards by the first six bits of a key, each a whole
 * binary tree whose lowest nodes, the buckets, stand for about eight records; what is below a bucket is
 * computed from the runs. It tells two states: after the last renewal and before it. Inside the map only;
 * not safe for threads, the map locks.
 *
 * A renewal is computed beside the tree (map_step_new) and put in quickly (map_tree_apply), so that proofs
 * are given meanwhile. A shard gets twice as many buckets when the map has grown; each at another moment,
 * so that no renewal has to do it for all of them.
 */
#ifndef LEDGER_STORE_MAP_TREE_H
#define LEDGER_STORE_MAP_TREE_H

#include "ledger/store/map_run.h"

enum { MAP_SHARDS = 64, MAP_SHARDS_DEPTH = 6 };

struct map_tree;
struct map_tree *map_tree_new(void);
void map_tree_free(struct map_tree *tree);

/* What the newest run changes; all runs, the oldest first. The tree is only read. */
struct map_step;
struct map_step *map_step_new(const struct map_tree *tree, struct map_run *const *runs,
                              size_t count);
void map_tree_apply(struct map_tree *tree, struct map_step *step); /* takes it over */
/* The tree over these runs; there is no state before it. */
void map_tree_load(struct map_tree *tree, struct map_run *const *runs, size_t count);

struct map_node map_tree_root(const struct map_tree *tree);
/* A proof by the runs of that state: all of them, or, before the last renewal, all but the newest.
 * ret_slot: what stands at its end, where some is set. */
void map_tree_prove(const struct map_tree *tree, bool before, struct map_run *const *runs,
                    size_t count, const struct hash *key, struct map_proof *ret_proof,
                    const struct map_slot **ret_slot);

#endif
