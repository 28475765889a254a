/* What the local socket's clients ask, and how it is answered. */
#include "ledger/node_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/wire.h"

struct asker {
    struct node *node;
    uint64_t client;
    unsigned kind;
    uint32_t request;
};

static void answer(const struct asker *asker, struct bytes body) {
    local_answer(asker->node->local, asker->client, asker->kind | LANE_ANSWER, asker->request,
                 body);
}

static void write_head(struct node *node, struct buffer *out) {
    lane_write_head(out, chain_head(node->chain), chain_head_certificate(node->chain));
}

/* Receipts of transactions that are committed already. */

static void forget_tree(struct stored_tree *stored) {
    buffer_done(&stored->block);
    buffer_done(&stored->certificate);
    free(stored->entries);
    block_tree_free(stored->tree);
    *stored = (struct stored_tree){0};
}

void node_trees_done(struct node *node) {
    for (size_t i = 0; i < NODE_TREES_MAX; i++)
        forget_tree(&node->trees[i]);
}

static enum error_code read_tree(struct node *node, uint64_t height, struct stored_tree *stored,
                                 struct error *err) {
    struct block block;
    TRY(store_read(chain_store(node->chain), height, &stored->block, &stored->certificate, err));
    TRY(block_decode(buffer_bytes(&stored->block), &block, err));
    uint32_t count = block.header.transaction_count;
    SCOPED_FREE struct hash *leaves = array_new((size_t)count + 1, sizeof *leaves);
    TRY(block_leaves(&block, leaves, err));
    stored->tree = block_tree_new(leaves, count);
    stored->entries = array_new((size_t)count + 1, sizeof *stored->entries);
    struct block_cursor cursor = block_cursor(&block);
    struct stored_entry *entry = stored->entries;
    while (block_next(&cursor, &entry->transaction, &entry->status))
        entry++;
    return ERROR_NONE;
}

/* The tree of a stored block. A client that lost its node asks another one for the receipts of all
 * it had under way, block after block: reading the block for each of them would stop the chain. */
static enum error_code stored_tree(struct node *node, uint64_t height,
                                   struct stored_tree **ret_stored, struct error *err) {
    for (size_t i = 0; i < NODE_TREES_MAX; i++)
        if (node->trees[i].height == height) {
            *ret_stored = &node->trees[i];
            return ERROR_NONE;
        }
    struct stored_tree *stored = &node->trees[node->tree_next++ % NODE_TREES_MAX];
    forget_tree(stored);
    buffer_init(&stored->block, BLOCK_BYTES_MAX);
    buffer_init(&stored->certificate, STORE_CERTIFICATE_BYTES_MAX);
    enum error_code code = read_tree(node, height, stored, err);
    if (code != ERROR_NONE) {
        forget_tree(stored);
        return code;
    }
    stored->height = height;
    *ret_stored = stored;
    return ERROR_NONE;
}

/* Appends (where with_bytes is set) the transaction of this id and place, and its receipt. */
static enum error_code stored_receipt(struct node *node, const struct hash *id,
                                      const struct state_place *place, bool with_bytes,
                                      struct buffer *out, struct error *err) {
    struct stored_tree *stored = NULL;
    TRY(stored_tree(node, place->height, &stored, err));
    if (place->index >= block_tree_count(stored->tree))
        return error_set(err, ERROR_CORRUPT, "block %llu: no transaction %u",
                         (unsigned long long)place->height, place->index);
    const struct stored_entry *entry = &stored->entries[place->index];
    struct bytes tx = entry->transaction;
    struct lane_receipt receipt = {.id = *id, .status = entry->status, .index = place->index,
                                   .log_index = place->log_index};
    memcpy(receipt.signature, tx.data + tx.len - TRANSACTION_SIGNATURE_BYTES,
           TRANSACTION_SIGNATURE_BYTES);
    block_tree_path(stored->tree, place->index, &receipt.path);
    struct bytes header = bytes_of(stored->block.data, BLOCK_HEADER_BYTES);
    TRY(block_header_decode(header, &receipt.head.header, err));
    receipt.head.certificate = buffer_bytes(&stored->certificate);
    if (with_bytes)
        wire_bytes(out, tx);
    lane_write_receipt(out, &receipt);
    return buffer_check(out, "receipt", err);
}

/* Tells those who wait for a transaction of the head; head, index and status stand in the receipt. */
static enum error_code answer_waiters(struct node *node, const struct pool_entry *entry,
                                      struct lane_receipt *receipt, struct buffer *out,
                                      struct error *err) {
    const struct transaction *tx = &entry->checked->tx;
    struct state_place place;
    bool found = false;
    TRY(chain_find(node->chain, &tx->id, &place, &found, err));
    assert(found); /* it was executed */
    receipt->id = tx->id;
    receipt->log_index = place.log_index;
    memcpy(receipt->signature, tx->signature, TRANSACTION_SIGNATURE_BYTES);
    block_tree_path(chain_head_tree(node->chain), receipt->index, &receipt->path);
    buffer_clear(out);
    lane_write_receipt(out, receipt);
    for (struct pool_waiter *w = entry->waiters; w != NULL; w = w->next)
        local_answer(node->local, w->client, LANE_SUBMIT | LANE_ANSWER, w->request,
                     buffer_bytes(out));
    return ERROR_NONE;
}

enum error_code node_finish_block(struct node *node, struct bytes raw, struct error *err) {
    struct block block;
    TRY(block_decode(raw, &block, err));
    const struct members *before = chain_members_of(node->chain, block.header.epoch);
    assert(before != NULL);
    struct lane_receipt receipt = {
        .head = {block.header, chain_head_certificate(node->chain)}};
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    struct block_cursor cursor = block_cursor(&block);
    struct bytes bytes;
    while (block_next(&cursor, &bytes, &receipt.status)) {
        node->count.transactions++;
        node->count.failed_transactions += receipt.status != TX_DONE ? 1 : 0;
        receipt.index = cursor.index - 1;
        const struct pool_entry *entry = pool_find_awaited(node->pool, before, bytes);
        if (entry != NULL)
            TRY(answer_waiters(node, entry, &receipt, &out, err));
        uint32_t submitter;
        uint64_t sequence;
        bool known = pool_peek(before, bytes, &submitter, &sequence);
        assert(known); /* it was executed, too */
        pool_advance(node->pool, submitter, sequence + 1);
    }
    return ERROR_NONE;
}

/* Who hung up waits for nothing: a client that loses patience asks again on a new connection, as often as
 * it likes while the chain stands still. */
static size_t count_waiters(const struct local *local, struct pool_entry *entry) {
    size_t count = 0;
    for (struct pool_waiter **at = &entry->waiters; *at != NULL;) {
        struct pool_waiter *waiter = *at;
        if (local_is_there(local, waiter->client)) {
            count++;
            at = &waiter->next;
        } else {
            *at = waiter->next;
            free(waiter);
        }
    }
    return count;
}

static enum error_code wait_for(const struct asker *asker, struct pool_entry *entry,
                                struct error *err) {
    if (count_waiters(asker->node->local, entry) >= NODE_WAITERS_MAX)
        return error_set(err, ERROR_BUSY, "submit: %d requests wait for this transaction already",
                         NODE_WAITERS_MAX);
    struct pool_waiter *waiter = calloc(1, sizeof *waiter);
    if (waiter == NULL)
        return error_set(err, ERROR_NO_MEMORY, "submit: no memory");
    *waiter = (struct pool_waiter){entry->waiters, asker->client, asker->request};
    entry->waiters = waiter;
    return ERROR_NONE;
}

/* The others are told of it with the next message, and again until it is on the chain. */
static void care_for(struct node *node, struct pool_entry *entry) {
    entry->sent_ms = node_now_ms();
    if (node->mesh == NULL)
        return;
    if (node->outgoing.len + entry->checked->len + 4 > NODE_RESEND_BYTES_MAX)
        node_flush_outgoing(node);
    wire_bytes(&node->outgoing, bytes_of(entry->checked->bytes, entry->checked->len));
}

/* A transaction that is not in the pool and well formed: new, committed already, or too late. */
static enum error_code submit_checked(const struct asker *asker,
                                      struct checked_transaction *checked, struct error *err) {
    struct node *node = asker->node;
    struct state_place place;
    bool found = false;
    if (checked->tx.sequence < pool_next(node->pool, checked->submitter)) /* else it cannot be there */
        TRY(chain_find(node->chain, &checked->tx.id, &place, &found, err));
    if (found) {
        SCOPED_BUFFER struct buffer out;
        buffer_init(&out, LANE_ANSWER_BYTES_MAX);
        TRY(stored_receipt(node, &checked->tx.id, &place, false, &out, err));
        answer(asker, buffer_bytes(&out));
        checked_transaction_free(checked);
        return ERROR_NONE;
    }
    struct pool_entry *entry = NULL;
    switch (pool_add(node->pool, checked, node_now_ms(), chain_height(node->chain), &entry)) {
    case POOL_ADDED:
        care_for(node, entry);
        return wait_for(asker, entry, err);
    case POOL_KNOWN:
        TRY(wait_for(asker, entry, err));
        checked_transaction_free(checked);
        return ERROR_NONE;
    case POOL_CONFLICT:
        return error_set(err, ERROR_TX_REJECTED,
                         "transaction: another one with sequence %llu waits already",
                         (unsigned long long)checked->tx.sequence);
    case POOL_OLD:
        return error_set(err, ERROR_TX_REJECTED,
                         "transaction: sequence %llu is used, the submitter's next one is %llu",
                         (unsigned long long)checked->tx.sequence,
                         (unsigned long long)pool_next(node->pool, checked->submitter));
    case POOL_FULL:
    default:
        return error_set(err, ERROR_BUSY, "the node's pool is full: %zu transactions, %zu bytes",
                         pool_count(node->pool), pool_bytes(node->pool));
    }
}

static enum error_code submit(const struct asker *asker, struct bytes body, struct error *err) {
    struct pool_entry *entry = pool_find_bytes(asker->node->pool,
                                                chain_members(asker->node->chain), body);
    if (entry != NULL) {
        if (entry->sent_ms == 0)
            care_for(asker->node, entry); /* who told us of it may be gone */
        return wait_for(asker, entry, err);
    }
    struct checked_transaction *checked = NULL;
    TRY(application_check(asker->node->chain, body, &checked, err));
    enum error_code code = submit_checked(asker, checked, err);
    if (code != ERROR_NONE) {
        struct pool_entry *held =
            pool_find(asker->node->pool, checked->submitter, checked->tx.sequence);
        if (held == NULL || held->checked != checked)
            checked_transaction_free(checked);
    }
    return code;
}

static enum error_code give_sequence(const struct asker *asker, struct bytes body,
                                     struct error *err) {
    if (body.len != TRANSACTION_KEY_BYTES)
        return error_set(err, ERROR_BAD_REQUEST, "sequence: %zu bytes, expected a key of %d",
                         body.len, TRANSACTION_KEY_BYTES);
    struct state_submitter submitter;
    uint8_t raw[8];
    TRY(chain_submitter(asker->node->chain, body.data, &submitter, err));
    wire_store_u64(raw, submitter.next_sequence);
    answer(asker, bytes_of(raw, sizeof raw));
    return ERROR_NONE;
}

static enum error_code write_version(struct node *node, uint64_t log_index, struct buffer *out,
                                     uint64_t *ret_previous, struct error *err) {
    struct chain_version v;
    TRY(chain_version(node->chain, log_index, &v, err));
    struct lane_version version = {v.leaf,           log_index,      v.place.height,
                                   v.place.transaction, v.place.leaf, v.block_time_ms,
                                   v.transaction,    v.path};
    lane_write_version(out, &version);
    *ret_previous = v.place.previous;
    return buffer_check(out, "version", err);
}

static enum error_code give_history(const struct asker *asker, struct bytes body,
                                    struct error *err) {
    struct wire_reader r = wire_reader(body);
    struct locator locator;
    wire_read_fixed(&r, locator.byte, LOCATOR_BYTES);
    uint32_t most = wire_read_u32(&r);
    if (!wire_read_end(&r) || most == 0 || most > LANE_HISTORY_MAX)
        return error_set(err, ERROR_BAD_REQUEST, "history: expected a locator and 1 to %d",
                         LANE_HISTORY_MAX);
    struct state_record record = {0};
    bool found = false;
    TRY(chain_latest(asker->node->chain, &locator, &record, &found, err));
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    write_head(asker->node, &out);
    uint64_t total = found ? record.version : 0;
    uint32_t count = total < most ? (uint32_t)total : most;
    wire_u64(&out, total);
    wire_u32(&out, count);
    uint64_t next = record.log_index + 1;
    for (uint32_t i = 0; i < count; i++) {
        if (next == 0)
            return error_set(err, ERROR_CORRUPT, "places: a record's versions are not linked");
        TRY(write_version(asker->node, next - 1, &out, &next, err));
    }
    answer(asker, buffer_bytes(&out));
    return ERROR_NONE;
}

static enum error_code give_latest(const struct asker *asker, struct bytes body,
                                   struct error *err) {
    struct wire_reader r = wire_reader(body);
    uint32_t count = wire_read_count(&r, LANE_LOCATORS_MAX, LOCATOR_BYTES);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    write_head(asker->node, &out);
    wire_u32(&out, count);
    for (uint32_t i = 0; i < count; i++) {
        struct locator locator;
        struct state_record record;
        bool found = false;
        uint64_t previous;
        wire_read_fixed(&r, locator.byte, LOCATOR_BYTES);
        TRY(chain_latest(asker->node->chain, &locator, &record, &found, err));
        wire_u8(&out, found ? 1 : 0);
        if (found)
            TRY(write_version(asker->node, record.log_index, &out, &previous, err));
    }
    if (!wire_read_end(&r))
        return error_set(err, ERROR_BAD_REQUEST, "latest: expected at most %d locators",
                         LANE_LOCATORS_MAX);
    answer(asker, buffer_bytes(&out));
    return ERROR_NONE;
}

static enum error_code give_proof(const struct asker *asker, const struct locator *locator,
                                  struct buffer *out, struct error *err) {
    struct map_proof proof;
    uint64_t previous = 0;
    struct hash key = map_key(locator->byte);
    TRY(chain_prove(asker->node->chain, locator, &proof, err));
    map_proof_encode(&proof, out);
    if (!proof.some || !hash_equal(&proof.key, &key))
        return buffer_check(out, "proof", err);
    return write_version(asker->node, proof.value.log_index, out, &previous, err);
}

static enum error_code give_proofs(const struct asker *asker, struct bytes body,
                                   struct error *err) {
    struct wire_reader r = wire_reader(body);
    uint32_t count = wire_read_count(&r, LANE_PROVE_MAX, LOCATOR_BYTES);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    write_head(asker->node, &out);
    wire_u32(&out, count);
    for (uint32_t i = 0; i < count; i++) {
        struct locator locator;
        wire_read_fixed(&r, locator.byte, LOCATOR_BYTES);
        TRY(give_proof(asker, &locator, &out, err));
    }
    if (!wire_read_end(&r))
        return error_set(err, ERROR_BAD_REQUEST, "prove: expected at most %d locators",
                         LANE_PROVE_MAX);
    answer(asker, buffer_bytes(&out));
    return ERROR_NONE;
}

static enum error_code give_block(const struct asker *asker, struct bytes body,
                                  struct error *err) {
    struct wire_reader r = wire_reader(body);
    uint64_t height = wire_read_u64(&r);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_BAD_REQUEST, "block: expected a height");
    SCOPED_BUFFER struct buffer block;
    SCOPED_BUFFER struct buffer certificate;
    SCOPED_BUFFER struct buffer out;
    buffer_init(&block, BLOCK_BYTES_MAX);
    buffer_init(&certificate, STORE_CERTIFICATE_BYTES_MAX);
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    TRY(store_read(chain_store(asker->node->chain), height, &block, &certificate, err));
    wire_bytes(&out, buffer_bytes(&block));
    wire_bytes(&out, buffer_bytes(&certificate));
    TRY(buffer_check(&out, "block", err));
    answer(asker, buffer_bytes(&out));
    return ERROR_NONE;
}

static enum error_code give_transaction(const struct asker *asker, struct bytes body,
                                        struct error *err) {
    struct wire_reader r = wire_reader(body);
    struct hash id;
    struct state_place place;
    bool found = false;
    wire_read_fixed(&r, id.byte, HASH_BYTES);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_BAD_REQUEST, "transaction: expected an id");
    TRY(chain_find(asker->node->chain, &id, &place, &found, err));
    if (!found)
        return error_set(err, ERROR_NOT_FOUND, "transaction: the chain has none with this id");
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    TRY(stored_receipt(asker->node, &id, &place, true, &out, err));
    answer(asker, buffer_bytes(&out));
    return ERROR_NONE;
}

static enum error_code give_checkpoint(const struct asker *asker, struct bytes body,
                                       struct error *err) {
    uint8_t raw[1 + HASH_BYTES] = {0};
    struct wire_reader r = wire_reader(body);
    struct hash other;
    struct state_checkpoint last;
    bool found = false;
    wire_read_fixed(&r, other.byte, HASH_BYTES);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_BAD_REQUEST, "checkpoint: expected a chain's id");
    TRY(chain_checkpoint(asker->node->chain, &other, &last, &found, err));
    raw[0] = found ? 1 : 0;
    if (found)
        memcpy(raw + 1, last.transaction.byte, HASH_BYTES);
    answer(asker, bytes_of(raw, sizeof raw));
    return ERROR_NONE;
}

static enum error_code give_epochs(const struct asker *asker, struct bytes body,
                                   struct error *err) {
    struct wire_reader r = wire_reader(body);
    uint64_t first = wire_read_u64(&r);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_BAD_REQUEST, "epochs: expected the number of an epoch");
    SCOPED_BUFFER struct buffer list;
    SCOPED_BUFFER struct buffer out;
    buffer_init(&list, LANE_ANSWER_BYTES_MAX);
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    uint32_t count = 0;
    TRY(chain_epochs(asker->node->chain, first, LANE_EPOCHS_BYTES, &list, &count, err));
    wire_u32(&out, count);
    wire_fixed(&out, list.data, list.len);
    TRY(buffer_check(&out, "epochs", err));
    answer(asker, buffer_bytes(&out));
    return ERROR_NONE;
}

static enum error_code give_text(const struct asker *asker, struct error *err) {
    SCOPED_BUFFER struct buffer text;
    SCOPED_BUFFER struct buffer out;
    buffer_init(&text, LANE_TEXT_BYTES_MAX);
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    if (asker->kind == LANE_STATUS)
        TRY(node_status_json(asker->node, &text, err));
    else
        node_metrics(asker->node, &text);
    TRY(buffer_check(&text, "status", err));
    wire_bytes(&out, buffer_bytes(&text));
    answer(asker, buffer_bytes(&out));
    return ERROR_NONE;
}

static enum error_code give_head(const struct asker *asker) {
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LANE_ANSWER_BYTES_MAX);
    write_head(asker->node, &out);
    answer(asker, buffer_bytes(&out));
    return ERROR_NONE;
}

static enum error_code handle(const struct asker *asker, struct bytes body, struct error *err) {
    switch (asker->kind) {
    case LANE_SUBMIT:
        return submit(asker, body, err);
    case LANE_HEAD:
        return give_head(asker);
    case LANE_SEQUENCE:
        return give_sequence(asker, body, err);
    case LANE_HISTORY:
        return give_history(asker, body, err);
    case LANE_LATEST:
        return give_latest(asker, body, err);
    case LANE_PROVE:
        return give_proofs(asker, body, err);
    case LANE_BLOCK:
        return give_block(asker, body, err);
    case LANE_TRANSACTION:
        return give_transaction(asker, body, err);
    case LANE_EPOCHS:
        return give_epochs(asker, body, err);
    case LANE_CHECKPOINT:
        return give_checkpoint(asker, body, err);
    case LANE_STATUS:
    case LANE_METRICS:
        return give_text(asker, err);
    default:
        return error_set(err, ERROR_BAD_REQUEST, "request: kind %u is not known", asker->kind);
    }
}

void node_request(void *context, uint64_t client, unsigned kind, uint32_t request,
                  struct bytes body) {
    struct node *node = context;
    struct asker asker = {node, client, kind, request};
    struct error err;
    if (handle(&asker, body, &err) == ERROR_NONE)
        return;
    if (kind == LANE_SUBMIT)
        node->count.refused++;
    local_refuse(node->local, client, request, &err);
}
