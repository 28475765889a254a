#include "ledger/chain_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"

uint64_t chain__top_height(const struct chain *chain) {
    return state_height(chain->state);
}

struct tentative *chain__tentative_at(const struct chain *chain, uint64_t height) {
    if (height <= chain->head.height || height > chain__top_height(chain))
        return NULL;
    return chain->tentative[height - chain->head.height - 1];
}

/* Makes the next list from the block that ended the epoch in force. */
static enum error_code read_epoch(struct chain *chain, struct epochs *epochs, bool *ret_some,
                                  struct buffer *block, struct buffer *certificate,
                                  struct error *err) {
    struct state_base base = store_base(chain->store);
    uint8_t epoch[sizeof(uint64_t)];
    wire_store_u64(epoch, epochs->members->epoch + 1);
    struct state_key key = state_key(STATE_EPOCH, epoch, sizeof epoch);
    struct state_value value;
    bool found = false;
    TRY(base.get(base.self, &key, &value, &found, err));
    *ret_some = found;
    if (!found)
        return ERROR_NONE;
    struct block decoded;
    buffer_clear(block);
    buffer_clear(certificate);
    TRY(store_read(chain->store, wire_load_u64(value.byte), block, certificate, err));
    TRY(block_decode(buffer_bytes(block), &decoded, err));
    return epochs_read(epochs, &decoded, err);
}

enum error_code chain__open_epochs(struct chain *chain, struct epochs *epochs, struct error *err) {
    SCOPED_BUFFER struct buffer block;
    SCOPED_BUFFER struct buffer certificate;
    buffer_init(&block, BLOCK_BYTES_MAX);
    buffer_init(&certificate, STORE_CERTIFICATE_BYTES_MAX);
    epochs_init(epochs, members_of_genesis(chain->genesis));
    block_genesis_header(chain->genesis, epochs->members, &chain->epoch_base);
    chain->head = chain->epoch_base;
    chain->head_hash = block_hash(&chain->head);
    for (bool some = true; some;) {
        TRY(read_epoch(chain, epochs, &some, &block, &certificate, err));
        if (some)
            TRY(block_header_decode(bytes_of(block.data, BLOCK_HEADER_BYTES), &chain->epoch_base,
                                    err));
    }
    return ERROR_NONE;
}

enum error_code chain_epochs(struct chain *chain, uint64_t first, size_t bytes_max,
                             struct buffer *out, uint32_t *ret_count, struct error *err) {
    SCOPED_BUFFER struct buffer block;
    SCOPED_BUFFER struct buffer certificate;
    SCOPED_BUFFER struct buffer list;
    buffer_init(&block, BLOCK_BYTES_MAX);
    buffer_init(&certificate, STORE_CERTIFICATE_BYTES_MAX);
    buffer_init(&list, MEMBERS_BYTES_MAX);
    struct epochs epochs;
    epochs_init(&epochs, members_of_genesis(chain->genesis));
    size_t start = out->len;
    uint32_t count = 0;
    enum error_code code = ERROR_NONE;
    for (bool some = true; some && code == ERROR_NONE && out->len - start < bytes_max;) {
        code = read_epoch(chain, &epochs, &some, &block, &certificate, err);
        if (code != ERROR_NONE || !some || epochs.members->epoch <= first)
            continue;
        buffer_clear(&list);
        members_encode(epochs.members, &list);
        wire_fixed(out, block.data, BLOCK_HEADER_BYTES);
        wire_bytes(out, buffer_bytes(&certificate));
        wire_bytes(out, buffer_bytes(&list));
        count++;
    }
    epochs_done(&epochs);
    *ret_count = count;
    return code;
}

const struct members *chain_members(const struct chain *chain) {
    return state_members(chain->state);
}

const struct members *chain_members_of(const struct chain *chain, uint64_t epoch) {
    return state_members_of(chain->state, epoch);
}

const struct block_header *chain_epoch_base(const struct chain *chain) {
    return &chain->epoch_base;
}

uint64_t chain_height(const struct chain *chain) {
    return chain->head.height;
}

const struct block_header *chain_head(const struct chain *chain) {
    return &chain->head;
}

struct hash chain_head_hash(const struct chain *chain) {
    return chain->head_hash;
}

struct bytes chain_head_certificate(const struct chain *chain) {
    return buffer_bytes(&chain->certificate);
}

const struct block_tree *chain_head_tree(const struct chain *chain) {
    return chain->head_tree;
}

struct store *chain_store(struct chain *chain) {
    return chain->store;
}

uint64_t chain_tentative(const struct chain *chain) {
    return chain__top_height(chain);
}

struct bytes chain_tentative_block(const struct chain *chain, uint64_t height,
                                   const struct hash *hash) {
    const struct tentative *t = chain__tentative_at(chain, height);
    if (t == NULL || !hash_equal(&t->hash, hash))
        return bytes_of(NULL, 0);
    return buffer_bytes(&t->block);
}

struct bytes chain_executed_block(struct chain *chain, uint64_t height, const struct hash *hash,
                                  struct buffer *ret_stored) {
    struct bytes block = chain_tentative_block(chain, height, hash);
    struct block_header header;
    if (block.data != NULL || height == 0 || height > chain_height(chain) ||
        store_read(chain->store, height, ret_stored, NULL, NULL) != ERROR_NONE ||
        block_header_decode(bytes_of(ret_stored->data, BLOCK_HEADER_BYTES), &header, NULL) !=
            ERROR_NONE)
        return block;
    struct hash stored = block_hash(&header);
    return hash_equal(&stored, hash) ? buffer_bytes(ret_stored) : block;
}

static enum error_code store_get(struct chain *chain, enum state_kind kind, const uint8_t *data,
                                 size_t len, struct state_value *ret_value, bool *ret_found,
                                 struct error *err) {
    struct state_base base = store_base(chain->store);
    struct state_key key = state_key(kind, data, len);
    return base.get(base.self, &key, ret_value, ret_found, err);
}

enum error_code chain_find(struct chain *chain, const struct hash *id,
                           struct state_place *ret_place, bool *ret_found, struct error *err) {
    struct state_value value;
    bool found = false;
    TRY(store_get(chain, STATE_TRANSACTION, id->byte, HASH_BYTES, &value, &found, err));
    if (found)
        state_place_decode(&value, ret_place);
    *ret_found = found;
    return ERROR_NONE;
}

enum error_code chain_submitter(struct chain *chain, const uint8_t *submitter,
                                struct state_submitter *ret_submitter, struct error *err) {
    struct state_value value;
    bool found = false;
    TRY(store_get(chain, STATE_SUBMITTER, submitter, TRANSACTION_KEY_BYTES, &value, &found, err));
    *ret_submitter = (struct state_submitter){.next_sequence = 1};
    if (found)
        state_submitter_decode(&value, ret_submitter);
    return ERROR_NONE;
}

enum error_code chain_checkpoint(struct chain *chain, const struct hash *other,
                                 struct state_checkpoint *ret_checkpoint, bool *ret_found,
                                 struct error *err) {
    struct state_value value;
    bool found = false;
    TRY(store_get(chain, STATE_CHECKPOINT, other->byte, HASH_BYTES, &value, &found, err));
    if (found)
        state_checkpoint_decode(&value, ret_checkpoint);
    *ret_found = found;
    return ERROR_NONE;
}

enum error_code chain_latest(struct chain *chain, const struct locator *locator,
                             struct state_record *ret_record, bool *ret_found,
                             struct error *err) {
    struct hash key = map_key(locator->byte);
    return chain_map_record(chain->map, &key, ret_record, ret_found, err);
}

struct bytes chain_tentative_at(const struct chain *chain, uint64_t height) {
    const struct tentative *t = chain__tentative_at(chain, height);
    assert(t != NULL);
    return buffer_bytes(&t->block);
}

bool chain_has_work(struct chain *chain, const struct pool *pool) {
    const struct members *members = state_members(chain->state);
    for (uint32_t i = 0; i < members->submitter_count; i++) {
        struct state_submitter submitter;
        if (members->submitters[i].removed || !pool_waits(pool, i))
            continue;
        if (state_submitter(chain->state, members->submitters[i].key, &submitter, NULL) !=
            ERROR_NONE)
            return true; /* building meets the same error and reports it */
        if (pool_find(pool, i, submitter.next_sequence) != NULL)
            return true;
    }
    return false;
}

/* Reads a leaf and what it needs of its anchor, not the whole anchor. */
static enum error_code read_leaf(struct chain *chain, const struct leaf_place *place,
                                 struct leaf *ret_leaf, struct error *err) {
    uint8_t head[ANCHOR_HEAD_BYTES_MAX];
    uint8_t compact[LEAF_COMPACT_BYTES_MAX];
    size_t head_len = 0;
    size_t compact_len = 0;
    TRY(store_read_some(chain->store, place->height, place->transaction_at, head, sizeof head,
                        &head_len, err));
    TRY(store_read_some(chain->store, place->height, place->leaf_at, compact, sizeof compact,
                        &compact_len, err));
    return anchor_leaf_at(bytes_of(head, head_len), bytes_of(compact, compact_len), ret_leaf, err);
}

static enum error_code read_anchor_id(struct chain *chain, const struct leaf_place *place,
                                      struct hash *ret_id, struct error *err) {
    struct state_base base = store_base(chain->store);
    struct state_key key = state_anchor_key(place->height, place->transaction);
    struct state_value value;
    bool found = false;
    TRY(base.get(base.self, &key, &value, &found, err));
    if (!found || value.len != HASH_BYTES)
        return error_set(err, ERROR_CORRUPT, "state: no anchor %u of block %llu",
                         place->transaction, (unsigned long long)place->height);
    memcpy(ret_id->byte, value.byte, HASH_BYTES);
    return ERROR_NONE;
}

enum error_code chain_version(struct chain *chain, uint64_t log_index,
                              struct chain_version *ret_version, struct error *err) {
    struct chain_version v = {.log_index = log_index};
    struct block_header header;
    uint8_t head[BLOCK_HEADER_BYTES];
    TRY(store_place(chain->store, log_index, &v.place, err));
    TRY(read_leaf(chain, &v.place, &v.leaf, err));
    TRY(read_anchor_id(chain, &v.place, &v.transaction, err));
    TRY(store_read_part(chain->store, v.place.height, 0, head, sizeof head, err));
    TRY(block_header_decode(bytes_of(head, sizeof head), &header, err));
    v.block_time_ms = header.time_ms;
    struct merkle_reader reader = store_merkle(chain->store);
    if (!merkle_inclusion(&reader, log_index, chain->head.log_size, &v.path))
        return error_set(err, ERROR_CORRUPT, "log: no path for leaf %llu",
                         (unsigned long long)log_index);
    *ret_version = v;
    return ERROR_NONE;
}

/* A whole anchor, for all of its leaves: a small one, as most are, by one read. */
static enum error_code read_anchor(struct chain *chain, const struct leaf_place *place,
                                   struct buffer *ret_anchor, struct error *err) {
    uint8_t start[4096];
    size_t got = 0;
    TRY(store_read_some(chain->store, place->height, place->transaction_at - 4, start,
                        sizeof start, &got, err));
    if (got < 4)
        return error_set(err, ERROR_CORRUPT, "block %llu: ends before byte %u",
                         (unsigned long long)place->height, place->transaction_at);
    uint32_t len = wire_load_u32(start);
    got = got - 4 < len ? got - 4 : len;
    buffer_clear(ret_anchor);
    uint8_t *data = buffer_reserve(ret_anchor, len);
    if (data == NULL)
        return buffer_check(ret_anchor, "anchor", err);
    memcpy(data, start + 4, got);
    if (got < len)
        TRY(store_read_part(chain->store, place->height, place->transaction_at + got, data + got,
                            len - got, err));
    ret_anchor->len = len;
    return ERROR_NONE;
}

enum error_code chain__read_changes(void *context, uint64_t first, size_t count,
                                    struct map_change *ret_changes, struct error *err) {
    struct chain *chain = context;
    SCOPED_BUFFER struct buffer anchor;
    buffer_init(&anchor, TRANSACTION_BYTES_MAX);
    SCOPED_FREE struct leaf_place *places = calloc(count, sizeof *places);
    SCOPED_FREE struct hash *hashes = calloc(count, sizeof *hashes);
    if (places == NULL || hashes == NULL)
        return error_set(err, ERROR_NO_MEMORY, "map: no memory");
    TRY(store_places(chain->store, first, count, places, err));
    TRY(store_leaf_hashes(chain->store, first, count, hashes, err));
    for (size_t i = 0; i < count; i++) {
        struct leaf leaf;
        const struct leaf_place *p = &places[i];
        size_t at = p->leaf_at - p->transaction_at;
        if (i == 0 || p->height != p[-1].height || p->transaction != p[-1].transaction)
            TRY(read_anchor(chain, p, &anchor, err));
        if (at > anchor.len)
            return error_set(err, ERROR_CORRUPT, "places: leaf %llu is outside its anchor",
                             (unsigned long long)(first + i));
        TRY(anchor_leaf_at(buffer_bytes(&anchor),
                           bytes_of(anchor.data + at, anchor.len - at), &leaf, err));
        ret_changes[i] = (struct map_change){.key = map_key(leaf.locator.byte),
                                             .value = {leaf.version, first + i, hashes[i]},
                                             .operation = (uint8_t)leaf.operation,
                                             .submitter = places[i].submitter};
    }
    return ERROR_NONE;
}

enum error_code chain_prove(struct chain *chain, const struct locator *locator,
                            struct map_proof *ret_proof, struct error *err) {
    struct hash key = map_key(locator->byte);
    uint64_t log_index = 0;
    TRY(chain_map_prove(chain->map, &key, ret_proof, &log_index, err));
    if (!ret_proof->some)
        return ERROR_NONE;
    struct map_change change;
    TRY(chain__read_changes(chain, log_index, 1, &change, err));
    ret_proof->value = change.value;
    return ERROR_NONE;
}

bool chain_map_is_behind(const struct chain *chain) {
    return chain_map_lags(chain->map);
}
