/*
 * What one peer passed on and was not checked yet: messages, each of some transactions, in the order in
 * which they came. Each transaction has its turn; what a proposal waits for is found before that, by where
 * it begins, which is noted once for each message: to find that out anew for each proposal that comes
 * meanwhile would touch all bytes as often.
 *
 * Owns copies of the messages. Refuses: to judge what is in them, clocks, sockets.
 */
#ifndef LEDGER_INBOX_H
#define LEDGER_INBOX_H

#include "ledger/pool.h"

struct inbox_message;

/* Zeroed: empty. */
struct inbox {
    struct inbox_message *first;
    struct inbox_message *last;
    size_t bytes; /* of the messages, and of what is kept beside each */
};

/* order: rises with each message of whatever peer. False where there is no memory. */
MUST_CHECK bool inbox_add(struct inbox *inbox, uint64_t order, struct bytes message);
/* Of an inbox that is not empty, the transaction whose turn it is; false where the message is cut short
 * there. */
MUST_CHECK bool inbox_first(const struct inbox *inbox, struct bytes *ret_transaction);
/* Past the transaction that inbox_first found; true where that was the message's last, which goes. */
bool inbox_pass(struct inbox *inbox);
/* How many messages there were. */
size_t inbox_clear(struct inbox *inbox);

/* A look through one inbox for what one proposal waits for. What is found stays where it is. */
struct inbox_search {
    struct inbox_message *at; /* the inbox's first, to begin with */
    const struct members *members;
    const struct pool *pool;
    uint64_t proposal;    /* its number: a search for the same one goes on where the last one stopped */
    uint64_t after;       /* no messages up to this order */
    const uint64_t *last; /* of each submitter, the highest sequence that it waits for; 0: none */
};
/* The next transaction that is not here or on the chain. False after the last. */
MUST_CHECK bool inbox_search_next(struct inbox_search *search, struct bytes *ret_transaction);

#endif
