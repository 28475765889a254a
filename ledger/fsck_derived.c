/* What is made from the blocks, held against them: the log's tree, the places of leaves, the map. */
#include "ledger/fsck_derived.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/file.h"
#include "ledger/merkle/map.h"
#include "ledger/store/map_run.h"
#include "ledger/store/store.h"

enum { LEAVES_MAX = 1 << 23, PATH_BYTES = 4096 };

/* A leaf as the blocks tell it. */
struct known {
    struct hash key;
    struct hash hash; /* of the map's leaf */
    uint64_t log_index;
    struct leaf_place place;
    uint32_t version;
    uint8_t operation;
};

struct level {
    const uint8_t *data; /* NULL: there is no such file */
    size_t len;
    bool damaged; /* said so */
};

struct derived {
    const char *folder;
    struct derived_report report;
    struct level levels[MERKLE_LEVELS_MAX];
    struct known *leaves;
    size_t count;
    size_t capacity;
    bool too_many;
};

static void map_level(struct derived *d, unsigned level) {
    char path[PATH_BYTES];
    struct stat stat;
    if (snprintf(path, sizeof path, "%s/log/%02u", d->folder, level) >= (int)sizeof path)
        return;
    SCOPED_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) != 0 || stat.st_size == 0)
        return;
    void *data = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return;
    d->levels[level] = (struct level){data, (size_t)stat.st_size, false};
}

struct derived *derived_new(const char *folder, const struct derived_report *report) {
    struct derived *d = calloc(1, sizeof *d);
    if (d == NULL)
        abort();
    d->folder = folder;
    d->report = *report;
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++)
        map_level(d, level);
    return d;
}

void derived_free(struct derived *d) {
    if (d == NULL)
        return;
    for (unsigned i = 0; i < MERKLE_LEVELS_MAX; i++)
        if (d->levels[i].data != NULL)
            (void)munmap((void *)(uintptr_t)d->levels[i].data, d->levels[i].len);
    free(d->leaves);
    free(d);
}

/* The files may lag behind the blocks, and what a crash left unwritten in them is zero. */
static bool is_there(const struct level *level, uint64_t at, size_t len) {
    static const uint8_t nothing[HASH_BYTES];
    return level->data != NULL && at + len <= level->len &&
           memcmp(level->data + at, nothing, len) != 0;
}

static void on_node(void *self, unsigned number, uint64_t index, const struct hash *hash) {
    struct derived *d = self;
    struct level *level = &d->levels[number];
    char file[16];
    char text[160];
    if (level->damaged || !is_there(level, index * HASH_BYTES, HASH_BYTES) ||
        memcmp(level->data + index * HASH_BYTES, hash->byte, HASH_BYTES) == 0)
        return;
    level->damaged = true; /* one of each file is enough */
    (void)snprintf(file, sizeof file, "log/%02u", number);
    (void)snprintf(text, sizeof text,
                   "byte %llu: found another hash than that of leaves %llu and after, expected theirs",
                   (unsigned long long)(index * HASH_BYTES), (unsigned long long)(index << number));
    d->report.find(d->report.self, file, text);
}

static void on_leaf(void *self, const struct walk_leaf *told) {
    struct derived *d = self;
    if (d->count == LEAVES_MAX) {
        d->too_many = true;
        return;
    }
    if (d->count == d->capacity) {
        d->capacity = d->capacity == 0 ? 1024 : d->capacity * 2;
        d->leaves = realloc(d->leaves, d->capacity * sizeof *d->leaves);
        if (d->leaves == NULL)
            abort();
    }
    struct known *k = &d->leaves[d->count++];
    *k = (struct known){.key = map_key(told->leaf->locator.byte),
                        .log_index = told->log_index,
                        .place = told->place,
                        .version = told->leaf->version,
                        .operation = told->leaf->operation};
    struct map_value value = {k->version, k->log_index, told->hash};
    k->hash = map_leaf_hash(&k->key, &value);
}

struct walk_sink derived_sink(struct derived *d) {
    return (struct walk_sink){on_node, on_leaf, d};
}

static int by_key(const void *a, const void *b) {
    const struct known *x = a;
    const struct known *y = b;
    int order = memcmp(x->key.byte, y->key.byte, HASH_BYTES);
    return order != 0 ? order : x->log_index < y->log_index ? -1 : x->log_index > y->log_index;
}

static void check_place(struct derived *d, const struct known *k, uint64_t previous,
                        const uint8_t *raw, bool *ret_damaged) {
    struct leaf_place place = store_place_decode(raw);
    const struct leaf_place *e = &k->place;
    if (place.height == e->height && place.submitter == e->submitter &&
        place.transaction == e->transaction && place.leaf == e->leaf &&
        place.transaction_at == e->transaction_at && place.leaf_at == e->leaf_at &&
        place.previous == previous)
        return;
    char text[256];
    (void)snprintf(text, sizeof text,
                   "byte %llu: leaf %llu: found block %llu, byte %u, version before %llu, expected "
                   "block %llu, byte %u, version before %llu (or a number beside them)",
                   (unsigned long long)(k->log_index * STORE_PLACE_BYTES),
                   (unsigned long long)k->log_index, (unsigned long long)place.height, place.leaf_at,
                   (unsigned long long)place.previous, (unsigned long long)e->height, e->leaf_at,
                   (unsigned long long)previous);
    d->report.find(d->report.self, "places", text);
    *ret_damaged = true;
}

/* Leaves are sorted by key: the version before stands beside each. */
static enum error_code check_places(struct derived *d, struct error *err) {
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/places", d->folder);
    SCOPED_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    static const uint8_t nothing[STORE_PLACE_BYTES];
    bool damaged = false;
    for (size_t i = 0; fd >= 0 && i < d->count && !damaged; i++) {
        uint8_t raw[STORE_PLACE_BYTES];
        const struct known *k = &d->leaves[i];
        size_t got = 0;
        TRY(file_read_at(fd, raw, sizeof raw, k->log_index * sizeof raw, path, &got, err));
        bool older = i > 0 && hash_equal(&d->leaves[i - 1].key, &k->key);
        if (got == sizeof raw && memcmp(raw, nothing, sizeof raw) != 0)
            check_place(d, k, older ? d->leaves[i - 1].log_index + 1 : 0, raw, &damaged);
    }
    return ERROR_NONE;
}

static const char *check_slot(const struct map_slot *slot, const struct known *k) {
    struct map_record r;
    map_slot_decode(slot, &r);
    if (memcmp(r.key.byte, k->key.byte, HASH_BYTES) != 0)
        return "its records are not those of its leaves";
    if (r.log_index != k->log_index || r.version != k->version || !hash_equal(&r.hash, &k->hash))
        return "a record names another version than the latest of its leaves";
    if (r.operation != k->operation || r.submitter != k->place.submitter)
        return "a record has another operation or submitter than its leaf";
    return NULL;
}

/* A run has, for each record with leaves in it, the last of these. */
static const char *check_slots(const struct derived *d, const struct map_run *run) {
    const struct map_slot *slots = map_run_slots(run);
    size_t at = 0;
    for (size_t i = 0; i < d->count;) {
        const struct known *last = NULL;
        size_t j = i;
        for (; j < d->count && hash_equal(&d->leaves[j].key, &d->leaves[i].key); j++)
            if (d->leaves[j].log_index >= map_run_first(run) &&
                d->leaves[j].log_index < map_run_end(run))
                last = &d->leaves[j];
        i = j;
        if (last == NULL)
            continue;
        if (at == map_run_count(run))
            return "it lacks records";
        const char *wrong = check_slot(&slots[at++], last);
        if (wrong != NULL)
            return wrong;
    }
    return at == map_run_count(run) ? NULL : "it has records that its leaves have not";
}

static void check_run(struct derived *d, const char *name, const struct hash *chain) {
    uint64_t first = 0;
    uint64_t end = 0;
    int used = 0;
    struct error err;
    struct map_run *run = NULL;
    char file[64];
    char text[ERROR_MESSAGE_BYTES_MAX];
    if (strlen(name) != MAP_RUN_NAME_BYTES - 1 ||
        sscanf(name, "%16" SCNx64 "-%16" SCNx64 "%n", &first, &end, &used) != 2 ||
        used != MAP_RUN_NAME_BYTES - 1)
        return; /* a file that a crash left unfinished is removed at the next start */
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%s/map", d->folder);
    (void)snprintf(file, sizeof file, "map/%s", name);
    if (map_run_open(folder, first, end, chain, &run, &err) != ERROR_NONE) {
        d->report.find(d->report.self, file, err.message);
        return;
    }
    const char *wrong = d->too_many ? NULL : check_slots(d, run);
    (void)snprintf(text, sizeof text, "leaves %llu to %llu: found that %s",
                   (unsigned long long)first, (unsigned long long)end, wrong != NULL ? wrong : "");
    if (wrong != NULL)
        d->report.find(d->report.self, file, text);
    map_run_free(run);
}

static void check_runs(struct derived *d, const struct hash *chain) {
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/map", d->folder);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return;
    for (const struct dirent *e; (e = readdir(folder)) != NULL;)
        check_run(d, e->d_name, chain);
    (void)closedir(folder);
}

/* The root that Q validators certified, made anew from the leaves up to its checkpoint. */
static void check_root(struct derived *d, const struct block_header *head) {
    struct map_entry *entries = calloc(d->count + 1, sizeof *entries);
    if (entries == NULL)
        abort();
    size_t count = 0;
    for (size_t i = 0; i < d->count; i++) {
        const struct known *k = &d->leaves[i];
        if (k->place.height > head->map_height)
            continue;
        if (count > 0 && hash_equal(&entries[count - 1].key, &k->key))
            count--;
        entries[count++] = (struct map_entry){k->key, k->hash, k->log_index};
    }
    struct map_node root = map_subtree(entries, count, 0);
    free(entries);
    if (!hash_equal(&root.hash, &head->map_root))
        d->report.find(d->report.self, "blocks",
                       "the last header's map root is not that of the leaves up to its checkpoint");
}

enum error_code derived_check(struct derived *d, const struct block_header *head, bool *ret_all,
                              struct error *err) {
    if (d->count > 0)
        qsort(d->leaves, d->count, sizeof *d->leaves, by_key);
    *ret_all = !d->too_many;
    check_runs(d, &head->chain);
    if (d->too_many)
        return ERROR_NONE;
    if (head->map_height > 0)
        check_root(d, head);
    return check_places(d, err);
}
