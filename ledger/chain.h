/*
 * The chain of one node: store and state joined. This is its reading side, which answers questions about
 * what is committed and what is executed; it is opened and written to by ledger/application.h.
 *
 * Owns: the store, the state and the tentative blocks. Refuses: sockets, votes, clocks.
 */
#ifndef LEDGER_CHAIN_H
#define LEDGER_CHAIN_H

#include "ledger/block.h"
#include "ledger/block_tree.h"
#include "ledger/genesis.h"
#include "ledger/pool.h"
#include "ledger/merkle/map.h"
#include "ledger/state/state.h"
#include "ledger/store/store.h"

struct chain;
/* The members in force; borrowed until the next commit. */
const struct members *chain_members(const struct chain *chain);
/* Those of an epoch that evidence may speak of; NULL of others. */
const struct members *chain_members_of(const struct chain *chain, uint64_t epoch);
/* The block before the first one of this epoch. */
const struct block_header *chain_epoch_base(const struct chain *chain);
/* The epochs from `first` on that have ended: last block's header, u32 bytes certificate, u32 bytes of
 * the list that it gave way to, each; as many as fit into about bytes_max. */
MUST_CHECK enum error_code chain_epochs(struct chain *chain, uint64_t first, size_t bytes_max,
                                        struct buffer *out, uint32_t *ret_count,
                                        struct error *err);
uint64_t chain_height(const struct chain *chain); /* committed */
const struct block_header *chain_head(const struct chain *chain);
struct hash chain_head_hash(const struct chain *chain);
struct bytes chain_head_certificate(const struct chain *chain);
/* Of the head's transactions; NULL where the head was not executed since the start. Borrowed until the
 * next commit. */
const struct block_tree *chain_head_tree(const struct chain *chain);
struct store *chain_store(struct chain *chain);

/* The height up to which tentative blocks are executed. */
uint64_t chain_tentative(const struct chain *chain);
/* NULL data where no tentative block of this height and hash is executed. */
struct bytes chain_tentative_block(const struct chain *chain, uint64_t height,
                                   const struct hash *hash);

/* A block that is executed, tentatively or for good: all in it was checked. NULL data where there is
 * none of this height and hash; ret_stored holds its bytes where they come from the disk. */
struct bytes chain_executed_block(struct chain *chain, uint64_t height, const struct hash *hash,
                                  struct buffer *ret_stored);

/* A tentative block by its height, which must be one. */
struct bytes chain_tentative_at(const struct chain *chain, uint64_t height);

/* True where the pool has a transaction that could stand in the next block. */
bool chain_has_work(struct chain *chain, const struct pool *pool);

/* Where the committed chain has a transaction; found is false where it has not. */
MUST_CHECK enum error_code chain_find(struct chain *chain, const struct hash *id,
                                      struct state_place *ret_place, bool *ret_found,
                                      struct error *err);
/* As committed; of who never submitted, as if from the start. */
MUST_CHECK enum error_code chain_submitter(struct chain *chain, const uint8_t *submitter,
                                           struct state_submitter *ret_submitter,
                                           struct error *err);
/* The highest checkpoint of another chain. */
MUST_CHECK enum error_code chain_checkpoint(struct chain *chain, const struct hash *other,
                                            struct state_checkpoint *ret_checkpoint,
                                            bool *ret_found, struct error *err);
MUST_CHECK enum error_code chain_latest(struct chain *chain, const struct locator *locator,
                                        struct state_record *ret_record, bool *ret_found,
                                        struct error *err);

/* One version of a record, read back from its block. */
struct chain_version {
    struct leaf leaf;
    struct leaf_place place;
    uint64_t log_index;
    uint64_t block_time_ms;
    struct hash transaction;
    struct merkle_path path; /* to the head's log root */
};
/* A proof for the head's map root of what it says of a record. */
MUST_CHECK enum error_code chain_prove(struct chain *chain, const struct locator *locator,
                                       struct map_proof *ret_proof, struct error *err);
/* True where the head's map root does not speak of the whole log yet: further blocks help. */
bool chain_map_is_behind(const struct chain *chain);
MUST_CHECK enum error_code chain_version(struct chain *chain, uint64_t log_index,
                                         struct chain_version *ret_version, struct error *err);

#endif
