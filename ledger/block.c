#include "ledger/block.h"

#include <assert.h>
#include <string.h>

#include "base/array.h"
#include "base/wire.h"
#include "ledger/genesis.h"
#include "ledger/members.h"
#include "ledger/merkle/merkle.h"

enum { BLOCK_FORMAT = 1, BLOCK_SHA256 = 1 };

static const char domain[] = "renkei/block/1\n";

void block_header_encode(const struct block_header *header, uint8_t ret_bytes[BLOCK_HEADER_BYTES]) {
    uint8_t *at = ret_bytes;
    at[0] = BLOCK_FORMAT;
    at[1] = BLOCK_SHA256;
    wire_store_u16(at + 2, 0);
    memcpy(at + 4, header->chain.byte, HASH_BYTES);
    wire_store_u64(at + 36, header->epoch);
    wire_store_u64(at + 44, header->height);
    memcpy(at + 52, header->previous.byte, HASH_BYTES);
    wire_store_u64(at + 84, header->time_ms);
    wire_store_u32(at + 92, header->transaction_count);
    wire_store_u32(at + 96, header->size);
    memcpy(at + 100, header->transaction_root.byte, HASH_BYTES);
    wire_store_u64(at + 132, header->log_size);
    memcpy(at + 140, header->log_root.byte, HASH_BYTES);
    wire_store_u64(at + 172, header->map_height);
    memcpy(at + 180, header->map_root.byte, HASH_BYTES);
    memcpy(at + 212, header->members.byte, HASH_BYTES);
}

enum error_code block_header_decode(struct bytes input, struct block_header *ret_header,
                                    struct error *err) {
    if (input.len != BLOCK_HEADER_BYTES)
        return error_set(err, ERROR_PROTOCOL, "block header: %zu bytes, expected %d", input.len,
                         BLOCK_HEADER_BYTES);
    const uint8_t *at = input.data;
    if (at[0] != BLOCK_FORMAT || at[1] != BLOCK_SHA256 || at[2] != 0 || at[3] != 0)
        return error_set(err, ERROR_PROTOCOL,
                         "block header: format %u, algorithm %u; expected 1 and 1", at[0], at[1]);
    struct block_header h = {
        .epoch = wire_load_u64(at + 36),
        .height = wire_load_u64(at + 44),
        .time_ms = wire_load_u64(at + 84),
        .transaction_count = wire_load_u32(at + 92),
        .size = wire_load_u32(at + 96),
        .log_size = wire_load_u64(at + 132),
        .map_height = wire_load_u64(at + 172),
    };
    memcpy(h.chain.byte, at + 4, HASH_BYTES);
    memcpy(h.previous.byte, at + 52, HASH_BYTES);
    memcpy(h.transaction_root.byte, at + 100, HASH_BYTES);
    memcpy(h.log_root.byte, at + 140, HASH_BYTES);
    memcpy(h.map_root.byte, at + 180, HASH_BYTES);
    memcpy(h.members.byte, at + 212, HASH_BYTES);
    *ret_header = h;
    return ERROR_NONE;
}

struct hash block_hash(const struct block_header *header) {
    uint8_t raw[BLOCK_HEADER_BYTES];
    block_header_encode(header, raw);
    struct bytes parts[] = {bytes_of(domain, sizeof domain - 1), bytes_of(raw, sizeof raw)};
    return sha256_of_parts(parts, 2);
}

const char *transaction_status_text(enum transaction_status status) {
    static const char *const texts[TX_STATUS_COUNT] = {
        [TX_DONE] = "done",
        [TX_VERSION] = "a version is not the latest version plus one",
        [TX_PREVIOUS] = "a leaf's previous hash is not that of the latest version",
        [TX_OWNER] = "what it continues belongs to another submitter",
        [TX_OPERATION] = "an operation does not fit the state of what it changes",
        [TX_UNKNOWN] = "what it speaks of is not on the chain",
        [TX_EPOCH] = "the members have changed since it was made, or change in this block already",
        [TX_SIGNATURES] = "too few of the validators signed the change, or one signed wrongly",
        [TX_CHANGE] = "the change does not fit the list of members",
        [TX_EVIDENCE] = "the evidence proves nothing against a key that votes",
        [TX_CHECKPOINT] = "a checkpoint of that chain, at this height or above it, is there already",
        [TX_REFERENCE] = "a reference to a person's key stands on the chain already",
        [TX_PERMISSION] = "no permission in force allows it to this submitter",
        [TX_ROLE] = "the submitter's role may not submit this type",
    };
    return (unsigned)status < TX_STATUS_COUNT ? texts[status] : "unknown status";
}

enum error_code block_decode(struct bytes input, struct block *ret_block, struct error *err) {
    if (input.len < BLOCK_HEADER_BYTES || input.len > BLOCK_BYTES_MAX)
        return error_set(err, ERROR_PROTOCOL, "block: %zu bytes, expected %d to %d", input.len,
                         BLOCK_HEADER_BYTES, BLOCK_BYTES_MAX);
    struct block block;
    TRY(block_header_decode(bytes_of(input.data, BLOCK_HEADER_BYTES), &block.header, err));
    block.entries = bytes_of(input.data + BLOCK_HEADER_BYTES, input.len - BLOCK_HEADER_BYTES);
    uint32_t count = block.header.transaction_count;
    if (block.header.size != block.entries.len || count > BLOCK_TRANSACTIONS_MAX)
        return error_set(err, ERROR_PROTOCOL,
                         "block: header says %u bytes and %u transactions, found %zu bytes",
                         block.header.size, count, block.entries.len);
    struct wire_reader r = wire_reader(block.entries);
    for (uint32_t i = 0; i < count && !r.failed; i++) {
        if (wire_read_u8(&r) >= TX_STATUS_COUNT)
            return error_set(err, ERROR_PROTOCOL, "block: transaction %u has an unknown status", i);
        wire_read_bytes(&r, TRANSACTION_BYTES_MAX);
    }
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "block: its bytes are not %u whole transactions",
                         count);
    *ret_block = block;
    return ERROR_NONE;
}

struct block_cursor block_cursor(const struct block *block) {
    return (struct block_cursor){
        {block->entries.data, block->entries.data + block->entries.len}, 0};
}

bool block_next(struct block_cursor *cursor, struct bytes *ret_transaction,
                enum transaction_status *ret_status) {
    if (cursor->rest.at == cursor->rest.end)
        return false;
    const uint8_t *at = cursor->rest.at;
    uint32_t len = wire_load_u32(at + 1);
    assert((size_t)(cursor->rest.end - at) >= BLOCK_ENTRY_BYTES + (size_t)len);
    *ret_status = (enum transaction_status)at[0];
    *ret_transaction = bytes_of(at + BLOCK_ENTRY_BYTES, len);
    cursor->rest.at = at + BLOCK_ENTRY_BYTES + len;
    cursor->index++;
    return true;
}

void block_entry(struct buffer *entries, struct bytes transaction, enum transaction_status status) {
    wire_u8(entries, (uint8_t)status);
    wire_bytes(entries, transaction);
}

struct hash block_transaction_leaf(const struct transaction *tx, enum transaction_status status) {
    uint8_t raw[1 + HASH_BYTES + TRANSACTION_SIGNATURE_BYTES + 1];
    raw[0] = 0x00;
    memcpy(raw + 1, tx->id.byte, HASH_BYTES);
    memcpy(raw + 1 + HASH_BYTES, tx->signature, TRANSACTION_SIGNATURE_BYTES);
    raw[sizeof raw - 1] = (uint8_t)status;
    return sha256_of(bytes_of(raw, sizeof raw));
}

enum error_code block_leaves(const struct block *block, struct hash *ret_leaves,
                             struct error *err) {
    struct block_cursor cursor = block_cursor(block);
    struct bytes bytes;
    enum transaction_status status;
    while (block_next(&cursor, &bytes, &status)) {
        struct transaction tx;
        TRY(transaction_decode(bytes, &tx, err));
        ret_leaves[cursor.index - 1] = block_transaction_leaf(&tx, status);
    }
    return ERROR_NONE;
}

bool block_entries_fit(struct bytes input) {
    struct block block;
    if (block_decode(input, &block, NULL) != ERROR_NONE)
        return false;
    uint32_t count = block.header.transaction_count;
    SCOPED_FREE struct hash *leaves = array_new((size_t)count + 1, sizeof *leaves);
    if (block_leaves(&block, leaves, NULL) != ERROR_NONE)
        return false;
    struct hash root = merkle_root_of(leaves, count);
    return hash_equal(&root, &block.header.transaction_root);
}

void block_genesis_header(const struct genesis *genesis, const struct members *members,
                          struct block_header *ret_header) {
    struct merkle_frontier empty;
    merkle_frontier_init(&empty);
    *ret_header = (struct block_header){
        .chain = genesis->chain,
        .time_ms = genesis->created_ms,
        .transaction_root = merkle_root(&empty),
        .log_root = merkle_root(&empty),
        .members = members->hash,
    };
}
