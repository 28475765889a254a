#include "ledger/chain_map.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 32, FEED_LEAVES = 1 << 19 };

struct checkpoint {
    uint64_t height;
    uint64_t time_ms;
    uint64_t log_size;
    bool known; /* false: its root is that of the renewal under way */
    struct hash root;
};

struct chain_map {
    struct chain_map_settings settings;
    struct map *map;
    uint64_t head; /* its height and log size */
    uint64_t head_log_size;
    struct checkpoint ring[RING];
    uint64_t count; /* checkpoints ever put into the ring */
    struct recent *active;   /* since the last renewal began */
    struct recent *renewing; /* what it is of, or was */
};

static struct checkpoint *newest(const struct chain_map *m) {
    assert(m->count > 0);
    /* The ring is not const in a map that is: callers who only read do not write through it. */
    return (struct checkpoint *)(uintptr_t)&m->ring[(m->count - 1) % RING];
}

static struct checkpoint *last_at(const struct chain_map *m, uint64_t height) {
    for (uint64_t i = m->count; i > 0 && i + RING > m->count; i--) {
        struct checkpoint *c = (struct checkpoint *)(uintptr_t)&m->ring[(i - 1) % RING];
        if (c->height <= height)
            return c;
    }
    return NULL;
}

static void push(struct chain_map *m, const struct checkpoint *checkpoint) {
    m->ring[m->count++ % RING] = *checkpoint;
}

/* Waits for the renewal under way; whatever root is not known is its. */
static enum error_code learn_roots(struct chain_map *m, struct error *err) {
    struct hash root;
    TRY(map_root(m->map, &root, err));
    for (unsigned i = 0; i < RING; i++)
        if (!m->ring[i].known) {
            m->ring[i].known = true;
            m->ring[i].root = root;
        }
    return ERROR_NONE;
}

/* From the blocks. */
static enum error_code add_leaves(struct chain_map *m, uint64_t from, uint64_t end,
                                  struct error *err) {
    /* No more than is needed: small blocks are added by the ten thousand. */
    size_t most = end - from < CHAIN_MAP_PIECE ? (size_t)(end - from) : CHAIN_MAP_PIECE;
    SCOPED_FREE struct map_change *changes = calloc(most + 1, sizeof *changes);
    if (changes == NULL)
        return error_set(err, ERROR_NO_MEMORY, "map: no memory");
    while (from < end) {
        size_t piece = end - from < most ? (size_t)(end - from) : most;
        TRY(m->settings.leaves(m->settings.context, from, piece, changes, err));
        for (size_t i = 0; i < piece; i++)
            recent_put(m->active, &changes[i]);
        from += piece;
    }
    return ERROR_NONE;
}

void chain_map_add(struct chain_map *m, const struct state_change *change) {
    size_t cursor = 0;
    for (const struct state_entry *e; (e = state_table_each(change->entries, &cursor)) != NULL;) {
        struct state_record record;
        struct map_change c;
        if (e->key.byte[0] != STATE_RECORD)
            continue;
        state_record_decode(&e->value, &record);
        memcpy(c.key.byte, e->key.byte + 1, HASH_BYTES);
        c.value = (struct map_value){record.version, record.log_index, record.leaf};
        c.operation = (uint8_t)record.operation;
        c.submitter = record.owner;
        recent_put(m->active, &c);
    }
}

enum error_code chain_map_record(struct chain_map *m, const struct hash *key,
                                 struct state_record *ret_record, bool *ret_found,
                                 struct error *err) {
    const struct map_change *change = recent_find(m->active, key);
    struct map_record record;
    if (change == NULL)
        change = recent_find(m->renewing, key);
    *ret_found = true;
    if (change != NULL) {
        *ret_record = (struct state_record){change->value.version,
                                            (enum leaf_operation)change->operation,
                                            change->submitter, change->value.leaf,
                                            change->value.log_index};
        return ERROR_NONE;
    }
    if (!map_find(m->map, key, &record)) {
        *ret_found = false;
        return ERROR_NONE;
    }
    *ret_record = (struct state_record){.version = record.version,
                                        .operation = (enum leaf_operation)record.operation,
                                        .owner = record.submitter,
                                        .log_index = record.log_index};
    return store_leaf_hashes(m->settings.store, record.log_index, 1, &ret_record->leaf, err);
}

/* The renewal before it has ended. needs: the durable height from which on a crash leaves a header that
 * speaks of this renewal or a later one. */
static void renew(struct chain_map *m, uint64_t log_size, uint64_t needs) {
    struct recent *before = m->renewing;
    m->renewing = m->active;
    map_renew(m->map, recent_changes(m->renewing), recent_count(m->renewing), log_size, needs);
    recent_free(before);
    m->active = recent_new();
}

enum error_code chain_map_commit(struct chain_map *m, const struct block_header *header,
                                 struct error *err) {
    const struct checkpoint *last = newest(m);
    struct checkpoint next = {.height = header->height,
                              .time_ms = header->time_ms,
                              .log_size = header->log_size,
                              .known = last->known,
                              .root = last->root};
    m->head = header->height;
    m->head_log_size = header->log_size;
    if (header->log_size == last->log_size) {
        push(m, &next);
        return ERROR_NONE;
    }
    if (header->height - last->height < m->settings.genesis->parameters.window ||
        (header->log_size - last->log_size < CHAIN_MAP_LEAVES &&
         header->time_ms - last->time_ms < CHAIN_MAP_MS))
        return ERROR_NONE;
    TRY(learn_roots(m, err)); /* of the renewal before, which ended long ago */
    renew(m, header->log_size, header->height + m->settings.genesis->parameters.window);
    next.known = false;
    push(m, &next);
    return ERROR_NONE;
}

enum error_code chain_map_expected(struct chain_map *m, uint64_t height,
                                   uint64_t *ret_map_height, struct hash *ret_root,
                                   struct error *err) {
    uint64_t window = m->settings.genesis->parameters.window;
    uint64_t below = height > window ? height - window : 0;
    if (below > m->head)
        return error_set(err, ERROR_INTERNAL, "map: block %llu is executed, the head is %llu",
                         (unsigned long long)height, (unsigned long long)m->head);
    const struct checkpoint *c = last_at(m, below);
    if (c == NULL)
        return error_set(err, ERROR_INTERNAL, "map: no checkpoint at or below %llu",
                         (unsigned long long)below);
    if (!c->known)
        TRY(learn_roots(m, err));
    *ret_map_height = c->height;
    *ret_root = c->root;
    return ERROR_NONE;
}

/* The checkpoint that the head speaks of. */
static const struct checkpoint *published(const struct chain_map *m) {
    uint64_t window = m->settings.genesis->parameters.window;
    return last_at(m, m->head > window ? m->head - window : 0);
}

bool chain_map_lags(const struct chain_map *m) {
    const struct checkpoint *c = published(m);
    return c != NULL && c->log_size != m->head_log_size;
}

enum error_code chain_map_prove(struct chain_map *m, const struct hash *key,
                                struct map_proof *ret_proof, uint64_t *ret_log_index,
                                struct error *err) {
    const struct checkpoint *c = published(m);
    if (c == NULL)
        return error_set(err, ERROR_INTERNAL, "map: no checkpoint below the head");
    return map_prove(m->map, c->log_size, key, ret_proof, ret_log_index, err);
}

/* Opening. */

static uint64_t durable_height(void *context) {
    const struct chain_map *m = context;
    return store_durable_height(m->settings.store);
}

/* Gives the map the leaves that it lacks, in pieces that are small in memory. */
static enum error_code feed(struct chain_map *m, uint64_t from, uint64_t log_size,
                            struct error *err) {
    while (from < log_size) {
        uint64_t end = log_size - from > FEED_LEAVES ? from + FEED_LEAVES : log_size;
        TRY(add_leaves(m, from, end, err));
        renew(m, end, 0); /* the state on disk has them, and its header speaks of them */
        from = end;
    }
    return ERROR_NONE;
}

static enum error_code read_header(const struct chain_map *m, uint64_t height,
                                   struct block_header *ret_header, struct error *err) {
    uint8_t raw[BLOCK_HEADER_BYTES];
    if (height == 0) {
        *ret_header = (struct block_header){.time_ms = m->settings.genesis->created_ms};
        return ERROR_NONE;
    }
    TRY(store_read_part(m->settings.store, height, 0, raw, sizeof raw, err));
    return block_header_decode(bytes_of(raw, sizeof raw), ret_header, err);
}

/* To the state that the head speaks of, and its root compared: what is on disk is believed only so
 * far as the certified header says the same. */
static enum error_code reach_published(struct chain_map *m, const struct block_header *header,
                                       struct error *err) {
    const struct block_header *head = &m->settings.head;
    struct hash root;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (attempt == 1 || map_position(m->map) > header->log_size)
            TRY(map_reset(m->map, err));
        TRY(feed(m, map_position(m->map), header->log_size, err));
        TRY(map_root(m->map, &root, err));
        if (hash_equal(&root, &head->map_root))
            break;
        if (attempt == 1)
            return error_set(err, ERROR_CORRUPT,
                             "map: its root at block %llu is not the one that block %llu names",
                             (unsigned long long)header->height,
                             (unsigned long long)head->height);
    }
    push(m, &(struct checkpoint){header->height, header->time_ms, header->log_size, true, root});
    return ERROR_NONE;
}

static enum error_code reach_head(struct chain_map *m, struct error *err) {
    struct block_header header;
    TRY(read_header(m, m->settings.head.map_height, &header, err));
    m->head = header.height;
    m->head_log_size = header.log_size;
    TRY(reach_published(m, &header, err));
    uint64_t fed = header.log_size;
    for (uint64_t h = header.height + 1; h <= m->settings.head.height; h++) {
        TRY(read_header(m, h, &header, err));
        TRY(add_leaves(m, fed, header.log_size, err));
        fed = header.log_size;
        TRY(chain_map_commit(m, &header, err));
    }
    return ERROR_NONE;
}

enum error_code chain_map_open(const struct chain_map_settings *settings,
                               struct chain_map **ret_map, struct error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/map", settings->folder) >= (int)sizeof path)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", settings->folder);
    struct chain_map *m = calloc(1, sizeof *m);
    if (m == NULL)
        return error_set(err, ERROR_NO_MEMORY, "map: no memory");
    m->settings = *settings;
    for (unsigned i = 0; i < RING; i++)
        m->ring[i].known = true;
    m->active = recent_new();
    m->renewing = recent_new();
    struct map_settings map_settings = {.folder = path,
                                        .chain = settings->genesis->chain,
                                        .durable = durable_height,
                                        .context = m};
    enum error_code code = map_open(&map_settings, &m->map, err);
    if (code == ERROR_NONE)
        code = reach_head(m, err);
    if (code != ERROR_NONE) {
        chain_map_close(m);
        return code;
    }
    *ret_map = m;
    return ERROR_NONE;
}

void chain_map_close(struct chain_map *m) {
    if (m == NULL)
        return;
    map_close(m->map);
    recent_free(m->active);
    recent_free(m->renewing);
    free(m);
}
