/*
 * One of the map's 256 parts: the records whose keys begin with one byte. Inside the map only; not
 * safe for threads, the map locks.
 *
 * The file map/<two hexadecimal digits>:
 *   magic "RMAP" (4), format 1 (1), part (1), bits b (1), zero (1), chain id (32), log size (8),
 *   number of entries (8), CRC-32C over these 56 bytes and the table (4), zero (4)
 *   table: 2^b buckets, each: number of entries up to its end (4), kind of its node (1), its hash (32)
 *   entries, ascending by key: key (32), log index (8), hash of the map's leaf (32)
 *
 * Bucket k holds the keys whose b bits after the first eight are k.
 */
#ifndef LEDGER_STORE_MAP_PART_H
#define LEDGER_STORE_MAP_PART_H

#include "ledger/merkle/map.h"

enum { MAP_PARTS = 256 };

struct map_part;
/* A missing or damaged file is an empty part at position 0. */
MUST_CHECK enum error_code map_part_open(const char *folder, unsigned number,
                                         const struct hash *chain, struct map_part **ret_part,
                                         struct error *err);
void map_part_free(struct map_part *part);
MUST_CHECK enum error_code map_part_remove(const char *folder, unsigned number,
                                           struct error *err);

uint64_t map_part_position(const struct map_part *part); /* log size that its file has */
uint64_t map_part_kept(const struct map_part *part);     /* entries in the file */
uint64_t map_part_fresh(const struct map_part *part);    /* entries since */

/* Entries of this part, ascending by key and log index. Those that the file has already are passed
 * over. */
void map_part_renew(struct map_part *part, const struct map_entry *entries, size_t count,
                    uint64_t log_size);
/* A new file of all that the part has; log_size: of the last renewal. */
MUST_CHECK enum error_code map_part_write(struct map_part *part, const char *folder,
                                          const struct hash *chain, uint64_t log_size,
                                          struct error *err);

/* True where the part can still tell its state at this log size. */
bool map_part_reaches(const struct map_part *part, uint64_t log_size);
/* A node by its number: 1 is the part's root, 2 n and 2 n + 1 are the children of n. */
struct map_node map_part_node(const struct map_part *part, uint32_t number, uint64_t log_size);
/* The proof's siblings from the part's root down; false where nothing stands at the end. */
bool map_part_descend(const struct map_part *part, uint64_t log_size, const struct hash *key,
                      struct map_proof *proof, struct map_entry *ret_entry);
/* The only entry below a node that is a leaf. */
bool map_part_only(const struct map_part *part, uint32_t number, uint64_t log_size,
                   struct map_entry *ret_entry);

#endif
