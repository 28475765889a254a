/*
 * Proposals by digest: a block whose transactions are named instead of carried, since every validator
 * passed them on already, and the block made again of what the own pool has.
 *
 * A proposal is the block's header and for each transaction its status, its submitter's number, its
 * sequence and its leaf of the header's transaction tree. The leaf binds every byte of the transaction,
 * so what stands in the pool is the one that is meant or counts as missing. What a proposal says is
 * believed only so far as the block made of it fits its header, which chain_execute looks at: whoever
 * writes a proposal can cost others a fetch of the whole block, and no more.
 *
 * May use: base, the ledger's formats, the pool. Refuses: sockets, clocks. The byte table stands in
 * docs/formats.md, "Messages between nodes".
 */
#ifndef LEDGER_PROPOSAL_H
#define LEDGER_PROPOSAL_H

#include "ledger/pool.h"

enum {
    PROPOSAL_ENTRY_BYTES = 1 + 4 + 8 + HASH_BYTES,
    PROPOSAL_BYTES_MAX = BLOCK_HEADER_BYTES + BLOCK_TRANSACTIONS_MAX * PROPOSAL_ENTRY_BYTES,
    PROPOSAL_MISSING_MAX = 256, /* that are fetched one by one; of more, the whole block is */
};

/* Appends the proposal of a block that was built of this pool just now. */
void proposal_write(const struct pool *pool, const struct members *members, struct bytes block,
                    struct buffer *out);

struct proposal;
/* Layout and limits only. Copies the input. */
MUST_CHECK enum error_code proposal_read(struct bytes input, struct proposal **ret_proposal,
                                         struct error *err);
void proposal_free(struct proposal *proposal);
const struct block_header *proposal_header(const struct proposal *proposal);
size_t proposal_bytes(const struct proposal *proposal); /* of memory, with the block to be rebuilt */

enum proposal_state {
    PROPOSAL_MISSING, /* the pool lacks some, or is of another epoch */
    PROPOSAL_OTHER, /* the pool has another transaction of that sequence: only the block helps */
    PROPOSAL_WHOLE,
    PROPOSAL_WRONG, /* what it names does not make a block of the size that its header says */
};
/* Goes on with the block from where the last call ended. Never makes more than the header's size. */
enum proposal_state proposal_rebuild(struct proposal *proposal, const struct pool *pool,
                                     const struct members *members);
/* After PROPOSAL_WHOLE, once: hands the block over. */
void proposal_take(struct proposal *proposal, struct buffer *ret_block);

/* For each submitter's number the highest sequence that is named and not found yet; 0 where there is
 * none. Adds to what stands there. */
void proposal_awaits(const struct proposal *proposal, const struct members *members,
                     uint64_t *ret_last);

/* The indexes in the block of what the pool lacks, ascending; more than PROPOSAL_MISSING_MAX are not
 * counted to the end, and the answer is one more then. */
uint32_t proposal_missing(const struct proposal *proposal, const struct pool *pool,
                          const struct members *members,
                          uint32_t ret_indexes[PROPOSAL_MISSING_MAX]);

/* Asking for what is missing: the block's height and hash, and the indexes. */
void proposal_ask(const struct proposal *proposal, const uint32_t *indexes, uint32_t count,
                  struct buffer *out);
struct proposal_request {
    uint64_t height;
    struct hash digest;
    uint32_t count;
    uint32_t indexes[PROPOSAL_MISSING_MAX];
};
MUST_CHECK enum error_code proposal_request_read(struct bytes input,
                                                 struct proposal_request *ret_request,
                                                 struct error *err);
/* Appends of a block what was asked for, as transactions are passed on: u32 bytes of each. */
void proposal_answer(struct bytes block, const struct proposal_request *request,
                     struct buffer *out);

#endif
