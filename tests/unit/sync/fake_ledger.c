#include "tests/unit/sync/fakes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ledger/anchor.h"
#include "ledger/transaction.h"

struct fake_chain fake_chain;
static pthread_mutex_t chain_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t committed = PTHREAD_COND_INITIALIZER;

struct ledger {
    int unused;
};

void fake_chain_reset(void) {
    memset(&fake_chain, 0, sizeof fake_chain);
}

enum error_code ledger_open(const char *node_socket, const char *genesis,
                            struct ledger **ret_ledger, struct error *err) {
    (void)node_socket;
    (void)genesis;
    (void)err;
    *ret_ledger = calloc(1, sizeof **ret_ledger);
    return ERROR_NONE;
}

void ledger_close(struct ledger *ledger) {
    free(ledger);
}

struct hash ledger_chain(const struct ledger *ledger) {
    (void)ledger;
    return (struct hash){{0xc4}};
}

static void broken(const char *rule) {
    if (fake_chain.broken == NULL)
        fake_chain.broken = rule;
}

static const struct ledger_version *latest(const struct locator *locator) {
    for (size_t i = fake_chain.leaf_count; i > 0; i--)
        if (memcmp(&fake_chain.leaves[i - 1].leaf.locator, locator, sizeof *locator) == 0)
            return &fake_chain.leaves[i - 1];
    return NULL;
}

static void check_leaf(const struct leaf *leaf) {
    static const struct hash none;
    /* A new record's locator is looked for only where the version claims a predecessor: random
     * ones do not meet, and looking through every leaf for each would take the test's time. */
    const struct ledger_version *before = leaf->version > 1 ? latest(&leaf->locator) : NULL;
    if (leaf->version == 1 && !hash_equal(&leaf->previous, &none))
        broken("version 1 has a previous leaf");
    if (leaf->version > 1 && before == NULL)
        broken("a version without the one before");
    if (before != NULL && before->leaf.version + 1 != leaf->version)
        broken("versions do not follow");
    if (before != NULL && !hash_equal(&before->leaf_hash, &leaf->previous))
        broken("the previous leaf is another");
    bool was_deleted = before == NULL || before->leaf.operation == LEAF_DELETE;
    if (was_deleted != (leaf->operation == LEAF_CREATE))
        broken("the operation does not fit the record's state");
    if (leaf->operation == LEAF_DELETE && !hash_is_zero(&leaf->content))
        broken("a deletion has a content digest");
}

static void take_anchor(const struct transaction *tx, struct ledger_receipt *receipt) {
    struct anchor anchor;
    if (anchor_decode(tx->body, &anchor, NULL) != ERROR_NONE) {
        broken("the anchor does not decode");
        return;
    }
    struct anchor_cursor cursor = anchor_cursor(&anchor);
    struct leaf leaf;
    receipt->position.log_index = fake_chain.leaf_count;
    for (uint32_t i = 0; anchor_next(&cursor, &leaf); i++) {
        check_leaf(&leaf);
        fake_chain.leaves[fake_chain.leaf_count] = (struct ledger_version){
            .leaf = leaf,
            .leaf_hash = leaf_hash(&leaf),
            .transaction = tx->id,
            .block_time_ms = receipt->block_time_ms,
            .position = {receipt->position.height, 0, i, fake_chain.leaf_count}};
        fake_chain.leaf_count++;
    }
}

static enum error_code submit_one(struct bytes bytes, struct ledger_receipt *ret_receipt,
                                  struct error *err) {
    struct transaction tx;
    fake_chain.submissions++;
    if (transaction_decode(bytes, &tx, NULL) != ERROR_NONE ||
        transaction_verify(&tx, NULL) != ERROR_NONE)
        return error_set(err, ERROR_TX_REJECTED, "not a transaction");
    if (tx.sequence <= fake_chain.committed) {
        if (!hash_equal(&tx.id, &fake_chain.ids[tx.sequence - 1]))
            broken("other bytes under a sequence that was used");
        *ret_receipt = fake_chain.receipts[tx.sequence - 1];
        return ERROR_NONE;
    }
    if (tx.sequence != fake_chain.committed + 1) {
        broken("a sequence was left out");
        return error_set(err, ERROR_TX_REJECTED, "sequence");
    }
    struct ledger_receipt receipt = {.transaction = tx.id, .result = LEDGER_COMMITTED};
    receipt.position.height = tx.sequence;
    receipt.block_time_ms = 1000000 + tx.sequence;
    if (tx.sequence == fake_chain.without_effect) {
        receipt.result = LEDGER_FAILED;
        strncpy(receipt.reason, "test", sizeof receipt.reason - 1);
    } else if (tx.type == TRANSACTION_ANCHOR) {
        take_anchor(&tx, &receipt);
    } else {
        fake_chain.incidents += tx.type == TRANSACTION_INCIDENT;
        fake_chain.notes += tx.type == TRANSACTION_NOTE;
    }
    fake_chain.ids[fake_chain.committed] = tx.id;
    fake_chain.receipts[fake_chain.committed++] = receipt;
    pthread_cond_broadcast(&committed);
    *ret_receipt = receipt;
    return ERROR_NONE;
}

static enum error_code unreachable(struct error *err) {
    return error_set(err, ERROR_NODE_UNREACHABLE, "the node is down");
}

/* A node keeps what comes early until it is its turn: somebody else submits what is before it. */
static void wait_for_turn(struct bytes first) {
    enum { WAIT_S_MAX = 20 };
    struct transaction tx;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S_MAX;
    if (transaction_decode(first, &tx, NULL) != ERROR_NONE)
        return;
    while (tx.sequence > fake_chain.committed + 1 &&
           pthread_cond_timedwait(&committed, &chain_lock, &until) == 0)
        continue;
}

enum error_code ledger_submit_all(struct ledger *ledger, const struct bytes *transactions,
                                  size_t count, uint32_t deadline_ms,
                                  struct ledger_receipt *ret_receipts, struct error *err) {
    (void)ledger;
    (void)deadline_ms;
    pthread_mutex_lock(&chain_lock);
    enum error_code code = fake_chain.down ? unreachable(err) : ERROR_NONE;
    if (code == ERROR_NONE && count > 0)
        wait_for_turn(transactions[0]);
    for (size_t i = 0; code == ERROR_NONE && i < count; i++)
        code = submit_one(transactions[i], &ret_receipts[i], err);
    if (code == ERROR_NONE && fake_chain.drop_reply) {
        fake_chain.drop_reply = false;
        code = unreachable(err);
    }
    pthread_mutex_unlock(&chain_lock);
    return code;
}

enum error_code ledger_next_sequence(struct ledger *ledger, const uint8_t submitter[32],
                                     uint64_t *ret_sequence, struct error *err) {
    (void)ledger;
    (void)submitter;
    if (fake_chain.down)
        return unreachable(err);
    pthread_mutex_lock(&chain_lock);
    fake_chain.sequences_asked++;
    *ret_sequence = fake_chain.committed + 1;
    pthread_mutex_unlock(&chain_lock);
    return ERROR_NONE;
}

enum error_code ledger_head(struct ledger *ledger, struct ledger_head *ret_head,
                            struct error *err) {
    (void)ledger;
    if (fake_chain.down)
        return unreachable(err);
    pthread_mutex_lock(&chain_lock);
    *ret_head = (struct ledger_head){.height = fake_chain.committed};
    pthread_mutex_unlock(&chain_lock);
    return ERROR_NONE;
}

enum error_code ledger_latest(struct ledger *ledger, const struct locator *locators, size_t count,
                              struct ledger_version *ret_versions, struct error *err) {
    (void)ledger;
    if (fake_chain.down)
        return unreachable(err);
    pthread_mutex_lock(&chain_lock);
    bool behind = fake_chain.behind > 0;
    fake_chain.behind -= behind;
    fake_chain.leaf_count -= behind;
    for (size_t i = 0; i < count; i++) {
        const struct ledger_version *v = latest(&locators[i]);
        ret_versions[i] = v != NULL ? *v : (struct ledger_version){0};
    }
    fake_chain.leaf_count += behind;
    pthread_mutex_unlock(&chain_lock);
    return ERROR_NONE;
}

enum error_code ledger_history(struct ledger *ledger, const struct locator *locator,
                               struct ledger_version *ret_versions, size_t versions_max,
                               size_t *ret_count, uint64_t *ret_total, struct error *err) {
    (void)ledger;
    (void)err;
    size_t count = 0;
    uint64_t total = 0;
    pthread_mutex_lock(&chain_lock);
    for (size_t i = fake_chain.leaf_count; i > 0; i--) {
        if (memcmp(&fake_chain.leaves[i - 1].leaf.locator, locator, sizeof *locator) != 0)
            continue;
        total++;
        if (count < versions_max)
            ret_versions[count++] = fake_chain.leaves[i - 1];
    }
    pthread_mutex_unlock(&chain_lock);
    *ret_count = count;
    *ret_total = total;
    return ERROR_NONE;
}
