/*
 * The map on disk and in memory: which leaf is the latest of each record, and the sparse Merkle tree
 * over that (ledger/merkle/map.h), renewed at checkpoints in sorted batches.
 *
 * Owns: the folder map/. May use: base, ledger/merkle. Refuses: to know blocks; it is given leaves in
 * the order of the log, and everything in it can be made again from them.
 *
 * The keys' first byte chooses one of 256 parts. A part is an immutable file of sorted entries in
 * small buckets, and what came since, in memory. A renewal touches the buckets of the batch and the
 * paths above them only. When much has come since, the parts that have most of it are written anew,
 * each to a file that is synced and renamed, so a crash leaves the old one or the new one.
 *
 * Renewals run on a thread of the map's own; proofs are given meanwhile, of the state after the last
 * renewal or the one before it.
 */
#ifndef LEDGER_STORE_MAP_H
#define LEDGER_STORE_MAP_H

#include "ledger/merkle/map.h"

enum {
    MAP_FRESH_MIN = 1 << 16, /* records in memory before parts are written anew: an eighth of all, */
    MAP_FRESH_MAX = 1 << 20, /* and between these */
};

/* A record's new version. */
struct map_change {
    uint8_t locator[16];
    struct map_value value;
};

struct map_settings {
    const char *folder; /* made where it is missing */
    struct hash chain;
    /* Called before a part is written: all blocks that the chain has now become durable. On the
     * map's thread. */
    MUST_CHECK enum error_code (*sync)(void *context, struct error *err);
    void *context;
};

struct map;
/* Parts that are damaged or of another chain are left out: map_position says so. */
MUST_CHECK enum error_code map_open(const struct map_settings *settings, struct map **ret_map,
                                    struct error *err);
void map_close(struct map *map); /* waits for the renewal under way */
/* The map has all leaves of the log below this number, and may have later ones. */
uint64_t map_position(const struct map *map);
/* Forgets everything, the files too. */
MUST_CHECK enum error_code map_reset(struct map *map, struct error *err);

/* Begins a renewal: changes, which the map takes over and frees, are all of the log from the last
 * renewal's size (after map_open from map_position) up to log_size, in the log's order; one for each
 * record is enough. Waits for the one before it. */
void map_renew(struct map *map, struct map_change *changes, size_t count, uint64_t log_size);
/* The root after the last renewal, which is waited for. */
MUST_CHECK enum error_code map_root(struct map *map, struct hash *ret_root, struct error *err);
/* Records in it. */
uint64_t map_count(const struct map *map);

/* A proof as of the last renewal or the one before it, whichever had this log_size; what stands at
 * its end is given by its number in the log, and value is not filled in. ERROR_NOT_FOUND for any
 * other log_size. */
MUST_CHECK enum error_code map_prove(struct map *map, uint64_t log_size, const struct hash *key,
                                     struct map_proof *ret_proof, uint64_t *ret_log_index,
                                     struct error *err);

#endif
