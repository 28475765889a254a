/* One node's chain from inside: what application.c writes and chain.c reads. For these two only. */
#ifndef LEDGER_CHAIN_INSIDE_H
#define LEDGER_CHAIN_INSIDE_H

#include "ledger/application.h"
#include "ledger/chain_map.h"

struct tentative {
    struct block_header header;
    struct hash hash;
    struct buffer block;
    struct block_tree *tree; /* of its transactions, as their execution found them */
};

struct chain {
    const struct genesis *genesis;
    struct store *store;
    struct state *state;
    struct chain_map *map;
    struct block_header head;
    struct hash head_hash;
    struct block_tree *head_tree; /* NULL: the head was not executed since the start */
    struct block_header epoch_base;
    struct buffer certificate;
    struct tentative *tentative[STATE_LAYERS_MAX];
    bool finalized; /* the lowest tentative block is the one that was decided */
    uint32_t turn;  /* the submitter with whom the next block that is made here begins, or one after */
};


/* The height up to which there are tentative blocks; that block itself, NULL where there is none. */
uint64_t chain__top_height(const struct chain *chain);
struct tentative *chain__tentative_at(const struct chain *chain, uint64_t height);
/* The lists of members as far as the stored state goes. */
MUST_CHECK enum error_code chain__open_epochs(struct chain *chain, struct epochs *epochs,
                                              struct error *err);
/* For the map, when it lacks leaves. */
MUST_CHECK enum error_code chain__read_changes(void *context, uint64_t first, size_t count,
                                               struct map_change *ret_changes,
                                               struct error *err);

#endif
