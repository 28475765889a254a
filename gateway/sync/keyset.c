/*
 * The key-set root of a pass (docs/formats.md, "Key set"): an RFC 6962 tree over the sorted
 * HMAC(table secret, key) of every row that the table held.
 *
 * Ten million keys are 320 MB, so they are sorted in runs of a file without a name beside the vault,
 * and merged. Equal keys count once.
 */
#include "gateway/sync/keyset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum {
    FILLING_KEYS_MIN = 2048,
    FILLING_KEYS_MAX = 1 << 18,  /* of one run: 8 MiB */
    RUN_KEYS_READ = 128,         /* of a run at a time */
    RUNS_MAX = 4096,             /* 10^9 keys */
    TREE_LEVELS_MAX = 64,
    CHUNK_LEVEL = 8,
    CHUNK_KEYS = 1 << CHUNK_LEVEL,
};

struct run {
    uint64_t from; /* in keys */
    uint64_t left;
    struct hash read[RUN_KEYS_READ];
    size_t at;
    size_t count;
};

struct sync__keyset {
    char *folder;
    struct sha256 *sha256;
    struct hmac_key secret;
    struct hash *filling;
    size_t filling_count;
    size_t filling_room;
    int fd; /* -1: no run is written yet */
    uint64_t written;
    uint64_t ends[RUNS_MAX]; /* of each run, in keys */
    size_t run_count;
};

enum error_code sync__keyset_new(const char *folder, const uint8_t secret[32],
                                 struct sync__keyset **ret_keyset, struct error *err) {
    struct sync__keyset *k = calloc(1, sizeof *k);
    if (k == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a key set: no memory");
    k->fd = -1;
    k->folder = strdup(folder);
    k->sha256 = sha256_new();
    if (k->folder == NULL) {
        sync__keyset_free(k);
        return error_set(err, ERROR_NO_MEMORY, "a key set: no memory");
    }
    hmac_key_init(&k->secret, bytes_of(secret, 32));
    *ret_keyset = k;
    return ERROR_NONE;
}

void sync__keyset_free(struct sync__keyset *k) {
    if (k == NULL)
        return;
    if (k->fd >= 0)
        close(k->fd);
    explicit_bzero(&k->secret, sizeof k->secret);
    sha256_free(k->sha256);
    free(k->filling);
    free(k->folder);
    free(k);
}

static int compare(const void *a, const void *b) {
    return memcmp(a, b, HASH_BYTES);
}

static enum error_code write_run(struct sync__keyset *k, struct error *err) {
    if (k->run_count == RUNS_MAX)
        return error_set(err, ERROR_LIMIT, "a table of more than %llu keys",
                         (unsigned long long)RUNS_MAX * FILLING_KEYS_MAX);
    if (k->fd < 0)
        k->fd = open(k->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (k->fd < 0)
        return file_error(err, errno, "making a file to sort keys in", k->folder);
    qsort(k->filling, k->filling_count, sizeof *k->filling, compare);
    TRY(file_write_all(k->fd, bytes_of(k->filling, k->filling_count * sizeof *k->filling),
                       "a file to sort keys in, beside the vault", err));
    k->written += k->filling_count;
    k->ends[k->run_count++] = k->written;
    k->filling_count = 0;
    return ERROR_NONE;
}

static enum error_code make_room(struct sync__keyset *k, struct error *err) {
    if (k->filling_count < k->filling_room)
        return ERROR_NONE;
    if (k->filling_room == FILLING_KEYS_MAX)
        return write_run(k, err);
    size_t room = k->filling_room == 0 ? FILLING_KEYS_MIN : 2 * k->filling_room;
    struct hash *grown = realloc(k->filling, room * sizeof *grown);
    if (grown == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a key set: no memory");
    k->filling = grown;
    k->filling_room = room;
    return ERROR_NONE;
}

enum error_code sync__keyset_add(struct sync__keyset *k, const struct bytes *keys, size_t count,
                                 struct error *err) {
    while (count > 0) {
        TRY(make_room(k, err));
        size_t room = k->filling_room - k->filling_count;
        size_t some = count < room ? count : room;
        hmac_sha256_many(&k->secret, keys, some, k->filling + k->filling_count);
        k->filling_count += some;
        keys += some;
        count -= some;
    }
    return ERROR_NONE;
}

/* --------------------------------------------------------------------------------- tree ---- */

/* RFC 6962: whole subtrees wait at their level until a neighbour comes. Keys are taken a chunk at a
 * time, which is a whole subtree, so that its hashes are made together. */
struct tree {
    struct sha256 *sha256;
    struct hash waiting[TREE_LEVELS_MAX];
    uint64_t count; /* without those in the chunk */
    bool some;
    struct hash last; /* key */
    struct hash chunk[CHUNK_KEYS];
    size_t chunk_count;
};

static struct hash node_of(struct tree *t, const struct hash *left, const struct hash *right) {
    sha256_begin(t->sha256);
    sha256_add(t->sha256, "\1", 1);
    sha256_add(t->sha256, left->byte, HASH_BYTES);
    sha256_add(t->sha256, right->byte, HASH_BYTES);
    return sha256_end(t->sha256);
}

/* Hashes of the prefix and `count` pieces of `bytes` each, which stand side by side from `at` on. */
static void hash_pieces(struct bytes prefix, const struct hash *at, size_t bytes, size_t count,
                        struct hash *ret_hashes) {
    struct sha256_message messages[CHUNK_KEYS];
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        messages[i] = (struct sha256_message){prefix, bytes_of(at[0].byte + i * bytes, bytes)};
    sha256_many(messages, count, ret_hashes);
}

/* A whole subtree of 2^level keys joins its left neighbours. */
static void join(struct tree *t, struct hash node, unsigned level) {
    t->count += (uint64_t)1 << level;
    uint64_t before = (t->count >> level) - 1;
    for (; (before & 1) != 0; before >>= 1, level++)
        node = node_of(t, &t->waiting[level], &node);
    t->waiting[level] = node;
}

static void take_chunk(struct tree *t) {
    struct hash nodes[2][CHUNK_KEYS];
    unsigned from = 0;
    size_t count = t->chunk_count;
    t->chunk_count = 0;
    hash_pieces(BYTES_LITERAL("\0"), t->chunk, HASH_BYTES, count, nodes[0]);
    if (count < CHUNK_KEYS) { /* the last one */
        for (size_t i = 0; i < count; i++)
            join(t, nodes[0][i], 0);
        return;
    }
    for (; count > 1; count /= 2, from ^= 1)
        hash_pieces(BYTES_LITERAL("\1"), nodes[from], 2 * HASH_BYTES, count / 2, nodes[from ^ 1]);
    join(t, nodes[from][0], CHUNK_LEVEL);
}

/* Keys come sorted: equal ones are neighbours, and count once. */
static void tree_add(struct tree *t, const struct hash *key) {
    if (t->some && hash_equal(&t->last, key))
        return;
    t->some = true;
    t->last = *key;
    if (t->chunk_count == CHUNK_KEYS)
        take_chunk(t);
    t->chunk[t->chunk_count++] = *key;
}

static struct hash tree_root(struct tree *t) {
    take_chunk(t);
    if (t->count == 0)
        return sha256_of(bytes_of("", 0));
    struct hash root;
    bool some = false;
    for (unsigned level = 0; level < TREE_LEVELS_MAX; level++) {
        if ((t->count >> level & 1) == 0)
            continue;
        root = some ? node_of(t, &t->waiting[level], &root) : t->waiting[level];
        some = true;
    }
    return root;
}

/* -------------------------------------------------------------------------------- merge ---- */

static enum error_code run_fill(struct sync__keyset *k, struct run *r, struct error *err) {
    r->at = 0;
    r->count = r->left < RUN_KEYS_READ ? (size_t)r->left : RUN_KEYS_READ;
    size_t bytes = r->count * sizeof *r->read;
    size_t got = 0;
    TRY(file_read_at(k->fd, (uint8_t *)r->read, bytes, r->from * sizeof *r->read, k->folder, &got,
                     err));
    if (got < bytes)
        return file_error(err, EIO, "reading sorted keys", k->folder);
    r->from += r->count;
    r->left -= r->count;
    return ERROR_NONE;
}

static const struct hash *run_head(const struct run *r) {
    return &r->read[r->at];
}

/* Moves the run at `at` down a heap whose top has the least head. */
static void sift(struct run **heap, size_t count, size_t at) {
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (compare(run_head(heap[child]), run_head(heap[least])) < 0)
                least = child;
        if (least == at)
            return;
        struct run *moved = heap[at];
        heap[at] = heap[least];
        heap[least] = moved;
        at = least;
    }
}

static enum error_code merge(struct sync__keyset *k, struct run *runs, struct run **heap,
                             struct tree *t, struct error *err) {
    size_t count = k->run_count;
    for (size_t i = 0; i < count; i++) {
        runs[i].from = i == 0 ? 0 : k->ends[i - 1];
        runs[i].left = k->ends[i] - runs[i].from;
        TRY(run_fill(k, &runs[i], err));
        heap[i] = &runs[i];
    }
    for (size_t i = count; i-- > 0;)
        sift(heap, count, i);
    while (count > 0) {
        struct run *top = heap[0];
        tree_add(t, run_head(top));
        if (++top->at == top->count && top->left > 0)
            TRY(run_fill(k, top, err));
        else if (top->at == top->count)
            heap[0] = heap[--count];
        sift(heap, count, 0);
    }
    return ERROR_NONE;
}

static enum error_code merge_runs(struct sync__keyset *k, struct tree *t, struct error *err) {
    if (k->filling_count > 0)
        TRY(write_run(k, err));
    struct run *runs = calloc(k->run_count, sizeof *runs);
    struct run **heap = calloc(k->run_count, sizeof(struct run *));
    enum error_code code = runs != NULL && heap != NULL
                               ? merge(k, runs, heap, t, err)
                               : error_set(err, ERROR_NO_MEMORY, "a key set: no memory");
    free(runs);
    free(heap);
    return code;
}

enum error_code sync__keyset_root(struct sync__keyset *k, struct hash *ret_root,
                                  uint64_t *ret_count, struct error *err) {
    struct tree t = {.sha256 = k->sha256};
    if (k->run_count > 0) {
        TRY(merge_runs(k, &t, err));
    } else if (k->filling_count > 0) {
        qsort(k->filling, k->filling_count, sizeof *k->filling, compare);
        for (size_t i = 0; i < k->filling_count; i++)
            tree_add(&t, &k->filling[i]);
    }
    *ret_root = tree_root(&t);
    *ret_count = t.count;
    return ERROR_NONE;
}
