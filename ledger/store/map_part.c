#include "ledger/store/map_part.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "ledger/store/crc.h"

enum {
    PART_MAGIC = 0x524d4150, /* "RMAP" */
    PART_FORMAT = 1,
    HEAD_BYTES = 64,
    CRC_AT = 56,
    BUCKET_BYTES = 4 + 1 + HASH_BYTES,
    ENTRY_BYTES = HASH_BYTES + 8 + HASH_BYTES,
    PART_DEPTH = 8,
    BITS_MIN = 4,
    BITS_MAX = 22,
    BUCKET_ENTRIES = 8, /* on average at most, then there are more buckets */
    PART_BYTES_MAX = 1 << 30,
    LEVELS = BITS_MAX + 1,
};

/* What came since the file was written. The newest of a bucket stands first in its chain. */
struct fresh {
    struct map_entry entry;
    uint32_t next; /* number of the next one plus 1; 0: none */
};

struct old_node {
    uint32_t number;
    struct map_node node;
};

struct map_part {
    unsigned number;
    uint8_t *file; /* mapped; NULL: there is none */
    size_t file_len;
    const uint8_t *entries;
    uint64_t count;
    uint64_t position;
    unsigned bits;
    uint32_t *ends; /* of each bucket, in entries of the file */
    struct map_node *nodes;
    uint32_t *heads;
    struct fresh *fresh;
    uint32_t fresh_count;
    uint32_t fresh_capacity;
    uint64_t changed_at; /* log size of the last renewal that changed something */
    uint64_t reaches;    /* states from this log size on can be told */
    struct old_node *old; /* nodes before that renewal: level by level, the lowest first */
    size_t old_count;
    size_t old_capacity;
    size_t old_level[LEVELS + 1]; /* where each level begins, by its depth; then the end */
};

static void *array(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL)
        abort();
    return memory;
}

static void *grown(void *memory, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity)
        return memory;
    *capacity = *capacity < 64 ? 64 : *capacity * 2;
    memory = realloc(memory, *capacity * size);
    if (memory == NULL)
        abort();
    return memory;
}

static uint32_t bucket_of(const struct hash *key, unsigned bits) {
    uint32_t next = (uint32_t)key->byte[1] << 24 | (uint32_t)key->byte[2] << 16 |
                    (uint32_t)key->byte[3] << 8 | key->byte[4];
    return next >> (32 - bits);
}

static unsigned level_of(uint32_t number) {
    return 31 - (unsigned)__builtin_clz(number);
}

/* Buckets. */

struct bucket {
    struct map_entry *entries;
    size_t count;
    size_t capacity;
};

static void push(struct bucket *b, const struct map_entry *entry) {
    b->entries = grown(b->entries, b->count, &b->capacity, sizeof *b->entries);
    b->entries[b->count++] = *entry;
}

static void read_entry(const struct map_part *part, uint64_t i, struct map_entry *ret_entry) {
    const uint8_t *at = part->entries + i * ENTRY_BYTES;
    memcpy(ret_entry->key.byte, at, HASH_BYTES);
    ret_entry->log_index = wire_load_u64(at + HASH_BYTES);
    memcpy(ret_entry->hash.byte, at + HASH_BYTES + 8, HASH_BYTES);
}

static int entry_order(const struct map_entry *x, const struct map_entry *y) {
    int order = memcmp(x->key.byte, y->key.byte, HASH_BYTES);
    if (order != 0)
        return order;
    return x->log_index < y->log_index ? -1 : x->log_index > y->log_index;
}

static int entry_order_of(const void *a, const void *b) {
    return entry_order(a, b);
}

/* Appends what the bucket holds at a log size, ascending, each record once. */
static void gather(const struct map_part *part, uint32_t bucket, uint64_t log_size,
                   struct bucket *out) {
    size_t begin = out->count;
    struct map_entry entry;
    for (uint64_t i = bucket == 0 ? 0 : part->ends[bucket - 1]; i < part->ends[bucket]; i++) {
        read_entry(part, i, &entry);
        push(out, &entry);
    }
    if (part->heads[bucket] == 0)
        return;
    for (uint32_t i = part->heads[bucket]; i != 0; i = part->fresh[i - 1].next)
        if (part->fresh[i - 1].entry.log_index < log_size)
            push(out, &part->fresh[i - 1].entry);
    struct map_entry *list = out->entries + begin;
    size_t count = out->count - begin;
    qsort(list, count, sizeof *list, entry_order_of);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) /* the last of each key is the newest */
        if (i + 1 == count || !hash_equal(&list[i].key, &list[i + 1].key))
            list[kept++] = list[i];
    out->count = begin + kept;
}

static void join_all(struct map_part *part) {
    for (size_t first = (size_t)1 << part->bits; first > 1; first /= 2) /* level by level */
        map_join_many(&part->nodes[first], first / 2, &part->nodes[first / 2]);
}

/* Opening. */

static void make_room(struct map_part *part, unsigned bits) {
    size_t buckets = (size_t)1 << bits;
    free(part->ends);
    free(part->nodes);
    free(part->heads);
    part->bits = bits;
    part->ends = array(buckets, sizeof *part->ends);
    part->nodes = array(2 * buckets, sizeof *part->nodes);
    part->heads = array(buckets, sizeof *part->heads);
}

static void drop_file(struct map_part *part) {
    if (part->file != NULL)
        (void)munmap(part->file, part->file_len);
    part->file = NULL;
    part->file_len = 0;
    part->entries = NULL;
    part->count = part->position = 0;
}

static bool head_fits(const struct map_part *part, const struct hash *chain, unsigned *ret_bits) {
    const uint8_t *f = part->file;
    if (part->file_len < HEAD_BYTES || wire_load_u32(f) != PART_MAGIC || f[4] != PART_FORMAT ||
        f[5] != part->number || f[6] < BITS_MIN || f[6] > BITS_MAX ||
        memcmp(f + 8, chain->byte, HASH_BYTES) != 0)
        return false;
    size_t table = ((size_t)1 << f[6]) * BUCKET_BYTES;
    uint64_t count = wire_load_u64(f + 48);
    if (count > UINT32_MAX || part->file_len != HEAD_BYTES + table + count * ENTRY_BYTES)
        return false;
    uint32_t crc = crc32c(crc32c(0, bytes_of(f, CRC_AT)), bytes_of(f + HEAD_BYTES, table));
    *ret_bits = f[6];
    return crc == wire_load_u32(f + CRC_AT);
}

static bool load(struct map_part *part, const struct hash *chain) {
    unsigned bits = 0;
    if (!head_fits(part, chain, &bits))
        return false;
    make_room(part, bits);
    part->position = wire_load_u64(part->file + 40);
    part->count = wire_load_u64(part->file + 48);
    size_t buckets = (size_t)1 << bits;
    const uint8_t *at = part->file + HEAD_BYTES;
    for (size_t i = 0; i < buckets; i++, at += BUCKET_BYTES) {
        part->ends[i] = wire_load_u32(at);
        if (at[4] > MAP_INNER || part->ends[i] > part->count ||
            (i > 0 && part->ends[i] < part->ends[i - 1]))
            return false;
        part->nodes[buckets + i].kind = (enum map_kind)at[4];
        memcpy(part->nodes[buckets + i].hash.byte, at + 5, HASH_BYTES);
    }
    part->entries = at;
    join_all(part);
    return true;
}

static enum error_code part_path(const char *folder, unsigned number, char ret_path[PATH_MAX],
                                 struct error *err) {
    if (snprintf(ret_path, PATH_MAX, "%s/%02x", folder, number) >= PATH_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", folder);
    return ERROR_NONE;
}

static enum error_code map_file(struct map_part *part, const char *folder, struct error *err) {
    char path[PATH_MAX];
    struct stat stat_;
    TRY(part_path(folder, part->number, path, err));
    SCOPED_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ERROR_NONE;
    if (fd < 0 || fstat(fd, &stat_) != 0)
        return file_error(err, errno, "cannot open", path);
    if (stat_.st_size == 0)
        return ERROR_NONE;
    void *file = mmap(NULL, (size_t)stat_.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED)
        return file_error(err, errno, "cannot map", path);
    part->file = file;
    part->file_len = (size_t)stat_.st_size;
    return ERROR_NONE;
}

enum error_code map_part_open(const char *folder, unsigned number, const struct hash *chain,
                              struct map_part **ret_part, struct error *err) {
    struct map_part *part = array(1, sizeof *part);
    part->number = number;
    enum error_code code = map_file(part, folder, err);
    if (code != ERROR_NONE) {
        map_part_free(part);
        return code;
    }
    if (part->file == NULL || !load(part, chain)) {
        drop_file(part);
        make_room(part, BITS_MIN);
    }
    part->changed_at = part->reaches = part->position;
    *ret_part = part;
    return ERROR_NONE;
}

void map_part_free(struct map_part *part) {
    if (part == NULL)
        return;
    drop_file(part);
    free(part->ends);
    free(part->nodes);
    free(part->heads);
    free(part->fresh);
    free(part->old);
    free(part);
}

enum error_code map_part_remove(const char *folder, unsigned number, struct error *err) {
    char path[PATH_MAX];
    TRY(part_path(folder, number, path, err));
    if (unlink(path) != 0 && errno != ENOENT)
        return file_error(err, errno, "cannot remove", path);
    return ERROR_NONE;
}

uint64_t map_part_position(const struct map_part *part) {
    return part->position;
}

uint64_t map_part_kept(const struct map_part *part) {
    return part->count;
}

uint64_t map_part_fresh(const struct map_part *part) {
    return part->fresh_count;
}

/* Renewing. */

static void add_fresh(struct map_part *part, const struct map_entry *entry) {
    if (part->fresh_count == part->fresh_capacity) {
        part->fresh_capacity = part->fresh_capacity < 64 ? 64 : part->fresh_capacity * 2;
        part->fresh = realloc(part->fresh, part->fresh_capacity * sizeof *part->fresh);
        if (part->fresh == NULL)
            abort();
    }
    uint32_t bucket = bucket_of(&entry->key, part->bits);
    part->fresh[part->fresh_count] = (struct fresh){*entry, part->heads[bucket]};
    part->heads[bucket] = ++part->fresh_count;
}

static void set_node(struct map_part *part, uint32_t number, const struct map_node *node) {
    part->old = grown(part->old, part->old_count, &part->old_capacity, sizeof *part->old);
    part->old[part->old_count++] = (struct old_node){number, part->nodes[number]};
    part->nodes[number] = *node;
}

/* Numbers of the changed nodes' parents, ascending, in place. */
static size_t parents(uint32_t *numbers, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t parent = numbers[i] >> 1;
        if (kept == 0 || numbers[kept - 1] != parent)
            numbers[kept++] = parent;
    }
    return kept;
}

void map_part_renew(struct map_part *part, const struct map_entry *entries, size_t count,
                    uint64_t log_size) {
    uint32_t *numbers = array(count + 1, sizeof *numbers);
    size_t changed = 0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].log_index < part->position)
            continue; /* given again after a restart, because of other parts */
        add_fresh(part, &entries[i]);
        uint32_t number = (1U << part->bits) + bucket_of(&entries[i].key, part->bits);
        if (changed == 0 || numbers[changed - 1] != number)
            numbers[changed++] = number;
    }
    if (changed == 0) {
        free(numbers);
        return;
    }
    part->reaches = part->changed_at;
    part->changed_at = log_size;
    part->old_count = 0;
    struct bucket bucket = {0};
    part->old_level[part->bits] = 0;
    for (size_t i = 0; i < changed; i++) {
        bucket.count = 0;
        gather(part, numbers[i] - (1U << part->bits), log_size, &bucket);
        struct map_node node =
            map_subtree(bucket.entries, bucket.count, PART_DEPTH + part->bits);
        set_node(part, numbers[i], &node);
    }
    free(bucket.entries);
    for (unsigned level = part->bits; level > 0; level--) {
        changed = parents(numbers, changed);
        part->old_level[level - 1] = part->old_count;
        for (size_t i = 0; i < changed; i++) {
            struct map_node node = map_join(&part->nodes[2 * (size_t)numbers[i]],
                                            &part->nodes[2 * (size_t)numbers[i] + 1]);
            set_node(part, numbers[i], &node);
        }
    }
    free(numbers);
}

/* Writing anew. */

static unsigned bits_for(unsigned bits, uint64_t count) {
    while (bits < BITS_MAX && count > (uint64_t)BUCKET_ENTRIES << bits)
        bits++;
    return bits;
}

static void set_ends(struct map_part *part, const struct bucket *all) {
    uint32_t bucket = 0;
    uint32_t buckets = 1U << part->bits;
    for (size_t i = 0; i < all->count; i++)
        for (uint32_t own = bucket_of(&all->entries[i].key, part->bits); bucket < own; bucket++)
            part->ends[bucket] = (uint32_t)i;
    for (; bucket < buckets; bucket++)
        part->ends[bucket] = (uint32_t)all->count;
}

static void encode(const struct map_part *part, const struct hash *chain, uint64_t log_size,
                   const struct bucket *all, uint8_t *out) {
    uint32_t buckets = 1U << part->bits;
    size_t table = (size_t)buckets * BUCKET_BYTES;
    memset(out, 0, HEAD_BYTES);
    wire_store_u32(out, PART_MAGIC);
    out[4] = PART_FORMAT;
    out[5] = (uint8_t)part->number;
    out[6] = (uint8_t)part->bits;
    memcpy(out + 8, chain->byte, HASH_BYTES);
    wire_store_u64(out + 40, log_size);
    wire_store_u64(out + 48, all->count);
    uint8_t *at = out + HEAD_BYTES;
    for (uint32_t i = 0; i < buckets; i++, at += BUCKET_BYTES) {
        const struct map_node *node = &part->nodes[(size_t)buckets + i];
        wire_store_u32(at, part->ends[i]);
        at[4] = (uint8_t)node->kind;
        memcpy(at + 5, node->hash.byte, HASH_BYTES);
    }
    for (size_t i = 0; i < all->count; i++, at += ENTRY_BYTES) {
        memcpy(at, all->entries[i].key.byte, HASH_BYTES);
        wire_store_u64(at + HASH_BYTES, all->entries[i].log_index);
        memcpy(at + HASH_BYTES + 8, all->entries[i].hash.byte, HASH_BYTES);
    }
    uint32_t crc =
        crc32c(crc32c(0, bytes_of(out, CRC_AT)), bytes_of(out + HEAD_BYTES, table));
    wire_store_u32(out + CRC_AT, crc);
}

/* More buckets: all of their hashes are computed, and what stood before is forgotten. */
static void rebuild(struct map_part *part, unsigned bits, const struct bucket *all) {
    make_room(part, bits);
    set_ends(part, all);
    uint32_t buckets = 1U << bits;
    for (uint32_t i = 0; i < buckets; i++) {
        uint32_t begin = i == 0 ? 0 : part->ends[i - 1];
        part->nodes[(size_t)buckets + i] =
            map_subtree(all->entries + begin, part->ends[i] - begin, PART_DEPTH + bits);
    }
    join_all(part);
}

enum error_code map_part_write(struct map_part *part, const char *folder,
                               const struct hash *chain, uint64_t log_size, struct error *err) {
    struct bucket all = {0};
    for (uint32_t i = 0; i < 1U << part->bits; i++)
        gather(part, i, UINT64_MAX, &all);
    unsigned bits = bits_for(part->bits, all.count);
    if (bits != part->bits)
        rebuild(part, bits, &all);
    else
        set_ends(part, &all);
    size_t len = HEAD_BYTES + ((size_t)BUCKET_BYTES << bits) + all.count * ENTRY_BYTES;
    uint8_t *out = len > PART_BYTES_MAX ? NULL : malloc(len);
    char path[PATH_MAX];
    enum error_code code = part_path(folder, part->number, path, err);
    if (code == ERROR_NONE && out == NULL)
        code = error_set(err, ERROR_NO_MEMORY, "map: no memory for a part of %zu bytes", len);
    if (code == ERROR_NONE) {
        encode(part, chain, log_size, &all, out);
        code = file_replace(path, bytes_of(out, len), 0600, err);
    }
    free(out);
    free(all.entries);
    if (code != ERROR_NONE)
        return code;
    drop_file(part);
    TRY(map_file(part, folder, err));
    if (part->file == NULL)
        return error_set(err, ERROR_IO, "map: part %02x is gone", part->number);
    part->entries = part->file + HEAD_BYTES + ((size_t)BUCKET_BYTES << bits);
    part->count = wire_load_u64(part->file + 48);
    part->position = log_size;
    part->reaches = part->changed_at;
    part->old_count = 0;
    part->fresh_count = 0;
    memset(part->heads, 0, sizeof *part->heads << bits);
    return ERROR_NONE;
}

/* Telling. */

bool map_part_reaches(const struct map_part *part, uint64_t log_size) {
    return log_size >= part->reaches;
}

struct map_node map_part_node(const struct map_part *part, uint32_t number, uint64_t log_size) {
    if (log_size >= part->changed_at || part->old_count == 0)
        return part->nodes[number];
    unsigned level = level_of(number);
    size_t low = part->old_level[level];
    size_t end = level == 0 ? part->old_count : part->old_level[level - 1];
    size_t high = end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (part->old[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && part->old[low].number == number ? part->old[low].node
                                                        : part->nodes[number];
}

bool map_part_only(const struct map_part *part, uint32_t number, uint64_t log_size,
                   struct map_entry *ret_entry) {
    uint32_t buckets = 1U << part->bits;
    while (number < buckets) {
        struct map_node left = map_part_node(part, 2 * number, log_size);
        number = 2 * number + (left.kind == MAP_EMPTY ? 1 : 0);
    }
    struct bucket bucket = {0};
    gather(part, number - buckets, log_size, &bucket);
    bool one = bucket.count == 1;
    if (one)
        *ret_entry = bucket.entries[0];
    free(bucket.entries);
    return one;
}

bool map_part_descend(const struct map_part *part, uint64_t log_size, const struct hash *key,
                      struct map_proof *proof, struct map_entry *ret_entry) {
    uint32_t buckets = 1U << part->bits;
    uint32_t at = 1;
    unsigned depth = PART_DEPTH;
    struct map_node node = map_part_node(part, at, log_size);
    for (; at < buckets && node.kind == MAP_INNER; depth++) {
        at = 2 * at + (map_bit(key, depth) ? 1 : 0);
        proof->sibling[depth] = map_part_node(part, at ^ 1, log_size).hash;
        proof->depth = depth + 1;
        node = map_part_node(part, at, log_size);
    }
    if (node.kind == MAP_EMPTY)
        return false;
    if (node.kind == MAP_LEAF)
        return map_part_only(part, at, log_size, ret_entry);
    struct bucket bucket = {0};
    gather(part, at - buckets, log_size, &bucket);
    const struct map_entry *entry =
        map_descend(bucket.entries, bucket.count, depth, key, proof);
    if (entry != NULL)
        *ret_entry = *entry;
    bool some = entry != NULL;
    free(bucket.entries);
    return some;
}
