#include "ledger/store/map.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "ledger/store/crc.h"
#include "ledger/store/map_part.h"

enum {
    PARTS = MAP_PARTS,
    PARTS_DEPTH = 8,
    FRESH_SHARE = 16,   /* of the records in files */
    BEHIND_LIMITS = 4,  /* a part is written anew when so many limits of leaves came since */
};

struct job {
    struct map_change *changes;
    size_t count;
    uint64_t log_size;
};

struct map {
    struct map_settings settings;
    char folder[PATH_MAX];
    struct map_part *parts[PARTS];
    pthread_mutex_t part_lock[PARTS];
    uint64_t size; /* log size of the last renewal; the worker's while it is busy */
    struct map_node root;

    pthread_t worker;
    bool worker_runs;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct job job;
    bool busy;
    bool ending;
    enum error_code code;
    struct error failure;
};

static struct map_node tree_root(struct map_node nodes[2 * PARTS]) {
    for (unsigned i = PARTS - 1; i > 0; i--)
        nodes[i] = map_join(&nodes[2 * i], &nodes[2 * i + 1]);
    return nodes[1];
}

static struct map_node current_root(const struct map *map) {
    struct map_node nodes[2 * PARTS];
    for (unsigned i = 0; i < PARTS; i++)
        nodes[PARTS + i] = map_part_node(map->parts[i], 1, UINT64_MAX);
    return tree_root(nodes);
}

/* Writing parts anew. */

static enum error_code write_part(struct map *map, unsigned i, bool *synced, struct error *err) {
    if (!*synced)
        TRY(map->settings.sync(map->settings.context, err));
    *synced = true;
    pthread_mutex_lock(&map->part_lock[i]);
    enum error_code code =
        map_part_write(map->parts[i], map->folder, &map->settings.chain, map->size, err);
    pthread_mutex_unlock(&map->part_lock[i]);
    return code;
}

static unsigned fullest(const struct map *map) {
    unsigned best = 0;
    for (unsigned i = 1; i < PARTS; i++)
        if (map_part_fresh(map->parts[i]) > map_part_fresh(map->parts[best]))
            best = i;
    return best;
}

static enum error_code write_some(struct map *map, struct error *err) {
    uint64_t kept = 0;
    uint64_t fresh = 0;
    bool synced = false;
    for (unsigned i = 0; i < PARTS; i++) {
        kept += map_part_kept(map->parts[i]);
        fresh += map_part_fresh(map->parts[i]);
    }
    uint64_t limit = kept / FRESH_SHARE;
    limit = limit < MAP_FRESH_MIN ? MAP_FRESH_MIN : limit;
    limit = limit > MAP_FRESH_MAX ? MAP_FRESH_MAX : limit;
    while (fresh > limit) {
        unsigned i = fullest(map);
        fresh -= map_part_fresh(map->parts[i]);
        TRY(write_part(map, i, &synced, err));
    }
    for (unsigned i = 0; i < PARTS; i++)
        if (map->size - map_part_position(map->parts[i]) > BEHIND_LIMITS * limit &&
            map->size > map_part_position(map->parts[i]))
            TRY(write_part(map, i, &synced, err));
    return ERROR_NONE;
}

/* Renewing. */

static int fresh_order(const void *a, const void *b) {
    const struct map_entry *x = a;
    const struct map_entry *y = b;
    int order = memcmp(x->key.byte, y->key.byte, HASH_BYTES);
    if (order != 0)
        return order;
    return x->log_index < y->log_index ? -1 : x->log_index > y->log_index;
}

/* The batch as entries in the order of their keys; a record that changed twice stands twice. */
static struct map_entry *sorted_entries(const struct job *job) {
    struct map_entry *entries = calloc(job->count + 1, sizeof *entries);
    struct map_leaf *leaves = calloc(job->count + 1, sizeof *leaves);
    struct hash *hashes = calloc(job->count + 1, sizeof *hashes);
    if (entries == NULL || leaves == NULL || hashes == NULL)
        abort(); /* a node that forgets a record is worse than one that stops */
    if (job->count > 0)
        map_keys(job->changes[0].locator, sizeof job->changes[0], job->count, hashes);
    for (size_t i = 0; i < job->count; i++)
        map_leaf_set(&leaves[i], &hashes[i], &job->changes[i].value);
    map_leaf_hashes(leaves, job->count, hashes);
    for (size_t i = 0; i < job->count; i++)
        entries[i] =
            (struct map_entry){leaves[i].key, hashes[i], job->changes[i].value.log_index};
    free(leaves);
    free(hashes);
    qsort(entries, job->count, sizeof *entries, fresh_order);
    return entries;
}

static enum error_code renew(struct map *map, const struct job *job, struct error *err) {
    TRY(write_some(map, err));
    struct map_entry *entries = sorted_entries(job);
    for (size_t at = 0; at < job->count;) {
        unsigned i = entries[at].key.byte[0];
        size_t end = at;
        while (end < job->count && entries[end].key.byte[0] == i)
            end++;
        pthread_mutex_lock(&map->part_lock[i]);
        map_part_renew(map->parts[i], entries + at, end - at, job->log_size);
        pthread_mutex_unlock(&map->part_lock[i]);
        at = end;
    }
    free(entries);
    map->size = job->log_size;
    map->root = current_root(map);
    return ERROR_NONE;
}

static void *work(void *argument) {
    struct map *map = argument;
    pthread_mutex_lock(&map->lock);
    for (;;) {
        while (!map->busy && !map->ending)
            pthread_cond_wait(&map->changed, &map->lock);
        if (!map->busy)
            break;
        struct job job = map->job;
        pthread_mutex_unlock(&map->lock);
        struct error err;
        enum error_code code = renew(map, &job, &err);
        free(job.changes);
        pthread_mutex_lock(&map->lock);
        if (code != ERROR_NONE && map->code == ERROR_NONE) {
            map->code = code;
            map->failure = err;
        }
        map->busy = false;
        pthread_cond_broadcast(&map->changed);
    }
    pthread_mutex_unlock(&map->lock);
    return NULL;
}

/* Returns with the lock held and nobody at work. */
static void wait_idle(struct map *map) {
    pthread_mutex_lock(&map->lock);
    while (map->busy)
        pthread_cond_wait(&map->changed, &map->lock);
}

void map_renew(struct map *map, struct map_change *changes, size_t count, uint64_t log_size) {
    wait_idle(map);
    assert(log_size >= map->size);
    map->job = (struct job){changes, count, log_size};
    map->busy = true;
    pthread_cond_broadcast(&map->changed);
    pthread_mutex_unlock(&map->lock);
}

enum error_code map_root(struct map *map, struct hash *ret_root, struct error *err) {
    wait_idle(map);
    enum error_code code = map->code;
    if (code != ERROR_NONE && err != NULL)
        *err = map->failure;
    if (code == ERROR_NONE)
        *ret_root = map->root.hash;
    pthread_mutex_unlock(&map->lock);
    return code;
}

/* Opening. */

static enum error_code open_parts(struct map *map, struct error *err) {
    map->size = UINT64_MAX;
    for (unsigned i = 0; i < PARTS; i++) {
        TRY(map_part_open(map->folder, i, &map->settings.chain, &map->parts[i], err));
        uint64_t position = map_part_position(map->parts[i]);
        map->size = position < map->size ? position : map->size;
    }
    map->root = current_root(map);
    return ERROR_NONE;
}

enum error_code map_open(const struct map_settings *settings, struct map **ret_map,
                         struct error *err) {
    struct map *map = calloc(1, sizeof *map);
    if (map == NULL)
        return error_set(err, ERROR_NO_MEMORY, "map: no memory");
    map->settings = *settings;
    (void)pthread_mutex_init(&map->lock, NULL);
    (void)pthread_cond_init(&map->changed, NULL);
    for (unsigned i = 0; i < PARTS; i++)
        (void)pthread_mutex_init(&map->part_lock[i], NULL);
    enum error_code code = ERROR_NONE;
    if (snprintf(map->folder, sizeof map->folder, "%s", settings->folder) >=
        (int)sizeof map->folder)
        code = error_set(err, ERROR_LIMIT, "%s: the path is too long", settings->folder);
    if (code == ERROR_NONE)
        code = file_make_folder(map->folder, 0700, err);
    if (code == ERROR_NONE)
        code = open_parts(map, err);
    if (code == ERROR_NONE && pthread_create(&map->worker, NULL, work, map) != 0)
        code = error_set(err, ERROR_NO_MEMORY, "map: no thread");
    map->worker_runs = code == ERROR_NONE;
    if (code != ERROR_NONE) {
        map_close(map);
        return code;
    }
    *ret_map = map;
    return ERROR_NONE;
}

void map_close(struct map *map) {
    if (map == NULL)
        return;
    if (map->worker_runs) {
        wait_idle(map);
        map->ending = true;
        pthread_cond_broadcast(&map->changed);
        pthread_mutex_unlock(&map->lock);
        (void)pthread_join(map->worker, NULL);
    }
    for (unsigned i = 0; i < PARTS; i++) {
        map_part_free(map->parts[i]);
        (void)pthread_mutex_destroy(&map->part_lock[i]);
    }
    (void)pthread_cond_destroy(&map->changed);
    (void)pthread_mutex_destroy(&map->lock);
    free(map);
}

uint64_t map_position(const struct map *map) {
    return map->size;
}

enum error_code map_reset(struct map *map, struct error *err) {
    wait_idle(map);
    enum error_code code = ERROR_NONE;
    for (unsigned i = 0; i < PARTS && code == ERROR_NONE; i++) {
        map_part_free(map->parts[i]);
        map->parts[i] = NULL;
        code = map_part_remove(map->folder, i, err);
    }
    if (code == ERROR_NONE)
        code = file_sync_folder(map->folder, err);
    if (code == ERROR_NONE)
        code = open_parts(map, err);
    pthread_mutex_unlock(&map->lock);
    return code;
}

/* Proving. */

/* The tree over the parts at a log size; false where a part does not reach back so far. */
static bool top_at(struct map *map, uint64_t log_size, struct map_node nodes[2 * PARTS]) {
    bool all = true;
    for (unsigned i = 0; i < PARTS; i++) {
        pthread_mutex_lock(&map->part_lock[i]);
        all = all && map_part_reaches(map->parts[i], log_size);
        if (all)
            nodes[PARTS + i] = map_part_node(map->parts[i], 1, log_size);
        pthread_mutex_unlock(&map->part_lock[i]);
    }
    if (all)
        (void)tree_root(nodes);
    return all;
}

/* Fills in siblings down to the first node that is no inner one, or to the part. */
static unsigned descend_top(const struct map_node nodes[2 * PARTS], const struct hash *key,
                            struct map_proof *proof) {
    unsigned at = 1;
    for (unsigned depth = 0; depth < PARTS_DEPTH && nodes[at].kind == MAP_INNER; depth++) {
        at = 2 * at + (map_bit(key, depth) ? 1 : 0);
        proof->sibling[depth] = nodes[at ^ 1].hash;
        proof->depth = depth + 1;
    }
    return at;
}

enum error_code map_prove(struct map *map, uint64_t log_size, const struct hash *key,
                          struct map_proof *ret_proof, uint64_t *ret_log_index,
                          struct error *err) {
    struct map_node nodes[2 * PARTS];
    memset(ret_proof, 0, sizeof *ret_proof);
    if (!top_at(map, log_size, nodes))
        return error_set(err, ERROR_NOT_FOUND, "map: its state at %llu leaves is gone",
                         (unsigned long long)log_size);
    unsigned at = descend_top(nodes, key, ret_proof);
    unsigned part = key->byte[0];
    if (nodes[at].kind == MAP_EMPTY)
        return ERROR_NONE;
    if (nodes[at].kind == MAP_LEAF) { /* the only one below: follow it to its part */
        while (at < PARTS)
            at = nodes[2 * at].kind == MAP_EMPTY ? 2 * at + 1 : 2 * at;
        part = at - PARTS;
    }
    struct map_entry entry;
    pthread_mutex_lock(&map->part_lock[part]);
    bool reaches = map_part_reaches(map->parts[part], log_size);
    bool some = reaches && (nodes[at].kind == MAP_LEAF
                                ? map_part_only(map->parts[part], 1, log_size, &entry)
                                : map_part_descend(map->parts[part], log_size, key, ret_proof,
                                                   &entry));
    pthread_mutex_unlock(&map->part_lock[part]);
    if (!reaches)
        return error_set(err, ERROR_NOT_FOUND, "map: its state at %llu leaves is gone",
                         (unsigned long long)log_size);
    ret_proof->some = some;
    if (some) {
        ret_proof->key = entry.key;
        *ret_log_index = entry.log_index;
    }
    return ERROR_NONE;
}
