#include "ledger/state/epochs.h"

#include <assert.h>

#include "ledger/pbft/vote.h"
#include "ledger/signer.h"

void epochs_init(struct epochs *epochs, struct members *members) {
    *epochs = (struct epochs){.members = members};
}

void epochs_done(struct epochs *epochs) {
    for (int i = 0; i < EPOCHS_KEPT; i++)
        members_free(epochs->past[i]);
    members_free(epochs->members);
}

void epochs_next(struct epochs *epochs, struct members *members) {
    assert(members->epoch == epochs->members->epoch + 1);
    struct members **place = &epochs->past[epochs->members->epoch % EPOCHS_KEPT];
    members_free(*place);
    *place = epochs->members;
    epochs->members = members;
}

const struct members *epochs_of(const struct epochs *epochs, uint64_t epoch) {
    if (epoch == epochs->members->epoch)
        return epochs->members;
    const struct members *past = epochs->past[epoch % EPOCHS_KEPT];
    return past != NULL && past->epoch == epoch ? past : NULL;
}

static bool verify_ballot(void *context, uint64_t epoch, uint32_t signer,
                          const struct hash *statement,
                          const uint8_t signature[PBFT_SIGNATURE_BYTES]) {
    const struct members *members = epochs_of(context, epoch);
    return members != NULL && signer < members->validator_count &&
           signature_valid(members->validators[signer].vote_key, statement, signature);
}

/* Who votes with the key that signed both ballots; -1 where nobody does. A key that was replaced
 * proves nothing any more: whoever found the old one could make such ballots for ever. */
static int evidence_against(const struct epochs *epochs, struct bytes body) {
    struct pbft_evidence evidence;
    /* The context is not written to. */
    if (pbft_evidence_check(body, &epochs->members->chain, verify_ballot,
                            (void *)(uintptr_t)epochs, &evidence, NULL) != ERROR_NONE)
        return -1;
    const struct members *then = epochs_of(epochs, evidence.domain.epoch);
    return members_validator_by_key(epochs->members, then->validators[evidence.signer].vote_key);
}

enum error_code epochs_judge(const struct epochs *epochs, const struct transaction *tx,
                             enum transaction_status *ret_status, struct members **ret_next,
                             struct error *err) {
    if (tx->type == TRANSACTION_EVIDENCE) {
        int validator = evidence_against(epochs, tx->body);
        bool taken = validator >= 0 && members_expel(epochs->members, (uint32_t)validator,
                                                     ret_next, NULL) == ERROR_NONE;
        *ret_status = taken ? TX_DONE : TX_EVIDENCE;
        return ERROR_NONE;
    }
    struct change change;
    TRY(change_decode(tx->body, &change, err));
    if (change.epoch != epochs->members->epoch)
        *ret_status = TX_EPOCH;
    else if (change_check_signatures(&change, epochs->members, NULL) != ERROR_NONE)
        *ret_status = TX_SIGNATURES;
    else if (members_change(epochs->members, &change, ret_next, NULL) != ERROR_NONE)
        *ret_status = TX_CHANGE;
    else
        *ret_status = TX_DONE;
    return ERROR_NONE;
}

enum error_code epochs_read(struct epochs *epochs, const struct block *block, struct error *err) {
    struct block_cursor cursor = block_cursor(block);
    struct bytes bytes;
    enum transaction_status status;
    struct members *next = NULL;
    while (next == NULL && block_next(&cursor, &bytes, &status)) {
        struct transaction tx;
        enum transaction_status judged = TX_DONE;
        TRY(transaction_decode(bytes, &tx, err));
        if (status == TX_DONE &&
            (tx.type == TRANSACTION_CHANGE || tx.type == TRANSACTION_EVIDENCE))
            TRY(epochs_judge(epochs, &tx, &judged, &next, err));
    }
    if (next == NULL || !hash_equal(&next->hash, &block->header.members)) {
        members_free(next);
        return error_set(err, ERROR_CORRUPT, "block %llu: does not end epoch %llu",
                         (unsigned long long)block->header.height,
                         (unsigned long long)epochs->members->epoch);
    }
    epochs_next(epochs, next);
    return ERROR_NONE;
}
