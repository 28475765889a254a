/*
 * The map beside the chain: what is known of records, at which heights the map is renewed, which root a
 * header must carry, and what is proved by it. Inside the chain only.
 *
 * A record is found among the changes since the renewals, else in the map. The map's files never know
 * more than the state on disk and than its last header speaks of, so that blocks can be executed again
 * after a crash.
 *
 * A checkpoint is a block after which the map's root is renewed: every block that leaves the log as
 * it was at the last checkpoint (the root stays), else the first one that is at least a window above
 * the last checkpoint and has either CHAIN_MAP_LEAVES more leaves or a time CHAIN_MAP_MS later. The
 * header at height h carries the root of the last checkpoint at or below h minus the window: that
 * block is committed wherever h is executed, and everybody had time to renew.
 */
#ifndef LEDGER_CHAIN_MAP_H
#define LEDGER_CHAIN_MAP_H

#include "ledger/block.h"
#include "ledger/genesis.h"
#include "ledger/state/state.h"
#include "ledger/chain_recent.h"
#include "ledger/store/store.h"

enum {
    CHAIN_MAP_LEAVES = 1 << 18,
    CHAIN_MAP_MS = 2000,
    CHAIN_MAP_PIECE = 4096,
};

/* What the map needs of the chain. head: of the state on disk. */
struct chain_map_settings {
    const char *folder; /* the data folder */
    const struct genesis *genesis;
    struct store *store;
    struct block_header head;
    /* Leaves that the chain has, by the first one's number in the log; at most
     * CHAIN_MAP_PIECE of them. */
    MUST_CHECK enum error_code (*leaves)(void *context, uint64_t first, size_t count,
                                         struct map_change *ret_changes, struct error *err);
    void *context;
};

struct chain_map;
/* Brings the map and what is newer to the head's state from the blocks. ERROR_CORRUPT where its root
 * is not the head's, though it was made anew from all leaves. */
MUST_CHECK enum error_code chain_map_open(const struct chain_map_settings *settings,
                                          struct chain_map **ret_map, struct error *err);
void chain_map_close(struct chain_map *map);

/* The effects of the block that is committed next, then its header. */
void chain_map_add(struct chain_map *map, const struct state_change *change);
MUST_CHECK enum error_code chain_map_commit(struct chain_map *map,
                                            const struct block_header *header,
                                            struct error *err);

/* What the committed chain says of a record. */
MUST_CHECK enum error_code chain_map_record(struct chain_map *map, const struct hash *key,
                                            struct state_record *ret_record, bool *ret_found,
                                            struct error *err);

/* What the header at this height, at most a window above the head, must say. */
MUST_CHECK enum error_code chain_map_expected(struct chain_map *map, uint64_t height,
                                              uint64_t *ret_map_height, struct hash *ret_root,
                                              struct error *err);
/* True where the head's map root does not yet speak of all of its log. */
bool chain_map_lags(const struct chain_map *map);
/* A proof for the head's map root, and the number of the leaf at its end, where some is set; its
 * value is the caller's to fill in. */
MUST_CHECK enum error_code chain_map_prove(struct chain_map *map, const struct hash *key,
                                           struct map_proof *ret_proof, uint64_t *ret_log_index,
                                           struct error *err);

#endif
