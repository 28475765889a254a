#include "ledger/store/map_run.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/file.h"
#include "ledger/store/crc.h"

enum {
    RUN_MAGIC = 0x5252554e, /* "RRUN" */
    RUN_FORMAT = 1,
    HEAD_BYTES = 72,
    CRC_AT = 64,
    END_BYTES = 4,
    BITS_MAX = 26,
    BUCKET_SLOTS = 2,              /* on average at most, up to BITS_MAX: each is a cache miss */
    WRITE_SLOTS = 4096,            /* written at once */
    SYNC_BYTES = 8 << 20,          /* so much is synced at once: others wait for the disk, too */
};

struct map_run {
    _Atomic unsigned references;
    uint64_t first;
    uint64_t end;
    size_t count;
    unsigned bits;
    const uint8_t *ends; /* the table, as in the file */
    const struct map_slot *slots;
    uint8_t *file; /* mapped; NULL: in memory */
    size_t file_len;
    uint8_t *own_ends;
    struct map_slot *own_slots;
};

void map_slot_encode(const struct map_record *record, struct map_slot *ret_slot) {
    memcpy(ret_slot->key, record->key.byte, HASH_BYTES);
    memcpy(ret_slot->hash, record->hash.byte, HASH_BYTES);
    wire_store_u64(ret_slot->log_index, record->log_index);
    wire_store_u32(ret_slot->version, record->version);
    ret_slot->operation = record->operation;
    wire_store_u32(ret_slot->submitter, record->submitter);
}

void map_slot_decode(const struct map_slot *slot, struct map_record *ret_record) {
    memcpy(ret_record->key.byte, slot->key, HASH_BYTES);
    memcpy(ret_record->hash.byte, slot->hash, HASH_BYTES);
    ret_record->log_index = wire_load_u64(slot->log_index);
    ret_record->version = wire_load_u32(slot->version);
    ret_record->operation = slot->operation;
    ret_record->submitter = wire_load_u32(slot->submitter);
}

/* The table. */

static unsigned bits_for(size_t count) {
    unsigned bits = 0;
    while (bits < BITS_MAX && count > (size_t)BUCKET_SLOTS << bits)
        bits++;
    return bits;
}

static uint32_t bucket_of(uint32_t prefix, unsigned bits) {
    return bits == 0 ? 0 : prefix >> (32 - bits);
}

static size_t end_of(const struct map_run *run, uint32_t bucket) {
    return wire_load_u32(run->ends + (size_t)bucket * END_BYTES);
}

/* Filled while slots come in order: at: the number of slots before this bucket's first. */
struct table {
    uint8_t *ends;
    unsigned bits;
    uint32_t next; /* the first bucket whose end is not known */
};

static void table_init(struct table *table, size_t count_max) {
    table->bits = bits_for(count_max);
    table->next = 0;
    table->ends = array_new((size_t)1 << table->bits, END_BYTES);
}

static void table_reach(struct table *table, uint32_t bucket, size_t at) {
    for (; table->next < bucket; table->next++)
        wire_store_u32(table->ends + (size_t)table->next * END_BYTES, (uint32_t)at);
}

static void table_end(struct table *table, size_t count) {
    table_reach(table, 1U << table->bits, count);
}

struct map_run *map_run_new(struct map_slot *slots, size_t count, uint64_t first, uint64_t end) {
    struct map_run *run = array_new(1, sizeof *run);
    struct table table;
    assert(count <= UINT32_MAX);
    table_init(&table, count);
    for (size_t i = 0; i < count; i++)
        table_reach(&table, bucket_of(map_prefix(slots[i].key), table.bits), i);
    table_end(&table, count);
    run->references = 1;
    run->first = first;
    run->end = end;
    run->count = count;
    run->bits = table.bits;
    run->ends = run->own_ends = table.ends;
    run->slots = run->own_slots = slots;
    return run;
}

struct map_run *map_run_hold(struct map_run *run) {
    run->references++;
    return run;
}

void map_run_free(struct map_run *run) {
    if (run == NULL || --run->references > 0)
        return;
    if (run->file != NULL)
        (void)munmap(run->file, run->file_len);
    free(run->own_ends);
    free(run->own_slots);
    free(run);
}

uint64_t map_run_first(const struct map_run *run) {
    return run->first;
}

uint64_t map_run_end(const struct map_run *run) {
    return run->end;
}

size_t map_run_count(const struct map_run *run) {
    return run->count;
}

bool map_run_in_file(const struct map_run *run) {
    return run->file != NULL;
}

const struct map_slot *map_run_slots(const struct map_run *run) {
    return run->slots;
}

size_t map_run_lower(const struct map_run *run, uint32_t prefix) {
    uint32_t bucket = bucket_of(prefix, run->bits);
    size_t low = bucket == 0 ? 0 : end_of(run, bucket - 1);
    size_t high = end_of(run, bucket);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map_prefix(run->slots[middle].key) < prefix)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct map_slot *map_run_find(const struct map_run *run, const struct hash *key) {
    uint32_t prefix = map_prefix(key->byte);
    for (size_t i = map_run_lower(run, prefix);
         i < run->count && map_prefix(run->slots[i].key) == prefix; i++)
        if (memcmp(run->slots[i].key, key->byte, HASH_BYTES) == 0)
            return &run->slots[i];
    return NULL;
}

/* Files. */

void map_run_name(uint64_t first, uint64_t end, char ret_name[MAP_RUN_NAME_BYTES]) {
    (void)snprintf(ret_name, MAP_RUN_NAME_BYTES, "%016llx-%016llx", (unsigned long long)first,
                   (unsigned long long)end);
}

static enum error_code run_path(const char *folder, uint64_t first, uint64_t end,
                                const char *suffix, char ret_path[PATH_MAX], struct error *err) {
    char name[MAP_RUN_NAME_BYTES];
    map_run_name(first, end, name);
    if (snprintf(ret_path, PATH_MAX, "%s/%s%s", folder, name, suffix) >= PATH_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", folder);
    return ERROR_NONE;
}

/* All that is believed of a file later: its head, its table, its length. */
static bool whole(const struct map_run *run, const struct hash *chain) {
    const uint8_t *f = run->file;
    if (run->file_len < HEAD_BYTES || wire_load_u32(f) != RUN_MAGIC || f[4] != RUN_FORMAT ||
        f[5] > BITS_MAX || memcmp(f + 8, chain->byte, HASH_BYTES) != 0 ||
        wire_load_u64(f + 40) != run->first || wire_load_u64(f + 48) != run->end)
        return false;
    size_t table = ((size_t)1 << f[5]) * END_BYTES;
    uint64_t count = wire_load_u64(f + 56);
    if (count > UINT32_MAX ||
        run->file_len != HEAD_BYTES + table + count * sizeof(struct map_slot))
        return false;
    uint32_t crc = crc32c(crc32c(0, bytes_of(f, CRC_AT)), bytes_of(f + HEAD_BYTES, table));
    if (crc != wire_load_u32(f + CRC_AT))
        return false;
    uint32_t before = 0;
    for (size_t i = 0; i < table; i += END_BYTES) {
        uint32_t end = wire_load_u32(f + HEAD_BYTES + i);
        if (end < before || end > count)
            return false;
        before = end;
    }
    return before == count;
}

enum error_code map_run_open(const char *folder, uint64_t first, uint64_t end,
                             const struct hash *chain, struct map_run **ret_run,
                             struct error *err) {
    char path[PATH_MAX];
    struct stat stat_;
    TRY(run_path(folder, first, end, "", path, err));
    SCOPED_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat_) != 0)
        return file_error(err, errno, "cannot open", path);
    if (stat_.st_size < HEAD_BYTES)
        return error_set(err, ERROR_CORRUPT, "%s: %lld bytes are no run", path,
                         (long long)stat_.st_size);
    void *file = mmap(NULL, (size_t)stat_.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED)
        return file_error(err, errno, "cannot map", path);
    struct map_run *run = array_new(1, sizeof *run);
    run->references = 1;
    run->first = first;
    run->end = end;
    run->file = file;
    run->file_len = (size_t)stat_.st_size;
    if (!whole(run, chain)) {
        map_run_free(run);
        return error_set(err, ERROR_CORRUPT, "%s: damaged, or of another chain", path);
    }
    run->bits = run->file[5];
    run->count = (size_t)wire_load_u64(run->file + 56);
    run->ends = run->file + HEAD_BYTES;
    run->slots = (const struct map_slot *)(run->ends + ((size_t)END_BYTES << run->bits));
    *ret_run = run;
    return ERROR_NONE;
}

/* Merging. */

struct source {
    const struct map_slot *at;
    const struct map_slot *end;
};

/* The next slot of all sources in the order of the keys; of one key that of the newest run. */
static const struct map_slot *next_slot(struct source *sources, size_t count) {
    const struct map_slot *best = NULL;
    for (size_t i = count; i > 0; i--) {
        struct source *s = &sources[i - 1];
        if (s->at == s->end)
            continue;
        int order = best == NULL ? -1 : memcmp(s->at->key, best->key, HASH_BYTES);
        if (order < 0)
            best = s->at;
        else if (order == 0)
            s->at++; /* an older version */
    }
    if (best == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (sources[i].at == best)
            sources[i].at++;
    return best;
}

struct output {
    struct source sources[MAP_RUNS_MAX];
    size_t source_count;
    struct table table;
    size_t count; /* slots so far */
    size_t count_max;
    uint64_t first;
    uint64_t end;
};

static void output_init(struct output *out, struct map_run *const *runs, size_t count) {
    assert(count > 0 && count <= MAP_RUNS_MAX);
    *out = (struct output){.source_count = count,
                           .first = runs[0]->first,
                           .end = runs[count - 1]->end};
    for (size_t i = 0; i < count; i++) {
        assert(i == 0 || runs[i]->first == runs[i - 1]->end);
        out->sources[i] = (struct source){runs[i]->slots, runs[i]->slots + runs[i]->count};
        out->count_max += runs[i]->count;
    }
    assert(out->count_max <= UINT32_MAX);
    table_init(&out->table, out->count_max);
}

/* Up to count_max slots into memory; returns how many: fewer when that was all. */
static size_t take(struct output *out, struct map_slot *ret_slots, size_t count_max) {
    size_t count = 0;
    const struct map_slot *slot;
    while (count < count_max && (slot = next_slot(out->sources, out->source_count)) != NULL) {
        table_reach(&out->table, bucket_of(map_prefix(slot->key), out->table.bits),
                    out->count + count);
        ret_slots[count++] = *slot;
    }
    out->count += count;
    return count;
}

static enum error_code write_slots(struct output *out, int fd, const char *path,
                                   struct error *err) {
    SCOPED_FREE struct map_slot *slots = array_new(WRITE_SLOTS, sizeof *slots);
    size_t unsynced = 0;
    for (;;) {
        size_t count = take(out, slots, WRITE_SLOTS);
        if (count == 0)
            return ERROR_NONE;
        TRY(file_write_all(fd, bytes_of(slots, count * sizeof *slots), path, err));
        unsynced += count * sizeof *slots;
        if (unsynced >= SYNC_BYTES && fdatasync(fd) != 0)
            return file_error(err, errno, "cannot sync", path);
        unsynced = unsynced >= SYNC_BYTES ? 0 : unsynced;
    }
}

static enum error_code write_head(const struct output *out, const struct hash *chain, int fd,
                                  const char *path, struct error *err) {
    uint8_t head[HEAD_BYTES] = {0};
    size_t table = (size_t)END_BYTES << out->table.bits;
    wire_store_u32(head, RUN_MAGIC);
    head[4] = RUN_FORMAT;
    head[5] = (uint8_t)out->table.bits;
    memcpy(head + 8, chain->byte, HASH_BYTES);
    wire_store_u64(head + 40, out->first);
    wire_store_u64(head + 48, out->end);
    wire_store_u64(head + 56, out->count);
    uint32_t crc = crc32c(0, bytes_of(head, CRC_AT));
    wire_store_u32(head + CRC_AT, crc32c(crc, bytes_of(out->table.ends, table)));
    if (lseek(fd, 0, SEEK_SET) != 0)
        return file_error(err, errno, "cannot write", path);
    TRY(file_write_all(fd, bytes_of(head, sizeof head), path, err));
    TRY(file_write_all(fd, bytes_of(out->table.ends, table), path, err));
    return fdatasync(fd) == 0 ? ERROR_NONE : file_error(err, errno, "cannot sync", path);
}

static enum error_code merge_to_file(struct output *out, const char *folder,
                                     const struct hash *chain, struct error *err) {
    char path[PATH_MAX];
    char made[PATH_MAX];
    TRY(run_path(folder, out->first, out->end, "", path, err));
    TRY(run_path(folder, out->first, out->end, ".new", made, err));
    SCOPED_FD int fd = open(made, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_error(err, errno, "cannot open", made);
    off_t slots_at = HEAD_BYTES + ((off_t)END_BYTES << out->table.bits);
    if (lseek(fd, slots_at, SEEK_SET) != slots_at)
        return file_error(err, errno, "cannot write", made);
    TRY(write_slots(out, fd, made, err));
    table_end(&out->table, out->count);
    TRY(write_head(out, chain, fd, made, err));
    if (rename(made, path) != 0)
        return file_error(err, errno, "cannot rename", made);
    return file_sync_folder(folder, err);
}

enum error_code map_run_merge(struct map_run *const *runs, size_t count, const char *folder,
                              const struct hash *chain, struct map_run **ret_run,
                              struct error *err) {
    struct output out;
    output_init(&out, runs, count);
    if (folder == NULL) {
        struct map_slot *slots = array_new(out.count_max + 1, sizeof *slots);
        (void)take(&out, slots, out.count_max);
        free(out.table.ends);
        *ret_run = map_run_new(slots, out.count, out.first, out.end);
        return ERROR_NONE;
    }
    enum error_code code = merge_to_file(&out, folder, chain, err);
    free(out.table.ends);
    if (code != ERROR_NONE)
        return code;
    return map_run_open(folder, out.first, out.end, chain, ret_run, err);
}
