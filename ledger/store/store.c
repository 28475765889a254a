#include "ledger/store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "base/wire.h"
#include "ledger/store/segments.h"

enum {
    PLACE_BYTES = 32,
    META_BYTES_MAX = 1 + HASH_BYTES + 8 + 8 + MERKLE_LEVELS_MAX * HASH_BYTES,
};

_Static_assert(BLOCK_TRANSACTIONS_MAX <= UINT16_MAX && ANCHOR_LEAVES_MAX <= UINT16_MAX,
               "both numbers fit a place");

/* Address space, not memory or disk; under sanitizers less of it is free. */
static const size_t map_bytes = (size_t)64 << 30;
static const char meta_key[] = STORE_META_KEY;

struct store {
    char folder[PATH_MAX];
    struct hash chain;
    int lock_fd;
    struct segments *segments;
    int places_fd;
    int level_fd[MERKLE_LEVELS_MAX]; /* -1: not opened yet */
    MDB_env *env;
    bool made_anew; /* the database was no database and starts empty */
    MDB_dbi dbi;
    MDB_txn *reader; /* renewed after every flush */
    uint64_t state_height;
    _Atomic uint64_t durable_height; /* that LMDB has */
    struct merkle_frontier frontier;
    uint64_t flushed_leaves; /* log size when the last flush began */
    uint64_t unflushed_bytes; /* of blocks since then */
    struct state_table *active;
    struct state_table *frozen; /* NULL: no flush is under way */
    uint64_t frozen_height;
    struct merkle_frontier frozen_frontier;
    int frozen_level_fd[MERKLE_LEVELS_MAX]; /* as they were: the flush runs on another thread */
};

static enum error_code lmdb_error(struct error *err, int rc, const char *doing) {
    if (rc == MDB_MAP_FULL || rc == ENOSPC)
        return error_set(err, ERROR_DISK_FULL, "state: %s: %s", doing, mdb_strerror(rc));
    if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID)
        return error_set(err, ERROR_CORRUPT, "state: %s: %s", doing, mdb_strerror(rc));
    return error_set(err, ERROR_IO, "state: %s: %s", doing, mdb_strerror(rc));
}

static MDB_val key_value(const struct state_key *key) {
    /* LMDB takes keys by a pointer that is not const, and does not write through it. */
    return (MDB_val){sizeof key->byte, (void *)(uintptr_t)key->byte};
}

static enum error_code path_in(const struct store *store, const char *name, char *ret_path,
                               struct error *err) {
    int len = snprintf(ret_path, PATH_MAX, "%s/%s", store->folder, name);
    if (len < 0 || len >= PATH_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", store->folder);
    return ERROR_NONE;
}

static enum error_code open_file(const struct store *store, const char *name, int *ret_fd,
                                 struct error *err) {
    char path[PATH_MAX];
    TRY(path_in(store, name, path, err));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_error(err, errno, "cannot open", path);
    *ret_fd = fd;
    return ERROR_NONE;
}

static enum error_code level_fd(struct store *store, unsigned level, int *ret_fd,
                                struct error *err) {
    if (store->level_fd[level] < 0) {
        char name[16];
        char path[PATH_MAX];
        (void)snprintf(name, sizeof name, "log/%02u", level);
        TRY(open_file(store, name, &store->level_fd[level], err));
        TRY(path_in(store, "log", path, err));
        TRY(file_sync_folder(path, err));
    }
    *ret_fd = store->level_fd[level];
    return ERROR_NONE;
}

static enum error_code read_at(int fd, uint64_t at, uint8_t *data, size_t len, const char *what,
                               struct error *err) {
    size_t got = 0;
    TRY(file_read_at(fd, data, len, at, what, &got, err));
    if (got < len)
        return error_set(err, ERROR_CORRUPT, "%s: ends before byte %llu", what,
                         (unsigned long long)at + len);
    return ERROR_NONE;
}

/* The meta entry: format, chain, height, log size, and the peaks of the set bits of the size. */
static size_t meta_encode(const struct store *store, uint64_t height,
                          const struct merkle_frontier *frontier, uint8_t *ret_bytes) {
    uint8_t *at = ret_bytes;
    *at++ = STORE_META_FORMAT;
    memcpy(at, store->chain.byte, HASH_BYTES);
    wire_store_u64(at + HASH_BYTES, height);
    wire_store_u64(at + HASH_BYTES + 8, frontier->size);
    at += HASH_BYTES + 16;
    for (int level = 0; level < MERKLE_LEVELS_MAX; level++)
        if ((frontier->size >> level & 1) != 0) {
            memcpy(at, frontier->peak[level].byte, HASH_BYTES);
            at += HASH_BYTES;
        }
    return (size_t)(at - ret_bytes);
}

static enum error_code meta_decode(struct store *store, struct bytes input, struct error *err) {
    struct wire_reader r = wire_reader(input);
    unsigned format = wire_read_u8(&r);
    struct hash chain;
    wire_read_fixed(&r, chain.byte, HASH_BYTES);
    if (!r.failed && format == STORE_META_FORMAT && !hash_equal(&chain, &store->chain))
        return error_set(err, ERROR_CONFIG, "%s: the data folder belongs to another chain",
                         store->folder);
    uint64_t height = wire_read_u64(&r);
    struct merkle_frontier frontier;
    merkle_frontier_init(&frontier);
    frontier.size = wire_read_u64(&r);
    for (int level = 0; level < MERKLE_LEVELS_MAX; level++)
        if ((frontier.size >> level & 1) != 0)
            wire_read_fixed(&r, frontier.peak[level].byte, HASH_BYTES);
    if (format != STORE_META_FORMAT || !wire_read_end(&r))
        return error_set(err, ERROR_CORRUPT, "%s: the state's meta entry is damaged",
                         store->folder);
    store->state_height = store->durable_height = height;
    store->frontier = frontier;
    store->flushed_leaves = frontier.size;
    return ERROR_NONE;
}

static enum error_code write_entries(struct store *store, MDB_txn *txn,
                                     const struct state_entry **sorted, size_t count,
                                     struct error *err) {
    for (size_t i = 0; i < count; i++) {
        MDB_val key = key_value(&sorted[i]->key);
        MDB_val value = {sorted[i]->value.len, (void *)(uintptr_t)sorted[i]->value.byte};
        int rc = mdb_put(txn, store->dbi, &key, &value, 0);
        if (rc != 0)
            return lmdb_error(err, rc, "writing");
    }
    uint8_t meta[META_BYTES_MAX];
    size_t len = meta_encode(store, store->frozen_height, &store->frozen_frontier, meta);
    MDB_val key = {sizeof meta_key - 1, (void *)(uintptr_t)meta_key};
    MDB_val value = {len, meta};
    int rc = mdb_put(txn, store->dbi, &key, &value, 0);
    return rc == 0 ? ERROR_NONE : lmdb_error(err, rc, "writing");
}

static int entry_order(const void *a, const void *b) {
    const struct state_entry *const *x = a;
    const struct state_entry *const *y = b;
    return memcmp(&(*x)->key, &(*y)->key, sizeof(*x)->key);
}

static enum error_code sync_derived(struct store *store, struct error *err) {
    TRY(segments_sync(store->segments, store->frozen_height, err));
    if (fdatasync(store->places_fd) != 0)
        return file_error(err, errno, "cannot sync", "places");
    for (int level = 0; level < MERKLE_LEVELS_MAX; level++)
        if (store->frozen_level_fd[level] >= 0 && fdatasync(store->frozen_level_fd[level]) != 0)
            return file_error(err, errno, "cannot sync", "log");
    return ERROR_NONE;
}

bool store_flush_busy(const struct store *store) {
    return store->frozen != NULL;
}

bool store_flush_due(const struct store *store) {
    return store->frozen == NULL &&
           (state_table_count(store->active) >= STORE_FLUSH_ENTRIES ||
            store->frontier.size - store->flushed_leaves >= STORE_FLUSH_LEAVES ||
            store->state_height - store->durable_height >= STORE_FLUSH_BLOCKS ||
            store->unflushed_bytes >= STORE_FLUSH_BYTES);
}

void store_flush_start(struct store *store) {
    assert(store->frozen == NULL);
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    store->frozen = store->active;
    store->frozen_height = store->state_height;
    store->frozen_frontier = store->frontier;
    store->flushed_leaves = store->frontier.size;
    store->unflushed_bytes = 0;
    memcpy(store->frozen_level_fd, store->level_fd, sizeof store->level_fd);
    store->active = state_table_new(seed);
}

/* Touches only the frozen table, LMDB's writer and descriptors: all else belongs to the owner's
 * thread. Sorted, because neighbours share pages. */
enum error_code store_flush_run(struct store *store, struct error *err) {
    TRY(sync_derived(store, err));
    size_t count = 0;
    size_t cursor = 0;
    SCOPED_FREE const struct state_entry **sorted =
        malloc((state_table_count(store->frozen) + 1) * sizeof *sorted);
    if (sorted == NULL)
        return error_set(err, ERROR_NO_MEMORY, "state: no memory to flush");
    for (const struct state_entry *e; (e = state_table_each(store->frozen, &cursor)) != NULL;)
        sorted[count++] = e;
    qsort(sorted, count, sizeof(const struct state_entry *), entry_order);
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc != 0)
        return lmdb_error(err, rc, "beginning a transaction");
    enum error_code code = write_entries(store, txn, sorted, count, err);
    if (code != ERROR_NONE) {
        mdb_txn_abort(txn);
        return code;
    }
    rc = mdb_txn_commit(txn);
    if (rc != 0)
        return lmdb_error(err, rc, "committing");
    store->durable_height = store->frozen_height;
    return ERROR_NONE;
}

void store_flush_finish(struct store *store) {
    assert(store->frozen != NULL);
    state_table_free(store->frozen);
    store->frozen = NULL;
    mdb_txn_reset(store->reader); /* sees the new state at its next renewal */
    if (mdb_txn_renew(store->reader) != 0)
        abort(); /* only a reader table that is overrun refuses, and we have one reader */
}

static enum error_code open_table(struct store *store, struct error *err) {
    int stale = 0;
    (void)mdb_reader_check(store->env, &stale);
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, NULL, 0, &store->dbi);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (rc == 0)
        rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->reader);
    if (rc != 0)
        return lmdb_error(err, rc, "opening");
    MDB_val key = {sizeof meta_key - 1, (void *)(uintptr_t)meta_key};
    MDB_val value;
    rc = mdb_get(store->reader, store->dbi, &key, &value);
    if (rc == MDB_NOTFOUND)
        return ERROR_NONE;
    if (rc != 0)
        return lmdb_error(err, rc, "reading");
    return meta_decode(store, bytes_of(value.mv_data, value.mv_size), err);
}

static int open_env(struct store *store, const char *path) {
    int rc = mdb_env_create(&store->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(store->env, map_bytes);
    if (rc == 0)
        rc = mdb_env_open(store->env, path, MDB_NOTLS | MDB_NORDAHEAD, 0600);
    return rc;
}

static enum error_code remove_in(const struct store *store, const char *name, struct error *err) {
    char path[PATH_MAX];
    TRY(path_in(store, name, path, err));
    if (unlink(path) != 0 && errno != ENOENT)
        return file_error(err, errno, "cannot remove", path);
    return ERROR_NONE;
}

/* LMDB does not sync its first pages before it needs them: a power cut then leaves a file that is
 * none. The blocks say all that stood there, so it is made anew. */
static enum error_code open_again(struct store *store, const char *path, struct error *err) {
    mdb_env_close(store->env);
    store->env = NULL;
    TRY(remove_in(store, "state/data.mdb", err));
    TRY(remove_in(store, "state/lock.mdb", err));
    store->made_anew = true;
    int rc = open_env(store, path);
    return rc == 0 ? ERROR_NONE : lmdb_error(err, rc, "opening");
}

static enum error_code open_lmdb(struct store *store, struct error *err) {
    char path[PATH_MAX];
    TRY(path_in(store, "state", path, err));
    TRY(file_make_folder(path, 0700, err));
    int rc = open_env(store, path);
    if (rc == MDB_INVALID || rc == MDB_CORRUPTED)
        TRY(open_again(store, path, err));
    else if (rc != 0)
        return lmdb_error(err, rc, "opening");
    TRY(file_sync_folder(path, err));
    return open_table(store, err);
}

static enum error_code open_all(struct store *store, struct error *err) {
    char path[PATH_MAX];
    TRY(path_in(store, "log", path, err));
    TRY(file_make_folder(path, 0700, err));
    TRY(path_in(store, "lock", path, err));
    TRY(file_lock(path, &store->lock_fd, err));
    TRY(open_lmdb(store, err));
    TRY(open_file(store, "places", &store->places_fd, err));
    TRY(segments_open(store->folder, store->state_height, &store->segments, err));
    return file_sync_folder(store->folder, err);
}

enum error_code store_open(const char *folder, const struct hash *chain, struct store **ret_store,
                           struct error *err) {
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return error_set(err, ERROR_NO_MEMORY, "store: no memory");
    store->chain = *chain;
    store->lock_fd = store->places_fd = -1;
    for (int level = 0; level < MERKLE_LEVELS_MAX; level++)
        store->level_fd[level] = -1;
    merkle_frontier_init(&store->frontier);
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    store->active = state_table_new(seed);
    enum error_code code = ERROR_NONE;
    if (snprintf(store->folder, sizeof store->folder, "%s", folder) >=
        (int)sizeof store->folder)
        code = error_set(err, ERROR_LIMIT, "%s: the path is too long", folder);
    if (code == ERROR_NONE)
        code = open_all(store, err);
    if (code != ERROR_NONE) {
        store_close(store);
        return code;
    }
    *ret_store = store;
    return ERROR_NONE;
}

void store_close(struct store *store) {
    if (store == NULL)
        return;
    if (store->reader != NULL)
        mdb_txn_abort(store->reader);
    if (store->env != NULL)
        mdb_env_close(store->env);
    segments_close(store->segments);
    if (store->places_fd >= 0)
        (void)close(store->places_fd);
    for (int level = 0; level < MERKLE_LEVELS_MAX; level++)
        if (store->level_fd[level] >= 0)
            (void)close(store->level_fd[level]);
    state_table_free(store->active);
    state_table_free(store->frozen);
    if (store->lock_fd >= 0)
        (void)close(store->lock_fd);
    free(store);
}

uint64_t store_height(const struct store *store) {
    return segments_height(store->segments);
}

uint64_t store_state_height(const struct store *store) {
    return store->state_height;
}

uint64_t store_unreached_bytes(const struct store *store) {
    return segments_scanned_bytes(store->segments);
}

bool store_made_anew(const struct store *store) {
    return store->made_anew;
}

const struct merkle_frontier *store_frontier(const struct store *store) {
    return &store->frontier;
}

uint64_t store_block_bytes(const struct store *store) {
    return segments_bytes(store->segments);
}

static enum error_code base_get(void *self, const struct state_key *key,
                                struct state_value *ret_value, bool *ret_found,
                                struct error *err) {
    struct store *store = self;
    const struct state_value *value = state_table_get(store->active, key);
    if (value == NULL && store->frozen != NULL)
        value = state_table_get(store->frozen, key);
    if (value != NULL) {
        *ret_value = *value;
        *ret_found = true;
        return ERROR_NONE;
    }
    MDB_val lmdb_key = key_value(key);
    MDB_val found;
    int rc = mdb_get(store->reader, store->dbi, &lmdb_key, &found);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return lmdb_error(err, rc, "reading");
    if (rc == 0) {
        if (found.mv_size == 0 || found.mv_size > STATE_VALUE_BYTES_MAX)
            return error_set(err, ERROR_CORRUPT, "state: a value of %zu bytes", found.mv_size);
        ret_value->len = (uint8_t)found.mv_size;
        memcpy(ret_value->byte, found.mv_data, found.mv_size);
    }
    *ret_found = rc == 0;
    return ERROR_NONE;
}

struct state_base store_base(struct store *store) {
    return (struct state_base){base_get, store};
}

enum error_code store_append(struct store *store, uint64_t height, struct bytes block,
                             struct bytes certificate, struct error *err) {
    return segments_append(store->segments, height, block, certificate, err);
}

enum error_code store_sync(struct store *store, struct error *err) {
    return segments_sync(store->segments, segments_height(store->segments), err);
}

uint64_t store_durable_height(const struct store *store) {
    return store->durable_height;
}

static enum error_code write_places(struct store *store, const struct state_change *change,
                                    struct error *err) {
    if (change->place_count == 0)
        return ERROR_NONE;
    SCOPED_FREE uint8_t *raw = malloc(change->place_count * PLACE_BYTES);
    if (raw == NULL)
        return error_set(err, ERROR_NO_MEMORY, "places: no memory");
    for (size_t i = 0; i < change->place_count; i++) {
        const struct leaf_place *place = &change->places[i];
        uint8_t *at = raw + i * PLACE_BYTES;
        wire_store_u64(at, place->height);
        wire_store_u32(at + 8, place->submitter);
        wire_store_u16(at + 12, (uint16_t)place->transaction);
        wire_store_u16(at + 14, (uint16_t)place->leaf);
        wire_store_u32(at + 16, place->transaction_at);
        wire_store_u32(at + 20, place->leaf_at);
        wire_store_u64(at + 24, place->previous);
    }
    return file_write_at(store->places_fd, bytes_of(raw, change->place_count * PLACE_BYTES),
                         change->places_first * PLACE_BYTES, "places", err);
}

enum error_code store_apply(struct store *store, const struct state_change *change,
                            size_t block_bytes, struct error *err) {
    assert(change->height == store->state_height + 1);
    TRY(write_places(store, change, err));
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++) {
        const struct state_nodes *nodes = &change->levels[level];
        int fd = -1;
        if (nodes->count == 0)
            break; /* no complete subtree here, so none above */
        TRY(level_fd(store, level, &fd, err));
        TRY(file_write_at(fd, bytes_of(nodes->hash[0].byte, nodes->count * HASH_BYTES),
                          nodes->first * HASH_BYTES, "log", err));
    }
    size_t cursor = 0;
    for (const struct state_entry *e; (e = state_table_each(change->entries, &cursor)) != NULL;)
        if (e->key.byte[0] != STATE_RECORD)
            (void)state_table_put(store->active, &e->key, &e->value);
    store->unflushed_bytes += block_bytes;
    store->state_height = change->height;
    store->frontier = *change->frontier;
    return ERROR_NONE;
}

enum error_code store_read(struct store *store, uint64_t height, struct buffer *ret_block,
                           struct buffer *ret_certificate, struct error *err) {
    return segments_read(store->segments, height, ret_block, ret_certificate, err);
}

enum error_code store_read_some(struct store *store, uint64_t height, size_t offset,
                                uint8_t *ret_bytes, size_t len, size_t *ret_len,
                                struct error *err) {
    return segments_read_some(store->segments, height, offset, ret_bytes, len, ret_len, err);
}

enum error_code store_read_part(struct store *store, uint64_t height, size_t offset,
                                uint8_t *ret_bytes, size_t len, struct error *err) {
    size_t got = 0;
    TRY(segments_read_some(store->segments, height, offset, ret_bytes, len, &got, err));
    if (got != len)
        return error_set(err, ERROR_CORRUPT, "block %llu: ends before byte %zu",
                         (unsigned long long)height, offset + len);
    return ERROR_NONE;
}

struct leaf_place store_place_decode(const uint8_t raw[STORE_PLACE_BYTES]) {
    return (struct leaf_place){
        .height = wire_load_u64(raw),
        .submitter = wire_load_u32(raw + 8),
        .transaction = (uint32_t)raw[12] << 8 | raw[13],
        .leaf = (uint32_t)raw[14] << 8 | raw[15],
        .transaction_at = wire_load_u32(raw + 16),
        .leaf_at = wire_load_u32(raw + 20),
        .previous = wire_load_u64(raw + 24),
    };
}

enum error_code store_places(struct store *store, uint64_t first, size_t count,
                             struct leaf_place *ret_places, struct error *err) {
    if (first >= store->frontier.size || count > store->frontier.size - first)
        return error_set(err, ERROR_NOT_FOUND, "leaf %llu: the log has %llu",
                         (unsigned long long)first, (unsigned long long)store->frontier.size);
    SCOPED_FREE uint8_t *raw = malloc(count * PLACE_BYTES);
    if (raw == NULL)
        return error_set(err, ERROR_NO_MEMORY, "places: no memory");
    TRY(read_at(store->places_fd, first * PLACE_BYTES, raw, count * PLACE_BYTES, "places", err));
    for (size_t i = 0; i < count; i++)
        ret_places[i] = store_place_decode(raw + i * PLACE_BYTES);
    return ERROR_NONE;
}

enum error_code store_place(struct store *store, uint64_t log_index, struct leaf_place *ret_place,
                            struct error *err) {
    return store_places(store, log_index, 1, ret_place, err);
}

enum error_code store_leaf_hashes(struct store *store, uint64_t first, size_t count,
                                  struct hash *ret_hashes, struct error *err) {
    int fd = -1;
    TRY(level_fd(store, 0, &fd, err));
    return read_at(fd, first * HASH_BYTES, ret_hashes[0].byte, count * HASH_BYTES, "log", err);
}

static bool merkle_node(void *self, unsigned level, uint64_t index, struct hash *ret_hash) {
    struct store *store = self;
    int fd = -1;
    return level < MERKLE_LEVELS_MAX && level_fd(store, level, &fd, NULL) == ERROR_NONE &&
           read_at(fd, index * HASH_BYTES, ret_hash->byte, HASH_BYTES, "log", NULL) == ERROR_NONE;
}

struct merkle_reader store_merkle(struct store *store) {
    return (struct merkle_reader){merkle_node, store};
}
