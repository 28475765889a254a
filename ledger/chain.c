#include "ledger/chain.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/wire.h"
#include "ledger/anchor.h"
#include "ledger/chain_map.h"

struct tentative {
    struct block_header header;
    struct hash hash;
    struct buffer block;
};

struct chain {
    const struct genesis *genesis;
    struct store *store;
    struct state *state;
    struct chain_map *map;
    struct block_header head;
    struct hash head_hash;
    struct block_header epoch_base;
    struct buffer certificate;
    struct tentative *tentative[STATE_LAYERS_MAX];
};

static uint64_t top_height(const struct chain *chain) {
    return state_height(chain->state);
}

static struct tentative *tentative_at(const struct chain *chain, uint64_t height) {
    if (height <= chain->head.height || height > top_height(chain))
        return NULL;
    return chain->tentative[height - chain->head.height - 1];
}

/* The header and hash that the next tentative block stands on. */
static const struct block_header *parent_of_next(const struct chain *chain,
                                                 struct hash *ret_hash) {
    const struct tentative *top = tentative_at(chain, top_height(chain));
    *ret_hash = top != NULL ? top->hash : chain->head_hash;
    return top != NULL ? &top->header : &chain->head;
}

static void tentative_free(struct tentative *t) {
    if (t == NULL)
        return;
    buffer_done(&t->block);
    free(t);
}

static void push(struct chain *chain, struct tentative *t) {
    assert(t->header.height == top_height(chain)); /* its layer is there already */
    chain->tentative[t->header.height - chain->head.height - 1] = t;
}

void chain_undo(struct chain *chain, uint64_t height) {
    if (height <= chain->head.height)
        height = chain->head.height + 1;
    for (uint64_t h = top_height(chain); h >= height; h--) {
        struct tentative **slot = &chain->tentative[h - chain->head.height - 1];
        tentative_free(*slot);
        *slot = NULL;
    }
    state_undo(chain->state, height);
}

/* Drops a layer that was begun and has no block yet. */
static void drop_layer(struct chain *chain) {
    state_undo(chain->state, top_height(chain));
}

struct builder {
    struct chain *chain;
    const struct pool *pool;
    uint32_t count;
    struct merkle_frontier tree;
    struct buffer block;
};

/* Adds one transaction; false where the block is full or the transaction has to wait. */
static bool build_one(struct builder *b, const struct pool_entry *entry) {
    const struct genesis_parameters *p = &b->chain->genesis->parameters;
    const struct checked_transaction *checked = entry->checked;
    if (b->count >= p->block_transactions_max ||
        b->block.len + BLOCK_ENTRY_BYTES + checked->len > p->block_bytes_max)
        return false;
    enum transaction_status status;
    if (state_execute(b->chain->state, checked, b->count,
                      (uint32_t)b->block.len + BLOCK_ENTRY_BYTES, &status, NULL) != ERROR_NONE)
        return false;
    block_entry(&b->block, bytes_of(checked->bytes, checked->len), status);
    struct hash leaf = block_transaction_leaf(&checked->tx, status);
    merkle_append(&b->tree, &leaf, NULL);
    b->count++;
    return true;
}

/* Takes from every submitter in turn, so that none can fill the block alone. */
static enum error_code build_entries(struct builder *b, struct error *err) {
    const struct members *members = state_members(b->chain->state);
    uint32_t submitters = members->submitter_count;
    SCOPED_FREE uint64_t *next = calloc((size_t)submitters + 1, sizeof *next);
    if (next == NULL)
        return error_set(err, ERROR_NO_MEMORY, "block: no memory");
    for (uint32_t i = 0; i < submitters; i++) {
        struct state_submitter submitter;
        if (members->submitters[i].removed)
            continue;
        TRY(state_submitter(b->chain->state, members->submitters[i].key, &submitter, err));
        next[i] = submitter.next_sequence;
    }
    for (bool some = true; some;) {
        some = false;
        for (uint32_t i = 0; i < submitters; i++) {
            const struct pool_entry *entry =
                next[i] > 0 ? pool_find(b->pool, i, next[i]) : NULL;
            if (entry != NULL && build_one(b, entry)) {
                next[i]++;
                some = true;
            } else {
                next[i] = 0; /* nothing more from this one */
            }
        }
    }
    TRY(state_end(b->chain->state, err));
    return buffer_check(&b->block, "block", err);
}

static void finish_header(struct chain *chain, struct block_header *header) {
    header->log_size = state_log_size(chain->state);
    header->log_root = state_log_root(chain->state);
    header->members = state_members_hash(chain->state);
}

static enum error_code check_map(const struct chain *chain, const struct block_header *header,
                                 struct error *err) {
    uint64_t height = 0;
    struct hash root;
    TRY(chain_map_expected(chain->map, header->height, &height, &root, err));
    if (height != header->map_height || !hash_equal(&root, &header->map_root))
        return error_set(err, ERROR_VERIFY,
                         "block %llu: its map root is not that of block %llu",
                         (unsigned long long)header->height, (unsigned long long)height);
    return ERROR_NONE;
}

enum error_code chain_build(struct chain *chain, const struct pool *pool, uint64_t time_ms,
                            struct hash *ret_hash, struct bytes *ret_block, struct error *err) {
    struct hash previous;
    const struct block_header *parent = parent_of_next(chain, &previous);
    struct tentative *t = calloc(1, sizeof *t);
    if (t == NULL)
        return error_set(err, ERROR_NO_MEMORY, "block: no memory");
    uint64_t parent_time = parent->time_ms;
    t->header = (struct block_header){
        .chain = chain->genesis->chain,
        .epoch = state_members(chain->state)->epoch,
        .height = parent->height + 1,
        .previous = previous,
        .time_ms = time_ms > parent_time ? time_ms : parent_time,
    };
    enum error_code code = chain_map_expected(chain->map, t->header.height, &t->header.map_height,
                                              &t->header.map_root, err);
    if (code == ERROR_NONE)
        code = state_begin(chain->state, err);
    if (code != ERROR_NONE) {
        tentative_free(t);
        return code;
    }
    struct builder b = {.chain = chain, .pool = pool};
    merkle_frontier_init(&b.tree);
    buffer_init(&b.block, BLOCK_BYTES_MAX);
    (void)buffer_reserve(&b.block, BLOCK_HEADER_BYTES);
    b.block.len = BLOCK_HEADER_BYTES; /* filled in when all else is known */
    code = build_entries(&b, err);
    if (code != ERROR_NONE) {
        buffer_done(&b.block);
        tentative_free(t);
        drop_layer(chain);
        return code;
    }
    t->header.transaction_count = b.count;
    t->header.size = (uint32_t)(b.block.len - BLOCK_HEADER_BYTES);
    t->header.transaction_root = merkle_root(&b.tree);
    finish_header(chain, &t->header);
    block_header_encode(&t->header, b.block.data);
    t->block = b.block;
    t->hash = block_hash(&t->header);
    push(chain, t);
    *ret_hash = t->hash;
    *ret_block = buffer_bytes(&t->block);
    return ERROR_NONE;
}

static enum error_code invalid(struct error *err, const struct block_header *header,
                               const char *what) {
    return error_set(err, ERROR_VERIFY, "block %llu: %s", (unsigned long long)header->height,
                     what);
}

/* What a header must say before anything is executed. */
static enum error_code check_header(const struct chain *chain, const struct block_header *header,
                                    size_t len, struct error *err) {
    struct hash previous;
    const struct block_header *parent = parent_of_next(chain, &previous);
    const struct genesis *genesis = chain->genesis;
    if (!hash_equal(&header->chain, &genesis->chain) ||
        header->epoch != state_members(chain->state)->epoch)
        return invalid(err, header, "another chain or epoch");
    if (header->height != parent->height + 1 || !hash_equal(&header->previous, &previous))
        return invalid(err, header, "it does not follow the block before it");
    if (header->time_ms < parent->time_ms)
        return invalid(err, header, "its time is before that of the block before it");
    if (len > genesis->parameters.block_bytes_max ||
        header->transaction_count > genesis->parameters.block_transactions_max)
        return invalid(err, header, "it is larger than the genesis allows");
    return check_map(chain, header, err);
}

/* One entry: from the pool where the same bytes were checked already, else checked now. */
static enum error_code execute_entry(struct chain *chain, const struct pool *pool,
                                     const struct block_header *header, struct bytes bytes,
                                     uint32_t index, uint32_t at, enum transaction_status stated,
                                     struct hash *ret_leaf, struct error *err) {
    struct pool_entry *entry =
        pool == NULL ? NULL : pool_find_bytes(pool, state_members(chain->state), bytes);
    struct checked_transaction *fresh = NULL;
    if (entry == NULL) {
        enum error_code code = transaction_check_ordered(state_members(chain->state), bytes, &fresh, err);
        if (code != ERROR_NONE)
            return code == ERROR_NO_MEMORY ? code
                                           : error_wrap(err, ERROR_VERIFY, "block %llu",
                                                        (unsigned long long)header->height);
    }
    const struct checked_transaction *checked = entry != NULL ? entry->checked : fresh;
    enum transaction_status status = TX_DONE;
    enum error_code code = state_execute(chain->state, checked, index, at, &status, err);
    if (code == ERROR_TX_REJECTED)
        code = error_wrap(err, ERROR_VERIFY, "block %llu", (unsigned long long)header->height);
    else if (code == ERROR_NONE && status != stated)
        code = invalid(err, header, "a transaction's status is not what its execution gives");
    if (code == ERROR_NONE)
        *ret_leaf = block_transaction_leaf(&checked->tx, status);
    checked_transaction_free(fresh);
    return code;
}

static enum error_code execute_entries(struct chain *chain, const struct pool *pool,
                                       const struct block *block, struct error *err) {
    struct block_cursor cursor = block_cursor(block);
    struct merkle_frontier tree;
    merkle_frontier_init(&tree);
    struct bytes bytes;
    enum transaction_status status;
    while (block_next(&cursor, &bytes, &status)) {
        uint32_t at = (uint32_t)(bytes.data - block->entries.data) + BLOCK_HEADER_BYTES;
        struct hash leaf;
        TRY(execute_entry(chain, pool, &block->header, bytes, cursor.index - 1, at, status, &leaf,
                          err));
        merkle_append(&tree, &leaf, NULL);
    }
    TRY(state_end(chain->state, err));
    struct block_header expected = block->header;
    expected.transaction_root = merkle_root(&tree);
    finish_header(chain, &expected);
    if (!hash_equal(&expected.transaction_root, &block->header.transaction_root))
        return invalid(err, &block->header, "its transaction root is wrong");
    if (expected.log_size != block->header.log_size ||
        !hash_equal(&expected.log_root, &block->header.log_root))
        return invalid(err, &block->header, "its log root is wrong");
    if (!hash_equal(&expected.members, &block->header.members))
        return invalid(err, &block->header, "it names other members than its transactions make");
    return ERROR_NONE;
}

enum error_code chain_execute(struct chain *chain, const struct pool *pool, struct bytes input,
                              struct error *err) {
    struct block block;
    if (block_decode(input, &block, err) != ERROR_NONE)
        return error_wrap(err, ERROR_VERIFY, "block");
    TRY(check_header(chain, &block.header, input.len, err));
    struct tentative *t = calloc(1, sizeof *t);
    if (t == NULL)
        return error_set(err, ERROR_NO_MEMORY, "block: no memory");
    t->header = block.header;
    t->hash = block_hash(&block.header);
    buffer_init(&t->block, BLOCK_BYTES_MAX);
    buffer_append(&t->block, input.data, input.len);
    enum error_code code = buffer_check(&t->block, "block", err);
    if (code == ERROR_NONE)
        code = state_begin(chain->state, err);
    if (code != ERROR_NONE) {
        tentative_free(t);
        return code;
    }
    code = execute_entries(chain, pool, &block, err);
    if (code != ERROR_NONE) {
        drop_layer(chain);
        tentative_free(t);
        return code;
    }
    push(chain, t);
    return ERROR_NONE;
}

/* The lowest layer's changes go to the store; the layer itself goes. */
static enum error_code settle(struct chain *chain, const struct block_header *header,
                              struct error *err) {
    struct state_change change;
    bool some = state_lowest(chain->state, &change);
    assert(some);
    TRY(store_apply(chain->store, &change, err));
    chain_map_add(chain->map, &change);
    if (state_settle(chain->state))
        chain->epoch_base = *header;
    return ERROR_NONE;
}

enum error_code chain_commit(struct chain *chain, struct bytes certificate,
                             struct buffer *ret_block, struct error *err) {
    struct tentative *t = tentative_at(chain, chain->head.height + 1);
    assert(t != NULL);
    TRY(store_append(chain->store, t->header.height, buffer_bytes(&t->block), certificate, err));
    buffer_clear(&chain->certificate);
    buffer_append(&chain->certificate, certificate.data, certificate.len);
    TRY(buffer_check(&chain->certificate, "certificate", err));
    TRY(settle(chain, &t->header, err));
    TRY(chain_map_commit(chain->map, &t->header, err));
    chain->head = t->header;
    chain->head_hash = t->hash;
    if (ret_block != NULL) {
        *ret_block = t->block;
        t->block = (struct buffer){0};
    }
    tentative_free(t);
    memmove(chain->tentative, chain->tentative + 1,
            (STATE_LAYERS_MAX - 1) * sizeof chain->tentative[0]);
    chain->tentative[STATE_LAYERS_MAX - 1] = NULL;
    return ERROR_NONE;
}

/* Sets the head to a stored block whose effects the state has. */
static enum error_code read_head(struct chain *chain, uint64_t height, struct error *err) {
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, BLOCK_BYTES_MAX);
    buffer_clear(&chain->certificate);
    TRY(store_read(chain->store, height, &raw, &chain->certificate, err));
    struct block block;
    if (block_decode(buffer_bytes(&raw), &block, err) != ERROR_NONE)
        return error_wrap(err, ERROR_CORRUPT, "stored block %llu", (unsigned long long)height);
    chain->head = block.header;
    chain->head_hash = block_hash(&block.header);
    return ERROR_NONE;
}

/* Executes the stored blocks that the state in the database has not reached. */
static enum error_code replay(struct chain *chain, struct error *err) {
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, BLOCK_BYTES_MAX);
    for (uint64_t h = chain->head.height + 1; h <= store_height(chain->store); h++) {
        buffer_clear(&raw);
        buffer_clear(&chain->certificate);
        TRY(store_read(chain->store, h, &raw, &chain->certificate, err));
        if (chain_execute(chain, NULL, buffer_bytes(&raw), err) != ERROR_NONE)
            return error_wrap(err, ERROR_CORRUPT, "stored block %llu", (unsigned long long)h);
        struct tentative *t = chain->tentative[0];
        TRY(settle(chain, &t->header, err));
        TRY(chain_map_commit(chain->map, &t->header, err));
        chain->head = t->header;
        chain->head_hash = t->hash;
        tentative_free(t);
        chain->tentative[0] = NULL;
        if (!store_flush_due(chain->store))
            continue;
        store_flush_start(chain->store);
        TRY(store_flush_run(chain->store, err));
        store_flush_finish(chain->store);
    }
    return ERROR_NONE;
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

static enum error_code open_epochs(struct chain *chain, struct epochs *epochs, struct error *err) {
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

/* For the map, when it lacks leaves. */
static enum error_code read_changes(void *context, uint64_t first, size_t count,
                                    struct map_change *ret_changes, struct error *err);

/* What lies below the tentative blocks. */
static enum error_code base_get(void *self, const struct state_key *key,
                                struct state_value *ret_value, bool *ret_found,
                                struct error *err) {
    struct chain *chain = self;
    struct state_base base = store_base(chain->store);
    struct state_record record;
    struct hash map;
    if (key->byte[0] != STATE_RECORD)
        return base.get(base.self, key, ret_value, ret_found, err);
    memcpy(map.byte, key->byte + 1, HASH_BYTES);
    TRY(chain_map_record(chain->map, &map, &record, ret_found, err));
    if (*ret_found)
        state_record_encode(&record, ret_value);
    return ERROR_NONE;
}

static enum error_code open_map(struct chain *chain, const char *folder, struct error *err) {
    struct chain_map_settings settings = {folder,      chain->genesis, chain->store,
                                          chain->head, read_changes,   chain};
    return chain_map_open(&settings, &chain->map, err);
}

enum error_code chain_open(const struct genesis *genesis, const char *folder,
                           struct chain **ret_chain, struct error *err) {
    struct chain *chain = calloc(1, sizeof *chain);
    if (chain == NULL)
        return error_set(err, ERROR_NO_MEMORY, "chain: no memory");
    chain->genesis = genesis;
    buffer_init(&chain->certificate, STORE_CERTIFICATE_BYTES_MAX);
    enum error_code code = store_open(folder, &genesis->chain, &chain->store, err);
    if (code == ERROR_NONE) {
        struct state_base base = {base_get, chain};
        uint64_t seed;
        random_bytes(&seed, sizeof seed);
        uint64_t height = store_state_height(chain->store);
        struct epochs epochs = {0};
        code = open_epochs(chain, &epochs, err);
        chain->state = state_new(&epochs, &base, height, store_frontier(chain->store), seed);
        if (code == ERROR_NONE && height > 0)
            code = read_head(chain, height, err);
    }
    if (code == ERROR_NONE)
        code = open_map(chain, folder, err);
    if (code == ERROR_NONE)
        code = replay(chain, err);
    if (code != ERROR_NONE) {
        chain_close(chain);
        return code;
    }
    *ret_chain = chain;
    return ERROR_NONE;
}

void chain_close(struct chain *chain) {
    if (chain == NULL)
        return;
    for (int i = 0; i < STATE_LAYERS_MAX; i++)
        tentative_free(chain->tentative[i]);
    chain_map_close(chain->map);
    state_free(chain->state);
    store_close(chain->store);
    buffer_done(&chain->certificate);
    free(chain);
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

struct store *chain_store(struct chain *chain) {
    return chain->store;
}

uint64_t chain_tentative(const struct chain *chain) {
    return top_height(chain);
}

struct bytes chain_tentative_block(const struct chain *chain, uint64_t height,
                                   const struct hash *hash) {
    const struct tentative *t = tentative_at(chain, height);
    if (t == NULL || !hash_equal(&t->hash, hash))
        return bytes_of(NULL, 0);
    return buffer_bytes(&t->block);
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
    const struct tentative *t = tentative_at(chain, height);
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

/* A whole anchor, for all of its leaves. */
static enum error_code read_anchor(struct chain *chain, const struct leaf_place *place,
                                   struct buffer *ret_anchor, struct error *err) {
    uint8_t len[4];
    TRY(store_read_part(chain->store, place->height, place->transaction_at - sizeof len, len,
                        sizeof len, err));
    buffer_clear(ret_anchor);
    uint8_t *data = buffer_reserve(ret_anchor, wire_load_u32(len));
    if (data == NULL)
        return buffer_check(ret_anchor, "anchor", err);
    TRY(store_read_part(chain->store, place->height, place->transaction_at, data,
                        wire_load_u32(len), err));
    ret_anchor->len = wire_load_u32(len);
    return ERROR_NONE;
}

static enum error_code read_changes(void *context, uint64_t first, size_t count,
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
    TRY(read_changes(chain, log_index, 1, &change, err));
    ret_proof->value = change.value;
    return ERROR_NONE;
}

bool chain_map_is_behind(const struct chain *chain) {
    return chain_map_lags(chain->map);
}

struct chain_block_tree {
    struct block block;
    uint32_t count;
    struct tree_entry {
        struct bytes bytes;
        enum transaction_status status;
        struct hash id;
    } *entries;
    struct hash *nodes[MERKLE_LEVELS_MAX];
    size_t node_count[MERKLE_LEVELS_MAX];
};

static void tree_keep(void *self, unsigned level, uint64_t index, const struct hash *hash) {
    struct chain_block_tree *tree = self;
    if (tree->nodes[level] == NULL)
        tree->nodes[level] = calloc(((size_t)tree->count >> level) + 1, sizeof(struct hash));
    if (tree->nodes[level] == NULL)
        abort();
    assert(index <= tree->count >> level);
    tree->nodes[level][index] = *hash;
    tree->node_count[level] = (size_t)index + 1;
}

static bool tree_node(void *self, unsigned level, uint64_t index, struct hash *ret_hash) {
    const struct chain_block_tree *tree = self;
    if (level >= MERKLE_LEVELS_MAX || index >= tree->node_count[level])
        return false;
    *ret_hash = tree->nodes[level][index];
    return true;
}

/* What a transaction's leaf is made of: from the pool where the same bytes were hashed already. */
static enum error_code tree_transaction(const struct members *members, const struct pool *pool,
                                        struct bytes bytes, struct transaction *ret_tx,
                                        struct error *err) {
    const struct pool_entry *entry = pool == NULL ? NULL : pool_find_bytes(pool, members, bytes);
    if (entry == NULL)
        return transaction_decode(bytes, ret_tx, err);
    *ret_tx = entry->checked->tx;
    return ERROR_NONE;
}

enum error_code chain_tree_new(const struct chain *chain, const struct pool *pool,
                               struct bytes block, struct chain_block_tree **ret_tree,
                               struct error *err) {
    struct chain_block_tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        return error_set(err, ERROR_NO_MEMORY, "block: no memory");
    enum error_code code = block_decode(block, &tree->block, err);
    tree->count = code == ERROR_NONE ? tree->block.header.transaction_count : 0;
    tree->entries = calloc((size_t)tree->count + 1, sizeof *tree->entries);
    if (code == ERROR_NONE && tree->entries == NULL)
        code = error_set(err, ERROR_NO_MEMORY, "block: no memory");
    struct block_cursor cursor = block_cursor(&tree->block);
    struct merkle_frontier frontier;
    struct merkle_sink sink = {tree_keep, tree};
    merkle_frontier_init(&frontier);
    struct bytes bytes;
    enum transaction_status status;
    while (code == ERROR_NONE && block_next(&cursor, &bytes, &status)) {
        struct transaction tx;
        code = tree_transaction(chain_members(chain), pool, bytes, &tx, err);
        if (code != ERROR_NONE)
            break;
        tree->entries[cursor.index - 1] = (struct tree_entry){bytes, status, tx.id};
        struct hash leaf = block_transaction_leaf(&tx, status);
        merkle_append(&frontier, &leaf, &sink);
    }
    if (code != ERROR_NONE) {
        chain_tree_free(tree);
        return code;
    }
    *ret_tree = tree;
    return ERROR_NONE;
}

void chain_tree_free(struct chain_block_tree *tree) {
    if (tree == NULL)
        return;
    for (int i = 0; i < MERKLE_LEVELS_MAX; i++)
        free(tree->nodes[i]);
    free(tree->entries);
    free(tree);
}

uint32_t chain_tree_count(const struct chain_block_tree *tree) {
    return tree->count;
}

void chain_tree_at(const struct chain_block_tree *tree, uint32_t index,
                   struct bytes *ret_transaction, enum transaction_status *ret_status,
                   struct hash *ret_id, struct merkle_path *ret_path) {
    assert(index < tree->count);
    const struct tree_entry *entry = &tree->entries[index];
    /* The reader's context is not written to. */
    struct merkle_reader reader = {tree_node, (void *)(uintptr_t)tree};
    *ret_transaction = entry->bytes;
    *ret_status = entry->status;
    *ret_id = entry->id;
    bool made = merkle_inclusion(&reader, index, tree->count, ret_path);
    assert(made);
}
