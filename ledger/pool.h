/*
 * The pool: checked transactions that wait for their block. One ring a submitter, by sequence.
 *
 * Owns the checked transactions that were added. Refuses: clocks, sockets. What waits for a
 * transaction is an opaque list that the node keeps at the entry.
 */
#ifndef LEDGER_POOL_H
#define LEDGER_POOL_H

#include "ledger/state/state.h"

enum {
    POOL_BYTES_MAX = 128 << 20,
    POOL_SUBMITTER_BYTES_MAX = 64 << 20, /* one submitter may not crowd out the others */
    POOL_WINDOW = 32768, /* sequences ahead of the chain, a submitter */
    POOL_IDLE_MS = 60000, /* since the last one came; see pool_rest */
};

struct pool_waiter {
    struct pool_waiter *next;
    uint64_t client;
    uint32_t request;
};

struct pool_entry {
    struct checked_transaction *checked;
    struct pool_waiter *waiters; /* owned by the entry */
    uint64_t added_ms;
    uint64_t head_ms;      /* since when it stands at the head of its line, as far as seen; 0: not yet */
    uint64_t head_height;  /* the chain's then */
    uint64_t sent_ms;      /* told to the other validators last; 0: it came from one of them */
    uint32_t sent_again;   /* how often, since one of them connected last */
    uint32_t heads_max;    /* heads of all lines, the most that were seen since it is one of them */
};

struct pool;
struct pool *pool_new(const struct members *members);
/* The epoch changed: what its submitter's key may not sign any more goes. */
void pool_members(struct pool *pool, const struct members *members);
void pool_free(struct pool *pool);

enum pool_result {
    POOL_ADDED,
    POOL_KNOWN,    /* the same bytes are there */
    POOL_CONFLICT, /* another transaction with this sequence is there */
    POOL_OLD,      /* the sequence is used */
    POOL_FULL,
};
/* Takes the transaction over only where the answer is POOL_ADDED. */
enum pool_result pool_add(struct pool *pool, struct checked_transaction *checked,
                          uint64_t now_ms, uint64_t height, struct pool_entry **ret_entry);
/* NULL where there is none. */
struct pool_entry *pool_find(const struct pool *pool, uint32_t submitter, uint64_t sequence);
/* The entry with exactly these bytes, or NULL: saves the signature's check. */
struct pool_entry *pool_find_bytes(const struct pool *pool, const struct members *members,
                                   struct bytes transaction);

/* As pool_find_bytes, but NULL where nobody waits for it, too, which is found out first. */
struct pool_entry *pool_find_awaited(const struct pool *pool, const struct members *members,
                                     struct bytes transaction);

/* The submitter's number and the sequence that stand in a transaction's bytes; false where it is too
 * short or nobody's. Looks at the two fields only. */
bool pool_peek(const struct members *members, struct bytes transaction, uint32_t *ret_submitter,
               uint64_t *ret_sequence);

/* True where a transaction with this submitter and sequence is here with the same bytes, or the
 * sequence is used already. Looks at the two fields only. */
bool pool_knows(const struct pool *pool, const struct members *members, struct bytes transaction);

/* The submitter's next sequence on the chain: entries below it go. */
void pool_advance(struct pool *pool, uint32_t submitter, uint64_t next);
uint64_t pool_next(const struct pool *pool, uint32_t submitter);
/* What the chain has to take next of this submitter, NULL where it is not here. What came before its turn
 * counts as the head only from when it is asked for here. */
struct pool_entry *pool_head(const struct pool *pool, uint32_t submitter, uint64_t now_ms,
                             uint64_t height);
/* True where anything of the submitter's is here. */
bool pool_waits(const struct pool *pool, uint32_t submitter);

/* Gives back what is kept of submitters of whom nothing is here and nothing has come for long. */
void pool_rest(struct pool *pool, uint64_t now_ms);

/* Transactions whose turn it is, or that stand right behind such. */
bool pool_ready(const struct pool *pool);
/* How many submitters' next one is here. */
uint32_t pool_heads(const struct pool *pool);
size_t pool_count(const struct pool *pool);
size_t pool_bytes(const struct pool *pool);
/* What the rings take. */
size_t pool_ring_bytes(const struct pool *pool);

/* Every entry, by submitter and sequence; NULL after the last. Start with a zeroed cursor. */
struct pool_cursor {
    uint32_t submitter;
    uint64_t offset;
};
struct pool_entry *pool_each(const struct pool *pool, struct pool_cursor *cursor);

#endif
