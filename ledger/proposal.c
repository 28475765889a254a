#include "ledger/proposal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"

enum { SUBMITTER_AT = 1, SEQUENCE_AT = 5, LEAF_AT = 13, REQUEST_HEAD_BYTES = 8 + HASH_BYTES };

struct proposal {
    struct block_header header;
    struct hash digest;
    struct buffer block; /* the header, and the entries found so far */
    uint32_t found;
    uint8_t entries[]; /* header.transaction_count of them */
};

void proposal_write(const struct pool *pool, const struct members *members, struct bytes raw,
                    struct buffer *out) {
    struct block block;
    enum error_code code = block_decode(raw, &block, NULL);
    assert(code == ERROR_NONE); /* we built it */
    wire_fixed(out, raw.data, BLOCK_HEADER_BYTES);
    struct block_cursor cursor = block_cursor(&block);
    struct bytes bytes;
    enum transaction_status status;
    while (block_next(&cursor, &bytes, &status)) {
        const struct pool_entry *entry = pool_find_bytes(pool, members, bytes);
        assert(entry != NULL); /* blocks are built of the pool */
        struct hash leaf = checked_transaction_leaf(entry->checked, status);
        wire_u8(out, (uint8_t)status);
        wire_u32(out, entry->checked->submitter);
        wire_u64(out, entry->checked->tx.sequence);
        wire_fixed(out, leaf.byte, HASH_BYTES);
    }
}

enum error_code proposal_read(struct bytes input, struct proposal **ret_proposal,
                              struct error *err) {
    if (input.len < BLOCK_HEADER_BYTES || input.len > PROPOSAL_BYTES_MAX)
        return error_set(err, ERROR_PROTOCOL, "proposal: %zu bytes, expected %d to %d", input.len,
                         BLOCK_HEADER_BYTES, PROPOSAL_BYTES_MAX);
    struct block_header header;
    TRY(block_header_decode(bytes_of(input.data, BLOCK_HEADER_BYTES), &header, err));
    const uint8_t *entries = input.data + BLOCK_HEADER_BYTES;
    size_t entries_len = input.len - BLOCK_HEADER_BYTES;
    if (header.transaction_count > BLOCK_TRANSACTIONS_MAX ||
        header.size > BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES ||
        entries_len != (size_t)header.transaction_count * PROPOSAL_ENTRY_BYTES)
        return error_set(err, ERROR_PROTOCOL,
                         "proposal: header says %u bytes and %u transactions, found %zu bytes",
                         header.size, header.transaction_count, input.len);
    for (uint32_t i = 0; i < header.transaction_count; i++)
        if (entries[(size_t)i * PROPOSAL_ENTRY_BYTES] >= TX_STATUS_COUNT)
            return error_set(err, ERROR_PROTOCOL,
                             "proposal: transaction %u has an unknown status", i);
    struct proposal *p = malloc(sizeof *p + entries_len);
    if (p == NULL)
        return error_set(err, ERROR_NO_MEMORY, "proposal: no memory");
    *p = (struct proposal){.header = header, .digest = block_hash(&header)};
    memcpy(p->entries, entries, entries_len);
    buffer_init(&p->block, BLOCK_BYTES_MAX);
    *ret_proposal = p;
    return ERROR_NONE;
}

void proposal_free(struct proposal *proposal) {
    if (proposal == NULL)
        return;
    buffer_done(&proposal->block);
    free(proposal);
}

const struct block_header *proposal_header(const struct proposal *proposal) {
    return &proposal->header;
}

size_t proposal_bytes(const struct proposal *proposal) {
    return sizeof *proposal + (size_t)proposal->header.transaction_count * PROPOSAL_ENTRY_BYTES +
           BLOCK_HEADER_BYTES + proposal->header.size;
}

/* PROPOSAL_WHOLE where the pool's transaction is the one that the entry names. */
static enum proposal_state find(const struct proposal *p, uint32_t index, const struct pool *pool,
                                const struct members *members,
                                const struct checked_transaction **ret_tx) {
    const uint8_t *at = p->entries + (size_t)index * PROPOSAL_ENTRY_BYTES;
    uint32_t submitter = wire_load_u32(at + SUBMITTER_AT);
    if (submitter >= members->submitter_count)
        return PROPOSAL_MISSING;
    const struct pool_entry *entry = pool_find(pool, submitter, wire_load_u64(at + SEQUENCE_AT));
    if (entry == NULL)
        return PROPOSAL_MISSING;
    struct hash leaf =
        checked_transaction_leaf(entry->checked, (enum transaction_status)at[0]);
    if (memcmp(leaf.byte, at + LEAF_AT, HASH_BYTES) != 0)
        return PROPOSAL_OTHER;
    *ret_tx = entry->checked;
    return PROPOSAL_WHOLE;
}

enum proposal_state proposal_rebuild(struct proposal *p, const struct pool *pool,
                                     const struct members *members) {
    if (p->header.epoch != members->epoch)
        return PROPOSAL_MISSING; /* numbers of submitters are those of the block's own epoch */
    size_t whole = BLOCK_HEADER_BYTES + (size_t)p->header.size;
    if (p->block.len == 0) {
        uint8_t *at = buffer_reserve(&p->block, whole); /* at once, instead of growing to it */
        if (at == NULL)
            return PROPOSAL_WRONG;
        block_header_encode(&p->header, at);
        p->block.len = BLOCK_HEADER_BYTES;
    }
    for (; p->found < p->header.transaction_count; p->found++) {
        const struct checked_transaction *tx = NULL;
        enum proposal_state state = find(p, p->found, pool, members, &tx);
        if (state != PROPOSAL_WHOLE)
            return state;
        if (tx->len + BLOCK_ENTRY_BYTES > whole - p->block.len)
            return PROPOSAL_WRONG;
        const uint8_t *at = p->entries + (size_t)p->found * PROPOSAL_ENTRY_BYTES;
        block_entry(&p->block, bytes_of(tx->bytes, tx->len), (enum transaction_status)at[0]);
    }
    return p->block.len == whole ? PROPOSAL_WHOLE : PROPOSAL_WRONG;
}

void proposal_take(struct proposal *proposal, struct buffer *ret_block) {
    *ret_block = proposal->block;
    buffer_init(&proposal->block, BLOCK_BYTES_MAX);
}

void proposal_awaits(const struct proposal *p, const struct members *members, uint64_t *ret_last) {
    for (uint32_t i = p->found; i < p->header.transaction_count; i++) {
        const uint8_t *at = p->entries + (size_t)i * PROPOSAL_ENTRY_BYTES;
        uint32_t submitter = wire_load_u32(at + SUBMITTER_AT);
        uint64_t sequence = wire_load_u64(at + SEQUENCE_AT);
        if (submitter < members->submitter_count && sequence > ret_last[submitter])
            ret_last[submitter] = sequence;
    }
}

uint32_t proposal_missing(const struct proposal *p, const struct pool *pool,
                          const struct members *members,
                          uint32_t ret_indexes[PROPOSAL_MISSING_MAX]) {
    uint32_t count = 0;
    const struct checked_transaction *tx = NULL;
    for (uint32_t i = p->found; i < p->header.transaction_count; i++) {
        if (p->header.epoch == members->epoch &&
            find(p, i, pool, members, &tx) == PROPOSAL_WHOLE)
            continue;
        if (count == PROPOSAL_MISSING_MAX)
            return PROPOSAL_MISSING_MAX + 1;
        ret_indexes[count++] = i;
    }
    return count;
}

void proposal_ask(const struct proposal *p, const uint32_t *indexes, uint32_t count,
                  struct buffer *out) {
    wire_u64(out, p->header.height);
    wire_fixed(out, p->digest.byte, HASH_BYTES);
    for (uint32_t i = 0; i < count; i++)
        wire_u32(out, indexes[i]);
}

enum error_code proposal_request_read(struct bytes input, struct proposal_request *ret_request,
                                      struct error *err) {
    struct proposal_request request;
    struct wire_reader r = wire_reader(input);
    request.height = wire_read_u64(&r);
    wire_read_fixed(&r, request.digest.byte, HASH_BYTES);
    size_t left = wire_read_left(&r);
    if (r.failed || left == 0 || left % 4 != 0 || left / 4 > PROPOSAL_MISSING_MAX)
        return error_set(err, ERROR_PROTOCOL,
                         "request for transactions: %zu bytes, expected %d and 1 to %d numbers",
                         input.len, REQUEST_HEAD_BYTES, PROPOSAL_MISSING_MAX);
    request.count = (uint32_t)(left / 4);
    for (uint32_t i = 0; i < request.count; i++) {
        request.indexes[i] = wire_read_u32(&r);
        if (i > 0 && request.indexes[i] <= request.indexes[i - 1])
            return error_set(err, ERROR_PROTOCOL,
                             "request for transactions: %u stands after %u, expected ascending",
                             request.indexes[i], request.indexes[i - 1]);
    }
    *ret_request = request;
    return ERROR_NONE;
}

void proposal_answer(struct bytes raw, const struct proposal_request *request,
                     struct buffer *out) {
    struct block block;
    if (block_decode(raw, &block, NULL) != ERROR_NONE)
        return;
    struct block_cursor cursor = block_cursor(&block);
    struct bytes bytes;
    enum transaction_status status;
    for (uint32_t i = 0; i < request->count && block_next(&cursor, &bytes, &status);)
        if (cursor.index - 1 == request->indexes[i]) {
            wire_bytes(out, bytes);
            i++;
        }
}
