/*
 * The lists of members, epoch after epoch: the one in force, and so many before it as evidence is
 * judged by. What a change or evidence does to the list is decided here, in executing a block and in
 * reading the stored ones again. Pure.
 */
#ifndef LEDGER_STATE_EPOCHS_H
#define LEDGER_STATE_EPOCHS_H

#include "ledger/block.h"
#include "ledger/members.h"

enum { EPOCHS_KEPT = 64 }; /* evidence of an earlier epoch than these is not judged any more */

struct epochs {
    struct members *members; /* in force */
    struct members *past[EPOCHS_KEPT]; /* by epoch modulo their number */
};

/* Takes the list over. */
void epochs_init(struct epochs *epochs, struct members *members);
void epochs_done(struct epochs *epochs);
/* Takes over the list of the next epoch. */
void epochs_next(struct epochs *epochs, struct members *members);
/* NULL of an epoch that is not kept. */
const struct members *epochs_of(const struct epochs *epochs, uint64_t epoch);

/* Judges a TRANSACTION_CHANGE or TRANSACTION_EVIDENCE by the list in force; where it takes effect the
 * next list is made. */
MUST_CHECK enum error_code epochs_judge(const struct epochs *epochs, const struct transaction *tx,
                                        enum transaction_status *ret_status,
                                        struct members **ret_next, struct error *err);
/* The next list by a stored block that ended the epoch; ERROR_CORRUPT where it did not. */
MUST_CHECK enum error_code epochs_read(struct epochs *epochs, const struct block *block,
                                       struct error *err);

#endif
