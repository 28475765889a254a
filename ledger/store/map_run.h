/*
 * A run of the map: for each record that leaves [first, end) of the log speak of, the latest of these
 * leaves, sorted by the record's key. Immutable; in memory, or in a file that is mapped. Inside the map
 * only; counted references, which are safe for threads.
 *
 * The file map/<first>-<end>, both as 16 hexadecimal digits:
 *   magic "RRUN" (4), format 1 (1), bits b (1), zero (2), chain id (32), first (8), end (8), number of
 *   records (8), CRC-32C over these 64 bytes and the table (4), zero (4)
 *   table: for each of 2^b buckets (the first b bits of a key): the number of records up to its end (4)
 *   records, ascending by key: key (32), hash of the map's leaf (32), log number (8), version (4),
 *   operation (1), submitter (4)
 */
#ifndef LEDGER_STORE_MAP_RUN_H
#define LEDGER_STORE_MAP_RUN_H

#include <limits.h>

#include "ledger/merkle/map.h"

enum {
    MAP_RUN_NAME_BYTES = 16 + 1 + 16 + 1,
    MAP_RUNS_MAX = 128, /* at once: they grow geometrically, so that a few dozen hold any chain */
};

/* What a run says of a record. */
struct map_record {
    struct hash key;
    struct hash hash; /* of the map's leaf */
    uint64_t log_index;
    uint32_t version;
    uint8_t operation;
    uint32_t submitter;
};

struct map_run;
/* A record as it stands in a run. */
struct map_slot {
    uint8_t key[HASH_BYTES];
    uint8_t hash[HASH_BYTES];
    uint8_t log_index[8];
    uint8_t version[4];
    uint8_t operation;
    uint8_t submitter[4];
};
_Static_assert(sizeof(struct map_slot) == 81, "laid out as in the file");
void map_slot_encode(const struct map_record *record, struct map_slot *ret_slot);
void map_slot_decode(const struct map_slot *slot, struct map_record *ret_record);

/* Takes over slots (from malloc), which ascend by key, no key twice. */
struct map_run *map_run_new(struct map_slot *slots, size_t count, uint64_t first, uint64_t end);
/* ERROR_CORRUPT where the file is damaged or of another chain. */
MUST_CHECK enum error_code map_run_open(const char *folder, uint64_t first, uint64_t end,
                                        const struct hash *chain, struct map_run **ret_run,
                                        struct error *err);
/* One run of several that follow one another: in a file that is durable when this returns, or, where
 * folder is NULL, in memory. */
MUST_CHECK enum error_code map_run_merge(struct map_run *const *runs, size_t count,
                                         const char *folder, const struct hash *chain,
                                         struct map_run **ret_run, struct error *err);
struct map_run *map_run_hold(struct map_run *run);
void map_run_free(struct map_run *run); /* drops one reference; NULL is none */

uint64_t map_run_first(const struct map_run *run);
uint64_t map_run_end(const struct map_run *run);
size_t map_run_count(const struct map_run *run);
bool map_run_in_file(const struct map_run *run);
const struct map_slot *map_run_slots(const struct map_run *run);

/* NULL where the run does not speak of the record. */
const struct map_slot *map_run_find(const struct map_run *run, const struct hash *key);
/* The first slot whose key begins with these 32 bits or more. */
size_t map_run_lower(const struct map_run *run, uint32_t prefix);

void map_run_name(uint64_t first, uint64_t end, char ret_name[MAP_RUN_NAME_BYTES]);

static inline uint32_t map_prefix(const uint8_t *key) {
    return wire_load_u32(key);
}

#endif
