#include "ledger/store/map.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/array.h"
#include "base/file.h"
#include "ledger/store/map_tree.h"

enum { MERGE_NICE = 5 }; /* of the merging thread: whoever signs blocks goes first */

struct held_run {
    struct map_run *run;
    uint64_t needs; /* durable height from which on it may be written */
};

struct job {
    const struct map_change *changes;
    size_t count;
    uint64_t log_size;
    uint64_t needs;
};

struct map {
    struct map_settings settings;
    char folder[PATH_MAX];
    pthread_t renewer;
    pthread_t merger;
    bool renewer_runs;
    bool merger_runs;

    pthread_mutex_t lock; /* guards what follows; the tree is changed by the renewing thread only */
    pthread_cond_t changed;
    struct map_tree *tree;
    struct held_run runs[MAP_RUNS_MAX]; /* the oldest first */
    size_t run_count;
    uint64_t size;   /* log size of the last renewal */
    uint64_t before; /* ... of the one before it */
    bool has_before; /* there was a renewal since opening: its run is the newest */
    struct job job;
    bool renewing;
    bool merging;
    bool ending;
    enum error_code code;
    struct error failure;
};

/* Renewing. */

struct place {
    uint64_t prefix; /* of the key: most comparisons end here */
    const struct map_change *change;
};

static int place_order(const void *a, const void *b) {
    const struct place *x = a;
    const struct place *y = b;
    if (x->prefix != y->prefix)
        return x->prefix < y->prefix ? -1 : 1;
    int order = memcmp(x->change->key.byte, y->change->key.byte, HASH_BYTES);
    if (order != 0)
        return order;
    return x->change->value.log_index < y->change->value.log_index ? -1 : 1;
}

/* The changes in the order of their keys, each record's last one only. */
static struct place *sorted_places(const struct job *job, size_t *ret_count) {
    struct place *places = array_new(job->count + 1, sizeof *places);
    for (size_t i = 0; i < job->count; i++)
        places[i] =
            (struct place){wire_load_u64(job->changes[i].key.byte), &job->changes[i]};
    qsort(places, job->count, sizeof *places, place_order);
    size_t kept = 0;
    for (size_t i = 0; i < job->count; i++)
        if (i + 1 == job->count ||
            !hash_equal(&places[i].change->key, &places[i + 1].change->key))
            places[kept++] = places[i];
    *ret_count = kept;
    return places;
}

static struct map_run *run_of(const struct job *job, uint64_t first) {
    size_t count = 0;
    struct place *places = sorted_places(job, &count);
    struct map_leaf *leaves = array_new(count + 1, sizeof *leaves);
    struct hash *hashes = array_new(count + 1, sizeof *hashes);
    struct map_slot *slots = array_new(count + 1, sizeof *slots);
    for (size_t i = 0; i < count; i++)
        map_leaf_set(&leaves[i], &places[i].change->key, &places[i].change->value);
    map_leaf_hashes(leaves, count, hashes);
    for (size_t i = 0; i < count; i++) {
        const struct map_change *c = places[i].change;
        struct map_record record = {c->key,           hashes[i],    c->value.log_index,
                                    c->value.version, c->operation, c->submitter};
        map_slot_encode(&record, &slots[i]);
    }
    free(places);
    free(leaves);
    free(hashes);
    return map_run_new(slots, count, first, job->log_size);
}

/* With the lock held: the runs for a time without it. */
static size_t hold_runs(const struct map *map, struct map_run *ret_runs[MAP_RUNS_MAX]) {
    for (size_t i = 0; i < map->run_count; i++)
        ret_runs[i] = map_run_hold(map->runs[i].run);
    return map->run_count;
}

static void drop_runs(struct map_run **runs, size_t count) {
    for (size_t i = 0; i < count; i++)
        map_run_free(runs[i]);
}

/* With the lock held, which is given up meanwhile. */
static void renew(struct map *map) {
    struct map_run *runs[MAP_RUNS_MAX];
    const struct job job = map->job;
    while (map->run_count + 1 >= MAP_RUNS_MAX && map->code == ERROR_NONE)
        pthread_cond_wait(&map->changed, &map->lock); /* for the merging thread */
    if (map->code != ERROR_NONE)
        return;
    size_t count = hold_runs(map, runs);
    uint64_t first = map->size;
    pthread_mutex_unlock(&map->lock);
    struct map_run *run = run_of(&job, first);
    runs[count] = map_run_hold(run);
    struct map_step *step = map_step_new(map->tree, runs, count + 1);
    drop_runs(runs, count + 1);
    pthread_mutex_lock(&map->lock);
    map_tree_apply(map->tree, step);
    map->runs[map->run_count++] = (struct held_run){run, job.needs};
    map->before = map->size;
    map->has_before = true;
    map->size = job.log_size;
}

static void *renew_always(void *argument) {
    struct map *map = argument;
    pthread_mutex_lock(&map->lock);
    for (;;) {
        while (!map->renewing && !map->ending)
            pthread_cond_wait(&map->changed, &map->lock);
        if (!map->renewing)
            break;
        renew(map);
        map->renewing = false;
        map->merging = true;
        pthread_cond_broadcast(&map->changed);
    }
    pthread_mutex_unlock(&map->lock);
    return NULL;
}

/* Merging. */

struct merge {
    size_t from;
    size_t end;
    bool to_file;
};

static size_t records_in(const struct map *map, size_t from, size_t end) {
    size_t records = 0;
    for (size_t i = from; i < end; i++)
        records += map_run_count(map->runs[i].run);
    return records;
}

/* The oldest of these runs that is smaller than all after it together; end where there is none. */
static size_t outgrown(const struct map *map, size_t from, size_t end) {
    while (from + 1 < end &&
           map_run_count(map->runs[from].run) >= records_in(map, from + 1, end))
        from++;
    return from + 1 < end ? from : end;
}

/* What is to be merged, with the lock held. The last renewal's run stays: the state before it is told
 * by the others. */
static bool choose(const struct map *map, struct merge *ret_merge) {
    size_t count = map->run_count - (map->has_before ? 1 : 0);
    size_t files = 0;
    while (files < count && map_run_in_file(map->runs[files].run))
        files++;
    uint64_t durable = map->settings.durable(map->settings.context);
    size_t writable = files;
    while (writable < count && map->runs[writable].needs <= durable)
        writable++;
    if (records_in(map, files, writable) >= map->settings.write_records) {
        size_t from = outgrown(map, 0, writable);
        *ret_merge = (struct merge){from < files ? from : files, writable, true};
        return true;
    }
    size_t from = outgrown(map, files, writable);
    *ret_merge = (struct merge){from, writable, false};
    if (from < writable)
        return true;
    from = outgrown(map, writable, count);
    *ret_merge = (struct merge){from, count, false};
    return from < count;
}

static enum error_code remove_file(const struct map *map, const char *name, struct error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", map->folder, name) >= (int)sizeof path)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", map->folder);
    if (unlink(path) != 0 && errno != ENOENT)
        return file_error(err, errno, "cannot remove", path);
    return ERROR_NONE;
}

static enum error_code remove_files(const struct map *map, struct map_run *const *runs,
                                    size_t count, struct error *err) {
    for (size_t i = 0; i < count; i++) {
        char name[MAP_RUN_NAME_BYTES];
        map_run_name(map_run_first(runs[i]), map_run_end(runs[i]), name);
        if (map_run_in_file(runs[i]))
            TRY(remove_file(map, name, err));
    }
    return ERROR_NONE;
}

/* With the lock held, which is given up meanwhile. New runs may come to the end; nobody else takes any
 * away. */
static enum error_code merge_runs(struct map *map, const struct merge *merge, struct error *err) {
    struct map_run *runs[MAP_RUNS_MAX];
    struct map_run *merged = NULL;
    size_t count = merge->end - merge->from;
    uint64_t needs = map->runs[merge->end - 1].needs;
    for (size_t i = 0; i < count; i++)
        runs[i] = map_run_hold(map->runs[merge->from + i].run);
    pthread_mutex_unlock(&map->lock);
    enum error_code code = map_run_merge(runs, count, merge->to_file ? map->folder : NULL,
                                         &map->settings.chain, &merged, err);
    pthread_mutex_lock(&map->lock);
    if (code == ERROR_NONE) {
        for (size_t i = 0; i < count; i++)
            map_run_free(map->runs[merge->from + i].run);
        map->runs[merge->from] = (struct held_run){merged, needs};
        memmove(map->runs + merge->from + 1, map->runs + merge->end,
                (map->run_count - merge->end) * sizeof map->runs[0]);
        map->run_count -= count - 1;
        code = remove_files(map, runs, count, err);
    }
    drop_runs(runs, count);
    return code;
}

static void *merge_always(void *argument) {
    struct map *map = argument;
    struct merge merge;
    /* On Linux the priority is the thread's own. Where it is refused, merging is only less polite. */
    (void)setpriority(PRIO_PROCESS, 0, MERGE_NICE);
    pthread_mutex_lock(&map->lock);
    while (map->merging || !map->ending) {
        struct error err;
        if (map->code != ERROR_NONE || !map->merging || !choose(map, &merge)) {
            map->merging = false;
            pthread_cond_broadcast(&map->changed);
            while (!map->merging && !map->ending)
                pthread_cond_wait(&map->changed, &map->lock);
            continue;
        }
        enum error_code code = merge_runs(map, &merge, &err);
        if (code != ERROR_NONE && map->code == ERROR_NONE) {
            map->code = code;
            map->failure = err;
        }
        pthread_cond_broadcast(&map->changed);
    }
    pthread_mutex_unlock(&map->lock);
    return NULL;
}

/* Asking. */

/* Returns with the lock held and no renewal under way. */
static void wait_renewed(struct map *map) {
    pthread_mutex_lock(&map->lock);
    while (map->renewing)
        pthread_cond_wait(&map->changed, &map->lock);
}

void map_renew(struct map *map, const struct map_change *changes, size_t count,
               uint64_t log_size, uint64_t needs) {
    wait_renewed(map);
    assert(log_size > map->size && count > 0);
    map->job = (struct job){changes, count, log_size, needs};
    map->renewing = true;
    pthread_cond_broadcast(&map->changed);
    pthread_mutex_unlock(&map->lock);
}

enum error_code map_root(struct map *map, struct hash *ret_root, struct error *err) {
    wait_renewed(map);
    enum error_code code = map->code;
    if (code != ERROR_NONE && err != NULL)
        *err = map->failure;
    if (code == ERROR_NONE)
        *ret_root = map_tree_root(map->tree).hash;
    pthread_mutex_unlock(&map->lock);
    return code;
}

bool map_find(struct map *map, const struct hash *key, struct map_record *ret_record) {
    const struct map_slot *slot = NULL;
    pthread_mutex_lock(&map->lock);
    for (size_t i = map->run_count; i > 0 && slot == NULL; i--)
        slot = map_run_find(map->runs[i - 1].run, key);
    if (slot != NULL)
        map_slot_decode(slot, ret_record);
    pthread_mutex_unlock(&map->lock);
    return slot != NULL;
}

enum error_code map_prove(struct map *map, uint64_t log_size, const struct hash *key,
                          struct map_proof *ret_proof, uint64_t *ret_log_index,
                          struct error *err) {
    struct map_run *runs[MAP_RUNS_MAX];
    const struct map_slot *slot = NULL;
    pthread_mutex_lock(&map->lock);
    bool before = map->has_before && log_size == map->before;
    bool known = before || log_size == map->size;
    size_t count = map->run_count - (before ? 1 : 0);
    for (size_t i = 0; i < count; i++)
        runs[i] = map->runs[i].run;
    if (known)
        map_tree_prove(map->tree, before, runs, count, key, ret_proof, &slot);
    if (slot != NULL)
        *ret_log_index = wire_load_u64(slot->log_index);
    pthread_mutex_unlock(&map->lock);
    return known ? ERROR_NONE
                 : error_set(err, ERROR_NOT_FOUND, "map: its state at %llu leaves is gone",
                             (unsigned long long)log_size);
}

uint64_t map_position(const struct map *map) {
    return map->size;
}

/* Opening. */

struct found_run {
    uint64_t first;
    uint64_t end;
};

/* Of those that begin at one leaf the longest comes first: it was merged of the others. */
static int found_order(const void *a, const void *b) {
    const struct found_run *x = a;
    const struct found_run *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->end > y->end ? -1 : x->end < y->end;
}

static bool run_named(const char *name, struct found_run *ret_run) {
    char again[MAP_RUN_NAME_BYTES];
    unsigned long long first = 0;
    unsigned long long end = 0;
    if (strlen(name) != MAP_RUN_NAME_BYTES - 1 || sscanf(name, "%16llx-%16llx", &first, &end) != 2)
        return false;
    map_run_name(first, end, again);
    *ret_run = (struct found_run){first, end};
    return strcmp(name, again) == 0 && first < end;
}

/* The runs that the folder names, in order. What was left half written goes. */
static enum error_code list_runs(const struct map *map, struct found_run **ret_found,
                                 size_t *ret_count, struct error *err) {
    struct found_run *found = array_new(MAP_RUNS_MAX, sizeof *found);
    enum error_code code = ERROR_NONE;
    size_t count = 0;
    DIR *folder = opendir(map->folder);
    if (folder == NULL) {
        free(found);
        return file_error(err, errno, "cannot read", map->folder);
    }
    for (struct dirent *e; code == ERROR_NONE && (e = readdir(folder)) != NULL;) {
        size_t len = strlen(e->d_name);
        if (len > 4 && strcmp(e->d_name + len - 4, ".new") == 0)
            code = remove_file(map, e->d_name, err);
        else if (count < MAP_RUNS_MAX && run_named(e->d_name, &found[count]))
            count++;
    }
    (void)closedir(folder);
    if (code != ERROR_NONE) {
        free(found);
        return code;
    }
    qsort(found, count, sizeof *found, found_order);
    *ret_found = found;
    *ret_count = count;
    return ERROR_NONE;
}

/* From leaf 0 on, without a gap. What is left over is older, or damaged, or follows what is. */
static enum error_code open_runs(struct map *map, struct error *err) {
    struct found_run *found = NULL;
    size_t count = 0;
    TRY(list_runs(map, &found, &count, err));
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; i < count && code == ERROR_NONE; i++) {
        char name[MAP_RUN_NAME_BYTES];
        struct map_run *run = NULL;
        map_run_name(found[i].first, found[i].end, name);
        code = found[i].first != map->size
                   ? ERROR_CORRUPT
                   : map_run_open(map->folder, found[i].first, found[i].end,
                                  &map->settings.chain, &run, err);
        if (code == ERROR_NONE) {
            map->runs[map->run_count++] = (struct held_run){run, 0};
            map->size = found[i].end;
        } else if (code == ERROR_CORRUPT) {
            code = remove_file(map, name, err);
        }
    }
    free(found);
    return code;
}

static enum error_code load(struct map *map, struct error *err) {
    struct map_run *runs[MAP_RUNS_MAX];
    TRY(open_runs(map, err));
    size_t count = hold_runs(map, runs);
    map_tree_load(map->tree, runs, count);
    drop_runs(runs, count);
    return ERROR_NONE;
}

static enum error_code start_threads(struct map *map, struct error *err) {
    map->renewer_runs = pthread_create(&map->renewer, NULL, renew_always, map) == 0;
    map->merger_runs =
        map->renewer_runs && pthread_create(&map->merger, NULL, merge_always, map) == 0;
    return map->merger_runs ? ERROR_NONE : error_set(err, ERROR_NO_MEMORY, "map: no thread");
}

enum error_code map_open(const struct map_settings *settings, struct map **ret_map,
                         struct error *err) {
    struct map *map = array_new(1, sizeof *map);
    map->settings = *settings;
    if (settings->write_records == 0)
        map->settings.write_records = MAP_WRITE_RECORDS;
    map->tree = map_tree_new();
    (void)pthread_mutex_init(&map->lock, NULL);
    (void)pthread_cond_init(&map->changed, NULL);
    enum error_code code = ERROR_NONE;
    if (snprintf(map->folder, sizeof map->folder, "%s", settings->folder) >=
        (int)sizeof map->folder)
        code = error_set(err, ERROR_LIMIT, "%s: the path is too long", settings->folder);
    if (code == ERROR_NONE)
        code = file_make_folder(map->folder, 0700, err);
    if (code == ERROR_NONE)
        code = load(map, err);
    if (code == ERROR_NONE)
        code = start_threads(map, err);
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
    wait_renewed(map);
    map->ending = true;
    pthread_cond_broadcast(&map->changed);
    pthread_mutex_unlock(&map->lock);
    if (map->renewer_runs)
        (void)pthread_join(map->renewer, NULL);
    if (map->merger_runs)
        (void)pthread_join(map->merger, NULL);
    for (size_t i = 0; i < map->run_count; i++)
        map_run_free(map->runs[i].run);
    map_tree_free(map->tree);
    (void)pthread_cond_destroy(&map->changed);
    (void)pthread_mutex_destroy(&map->lock);
    free(map);
}

enum error_code map_reset(struct map *map, struct error *err) {
    struct map_run *runs[MAP_RUNS_MAX] = {NULL};
    wait_renewed(map);
    while (map->merging)
        pthread_cond_wait(&map->changed, &map->lock);
    size_t count = hold_runs(map, runs);
    enum error_code code = remove_files(map, runs, count, err);
    drop_runs(runs, count);
    if (code == ERROR_NONE)
        code = file_sync_folder(map->folder, err);
    if (code == ERROR_NONE) {
        drop_runs(runs, count); /* the map's own references */
        map->run_count = 0;
        map->size = map->before = 0;
        map->has_before = false;
        map_tree_load(map->tree, NULL, 0);
    }
    pthread_mutex_unlock(&map->lock);
    return code;
}
