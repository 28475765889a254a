/*
 * A walk over a chain's blocks from the genesis on, that believes nothing else: every block follows the
 * one before, Q validators of its epoch certified it, its entries and leaves give its roots, and each
 * list of members comes from the block that ended the epoch before. For checks and backups.
 *
 * Pure: blocks are handed in. Does not know the state, so the map's roots are not its to judge.
 */
#ifndef LEDGER_WALK_H
#define LEDGER_WALK_H

#include "ledger/block.h"
#include "ledger/genesis.h"
#include "ledger/members.h"
#include "ledger/merkle/merkle.h"
#include "ledger/state/state.h"

/* A leaf of the log, and where it stands. */
struct walk_leaf {
    const struct leaf *leaf;
    struct hash hash;
    uint64_t log_index;
    struct leaf_place place; /* but for the version before */
};
/* Told of the log's complete subtrees and leaves; both may be NULL. */
struct walk_sink {
    void (*node)(void *self, unsigned level, uint64_t index, const struct hash *hash);
    void (*leaf)(void *self, const struct walk_leaf *leaf);
    void *self;
};

struct walk;
/* sink may be NULL. Ends the process where memory runs out. */
struct walk *walk_new(const struct genesis *genesis, const struct walk_sink *sink);
void walk_free(struct walk *walk);

/* The next block. ERROR_CORRUPT: what of it is not as it must be. */
MUST_CHECK enum error_code walk_block(struct walk *walk, struct bytes block,
                                      struct bytes certificate, struct error *err);

/* Of the last block; the genesis' own before the first. */
const struct block_header *walk_head(const struct walk *walk);
struct hash walk_head_hash(const struct walk *walk);
/* The list in force after it; borrowed until the next block. */
const struct members *walk_members(const struct walk *walk);

#endif
