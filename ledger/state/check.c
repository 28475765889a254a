/* What is asked of a transaction before it is ordered: everything that needs no state, and whether the
 * submitter's role may submit its type at all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/checkpoint.h"
#include "ledger/state/state.h"

enum { GATEWAY = 1u << MEMBER_GATEWAY, NODE = 1u << MEMBER_NODE, AUDITOR = 1u << MEMBER_AUDITOR };

/* Who may submit what. The last three prove themselves, whoever brings them: a change by its
 * signatures, evidence by two votes, a checkpoint by its certificates. */
static const uint8_t permitted[TRANSACTION_TYPE_COUNT] = {
    [TRANSACTION_ANCHOR] = GATEWAY,
    [TRANSACTION_PERSON] = GATEWAY,
    [TRANSACTION_PERMISSION] = GATEWAY,
    [TRANSACTION_QUERY] = GATEWAY | AUDITOR,
    [TRANSACTION_NOTE] = GATEWAY | AUDITOR,
    [TRANSACTION_INCIDENT] = GATEWAY | AUDITOR,
    [TRANSACTION_CHANGE] = GATEWAY | NODE,
    [TRANSACTION_EVIDENCE] = GATEWAY | NODE,
    [TRANSACTION_CHECKPOINT] = GATEWAY | NODE,
};

bool transaction_permitted(enum member_role role, enum transaction_type type) {
    return (unsigned)type < TRANSACTION_TYPE_COUNT && (permitted[type] >> role & 1) != 0;
}

static enum error_code refuse_role(const struct member_submitter *submitter,
                                   enum transaction_type type, struct error *err) {
    char roles[64] = "";
    size_t len = 0;
    for (int role = MEMBER_GATEWAY; role <= MEMBER_AUDITOR; role++)
        if (transaction_permitted((enum member_role)role, type))
            len += (size_t)snprintf(roles + len, sizeof roles - len, "%s%s", len > 0 ? " or " : "",
                                    member_role_name((enum member_role)role));
    (void)error_set(err, ERROR_TX_REJECTED,
                    "transaction: %s has the role %s, which may not submit the type %s: "
                    "that needs %s",
                    submitter->name, member_role_name(submitter->role),
                    transaction_type_name(type), roles);
    error_hint(err, "sign it with a key that has such a role; `renkei-node members` lists them, and "
                    "the members add one by `renkei-node change`");
    return ERROR_TX_REJECTED;
}

static enum error_code check_checkpoint(const struct members *members, struct bytes body,
                                        struct error *err) {
    struct block_header head;
    enum error_code code = checkpoint_prove(body, &head, err);
    if (code != ERROR_NONE)
        return error_wrap(err, ERROR_TX_REJECTED, "checkpoint");
    if (hash_equal(&head.chain, &members->chain))
        return error_set(err, ERROR_TX_REJECTED, "checkpoint: it is of this chain itself");
    return ERROR_NONE;
}

/* How far a transaction has come, and so what is left to check. */
enum stage { OFFERED, ORDERED, STORED };

static enum error_code check(const struct members *members, struct bytes input, enum stage stage,
                             struct checked_transaction **ret_checked, struct error *err) {
    struct transaction tx;
    TRY(transaction_decode(input, &tx, err)); /* caps the length before anything is allocated */
    if (!hash_equal(&tx.chain, &members->chain))
        return error_set(err, ERROR_TX_REJECTED, "transaction: it is for another chain");
    int submitter = members_submitter_by_key(members, tx.submitter);
    if (submitter < 0)
        return error_set(err, ERROR_TX_REJECTED,
                         "transaction: its submitter is not among the members of epoch %llu",
                         (unsigned long long)members->epoch);
    const struct member_submitter *by = &members->submitters[submitter];
    if (stage == OFFERED && !transaction_permitted(by->role, tx.type))
        return refuse_role(by, tx.type, err);
    if (stage != STORED)
        TRY(transaction_verify(&tx, err));
    if (stage != STORED && tx.type == TRANSACTION_CHECKPOINT)
        TRY(check_checkpoint(members, tx.body, err));
    struct checked_transaction *checked = malloc(sizeof *checked + input.len);
    if (checked == NULL)
        return error_set(err, ERROR_NO_MEMORY, "transaction: no memory");
    memset(checked, 0, sizeof *checked);
    checked->len = input.len;
    memcpy(checked->bytes, input.data, input.len);
    checked->submitter = (uint32_t)submitter;
    /* Hashing the same bytes a second time would cost more than all else here but the signature. */
    checked->tx = tx;
    checked->done = block_transaction_leaf(&tx, TX_DONE);
    checked->tx.body.data = checked->bytes + (tx.body.data - input.data);
    checked->tx.extensions.data = checked->bytes + (tx.extensions.data - input.data);
    enum error_code code = ERROR_NONE;
    if (tx.type == TRANSACTION_ANCHOR) {
        code = anchor_decode(checked->tx.body, &checked->anchor, err);
        if (code == ERROR_NONE) {
            checked->leaf_hashes = calloc(checked->anchor.leaf_count, sizeof(struct hash));
            checked->map_keys = calloc(checked->anchor.leaf_count, sizeof(struct hash));
            code = checked->leaf_hashes == NULL || checked->map_keys == NULL
                       ? error_set(err, ERROR_NO_MEMORY, "transaction: no memory")
                       : anchor_hashes(&checked->anchor, checked->leaf_hashes, err);
            if (code == ERROR_NONE)
                anchor_map_keys(&checked->anchor, checked->map_keys);
        }
    }
    if (code != ERROR_NONE) {
        checked_transaction_free(checked);
        return code;
    }
    *ret_checked = checked;
    return ERROR_NONE;
}

enum error_code transaction_check(const struct members *members, struct bytes input,
                                  struct checked_transaction **ret_checked, struct error *err) {
    return check(members, input, OFFERED, ret_checked, err);
}

enum error_code transaction_check_ordered(const struct members *members, struct bytes input,
                                          struct checked_transaction **ret_checked,
                                          struct error *err) {
    return check(members, input, ORDERED, ret_checked, err);
}

enum error_code transaction_check_stored(const struct members *members, struct bytes input,
                                         struct checked_transaction **ret_checked,
                                         struct error *err) {
    return check(members, input, STORED, ret_checked, err);
}

struct hash checked_transaction_leaf(const struct checked_transaction *checked,
                                     enum transaction_status status) {
    return status == TX_DONE ? checked->done : block_transaction_leaf(&checked->tx, status);
}

void checked_transaction_free(struct checked_transaction *checked) {
    if (checked == NULL)
        return;
    free(checked->leaf_hashes);
    free(checked->map_keys);
    free(checked);
}
