#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "gateway/rest/emit.h"
#include "gateway/rest/routes.h"
#include "ledger/anchor.h"
#include "ledger/block.h"
#include "ledger/transaction.h"

enum { BLOCKS_LIMIT_DEFAULT = 20, BLOCKS_LIMIT_MAX = 100, CERTIFICATE_BYTES_MAX = 1 << 16 };

static const char type_json[] = "application/json";

void rest__emit_head(struct buffer *out, const char *name, const struct ledger_head *head) {
    emit_object(out, name);
    emit_u64(out, "height", head->height);
    emit_u64(out, "view", head->view);
    emit_time(out, "time", head->time_ms);
    emit_hash(out, "block", &head->block);
    emit_u64(out, "leaves", head->leaves);
    emit_hash(out, "logRoot", &head->log_root);
    emit_u64(out, "validators", head->validators);
    emit_u64(out, "faultsTolerated", head->faults_tolerated);
    emit_u64(out, "signatures", head->signatures);
    emit_text(out, "assurance", head->validators == 1 ? "self-attested" : "consortium");
    emit_object_end(out);
}

enum error_code chain_status(struct rest *rest, struct rest_request *request,
                             struct rest_answer *answer, struct error *err) {
    static const char *const none[] = {NULL};
    TRY(rest__query_only(request, none, err));
    struct ledger_head head;
    TRY(rest->backend.head(rest->backend.context, &head, err));
    rest__emit_head(&answer->body, NULL, &head);
    answer->content_type = type_json;
    return ERROR_NONE;
}

static void emit_header(struct buffer *out, const struct block_header *header) {
    struct hash hash = block_hash(header);
    emit_u64(out, "height", header->height);
    emit_hash(out, "hash", &hash);
    emit_hash(out, "previous", &header->previous);
    emit_time(out, "time", header->time_ms);
    emit_u64(out, "epoch", header->epoch);
    emit_u64(out, "transactionCount", header->transaction_count);
    emit_u64(out, "size", header->size);
    emit_hash(out, "transactionRoot", &header->transaction_root);
    emit_u64(out, "leaves", header->log_size);
    emit_hash(out, "logRoot", &header->log_root);
    emit_hash(out, "chain", &header->chain);
    emit_hash(out, "members", &header->members);
}

static enum error_code read_block(struct rest *rest, uint64_t height, struct buffer *bytes,
                                  struct buffer *certificate, struct block *ret_block,
                                  struct error *err) {
    TRY(rest->backend.block(rest->backend.context, height, bytes, certificate, err));
    return block_decode(buffer_bytes(bytes), ret_block, err);
}

/* The newest first; the cursor is the height below which to go on. */
enum error_code chain_blocks(struct rest *rest, struct rest_request *request,
                             struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"cursor", "limit", NULL};
    TRY(rest__query_only(request, names, err));
    uint64_t limit = 0, before = 0;
    TRY(rest__query_number(request, "limit", BLOCKS_LIMIT_DEFAULT, 1, BLOCKS_LIMIT_MAX, &limit,
                           err));
    TRY(rest__query_number(request, "cursor", UINT64_MAX, 1, UINT64_MAX, &before, err));
    struct ledger_head head;
    TRY(rest->backend.head(rest->backend.context, &head, err));
    uint64_t height = before <= head.height ? before - 1 : head.height;
    struct buffer *out = &answer->body;
    SCOPED_BUFFER struct buffer bytes, certificate;
    buffer_init(&bytes, BLOCK_BYTES_MAX + BLOCK_HEADER_BYTES);
    buffer_init(&certificate, CERTIFICATE_BYTES_MAX);
    emit_object(out, NULL);
    emit_list(out, "blocks");
    for (; height > 0 && limit > 0; height--, limit--) {
        struct block block;
        buffer_clear(&bytes);
        buffer_clear(&certificate);
        TRY(read_block(rest, height, &bytes, &certificate, &block, err));
        emit_object(out, NULL);
        emit_header(out, &block.header);
        emit_object_end(out);
    }
    emit_list_end(out);
    if (height > 0)
        buffer_append_format(out, ",\"next\":\"%llu\"", (unsigned long long)height + 1);
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}

static void emit_transaction(struct buffer *out, const struct transaction *tx) {
    emit_hash(out, "id", &tx->id);
    emit_text(out, "type", transaction_type_name(tx->type));
    emit_hex(out, "submitter", bytes_of(tx->submitter, sizeof tx->submitter));
    emit_u64(out, "sequence", tx->sequence);
    emit_time(out, "time", tx->wall_ms);
}

static void emit_base64(struct buffer *out, const char *name, struct bytes data) {
    buffer_append_format(out, ",\"%s\":\"", name);
    text_base64(data, out);
    buffer_append_byte(out, '"');
}

enum error_code chain_block(struct rest *rest, struct rest_request *request,
                            struct rest_answer *answer, struct error *err) {
    static const char *const none[] = {NULL};
    TRY(rest__query_only(request, none, err));
    uint64_t height = 0;
    if (!text_u64(request->segment, &height) || height == 0)
        return error_set(err, ERROR_BAD_REQUEST, "the block: its height is a number from 1");
    SCOPED_BUFFER struct buffer bytes, certificate;
    buffer_init(&bytes, BLOCK_BYTES_MAX + BLOCK_HEADER_BYTES);
    buffer_init(&certificate, CERTIFICATE_BYTES_MAX);
    struct block block;
    TRY(read_block(rest, height, &bytes, &certificate, &block, err));
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    emit_header(out, &block.header);
    uint8_t header[BLOCK_HEADER_BYTES];
    block_header_encode(&block.header, header);
    emit_base64(out, "header", bytes_of(header, sizeof header));
    emit_base64(out, "certificate", buffer_bytes(&certificate));
    emit_list(out, "transactions");
    struct block_cursor cursor = block_cursor(&block);
    struct bytes entry;
    enum transaction_status status;
    while (block_next(&cursor, &entry, &status)) {
        struct transaction tx;
        TRY(transaction_decode(entry, &tx, err));
        emit_object(out, NULL);
        emit_transaction(out, &tx);
        emit_u64(out, "bytes", entry.len);
        emit_text(out, "result", transaction_status_text(status));
        emit_object_end(out);
    }
    emit_list_end(out);
    emit_object_end(out);
    answer->content_type = type_json;
    answer->cacheable = true;
    return ERROR_NONE;
}

static const char *operation_name(enum leaf_operation operation) {
    static const char *const names[] = {"", "create", "modify", "delete"};
    return names[operation];
}

static void emit_leaf(struct buffer *out, const struct leaf *leaf) {
    struct hash hash = leaf_hash(leaf);
    emit_object(out, NULL);
    emit_hash(out, "leaf", &hash);
    emit_hex(out, "locator", bytes_of(leaf->locator.byte, LOCATOR_BYTES));
    emit_u64(out, "version", leaf->version);
    emit_text(out, "operation", operation_name(leaf->operation));
    emit_text(out, "origin", leaf->origin == LEAF_DECLARED ? "declared" : "observed");
    emit_hash(out, "previous", &leaf->previous);
    emit_hash(out, "content", &leaf->content);
    emit_hash(out, "raw", &leaf->raw);
    emit_hash(out, "mapping", &leaf->mapping);
    emit_object_end(out);
}

static enum error_code emit_anchor(struct buffer *out, struct bytes body, struct error *err) {
    struct anchor anchor;
    TRY(anchor_decode(body, &anchor, err));
    emit_hash(out, "source", &anchor.source);
    emit_u64(out, "batch", anchor.batch);
    emit_hex(out, "snapshot", anchor.snapshot);
    emit_hash(out, "root", &anchor.root);
    emit_list(out, "leaves");
    struct anchor_cursor cursor = anchor_cursor(&anchor);
    struct leaf leaf;
    while (anchor_next(&cursor, &leaf))
        emit_leaf(out, &leaf);
    emit_list_end(out);
    return ERROR_NONE;
}

static enum error_code emit_incident(struct buffer *out, struct bytes body, struct error *err) {
    struct incident incident;
    TRY(incident_decode(body, &incident, err));
    emit_text(out, "incident", incident.kind == INCIDENT_MISMATCH ? "mismatch" : "missing");
    emit_hex(out, "locator", bytes_of(incident.locator.byte, LOCATOR_BYTES));
    emit_u64(out, "version", incident.version);
    emit_hash(out, "content", &incident.content);
    emit_hash(out, "raw", &incident.raw);
    emit_time(out, "observed", incident.observed_ms);
    return ERROR_NONE;
}

enum error_code chain_transaction(struct rest *rest, struct rest_request *request,
                                  struct rest_answer *answer, struct error *err) {
    static const char *const none[] = {NULL};
    TRY(rest__query_only(request, none, err));
    struct hash id;
    if (!text_unhex(request->segment, HASH_BYTES, id.byte))
        return error_set(err, ERROR_BAD_REQUEST, "the transaction: its id is %d hexadecimal digits",
                         2 * HASH_BYTES);
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, TRANSACTION_BYTES_MAX);
    struct ledger_receipt receipt;
    TRY(rest->backend.transaction(rest->backend.context, &id, &bytes, &receipt, err));
    answer->cacheable = true;
    if (rest__accepts(request->header[HEADER_ACCEPT], "application/octet-stream")) {
        buffer_append(&answer->body, bytes.data, bytes.len);
        answer->content_type = "application/octet-stream";
        return ERROR_NONE;
    }
    struct transaction tx;
    TRY(transaction_decode(buffer_bytes(&bytes), &tx, err));
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    emit_transaction(out, &tx);
    emit_u64(out, "bytes", bytes.len);
    emit_text(out, "result", receipt.result == LEDGER_COMMITTED ? "committed" : "failed");
    if (receipt.reason[0] != '\0')
        emit_text(out, "reason", receipt.reason);
    emit_u64(out, "height", receipt.position.height);
    emit_u64(out, "index", receipt.position.transaction);
    emit_time(out, "blockTime", receipt.block_time_ms);
    emit_hex(out, "signature", bytes_of(tx.signature, sizeof tx.signature));
    if (tx.type == TRANSACTION_ANCHOR)
        TRY(emit_anchor(out, tx.body, err));
    else if (tx.type == TRANSACTION_INCIDENT)
        TRY(emit_incident(out, tx.body, err));
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}

enum error_code chain_history(struct rest *rest, struct rest_request *request,
                              struct rest_answer *answer, struct error *err) {
    static const char *const none[] = {NULL};
    TRY(rest__query_only(request, none, err));
    struct locator locator;
    if (!text_unhex(request->segment, LOCATOR_BYTES, locator.byte))
        return error_set(err, ERROR_BAD_REQUEST, "the locator: %d hexadecimal digits",
                         2 * LOCATOR_BYTES);
    size_t count = 0;
    uint64_t total = 0;
    struct ledger_version *versions =
        arena_alloc(request->arena, LEDGER_HISTORY_MAX * sizeof *versions);
    if (versions == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the record's history");
    TRY(rest->backend.history(rest->backend.context, &locator, versions, LEDGER_HISTORY_MAX, &count,
                              &total, err));
    if (count == 0)
        return error_set(err, ERROR_NOT_FOUND, "the chain knows no such locator");
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    emit_hex(out, "locator", bytes_of(locator.byte, sizeof locator.byte));
    emit_u64(out, "total", total);
    emit_list(out, "versions");
    for (size_t i = 0; i < count; i++) {
        const struct ledger_version *v = &versions[i];
        emit_object(out, NULL);
        emit_u64(out, "version", v->leaf.version);
        emit_text(out, "operation", operation_name(v->leaf.operation));
        emit_text(out, "origin", v->leaf.origin == LEAF_DECLARED ? "declared" : "observed");
        emit_time(out, "anchored", v->block_time_ms);
        emit_u64(out, "height", v->position.height);
        emit_hash(out, "transaction", &v->transaction);
        emit_u64(out, "leafIndex", v->position.leaf);
        emit_u64(out, "logIndex", v->position.log_index);
        emit_hash(out, "leaf", &v->leaf_hash);
        emit_hash(out, "previous", &v->leaf.previous);
        emit_hash(out, "content", &v->leaf.content);
        emit_hash(out, "raw", &v->leaf.raw);
        emit_hash(out, "mapping", &v->leaf.mapping);
        emit_object_end(out);
    }
    emit_list_end(out);
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}
