/*
 * The payloads under way: blocks above the chain's head, and proposals of which the block is not made
 * yet. Peers fill it, so it has as many places as can be afforded, and the rule of who pushes out whom:
 *
 * - What the core wants, and what was executed here, nobody pushes out. A validator that executed a block
 *   may have voted for it, in whatever view; a later view may choose that block, and then it must be
 *   handed to those who lack it. So it stays until its height is committed, also when it was undone.
 * - Of the rest a peer pushes out its own oldest, once it has its share, and else the oldest of all.
 *
 * Owns the blocks and proposals that were given to it. Refuses: sockets, votes, clocks, and to say whether
 * a block is the one that its header binds.
 */
#ifndef LEDGER_PAYLOADS_H
#define LEDGER_PAYLOADS_H

#include "ledger/proposal.h"

enum {
    PAYLOADS_MAX = 128,
    PAYLOADS_PEER_MAX = 16,
    PAYLOADS_BYTES_MAX = 128 << 20,
    /* Of these, what was executed. More than that are only blocks of many views that all failed; the
     * oldest of them can be pushed out again. */
    PAYLOADS_EXECUTED_MAX = 64,
    PAYLOADS_EXECUTED_BYTES_MAX = 96 << 20,
};

/* `from` of what nobody sent: it was built here, or comes from the vote log or by transfer. */
#define PAYLOAD_OWN UINT32_MAX

/* A block that the core wants executed and that waits for its payload or its parent. */
struct wanted {
    bool active;
    uint64_t height;
    struct hash digest;
    uint32_t from;  /* who proposed it */
    uint32_t asked; /* validators asked so far */
    uint64_t asked_ms;
};

/* A block, or a proposal of which the block is not made yet. */
struct payload {
    struct hash digest;
    uint64_t height; /* 0: free */
    uint32_t from;
    uint64_t order;
    bool executed;    /* here, in whatever view */
    bool transferred; /* came as a committed block: stays until its certificate is judged */
    size_t bytes;     /* of memory, a proposal's with the block that will be made of it */
    struct buffer block;
    struct proposal *proposal; /* NULL: the block is here */
    /* The node's, of a proposal. */
    uint64_t came_ms;
    uint64_t came_after; /* of what peers passed on: that much had come before it */
    uint64_t searched;   /* of what peers passed on: that much was looked through for it */
    bool asked;          /* for what it names and the pool lacks */
    bool hopeless;       /* the pool can take nothing that makes it whole */
};

struct payloads;
/* Looks at the list of what is wanted, which must outlive it. */
struct payloads *payloads_new(const struct wanted *wanted, size_t wanted_count);
void payloads_free(struct payloads *payloads);
/* NULL where the core does not want it. */
const struct wanted *payloads_wanted(const struct payloads *payloads, const struct hash *digest);

/* The block, or else its proposer's proposal, or else anybody's: whoever learnt of the header may send
 * a proposal that names nothing, and must not stand in the way of the leader's. NULL: nothing. */
struct payload *payloads_find(struct payloads *payloads, const struct hash *digest);
/* The whole block, made of its proposal where that can be done now; NULL where it cannot. */
struct payload *payloads_whole(struct payloads *payloads, const struct hash *digest,
                               const struct pool *pool, const struct members *members);

/* Copies a block. What is there of the same digest gives way, unless it is a block and a peer sent this
 * one. NULL: no room. */
struct payload *payloads_keep(struct payloads *payloads, uint32_t from, const struct hash *digest,
                              uint64_t height, struct bytes block);
/* Takes over a proposal; NULL, and it is freed, where it says nothing new or there is no room. */
struct payload *payloads_propose(struct payloads *payloads, uint32_t from,
                                 struct proposal *proposal);
/* It was executed, as its header says. */
void payloads_executed(struct payloads *payloads, struct payload *payload);
/* What must outlive a crash, as long as the next record of the core's must; the number of them. */
size_t payloads_durable(const struct payloads *payloads,
                        const struct payload *ret_list[PAYLOADS_MAX]);

void payloads_drop(struct payloads *payloads, struct payload *payload);
/* All up to this height, which is committed. */
void payloads_drop_old(struct payloads *payloads, uint64_t height);
/* A new epoch: nobody's number is what it was, and nobody is asked or blamed by an old one. */
void payloads_forget_senders(struct payloads *payloads);
/* What came by transfer for this height and above, and was not executed. */
void payloads_drop_transferred(struct payloads *payloads, uint64_t height);

#endif
