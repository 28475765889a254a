/*
 * The map on disk and in memory: which leaf is the latest of each record, and the sparse Merkle tree
 * over that (ledger/merkle/map.h), renewed at checkpoints in sorted batches. It is the only index of
 * records that a node has.
 *
 * Owns: the folder map/. May use: base, ledger/merkle. Refuses: to know blocks; it is given leaves in
 * the order of the log, and everything in it can be made again from them.
 *
 * It is kept as a log-structured tree: each renewal gives a sorted run in memory, runs that the state
 * on disk has reached are written to immutable files, and a run is merged with what came after it when
 * that is larger, so that a record is written a logarithmic number of times, always in sequence, and is
 * found by asking a few runs. A new file is durable before those that it replaces go.
 *
 * Renewals run on one thread of the map's own and merges on another; records are found and proofs are
 * given meanwhile, the latter of the state after the last renewal or the one before it.
 */
#ifndef LEDGER_STORE_MAP_H
#define LEDGER_STORE_MAP_H

#include "ledger/merkle/map.h"
#include "ledger/store/map_run.h"

enum { MAP_WRITE_RECORDS = 1 << 15 }; /* in memory, that the state on disk has, before a file is due */

/* A record's new version. */
struct map_change {
    struct hash key; /* map_key of its locator */
    struct map_value value;
    uint8_t operation;
    uint32_t submitter;
};

struct map_settings {
    const char *folder; /* made where it is missing */
    struct hash chain;
    size_t write_records; /* 0: MAP_WRITE_RECORDS */
    /* The height up to which blocks and state outlive a loss of power. On any thread. */
    uint64_t (*durable)(void *context);
    void *context;
};

struct map;
/* Runs that are damaged or of another chain are left out, with all that follow them: map_position
 * says so. */
MUST_CHECK enum error_code map_open(const struct map_settings *settings, struct map **ret_map,
                                    struct error *err);
void map_close(struct map *map); /* waits for the renewal and the merges that are due */
/* The map has all leaves of the log below this number, and none after. */
uint64_t map_position(const struct map *map);
/* Forgets everything, the files too. */
MUST_CHECK enum error_code map_reset(struct map *map, struct error *err);

/* Begins a renewal: changes are all of the log from the last renewal's size (after map_open from
 * map_position) up to log_size, in the log's order; one for each record is enough. They are borrowed
 * until map_root or the next map_renew returns. Nothing of it is written before the durable height
 * reaches `needs`. Waits for the renewal before it. */
void map_renew(struct map *map, const struct map_change *changes, size_t count,
               uint64_t log_size, uint64_t needs);
/* The root after the last renewal, which is waited for. */
MUST_CHECK enum error_code map_root(struct map *map, struct hash *ret_root, struct error *err);

/* What the last renewal that has ended, or an earlier one, says of a record. */
bool map_find(struct map *map, const struct hash *key, struct map_record *ret_record);

/* A proof as of the last renewal or the one before it, whichever had this log_size; what stands at
 * its end is given by its number in the log, and value is not filled in. ERROR_NOT_FOUND for any
 * other log_size. */
MUST_CHECK enum error_code map_prove(struct map *map, uint64_t log_size, const struct hash *key,
                                     struct map_proof *ret_proof, uint64_t *ret_log_index,
                                     struct error *err);

#endif
