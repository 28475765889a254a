#include "ledger/application.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/random.h"
#include "ledger/chain_inside.h"
#include "ledger/pbft/vote.h"
#include "ledger/signer.h"

/* The header and hash that the next tentative block stands on. */
static const struct block_header *parent_of_next(const struct chain *chain,
                                                 struct hash *ret_hash) {
    const struct tentative *top = chain__tentative_at(chain, chain__top_height(chain));
    *ret_hash = top != NULL ? top->hash : chain->head_hash;
    return top != NULL ? &top->header : &chain->head;
}

/* Other members certify what follows an epoch's last block, once that is committed. */
static enum error_code check_epoch(const struct chain *chain, struct error *err) {
    const struct tentative *top = chain__tentative_at(chain, chain__top_height(chain));
    if (top != NULL && !hash_equal(&top->header.members, &chain_members(chain)->hash))
        return error_set(err, ERROR_VERIFY,
                         "block %llu: it stands on an epoch's last block, which is not committed",
                         (unsigned long long)top->header.height + 1);
    return ERROR_NONE;
}

static void tentative_free(struct tentative *t) {
    if (t == NULL)
        return;
    buffer_done(&t->block);
    block_tree_free(t->tree);
    free(t);
}

static void push(struct chain *chain, struct tentative *t) {
    assert(t->header.height == chain__top_height(chain)); /* its layer is there already */
    chain->tentative[t->header.height - chain->head.height - 1] = t;
}

void application_undo(struct chain *chain, uint64_t height) {
    if (height <= chain->head.height)
        height = chain->head.height + 1;
    for (uint64_t h = chain__top_height(chain); h >= height; h--) {
        struct tentative **slot = &chain->tentative[h - chain->head.height - 1];
        tentative_free(*slot);
        *slot = NULL;
    }
    state_undo(chain->state, height);
    chain->finalized = chain->finalized && height > chain->head.height + 1;
}

/* Drops a layer that was begun and has no block yet. */
static void drop_layer(struct chain *chain) {
    state_undo(chain->state, chain__top_height(chain));
}

struct builder {
    struct chain *chain;
    const struct pool *pool;
    uint32_t count;
    struct hash *leaves;
    size_t capacity;
    struct buffer block;
};

/* Whose turn it is, and what he has next. */
struct turn {
    uint32_t submitter;
    uint64_t next; /* 0: nothing more of his goes into this block */
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
    b->leaves = array_grown(b->leaves, b->count, &b->capacity, sizeof *b->leaves);
    b->leaves[b->count++] = checked_transaction_leaf(checked, status);
    return true;
}

/* Those who have something ready, in the order of their numbers. */
static enum error_code find_ready(const struct builder *b, struct turn *ret_turns,
                                  uint32_t *ret_count, struct error *err) {
    const struct members *members = state_members(b->chain->state);
    uint32_t count = 0;
    for (uint32_t i = 0; i < members->submitter_count; i++) {
        struct state_submitter submitter;
        if (members->submitters[i].removed || !pool_waits(b->pool, i))
            continue;
        TRY(state_submitter(b->chain->state, members->submitters[i].key, &submitter, err));
        if (pool_find(b->pool, i, submitter.next_sequence) != NULL)
            ret_turns[count++] = (struct turn){i, submitter.next_sequence};
    }
    *ret_count = count;
    return ERROR_NONE;
}

/* One of each, beginning with the first; how many got one. *ret_left: the first who did not and might
 * have, had there been room; NULL where all did. */
static uint32_t take_round(struct builder *b, struct turn *turns, uint32_t count, uint32_t first,
                           const struct turn **ret_left) {
    uint32_t taken = 0;
    *ret_left = NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct turn *turn = &turns[(first + i) % count];
        const struct pool_entry *entry =
            turn->next > 0 ? pool_find(b->pool, turn->submitter, turn->next) : NULL;
        if (entry != NULL && build_one(b, entry)) {
            turn->next++;
            taken++;
            continue;
        }
        if (*ret_left == NULL)
            *ret_left = turn;
        turn->next = 0; /* nothing more from this one */
    }
    return taken;
}

/* Takes from every submitter in turn, so that none can fill the block alone. Where there is not room for
 * one of each, the next block made here begins with the first who got none: however the others come and
 * go, nobody waits for more than one of each of them. */
static enum error_code build_entries(struct builder *b, struct error *err) {
    uint32_t submitters = state_members(b->chain->state)->submitter_count;
    SCOPED_FREE struct turn *turns = calloc((size_t)submitters + 1, sizeof *turns);
    const struct turn *left = NULL;
    uint32_t count = 0;
    uint32_t first = 0;
    if (turns == NULL)
        return error_set(err, ERROR_NO_MEMORY, "block: no memory");
    TRY(find_ready(b, turns, &count, err));
    while (first < count && turns[first].submitter < b->chain->turn)
        first++;
    first = first < count ? first : 0;
    uint32_t taken = take_round(b, turns, count, first, &left);
    if (count > 0)
        b->chain->turn = left != NULL ? left->submitter : turns[(first + 1) % count].submitter;
    while (taken > 0)
        taken = take_round(b, turns, count, first, &left);
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

enum error_code application_prepare(struct chain *chain, const struct pool *pool, uint64_t time_ms,
                            struct hash *ret_hash, struct bytes *ret_block, struct error *err) {
    struct hash previous;
    const struct block_header *parent = parent_of_next(chain, &previous);
    TRY(check_epoch(chain, err));
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
    buffer_init(&b.block, BLOCK_BYTES_MAX);
    (void)buffer_reserve(&b.block, BLOCK_HEADER_BYTES);
    b.block.len = BLOCK_HEADER_BYTES; /* filled in when all else is known */
    state_expect(chain->state, parent->transaction_count); /* likely about as many */
    code = build_entries(&b, err);
    if (code == ERROR_NONE)
        t->tree = block_tree_new(b.leaves, b.count);
    free(b.leaves);
    if (code != ERROR_NONE) {
        buffer_done(&b.block);
        tentative_free(t);
        drop_layer(chain);
        return code;
    }
    t->header.transaction_count = b.count;
    t->header.size = (uint32_t)(b.block.len - BLOCK_HEADER_BYTES);
    t->header.transaction_root = block_tree_root(t->tree);
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
    TRY(check_epoch(chain, err));
    if (header->height != parent->height + 1 || !hash_equal(&header->previous, &previous))
        return invalid(err, header, "it does not follow the block before it");
    if (header->time_ms < parent->time_ms)
        return invalid(err, header, "its time is before that of the block before it");
    if (len > genesis->parameters.block_bytes_max ||
        header->transaction_count > genesis->parameters.block_transactions_max)
        return invalid(err, header, "it is larger than the genesis allows");
    return check_map(chain, header, err);
}

/* How an entry is checked that the pool has not. */
typedef enum error_code (*check_fn)(const struct members *members, struct bytes input,
                                    struct checked_transaction **ret_checked, struct error *err);

/* One entry: from the pool where the same bytes were checked already, else checked now. */
static enum error_code execute_entry(struct chain *chain, const struct pool *pool, check_fn check,
                                     const struct block_header *header, struct bytes bytes,
                                     uint32_t index, uint32_t at, enum transaction_status stated,
                                     struct hash *ret_leaf, struct error *err) {
    struct pool_entry *entry =
        pool == NULL ? NULL : pool_find_bytes(pool, state_members(chain->state), bytes);
    struct checked_transaction *fresh = NULL;
    if (entry == NULL) {
        enum error_code code = check(state_members(chain->state), bytes, &fresh, err);
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
        *ret_leaf = checked_transaction_leaf(checked, status);
    checked_transaction_free(fresh);
    return code;
}

/* Makes the tree of the transactions on the way. */
static enum error_code execute_entries(struct chain *chain, const struct pool *pool, check_fn check,
                                       const struct block *block, struct tentative *t,
                                       struct error *err) {
    struct block_cursor cursor = block_cursor(block);
    uint32_t count = block->header.transaction_count;
    SCOPED_FREE struct hash *leaves = array_new((size_t)count + 1, sizeof *leaves);
    struct bytes bytes;
    enum transaction_status status;
    while (block_next(&cursor, &bytes, &status)) {
        uint32_t at = (uint32_t)(bytes.data - block->entries.data) + BLOCK_HEADER_BYTES;
        uint32_t index = cursor.index - 1;
        TRY(execute_entry(chain, pool, check, &block->header, bytes, index, at, status,
                          &leaves[index], err));
    }
    TRY(state_end(chain->state, err));
    t->tree = block_tree_new(leaves, count);
    struct block_header expected = block->header;
    expected.transaction_root = block_tree_root(t->tree);
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

static enum error_code process(struct chain *chain, const struct pool *pool, check_fn check,
                               struct bytes input, struct error *err) {
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
    state_expect(chain->state, block.header.transaction_count);
    code = execute_entries(chain, pool, check, &block, t, err);
    if (code != ERROR_NONE) {
        drop_layer(chain);
        tentative_free(t);
        return code;
    }
    push(chain, t);
    return ERROR_NONE;
}

enum error_code application_process(struct chain *chain, const struct pool *pool,
                                    struct bytes input, struct error *err) {
    return process(chain, pool, transaction_check_ordered, input, err);
}

enum error_code application_finalize(struct chain *chain, const struct pool *pool,
                                     struct bytes input, struct application_result *ret_result,
                                     struct error *err) {
    struct block_header header;
    size_t header_len = input.len < BLOCK_HEADER_BYTES ? input.len : BLOCK_HEADER_BYTES;
    if (block_header_decode(bytes_of(input.data, header_len), &header, err) != ERROR_NONE)
        return error_wrap(err, ERROR_VERIFY, "block");
    struct hash hash = block_hash(&header);
    uint64_t height = chain->head.height + 1;
    struct tentative *t = chain__tentative_at(chain, height);
    if (t == NULL || !hash_equal(&t->hash, &hash)) {
        application_undo(chain, height);
        TRY(application_process(chain, pool, input, err));
        t = chain__tentative_at(chain, height);
    }
    chain->finalized = true;
    *ret_result = (struct application_result){
        .header = &t->header,
        .hash = t->hash,
        .block = buffer_bytes(&t->block),
        .epoch_ends = !hash_equal(&t->header.members, &chain_members(chain)->hash),
    };
    return ERROR_NONE;
}

/* The lowest layer's changes go to the store; the layer itself goes. */
static enum error_code settle(struct chain *chain, const struct tentative *t, struct error *err) {
    struct state_change change;
    bool some = state_lowest(chain->state, &change);
    assert(some);
    TRY(store_apply(chain->store, &change, t->block.len, err));
    chain_map_add(chain->map, &change);
    if (state_settle(chain->state))
        chain->epoch_base = t->header;
    return ERROR_NONE;
}

/* The lowest tentative block, which is settled, is it now; it goes. */
static void become_head(struct chain *chain, struct tentative *t) {
    chain->head = t->header;
    chain->head_hash = t->hash;
    block_tree_free(chain->head_tree);
    chain->head_tree = t->tree;
    t->tree = NULL;
    tentative_free(t);
    memmove(chain->tentative, chain->tentative + 1,
            (STATE_LAYERS_MAX - 1) * sizeof chain->tentative[0]);
    chain->tentative[STATE_LAYERS_MAX - 1] = NULL;
}

enum error_code application_commit(struct chain *chain, struct bytes certificate,
                                   struct buffer *ret_block, struct error *err) {
    struct tentative *t = chain__tentative_at(chain, chain->head.height + 1);
    assert(t != NULL);
    assert(chain->finalized);
    TRY(store_append(chain->store, t->header.height, buffer_bytes(&t->block), certificate, err));
    buffer_clear(&chain->certificate);
    buffer_append(&chain->certificate, certificate.data, certificate.len);
    TRY(buffer_check(&chain->certificate, "certificate", err));
    TRY(settle(chain, t, err));
    TRY(chain_map_commit(chain->map, &t->header, err));
    if (ret_block != NULL) {
        *ret_block = t->block;
        t->block = (struct buffer){0};
    }
    become_head(chain, t);
    chain->finalized = false;
    return ERROR_NONE;
}

enum error_code application_chunk(struct chain *chain, uint64_t height, struct buffer *ret_block,
                                  struct buffer *ret_certificate, struct error *err) {
    if (height == 0 || height > chain->head.height)
        return error_set(err, ERROR_NOT_FOUND, "block %llu: the chain has 1 to %llu",
                         (unsigned long long)height, (unsigned long long)chain->head.height);
    return store_read(chain->store, height, ret_block, ret_certificate, err);
}

static bool verify_vote(void *context, uint32_t signer, const struct hash *statement,
                        const uint8_t signature[PBFT_SIGNATURE_BYTES]) {
    const struct members *members = context;
    return signer < members->validator_count &&
           signature_valid(members->validators[signer].vote_key, statement, signature);
}

/* That Q of the validators in force decided this block. */
static enum error_code check_certificate(const struct chain *chain, struct bytes block,
                                         struct bytes certificate, struct error *err) {
    struct block_header header;
    struct pbft_certificate c;
    const struct members *members = chain_members(chain);
    struct pbft_domain domain = {members->chain, members->epoch};
    size_t header_len = block.len < BLOCK_HEADER_BYTES ? block.len : BLOCK_HEADER_BYTES;
    TRY(block_header_decode(bytes_of(block.data, header_len), &header, err));
    TRY(pbft_certificate_decode(certificate, &c, err));
    struct hash hash = block_hash(&header);
    if (c.ballot.type != PBFT_COMMIT || c.ballot.height != header.height ||
        !hash_equal(&c.ballot.digest, &hash))
        return invalid(err, &header, "its certificate is another block's");
    /* The context is not written to. */
    return pbft_certificate_verify(&c, &domain, members->validator_count, verify_vote,
                                   (void *)(uintptr_t)members, err);
}

enum error_code application_restore(struct chain *chain, struct bytes block,
                                    struct bytes certificate, struct error *err) {
    struct application_result result;
    if (check_certificate(chain, block, certificate, err) != ERROR_NONE)
        return error_wrap(err, ERROR_VERIFY, "restoring block %llu",
                          (unsigned long long)chain->head.height + 1);
    TRY(application_finalize(chain, NULL, block, &result, err));
    return application_commit(chain, certificate, NULL, err);
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

/* Its block is in the store already. */
static enum error_code execute_stored(struct chain *chain, uint64_t height, struct bytes block,
                                      struct error *err) {
    if (process(chain, NULL, transaction_check_stored, block, err) != ERROR_NONE)
        return error_wrap(err, ERROR_CORRUPT, "stored block %llu", (unsigned long long)height);
    struct tentative *t = chain->tentative[0];
    TRY(settle(chain, t, err));
    TRY(chain_map_commit(chain->map, &t->header, err));
    become_head(chain, t);
    return ERROR_NONE;
}

static enum error_code flush(struct store *store, struct error *err) {
    store_flush_start(store);
    TRY(store_flush_run(store, err));
    store_flush_finish(store);
    return ERROR_NONE;
}

/* Executes the stored blocks that the state in the database has not reached. */
static enum error_code replay(struct chain *chain, application_tell_fn tell, void *context,
                              struct error *err) {
    SCOPED_BUFFER struct buffer raw;
    struct application_progress p = {.first = chain->head.height + 1,
                                     .last = store_height(chain->store),
                                     .bytes_all = store_unreached_bytes(chain->store)};
    buffer_init(&raw, BLOCK_BYTES_MAX);
    for (p.height = p.first; p.height <= p.last; p.height++) {
        buffer_clear(&raw);
        buffer_clear(&chain->certificate);
        TRY(store_read(chain->store, p.height, &raw, &chain->certificate, err));
        TRY(execute_stored(chain, p.height, buffer_bytes(&raw), err));
        if (store_flush_due(chain->store))
            TRY(flush(chain->store, err));
        p.bytes += raw.len + chain->certificate.len;
        if (tell != NULL)
            tell(context, &p);
    }
    return ERROR_NONE;
}

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
                                          chain->head, chain__read_changes,   chain};
    return chain_map_open(&settings, &chain->map, err);
}

enum error_code application_open(const struct genesis *genesis, const char *folder,
                                 application_tell_fn tell, void *context,
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
        code = chain__open_epochs(chain, &epochs, err);
        chain->state = state_new(&epochs, &base, height, store_frontier(chain->store), seed);
        if (code == ERROR_NONE && height > 0)
            code = read_head(chain, height, err);
    }
    if (code == ERROR_NONE)
        code = open_map(chain, folder, err);
    if (code == ERROR_NONE)
        code = replay(chain, tell, context, err);
    if (code != ERROR_NONE) {
        application_close(chain);
        return code;
    }
    *ret_chain = chain;
    return ERROR_NONE;
}

void application_info(const struct chain *chain, struct application_info *ret_info) {
    *ret_info = (struct application_info){
        .height = chain->head.height,
        .head = chain->head_hash,
        .header = &chain->head,
        .certificate = buffer_bytes(&chain->certificate),
        .members = chain_members(chain),
    };
}

enum error_code application_check(const struct chain *chain, struct bytes transaction,
                                  struct checked_transaction **ret_checked, struct error *err) {
    return transaction_check(chain_members(chain), transaction, ret_checked, err);
}

void application_close(struct chain *chain) {
    if (chain == NULL)
        return;
    for (int i = 0; i < STATE_LAYERS_MAX; i++)
        tentative_free(chain->tentative[i]);
    block_tree_free(chain->head_tree);
    chain_map_close(chain->map);
    state_free(chain->state);
    store_close(chain->store);
    buffer_done(&chain->certificate);
    free(chain);
}

