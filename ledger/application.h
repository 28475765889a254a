/*
 * The application's door: what an engine that orders transactions asks of the state machine and tells
 * it. Its shape is that of ABCI 2.0 (docs/application.md says method by method what differs): our PBFT
 * orders by these functions and no others, and so can another engine.
 *
 * Owns: the order of the calls, which is the engine's to keep:
 *
 *     open -> info -> { check }
 *     for each height: prepare, or process; undo where it was given up; finalize; commit
 *
 * Refuses: sockets, votes, clocks, and to say which block is the one. Whoever calls is one thread.
 */
#ifndef LEDGER_APPLICATION_H
#define LEDGER_APPLICATION_H

#include "ledger/chain.h"

/* How far executing again has come: blocks from `first` on are executed up to `height`, of `last`. */
struct application_progress {
    uint64_t first;
    uint64_t height;
    uint64_t last;
    uint64_t bytes; /* of these blocks with their certificates */
    uint64_t bytes_all;
};
typedef void (*application_tell_fn)(void *context, const struct application_progress *progress);

/* Opens the folder of a chain, which may be new, and executes again what the state lacks: at most what
 * makes two flushes due (store/store.h, STORE_FLUSH_...) and came in while the first was written, where the
 * state on disk is not lost. Signatures in these blocks are not checked again. tell, which may be NULL, hears of
 * every block. What was flushed on the way stays where the process is killed meanwhile. ERROR_CORRUPT
 * where a stored block does not give its own roots. */
MUST_CHECK enum error_code application_open(const struct genesis *genesis, const char *folder,
                                            application_tell_fn tell, void *context,
                                            struct chain **ret_chain, struct error *err);
void application_close(struct chain *chain);

/* Where the application stands: after a start the engine goes on from here. Borrowed until the next
 * commit. */
struct application_info {
    uint64_t height; /* committed */
    struct hash head; /* hash of that block, and so of all that it says */
    const struct block_header *header; /* roots of log and map, epoch, list of members */
    struct bytes certificate; /* as it was given to application_commit */
    const struct members *members; /* in force for the next block */
};
void application_info(const struct chain *chain, struct application_info *ret_info);

/* Whether a transaction may be kept for ordering and passed on (state/state.h, transaction_check);
 * whether its turn has come is the pool's to tell. Free by checked_transaction_free, or pool_add. */
MUST_CHECK enum error_code application_check(const struct chain *chain, struct bytes transaction,
                                             struct checked_transaction **ret_checked,
                                             struct error *err);

/* Builds the block above the executed ones of what the pool has ready, and executes it: for the engine
 * to propose. ERROR_VERIFY: the block below ends an epoch, and has to be committed first. */
MUST_CHECK enum error_code application_prepare(struct chain *chain, const struct pool *pool,
                                               uint64_t time_ms, struct hash *ret_hash,
                                               struct bytes *ret_block, struct error *err);
/* Executes a proposed block on the executed ones. ERROR_VERIFY: it is invalid, err says why, and
 * nothing of it is left. Other errors are the node's own (disk, memory). The pool, where it is not
 * NULL, saves checking signatures twice. */
MUST_CHECK enum error_code application_process(struct chain *chain, const struct pool *pool,
                                               struct bytes block, struct error *err);
/* Drops executed blocks of this height and above, none of which was committed. */
void application_undo(struct chain *chain, uint64_t height);

/* What a decided block does. Borrowed until the next call of this door. */
struct application_result {
    const struct block_header *header;
    struct hash hash;
    struct bytes block; /* with each transaction's status: block_cursor */
    bool epoch_ends;    /* other members certify what follows; commit puts them in force */
};
/* The engine decided this block for the height above the committed one. What else was executed there,
 * or stands on it, goes; the block is executed where it was not. Errors as of application_process. */
MUST_CHECK enum error_code application_finalize(struct chain *chain, const struct pool *pool,
                                                struct bytes block,
                                                struct application_result *ret_result,
                                                struct error *err);
/* Commits the finalized block, with what proves that it was decided, and hands its bytes over, where
 * ret_block is not NULL: an empty buffer. */
MUST_CHECK enum error_code application_commit(struct chain *chain, struct bytes certificate,
                                              struct buffer *ret_block, struct error *err);

/* The snapshot of a chain at its height is the chain: as many chunks as blocks, each with its own
 * certificate, so that none has to be believed. Appends chunk `height`; ERROR_NOT_FOUND. */
MUST_CHECK enum error_code application_chunk(struct chain *chain, uint64_t height,
                                             struct buffer *ret_block,
                                             struct buffer *ret_certificate, struct error *err);
/* Restores the chunk above the committed height: proves it by the members in force, finalizes and
 * commits it. ERROR_VERIFY: it is refused, and the next peer may be asked for it. */
MUST_CHECK enum error_code application_restore(struct chain *chain, struct bytes block,
                                               struct bytes certificate, struct error *err);

#endif
