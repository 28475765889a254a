#include "ledger/merkle/merkle.h"

#include <assert.h>
#include <string.h>

enum { APPENDED_AT_ONCE = 256 };

struct hash merkle_leaf_hash(struct bytes data) {
    static const uint8_t prefix = 0x00;
    struct bytes parts[] = {bytes_of(&prefix, 1), data};
    return sha256_of_parts(parts, 2);
}

struct hash merkle_node_hash(const struct hash *left, const struct hash *right) {
    uint8_t raw[1 + 2 * HASH_BYTES];
    raw[0] = 0x01;
    memcpy(raw + 1, left->byte, HASH_BYTES);
    memcpy(raw + 1 + HASH_BYTES, right->byte, HASH_BYTES);
    return sha256_of(bytes_of(raw, sizeof raw));
}

void merkle_frontier_init(struct merkle_frontier *frontier) {
    memset(frontier, 0, sizeof *frontier);
}

void merkle_append(struct merkle_frontier *frontier, const struct hash *leaf_hash,
                   const struct merkle_sink *sink) {
    assert(frontier->size < (uint64_t)1 << (MERKLE_LEVELS_MAX - 1));
    struct hash carried = *leaf_hash;
    uint64_t index = frontier->size;
    unsigned level = 0;
    if (sink != NULL)
        sink->node(sink->self, 0, index, &carried);
    /* As in binary counting: each set low bit is a complete subtree that the carry joins. */
    for (; (frontier->size >> level & 1) != 0; level++) {
        carried = merkle_node_hash(&frontier->peak[level], &carried);
        index >>= 1;
        if (sink != NULL)
            sink->node(sink->self, level + 1, index, &carried);
    }
    frontier->peak[level] = carried;
    frontier->size++;
}

/* Level by level: the nodes of one level stand side by side, so each pair is one message of 64 bytes.
 * nodes[0] is kept for the left neighbour of the first one. */
static void append_some(struct merkle_frontier *frontier, const struct hash *leaf_hashes,
                        size_t count, const struct merkle_sink *sink) {
    static const uint8_t prefix[1] = {0x01};
    struct hash nodes[1 + APPENDED_AT_ONCE];
    struct hash parents[APPENDED_AT_ONCE];
    struct sha256_message messages[APPENDED_AT_ONCE];
    uint64_t first = frontier->size;
    memcpy(nodes + 1, leaf_hashes, count * sizeof *nodes);
    frontier->size += count;
    for (unsigned level = 0; count > 0; level++) {
        for (size_t i = 0; sink != NULL && i < count; i++)
            sink->node(sink->self, level, first + i, &nodes[1 + i]);
        size_t waited = first & 1; /* a complete subtree whose right neighbour is the first one */
        if (waited == 1)
            nodes[0] = frontier->peak[level];
        const struct hash *from = nodes + 1 - waited;
        size_t pairs = (waited + count) / 2;
        if ((waited + count) % 2 == 1)
            frontier->peak[level] = nodes[count];
        for (size_t i = 0; i < pairs; i++)
            messages[i] = (struct sha256_message){bytes_of(prefix, sizeof prefix),
                                                  bytes_of(from[2 * i].byte, 2 * HASH_BYTES)};
        sha256_many(messages, pairs, parents);
        memcpy(nodes + 1, parents, pairs * sizeof *nodes);
        first >>= 1;
        count = pairs;
    }
}

void merkle_append_many(struct merkle_frontier *frontier, const struct hash *leaf_hashes,
                        size_t count, const struct merkle_sink *sink) {
    assert(count <= ((uint64_t)1 << (MERKLE_LEVELS_MAX - 1)) - frontier->size);
    while (count > 0) {
        size_t some = count < APPENDED_AT_ONCE ? count : APPENDED_AT_ONCE;
        append_some(frontier, leaf_hashes, some, sink);
        leaf_hashes += some;
        count -= some;
    }
}

struct hash merkle_root(const struct merkle_frontier *frontier) {
    if (frontier->size == 0)
        return sha256_of(bytes_of(NULL, 0));
    struct hash root = {{0}};
    bool some = false;
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++) {
        if ((frontier->size >> level & 1) == 0)
            continue;
        root = some ? merkle_node_hash(&frontier->peak[level], &root) : frontier->peak[level];
        some = true;
    }
    return root;
}

struct hash merkle_root_of(const struct hash *leaves, size_t count) {
    struct merkle_frontier frontier;
    merkle_frontier_init(&frontier);
    merkle_append_many(&frontier, leaves, count, NULL);
    return merkle_root(&frontier);
}

/* The largest power of two smaller than n, as its exponent; n >= 2. */
static unsigned split_level(uint64_t n) {
    assert(n >= 2);
    return 63 - (unsigned)__builtin_clzll(n - 1);
}

/* MTH of the leaves [begin, end). begin is a multiple of every complete subtree met on the way,
 * because the recursion only ever splits at powers of two. */
static bool subtree_root(const struct merkle_reader *reader, uint64_t begin, uint64_t end,
                         struct hash *ret_root) {
    struct hash root = {{0}};
    bool some = false;
    uint64_t left = end - begin;
    uint64_t at = end;
    for (unsigned level = 0; left != 0; level++, left >>= 1) {
        if ((left & 1) == 0)
            continue;
        struct hash node;
        at -= (uint64_t)1 << level;
        if (!reader->node(reader->self, level, at >> level, &node))
            return false;
        root = some ? merkle_node_hash(&node, &root) : node;
        some = true;
    }
    *ret_root = root;
    return some;
}

static void path_push(struct merkle_path *path, const struct hash *hash) {
    assert(path->count < MERKLE_PATH_MAX);
    path->hash[path->count++] = *hash;
}

static void path_reverse(struct merkle_path *path) {
    for (uint32_t i = 0, j = path->count; i + 1 < j; i++) {
        j--;
        struct hash h = path->hash[i];
        path->hash[i] = path->hash[j];
        path->hash[j] = h;
    }
}

bool merkle_inclusion(const struct merkle_reader *reader, uint64_t index, uint64_t size,
                      struct merkle_path *ret_path) {
    if (index >= size)
        return false;
    struct merkle_path path = {.count = 0};
    uint64_t begin = 0;
    uint64_t end = size;
    /* Walks from the root down, so the path comes out top first and is turned round. */
    while (end - begin > 1) {
        uint64_t middle = begin + ((uint64_t)1 << split_level(end - begin));
        struct hash other;
        bool left = index < middle;
        if (!subtree_root(reader, left ? middle : begin, left ? end : middle, &other))
            return false;
        path_push(&path, &other);
        *(left ? &end : &begin) = middle;
    }
    path_reverse(&path);
    *ret_path = path;
    return true;
}

bool merkle_consistency(const struct merkle_reader *reader, uint64_t old_size, uint64_t size,
                        struct merkle_path *ret_path) {
    if (old_size == 0 || old_size > size)
        return false;
    struct merkle_path path = {.count = 0};
    uint64_t begin = 0;
    uint64_t end = size;
    bool whole = true; /* SUBPROOF's b: the old tree starts where this subtree does */
    while (end != old_size) {
        uint64_t middle = begin + ((uint64_t)1 << split_level(end - begin));
        struct hash other;
        bool left = old_size <= middle;
        if (!subtree_root(reader, left ? middle : begin, left ? end : middle, &other))
            return false;
        path_push(&path, &other);
        if (left) {
            end = middle;
        } else {
            begin = middle;
            whole = false;
        }
    }
    if (!whole) {
        struct hash own;
        if (!subtree_root(reader, begin, end, &own))
            return false;
        path_push(&path, &own);
    }
    path_reverse(&path);
    *ret_path = path;
    return true;
}

struct leaves_reader {
    const struct hash *leaves;
};

static bool leaves_node(void *self, unsigned level, uint64_t index, struct hash *ret_hash) {
    const struct leaves_reader *r = self;
    size_t width = (size_t)1 << level;
    *ret_hash = merkle_root_of(r->leaves + (size_t)index * width, width);
    return true;
}

bool merkle_inclusion_of(const struct hash *leaves, size_t count, size_t index,
                         struct merkle_path *ret_path) {
    struct leaves_reader self = {leaves};
    struct merkle_reader reader = {leaves_node, &self};
    return merkle_inclusion(&reader, index, count, ret_path);
}

/* RFC 9162, section 2.1.3.2. */
bool merkle_verify_inclusion(const struct hash *leaf_hash, uint64_t index, uint64_t size,
                             const struct merkle_path *path, const struct hash *root) {
    if (index >= size || path->count > MERKLE_PATH_MAX)
        return false;
    uint64_t fn = index;
    uint64_t sn = size - 1;
    struct hash r = *leaf_hash;
    for (uint32_t i = 0; i < path->count; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) != 0 || fn == sn) {
            r = merkle_node_hash(&path->hash[i], &r);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            r = merkle_node_hash(&r, &path->hash[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && hash_equal(&r, root);
}

/* RFC 9162, section 2.1.4.2. */
bool merkle_verify_consistency(uint64_t old_size, const struct hash *old_root, uint64_t size,
                               const struct hash *root, const struct merkle_path *path) {
    if (old_size == 0 || old_size > size || path->count > MERKLE_PATH_MAX)
        return false;
    if (old_size == size)
        return path->count == 0 && hash_equal(old_root, root);
    bool power = (old_size & (old_size - 1)) == 0;
    uint32_t next = 0;
    if (!power && path->count == 0)
        return false;
    struct hash fr = power ? *old_root : path->hash[next++];
    struct hash sr = fr;
    uint64_t fn = old_size - 1;
    uint64_t sn = size - 1;
    for (; (fn & 1) != 0; fn >>= 1)
        sn >>= 1;
    for (; next < path->count; next++) {
        const struct hash *c = &path->hash[next];
        if (sn == 0)
            return false;
        if ((fn & 1) != 0 || fn == sn) {
            fr = merkle_node_hash(c, &fr);
            sr = merkle_node_hash(c, &sr);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            sr = merkle_node_hash(&sr, c);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && hash_equal(&fr, old_root) && hash_equal(&sr, root);
}
